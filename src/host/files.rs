//! The one atomic write, and reading that tells absence from failure.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown, lchown};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Host;
use crate::error::{Error, Result};

/// Largest file that is read whole, in bytes: configs and records, which are far smaller.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Owner and mode of a file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, e.g. `0o644`.
    pub mode: u32,
    /// Owner's user and group id; the running user's if absent.
    pub owner: Option<(u32, u32)>,
}

impl Access {
    /// `mode`, owned by the running user (root).
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }

    /// Whether the file already has this owner and mode.
    fn is_of(self, file: &Metadata) -> bool {
        let owned = match self.owner {
            Some(owner) => owner == (file.uid(), file.gid()),
            None => file.uid() == rustix::process::geteuid().as_raw(),
        };
        owned && file.mode() & 0o7777 == self.mode
    }
}

/// The text without the byte order mark that some editors put before it: none of our parsers wants it.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

impl Host {
    /// The file's bytes, or `None` if it does not exist. A file of more than 16 MiB is an error.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        read_all(path, File::open(self.path(path)))
    }

    /// The same for a file in a folder that the container owns: follows no link, and never blocks on a pipe.
    pub fn read_foreign(&self, path: &str) -> Result<Option<Vec<u8>>> {
        if self.present(path)?.is_none() {
            return Ok(None);
        }
        read_all(path, open_foreign(&self.path(path)))
    }

    /// The last bytes, at most `most`, of a file in a folder that the container owns: follows no link, refuses a file
    /// with a second hard link (it may be someone else's file), and never blocks on a pipe.
    pub fn end_of_foreign(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open_foreign(path)? else {
            return Ok(None);
        };
        let mut read = || {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
            let mut bytes = Vec::new();
            Read::by_ref(&mut file).take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read()
            .map(Some)
            .map_err(|error| failure("read", path, error))
    }

    /// Opens the file under the same conditions.
    pub fn open_foreign(&self, path: &str) -> Result<Option<File>> {
        if self.present(path)?.is_none() {
            return Ok(None);
        }
        let open = || {
            let file = open_foreign(&self.path(path))?;
            let found = file.metadata()?;
            if !found.is_file() || found.nlink() != 1 {
                return Err(io::Error::other("it has another name, too"));
            }
            Ok(file)
        };
        open()
            .map(Some)
            .map_err(|error| failure("read", path, error))
    }

    /// The file's text, or `None` if it does not exist.
    pub fn read_text(&self, path: &str) -> Result<Option<String>> {
        self.read(path)?
            .map(|bytes| {
                String::from_utf8(bytes).map_err(|error| {
                    Error::new(
                        format!("{path} is not UTF-8 text"),
                        format!("look at {path} and restore it"),
                    )
                    .because(error)
                })
            })
            .transpose()
    }

    /// The text of a file that other programs write, in whatever encoding; invalid UTF-8 is replaced.
    pub fn read_others(&self, path: &str) -> Result<Option<String>> {
        let bytes = self.read(path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes the file so that no reader ever sees a part of it, and no power cut leaves one: temporary file in the
    /// same directory, final owner and mode before any byte, fsync, rename, fsync of the directory. Missing parents are
    /// made (0755). A symbolic link in its place, or anything else that is not a file, is an error.
    ///
    /// A run that is killed half-way leaves a file beside it ([`unfinished`]), which nothing reads and the next write
    /// removes. No file has two writers at a time: runs and ticks hold their locks.
    pub fn write(&self, path: &str, bytes: &[u8], access: Access) -> Result<()> {
        self.present(path)?;
        let target = self.path(path);
        self.make_parents(path)?;
        write_atomically(&target, bytes, access).map_err(|error| failure("write", path, error))
    }

    /// Writes the file into a folder where no temporary name may ever be seen: first as `write` does into `nearby`, a
    /// folder on the same filesystem, then by renaming it.
    pub fn write_by_way_of(
        &self,
        nearby: &str,
        path: &str,
        bytes: &[u8],
        access: Access,
    ) -> Result<()> {
        let fail = |error| failure("write", path, error);
        if self.present(path)?.is_some() {
            return Err(fail(ErrorKind::AlreadyExists.into()));
        }
        let (_, name) = path.rsplit_once('/').unwrap_or_default();
        let aside = format!("{nearby}/.{name}.new");
        self.write(&aside, bytes, access)?;
        let target = self.path(path);
        fs::rename(self.path(&aside), &target)
            .and_then(|()| sync_parent(&target))
            .map_err(fail)
    }

    /// Like `write`, but only if content or access differs; says whether it wrote.
    pub fn write_if_changed(&self, path: &str, bytes: &[u8], access: Access) -> Result<bool> {
        if let Some(file) = self.present(path)?
            && access.is_of(&file)
            && self.read(path)?.as_deref() == Some(bytes)
        {
            return Ok(false);
        }
        self.write(path, bytes, access)?;
        Ok(true)
    }

    /// Makes the directory (and its parents, 0755), with this access on the last one; says whether anything changed.
    /// A symbolic link in its place is an error.
    pub fn make_dir(&self, path: &str, access: Access) -> Result<bool> {
        let target = self.path(path);
        let fail = |error| failure("make the directory", path, error);
        match fs::symlink_metadata(&target) {
            Ok(found) if !found.is_dir() => return Err(in_the_way(path, &found, "directory")),
            Ok(found) if access.is_of(&found) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_parents(path)?;
                make_one(&target, 0o700).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        }
        let (uid, gid) = access.owner.unwrap_or_else(running_user);
        // chown first: it can clear mode bits.
        chown(&target, Some(uid), Some(gid))
            .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(access.mode)))
            .and_then(|()| sync_dir(&target))
            .map_err(fail)?;
        Ok(true)
    }

    /// Removes the file; absent is fine. Says whether it was there.
    pub fn remove(&self, path: &str) -> Result<bool> {
        let target = self.path(path);
        match fs::remove_file(&target) {
            Ok(()) => sync_parent(&target)
                .map(|()| true)
                .map_err(|error| failure("remove", path, error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failure("remove", path, error)),
        }
    }

    /// Renames the file or folder within its filesystem, replacing any file of the new name.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.path(from), self.path(to));
        fs::rename(&old, &new)
            .and_then(|()| sync_parent(&new))
            .and_then(|()| sync_parent(&old))
            .map_err(|error| failure("rename", from, error))
    }

    /// User and group id of what is at `path`, or `None` if nothing is.
    pub fn owner(&self, path: &str) -> Result<Option<(u32, u32)>> {
        match fs::symlink_metadata(self.path(path)) {
            Ok(found) => Ok(Some((found.uid(), found.gid()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("look at", path, error)),
        }
    }

    /// Gives the directory, but not its contents, to this user and group.
    pub fn give_dir(&self, path: &str, (uid, gid): (u32, u32)) -> Result<()> {
        let target = self.path(path);
        lchown(&target, Some(uid), Some(gid))
            .and_then(|()| sync_dir(&target))
            .map_err(|error| failure("change the owner of", path, error))
    }

    /// Names in the directory, sorted; none if there is no such directory.
    pub fn names_in(&self, path: &str) -> Result<Vec<String>> {
        let fail = |error| failure("list", path, error);
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// What is at `path`, without following links; an error if it is not a regular file.
    fn present(&self, path: &str) -> Result<Option<Metadata>> {
        match fs::symlink_metadata(self.path(path)) {
            Ok(found) if found.is_file() => Ok(Some(found)),
            Ok(found) => Err(in_the_way(path, &found, "file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("read", path, error)),
        }
    }

    /// Makes the missing parent directories of `path`.
    fn make_parents(&self, path: &str) -> Result<()> {
        let target = self.path(path);
        let mut missing: Vec<&Path> = target
            .ancestors()
            .skip(1)
            .take_while(|directory| !directory.exists())
            .collect();
        missing.reverse();
        for directory in missing {
            make_one(directory, 0o755)
                .map_err(|error| failure("make the directory of", path, error))?;
        }
        Ok(())
    }
}

/// Prefix of the temporary files that are to become `target`; other programs may have `.NAME.…` files there too.
fn unfinished(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.bootstrap-")
}

fn write_atomically(target: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let directory = target.parent().unwrap_or(Path::new("/"));
    let prefix = unfinished(target);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .tempfile_in(directory)?;
    let file = temporary.as_file();
    if let Some((uid, gid)) = access.owner {
        fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|failed| failed.error)?;
    sync_dir(directory)
}

/// Makes one directory with exactly this mode; one that has appeared in the meantime is fine.
fn make_one(directory: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(mode))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {}
        Err(error) => return Err(error),
    }
    sync_parent(directory)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes what was created, renamed or removed in the directory survive a power cut.
fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn running_user() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

fn in_the_way(path: &str, found: &Metadata, wanted: &str) -> Error {
    let kind = if found.is_symlink() {
        "a symbolic link"
    } else if found.is_dir() {
        "a directory"
    } else if found.is_file() {
        "a file"
    } else {
        "something special"
    };
    Error::new(
        format!("{path} is {kind} where a {wanted} was expected"),
        format!(
            "see what put it there (`ls -ld {}`), move it away, then run `bootstrap` again",
            crate::shell::word(path)
        ),
    )
}

/// Something else may be in its place by now.
fn open_foreign(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// The whole file, up to the limit; `None` if it does not exist.
fn read_all(path: &str, file: io::Result<File>) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = file.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > LARGEST => Err(Error::new(
            format!("{path} is larger than {LARGEST} bytes"),
            format!("look at {path} and restore it"),
        )),
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failure("read", path, error)),
    }
}

fn failure(verb: &str, path: &str, error: io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "run `bootstrap` as root".into(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("free some space for {path} (`df -h`), then run `bootstrap` again")
        }
        ErrorKind::ReadOnlyFilesystem => format!(
            "the filesystem of {path} is read-only, often after a disk error: see `dmesg`, then run `bootstrap` again"
        ),
        _ => format!(
            "look at {path} (`ls -ld {}`, `dmesg`), then run `bootstrap` again",
            crate::shell::word(path)
        ),
    };
    Error::new(format!("cannot {verb} {path}"), hint).because(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::testing::Tree;

    fn mode(tree: &Tree, path: &str) -> u32 {
        fs::metadata(tree.host.path(path)).unwrap().mode() & 0o7777
    }

    #[test]
    fn absence_is_none_and_anything_else_an_error() {
        let tree = Tree::new();
        assert_eq!(tree.host.read("/etc/none").unwrap(), None);
        assert!(!tree.host.remove("/etc/none").unwrap());
        tree.file("/etc/bad", [0xff]);
        let error = tree.host.read_text("/etc/bad").unwrap_err();
        assert_eq!(error.reason(), "/etc/bad is not UTF-8 text");
        let error = tree.host.read("/etc").unwrap_err();
        assert_eq!(error.reason(), "cannot read /etc");
        let error = tree.host.read("/etc/bad/below").unwrap_err();
        assert_eq!(error.reason(), "cannot read /etc/bad/below");
        let large = File::create(tree.host.path("/etc/large")).unwrap();
        large.set_len(LARGEST).unwrap();
        assert!(tree.host.read("/etc/large").unwrap().is_some());
        large.set_len(LARGEST + 1).unwrap();
        let error = tree.host.read("/etc/large").unwrap_err();
        assert_eq!(error.reason(), "/etc/large is larger than 16777216 bytes");
    }

    #[test]
    fn writes_whole_with_mode_and_parents_and_leaves_nothing_else() {
        let tree = Tree::new();
        let host = &tree.host;
        host.write("/a/b/file", b"one", Access::mode(0o640))
            .unwrap();
        host.write("/a/b/file", b"two", Access::mode(0o400))
            .unwrap();
        assert_eq!(host.read_text("/a/b/file").unwrap().unwrap(), "two");
        assert_eq!(mode(&tree, "/a/b/file"), 0o400);
        assert_eq!(mode(&tree, "/a/b"), 0o755);
        assert_eq!(tree.host.names_in("/a/b").unwrap(), ["file"]);
        assert!(host.remove("/a/b/file").unwrap());
        assert_eq!(tree.host.names_in("/a/b").unwrap(), [""; 0]);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let tree = Tree::new();
        tree.file("/etc/.fstab.bootstrap-a1B2c3", "UUID=");
        tree.file("/etc/.fstab.backup", "mine");
        tree.host
            .write("/etc/fstab", b"new", Access::mode(0o644))
            .unwrap();
        let names = tree.host.names_in("/etc").unwrap();
        assert_eq!(names, [".fstab.backup", "fstab"]);
    }

    #[test]
    fn writes_only_what_differs() {
        let tree = Tree::new();
        let host = &tree.host;
        let inode = || fs::metadata(host.path("/f")).unwrap().ino();
        let access = Access::mode(0o644);
        assert!(host.write_if_changed("/f", b"x", access).unwrap());
        let first = inode();
        assert!(!host.write_if_changed("/f", b"x", access).unwrap());
        assert_eq!(inode(), first);
        assert!(
            host.write_if_changed("/f", b"x", Access::mode(0o600))
                .unwrap()
        );
        assert!(
            host.write_if_changed("/f", b"y", Access::mode(0o600))
                .unwrap()
        );
        let mine = Access {
            mode: 0o600,
            owner: Some(running_user()),
        };
        assert!(!host.write_if_changed("/f", b"y", mine).unwrap());
    }

    #[test]
    fn reads_the_end_of_a_foreign_file_and_of_nothing_else() {
        let tree = Tree::new();
        let end = |path: &str| tree.host.end_of_foreign(path, 4);
        tree.file("/logs/plain", "0123456789");
        assert_eq!(end("/logs/plain").unwrap().unwrap(), b"6789");
        tree.file("/logs/short", "ab");
        assert_eq!(end("/logs/short").unwrap().unwrap(), b"ab");
        assert_eq!(end("/logs/none").unwrap(), None);

        let at = |path: &str| tree.host.path(path);
        symlink(at("/logs/plain"), at("/logs/link")).unwrap();
        fs::hard_link(at("/logs/short"), at("/logs/second")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("/logs/pipe"), fifo, Mode::RWXU, 0).unwrap();
        for (path, reason) in [
            (
                "/logs/link",
                "/logs/link is a symbolic link where a file was expected",
            ),
            (
                "/logs/second",
                "cannot read /logs/second: it has another name, too",
            ),
            (
                "/logs/pipe",
                "/logs/pipe is something special where a file was expected",
            ),
            ("/logs", "/logs is a directory where a file was expected"),
        ] {
            assert_eq!(end(path).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn never_writes_through_a_link() {
        let tree = Tree::new();
        tree.file("/etc/target", "keep");
        std::os::unix::fs::symlink("target", tree.host.path("/etc/link")).unwrap();
        let access = Access::mode(0o644);
        for result in [
            tree.host.write("/etc/link", b"x", access),
            tree.host
                .write_if_changed("/etc/link", b"x", access)
                .map(drop),
        ] {
            assert_eq!(
                result.unwrap_err().reason(),
                "/etc/link is a symbolic link where a file was expected"
            );
        }
        assert_eq!(tree.host.read_text("/etc/target").unwrap().unwrap(), "keep");
        let error = tree.host.make_dir("/etc/link", access).unwrap_err();
        assert_eq!(
            error.reason(),
            "/etc/link is a symbolic link where a directory was expected"
        );
        let error = tree.host.write("/etc", b"x", access).unwrap_err();
        assert_eq!(
            error.reason(),
            "/etc is a directory where a file was expected"
        );
    }

    #[test]
    fn a_pipe_of_the_container_s_is_neither_waited_for_nor_read() {
        let tree = Tree::new();
        tree.file("/data/file", "text");
        let text = tree.host.read_foreign("/data/file").unwrap();
        assert_eq!(text.unwrap(), b"text");
        let (pipe, mode) = (rustix::fs::FileType::Fifo, Mode::from(0o600));
        let path = tree.host.path("/data/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, mode, 0).unwrap();
        std::os::unix::fs::symlink("file", tree.host.path("/data/link")).unwrap();
        for (name, kind) in [("pipe", "something special"), ("link", "a symbolic link")] {
            let path = format!("/data/{name}");
            let error = tree.host.read_foreign(&path).unwrap_err();
            assert_eq!(
                error.reason(),
                format!("{path} is {kind} where a file was expected")
            );
            // If it takes a file's place at the last moment.
            let opened = open_foreign(&tree.host.path(&path));
            let text = opened.map(|mut file| file.read_to_end(&mut Vec::new()));
            assert!(matches!(text, Err(_) | Ok(Ok(0))), "{name}: {text:?}");
        }
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_cleans_up() {
        let tree = Tree::new();
        tree.file("/d/file", "old");
        // A directory cannot be replaced by a file: the rename fails after the temporary file was written.
        fs::create_dir(tree.host.path("/d/full")).unwrap();
        assert!(write_atomically(&tree.host.path("/d/full"), b"x", Access::mode(0o600)).is_err());
        assert_eq!(tree.host.names_in("/d").unwrap(), ["file", "full"]);
        assert_eq!(tree.host.read_text("/d/file").unwrap().unwrap(), "old");
    }

    #[test]
    fn makes_directories_once() {
        let tree = Tree::new();
        assert!(tree.host.make_dir("/x/y", Access::mode(0o700)).unwrap());
        assert!(!tree.host.make_dir("/x/y", Access::mode(0o700)).unwrap());
        assert!(tree.host.make_dir("/x/y", Access::mode(0o711)).unwrap());
        assert_eq!((mode(&tree, "/x"), mode(&tree, "/x/y")), (0o755, 0o711));
    }
}
