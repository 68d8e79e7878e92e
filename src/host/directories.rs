//! The two directories of this program that more than one module writes to.

use super::Host;
use super::files::Access;
use crate::error::Result;
use crate::paths;

/// A directory that belongs to root.
#[derive(Clone, Copy, Debug)]
pub struct Directory {
    /// Absolute path.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
}

/// Lock and secrets; on tmpfs, so created by whoever needs it first after a boot. Other users may traverse it to reach
/// their own files, but not list it.
pub const RUN: Directory = Directory {
    path: paths::RUN,
    mode: 0o711,
};

/// State kept between runs.
pub const STATE: Directory = Directory {
    path: paths::STATE,
    mode: 0o700,
};

impl Directory {
    /// Creates it with its mode.
    pub fn make(&self, host: &Host) -> Result<()> {
        host.make_dir(self.path, Access::mode(self.mode)).map(drop)
    }
}
