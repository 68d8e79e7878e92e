//! Phase `assets`: the archive from S3, verified, and unpacked as a whole or not at all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use flate2::read::GzDecoder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tar::EntryType;

use crate::aws::s3;
use crate::digest::Hashing;
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::log::printable;
use crate::node::Node;
use crate::paths::{ASSETS, HOME};

/// Work folders are next to the final one, so that the last step is a rename; a killed run leaves its own behind.
const WORK: &str = ".assets-";

/// Checksums of what was unpacked: the archive's SHA-256, then `SHA-256  NAME` per file, as written by sha256sum.
const MANIFEST: &str = ".sha256";

const MOST_FILES: usize = 64;

/// The most that all files together may take, in bytes.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// The most that may come before a file's content, in bytes: an extended header is read into memory.
const LARGEST_HEADER: u64 = 64 * 1024;

const MAKE: &str = "make the archive again (`tar -C cloudformation/assets -czf assets.tar.gz .`), upload it (`aws s3 cp`), then set assets.key and assets.sha256 in the config";
const DISK: &str = "check that the root disk has space and is not read-only";

/// Installs the container spec and the CloudWatch agent's config on the machine.
pub(super) struct Assets(pub Arc<Node>);

#[async_trait]
impl Phase for Assets {
    async fn check(&self) -> Result<State> {
        state(&self.0.host, &self.0.config.assets.sha256)
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { config, host, .. } = self.0.as_ref();
        let wanted = &config.assets;
        host.make_dir(HOME, Access::mode(0o755))?;
        sweep(host)?;
        let home = host.path(HOME);
        let work = tempfile::Builder::new()
            .prefix(WORK)
            .tempdir_in(&home)
            .or_fail(|| format!("cannot make a folder in {HOME}"), DISK)?;
        let aws = self.0.aws().await?;
        let folder = work.path();
        let archive =
            s3::download(aws, &wanted.bucket, &wanted.key, &wanted.sha256, folder).await?;
        let fresh = folder.join("fresh");
        unpack(archive, &fresh, &wanted.sha256)?;
        swap(&fresh, &host.path(ASSETS), &folder.join("old"))
            .and_then(|()| File::open(&home)?.sync_all())
            .or_fail(|| format!("cannot move the assets to {ASSETS}"), DISK)?;
        Ok(Applied::Finished)
    }
}

fn state(host: &Host, wanted: &str) -> Result<State> {
    let Some(manifest) = host.read_text(&format!("{ASSETS}/{MANIFEST}"))? else {
        return Ok(State::Needed("the assets are not unpacked".into()));
    };
    let mut lines = manifest.lines();
    let archive = lines.next().unwrap_or_default();
    if archive != wanted {
        return Ok(State::Needed(format!(
            "the assets are those of archive {}, wanted {}",
            short(&printable(archive)),
            short(wanted)
        )));
    }
    let mut known = BTreeSet::from([MANIFEST.to_owned()]);
    for line in lines {
        let Some((hash, name)) = line.split_once("  ").filter(|(_, name)| is_plain(name)) else {
            return Ok(State::Needed(
                "the manifest of the assets is damaged".into(),
            ));
        };
        if hash_of(host, name)?.is_none_or(|found| found != hash) {
            return Ok(State::Needed(format!(
                "{ASSETS}/{name} has changed since it was unpacked"
            )));
        }
        known.insert(name.to_owned());
    }
    let listing =
        fs::read_dir(host.path(ASSETS)).or_fail(|| format!("cannot read {ASSETS}"), DISK)?;
    for entry in listing {
        let entry = entry.or_fail(|| format!("cannot read {ASSETS}"), DISK)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            return Ok(State::Needed(format!(
                "{ASSETS}/{} is not from the archive",
                printable(&name)
            )));
        }
    }
    if let Some(left) = left_over(host)?.first() {
        return Ok(State::Needed(format!("a killed run has left {left}")));
    }
    Ok(State::Done(format!(
        "archive {1}, files: {0}",
        known.len() - 1,
        short(wanted)
    )))
}

/// The SHA-256 of a file of the assets, which may be large; `None` if it does not exist.
fn hash_of(host: &Host, name: &str) -> Result<Option<String>> {
    let path = format!("{ASSETS}/{name}");
    let hash = File::open(host.path(&path)).and_then(|file| copy(file, &mut io::sink()));
    match hash {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        hash => hash
            .map(Some)
            .or_fail(|| format!("cannot read {path}"), DISK),
    }
}

