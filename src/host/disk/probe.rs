//! What is on a block device and what uses it: every reason not to format it.

use std::fmt;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Device, Kind, LOOK};
use crate::error::{Error, OrFail, Result};
use crate::host::mounts::unescape;
use crate::host::{Command, Host};
use crate::log::printable;

/// Signatures that are filesystems.
const FILESYSTEMS: [&str; 10] = [
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "ntfs",
    "f2fs",
    "zfs_member",
    "exfat",
];
/// Signatures that are partition tables, for naming them.
const TABLES: [&str; 6] = ["gpt", "PMBR", "dos", "atari", "mac", "sun"];

/// How many bytes are read at either end to check that the device is readable.
const SAMPLE: u64 = 1024 * 1024;

/// Block sizes of ext4.
const EXT4_BLOCKS: [u64; 3] = [1024, 2048, 4096];
/// Size of an ext4 superblock; the fields of an XFS one take fewer bytes.
const SUPERBLOCK: usize = 1024;
/// Block size of XFS as `mkfs.xfs` makes it, in bytes.
const XFS_BLOCK: u64 = 4096;
/// Volumes are a whole number of GiB, and mkfs.xfs divides less than 4 TiB into four allocation groups, each with a
/// superblock: each begins at a multiple of this, even if the volume has grown since.
const XFS_STEP: u64 = 256 * 1024 * 1024;
/// How many of these multiples are checked: all in the first 256 GiB.
const XFS_STEPS: u64 = 1024;

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, as far as anything can tell.
    Blank,
    /// One filesystem and nothing else, not in use.
    Filesystem {
        /// Its type, e.g. `ext4`.
        kind: String,
        /// Its UUID.
        uuid: String,
    },
    /// Anything else: everything that was found.
    Foreign(Vec<Finding>),
}

impl Contents {
    /// Whether there is only an "atari" partition table. The random bytes of about one in 1,800 fresh encrypted EBS
    /// volumes look like one (bottlerocket-os/bottlerocket#4855, kubernetes-sigs/aws-ebs-csi-driver#738).
    pub fn is_only_atari(&self) -> bool {
        matches!(self, Self::Foreign(findings)
            if matches!(findings.as_slice(), [Finding::Signature { kind, .. }] if kind == "atari"))
    }

    /// The filesystem whose backup superblocks were found.
    pub fn remains(&self) -> Option<Kind> {
        let Self::Foreign(findings) = self else {
            return None;
        };
        findings.iter().find_map(|finding| match finding {
            Finding::Remains(kind) => Some(*kind),
            _ => None,
        })
    }

    /// Whether there is only what an interrupted mkfs of this kind leaves behind.
    pub fn is_left_by_mkfs(&self, kind: Kind) -> bool {
        let Self::Foreign(findings) = self else {
            return false;
        };
        match findings.as_slice() {
            // mkfs.ext4 writes the backup superblocks first, mkfs.xfs the primary one.
            [Finding::Remains(left)] => *left == kind,
            [Finding::Signature { .. }, Finding::Unfinished] => kind == Kind::Xfs,
            _ => false,
        }
    }

    fn of(mut findings: Vec<Finding>) -> Self {
        match findings.as_mut_slice() {
            [] => Self::Blank,
            [
                Finding::Signature {
                    kind,
                    uuid: Some(uuid),
                },
            ] if is_filesystem(kind) && is_uuid(uuid) => Self::Filesystem {
                kind: std::mem::take(kind),
                uuid: std::mem::take(uuid),
            },
            _ => Self::Foreign(findings),
        }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => out.write_str("nothing"),
            Self::Filesystem { kind, uuid } => {
                write!(out, "{} {kind} filesystem (uuid {uuid})", article(kind))
            }
            Self::Foreign(findings) => {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                out.write_str(&findings.join(", "))
            }
        }
    }
}

