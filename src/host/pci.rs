//! PCI devices: is there an NVIDIA GPU, and which?
