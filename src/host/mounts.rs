//! What is mounted where (/proc/self/mountinfo), and /etc/fstab.

use std::fmt;

use super::Host;
use super::files::Access;
use crate::error::{Error, Result};
use crate::log::printable;

const FSTAB: &str = "/etc/fstab";

/// The option that marks our line in fstab, alone or followed by `=` and a volume's id; mount and systemd ignore
/// options that begin with `x-` and that they do not know.
const MARK: &str = "x-bootstrap";

/// One line of /proc/self/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the filesystem's device.
    pub device: String,
    /// Which directory of the filesystem is mounted: `/`, or another for a bind mount.
    pub root: String,
    /// Mount point.
    pub target: String,
    /// Filesystem type.
    pub filesystem: String,
    /// Mount source, as mounted.
    pub source: String,
    /// Whether the mount, or the whole filesystem (as after an I/O error), is read-only.
    pub read_only: bool,
    /// Whether setuid bits and device nodes on it have no effect ([`SAFE`]).
    pub safe: bool,
}

/// Mount options of a volume: nothing that a container leaves on it gives anyone on the host more privileges.
pub const SAFE: &str = "nosuid,nodev";

impl Host {
    /// Everything that is mounted, in mount order.
    pub fn mounts(&self) -> Result<Vec<Mount>> {
        const PATH: &str = "/proc/self/mountinfo";
        let text = self.read_others(PATH)?.ok_or_else(|| {
            Error::new(
                format!("{PATH} does not exist"),
                "mount /proc, then run `bootstrap` again",
            )
        })?;
        Ok(text.lines().filter_map(parse_mount).collect())
    }

    /// What is mounted exactly at `target` now; the topmost if there are several.
    pub fn mounted_at(&self, target: &str) -> Result<Option<Mount>> {
        let mut mounts = self.mounts()?;
        mounts.retain(|mount| mount.target == target);
        Ok(mounts.pop())
    }

    /// Whether fstab has exactly this entry for its mount point, written by [`Host::ensure_fstab`].
    pub fn fstab_has(&self, entry: &FstabEntry) -> Result<bool> {
        Ok(entry.edit(&self.fstab()?)?.is_none())
    }

    /// Makes this entry the only line for its mount point and the only one of ours; says whether fstab changed.
    ///
    /// A line that someone else wrote for the mount point is an error that names it. All others stay as they are,
    /// byte for byte.
    pub fn ensure_fstab(&self, entry: &FstabEntry) -> Result<bool> {
        match entry.edit(&self.fstab()?)? {
            Some(text) => self.write(FSTAB, &text, Access::mode(0o644)).map(|()| true),
            None => Ok(false),
        }
    }

    /// UUID of the filesystem that our line mounts from this volume; `None` if there is no such line.
    pub fn fstab_uuid(&self, volume: &str) -> Result<Option<String>> {
        let text = self.fstab()?;
        let text = String::from_utf8_lossy(&text);
        let uuid = text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let device = fields.first()?.strip_prefix("UUID=")?;
            (mark(&fields)? == volume).then(|| device.to_owned())
        });
        Ok(uuid)
    }

    fn fstab(&self) -> Result<Vec<u8>> {
        Ok(self.read(FSTAB)?.unwrap_or_default())
    }
}

/// Our line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FstabEntry {
    /// UUID of the filesystem.
    pub uuid: String,
    /// Mount point.
    pub target: String,
    /// Filesystem type.
    pub filesystem: String,
    /// Id of the EBS volume that has the filesystem.
    pub volume: Option<String>,
}

impl fmt::Display for FstabEntry {
    /// `nofail`: a missing volume must not drop the boot into an emergency shell. Docker waits for the mount attempt,
    /// so that no container can start on an empty mount point first.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "UUID={} {} {} defaults,nofail,{SAFE},x-systemd.before=docker.service,x-systemd.device-timeout=30s,{MARK}",
            self.uuid,
            escape(&self.target),
            self.filesystem
        )?;
        if let Some(volume) = &self.volume {
            write!(out, "={volume}")?;
        }
        out.write_str(" 0 2")
    }
}

impl FstabEntry {
    /// The new text of fstab, or `None` if nothing is to be changed.
    pub fn edit(&self, text: &[u8]) -> Result<Option<Vec<u8>>> {
        let wanted = self.to_string();
        let mut edited = Vec::new();
        let mut written = false;
        for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let shown = String::from_utf8_lossy(line);
            let fields: Vec<&str> = shown.split_whitespace().collect();
            let comment = fields.first().is_none_or(|field| field.starts_with('#'));
            if mark(&fields).is_some() {
                if !written {
                    edited.extend_from_slice(wanted.as_bytes());
                    edited.push(b'\n');
                }
                written = true;
            } else if !comment && fields.get(1).is_some_and(|field| same(field, &self.target)) {
                return Err(Error::new(
                    format!(
                        "line {} of {FSTAB} already mounts something at {}: {}",
                        number + 1,
                        self.target,
                        printable(&shown)
                    ),
                    "remove that line if the data volume belongs there, or set volume.mount to another directory",
                ));
            } else {
                edited.extend_from_slice(line);
            }
        }
        if !written {
            if edited.last().is_some_and(|byte| *byte != b'\n') {
                edited.push(b'\n');
            }
            edited.extend_from_slice(wanted.as_bytes());
            edited.push(b'\n');
        }
        Ok((edited != text).then_some(edited))
    }
}

