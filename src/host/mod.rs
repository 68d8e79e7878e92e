//! Everything that touches the machine, behind one root prefix so that a test can point it at a directory.

pub mod command;
pub mod directories;
pub mod disk;
pub mod docker;
pub mod failures;
pub mod files;
pub mod looks;
pub mod mounts;
pub mod nvidia;
pub mod openpgp;
pub mod os;
pub mod packages;
pub mod pci;
mod processes;
pub mod room;
mod sources;
pub mod systemd;
#[cfg(test)]
pub(crate) mod testing;
pub mod users;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use command::Command;

use command::Output;
use looks::{Looks, Sharing};
use serde_json::Value;

use crate::error::Result;

/// Where a real machine keeps its tools, searched after `PATH`: cloud-init and cron set a short one.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The machine.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    search_path: OsString,
    /// Whether apt's package lists have been refreshed since this program started.
    lists_are_fresh: Arc<AtomicBool>,
    /// Whether recent answers are shared.
    sharing: Sharing,
    /// Those of read-only commands.
    looks: Arc<Looks<Result<Output>>>,
    /// Those of the Docker engine.
    documents: Arc<Looks<Result<Option<Value>>>>,
}

impl Host {
    /// The machine whose files lie under `root`: `/`, or a directory tree in a test.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let sharing = Sharing::default();
        let mut host = Self {
            root: root.into(),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            lists_are_fresh: Arc::default(),
            looks: Arc::new(Looks::new(&sharing)),
            documents: Arc::new(Looks::new(&sharing)),
            sharing,
        };
        if host.is_real() {
            if !host.search_path.is_empty() {
                host.search_path.push(":");
            }
            host.search_path.push(SYSTEM_PATH);
        }
        host
    }

    /// The same machine, with its tools looked up in these directories only.
    #[cfg(test)]
    pub fn with_search_path(mut self, directories: impl Into<OsString>) -> Self {
        self.search_path = directories.into();
        self
    }

    /// Where the machine's absolute path `path` really is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the real machine and not a directory tree.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Shares the answers of read-only questions until something is changed.
    pub fn share_looks(&self) {
        self.sharing.begin();
    }

    /// Shares no answers any more: something is about to change.
    pub fn end_sharing(&self) {
        self.sharing.end();
    }

    /// Forgets the shared answers, so that everything is looked at anew.
    pub fn look_again(&self) {
        self.sharing.forget();
    }

    /// Answers of another kind, which are shared and forgotten with the others.
    pub fn looks<T: Clone>(&self) -> Looks<T> {
        Looks::new(&self.sharing)
    }

    /// A command on this machine, to be given arguments and run.
    pub fn command(&self, program: &str) -> Command {
        Command::new(self, program)
    }
}
