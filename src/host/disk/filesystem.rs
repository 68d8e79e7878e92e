//! Making, mounting and growing the filesystem on a device.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Contents, Device, LOOK};
use crate::error::{Error, Result};
use crate::host::mounts::SAFE;
use crate::host::{Command, Host, failures};
use crate::retry::{Policy, retry};
use crate::shell::word;

/// Label of the filesystems that we make.
const LABEL: &str = "theta-data";

/// Formatting, mounting (a journal may have to be replayed) and growing take minutes on a slow volume.
const LONG: Duration = Duration::from_mins(5);

/// A superblock that cannot be read while the kernel writes it can be read a moment later.
const GROWING: Policy = Policy {
    attempts: 4,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(5),
};

/// A filesystem may end this many bytes before its device: the remainder of the last block group. Volumes grow by GiB.
const SLACK: u64 = 256 * 1024 * 1024;

/// Filesystems that we make, as the config names them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// ext4
    #[default]
    Ext4,
    /// XFS
    Xfs,
}

impl fmt::Display for Kind {
    /// The name that fstab, mountinfo and libblkid use.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

impl Kind {
    /// The program that makes one.
    fn maker(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// The package with its tools; it has this name on every supported system.
    pub fn package(self) -> &'static str {
        match self {
            Self::Ext4 => "e2fsprogs",
            Self::Xfs => "xfsprogs",
        }
    }

    /// Size in bytes, from the output of `dumpe2fs -h` or `xfs_info`.
    fn size(self, described: &str) -> Option<u64> {
        match self {
            Self::Ext4 => ext4_size(described),
            Self::Xfs => xfs_size(described),
        }
    }

    /// How to repair a damaged filesystem on the device that belongs at `target`. Plain `fsck` does nothing on XFS, and
    /// none of these tools works on a mounted filesystem.
    pub fn repair(self, device: &Device, target: &str) -> String {
        let tool = match self {
            Self::Ext4 => "fsck.ext4 -f",
            Self::Xfs => "xfs_repair",
        };
        let target = word(target);
        let disk = word(&device.path);
        format!(
            "see `dmesg`; repair the filesystem: `docker stop edgelauncher`, `umount {target}` where it is mounted, \
             `{tool} {disk}`; then run `bootstrap` again"
        )
    }
}

impl Host {
    /// Whether this filesystem's tools are installed; a minimal image may lack them.
    pub fn has_tools_of(&self, kind: Kind) -> bool {
        self.has_program(kind.maker())
    }

    /// Makes a filesystem on the device, which must still hold exactly what the caller `saw`: nothing, the phantom
    /// "atari" table, or what an earlier attempt left. Probes again just before. `uuid` is the one to give it, if
    /// chosen beforehand. `ready` is the caller's last check: nothing happens between it and the first write.
    pub async fn format(
        &self,
        device: &Device,
        kind: Kind,
        uuid: Option<&str>,
        saw: &Contents,
        ready: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let path = &device.path;
        let now = self.probe(device).await?;
        let blank = now == Contents::Blank;
        if now != *saw || !(blank || now.is_only_atari() || now.is_left_by_mkfs(kind)) {
            return Err(Error::new(
                format!("{path} was to be formatted, but holds {now}"),
                "see what else uses the device, then run `bootstrap` again; nothing was changed",
            ));
        }
        if self.device_attribute(device, "ro")?.as_deref() != Some("0") {
            return Err(Error::new(format!("{path} is read-only"), LOOK));
        }
        let make = match kind {
            // Only the node uses the space: 1 % reserved for root is enough. Inode tables are zeroed later.
            Kind::Ext4 => self.command(kind.maker()).args([
                "-q",
                "-L",
                LABEL,
                "-m",
                "1",
                "-E",
                "lazy_itable_init=1",
            ]),
            Kind::Xfs => self.command(kind.maker()).args(["-q", "-L", LABEL]),
        };
        let make = match (kind, uuid) {
            (_, None) => make,
            (Kind::Ext4, Some(uuid)) => make.args(["-U", uuid]),
            (Kind::Xfs, Some(uuid)) => make.args(["-m".to_owned(), format!("uuid={uuid}")]),
        };
        // mkfs.xfs, unlike mkfs.ext4 without a terminal, refuses to overwrite the phantom table or its own leftovers.
        let make = match kind {
            Kind::Xfs if !blank => make.arg("-f"),
            _ => make,
        };
        ready()?;
        make.arg(self.path(path)).timeout(LONG).run().await?;
        Ok(())
    }

