//! A machine in a temporary directory, with fake tools, for the tests of this crate.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::os::unix::fs::PermissionsExt;

use super::Host;
use super::disk::Device;

/// The machine; deleted when dropped.
pub struct Tree {
    /// Its files, with only the fake tools on its search path.
    pub host: Host,
    root: tempfile::TempDir,
}

impl Tree {
    /// An empty machine.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("tools")).unwrap();
        let host = Host::at(root.path()).with_search_path(root.path().join("tools"));
        Self { host, root }
    }

    /// Adds a tool that runs `script` with /bin/sh. Each call is recorded, as one line, for [`Self::calls`].
    pub fn tool(&self, name: &str, script: &str) {
        let path = self.root.path().join("tools").join(name);
        let calls = self.root.path().join("calls");
        let text = format!(
            "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nprintf '%s\\n' \"{name} $*\" >> '{}'\n{script}\n",
            calls.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The calls of fake tools so far.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.path().join("calls")).unwrap_or_default();
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// A block device of this size in bytes: a sparse file and its entries in sysfs.
    pub fn disk(&self, name: &str, number: &str, size: u64) -> Device {
        let path = format!("/dev/{name}");
        let sysfs = format!("/sys/class/block/{name}");
        self.file(&path, "");
        let node = std::fs::File::options()
            .write(true)
            .open(self.host.path(&path))
            .unwrap();
        node.set_len(size).unwrap();
        self.file(&format!("{sysfs}/dev"), format!("{number}\n"));
        self.file(&format!("{sysfs}/size"), format!("{}\n", size / 512));
        self.file(&format!("{sysfs}/ro"), "0\n");
        Device {
            path,
            number: number.into(),
            size,
            sysfs,
        }
    }

    /// Puts a file there, parents included.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.host.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