/// The volume that our mark names, empty if it names none; `None` if the line is not ours.
fn mark<'a>(fields: &[&'a str]) -> Option<&'a str> {
    if fields.first()?.starts_with('#') {
        return None;
    }
    fields.get(3)?.split(',').find_map(|option| {
        let volume = option.strip_prefix(MARK)?;
        if volume.is_empty() {
            Some(volume)
        } else {
            volume.strip_prefix('=')
        }
    })
}

/// Whether the mount point of a line is `target`; `/data/` is `/data`.
fn same(field: &str, target: &str) -> bool {
    let field = unescape(field);
    let trimmed = field.trim_end_matches('/');
    trimmed == target.trim_end_matches('/') && !field.is_empty()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue` (proc_pid_mountinfo(5)).
pub fn parse_mount(line: &str) -> Option<Mount> {
    let mut fields = line.split_ascii_whitespace();
    let device = fields.nth(2)?.to_owned();
    let root = unescape(fields.next()?);
    let target = unescape(fields.next()?);
    let options = fields.next()?;
    // Any number of optional fields, ended by a lone hyphen.
    fields.by_ref().find(|field| *field == "-")?;
    let filesystem = fields.next()?.to_owned();
    let source = unescape(fields.next()?);
    let super_options = fields.next().unwrap_or_default();
    let has = |options: &str, wanted| options.split(',').any(|option| option == wanted);
    let read_only = |options| has(options, "ro");
    Some(Mount {
        device,
        root,
        target,
        filesystem,
        source,
        read_only: read_only(options) || read_only(super_options),
        safe: SAFE.split(',').all(|safe| has(options, safe)),
    })
}

/// Undoes the kernel's octal escapes: `\040` is a space.
pub(super) fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if let [
            b'\\',
            a @ b'0'..=b'3',
            b @ b'0'..=b'7',
            c @ b'0'..=b'7',
            after @ ..,
        ] = rest
        {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path, escaped for fstab.
fn escape(path: &str) -> String {
    path.replace('\\', r"\134")
        .replace(' ', r"\040")
        .replace('\t', r"\011")
        .replace('\n', r"\012")
        .replace('#', r"\043")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:1 / / rw,noatime shared:1 - xfs /dev/nvme0n1p1 rw,attr2
60 27 259:3 / /data rw,relatime shared:30 master:7 - ext4 /dev/nvme1n1 rw
61 27 259:3 /edge\\040launcher /mnt/a\\134b rw - ext4 /dev/nvme1n1 rw
62 60 259:4 / /data ro,nosuid,nodev,relatime - ext4 /dev/nvme2n1 rw
63 60 259:5 / /logs rw,relatime - ext4 /dev/nvme3n1 ro
not a line
";

    fn mounted(target: &str) -> Option<Mount> {
        let tree = Tree::new();
        tree.file("/proc/self/mountinfo", MOUNTINFO);
        tree.host.mounted_at(target).unwrap()
    }

    #[test]
    fn reads_mountinfo_as_the_kernel_writes_it() {
        assert_eq!(
            mounted("/").unwrap(),
            Mount {
                device: "259:1".into(),
                root: "/".into(),
                target: "/".into(),
                filesystem: "xfs".into(),
                source: "/dev/nvme0n1p1".into(),
                read_only: false,
                safe: false,
            }
        );
        let bind = mounted("/mnt/a\\b").unwrap();
        assert_eq!(
            (bind.root.as_str(), bind.device.as_str()),
            ("/edge launcher", "259:3")
        );
        assert_eq!(mounted("/dat"), None);
    }

    #[test]
    fn the_topmost_mount_counts() {
        assert_eq!(mounted("/data").unwrap().device, "259:4");
    }

    #[test]
    fn read_only_is_the_mount_s_or_the_filesystem_s() {
        let data = mounted("/data").unwrap();
        assert!(data.read_only && data.safe);
        assert!(mounted("/logs").unwrap().read_only);
    }

    #[test]
    fn no_mountinfo_is_an_error_not_an_empty_table() {
        let error = Tree::new().host.mounts().unwrap_err();
        assert_eq!(error.reason(), "/proc/self/mountinfo does not exist");
    }

    fn entry() -> FstabEntry {
        FstabEntry {
            uuid: "11-22".into(),
            target: "/data".into(),
            filesystem: "ext4".into(),
            volume: None,
        }
    }

    const OURS: &str = "UUID=11-22 /data ext4 defaults,nofail,nosuid,nodev,x-systemd.before=docker.service,\
                        x-systemd.device-timeout=30s,x-bootstrap 0 2\n";

    fn edited(text: &str) -> Option<String> {
        let edited = entry().edit(text.as_bytes()).unwrap();
        edited.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn adds_one_line_and_keeps_the_others_byte_for_byte() {
        for before in [
            "",
            "# comment /data\n\n  UUID=aa\t/ \txfs defaults 0  1\n",
            "UUID=bb /database ext4 defaults 0 2\n",
            "#UUID=cc /data ext4 defaults 0 2\n",
        ] {
            assert_eq!(edited(before).unwrap(), format!("{before}{OURS}"));
        }
        assert_eq!(
            edited("/dev/a / xfs").unwrap(),
            format!("/dev/a / xfs\n{OURS}")
        );
        let latin = b"# caf\xe9\n".as_slice();
        let after = entry().edit(latin).unwrap().unwrap();
        assert_eq!(after, [latin, OURS.as_bytes()].concat());
    }

    #[test]
    fn our_line_is_kept_and_a_stale_one_replaced_in_place() {
        let with =
            |line: &str| format!("/dev/a / xfs defaults 0 1\n{line}/dev/b /b xfs defaults 0 2\n");
        assert_eq!(edited(&with(OURS)), None);
        let stale = OURS.replace("11-22", "99-99");
        assert_eq!(edited(&with(&stale)).unwrap(), with(OURS));
        let unsafe_one = OURS.replace("nosuid,nodev,", "");
        assert_eq!(edited(&with(&unsafe_one)).unwrap(), with(OURS));
        let moved = OURS.replace("/data", "/old");
        assert_eq!(edited(&with(&moved)).unwrap(), with(OURS));
        assert_eq!(
            edited(&with(&format!("{stale}{OURS}"))).unwrap(),
            with(OURS)
        );
    }

    #[test]
    fn a_foreign_line_for_the_mount_point_is_named_never_replaced() {
        for field in ["/data", "/data/", "/\\144ata"] {
            let text = format!("# one\nUUID=77 {field} ext4 defaults 0 2\n");
            let error = entry().edit(text.as_bytes()).unwrap_err();
            assert_eq!(
                error.reason(),
                format!(
                    "line 2 of /etc/fstab already mounts something at /data: UUID=77 {field} ext4 defaults 0 2"
                )
            );
        }
    }

    #[test]
    fn our_line_names_its_volume() {
        let named = OURS.replace("x-bootstrap", "x-bootstrap=vol-0abc1234");
        let mut wanted = entry();
        wanted.volume = Some("vol-0abc1234".into());
        assert_eq!(format!("{wanted}\n"), named);
        for before in [
            OURS,
            &OURS.replace("x-bootstrap", "x-bootstrap=vol-0ffffffff"),
        ] {
            let after = wanted.edit(before.as_bytes()).unwrap().unwrap();
            assert_eq!(String::from_utf8(after).unwrap(), named);
        }
        assert_eq!(wanted.edit(named.as_bytes()).unwrap(), None);
        // Not our mark.
        for option in ["x-bootstrapped", "x-bootstrap-vol-0abc1234"] {
            let line = OURS.replace("x-bootstrap", option);
            assert!(wanted.edit(line.as_bytes()).is_err());
        }
    }

    #[test]
    fn fstab_tells_what_a_volume_held() {
        let named = OURS.replace("x-bootstrap", "x-bootstrap=vol-0abc1234");
        let held = |text: &str| {
            let tree = Tree::new();
            tree.file(FSTAB, text);
            tree.host.fstab_uuid("vol-0abc1234").unwrap()
        };
        let other = "# c\nUUID=aa / xfs defaults 0 1\n";
        assert_eq!(held(&format!("{other}{named}")).as_deref(), Some("11-22"));
        for text in [
            "",
            other,
            OURS,
            &format!("#{named}"),
            &format!("# {named}"),
            &named.replace("vol-0abc1234", "vol-0abc12345"),
        ] {
            assert_eq!(held(text), None, "{text}");
        }
        assert_eq!(Tree::new().host.fstab_uuid("vol-0abc1234").unwrap(), None);
    }

    #[test]
    fn writes_fstab_once() {
        let tree = Tree::new();
        assert!(!tree.host.fstab_has(&entry()).unwrap());
        assert!(tree.host.ensure_fstab(&entry()).unwrap());
        assert!(!tree.host.ensure_fstab(&entry()).unwrap());
        assert!(tree.host.fstab_has(&entry()).unwrap());
        assert_eq!(tree.host.read_text(FSTAB).unwrap().unwrap(), OURS);
    }

    #[test]
    fn escapes_come_back_as_they_were() {
        for text in ["/a b", "/a\\b", "/tab\there", "/é#", "/\\04"] {
            assert_eq!(unescape(&escape(text)), text);
        }
    }
}
