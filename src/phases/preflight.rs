//! Phase `preflight`: the machine can become a node; installs the units that converge and repair it, and the manual.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::units;
use crate::VERSION;
use crate::config::Update;
use crate::digest::sha256;
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::host::directories::{Directory, RUN, STATE};
use crate::host::disk::Kind;
use crate::host::docker::CONTAINERD;
use crate::host::files::Access;
use crate::node::{Document, Node};
use crate::owner;
use crate::paths::{MANUAL, UNIT, UPDATED};
use crate::phases::{clean, user};

const GIB: u64 = 1 << 30;
/// Before the first set-up: engine and agents (1 GiB), the image compressed and unpacked (4 GiB), logs and updates.
const FIRST: u64 = 8 * GIB;
/// The same with the GPU's driver (3 GiB with headers and build), the container toolkit and the CUDA image. Driver
/// installs are known to break on small root disks (amazonlinux/amazon-linux-2023#1054).
const FIRST_WITH_GPU: u64 = 20 * GIB;
/// The same if the machine's image has the driver, already loaded: its disk is sized for that, and nothing is built.
const FIRST_WITH_DRIVER: u64 = 14 * GIB;
/// Later: all of that is in place; this leaves room for logs, and for the pull of a new image to fail cleanly.
const LATER: u64 = 2 * GIB;

/// Downloaded packages.
const CACHE: &str = "/var/cache";

/// The machine can become a node.
pub(super) struct Preflight(pub Arc<Node>);

impl Preflight {
    /// Fails on what cannot be fixed from here; otherwise returns the evidence that all of it is right.
    async fn machine(&self) -> Result<String> {
        let host = &self.0.host;
        if host.is_real() {
            root(rustix::process::geteuid().as_raw())?;
        }
        architecture(&rustix::system::uname().machine().to_string_lossy())?;
        let os = host.os()?;
        let identity = self.0.identity().await?;
        owner::require(&self.0, &identity.instance_id)?;
        let disk = root_disk(host)?;
        writable(disk.f_flag)?;
        user::missing(&self.0)?;
        let first = !host.path(UNIT).exists();
        let has_driver = host.path("/proc/driver/nvidia/version").exists();
        let required = required(first, self.0.config.gpu, has_driver);
        let images = host.docker().data_root();
        let own = host.on_other_disks([images.as_str(), CONTAINERD, CACHE, "/usr", "/opt"]);
        let on_root = if own.contains(&images.as_str()) {
            LATER.min(required)
        } else {
            required
        };
        let free = host.space("/")?.free;
        space("the root disk", free, on_root)?;
        for place in own {
            let required = match place {
                place if place == images => required,
                // What is already installed needs no more room.
                "/usr" | "/opt" if !first => continue,
                _ => LATER,
            };
            let free = host.space(place)?.free;
            space(&format!("the disk of {place}"), free, required)?;
        }
        Ok(format!(
            "{} ({}, {}), {}, {} GiB free",
            identity.instance_id,
            identity.instance_type,
            identity.zone,
            os.name,
            free / GIB
        ))
    }

    /// Which of the manual pages and completions does not match this program. Generating them takes longer than
    /// everything else that is checked here, so their checksums are compared instead if this program has recorded them.
    fn stale_document(&self) -> Result<Option<String>> {
        let (Some(make), host) = (self.0.documents, &self.0.host) else {
            return Ok(None);
        };
        let noted = host.read_text(MANUAL)?;
        let of_this =
            |text: String| Some(text.strip_prefix(VERSION)?.strip_prefix('\n')?.to_owned());
        let sums = noted.and_then(of_this).unwrap_or_else(|| sums(&make()));
        for (sum, path) in sums.lines().filter_map(|line| line.split_once("  ")) {
            if host.read(path)?.is_none_or(|text| sha256(&text) != sum) {
                return Ok(Some(path.to_owned()));
            }
        }
        Ok(None)
    }

    fn install_documents(&self) -> Result<()> {
        let (Some(make), host) = (self.0.documents, &self.0.host) else {
            return Ok(());
        };
        let documents = make();
        for document in &documents {
            host.write_if_changed(&document.path, &document.text, Access::mode(0o644))?;
        }
        let noted = format!("{VERSION}\n{}", sums(&documents));
        host.write_if_changed(MANUAL, noted.as_bytes(), Access::mode(0o600))
            .map(drop)
    }

    async fn update(&self) -> Result<()> {
        if self.update_due() {
            tracing::info!("installing security updates");
            self.0.host.install_security_updates().await?;
            self.0.host.write(UPDATED, b"", Access::mode(0o600))?;
        }
        Ok(())
    }

