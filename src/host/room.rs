//! Room on the disks: how much there is, and which folders are on another disk than the root directory.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Host;
use crate::error::{OrFail, Result};

/// Room on a filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What can still be used.
    pub free: u64,
    /// All that can be used.
    pub size: u64,
}

impl Host {
    /// Room where `path` is, or will be once it is made. As df counts: what is reserved for root counts neither as free nor
    /// as used.
    pub fn space(&self, path: &str) -> Result<Space> {
        let stat = rustix::fs::statvfs(self.path(self.existing(path))).or_fail(
            || format!("cannot ask for the free space of {path}"),
            "check that it is mounted",
        )?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let free = bytes(stat.f_bavail);
        let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
        Ok(Space {
            free,
            size: free.saturating_add(used),
        })
    }

    /// Those of the folders that are on another disk than the root directory, and than those before them.
    pub fn on_other_disks<'a>(&self, folders: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut disks = vec![self.disk_of("/")];
        let mut found = Vec::new();
        for folder in folders {
            let disk = self.disk_of(folder);
            if !disks.contains(&disk) {
                disks.push(disk);
                found.push(folder);
            }
        }
        found
    }

    fn disk_of(&self, path: &str) -> Option<u64> {
        let found = std::fs::metadata(self.path(self.existing(path)));
        found.ok().map(|found| found.dev())
    }

    /// The nearest folder above that exists: what is not there yet will be on its disk.
    fn existing<'a>(&self, path: &'a str) -> &'a Path {
        let mut above = Path::new(path).ancestors();
        let found = above.find(|above| self.path(above).exists());
        found.unwrap_or(Path::new("/"))
    }
}
