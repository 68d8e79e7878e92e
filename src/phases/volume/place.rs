//! From a device to a filesystem at its mount point; never over anything that was there before.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{find, memory};
use crate::config::VolumeSource;
use crate::doing::doing;
use crate::engine::State;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::directories::RUN;
use crate::host::disk::{Contents, Device, Kind};
use crate::host::files::Access;
use crate::host::mounts::{FstabEntry, Mount, SAFE};
use crate::log::printable;
use crate::paths::INSTANCE_STORE;
use crate::shell::word;

/// Growing the filesystem failed in this run, and is not tried again in it.
static GROWTH_FAILED: AtomicBool = AtomicBool::new(false);

/// Makes this process leave the filesystem's size alone: for the health check, which does not fail because the
/// filesystem could be larger.
pub fn leave_size() {
    GROWTH_FAILED.store(true, Ordering::Relaxed);
}

/// Where and how the volume is to be mounted.
pub(super) struct Place<'a> {
    pub(super) host: &'a Host,
    /// Which disk it is.
    pub(super) source: &'a VolumeSource,
    /// What messages call the volume: its ID.
    pub(super) name: String,
    /// The UUID that a filesystem made here gets, if it is known in advance.
    pub(super) uuid: Option<String>,
    /// Mount point.
    pub(super) target: &'a str,
    /// The filesystem that it has, or gets if it is blank.
    pub(super) kind: Kind,
    /// User and group ID that own the filesystem's top directory.
    pub(super) owner: (u32, u32),
}

/// What to do with a device that is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Mount it as it is.
    Reuse,
    /// Make a filesystem on it.
    Format,
    /// Ask EC2 whether its apparent contents can be random bytes.
    Ask,
    /// Leave it alone.
    Refuse,
}

/// What is known about how a disk came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An encrypted volume that was created blank for this node and never had a filesystem: what is on it can be random
    /// bytes.
    New,
    /// The same, but this machine has begun to create the filesystem and not finished.
    Begun,
    /// A volume that is never formatted, and why: completes "its contents are …, but …".
    Kept(String),
    /// The instance's own disk, and whether formatting it was begun.
    Instance {
        /// Whether it was.
        begun: bool,
    },
}

/// Blank as far as can be told: random bytes can look like an atari partition table.
fn seems_blank(contents: &Contents) -> bool {
    *contents == Contents::Blank || contents.is_only_atari()
}

/// `origin` is `None` if EC2 was not asked.
fn decide(contents: &Contents, wanted: Kind, origin: Option<&Origin>) -> Decision {
    let is_blank = *contents == Contents::Blank;
    let seems_blank = seems_blank(contents);
    let is_left = contents.is_left_by_mkfs(wanted);
    match (contents, origin) {
        (Contents::Filesystem { kind, .. }, _) if *kind == wanted.to_string() => Decision::Reuse,
        (_, None) if seems_blank || is_left => Decision::Ask,
        (_, Some(Origin::New)) if seems_blank => Decision::Format,
        (_, Some(Origin::Begun)) if seems_blank || is_left => Decision::Format,
        (_, Some(Origin::Instance { begun })) if is_blank || (*begun && is_left) => {
            Decision::Format
        }
        _ => Decision::Refuse,
    }
}

