//! Block devices: found by EBS volume id, probed for every signature, formatted, grown.