/// One thing found on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A signature that libblkid knows.
    Signature {
        /// libblkid's name: `xfs`, `gpt`, `LVM2_member` …
        kind: String,
        /// UUID, if it has one.
        uuid: Option<String>,
    },
    /// Backup superblocks of such a filesystem whose primary one cannot be read: damaged or wiped.
    Remains(Kind),
    /// An unfinished XFS: `mkfs.xfs` clears its in-progress flag last, and the kernel refuses to mount it before that.
    Unfinished,
    /// The kernel has a partition of this name on it.
    Partition(String),
    /// The kernel has a device of this name (LVM, RAID, crypt) on top of it.
    Holder(String),
    /// It, or one of its partitions, is swap in use.
    Swap,
    /// It, or one of its partitions, is mounted here.
    Mounted(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature { kind, uuid } => {
                let what = if is_filesystem(kind) {
                    "filesystem"
                } else if TABLES.contains(&kind.as_str()) {
                    "partition table"
                } else {
                    "signature"
                };
                write!(out, "{} {} {what}", article(kind), printable(kind))?;
                match uuid {
                    Some(uuid) => write!(out, " (uuid {})", printable(uuid)),
                    None => Ok(()),
                }
            }
            Self::Remains(kind) => {
                let kind = kind.to_string();
                write!(out, "remains of {} {kind} filesystem", article(&kind))
            }
            Self::Unfinished => out.write_str("whose mkfs.xfs was interrupted"),
            Self::Partition(name) => write!(out, "partition {name}"),
            Self::Holder(name) => write!(out, "device {name} on top of it"),
            Self::Swap => out.write_str("swap in use"),
            Self::Mounted(target) if target == "/" => out.write_str("the root filesystem"),
            Self::Mounted(target) => write!(out, "what is mounted at {}", printable(target)),
        }
    }
}

impl Host {
    /// Everything on the device. Looks twice: a device that was just appearing has been mistaken for blank and
    /// formatted (hetznercloud/csi-driver#1346). Whatever cannot be read is an error, never "blank".
    pub async fn probe(&self, device: &Device) -> Result<Contents> {
        let first = self.look(device).await?;
        let second = self.look(device).await?;
        if first == second {
            Ok(first)
        } else {
            Err(Error::new(
                format!("{} held {first} at first, then {second}", device.path),
                "see what else uses the device, then run `bootstrap` again; nothing was changed",
            )
            .transient())
        }
    }

    /// The only filesystem on the device, even if mounted.
    pub async fn filesystem_on(&self, device: &Device) -> Result<Contents> {
        let findings = signatures(self.wipefs(device).looks()).await?;
        Ok(Contents::of(findings))
    }

    async fn look(&self, device: &Device) -> Result<Contents> {
        readable(self, device).await?;
        let mut findings = signatures(self.wipefs(device).looks_alone()).await?;
        let filesystem = |finding: &Finding| matches!(finding, Finding::Signature { kind, .. } if is_filesystem(kind));
        if !findings.iter().any(filesystem) {
            findings.extend(self.remains(device).await?.map(Finding::Remains));
        }
        let xfs = matches!(findings.as_slice(), [Finding::Signature { kind, .. }] if kind == "xfs");
        if xfs && is_unfinished(&read(self, device, 0, SUPERBLOCK as u64).await?) {
            findings.push(Finding::Unfinished);
        }
        findings.extend(self.uses(device)?);
        Ok(Contents::of(findings))
    }

    fn wipefs(&self, device: &Device) -> Command {
        let list = self.command("wipefs").args(["--no-act", "--json"]);
        list.arg(self.path(&device.path))
    }

    /// The filesystem whose backup superblocks are on the device. libblkid checks primary ones only, so it takes a
    /// volume with a damaged first block for blank.
    async fn remains(&self, device: &Device) -> Result<Option<Kind>> {
        let (path, size) = (self.path(&device.path), device.size);
        let look = tokio::task::spawn_blocking(move || first_backup(&path, size));
        look.await
            .map_err(io::Error::other)
            .flatten()
            .or_fail(|| format!("cannot read {}", device.path), LOOK)
    }

