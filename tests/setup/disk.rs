//! A real disk for the root directory of a machine, which can be full or read-only: a tmpfs. `/run` is another one.

use std::ffi::{CStr, CString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// Its size, of which only what is used takes memory. A machine wants 20 GiB at most.
const ROOMY: &CStr = c"size=32g,mode=755";

/// Mounted at the root directory; unmounted when dropped.
pub struct RootDisk(PathBuf);

/// A disk of its own for a folder of the machine; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Puts all that is in `folder` onto a disk of so many MiB mounted there.
    pub fn at(folder: &Path, mebibytes: u32) -> Self {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).unwrap();
        fs::create_dir(folder).unwrap();
        let size = CString::new(format!("size={mebibytes}m,mode=755")).unwrap();
        mount(
            "tmpfs",
            folder,
            "tmpfs",
            MountFlags::empty(),
            size.as_c_str(),
        )
        .unwrap();
        copy(&aside, folder);
        fs::remove_dir_all(aside).unwrap();
        Self(folder.to_owned())
    }

    /// Puts all that is on it back into a plain folder.
    pub fn leave(self) {
        let folder = self.0.clone();
        let aside = folder.with_extension("aside");
        fs::create_dir(&aside).unwrap();
        copy(&folder, &aside);
        drop(self);
        fs::remove_dir(&folder).unwrap();
        fs::rename(aside, folder).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl RootDisk {
    /// Puts all that is in `root` onto a disk mounted there.
    pub fn below(root: &Path) -> Self {
        let aside = root.with_extension("aside");
        fs::rename(root, &aside).unwrap();
        fs::create_dir(root).unwrap();
        let disk = Self(root.to_owned());
        disk.mount_at("");
        fs::create_dir(root.join("run")).unwrap();
        disk.mount_at("run");
        copy(&aside, root);
        fs::remove_dir_all(aside).unwrap();
        disk
    }

    /// Puts all that is on the disk back into a plain directory.
    pub fn leave(self) {
        let root = self.0.clone();
        let aside = root.with_extension("aside");
        fs::create_dir(&aside).unwrap();
        copy(&root, &aside);
        drop(self);
        fs::remove_dir(&root).unwrap();
        fs::rename(aside, root).unwrap();
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let now = rustix::fs::statvfs(&self.0).unwrap();
        let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
        self.remount(MountFlags::empty(), &format!("size={used}"));
    }

    /// Lets nothing be written.
    pub fn lock(&self) {
        self.remount(MountFlags::RDONLY, "");
    }

    fn mount_at(&self, place: &str) {
        let place = self.0.join(place);
        mount("tmpfs", place, "tmpfs", MountFlags::empty(), ROOMY).unwrap();
    }

    fn remount(&self, flags: MountFlags, options: &str) {
        mount_remount(&self.0, flags, options).unwrap();
    }
}

impl Drop for RootDisk {
    fn drop(&mut self) {
        for place in ["run", ""] {
            let _ = unmount(self.0.join(place), UnmountFlags::DETACH);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .args(["--archive", "--sparse=always"])
        .args([&from.join("."), to])
        .status();
    assert!(done.unwrap().success(), "the machine was not copied");
}
