//! What a power cut leaves of the program's own writes.
//!
//! Names (files made, renamed, removed) reach the disk in their order, as the journal of ext4 or XFS keeps it, and
//! surely only when their directory is synced; what a file holds reaches it at any time, and surely only when the file
//! is synced. So of what was not synced, some of the last names are taken back, and any file may hold what it held
//! before. What tools write stays: they are stand-ins. Owner and mode stay, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::trace::{Call, Witness};

/// A disk, and what of it a power cut would take.
pub struct Disk {
    root: PathBuf,
    /// Names that are not sure yet, oldest first.
    names: Vec<Name>,
    /// Files whose content is not sure yet, and what they surely hold.
    contents: BTreeMap<PathBuf, Vec<u8>>,
    /// What was put under each final name, whole.
    wholes: BTreeMap<PathBuf, BTreeSet<Vec<u8>>>,
    /// What calls that are being made will do.
    coming: Vec<(Call, Name)>,
}

/// A change of names.
enum Name {
    Made(PathBuf),
    Removed(PathBuf, Option<Kept>),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        before: Option<Kept>,
    },
}

/// A file or folder that is no longer there.
struct Kept {
    /// A file's.
    bytes: Option<Vec<u8>>,
    mode: u32,
    owner: (u32, u32),
}

impl Kept {
    fn of(path: &Path) -> Option<Self> {
        let like = fs::symlink_metadata(path).ok()?;
        Some(Self {
            bytes: (!like.is_dir()).then(|| fs::read(path)).transpose().ok()?,
            mode: like.mode(),
            owner: (like.uid(), like.gid()),
        })
    }

    fn put(&self, path: &Path) {
        match &self.bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::create_dir(path).unwrap(),
        }
        chown(path, Some(self.owner.0), Some(self.owner.1)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode)).unwrap();
    }
}

impl Disk {
    /// The disk under this root, on which all is sure.
    pub fn of(root: PathBuf) -> Self {
        Self {
            root,
            names: Vec::new(),
            contents: BTreeMap::new(),
            wholes: BTreeMap::new(),
            coming: Vec::new(),
        }
    }

    /// Whether it is on a disk at all, and no kernel's file or memory.
    fn has(&self, path: &Path) -> bool {
        let Ok(path) = path.strip_prefix(&self.root) else {
            return false;
        };
        !["run", "proc", "sys", "dev"]
            .iter()
            .any(|place| path.starts_with(place))
    }

    /// Cuts the power. The files that are neither whole nor gone afterwards are named.
    pub fn cut(mut self, chance: &mut fastrand::Rng) -> Vec<PathBuf> {
        // What a tool has written since is the tool's.
        let is_own = |path: &PathBuf, wholes: &BTreeSet<Vec<u8>>| {
            fs::read(path).is_ok_and(|now| wholes.contains(&now))
        };
        let mut wholes = std::mem::take(&mut self.wholes);
        wholes.retain(|path, wholes| is_own(path, wholes));
        for _ in 0..chance.usize(0..=self.names.len()) {
            let Some(name) = self.names.pop() else { break };
            self.take_back(name);
        }
        for (path, sure) in &self.contents {
            if path.exists() && chance.bool() {
                fs::write(path, sure).unwrap();
            }
        }
        wholes.retain(|path, wholes| path.exists() && !is_own(path, wholes));
        wholes.into_keys().collect()
    }

    fn will(&mut self, call: &Call, name: Name) {
        // One like it came to nothing.
        self.coming.retain(|(coming, _)| coming != call);
        self.coming.push((call.clone(), name));
    }

    /// A file has another name now, or all files of a folder have.
    fn contents_move(&mut self, from: &Path, to: &Path) {
        let contents = std::mem::take(&mut self.contents);
        let renamed = contents.into_iter().map(|(path, sure)| {
            let below = path.strip_prefix(from).map(Path::to_owned);
            match below {
                Ok(below) if below == Path::new("") => (to.to_owned(), sure),
                Ok(below) => (to.join(below), sure),
                Err(_) => (path, sure),
            }
        });
        self.contents = renamed.collect();
    }

    fn take_back(&mut self, name: Name) {
        match name {
            Name::Made(path) => {
                self.contents.remove(&path);
                // Not where a tool has put something into it.
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            }
            Name::Removed(path, before) => {
                if let Some(before) = before {
                    before.put(&path);
                }
            }
            Name::Renamed { from, to, before } => {
                if fs::rename(&to, &from).is_err() {
                    return;
                }
                self.contents_move(&to, &from);
                if let Some(before) = before {
                    before.put(&to);
                }
            }
        }
    }
}

impl Witness for Disk {
    fn before(&mut self, _: Pid, call: &Call) {
        match call {
            Call::Open { path, empties } if self.has(path) => {
                if !path.exists() {
                    self.will(call, Name::Made(path.clone()));
                } else if *empties && let Ok(bytes) = fs::read(path) {
                    self.contents.entry(path.clone()).or_insert(bytes);
                }
            }
            Call::Write(path) if self.has(path) => {
                if let Ok(bytes) = fs::read(path) {
                    self.contents.entry(path.clone()).or_insert(bytes);
                }
            }
            Call::Rename { from, to } if self.has(from) && self.has(to) => {
                let before = Kept::of(to);
                let wholes = self.wholes.entry(to.clone()).or_default();
                wholes.extend(before.as_ref().and_then(|kept| kept.bytes.clone()));
                wholes.extend(fs::read(from));
                let (from, to) = (from.clone(), to.clone());
                self.will(call, Name::Renamed { from, to, before });
            }
            Call::Remove(path) if self.has(path) => {
                let name = Name::Removed(path.clone(), Kept::of(path));
                self.will(call, name);
            }
            Call::Make(path) if self.has(path) => {
                self.will(call, Name::Made(path.clone()));
            }
            _ => {}
        }
    }

    fn after(&mut self, _: Pid, call: &Call) {
        if let Call::Sync(path) = call {
            self.contents.remove(path);
            self.names.retain(|name| {
                let changed = match name {
                    Name::Made(path) | Name::Removed(path, _) => path,
                    Name::Renamed { to, .. } => to,
                };
                changed.parent() != Some(path)
            });
            return;
        }
        let Some(at) = self.coming.iter().position(|(coming, _)| coming == call) else {
            return;
        };
        let (_, name) = self.coming.remove(at);
        match &name {
            Name::Made(path) => {
                if path.is_file() {
                    self.contents.insert(path.clone(), Vec::new());
                }
            }
            Name::Removed(path, _) => {
                self.contents.remove(path);
            }
            Name::Renamed { from, to, .. } => {
                self.contents.remove(to);
                let (from, to) = (from.clone(), to.clone());
                self.contents_move(&from, &to);
            }
        }
        self.names.push(name);
    }
}