    /// Partitions, holders, swap and mounts. Covers the root disk: it is mounted at `/`.
    fn uses(&self, device: &Device) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        let mut numbers = vec![device.number.clone()];
        let mut paths = vec![device.path.clone()];
        let mut holders = self.names_in(&format!("{}/holders", device.sysfs))?;
        for name in self.names_in(&device.sysfs)? {
            let directory = format!("{}/{name}", device.sysfs);
            if self.path(&directory).is_dir() && self.attribute(&directory, "partition")?.is_some()
            {
                numbers.extend(self.attribute(&directory, "dev")?);
                paths.push(format!("/dev/{name}"));
                holders.extend(self.names_in(&format!("{directory}/holders"))?);
                found.push(Finding::Partition(name));
            }
        }
        found.extend(holders.into_iter().map(Finding::Holder));
        let swaps = self.read_others("/proc/swaps")?.unwrap_or_default();
        for swap in swaps.lines().skip(1) {
            let path = unescape(swap.split_whitespace().next().unwrap_or_default());
            if paths.contains(&path) {
                found.push(Finding::Swap);
            }
        }
        let mounts = self.mounts()?;
        found.extend(
            mounts
                .into_iter()
                // Btrfs uses device numbers of its own; for those, compare the source.
                .filter(|mount| {
                    numbers.contains(&mount.device)
                        || (mount.device.starts_with("0:") && paths.contains(&mount.source))
                })
                .map(|mount| Finding::Mounted(mount.target)),
        );
        Ok(found)
    }
}

/// What `wipefs` lists.
async fn signatures(wipefs: Command) -> Result<Vec<Finding>> {
    let output = wipefs.run().await?;
    parse_wipefs(&output.stdout).or_fail(
        || format!("cannot understand what `{}` said", output.command),
        "run the command by hand: its output must be JSON (util-linux 2.33 or newer); nothing was changed",
    )
}

/// Reads both ends of the device: wipefs mistakes an I/O error for the absence of signatures.
async fn readable(host: &Host, device: &Device) -> Result<()> {
    let sample = SAMPLE.min(device.size);
    for start in [0, device.size - sample] {
        read(host, device, start, sample).await?;
    }
    Ok(())
}