/// Copies all of it and returns its SHA-256.
fn copy(from: impl Read, to: &mut impl io::Write) -> io::Result<String> {
    let mut from = Hashing::new(from);
    io::copy(&mut from, to)?;
    Ok(from.hex())
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// The work folders of killed runs.
fn left_over(host: &Host) -> Result<Vec<String>> {
    let mut names = host.names_in(HOME)?;
    names.retain(|name| name.starts_with(WORK));
    Ok(names.iter().map(|name| format!("{HOME}/{name}")).collect())
}

/// Removes the work folders of killed runs.
fn sweep(host: &Host) -> Result<()> {
    for folder in left_over(host)? {
        let is_folder = fs::symlink_metadata(host.path(&folder)).is_ok_and(|found| found.is_dir());
        if is_folder {
            fs::remove_dir_all(host.path(&folder))
                .or_fail(|| format!("cannot remove {folder}"), DISK)?;
        }
    }
    Ok(())
}

/// Unpacks into the new folder `to`, with its manifest; all of it is on disk when this returns.
///
/// Accepts only plain files with plain names at the top level; anything that could lead out of the folder, be run as
/// something else, or fill the disk is an error that names it.
fn unpack(archive: impl Read, to: &Path, hash: &str) -> Result<()> {
    let cannot = || "cannot unpack the assets";
    let mut manifest = format!("{hash}\n");
    fs::create_dir(to).or_fail(cannot, DISK)?;
    read(archive, |name, content| {
        let hash = write_file(&to.join(name), content).or_fail(cannot, DISK)?;
        manifest.extend([hash.as_str(), "  ", name, "\n"]);
        Ok(())
    })?;
    write_file(&to.join(MANIFEST), manifest.as_bytes())
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)))
        .and_then(|()| File::open(to)?.sync_all())
        .or_fail(cannot, DISK)
}

/// Writes the file and returns its SHA-256.
fn write_file(path: &Path, content: impl Read) -> io::Result<String> {
    let mut file = File::create_new(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    let hash = copy(content, &mut file)?;
    file.sync_all()?;
    Ok(hash)
}

/// Gives each file of the archive to `take`, as name and content, which `take` must read to the end. Memory use is
/// bounded, whatever the archive holds.
pub fn read(
    archive: impl Read,
    mut take: impl FnMut(&str, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let fault = |what: String| Error::new(format!("the assets archive {what}"), MAKE);
    let bounded = Bounded::new(GzDecoder::new(archive));
    let damaged = |error: io::Error| {
        fault("cannot be read".into()).because(anyhow::Error::msg(printable(&error.to_string())))
    };
    let mut archive = tar::Archive::new(&bounded);
    let mut names = BTreeSet::new();
    let mut total = 0_u64;
    bounded.allow(LARGEST_HEADER);
    for (place, entry) in archive.entries().map_err(damaged)?.enumerate() {
        let entry = entry.map_err(damaged)?;
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        // `tar -C FOLDER .` begins with the folder itself.
        if kind == EntryType::Directory && raw == "./" && place == 0 {
            continue;
        }
        let shown = printable(&raw);
        if kind != EntryType::Regular {
            return Err(fault(format!(
                "holds \"{shown}\", which is not a plain file"
            )));
        }
        let name = raw.strip_prefix("./").unwrap_or(&raw);
        if !is_plain(name) {
            return Err(fault(format!(
                "holds \"{shown}\", which is not a plain name"
            )));
        }
        if names.len() == MOST_FILES {
            return Err(fault(format!("holds more than {MOST_FILES} files")));
        }
        let size = entry.size();
        total = total.saturating_add(size);
        if total > LARGEST {
            return Err(fault(format!("unpacks to more than {LARGEST} bytes")));
        }
        if !names.insert(name.to_owned()) {
            return Err(fault(format!("holds \"{shown}\" twice")));
        }
        bounded.allow(size);
        let mut content = Content::of(entry);
        let taken = take(name, &mut content);
        if let Some(error) = content.fault {
            return Err(damaged(error));
        }
        taken?;
        if content.read != size {
            return Err(fault(format!("ends in the middle of \"{shown}\"")));
        }
        bounded.allow(LARGEST_HEADER);
    }
    if names.is_empty() {
        return Err(fault("holds no file".into()));
    }
    Ok(())
}

/// One file's content; an error in reading it is the archive's fault, not the reader's.
struct Content<R> {
    inner: R,
    read: u64,
    fault: Option<io::Error>,
}

impl<R> Content<R> {
    fn of(inner: R) -> Self {
        Self {
            inner,
            read: 0,
            fault: None,
        }
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.read = self.read.saturating_add(count as u64);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.fault = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Letters, digits, `.`, `_` and `-`, not starting with `.`.
fn is_plain(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Fails, instead of just ending, when more comes out than is allowed so far.
struct Bounded<R> {
    inner: RefCell<R>,
    left: Cell<u64>,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self {
            inner: RefCell::new(inner),
            left: Cell::new(0),
        }
    }

    fn allow(&self, more: u64) {
        self.left.set(self.left.get().saturating_add(more));
    }
}

impl<R: Read> Read for &Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.borrow_mut().read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other(format!("a header of more than {LARGEST_HEADER} bytes"))
        })?);
        Ok(count)
    }
}

