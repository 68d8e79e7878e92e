//! What is mounted where (/proc/self/mountinfo), and /etc/fstab.

use super::Host;
use crate::error::Result;

/// One line of /proc/self/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the filesystem's device.
    pub device: String,
    /// Mount point.
    pub target: String,
    /// Filesystem type.
    pub filesystem: String,
    /// Mount source, as mounted.
    pub source: String,
    /// Whether mounted read-only.
    pub read_only: bool,
}

impl Host {
    /// What is mounted exactly at `target` now; the topmost where several are.
    pub fn mounted_at(&self, _target: &str) -> Result<Option<Mount>> {
        todo!()
    }
}