async fn read(host: &Host, device: &Device, start: u64, length: u64) -> Result<Vec<u8>> {
    let read = async {
        let mut file = tokio::fs::File::open(host.path(&device.path)).await?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    read.await
        .or_fail(|| format!("cannot read {}", device.path), LOOK)
}

/// The filesystem that the first backup superblock on the disk belongs to.
fn first_backup(path: &Path, size: u64) -> io::Result<Option<Kind>> {
    let disk = File::open(path)?;
    let mut bytes = [0; SUPERBLOCK];
    for Backup { start, kind } in backups(size) {
        disk.read_exact_at(&mut bytes, start)?;
        let (is_one, kind) = match kind {
            Backed::Ext4 { block, group } => (is_ext4_backup(&bytes, block, group), Kind::Ext4),
            Backed::Xfs => (is_xfs_backup(&bytes, start), Kind::Xfs),
        };
        if is_one {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// A place where a filesystem may have a backup superblock.
struct Backup {
    start: u64,
    kind: Backed,
}

enum Backed {
    /// Of ext4 with this block size, in this block group.
    Ext4 {
        block: u64,
        group: u64,
    },
    Xfs,
}

/// Every such place on a device of this size. ext4 has superblocks in block groups 0, 1 and the powers of 3, 5 and 7.
fn backups(size: u64) -> Vec<Backup> {
    let mut places = Vec::new();
    for block in EXT4_BLOCKS {
        // A group has as many blocks as one bitmap block has bits. Blocks of 1 KiB are numbered from 1: the first is
        // left for the boot sector.
        let bytes = 8 * block * block;
        let first = if block == 1024 { block } else { 0 };
        let powers = [3_u64, 5, 7].into_iter().flat_map(|base| {
            std::iter::successors(Some(base), move |power| power.checked_mul(base))
                .take_while(move |power| *power <= size / bytes)
        });
        places.extend(std::iter::once(1).chain(powers).map(|group| Backup {
            start: group.saturating_mul(bytes).saturating_add(first),
            kind: Backed::Ext4 { block, group },
        }));
    }
    let quarter = size.div_ceil(4 * XFS_BLOCK) * XFS_BLOCK;
    let steps = (1..=XFS_STEPS).map(|step| step * XFS_STEP);
    places.extend(steps.chain([quarter]).map(|start| Backup {
        start,
        kind: Backed::Xfs,
    }));
    places.retain(|place| place.start.saturating_add(SUPERBLOCK as u64) <= size);
    places
}

/// Whether it is the superblock that mkfs puts into this block group of an ext2, ext3 or ext4 with this block size.
/// Checks more than the magic number, which random bytes match once in 65,536 times.
fn is_ext4_backup(superblock: &[u8], block: u64, group: u64) -> bool {
    let number = |at: usize, bytes: usize| {
        let digits = superblock.get(at..at + bytes).into_iter().flatten();
        digits
            .rev()
            .fold(0, |number, digit| number << 8 | u64::from(*digit))
    };
    number(0x38, 2) == 0xEF53
        // s_log_block_size, s_first_data_block, s_blocks_per_group: as many as one bitmap block has bits.
        && 1024 << number(0x18, 4).min(6) == block
        && number(0x14, 4) == u64::from(block == 1024)
        && number(0x20, 4) == 8 * block
        // s_rev_level, s_block_group_nr, which has 16 bits
        && number(0x4C, 4) == 1
        && number(0x5A, 2) == group & 0xFFFF
}

/// Whether it is an XFS superblock by whose own geometry an allocation group starts here.
fn is_xfs_backup(superblock: &[u8], start: u64) -> bool {
    let number = |at: usize| {
        let digits = superblock.get(at..at + 4).into_iter().flatten();
        digits.fold(0, |number, digit| number << 8 | u64::from(*digit))
    };
    // sb_blocksize, sb_agblocks
    let group = number(84) * XFS_BLOCK;
    superblock.starts_with(b"XFSB")
        && number(4) == XFS_BLOCK
        && group > 0
        && start.is_multiple_of(group)
}

/// `sb_inprogress` of an XFS superblock.
fn is_unfinished(superblock: &[u8]) -> bool {
    superblock.starts_with(b"XFSB") && superblock.get(126) == Some(&1)
}

/// Older versions of wipefs print nothing at all if there is no signature.
pub fn parse_wipefs(json: &str) -> serde_json::Result<Vec<Finding>> {
    #[derive(Deserialize)]
    struct Answer {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        r#type: Option<String>,
        uuid: Option<String>,
    }
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let answer: Answer = serde_json::from_str(json)?;
    let mut found = Vec::new();
    for Signature { r#type, uuid } in answer.signatures {
        let signature = Finding::Signature {
            kind: r#type.unwrap_or_else(|| "unknown".into()),
            uuid,
        };
        // LUKS and GPT have theirs twice.
        if !found.contains(&signature) {
            found.push(signature);
        }
    }
    Ok(found)
}

fn is_filesystem(kind: &str) -> bool {
    FILESYSTEMS.contains(&kind)
}

/// Only a UUID of this form is put into fstab.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// "an ext4", "an xfs", "an LVM2_member", but "a gpt".
fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u', 'x', 'L']) {
        "an"
    } else {
        "a"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    // What `wipefs --no-act --json` of util-linux 2.38.1 prints for images made with the real tools.
    const BLANK: &str = "{\n   \"signatures\": [\n\n   ]\n}\n";
    const EXT4: &str = r#"{"signatures":[{"device":"x","offset":"0x438","type":"ext4","uuid":"757b587e-6bc4-4df0-a276-2cb0d86f03ee","label":"theta-data"}]}"#;
    const XFS: &str = r#"{"signatures":[{"device":"x","offset":"0x0","type":"xfs","uuid":"e6c3289c-54ab-4226-bef1-adb007a51f37","label":"theta-data"}]}"#;
    const BTRFS: &str = r#"{"signatures":[{"device":"x","offset":"0x10040","type":"btrfs","uuid":"68fb232e-e479-437c-9227-7521d32014a3","label":null}]}"#;
    const GPT: &str = r#"{"signatures":[{"device":"x","offset":"0x200","type":"gpt","uuid":null,"label":null},{"device":"x","offset":"0x3fffe00","type":"gpt","uuid":null,"label":null},{"device":"x","offset":"0x1fe","type":"PMBR","uuid":null,"label":null}]}"#;
    const DOS: &str =
        r#"{"signatures":[{"device":"x","offset":"0x1fe","type":"dos","uuid":null,"label":null}]}"#;
    const SWAP: &str = r#"{"signatures":[{"device":"x","offset":"0xff6","type":"swap","uuid":"73598bb4-9611-4b92-bdba-a91928b935b5","label":null}]}"#;
    const LUKS: &str = r#"{"signatures":[{"device":"x","offset":"0x0","type":"crypto_LUKS","uuid":"8cdd3608-d35d-4bbe-bafc-fa88b98104a8","label":null},{"device":"x","offset":"0x4000","type":"crypto_LUKS","uuid":"8cdd3608-d35d-4bbe-bafc-fa88b98104a8","label":null}]}"#;
    const LVM: &str = r#"{"signatures":[{"device":"x","offset":"0x218","type":"LVM2_member","uuid":"cMSBvv-LTxM-SlRp-0TAW-pAhH-soI5-StoyNZ","label":null}]}"#;
    const RAID: &str = r#"{"signatures":[{"device":"x","offset":"0x1000","type":"linux_raid_member","uuid":"01020304-0506-0708-090a-0b0c0d0e0f10","label":"host:99"}]}"#;
    const ATARI: &str = r#"{"signatures":[{"device":"x","offset":"0x1c6","type":"atari","uuid":null,"label":null}]}"#;
    const EXT4_AND_DOS: &str = r#"{"signatures":[{"device":"x","offset":"0x438","type":"ext4","uuid":"757b587e-6bc4-4df0-a276-2cb0d86f03ee","label":"theta-data"},{"device":"x","offset":"0x1fe","type":"dos","uuid":null,"label":null}]}"#;
    const EXT4_BAD_UUID: &str =
        r#"{"signatures":[{"type":"ext4","uuid":"x /data\n/dev/sda / ext4 defaults 0 0 padd"}]}"#;

    // The start of the second group's superblock, as the real tools write it on a 1 GiB disk.
    const EXT4_1K: &[u8] = b"\x00\x00\x01\x00\x00\x00\x10\x00\xf5\x28\x00\x00\x8e\x73\x0f\x00\xf5\xff\x00\x00\x01\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x20\x00\x00\x00\x02\x00\x00\x00\x00\
        \x00\x00\xb0\xf5\x02\x6b\x00\x00\xff\xff\x53\xef\x00\x00\x01\x00\x00\x00\xb0\xf5\x02\x6b\x00\
        \x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0b\x00\x00\x00\x00\x01\x01\x00";
    const EXT4_4K: &[u8] = b"\x00\x00\x01\x00\x00\x00\x04\x00\x3d\x0a\x00\x00\x65\xcd\x03\x00\xf5\xff\x00\x00\x00\x00\x00\
        \x00\x02\x00\x00\x00\x02\x00\x00\x00\x00\x80\x00\x00\x00\x80\x00\x00\x00\x20\x00\x00\x00\x00\
        \x00\x00\xb0\xf5\x02\x6b\x00\x00\xff\xff\x53\xef\x00\x00\x01\x00\x00\x00\xb0\xf5\x02\x6b\x00\
        \x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x0b\x00\x00\x00\x00\x01\x01\x00";
    const XFS_GROUP: &[u8] = b"\x58\x46\x53\x42\x00\x00\x10\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\xce\xfd\x3a\x9d\xff\xbc\x4a\x63\xab\x00\x92\x5d\x6c\x85\
        \xe4\xd2\x00\x00\x00\x00\x00\x02\x00\x06\x00\x00\x00\x00\x00\x00\x00\x80\xff\xff\xff\xff\xff\
        \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01\x00\x00";

    fn machine(wipefs: &str) -> (Tree, Device) {
        let tree = Tree::new();
        let device = tree.disk("nvme1n1", "259:3", 1 << 30);
        tree.tool("wipefs", &format!("cat <<'END'\n{wipefs}\nEND"));
        tree.file(
            "/proc/self/mountinfo",
            "27 1 259:1 / / rw - xfs /dev/nvme0n1p1 rw\n",
        );
        (tree, device)
    }

    async fn probed(wipefs: &str) -> Contents {
        let (tree, device) = machine(wipefs);
        tree.host.probe(&device).await.unwrap()
    }

    #[tokio::test]
    async fn no_signature_is_blank() {
        assert_eq!(probed(BLANK).await, Contents::Blank);
        assert_eq!(probed("").await, Contents::Blank);
    }

    #[tokio::test]
    async fn one_filesystem_alone_is_one() {
        for (json, kind, uuid) in [
            (EXT4, "ext4", "757b587e-6bc4-4df0-a276-2cb0d86f03ee"),
            (XFS, "xfs", "e6c3289c-54ab-4226-bef1-adb007a51f37"),
            (BTRFS, "btrfs", "68fb232e-e479-437c-9227-7521d32014a3"),
        ] {
            let expected = Contents::Filesystem {
                kind: kind.into(),
                uuid: uuid.into(),
            };
            assert_eq!(probed(json).await, expected);
        }
    }

    /// Puts bytes on the disk.
    fn put(tree: &Tree, start: u64, bytes: &[u8]) {
        let node = tree.host.path("/dev/nvme1n1");
        let file = std::fs::File::options().write(true).open(node).unwrap();
        file.write_all_at(bytes, start).unwrap();
    }

    #[tokio::test]
    async fn an_xfs_that_was_not_finished_is_none_yet() {
        let named = "an xfs filesystem (uuid e6c3289c-54ab-4226-bef1-adb007a51f37)";
        for (magic, mark, wipefs, unfinished) in [
            (b"XFSB", 1, XFS, true),
            (b"XFSB", 0, XFS, false),
            (b"XFSB", 2, XFS, false),
            (b"\0\0\0\0", 1, XFS, false),
            (b"XFSB", 1, EXT4, false),
            (b"XFSB", 1, BLANK, false),
        ] {
            let (tree, device) = machine(wipefs);
            put(&tree, 0, magic);
            put(&tree, 126, &[mark]);
            let contents = tree.host.probe(&device).await.unwrap();
            assert_eq!(contents.is_left_by_mkfs(Kind::Xfs), unfinished);
            assert!(!contents.is_left_by_mkfs(Kind::Ext4));
            if unfinished {
                let cut = format!("{named}, whose mkfs.xfs was interrupted");
                assert_eq!(contents.to_string(), cut);
            }
        }
    }

    #[tokio::test]
    async fn a_backup_superblock_tells_of_a_filesystem_that_was_there() {
        const MIB: u64 = 1 << 20;
        let ext4 = "remains of an ext4 filesystem";
        let of_group = |number| {
            let mut bytes = EXT4_4K.to_vec();
            bytes[0x5A] = number;
            bytes
        };
        let other_group = of_group(3);
        let mut other_size = EXT4_4K.to_vec();
        other_size[0x18] = 1;
        let magic_alone = [[0; 0x38].as_slice(), &[0x53, 0xEF, 1, 0]].concat();
        for (wipefs, start, bytes, named) in [
            (BLANK, 128 * MIB, EXT4_4K, ext4),
            (BLANK, 8 * MIB + 1024, EXT4_1K, ext4),
            (BLANK, 256 * MIB, XFS_GROUP, "remains of an xfs filesystem"),
            (
                ATARI,
                128 * MIB,
                EXT4_4K,
                "an atari partition table, remains of an ext4 filesystem",
            ),
            // The first 136 MiB are gone, and the next superblock is in group 3.
            (BLANK, 384 * MIB, &of_group(3), ext4),
            (BLANK, 384 * MIB, EXT4_4K, "nothing"),
            // Made when the volume was smaller.
            (BLANK, 512 * MIB, XFS_GROUP, "remains of an xfs filesystem"),
            // Not where they belong.
            (BLANK, 0, EXT4_4K, "nothing"),
            (BLANK, 8 * MIB + 1024, EXT4_4K, "nothing"),
            (BLANK, 128 * MIB, EXT4_1K, "nothing"),
            (BLANK, 128 * MIB, XFS_GROUP, "nothing"),
            // Random bytes of a fresh encrypted volume.
            (BLANK, 128 * MIB, &magic_alone, "nothing"),
            (BLANK, 128 * MIB, &other_group, "nothing"),
            (BLANK, 128 * MIB, &other_size, "nothing"),
            (BLANK, 256 * MIB, b"XFSB\0\0\x10\0", "nothing"),
            // Every filesystem has backups.
            (
                EXT4,
                128 * MIB,
                EXT4_4K,
                "an ext4 filesystem (uuid 757b587e-6bc4-4df0-a276-2cb0d86f03ee)",
            ),
        ] {
            let (tree, device) = machine(wipefs);
            put(&tree, start, bytes);
            let contents = tree.host.probe(&device).await.unwrap();
            assert_eq!(contents.to_string(), named);
            assert!(!contents.is_only_atari());
            assert_eq!(contents.is_left_by_mkfs(Kind::Ext4), named == ext4);
        }
    }

    #[tokio::test]
    async fn everything_else_is_foreign_and_named() {
        for (json, named) in [
            (GPT, "a gpt partition table, a PMBR partition table"),
            (DOS, "a dos partition table"),
            (
                SWAP,
                "a swap signature (uuid 73598bb4-9611-4b92-bdba-a91928b935b5)",
            ),
            (
                LUKS,
                "a crypto_LUKS signature (uuid 8cdd3608-d35d-4bbe-bafc-fa88b98104a8)",
            ),
            (
                LVM,
                "an LVM2_member signature (uuid cMSBvv-LTxM-SlRp-0TAW-pAhH-soI5-StoyNZ)",
            ),
            (
                RAID,
                "a linux_raid_member signature (uuid 01020304-0506-0708-090a-0b0c0d0e0f10)",
            ),
            (ATARI, "an atari partition table"),
            (
                EXT4_AND_DOS,
                "an ext4 filesystem (uuid 757b587e-6bc4-4df0-a276-2cb0d86f03ee), a dos partition table",
            ),
            (
                EXT4_BAD_UUID,
                r"an ext4 filesystem (uuid x /data\n/dev/sda / ext4 defaults 0 0 padd)",
            ),
            (r#"{"signatures":[{"type":null}]}"#, "an unknown signature"),
        ] {
            let contents = probed(json).await;
            assert!(matches!(contents, Contents::Foreign(_)), "{json}");
            assert_eq!(contents.to_string(), named);
            assert_eq!(contents.is_only_atari(), json == ATARI);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_understood_or_run_is_an_error_never_blank() {
        for garbage in ["null", "[]", "{}", "{\"signatures\":[", "DEVICE OFFSET"] {
            let (tree, device) = machine(garbage);
            let error = tree.host.probe(&device).await.unwrap_err();
            let node = tree.host.path("/dev/nvme1n1");
            assert_eq!(
                error.reason(),
                format!(
                    "cannot understand what `wipefs --no-act --json {}` said",
                    node.display()
                )
            );
        }
        let (tree, device) = machine(BLANK);
        tree.tool(
            "wipefs",
            "echo 'wipefs: error: x: Input/output error' >&2; exit 1",
        );
        let node = tree.host.path("/dev/nvme1n1");
        assert_eq!(
            tree.host.probe(&device).await.unwrap_err().reason(),
            format!(
                "`wipefs --no-act --json {}` failed with exit code 1: wipefs: error: x: Input/output error",
                node.display()
            )
        );
    }

    #[tokio::test]
    async fn a_device_that_cannot_be_read_whole_is_never_blank() {
        let (tree, mut device) = machine(BLANK);
        device.size += 1;
        let error = tree.host.probe(&device).await.unwrap_err();
        assert_eq!(error.reason(), "cannot read /dev/nvme1n1");
        std::fs::remove_file(tree.host.path("/dev/nvme1n1")).unwrap();
        let error = tree.host.probe(&device).await.unwrap_err();
        assert_eq!(error.reason(), "cannot read /dev/nvme1n1");
        assert_eq!(tree.calls(), [""; 0]);
    }

    #[tokio::test]
    async fn two_looks_must_agree() {
        let (tree, device) = machine(BLANK);
        let mark = tree.host.path("/looked");
        tree.tool(
            "wipefs",
            &format!("[ -e '{0}' ] && echo '{EXT4}'; touch '{0}'", mark.display()),
        );
        let error = tree.host.probe(&device).await.unwrap_err();
        assert_eq!(
            error.reason(),
            "/dev/nvme1n1 held nothing at first, then an ext4 filesystem (uuid 757b587e-6bc4-4df0-a276-2cb0d86f03ee)"
        );
        assert!(error.is_transient());
    }

    async fn used(prepare: impl Fn(&Tree)) -> String {
        let (tree, device) = machine(BLANK);
        prepare(&tree);
        let contents = tree.host.probe(&device).await.unwrap();
        assert!(matches!(contents, Contents::Foreign(_)));
        contents.to_string()
    }

    #[tokio::test]
    async fn a_device_in_use_is_never_blank() {
        let partition = |tree: &Tree| {
            tree.file("/sys/class/block/nvme1n1/nvme1n1p1/partition", "1\n");
            tree.file("/sys/class/block/nvme1n1/nvme1n1p1/dev", "259:4\n");
        };
        let mounts = |tree: &Tree, line: &str| tree.file("/proc/self/mountinfo", line);
        assert_eq!(used(partition).await, "partition nvme1n1p1");
        assert_eq!(
            used(|tree| tree.file("/sys/class/block/nvme1n1/holders/dm-0", "")).await,
            "device dm-0 on top of it"
        );
        assert_eq!(
            used(|tree| {
                partition(tree);
                tree.file("/sys/class/block/nvme1n1/nvme1n1p1/holders/md0", "");
            })
            .await,
            "partition nvme1n1p1, device md0 on top of it"
        );
        assert_eq!(
            used(|tree| tree.file(
                "/proc/swaps",
                "Filename Type\n/dev/nvme1n1 partition 1 0 -2\n"
            ))
            .await,
            "swap in use"
        );
        assert_eq!(
            used(|tree| mounts(tree, "1 1 259:3 / /mnt rw - ext4 /dev/other rw\n")).await,
            "what is mounted at /mnt"
        );
        assert_eq!(
            used(|tree| {
                partition(tree);
                mounts(tree, "1 1 259:4 / / rw - ext4 /dev/root rw\n");
            })
            .await,
            "partition nvme1n1p1, the root filesystem"
        );
        assert_eq!(
            used(|tree| mounts(tree, "1 1 0:50 / / rw - btrfs /dev/nvme1n1 rw\n")).await,
            "the root filesystem"
        );
    }

    #[tokio::test]
    async fn a_machine_that_cannot_say_what_is_mounted_is_an_error() {
        let (tree, device) = machine(BLANK);
        std::fs::remove_file(tree.host.path("/proc/self/mountinfo")).unwrap();
        let error = tree.host.probe(&device).await.unwrap_err();
        assert_eq!(error.reason(), "/proc/self/mountinfo does not exist");
    }

    #[tokio::test]
    async fn a_mounted_filesystem_can_still_be_told() {
        let (tree, device) = machine(XFS);
        tree.file(
            "/proc/self/mountinfo",
            "1 1 259:3 / /data rw - xfs /dev/nvme1n1 rw\n",
        );
        let contents = tree.host.filesystem_on(&device).await.unwrap();
        assert!(matches!(contents, Contents::Filesystem { kind, .. } if kind == "xfs"));
    }
}
