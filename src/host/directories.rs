//! The two directories of the program that more than one module writes to.

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

/// Lock and secrets; in memory, so whoever comes first after a boot makes it. Others may pass through to what is
/// theirs, not look around.
pub const RUN: Directory = Directory {
    path: paths::RUN,
    mode: 0o711,
};

/// What is remembered from run to run.
pub const STATE: Directory = Directory {
    path: paths::STATE,
    mode: 0o700,
};

impl Directory {
    /// Makes it, with its mode.
    pub fn make(&self, host: &Host) -> Result<()> {
        host.make_dir(self.path, Access::mode(self.mode)).map(drop)
    }
}