impl Place<'_> {
    /// Whether all of it is done already. Only reads; a disk that must not be touched is an error.
    /// `origin` is `None` if EC2 has to be asked first.
    pub(super) async fn check(&self, device: &Device, origin: Option<&Origin>) -> Result<State> {
        let Self {
            name, target, kind, ..
        } = self;
        if self.is_mounted(device)? {
            let uuid = self.uuid(device).await?;
            let missing = self.missing(device, &uuid).await?;
            return Ok(if missing.is_empty() {
                State::Done(format!(
                    "{} ({name}, {kind} UUID={uuid}) on {target}, {} GiB",
                    device.path,
                    device.size >> 30
                ))
            } else {
                State::Needed(missing.join("; "))
            });
        }
        self.require_free()?;
        let (contents, decision) = self.judge(device, origin).await?;
        let path = &device.path;
        match decision {
            Decision::Reuse => Ok(State::Needed(format!(
                "{name} ({path}) holds {contents} and is not mounted at {target}"
            ))),
            Decision::Format if contents.is_left_by_mkfs(*kind) => Ok(State::Needed(format!(
                "{name} ({path}) holds {contents}: {kind} will be created again and mounted at {target}"
            ))),
            Decision::Format => Ok(State::Needed(format!(
                "{name} ({path}) is blank: {kind} will be created and mounted at {target}"
            ))),
            Decision::Ask => Ok(State::Needed(format!(
                "{name} ({path}) seems to hold {contents}: EC2 is to be asked whether {kind} may be made on it"
            ))),
            Decision::Refuse => Err(self.refusal(device, &contents, origin)),
        }
    }

    /// What the device holds, and what to do with it.
    async fn judge(
        &self,
        device: &Device,
        origin: Option<&Origin>,
    ) -> Result<(Contents, Decision)> {
        let contents = self.host.probe(device).await?;
        let decision = decide(&contents, self.kind, origin);
        let could_be_formatted =
            matches!(decision, Decision::Format | Decision::Ask) || seems_blank(&contents);
        if could_be_formatted && let Some((uuid, place)) = self.known_uuid()? {
            let why = format!("{place} says that it has UUID={}", printable(&uuid));
            return Err(self.unreadable(device, &contents, &why));
        }
        Ok((contents, decision))
    }

    /// Does all of it and returns the filesystem's UUID. Every refusal comes before the first change; `claim` runs
    /// before a filesystem is created, and none is created if it fails.
    pub(super) async fn prepare(
        &self,
        device: &Device,
        origin: &Origin,
        claim: impl Future<Output = Result<()>> + Send,
    ) -> Result<String> {
        let Self {
            host, target, kind, ..
        } = self;
        let begun = matches!(origin, Origin::Begun | Origin::Instance { begun: true });
        let uuid = if self.is_mounted(device)? {
            let uuid = self.uuid(device).await?;
            memory::end(host, begun)?;
            self.note(&uuid)?;
            if host.ensure_fstab(&self.entry(uuid.clone()))? {
                host.daemon_reload().await?;
            }
            if !self.is_safe()? {
                host.make_safe(target).await?;
            }
            uuid
        } else {
            self.require_free()?;
            let (contents, decision) = self.judge(device, Some(origin)).await?;
            match decision {
                Decision::Reuse => {}
                Decision::Format => {
                    doing(&format!("making {kind} on {} ({})", device.path, self.name));
                    claim.await?;
                    let ready = || self.require_same(device);
                    host.format(device, *kind, self.uuid.as_deref(), &contents, ready)
                        .await?;
                }
                Decision::Ask | Decision::Refuse => {
                    return Err(self.refusal(device, &contents, Some(origin)));
                }
            }
            let uuid = self.uuid(device).await?;
            // Before anything can be written to the filesystem.
            memory::end(host, begun || decision == Decision::Format)?;
            self.note(&uuid)?;
            // Owned by root, so that the node cannot write into it while the volume is away.
            host.make_dir(target, Access::mode(0o755))?;
            host.ensure_fstab(&self.entry(uuid.clone()))?;
            // Otherwise systemd may at once unmount what its stale unit does not know (systemd/systemd#1741).
            host.daemon_reload().await?;
            doing(&format!("mounting {} at {target}", self.name));
            if let Err(error) = host.mount(device, *kind, target).await {
                // If the disk is gone, say that instead of advising a repair.
                self.require_same(device)?;
                return Err(error);
            }
            uuid
        };
        if host.owner(target)? != Some(self.owner) {
            host.give_dir(target, self.owner)?;
        }
        self.grow(device).await;
        Ok(uuid)
    }

    /// Grows the filesystem if the volume has grown. Less space than possible is no reason for a node to be down: a
    /// failure is logged, and the next run tries again.
    async fn grow(&self, device: &Device) {
        let Self {
            host, target, kind, ..
        } = self;
        let grown = async {
            if host.can_grow(device, *kind, target).await? {
                doing(&format!("growing the filesystem of {}", self.name));
                host.grow(device, *kind, target).await?;
                if host.can_grow(device, *kind, target).await? {
                    return Err(Error::new(
                        format!(
                            "the tool has grown it, and it is as large as before ({})",
                            self.name
                        ),
                        "see `dmesg`; the node works with the room that there is",
                    ));
                }
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = grown.await {
            GROWTH_FAILED.store(true, Ordering::Relaxed);
            tracing::warn!(
                "{}'s filesystem is not as large as the volume could have it: {error}; {}",
                self.name,
                error.hint()
            );
        }
    }

    /// Whether the volume has grown past its filesystem, and growing it has not failed in this run.
    async fn is_to_grow(&self, device: &Device) -> bool {
        // If this cannot be determined, the attempt to grow it reports why.
        !GROWTH_FAILED.load(Ordering::Relaxed)
            && self
                .host
                .can_grow(device, self.kind, self.target)
                .await
                .unwrap_or(true)
    }

    /// UUID of the filesystem that the volume had when an earlier run mounted it, and where that is recorded. An
    /// instance's own disk loses its filesystem whenever the instance stops, but not while it runs.
    fn known_uuid(&self) -> Result<Option<(String, &'static str)>> {
        let (uuid, place) = match self.source {
            VolumeSource::Ebs { id, .. } => (self.host.fstab_uuid(id.as_str())?, "/etc/fstab"),
            VolumeSource::InstanceStore => (self.host.read_text(INSTANCE_STORE)?, INSTANCE_STORE),
        };
        Ok(uuid.map(|uuid| (uuid, place)))
    }

    /// Notes the UUID on an instance's own disk, until the next boot.
    fn note(&self, uuid: &str) -> Result<()> {
        match self.source {
            VolumeSource::Ebs { .. } => Ok(()),
            VolumeSource::InstanceStore => {
                RUN.make(self.host)?;
                self.host
                    .write(INSTANCE_STORE, uuid.as_bytes(), Access::mode(0o600))
            }
        }
    }

    /// The device is still the same disk: names are reused when one disk goes and another comes.
    fn require_same(&self, device: &Device) -> Result<()> {
        let path = &device.path;
        match find(self.host, self.source)? {
            Some(now) if now == *device => Ok(()),
            now => Err(Error::new(
                format!(
                    "{} was {path} ({}) and is now {}",
                    self.name,
                    device.number,
                    now.map_or("gone".into(), |now| format!(
                        "{} ({})",
                        now.path, now.number
                    ))
                ),
                "see what attaches and detaches volumes, then run `bootstrap` again; nothing was changed",
            )),
        }
    }

    /// Nothing is mounted at the mount point, it is empty, and fstab uses it for nothing else.
    pub(super) fn require_free(&self) -> Result<()> {
        let target = self.target;
        if let Some(mount) = self.host.mounted_at(target)? {
            return Err(self.occupied(&mount));
        }
        // The UUID does not matter: only somebody else's line is an error.
        self.host.fstab_has(&self.entry(String::new()))?;
        let names = self.host.names_in(target)?;
        if names.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = names.iter().take(3).map(|name| printable(name)).collect();
        let more = if names.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        Err(Error::new(
            format!(
                "{target} is not a mount point and not empty: {}{more}; mounting over it would hide that",
                shown.join(", ")
            ),
            format!("move what is in {target} elsewhere, then run `bootstrap --phase volume`"),
        ))
    }

    /// Whether this device, and all of it, is mounted here; anything else that is mounted here is an error.
    fn is_mounted(&self, device: &Device) -> Result<bool> {
        let (target, name) = (self.target, &self.name);
        match self.host.mounted_at(target)? {
            None => Ok(false),
            Some(mount) if mount.device != device.number || mount.root != "/" => {
                Err(self.occupied(&mount))
            }
            Some(mount) if mount.read_only => Err(Error::new(
                format!("{name} is mounted read-only at {target}, as happens after a disk error"),
                self.kind.repair(device, target),
            )),
            Some(_) => Ok(true),
        }
    }

    fn is_safe(&self) -> Result<bool> {
        let mounted = self.host.mounted_at(self.target)?;
        Ok(mounted.is_some_and(|mount| mount.safe))
    }

    fn occupied(&self, mount: &Mount) -> Error {
        let target = self.target;
        let place = word(target);
        let what = match mount.root.as_str() {
            "/" => printable(&mount.source),
            root => format!("{} of {}", printable(root), printable(&mount.source)),
        };
        Error::new(
            format!(
                "{what} ({}, {}) is mounted at {target} in place of {}",
                mount.filesystem, mount.device, self.name
            ),
            format!(
                "unmount it (`umount {place}`), or name the right volume in volume.id; nothing was changed"
            ),
        )
    }

    /// UUID of the wanted filesystem on the device.
    async fn uuid(&self, device: &Device) -> Result<String> {
        match self.host.filesystem_on(device).await? {
            Contents::Filesystem { kind, uuid } if kind == self.kind.to_string() => Ok(uuid),
            contents => Err(self.refusal(device, &contents, None)),
        }
    }

    /// What is missing around a mounted filesystem.
    async fn missing(&self, device: &Device, uuid: &str) -> Result<Vec<String>> {
        let (target, name) = (self.target, &self.name);
        let (user, group) = self.owner;
        let mut missing = Vec::new();
        if !self.host.fstab_has(&self.entry(uuid.to_owned()))? {
            missing.push(format!("fstab does not mount UUID={uuid} at {target}"));
        }
        if !self.is_safe()? {
            missing.push(format!("{target} is mounted without {SAFE}"));
        }
        if self.is_to_grow(device).await {
            missing.push(format!(
                "{name} has grown to {} GiB, its filesystem not yet",
                device.size >> 30
            ));
        }
        if self.host.owner(target)? != Some(self.owner) {
            missing.push(format!("{target} does not belong to {user}:{group}"));
        }
        Ok(missing)
    }

    fn entry(&self, uuid: String) -> FstabEntry {
        FstabEntry {
            uuid,
            target: self.target.to_owned(),
            filesystem: self.kind.to_string(),
            volume: match self.source {
                VolumeSource::Ebs { id, .. } => Some(id.to_string()),
                VolumeSource::InstanceStore => None,
            },
        }
    }

    fn refusal(&self, device: &Device, contents: &Contents, origin: Option<&Origin>) -> Error {
        let path = &device.path;
        if let Some(Origin::Kept(why)) = origin {
            if seems_blank(contents) || contents.remains().is_some() {
                return self.unreadable(device, contents, why);
            }
            return Error::new(
                format!(
                    "{} ({path}) holds {contents}; {} was expected, since {why}",
                    self.name, self.kind
                ),
                self.way_out(device, contents, Some(why)),
            );
        }
        Error::new(
            format!(
                "{} ({path}) holds {contents}; {} or a blank volume was expected",
                self.name, self.kind
            ),
            self.way_out(device, contents, None),
        )
    }

    /// The error if something that must have been there can no longer be read.
    fn unreadable(&self, device: &Device, contents: &Contents, why: &str) -> Error {
        let (name, path) = (&self.name, &device.path);
        Error::new(
            format!("{name} ({path}) holds {contents}, but {why}"),
            self.repair(self.kind, path),
        )
    }

    /// What a person can do about unexpected contents, on a volume that may be `kept` as it is.
    fn way_out(&self, device: &Device, contents: &Contents, kept: Option<&str>) -> String {
        let path = &device.path;
        let disk = word(path);
        if let Some(kind) = contents.remains() {
            return self.repair(kind, path);
        }
        match contents {
            Contents::Filesystem { kind, .. } if kind == "ext4" || kind == "xfs" => format!(
                "if that is the node's data, set volume.filesystem in the config to `{kind}`, else name the right \
                 volume in volume.id; {}",
                self.last_resort(path)
            ),
            _ if kept.is_some() => format!(
                "name the right volume in volume.id; {}",
                self.last_resort(path)
            ),
            _ => format!(
                "name the right volume in volume.id, or, if nothing on this one is needed, clear it yourself \
                 (`wipefs --all {disk}` destroys a wallet key on it) and run `bootstrap` again; nothing was changed"
            ),
        }
    }

    fn repair(&self, kind: Kind, path: &str) -> String {
        let tool = match kind {
            // With 4 KiB blocks, the first backup is in block 32768.
            Kind::Ext4 => "fsck.ext4 -b 32768",
            Kind::Xfs => "xfs_repair",
        };
        let disk = word(path);
        format!(
            "it may be damaged: make a snapshot, repair it (`{tool} {disk}`) and run `bootstrap` again, or name an \
             empty new volume in volume.id; {}",
            self.last_resort(path)
        )
    }

    /// Not `wipefs`, which leaves the backup superblocks.
    fn last_resort(&self, path: &str) -> String {
        let make = match self.kind {
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs -f",
        };
        let disk = word(path);
        format!(
            "only if nothing on it is needed, make the filesystem yourself: `{make} {disk}` destroys a wallet key on \
             it; nothing was changed"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::host::disk::VolumeId;
    use crate::host::testing::Tree;
    use crate::paths::FORMATTING;

    const UUID: &str = "757b587e-6bc4-4df0-a276-2cb0d86f03ee";
    const LINE: &str = "UUID=757b587e-6bc4-4df0-a276-2cb0d86f03ee /data ext4 defaults,nofail,nosuid,nodev,\
                        x-systemd.before=docker.service,x-systemd.device-timeout=30s,x-bootstrap=vol-0abc1234 0 2\n";
    const MOUNTED: &str = "1 1 259:3 / /data rw,nosuid,nodev - ext4 /dev/nvme1n1 rw\n";

    /// The backup superblock of an ext4, 128 MiB into its disk, as far as it is inspected.
    const BACKUP: [u8; 0x5C] = {
        let mut bytes = [0; 0x5C];
        (bytes[0x18], bytes[0x21], bytes[0x38], bytes[0x39]) = (2, 0x80, 0x53, 0xEF);
        (bytes[0x4C], bytes[0x5A]) = (1, 1);
        bytes
    };

    fn signature(kind: &str) -> String {
        format!(r#"{{"signatures":[{{"type":"{kind}","uuid":"{UUID}"}}]}}"#)
    }

    /// A machine whose tools change its files the way the real ones change a real machine.
    struct Machine {
        tree: Tree,
        source: VolumeSource,
        kind: Kind,
        device: Device,
    }

    impl Machine {
        /// A machine whose only disk is the instance's own, blank.
        fn with_its_own_disk() -> Self {
            let mut machine = Self::holding("");
            machine.source = VolumeSource::InstanceStore;
            machine.tree.file(
                "/sys/class/block/nvme1n1/device/model",
                "Amazon EC2 NVMe Instance Storage\n",
            );
            machine
        }

        fn holding(signatures: &str) -> Self {
            let tree = Tree::new();
            let device = tree.disk("nvme1n1", "259:3", 1 << 30);
            tree.file("/sys/class/block/nvme1n1/device/serial", "vol0abc1234\n");
            tree.file("/signatures", signatures);
            tree.file("/proc/self/mountinfo", "");
            let at = |path: &str| tree.host.path(path).display().to_string();
            let (signatures, mounts) = (at("/signatures"), at("/proc/self/mountinfo"));
            tree.tool("wipefs", &format!("cat '{signatures}'"));
            tree.tool(
                "mkfs.ext4",
                &format!("echo '{}' > '{signatures}'", signature("ext4")),
            );
            tree.tool("mount", &format!("echo '{}' > '{mounts}'", MOUNTED.trim()));
            tree.tool("systemctl", "");
            tree.tool(
                "dumpe2fs",
                "echo 'Block count: 262144'; echo 'Block size: 4096'",
            );
            tree.tool("resize2fs", "");
            let source = VolumeSource::Ebs {
                id: VolumeId::parse("vol-0abc1234").unwrap(),
                origin: crate::config::Origin::New,
            };
            Self {
                tree,
                source,
                kind: Kind::Ext4,
                device,
            }
        }

        /// A machine that wants XFS, on a disk where mkfs.xfs was interrupted.
        fn with_half_an_xfs() -> Self {
            let mut machine = Self::holding(&signature("xfs"));
            machine.kind = Kind::Xfs;
            machine.put(0, b"XFSB");
            machine.put(126, &[1]);
            let tree = &machine.tree;
            let node = tree.host.path("/dev/nvme1n1").display().to_string();
            tree.tool(
                "mkfs.xfs",
                &format!("printf '\\0' | dd of='{node}' bs=1 seek=126 conv=notrunc 2>/dev/null"),
            );
            tree.tool("xfs_info", "echo 'data = bsize=4096 blocks=262144'");
            machine
        }

        /// Puts bytes on the disk.
        fn put(&self, start: u64, bytes: &[u8]) {
            let node = self.tree.host.path("/dev/nvme1n1");
            let file = std::fs::File::options().write(true).open(node).unwrap();
            file.write_all_at(bytes, start).unwrap();
        }

        fn place(&self) -> Place<'_> {
            Place {
                host: &self.tree.host,
                source: &self.source,
                name: self.source.to_string(),
                uuid: match self.source {
                    VolumeSource::Ebs { .. } => Some(UUID.into()),
                    VolumeSource::InstanceStore => None,
                },
                target: "/data",
                kind: self.kind,
                owner: (
                    rustix::process::geteuid().as_raw(),
                    rustix::process::getegid().as_raw(),
                ),
            }
        }

        /// Without having asked EC2.
        async fn check(&self) -> State {
            self.place().check(&self.device, None).await.unwrap()
        }

        async fn try_prepare(&self, origin: &Origin) -> Result<String> {
            let claim = async { memory::begin(&self.tree.host, "claimed") };
            self.place().prepare(&self.device, origin, claim).await
        }

        async fn prepare(&self, origin: &Origin) {
            assert_eq!(self.try_prepare(origin).await.unwrap(), UUID);
            assert_eq!(self.tree.host.read(FORMATTING).unwrap(), None);
        }

        /// Both check and apply refuse for this reason, and nothing is changed.
        async fn refuses(&self, reason: &str) {
            self.refuses_as(&Origin::New, reason).await;
        }

        async fn refuses_as(&self, origin: &Origin, reason: &str) {
            let checked = self.place().check(&self.device, Some(origin)).await;
            for error in [
                checked.unwrap_err(),
                self.try_prepare(origin).await.unwrap_err(),
            ] {
                assert_eq!(error.reason(), reason);
                assert!(!error.is_transient());
            }
            assert_eq!(self.changes(), [""; 0]);
        }

        /// Calls that change something.
        fn changes(&self) -> Vec<String> {
            let node = self.tree.host.path("/dev/nvme1n1").display().to_string();
            let looks = ["wipefs", "dumpe2fs", "xfs_info"];
            let reads = |call: &String| looks.iter().any(|look| call.starts_with(look));
            let calls = self.tree.calls().into_iter();
            calls
                .filter(|call| !reads(call))
                .map(|call| call.replace(&node, "NODE"))
                .collect()
        }

        fn fstab(&self) -> String {
            self.tree
                .host
                .read_text("/etc/fstab")
                .unwrap()
                .unwrap_or_default()
        }
    }

    const FORMAT: &str = "mkfs.ext4 -q -L theta-data -m 1 -E lazy_itable_init=1 -U 757b587e-6bc4-4df0-a276-2cb0d86f03ee NODE";
    const MOUNT: &str = "mount -t ext4 -o nosuid,nodev NODE /data";
    const RELOAD: &str = "systemctl daemon-reload";

    #[test]
    fn formats_only_what_is_blank_beyond_doubt() {
        use Decision::{Ask, Format, Refuse, Reuse};
        let filesystem = |kind: &str| Contents::Filesystem {
            kind: kind.into(),
            uuid: UUID.into(),
        };
        let foreign = |kinds: &[&str]| {
            let findings = kinds
                .iter()
                .map(|kind| crate::host::disk::Finding::Signature {
                    kind: (*kind).into(),
                    uuid: None,
                });
            Contents::Foreign(findings.collect())
        };
        let used = Contents::Foreign(vec![crate::host::disk::Finding::Holder("dm-0".into())]);
        let remains = Contents::Foreign(vec![crate::host::disk::Finding::Remains(Kind::Ext4)]);
        let origins = [
            None,
            Some(Origin::New),
            Some(Origin::Begun),
            Some(Origin::Kept("why".into())),
            Some(Origin::Instance { begun: false }),
            Some(Origin::Instance { begun: true }),
        ];
        let never = [Refuse; 6];
        #[rustfmt::skip]
        let cases = [
            //                            unknown  new    begun   kept    instance's own, begun
            (Contents::Blank, Kind::Ext4, [Ask, Format, Format, Refuse, Format, Format]),
            (Contents::Blank, Kind::Xfs, [Ask, Format, Format, Refuse, Format, Format]),
            (foreign(&["atari"]), Kind::Ext4, [Ask, Format, Format, Refuse, Refuse, Refuse]),
            (remains.clone(), Kind::Ext4, [Ask, Refuse, Format, Refuse, Refuse, Format]),
            (remains, Kind::Xfs, never),
            (filesystem("ext4"), Kind::Ext4, [Reuse; 6]),
            (filesystem("xfs"), Kind::Xfs, [Reuse; 6]),
            (filesystem("xfs"), Kind::Ext4, never),
            (filesystem("ext3"), Kind::Ext4, never),
            (foreign(&["atari", "dos"]), Kind::Ext4, never),
            (foreign(&["gpt"]), Kind::Ext4, never),
            (foreign(&["ext4", "dos"]), Kind::Ext4, never),
            (used, Kind::Ext4, never),
        ];
        for (contents, wanted, decisions) in cases {
            let decided = origins
                .each_ref()
                .map(|origin| decide(&contents, wanted, origin.as_ref()));
            assert_eq!(decided, decisions, "{contents:?} {wanted}");
        }
    }

    #[tokio::test]
    async fn a_blank_volume_is_formatted_mounted_and_then_left_alone() {
        let machine = Machine::holding("");
        assert_eq!(
            machine.check().await,
            State::Needed(
                "vol-0abc1234 (/dev/nvme1n1) seems to hold nothing: EC2 is to be asked whether ext4 may be made on it"
                    .into()
            )
        );
        assert_eq!(
            machine
                .place()
                .check(&machine.device, Some(&Origin::New))
                .await
                .unwrap(),
            State::Needed(
                "vol-0abc1234 (/dev/nvme1n1) is blank: ext4 will be created and mounted at /data"
                    .into()
            )
        );
        machine.prepare(&Origin::New).await;
        assert_eq!(machine.changes(), [FORMAT, RELOAD, MOUNT]);
        assert_eq!(machine.fstab(), LINE);
        let done = State::Done(format!(
            "/dev/nvme1n1 (vol-0abc1234, ext4 UUID={UUID}) on /data, 1 GiB"
        ));
        assert_eq!(machine.check().await, done);
        machine.prepare(&Origin::New).await;
        assert_eq!(machine.changes().len(), 3, "a second apply changes nothing");
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_by_now_is_not_formatted() {
        for (becomes, now) in [
            ("259:7", "is now /dev/nvme1n1 (259:7)"),
            ("", "is now gone"),
        ] {
            let machine = Machine::holding("");
            let sysfs = "/sys/class/block/nvme1n1";
            let path = |name: &str| machine.tree.host.path(format!("{sysfs}/{name}"));
            // The disk disappears during wipefs's last look.
            let change = match becomes {
                "" => format!("echo vol0ffff > '{}'", path("device/serial").display()),
                number => format!("echo {number} > '{}'", path("dev").display()),
            };
            let calls = machine.tree.host.path("/calls");
            machine.tree.tool(
                "wipefs",
                &format!(
                    "[ $(grep -c wipefs '{}') -lt 4 ] || {change}",
                    calls.display()
                ),
            );
            let error = machine.try_prepare(&Origin::New).await.unwrap_err();
            assert_eq!(
                error.reason(),
                format!("vol-0abc1234 was /dev/nvme1n1 (259:3) and {now}")
            );
            assert_eq!(machine.changes(), [""; 0]);
        }
    }

    #[tokio::test]
    async fn an_expected_filesystem_is_reused_never_formatted() {
        let machine = Machine::holding(&signature("ext4"));
        assert_eq!(
            machine.check().await,
            State::Needed(format!(
                "vol-0abc1234 (/dev/nvme1n1) holds an ext4 filesystem (uuid {UUID}) and is not mounted at /data"
            ))
        );
        machine.prepare(&Origin::New).await;
        assert_eq!(machine.changes(), [RELOAD, MOUNT]);
    }

    #[tokio::test]
    async fn a_phantom_atari_table_needs_ec2_s_word() {
        let atari = r#"{"signatures":[{"type":"atari","uuid":null}]}"#;
        let machine = Machine::holding(atari);
        assert_eq!(
            machine.check().await,
            State::Needed(
                "vol-0abc1234 (/dev/nvme1n1) seems to hold an atari partition table: \
                 EC2 is to be asked whether ext4 may be made on it"
                    .into()
            )
        );
        machine
            .refuses_as(
                &Origin::Instance { begun: false },
                "vol-0abc1234 (/dev/nvme1n1) holds an atari partition table; ext4 or a blank volume was expected",
            )
            .await;
        machine.prepare(&Origin::New).await;
        assert_eq!(machine.changes(), [FORMAT, RELOAD, MOUNT]);
    }

    #[tokio::test]
    async fn anything_unexpected_on_the_volume_is_named_and_left_alone() {
        Machine::holding(&signature("xfs"))
            .refuses(&format!(
                "vol-0abc1234 (/dev/nvme1n1) holds an xfs filesystem (uuid {UUID}); \
                 ext4 or a blank volume was expected"
            ))
            .await;
        let machine = Machine::holding("");
        machine
            .tree
            .file("/proc/self/mountinfo", MOUNTED.replace("/data", "/mnt"));
        machine
            .refuses(
                "vol-0abc1234 (/dev/nvme1n1) holds what is mounted at /mnt; ext4 or a blank volume was expected",
            )
            .await;
    }

    #[tokio::test]
    async fn a_mount_point_in_use_is_never_mounted_over() {
        let machine = Machine::holding("");
        for name in ["d", "c", "b", ".a"] {
            machine.tree.file(&format!("/data/{name}"), "");
        }
        machine
            .refuses(
                "/data is not a mount point and not empty: .a, b, c, …; mounting over it would hide that",
            )
            .await;
        for (mountinfo, reason) in [
            (
                MOUNTED.replace("259:3", "259:9"),
                "/dev/nvme1n1 (ext4, 259:9) is mounted at /data in place of vol-0abc1234",
            ),
            (
                MOUNTED.replace(" / ", " /sub "),
                "/sub of /dev/nvme1n1 (ext4, 259:3) is mounted at /data in place of vol-0abc1234",
            ),
            (
                MOUNTED.replace("rw\n", "ro\n"),
                "vol-0abc1234 is mounted read-only at /data, as happens after a disk error",
            ),
        ] {
            let machine = Machine::holding(&signature("ext4"));
            machine.tree.file("/proc/self/mountinfo", mountinfo);
            machine.refuses(reason).await;
        }
    }

    #[tokio::test]
    async fn a_foreign_fstab_line_stops_before_anything_is_formatted() {
        let machine = Machine::holding("");
        machine
            .tree
            .file("/etc/fstab", "/dev/sdb /data xfs defaults 0 0\n");
        machine
            .refuses("line 1 of /etc/fstab already mounts something at /data: /dev/sdb /data xfs defaults 0 0")
            .await;
    }

    #[tokio::test]
    async fn what_is_missing_around_a_mount_is_added_without_touching_it() {
        let mut machine = Machine::holding(&signature("ext4"));
        let unsafe_one = MOUNTED.replace("nosuid,nodev", "nosuid");
        machine.tree.file("/proc/self/mountinfo", unsafe_one);
        machine
            .tree
            .file("/etc/fstab", "/dev/sda / xfs defaults 0 1\n");
        machine
            .tree
            .host
            .make_dir("/data", Access::mode(0o755))
            .unwrap();
        machine.device.size = 2 << 30;
        assert_eq!(
            machine.check().await,
            State::Needed(format!(
                "fstab does not mount UUID={UUID} at /data; /data is mounted without nosuid,nodev; vol-0abc1234 has grown to 2 GiB, its filesystem not yet"
            ))
        );
        machine.prepare(&Origin::New).await;
        let remount = "mount -o remount,nosuid,nodev /data";
        assert_eq!(machine.changes(), [RELOAD, remount, "resize2fs NODE"]);
        assert_eq!(
            machine.fstab(),
            format!("/dev/sda / xfs defaults 0 1\n{LINE}")
        );
    }

    #[tokio::test]
    async fn another_owner_is_noticed() {
        let machine = Machine::holding(&signature("ext4"));
        machine.prepare(&Origin::New).await;
        let mut place = machine.place();
        place.owner = (4_000_000, 4_000_001);
        assert_eq!(
            place.check(&machine.device, None).await.unwrap(),
            State::Needed("/data does not belong to 4000000:4000001".into())
        );
    }

    #[tokio::test]
    async fn an_xfs_that_we_did_not_finish_is_made_again() {
        let machine = Machine::with_half_an_xfs();
        assert_eq!(
            machine
                .place()
                .check(&machine.device, Some(&Origin::Begun))
                .await
                .unwrap(),
            State::Needed(format!(
                "vol-0abc1234 (/dev/nvme1n1) holds an xfs filesystem (uuid {UUID}), whose mkfs.xfs was interrupted: \
                 xfs will be created again and mounted at /data"
            ))
        );
        machine.prepare(&Origin::Begun).await;
        let made = format!("mkfs.xfs -q -L theta-data -m uuid={UUID} -f NODE");
        let mount = "mount -t xfs -o nosuid,nodev NODE /data";
        assert_eq!(machine.changes(), [&made, RELOAD, mount]);
        assert!(matches!(machine.check().await, State::Done(_)));
    }

    #[tokio::test]
    async fn an_xfs_that_is_not_known_to_be_ours_is_never_made_again() {
        Machine::with_half_an_xfs()
            .refuses(&format!(
                "vol-0abc1234 (/dev/nvme1n1) holds an xfs filesystem (uuid {UUID}), whose mkfs.xfs was interrupted; \
                 xfs or a blank volume was expected"
            ))
            .await;
        // A complete one is kept, whatever was noted.
        let machine = Machine::with_half_an_xfs();
        memory::begin(&machine.tree.host, "claimed").unwrap();
        machine.put(126, &[0]);
        machine.prepare(&Origin::Begun).await;
        assert_eq!(
            machine.changes(),
            [RELOAD, "mount -t xfs -o nosuid,nodev NODE /data"]
        );
    }

    #[tokio::test]
    async fn an_ext4_without_its_first_block_is_no_blank_volume() {
        let machine = Machine::holding("");
        machine.put(128 << 20, &BACKUP);
        machine
            .refuses(
                "vol-0abc1234 (/dev/nvme1n1) holds remains of an ext4 filesystem; ext4 or a blank volume was expected",
            )
            .await;
        // Unless our own mkfs wrote this, and no more.
        machine.prepare(&Origin::Begun).await;
        assert_eq!(machine.changes(), [FORMAT, RELOAD, MOUNT]);
    }

    #[tokio::test]
    async fn what_has_a_memory_is_never_taken_for_blank() {
        let why = "its tag says so";
        let kept = Origin::Kept(why.into());
        let atari = r#"{"signatures":[{"type":"atari","uuid":null}]}"#;
        for (signatures, seems) in [("", "nothing"), (atari, "an atari partition table")] {
            let machine = Machine::holding(signatures);
            machine
                .refuses_as(
                    &kept,
                    &format!("vol-0abc1234 (/dev/nvme1n1) holds {seems}, but {why}"),
                )
                .await;
            let error = machine.try_prepare(&kept).await.unwrap_err();
            assert_eq!(
                error.hint(),
                "it may be damaged: make a snapshot, repair it (`fsck.ext4 -b 32768 /dev/nvme1n1`) and run `bootstrap` \
                 again, or name an empty new volume in volume.id; only if nothing on it is needed, make the filesystem yourself: `mkfs.ext4 /dev/nvme1n1` destroys a wallet key on it; \
                 nothing was changed"
            );
        }
        let machine = Machine::holding("");
        machine.put(128 << 20, &BACKUP);
        machine
            .refuses_as(
                &kept,
                "vol-0abc1234 (/dev/nvme1n1) holds remains of an ext4 filesystem, but its tag says so",
            )
            .await;
        let machine = Machine::holding(&signature("swap"));
        machine
            .refuses_as(
                &kept,
                &format!(
                    "vol-0abc1234 (/dev/nvme1n1) holds a swap signature (uuid {UUID}); ext4 was expected, since {why}"
                ),
            )
            .await;
        assert_eq!(
            machine.try_prepare(&kept).await.unwrap_err().hint(),
            "name the right volume in volume.id; only if nothing on it is needed, make the filesystem yourself: \
             `mkfs.ext4 /dev/nvme1n1` destroys a wallet key on it; nothing was changed"
        );
        // A volume with the wanted filesystem is used.
        let machine = Machine::holding(&signature("ext4"));
        machine.prepare(&kept).await;
        assert_eq!(machine.changes(), [RELOAD, MOUNT]);
    }

    #[tokio::test]
    async fn without_a_claim_nothing_is_formatted() {
        let machine = Machine::holding("");
        let claim = async { Err(Error::new("no tag", "h")) };
        let place = machine.place();
        let error = place.prepare(&machine.device, &Origin::New, claim).await;
        assert_eq!(error.unwrap_err().reason(), "no tag");
        assert_eq!(machine.changes(), [""; 0]);
    }

    #[tokio::test]
    async fn the_way_out_of_another_filesystem_is_the_config_first() {
        let mut machine = Machine::holding(&signature("xfs"));
        for (wanted, held, make) in [
            (Kind::Ext4, "xfs", "mkfs.ext4"),
            (Kind::Xfs, "ext4", "mkfs.xfs -f"),
        ] {
            machine.kind = wanted;
            machine.tree.file("/signatures", signature(held));
            let error = machine
                .place()
                .check(&machine.device, None)
                .await
                .unwrap_err();
            assert_eq!(
                error.hint(),
                format!(
                    "if that is the node's data, set volume.filesystem in the config to `{held}`, else name the right \
                     volume in volume.id; only if nothing on it is needed, make the filesystem yourself: \
                     `{make} /dev/nvme1n1` destroys a wallet key on it; nothing was changed"
                )
            );
        }
    }

    #[tokio::test]
    async fn a_volume_that_had_a_filesystem_here_is_never_taken_for_blank() {
        let atari = r#"{"signatures":[{"type":"atari","uuid":null}]}"#;
        for (signatures, seems) in [("", "nothing"), (atari, "an atari partition table")] {
            let machine = Machine::holding(signatures);
            machine.tree.file("/etc/fstab", LINE);
            machine
                .refuses(&format!(
                    "vol-0abc1234 (/dev/nvme1n1) holds {seems}, but /etc/fstab says that it has UUID={UUID}"
                ))
                .await;
            // Another volume, or a line from before the mark had an ID.
            for mark in ["x-bootstrap=vol-0ffffffff", "x-bootstrap"] {
                let machine = Machine::holding(signatures);
                let line = LINE.replace("x-bootstrap=vol-0abc1234", mark);
                machine.tree.file("/etc/fstab", line);
                machine.prepare(&Origin::New).await;
                assert_eq!(machine.changes(), [FORMAT, RELOAD, MOUNT]);
                assert_eq!(machine.fstab(), LINE);
            }
        }
    }

    #[tokio::test]
    async fn an_instance_s_own_disk_may_be_blank_again() {
        let machine = Machine::with_its_own_disk();
        let line = LINE.replace("=vol-0abc1234", "");
        machine
            .tree
            .file("/etc/fstab", line.replace("757b", "ffff"));
        machine.prepare(&Origin::Instance { begun: false }).await;
        let format = "mkfs.ext4 -q -L theta-data -m 1 -E lazy_itable_init=1 NODE";
        assert_eq!(machine.changes(), [format, RELOAD, MOUNT]);
        assert_eq!(machine.fstab(), line);
    }

    #[tokio::test]
    async fn an_instance_s_own_disk_is_not_formatted_twice_in_a_boot() {
        let machine = Machine::with_its_own_disk();
        machine.tree.file(INSTANCE_STORE, UUID);
        machine
            .refuses(&format!(
                "the instance store disk (/dev/nvme1n1) holds nothing, but {INSTANCE_STORE} says that it has UUID={UUID}"
            ))
            .await;
    }

    #[tokio::test]
    async fn the_note_is_there_while_mkfs_works_and_gone_before_the_mount() {
        let machine = Machine::holding("");
        let tree = &machine.tree;
        let [note, signatures] =
            [FORMATTING, "/signatures"].map(|path| tree.host.path(path).display().to_string());
        tree.tool(
            "mkfs.ext4",
            &format!(
                "[ $(cat '{note}') = claimed ] && echo '{}' > '{signatures}'",
                signature("ext4")
            ),
        );
        let mounted = tree.host.path("/tools/mount").display().to_string();
        std::fs::rename(&mounted, format!("{mounted}.real")).unwrap();
        tree.tool("mount", &format!("[ ! -e '{note}' ] && . '{mounted}.real'"));
        machine.prepare(&Origin::New).await;
        assert!(matches!(machine.check().await, State::Done(_)));
    }

    #[tokio::test]
    async fn killed_anywhere_the_next_run_converges() {
        for tool in ["mkfs.ext4", "systemctl", "mount"] {
            let machine = Machine::holding("");
            let good = std::fs::read(machine.tree.host.path(format!("/tools/{tool}"))).unwrap();
            machine.tree.tool(tool, "kill -9 $$");
            assert!(machine.try_prepare(&Origin::New).await.is_err());
            std::fs::write(machine.tree.host.path(format!("/tools/{tool}")), good).unwrap();
            machine.prepare(&Origin::Begun).await;
            assert!(matches!(machine.check().await, State::Done(_)));
            assert_eq!(machine.fstab(), LINE);
        }
    }
}