    fn update_due(&self) -> bool {
        self.0.config.system.update == Update::Security && !self.0.host.path(UPDATED).exists()
    }
}

#[async_trait]
impl Phase for Preflight {
    async fn check(&self) -> Result<State> {
        let evidence = self.machine().await?;
        let host = &self.0.host;
        for Directory { path, mode } in [RUN, STATE] {
            let found = host.path(path).symlink_metadata();
            if !found.is_ok_and(|d| d.is_dir() && d.permissions().mode() & 0o7777 == mode) {
                return Ok(State::Needed(format!(
                    "{path} is not there with mode {mode:04o}"
                )));
            }
        }
        if host.packages_unfinished() {
            return Ok(State::Needed("a package change was interrupted".into()));
        }
        let filesystem = self.0.config.volume.filesystem;
        if !host.has_tools_of(filesystem) {
            let package = filesystem.package();
            return Ok(State::Needed(format!("{package} is not installed")));
        }
        if self.update_due() {
            return Ok(State::Needed("security updates are not installed".into()));
        }
        if let Some(missing) = units::missing(host).await? {
            return Ok(State::Needed(missing));
        }
        if let Some(stale) = self.stale_document()? {
            return Ok(State::Needed(format!(
                "{stale} is not that of this program"
            )));
        }
        if !owner::is_noted(host, &self.0.identity().await?.instance_id) {
            return Ok(State::Needed(
                "it is not noted which instance the state belongs to".into(),
            ));
        }
        Ok(State::Done(evidence))
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        for directory in [RUN, STATE] {
            directory.make(host)?;
        }
        owner::note(host, &self.0.identity().await?.instance_id)?;
        if host.packages_unfinished() {
            host.mend_packages().await?;
        }
        let filesystem = self.0.config.volume.filesystem;
        if !host.has_tools_of(filesystem) {
            host.install_packages(&[filesystem.package()]).await?;
        }
        self.update().await?;
        units::install(host).await?;
        self.install_documents()?;
        Ok(Applied::Finished)
    }
}

/// `SHA-256  PATH` for each, as written by sha256sum.
fn sums(documents: &[Document]) -> String {
    let line = |document: &Document| format!("{}  {}\n", sha256(&document.text), document.path);
    documents.iter().map(line).collect()
}

/// An image of the machine can become a node; includes the tools of every filesystem, and no units.
pub(super) struct OfImage(Preflight);

impl OfImage {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self(Preflight(node))
    }

    /// The missing packages that some node would need at once.
    async fn missing_packages(&self) -> Result<Vec<&'static str>> {
        let host = &self.0.0.host;
        let kinds = [Kind::Ext4, Kind::Xfs].into_iter();
        let makers = kinds.filter(|kind| !host.has_tools_of(*kind));
        let mut missing: Vec<_> = makers.map(Kind::package).collect();
        for package in host.os()?.for_user_data {
            if !host.package_installed(package).await? {
                missing.push(package);
            }
        }
        Ok(missing)
    }
}

