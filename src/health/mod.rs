//! Is the node healthy? Probes shared by `verify` and `metrics`, and the checks made of them.
