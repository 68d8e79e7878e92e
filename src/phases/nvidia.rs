//! Phase `nvidia`: the GPU's driver is loaded for the running kernel and stays loaded.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::plan::{Step, plan};
use super::repository;
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::host::directories::RUN;
use crate::host::failures::modprobe;
use crate::host::files::Access;
use crate::host::nvidia::{self, Card};
use crate::node::Node;
use crate::paths::{DRIVER_UNFINISHED, GPU_NOT_PERSISTENT};

/// Exists while the module is loaded; its text has the version.
const LOADED: &str = "/proc/driver/nvidia/version";
const PERSISTENCED: &str = "nvidia-persistenced.service";
const NOT_THERE: &str = "use a newer AMI of the same system, since repositories keep packages for recent kernels only; or \
    name a branch of the driver that they have in \"gpu_driver\" of the config";
/// DKMS takes a few minutes to compile on two cores.
const BUILD: Duration = Duration::from_mins(15);

/// The GPU's driver works, if the config wants a GPU.
pub(super) struct Nvidia(pub Arc<Node>);

impl Nvidia {
    /// How many GPUs the machine has; none is an error, since the config wants one.
    fn devices(&self) -> Result<usize> {
        let gpus = self.0.host.nvidia_gpus()?;
        if gpus.is_empty() {
            return Err(Error::new(
                "the config wants a GPU, but the machine has no NVIDIA PCI device",
                "use a GPU instance type (g4dn, g5, g6), or set \"gpu\" to false in the config",
            ));
        }
        Ok(gpus.len())
    }

    /// Whether the driver that would be installed supports the GPUs.
    fn judge_models(&self) -> Result<()> {
        let has_open_modules = self.0.host.os()?.driver.open_modules;
        for gpu in self.0.host.nvidia_gpus()? {
            if let Some(why) = gpu.unsupported(has_open_modules) {
                return Err(Error::new(
                    format!(
                        "the driver cannot be installed for the {} at {}: {why}",
                        gpu.name(),
                        gpu.address
                    ),
                    "use an instance type of g4dn, g5 or g6 with a whole GPU, or an AMI that brings the driver",
                ));
            }
        }
        Ok(())
    }

    fn loaded(&self) -> bool {
        self.0.host.path(LOADED).exists()
    }

    fn is_unfinished(&self) -> bool {
        self.0.host.path(DRIVER_UNFINISHED).exists()
    }

    /// What the driver reports about its GPUs, or why it does not answer.
    async fn cards(&self) -> std::result::Result<Vec<Card>, String> {
        if !self.loaded() {
            return Err("the NVIDIA driver is not loaded".into());
        }
        self.0.host.nvidia_cards().await
    }

    /// Loads the module for the running kernel; returns modprobe's error, if any.
    async fn load(&self) -> Result<Option<Error>> {
        if self.loaded() {
            return Ok(None);
        }
        let modprobe = self.0.host.command("modprobe").arg("nvidia");
        let output = modprobe.output().await?;
        Ok((output.code != 0).then(|| output.failure()))
    }

    /// The wanted driver branch; one that the system's repositories do not have is an error.
    fn branch(&self) -> Result<u16> {
        let os = self.0.host.os()?;
        match self.0.config.gpu_driver {
            None => Ok(os.driver.branch),
            Some(branch) if branch == os.driver.branch || os.driver.has_other_branches => {
                Ok(branch)
            }
            Some(branch) => Err(Error::new(
                format!(
                    "the config wants the NVIDIA driver {branch}, but {} has {} only",
                    os.name, os.driver.branch
                ),
                "leave \"gpu_driver\" out of the config, or use another system",
            )),
        }
    }

    /// Installs the driver; returns DKMS's error, if any. That is not a failure yet: if the kernel that its headers
    /// belong to is new, too, the module is for the next boot.
    async fn install(&self) -> Result<Option<String>> {
        let host = &self.0.host;
        let kernel = host.kernel_release()?;
        let branch = self.branch()?;
        let mut complaint = None;
        host.write(DRIVER_UNFINISHED, b"", Access::mode(0o600))?;
        for step in plan(&host.os()?.driver, &kernel, branch) {
            match step {
                Step::Repository(repository) => repository::add(host, &repository).await?,
                Step::Prepare(packages) => host.install_packages(&names(&packages)).await?,
                Step::Install(sets) => host.install_first_possible(&sets, NOT_THERE).await?,
                Step::Hold(packages) => host.hold_packages(&names(&packages)).await?,
                Step::Release(packages) => host.release_packages(&names(&packages)).await?,
                Step::BuildModules => {
                    if host.package_installed("dkms").await? {
                        tracing::info!("building the driver's modules for kernel {kernel}");
                        let dkms = host.command("dkms").args(["autoinstall", "-k", &kernel]);
                        let built = dkms.timeout(BUILD).run().await;
                        complaint = built.err().map(|error| error.to_string());
                    }
                }
            }
        }
        host.remove(DRIVER_UNFINISHED)?;
        Ok(complaint)
    }