    /// Remounts `target` with the options it lacks; files open there are not affected.
    pub async fn make_safe(&self, target: &str) -> Result<()> {
        let command = self
            .command("mount")
            .args(["-o", &format!("remount,{SAFE}"), target]);
        command.timeout(LONG).run().await.map(drop)
    }

    /// Mounts the device at `target` and checks that it is what is mounted there. Not by fstab's UUID: a volume made
    /// from a snapshot has the same one, and udev may not know it yet, which `nofail` turns into success.
    pub async fn mount(&self, device: &Device, kind: Kind, target: &str) -> Result<()> {
        let output = self
            .command("mount")
            .args(["-t", &kind.to_string(), "-o", SAFE])
            .arg(self.path(&device.path))
            .arg(target)
            .timeout(LONG)
            .output()
            .await?;
        // systemd may have mounted it first, so what is mounted counts, not the exit code.
        match self.mounted_at(target)? {
            Some(mount) if mount.device == device.number => Ok(()),
            Some(mount) => Err(Error::new(
                format!(
                    "{} ({}) was mounted at {target} in place of {}",
                    mount.source, mount.device, device.path
                ),
                format!(
                    "unmount it (`umount {}`), then run `bootstrap` again",
                    word(target)
                ),
            )),
            None if output.code != 0 => Err(match self.larger_than(device, kind).await {
                Some(size) => too_small(device, kind, size),
                None if failures::is_known(&output) => output.failure(),
                None => Error::new(output.failure().reason(), kind.repair(device, target)),
            }),
            None => Err(Error::new(
                format!(
                    "{} was mounted at {target} and vanished at once",
                    device.path
                ),
                format!(
                    "see in `journalctl -b` who unmounted {target}, then run `bootstrap` again"
                ),
            )),
        }
    }

    /// Whether the device has grown past its filesystem, which is mounted at `target`.
    pub async fn can_grow(&self, device: &Device, kind: Kind, target: &str) -> Result<bool> {
        // xfs_info needs the mount point of a mounted filesystem.
        let place = match kind {
            Kind::Ext4 => self.path(&device.path),
            Kind::Xfs => target.into(),
        };
        let output = self.describe(kind, &place).output().await?;
        match kind.size(&output.stdout) {
            // dumpe2fs reads the superblock of a mounted filesystem: it may find a bad checksum, exit with a code other
            // than 0 and still print all that is needed (tytso/e2fsprogs#125).
            Some(size) => Ok(size.saturating_add(SLACK) < device.size),
            None if output.code != 0 => Err(output.failure()),
            None => Err(Error::new(
                format!(
                    "`{}` did not say how large the filesystem is",
                    output.command
                ),
                "run the command by hand and see what it says instead",
            )),
        }
    }

    /// The size of the (unmounted) filesystem if the device is too small for it.
    async fn larger_than(&self, device: &Device, kind: Kind) -> Option<u64> {
        let described = self.describe(kind, &self.path(&device.path)).output().await;
        let size = kind.size(&described.ok()?.stdout)?;
        (size > device.size).then_some(size)
    }

    /// Shows the filesystem's superblock.
    fn describe(&self, kind: Kind, place: &Path) -> Command {
        match kind {
            Kind::Ext4 => self.command("dumpe2fs").arg("-h").arg(place).looks(),
            Kind::Xfs => self.command("xfs_info").arg(place).looks(),
        }
    }

    /// Grows the filesystem, which is mounted at `target`, to the size of the device.
    pub async fn grow(&self, device: &Device, kind: Kind, target: &str) -> Result<()> {
        retry(GROWING, "growing the filesystem", || async {
            let command: Command = match kind {
                Kind::Ext4 => self.command("resize2fs").arg(self.path(&device.path)),
                Kind::Xfs => self.command("xfs_growfs").arg(target),
            };
            command.timeout(LONG).run().await.map(drop)
        })
        .await
    }
}

/// A volume can only grow, so this one was copied from a larger one. fsck would offer to truncate the filesystem.
fn too_small(device: &Device, kind: Kind, size: u64) -> Error {
    let path = &device.path;
    Error::new(
        format!(
            "{path} is too small for the {kind} on it ({} of {size} bytes): it is a part of a larger volume",
            device.size
        ),
        format!(
            "make the volume {} GiB at least (aws ec2 modify-volume) and copy the larger one to it again, or name that one in \
             volume.id; run no fsck on this one",
            size.div_ceil(1 << 30)
        ),
    )
}

/// Bytes, from the lines `Block count: 65536` and `Block size: 1024`.
fn ext4_size(text: &str) -> Option<u64> {
    let value = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim()
            .parse()
            .ok()
    };
    value("Block count:")?.checked_mul(value("Block size:")?)
}