#[async_trait]
impl Phase for OfImage {
    async fn check(&self) -> Result<State> {
        let host = &self.0.0.host;
        clean::ended(host).await?;
        let evidence = self.0.machine().await?;
        if host.packages_unfinished() {
            return Ok(State::Needed("a package change was interrupted".into()));
        }
        if let Some(package) = self.missing_packages().await?.first() {
            return Ok(State::Needed(format!("{package} is not installed")));
        }
        if self.0.update_due() {
            return Ok(State::Needed("security updates are not installed".into()));
        }
        Ok(match self.0.stale_document()? {
            Some(stale) => State::Needed(format!("{stale} is not that of this program")),
            None => State::Done(evidence),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.0.host;
        STATE.make(host)?;
        if host.packages_unfinished() {
            host.mend_packages().await?;
        }
        let missing = self.missing_packages().await?;
        if !missing.is_empty() {
            host.install_packages(&missing).await?;
        }
        self.0.update().await?;
        self.0.install_documents()?;
        Ok(Applied::Finished)
    }
}

fn root(user: u32) -> Result<()> {
    if user == 0 {
        return Ok(());
    }
    Err(Error::new(
        format!("bootstrap runs as user {user}, not as root"),
        "run it with sudo",
    ))
}

fn architecture(machine: &str) -> Result<()> {
    if machine == "x86_64" {
        return Ok(());
    }
    Err(Error::new(
        format!("the processor is {machine}, not x86_64"),
        "use an x86_64 instance type (g4dn, g5, g6, m7i, …): the edge image exists for no other",
    ))
}

fn required(first: bool, gpu: bool, has_driver: bool) -> u64 {
    match (first, gpu, has_driver) {
        (true, true, false) => FIRST_WITH_GPU,
        (true, true, true) => FIRST_WITH_DRIVER,
        (true, false, _) => FIRST,
        (false, ..) => LATER,
    }
}

fn space(what: &str, free: u64, required: u64) -> Result<()> {
    if free >= required {
        return Ok(());
    }
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / GIB as f64);
    Err(Error::new(
        format!("{what} has {} free, but needs {}", gib(free), gib(required)),
        if what == "the root disk" {
            "give the instance a larger root volume, or make room on it"
        } else {
            "give the instance a larger disk there, or make room on it"
        },
    ))
}

/// The root filesystem.
fn root_disk(host: &Host) -> Result<StatVfs> {
    rustix::fs::statvfs(host.path("/")).or_fail(
        || "cannot ask for the free space of the root disk",
        "check that / is mounted",
    )
}

/// The kernel remounts a filesystem read-only when its disk fails; everything seems fine until the next boot.
fn writable(flags: StatVfsMountFlags) -> Result<()> {
    if !flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    Err(Error::new(
        "the root disk is read-only, as happens after a disk error",
        "see `dmesg`; reboot, which checks the disk; if it stays so, replace the instance: the data volume is another disk",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;
    use crate::phases::testing::{DEBIAN, config, node_in_cloud};

    #[test]
    fn refuses_what_it_cannot_put_right() {
        let cases = [
            (root(1000), "bootstrap runs as user 1000, not as root"),
            (
                architecture("aarch64"),
                "the processor is aarch64, not x86_64",
            ),
            (
                space("the root disk", 8 * GIB - 1, required(true, false, false)),
                "the root disk has 8.0 GiB free, but needs 8.0 GiB",
            ),
            (
                space("the root disk", 9 * GIB, required(true, true, false)),
                "the root disk has 9.0 GiB free, but needs 20.0 GiB",
            ),
            (
                space("the root disk", 9 * GIB, required(true, true, true)),
                "the root disk has 9.0 GiB free, but needs 14.0 GiB",
            ),
            (
                space("the root disk", GIB, required(false, true, false)),
                "the root disk has 1.0 GiB free, but needs 2.0 GiB",
            ),
        ];
        for (result, reason) in cases {
            assert_eq!(result.unwrap_err().reason(), reason);
        }
        assert!(space("the root disk", 8 * GIB, required(true, false, false)).is_ok());
        assert!(space("the root disk", 3 * GIB, required(false, true, false)).is_ok());
    }

    #[tokio::test]
    async fn installs_the_units_and_then_changes_nothing() {
        let tree = Tree::new();
        // The check after the first set-up requires little space, whatever the test machine has.
        tree.file(UNIT, "older");
        tree.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        tree.file("/etc/group", "root:x:0:\n");
        tree.tool("mkfs.ext4", "");
        tree.tool(
            "systemctl",
            "case $1 in is-enabled) if [ -e \"$BOOTSTRAP_ROOT/enabled\" ]; then echo enabled; else echo disabled; exit 1; fi;;
             enable) touch \"$BOOTSTRAP_ROOT/enabled\";; esac",
        );
        let (node, _server) = node_in_cloud(&tree, DEBIAN, config(false));
        let phase = Preflight(node);
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("/run/bootstrap is not there with mode 0711".into())
        );
        assert_eq!(phase.apply().await.unwrap(), Applied::Finished);
        let State::Done(evidence) = phase.check().await.unwrap() else {
            panic!("not done");
        };
        assert!(
            evidence.starts_with("i-0123456789abcdef0 (g4dn.xlarge, us-east-1a), Debian 12, "),
            "{evidence}"
        );
        let before = tree.calls();
        assert!(before.contains(&"systemctl daemon-reload".to_owned()));
        phase.apply().await.unwrap();
        assert_eq!(
            tree.calls()[before.len()..],
            [
                "systemctl is-enabled bootstrap.service",
                "systemctl is-enabled bootstrap-repair.timer"
            ]
        );
    }

    #[tokio::test]
    async fn security_updates_are_installed_once() {
        let tree = Tree::new();
        tree.tool("mkfs.ext4", "");
        tree.tool("systemctl", "echo enabled");
        tree.tool("dnf", "exit 0");
        let mut config = config(false);
        config.system.update = Update::Security;
        let (node, _server) = node_in_cloud(&tree, crate::phases::testing::AMAZON, config);
        let phase = Preflight(node);
        phase.apply().await.unwrap();
        phase.apply().await.unwrap();
        let updates = tree
            .calls()
            .into_iter()
            .filter(|call| call.starts_with("dnf"));
        assert_eq!(
            updates.collect::<Vec<_>>(),
            ["dnf -y upgrade --security --releasever=latest"]
        );
    }
}