    /// Enables persistence mode: without it, each client takes seconds to start and settings are lost.
    async fn persist(&self, cards: &[Card]) -> Result<()> {
        let host = &self.0.host;
        if host.unit_exists(PERSISTENCED) {
            host.enable_and_start(PERSISTENCED).await?;
        }
        // Ubuntu's unit starts the daemon with --no-persistence-mode.
        if cards.iter().any(|card| card.persistent.is_some()) {
            let command = host.command("nvidia-smi").arg("--persistence-mode=1");
            let output = command.output().await?;
            let kept_off = nvidia::kept_off(&output);
            if kept_off.is_none() && !nvidia::works(&output) {
                return Err(output.failure());
            }
            if let Some(said) = kept_off {
                tracing::warn!("persistence mode stays off: {said}");
                RUN.make(host)?;
                host.write(GPU_NOT_PERSISTENT, b"", Access::mode(0o600))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Phase for Nvidia {
    async fn check(&self) -> Result<State> {
        if !self.0.config.gpu {
            return Ok(State::NotApplicable("gpu is false in the config".into()));
        }
        let devices = self.devices()?;
        self.branch()?;
        if self.is_unfinished() {
            return Ok(State::Needed(
                "the driver's installation was interrupted".into(),
            ));
        }
        Ok(match self.cards().await {
            Ok(cards) => judge(
                devices,
                &cards,
                self.0.host.path(GPU_NOT_PERSISTENT).exists(),
            ),
            Err(why) => State::Needed(why),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        self.devices()?;
        // An image may bring a driver, even one that supports GPUs that ours does not; then it only has to be loaded.
        let mut refused = self.load().await?;
        let mut built = None;
        if self.is_unfinished() || self.cards().await.is_err() {
            self.judge_models()?;
            built = self.install().await?;
            refused = self.load().await?;
        }
        // A reboot would find the same keys.
        if let Some(error) = refused.take_if(|error| modprobe::is_refused(error.reason())) {
            return Err(error);
        }
        let complaint = built.or(refused.map(|error| error.to_string()));
        match self.cards().await {
            Ok(cards) => {
                self.persist(&cards).await?;
                Ok(Applied::Finished)
            }
            // The module was built for a newer kernel, or another version of it is still loaded. The engine makes sure
            // that this reboots once, not for ever.
            Err(why) => Ok(Applied::RebootNeeded(match complaint {
                Some(complaint) => format!("{why} ({complaint})"),
                None => why,
            })),
        }
    }
}

/// The driver is installed, if an image is to have it. Whether it supports a GPU is for the node to find out.
pub(super) struct Installed(Nvidia);

impl Installed {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self(Nvidia(node))
    }

    /// The driver's version and the kernel that it has modules for; the newest kernel first.
    async fn modules(&self) -> Result<Option<(String, String)>> {
        let host = &self.0.0.host;
        let mut kernels = host.names_in("/lib/modules")?;
        kernels.sort_by_key(|kernel| std::cmp::Reverse(numbers(kernel)));
        for kernel in kernels {
            let asked = host
                .command("modinfo")
                .args(["-k", &kernel, "-F", "version", "nvidia"]);
            let told = asked.looks().output().await?;
            if told.code == 0 {
                return Ok(Some((crate::log::printable(&told.stdout), kernel)));
            }
        }
        Ok(None)
    }
}

/// The numbers in a version, which sort 6.1.0-10 after 6.1.0-9.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[async_trait]
impl Phase for Installed {
    async fn check(&self) -> Result<State> {
        if !self.0.0.config.gpu {
            return Ok(State::NotApplicable("no GPU is wanted".into()));
        }
        self.0.branch()?;
        if self.0.is_unfinished() {
            return Ok(State::Needed(
                "the driver's installation was interrupted".into(),
            ));
        }
        Ok(match self.modules().await? {
            Some((version, kernel)) => {
                State::Done(format!("driver {version} is installed for kernel {kernel}"))
            }
            None => State::Needed("the NVIDIA driver is not installed".into()),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        self.0.judge_models()?;
        match self.0.install().await? {
            Some(complaint) if self.modules().await?.is_none() => Err(Error::new(
                complaint,
                "see /var/lib/dkms/*/*/build/make.log",
            )),
            _ => Ok(Applied::Finished),
        }
    }
}

fn names(packages: &[String]) -> Vec<&str> {
    packages.iter().map(String::as_str).collect()
}

fn judge(devices: usize, cards: &[Card], is_refused: bool) -> State {
    let Some(first) = cards.first() else {
        return State::Needed("nvidia-smi lists no GPU".into());
    };
    if cards.len() < devices {
        return State::Needed(format!(
            "nvidia-smi lists {} of {devices} GPUs",
            cards.len()
        ));
    }
    if cards.iter().any(|card| card.persistent == Some(false)) && !is_refused {
        return State::Needed("persistence mode is off".into());
    }
    State::Done(format!(
        "{} x {}, driver {}",
        cards.len(),
        first.name,
        first.driver
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;
    use crate::phases::testing::{DEBIAN, UBUNTU, config, node};

    fn gpu(tree: &Tree, device: &str) {
        for (name, value) in [
            ("vendor", "0x10de"),
            ("class", "0x030200"),
            ("device", device),
        ] {
            tree.file(&format!("/sys/bus/pci/devices/0000:00:1e.0/{name}"), value);
        }
    }

    #[test]
    fn judges_what_nvidia_smi_tells() {
        let card = |persistent| Card {
            name: "Tesla T4".into(),
            driver: "580.159.03".into(),
            persistent,
        };
        let done = State::Done("1 x Tesla T4, driver 580.159.03".into());
        let cases = [
            (1, vec![card(Some(true))], done.clone()),
            (1, vec![card(None)], done),
            (
                1,
                vec![card(Some(false))],
                State::Needed("persistence mode is off".into()),
            ),
            (
                2,
                vec![card(Some(true))],
                State::Needed("nvidia-smi lists 1 of 2 GPUs".into()),
            ),
            (1, vec![], State::Needed("nvidia-smi lists no GPU".into())),
        ];
        for (devices, cards, state) in cases {
            assert_eq!(judge(devices, &cards, false), state);
        }
    }

    #[tokio::test]
    async fn says_why_there_can_be_no_driver() {
        let tree = Tree::new();
        let without = Nvidia(node(&tree, UBUNTU, config(false)));
        assert_eq!(
            without.check().await.unwrap(),
            State::NotApplicable("gpu is false in the config".into())
        );
        let wanted = Nvidia(node(&tree, UBUNTU, config(true)));
        assert_eq!(
            wanted.check().await.unwrap_err().reason(),
            "the config wants a GPU, but the machine has no NVIDIA PCI device"
        );
        gpu(&tree, "0x1db1");
        tree.tool("modprobe", "exit 1");
        assert_eq!(
            wanted.apply().await.unwrap_err().reason(),
            "the driver cannot be installed for the Tesla V100 16 GB (p3) at 0000:00:1e.0: it is older than Turing, \
             which the open kernel modules need"
        );
    }

    #[tokio::test]
    async fn debian_has_one_branch_only() {
        let tree = Tree::new();
        gpu(&tree, "0x1eb8");
        let mut config = config(true);
        config.gpu_driver = Some(580);
        let phase = Nvidia(node(&tree, DEBIAN, config));
        let error = phase.check().await.unwrap_err();
        assert_eq!(
            (error.reason(), error.hint()),
            (
                "the config wants the NVIDIA driver 580, but Debian 12 has 535 only",
                "leave \"gpu_driver\" out of the config, or use another system"
            )
        );
    }

    const SMI: &str = "case $1 in --persistence-mode=1) touch \"$BOOTSTRAP_ROOT/on\";;
        *) if [ -e \"$BOOTSTRAP_ROOT/on\" ]; then m=Enabled; else m=Disabled; fi; echo \"Tesla T4, 580.159.03, $m\";; esac";

    #[tokio::test]
    async fn a_driver_that_the_image_brings_is_only_loaded() {
        let tree = Tree::new();
        gpu(&tree, "0x1eb8");
        tree.tool("nvidia-smi", SMI);
        tree.tool(
            "modprobe",
            "mkdir -p \"$BOOTSTRAP_ROOT/proc/driver/nvidia\"; touch \"$BOOTSTRAP_ROOT/proc/driver/nvidia/version\"",
        );
        let phase = Nvidia(node(&tree, UBUNTU, config(true)));
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("the NVIDIA driver is not loaded".into())
        );
        assert_eq!(phase.apply().await.unwrap(), Applied::Finished);
        assert_eq!(
            phase.check().await.unwrap(),
            State::Done("1 x Tesla T4, driver 580.159.03".into())
        );
        let query =
            "nvidia-smi --query-gpu=name,driver_version,persistence_mode --format=csv,noheader";
        assert_eq!(
            tree.calls(),
            [
                "modprobe nvidia",
                query,
                query,
                "nvidia-smi --persistence-mode=1",
                query
            ]
        );
    }

    #[test]
    fn a_kernel_with_a_higher_number_is_newer() {
        assert!(numbers("6.1.0-10-amd64") > numbers("6.1.0-9-amd64"));
        assert!(
            numbers("6.12.46-66.121.amzn2023.x86_64") > numbers("6.1.158-178.288.amzn2023.x86_64")
        );
    }

    #[tokio::test]
    async fn asks_for_a_reboot_where_the_module_does_not_load() {
        let tree = Tree::new();
        gpu(&tree, "0x1eb8");
        tree.file("/proc/sys/kernel/osrelease", "6.8.0-1021-aws\n");
        tree.tool("modprobe", "exit 1");
        tree.tool("dpkg", "");
        tree.tool("dpkg-query", "exit 1");
        tree.tool("apt-get", "");
        let phase = Nvidia(node(&tree, UBUNTU, config(true)));
        assert_eq!(
            phase.apply().await.unwrap(),
            Applied::RebootNeeded(
                "the NVIDIA driver is not loaded (`modprobe nvidia` failed with exit code 1)"
                    .into()
            )
        );
        let modprobes = tree
            .calls()
            .iter()
            .filter(|c| c.starts_with("modprobe"))
            .count();
        assert_eq!(modprobes, 2);
    }
}
