//! Space on the disks: how much there is, and which folders are on a disk other than the root directory's.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Host;
use crate::error::{OrFail, Result};

/// Space on a filesystem, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Still available.
    pub free: u64,
    /// Usable in total.
    pub size: u64,
}

impl Host {
    /// Space where `path` is, or will be once created. Counted as df does: what is reserved for root is neither free
    /// nor used.
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

    /// The folders on a disk other than that of the root directory and of any folder before them.
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

    /// The path, or its nearest ancestor that exists: what does not exist yet will be on its disk.
    fn existing<'a>(&self, path: &'a str) -> &'a Path {
        let mut above = Path::new(path).ancestors();
        let found = above.find(|above| self.path(above).exists());
        found.unwrap_or(Path::new("/"))
    }
}
