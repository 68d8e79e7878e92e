//! The one atomic write, and reading that tells absence from failure.

use super::Host;
use crate::error::Result;

/// Owner and mode of a file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, e.g. `0o644`.
    pub mode: u32,
    /// Owner's user and group id; the running user's where absent.
    pub owner: Option<(u32, u32)>,
}

impl Access {
    /// `mode`, owned by the running user (root).
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }
}

impl Host {
    /// The file's bytes, or `None` where it does not exist.
    pub fn read(&self, _path: &str) -> Result<Option<Vec<u8>>> {
        todo!()
    }
    /// The file's text, or `None` where it does not exist.
    pub fn read_text(&self, _path: &str) -> Result<Option<String>> {
        todo!()
    }
    /// Writes the file so that no reader and no power cut ever sees a part of it: temporary file in the same
    /// directory, final mode before any byte, fsync of file and directory, rename.
    pub fn write(&self, _path: &str, _bytes: &[u8], _access: Access) -> Result<()> {
        todo!()
    }
    /// Like `write`, but only where content or access differ; says whether it wrote.
    pub fn write_if_changed(&self, _path: &str, _bytes: &[u8], _access: Access) -> Result<bool> {
        todo!()
    }
    /// Makes the directory (and its parents), with this access on the last one; says whether anything changed.
    /// A symbolic link in its place is an error.
    pub fn make_dir(&self, _path: &str, _access: Access) -> Result<bool> {
        todo!()
    }
    /// Removes the file; absent is fine. Says whether it was there.
    pub fn remove(&self, _path: &str) -> Result<bool> {
        todo!()
    }
}
