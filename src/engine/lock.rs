//! The lock that keeps two runs from overlapping.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, OrFail, Result};

/// The held lock; released when dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "open as long as the lock is held")] File);

/// The result of taking the lock.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Another process holds it; the error names it. Exit code 3.
    Busy(Error),
}

impl Lock {
    /// Takes the lock file `path` without waiting, and writes our process ID into it. The file is never deleted: a
    /// process that had already opened it would then lock a file that nobody else sees.
    pub fn take(path: &Path) -> Result<Taken> {
        const HINT: &str = "run as root, and see what lies at this path";
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let shown = path.display();
        let cannot = || format!("cannot take the lock {shown}");
        let mut file =
            File::from(rustix::fs::open(path, flags, Mode::from(0o600)).or_fail(cannot, HINT)?);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The holder may not have written its process ID yet.
                let _ = (&file).take(20).read_to_string(&mut text);
                let holder = match text.trim().parse::<u32>() {
                    Ok(pid) => format!("process {pid}"),
                    Err(_) => "another process".to_owned(),
                };
                return Ok(Taken::Busy(Error::new(
                    format!("{holder} holds the lock {shown}"),
                    "wait until it is done (`bootstrap status` shows how far it is), then try again",
                )));
            }
            Err(error) => return Err(error).or_fail(cannot, HINT),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .or_fail(
                || format!("cannot write the lock {shown}"),
                "free some space on its filesystem",
            )?;
        Ok(Taken::Ours(Lock(file)))
    }

    /// Whether a process holds the lock file `path`, according to the kernel's list (proc_locks(5)): trying to take the
    /// lock could make a run that starts at that instant give up.
    pub fn is_held(path: &Path) -> bool {
        let (Ok(file), Ok(locks)) = (path.symlink_metadata(), fs::read_to_string("/proc/locks"))
        else {
            return false;
        };
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
        locks.lines().any(|line| {
            line.contains(" FLOCK ") && line.split_whitespace().any(|word| word == place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path));
        let first = Lock::take(&path).unwrap();
        assert!(matches!(first, Taken::Ours(_)));
        assert!(Lock::is_held(&path));
        let Taken::Busy(error) = Lock::take(&path).unwrap() else {
            panic!("two runs have the lock");
        };
        let pid = std::process::id();
        assert_eq!(
            error.reason(),
            format!("process {pid} holds the lock {}", path.display())
        );

        drop(first);
        assert!(path.exists());
        assert!(!Lock::is_held(&path));
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Ours(_)));
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("lock"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert_eq!(
            error.reason(),
            format!("cannot take the lock {}", path.display())
        );
        assert!(!target.exists());
    }
}