/// Replaces `target` with `fresh` in one step; the previous content ends up at `fresh` or `old`, to be removed.
fn swap(fresh: &Path, target: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, fresh, CWD, target, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::NOENT) => fs::rename(fresh, target),
        // A filesystem without exchange: for a moment there is nothing, which the next run would repair.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::XDEV) => {
            fs::rename(target, old)?;
            fs::rename(fresh, target)
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// One raw entry; `name` goes into the header verbatim.
    fn entry(name: &str, kind: EntryType, content: &[u8], size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4777);
        header.set_size(size);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        entry(name, EntryType::Regular, content, content.len() as u64)
    }

    fn gz(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for part in parts {
            encoder.write_all(part).unwrap();
        }
        encoder.write_all(&[0; 1024]).unwrap();
        encoder.finish().unwrap()
    }

    fn refused(archive: &[u8]) -> String {
        let error = read(archive, |_, content| {
            io::copy(content, &mut io::sink()).or_fail(|| "it cannot be taken", "")?;
            Ok(())
        })
        .unwrap_err();
        error
            .to_string()
            .strip_prefix("the assets archive ")
            .unwrap()
            .to_owned()
    }

    fn unpacked(host: &Host, parts: &[Vec<u8>], hash: &str) {
        let home = host.path(HOME);
        fs::create_dir_all(&home).unwrap();
        let work = tempfile::Builder::new()
            .prefix(WORK)
            .tempdir_in(&home)
            .unwrap();
        let fresh = work.path().join("fresh");
        unpack(gz(parts).as_slice(), &fresh, hash).unwrap();
        swap(&fresh, &host.path(ASSETS), &work.path().join("old")).unwrap();
    }

    #[test]
    fn a_good_archive_replaces_the_old_one_whole() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        assert_eq!(
            state(&host, HASH).unwrap(),
            State::Needed("the assets are not unpacked".into())
        );
        unpacked(&host, &[file("edge.json", b"{}"), file("old", b"")], HASH);
        assert_eq!(
            state(&host, HASH).unwrap(),
            State::Done("archive 0123456789ab, files: 2".into())
        );
        let other = HASH.replace("01234567", "fedcba98");
        assert_eq!(
            state(&host, &other).unwrap(),
            State::Needed(
                "the assets are those of archive 0123456789ab, wanted fedcba9889ab".into()
            )
        );
        let folder = entry("./", EntryType::Directory, b"", 0);
        unpacked(&host, &[folder, file("./edge.json", b"{1}")], &other);
        assert_eq!(
            state(&host, &other).unwrap(),
            State::Done("archive fedcba9889ab, files: 1".into())
        );
        let edge = fs::metadata(host.path("/opt/bootstrap/assets/edge.json")).unwrap();
        assert_eq!(edge.permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(host.path(HOME)).unwrap().count(), 1);
    }

    #[test]
    fn what_was_changed_removed_or_added_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        unpacked(&host, &[file("edge.json", b"{}")], HASH);
        let path = host.path("/opt/bootstrap/assets/edge.json");
        let changed = State::Needed(
            "/opt/bootstrap/assets/edge.json has changed since it was unpacked".into(),
        );
        fs::write(&path, "{ }").unwrap();
        assert_eq!(state(&host, HASH).unwrap(), changed);
        fs::remove_file(&path).unwrap();
        assert_eq!(state(&host, HASH).unwrap(), changed);
        fs::write(&path, "{}").unwrap();
        fs::write(path.with_file_name("more"), "").unwrap();
        assert_eq!(
            state(&host, HASH).unwrap(),
            State::Needed("/opt/bootstrap/assets/more is not from the archive".into())
        );
        let manifest = path.with_file_name(MANIFEST);
        fs::write(manifest, format!("{HASH}\n00  ../../etc/shadow\n")).unwrap();
        assert_eq!(
            state(&host, HASH).unwrap(),
            State::Needed("the manifest of the assets is damaged".into())
        );
    }

    #[test]
    fn leftovers_of_killed_runs_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        unpacked(&host, &[file("edge.json", b"{}")], HASH);
        fs::create_dir_all(host.path("/opt/bootstrap/.assets-dead/fresh")).unwrap();
        let State::Needed(why) = state(&host, HASH).unwrap() else {
            panic!("it is not noticed");
        };
        assert_eq!(why, "a killed run has left /opt/bootstrap/.assets-dead");
        sweep(&host).unwrap();
        assert_eq!(fs::read_dir(host.path(HOME)).unwrap().count(), 1);
        assert!(matches!(state(&host, HASH).unwrap(), State::Done(_)));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "../evil",
            "/etc/passwd",
            "a/b",
            "..",
            ".",
            ".sha256",
            "./.hidden",
            "././x",
            "a b",
            "a\u{1b}b",
            "a\\b",
            "ü",
        ] {
            assert_eq!(
                refused(&gz(&[file(name, b"x")])),
                format!("holds \"{}\", which is not a plain name", printable(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn everything_but_plain_files_is_refused() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Directory,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::Continuous,
            EntryType::GNUSparse,
        ] {
            let reason = refused(&gz(&[entry("x", kind, b"", 0)]));
            assert!(
                reason == "holds \"x\", which is not a plain file"
                    || reason.starts_with("cannot be read"),
                "{kind:?}: {reason}"
            );
        }
    }

    #[test]
    fn archives_that_are_too_much_are_refused() {
        let many: Vec<_> = (0..65).map(|n| file(&format!("f{n}"), b"")).collect();
        assert_eq!(refused(&gz(&many)), "holds more than 64 files");
        let too_much = "unpacks to more than 1073741824 bytes";
        let large = |size| entry("big", EntryType::Regular, b"", size);
        assert_eq!(refused(&gz(&[large(LARGEST + 1)])), too_much);
        assert_eq!(refused(&gz(&[large(u64::MAX >> 1)])), too_much);
        let small = file("small", b"x");
        assert_eq!(refused(&gz(&[small, large(LARGEST)])), too_much);
        // Each would be read into memory before there is an entry.
        for (name, kind) in [
            ("././@LongLink", EntryType::GNULongName),
            ("././@LongLink", EntryType::GNULongLink),
            ("PaxHeaders/x", EntryType::XHeader),
        ] {
            let long = vec![b'a'; 128 * 1024];
            let long = entry(name, kind, &long, long.len() as u64);
            assert_eq!(
                refused(&gz(&[file("a", b"1"), long, file("x", b"")])),
                "cannot be read: a header of more than 65536 bytes",
                "{kind:?}"
            );
        }
        let folders = vec![entry("./", EntryType::Directory, b"", 0); 2];
        assert_eq!(
            refused(&gz(&folders)),
            "holds \"./\", which is not a plain file"
        );
    }

    #[test]
    fn a_disk_without_space_is_not_the_archives_fault() {
        let full = |_: &str, content: &mut dyn Read| {
            let mut full = File::options().write(true).open("/dev/full").unwrap();
            io::copy(content, &mut full).or_fail(|| "cannot unpack the assets", DISK)?;
            Ok(())
        };
        let error = read(gz(&[file("a", b"1")]).as_slice(), full).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot unpack the assets: No space left on device (os error 28)"
        );
    }

    #[test]
    fn damaged_archives_are_refused() {
        assert_eq!(
            refused(&gz(&[file("a", b"1"), file("a", b"2")])),
            "holds \"a\" twice"
        );
        assert_eq!(refused(&gz(&[])), "holds no file");
        assert!(refused(b"PK\x03\x04 zip").starts_with("cannot be read"));
        let whole = gz(&[file("a", &[7; 5000])]);
        assert!(refused(&whole[..whole.len() / 2]).starts_with("cannot be read"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder
            .write_all(&entry("a", EntryType::Regular, b"short", 5000))
            .unwrap();
        let reason = refused(&encoder.finish().unwrap());
        assert_eq!(reason, "ends in the middle of \"a\"");
    }
}