/// Bytes, from the line `data     =      bsize=4096   blocks=102400, imaxpct=25`.
fn xfs_size(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("data"))?;
    let value = |name: &str| -> Option<u64> {
        line.split([' ', ','])
            .find_map(|word| word.strip_prefix(name))?
            .parse()
            .ok()
    };
    value("blocks=")?.checked_mul(value("bsize=")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    const EXT4: &str =
        r#"{"signatures":[{"type":"ext4","uuid":"757b587e-6bc4-4df0-a276-2cb0d86f03ee"}]}"#;
    const ATARI: &str = r#"{"signatures":[{"type":"atari","uuid":null}]}"#;
    const GPT: &str = r#"{"signatures":[{"type":"gpt","uuid":null}]}"#;

    fn machine(wipefs: &str) -> (Tree, Device) {
        let tree = Tree::new();
        let device = tree.disk("nvme1n1", "259:3", 1 << 20);
        tree.file("/proc/self/mountinfo", "");
        tree.tool("wipefs", &format!("echo '{wipefs}'"));
        for tool in ["mkfs.ext4", "mkfs.xfs", "mount", "resize2fs", "xfs_growfs"] {
            tree.tool(tool, "");
        }
        (tree, device)
    }

    fn made(tree: &Tree) -> Vec<String> {
        let node = tree.host.path("/dev/nvme1n1").display().to_string();
        let calls = tree.calls().into_iter();
        calls
            .filter(|call| !call.starts_with("wipefs"))
            .map(|call| call.replace(&node, "NODE"))
            .collect()
    }

    async fn format(wipefs: &str, kind: Kind, uuid: Option<&str>) -> Vec<String> {
        let (tree, device) = machine(wipefs);
        let saw = tree.host.probe(&device).await.unwrap();
        let ready = || Ok(());
        let formatted = tree.host.format(&device, kind, uuid, &saw, ready);
        formatted.await.unwrap();
        made(&tree)
    }

    #[tokio::test]
    async fn formats_what_is_blank() {
        assert_eq!(
            format("", Kind::Ext4, None).await,
            ["mkfs.ext4 -q -L theta-data -m 1 -E lazy_itable_init=1 NODE"]
        );
        assert_eq!(
            format("", Kind::Ext4, Some("u")).await,
            ["mkfs.ext4 -q -L theta-data -m 1 -E lazy_itable_init=1 -U u NODE"]
        );
        assert_eq!(
            format("", Kind::Xfs, None).await,
            ["mkfs.xfs -q -L theta-data NODE"]
        );
        assert_eq!(
            format(ATARI, Kind::Xfs, Some("u")).await,
            ["mkfs.xfs -q -L theta-data -m uuid=u -f NODE"]
        );
    }

    #[tokio::test]
    async fn never_formats_anything_else_whatever_the_caller_saw() {
        for (now, named) in [
            (
                EXT4,
                "an ext4 filesystem (uuid 757b587e-6bc4-4df0-a276-2cb0d86f03ee)",
            ),
            (GPT, "a gpt partition table"),
            (ATARI, "an atari partition table"),
        ] {
            let (tree, device) = machine(now);
            let saw_the_same = tree.host.probe(&device).await.unwrap();
            let mut seen = vec![Contents::Blank];
            if !saw_the_same.is_only_atari() {
                seen.push(saw_the_same);
            }
            for saw in seen {
                let error = tree
                    .host
                    .format(&device, Kind::Ext4, None, &saw, || Ok(()))
                    .await
                    .unwrap_err();
                assert_eq!(
                    error.reason(),
                    format!("/dev/nvme1n1 was to be formatted, but holds {named}")
                );
            }
            assert_eq!(made(&tree), [""; 0]);
        }
    }

    #[tokio::test]
    async fn never_formats_a_read_only_device() {
        for state in ["1\n", ""] {
            let (tree, device) = machine("");
            tree.file("/sys/class/block/nvme1n1/ro", state);
            let error = tree
                .host
                .format(&device, Kind::Ext4, None, &Contents::Blank, || Ok(()))
                .await;
            assert_eq!(error.unwrap_err().reason(), "/dev/nvme1n1 is read-only");
            assert_eq!(made(&tree), [""; 0]);
        }
    }

    #[tokio::test]
    async fn a_mount_is_believed_only_when_the_kernel_shows_it() {
        let (tree, device) = machine("");
        let ours = "1 1 259:3 / /data rw,nosuid,nodev - ext4 /dev/nvme1n1 rw\n";
        let other = "1 1 259:9 / /data rw - ext4 /dev/nvme9n1 rw\n";
        for (exit, mounted, reason) in [
            (0, ours, None),
            (32, ours, None),
            (
                0,
                other,
                Some("/dev/nvme9n1 (259:9) was mounted at /data in place of /dev/nvme1n1"),
            ),
            (
                0,
                "",
                Some("/dev/nvme1n1 was mounted at /data and vanished at once"),
            ),
            (
                32,
                "",
                Some(
                    "`mount -t ext4 -o nosuid,nodev NODE /data` failed with exit code 32: mount: /data: wrong fs type",
                ),
            ),
        ] {
            tree.tool(
                "mount",
                &format!("echo 'mount: /data: wrong fs type' >&2; exit {exit}"),
            );
            tree.file("/proc/self/mountinfo", mounted);
            let result = tree.host.mount(&device, Kind::Ext4, "/data").await;
            let node = tree.host.path("/dev/nvme1n1").display().to_string();
            let said = result
                .err()
                .map(|error| error.reason().replace(&node, "NODE"));
            assert_eq!(said.as_deref(), reason);
        }
    }

    #[tokio::test]
    async fn each_damaged_filesystem_has_its_own_repair() {
        let (tree, device) = machine("");
        tree.tool("mount", "echo 'mount: /data: bad superblock' >&2; exit 32");
        for (kind, tool) in [
            (Kind::Ext4, "fsck.ext4 -f /dev/nvme1n1"),
            (Kind::Xfs, "xfs_repair /dev/nvme1n1"),
        ] {
            let error = tree.host.mount(&device, kind, "/data").await.unwrap_err();
            assert_eq!(
                error.hint(),
                format!(
                    "see `dmesg`; repair the filesystem: `docker stop edgelauncher`, `umount /data` where it is mounted, \
                     `{tool}`; then run `bootstrap` again"
                )
            );
        }
    }

    #[tokio::test]
    async fn grows_when_the_device_is_clearly_larger() {
        let (tree, mut device) = machine("");
        tree.tool(
            "dumpe2fs",
            "echo 'Block count:   65536'; echo 'Block size:    1024'",
        );
        tree.tool(
            "xfs_info",
            "echo 'meta-data=/dev/x isize=512'; echo ' = sectsz=512'; echo 'data     =    bsize=4096   blocks=16384, imaxpct=25'",
        );
        for (size, grown) in [
            (64 << 20, false),
            (320 << 20, false),
            ((320 << 20) + 1, true),
        ] {
            device.size = size;
            for kind in [Kind::Ext4, Kind::Xfs] {
                let can = tree.host.can_grow(&device, kind, "/data").await.unwrap();
                assert_eq!(can, grown, "{kind} {size}");
            }
        }
        tree.host.grow(&device, Kind::Ext4, "/data").await.unwrap();
        tree.host.grow(&device, Kind::Xfs, "/data").await.unwrap();
        let made = made(&tree);
        assert_eq!(
            made[made.len() - 2..],
            ["resize2fs NODE", "xfs_growfs /data"]
        );
    }

    #[tokio::test]
    async fn an_unreadable_size_is_an_error() {
        let (tree, device) = machine("");
        tree.tool("xfs_info", "echo hello");
        let error = tree.host.can_grow(&device, Kind::Xfs, "/data").await;
        assert_eq!(
            error.unwrap_err().reason(),
            "`xfs_info /data` did not say how large the filesystem is"
        );
    }
}
