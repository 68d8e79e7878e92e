//! Everything that touches the machine, behind one root prefix so that a test can point it at a directory.

pub mod command;
pub mod disk;
pub mod docker;
pub mod files;
pub mod mounts;
pub mod os;
pub mod packages;
pub mod pci;
pub mod systemd;
pub mod users;

use std::path::{Path, PathBuf};

pub use command::Command;

/// The machine.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine whose files lie under `root`: `/`, or a directory tree in a test.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the absolute path `path` of the machine lies.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the real machine and not a directory tree.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A command on this machine, to be given arguments and run.
    pub fn command(&self, program: &str) -> Command {
        Command::new(self, program)
    }
}
