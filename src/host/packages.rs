//! Package managers: dnf and apt. Waits for their locks; never turns signature checks off.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Host;
use super::command::{Command, Output};
use super::failures;
use super::files::Access;
use super::os::Manager;
use crate::error::{Error, Result};
use crate::paths::PACKAGES_UNFINISHED;
use crate::retry::{Policy, retry};

/// A lock held by an update at first boot, or a mirror that has not caught up, sorts itself out within minutes.
/// (amazon-linux-2023#397: the SSM agent's own update; canonical/cloud-init#2908: apt-daily.)
const POLICY: Policy = Policy {
    attempts: 6,
    first_pause: Duration::from_secs(5),
    longest_pause: Duration::from_mins(1),
};
/// Drivers are hundreds of MB, and DKMS compiles them while the package is installed.
const INSTALL: Duration = Duration::from_mins(20);
const LISTS: Duration = Duration::from_mins(5);

/// Packages that checks ask about, besides those that differ by system: asking about one asks about all.
const ASKED_FOR: [&str; 3] = [
    "amazon-cloudwatch-agent",
    "logrotate",
    "nvidia-container-toolkit",
];

/// apt-get's options: it waits for dpkg's lock, and keeps config files that someone has changed.
const APT: [&str; 7] = [
    "-y",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
];

impl Host {
    /// Whether a change to the installed packages was cut off.
    pub fn packages_unfinished(&self) -> bool {
        self.path(PACKAGES_UNFINISHED).exists()
    }

    /// Completes what an interrupted package manager left unfinished, if anything.
    pub async fn mend_packages(&self) -> Result<()> {
        match self.os()?.manager {
            Manager::Dnf => self.mend_rpms().await?,
            Manager::Apt => self.mend_debs().await?,
        }
        self.remove(PACKAGES_UNFINISHED).map(drop)
    }

    /// rpm adds a package to its database before running the package's last scriptlet, and never makes up for a missed
    /// one: the packages that the transaction had got to are reinstalled.
    async fn mend_rpms(&self) -> Result<()> {
        let Some(began) = self.read_text(PACKAGES_UNFINISHED)? else {
            return Ok(());
        };
        // INSTALLTID is the time when the package's transaction began.
        let query = ["-qa", "--queryformat", "%{INSTALLTID} %{NAME}\n"];
        let installed = self.command("rpm").args(query).run().await?.stdout;
        let began: u64 = began.trim().parse().unwrap_or(u64::MAX);
        let names: Vec<&str> = installed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(time, name)| {
                *name != "gpg-pubkey" && time.parse::<u64>().is_ok_and(|time| time >= began)
            })
            .map(|(_, name)| name)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        tracing::info!(
            "reinstalling what an interrupted dnf had begun: {}",
            names.join(" ")
        );
        let reinstall = self.dnf(&["reinstall"]).args(names);
        match self.succeed(reinstall).await {
            Err(error) if !error.is_transient() => {
                // A version that the repositories no longer have: the phases' own checks decide.
                tracing::warn!("{error}");
                Ok(())
            }
            result => result,
        }
    }

    /// Finishes what a killed dpkg left unpacked or half-configured; until then nothing can be installed.
    async fn mend_debs(&self) -> Result<()> {
        let audit = self.command("dpkg").arg("--audit").output().await?;
        if audit.stdout.trim().is_empty() {
            return Ok(());
        }
        tracing::info!("finishing the packages that an interrupted dpkg left behind");
        let configure =
            self.command("dpkg")
                .args(["--force-confdef", "--force-confold", "--configure", "-a"]);
        let configured = quietly(configure).output().await?;
        if configured.code == 0 {
            return Ok(());
        }
        // Their dependencies may not have been unpacked yet.
        let fixed = self.apt(&["--fix-broken", "install"]).output().await?;
        if fixed.code == 0 {
            return Ok(());
        }
        // dpkg names the package that is to blame, apt does not.
        self.judge(&configured)
    }

    /// Runs a command that changes the installed packages.
    async fn transact(&self, command: Command) -> Result<()> {
        let now = jiff::Timestamp::now().as_second().to_string();
        self.write(PACKAGES_UNFINISHED, now.as_bytes(), Access::mode(0o600))?;
        let output = command.output().await?;
        // From 128 on, a signal killed it.
        if output.code < 128 {
            self.remove(PACKAGES_UNFINISHED)?;
        }
        self.judge(&output)
    }

    /// Whether the package is fully installed (half-installed does not count).
    pub async fn package_installed(&self, package: &str) -> Result<bool> {
        if self.is_listed(package).await? {
            return Ok(true);
        }
        let manager = self.os()?.manager;
        let asked = match manager {
            Manager::Dnf => self.command("rpm").args(["-q", package]),
            Manager::Apt => self.command("dpkg-query").args([
                "--show",
                "--showformat=${db:Status-Status}",
                package,
            ]),
        };
        let output = asked.looks().output().await?;
        // Both also exit with 1 if there is no such package, and say so without this word.
        if output.code != 0 && output.stderr.contains("error: ") {
            return Err(output.failure());
        }
        let is_whole = manager == Manager::Dnf || output.stdout.trim() == "installed";
        Ok(output.code == 0 && is_whole)
    }

    /// Whether one query for all that checks ask about, made if answers are shared, finds the package fully installed.
    /// Only a yes counts.
    async fn is_listed(&self, package: &str) -> Result<bool> {
        let os = self.os()?;
        let packages = || ASKED_FOR.iter().chain([&os.cron.0]).copied();
        if !self.sharing.is_on() || !packages().any(|known| known == package) {
            return Ok(false);
        }
        let (list, whole) = match os.manager {
            Manager::Dnf => (
                self.command("rpm")
                    .args(["-q", "--queryformat", r"%{NAME}\n"]),
                package.to_owned(),
            ),
            Manager::Apt => (
                self.command("dpkg-query")
                    .args(["--show", r"--showformat=${db:Status-Status} ${Package}\n"]),
                format!("installed {package}"),
            ),
        };
        let listed = list.args(packages()).looks().output().await?.stdout;
        Ok(listed.lines().any(|line| line == whole))
    }

    /// Why the packages cannot be installed together, if they cannot: found by a dry run of the package manager. That
    /// the repositories have packages of these names says little: their dependencies may be gone.
    async fn cannot_install(&self, packages: &[&str]) -> Result<Option<String>> {
        retry(POLICY, "looking for packages", || async {
            self.mend_packages().await?;
            let output = match self.os()?.manager {
                Manager::Dnf => {
                    let output = self.dnf_install(&["--assumeno"], packages).output().await?;
                    // It exits with the code of a failure.
                    if output.stderr.contains("Operation aborted") {
                        return Ok(None);
                    }
                    output
                }
                Manager::Apt => {
                    self.refresh_lists().await?;
                    self.apt_install(&["--simulate"], packages).output().await?
                }
            };
            if output.code == 0 {
                return Ok(None);
            }
            let failure = failures::read(&output);
            if failure.passes {
                self.judge(&output).map(|()| None)
            } else {
                Ok(Some(failure.reason))
            }
        })
        .await
    }

    /// Installs the packages: names, or absolute paths of package files. Mirror and lock failures are retried.
    pub async fn install_packages(&self, packages: &[&str]) -> Result<()> {
        let manager = self.os()?.manager;
        tracing::info!("installing {}", packages.join(" "));
        retry(POLICY, "installing packages", || async {
            self.mend_packages().await?;
            let install = match manager {
                Manager::Dnf => self.dnf_install(&["-y"], packages),
                Manager::Apt => {
                    self.refresh_lists().await?;
                    self.apt_install(&[], packages)
                }
            };
            self.transact(install).await
        })
        .await
    }

    /// Installs the first of these sets of packages that can be installed as a whole. If there is none, `hint` says
    /// what to do.
    pub async fn install_first_possible(&self, sets: &[Vec<String>], hint: &str) -> Result<()> {
        let mut reasons = Vec::new();
        for set in sets {
            let packages: Vec<&str> = set.iter().map(String::as_str).collect();
            match self.cannot_install(&packages).await? {
                None => return self.install_packages(&packages).await,
                Some(why) => {
                    let why = format!("cannot install {}: {why}", set.join(" "));
                    tracing::info!("{why}");
                    reasons.push(why);
                }
            }
        }
        Err(Error::new(reasons.join("; "), hint))
    }

    /// Adds a repository (or its key) by writing its file; the package lists are then refreshed.
    pub fn add_repository_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.write_if_changed(path, bytes, Access::mode(0o644))? {
            self.lists_are_fresh.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Installs the security updates that the distribution has now.
    pub async fn install_security_updates(&self) -> Result<()> {
        match self.os()?.manager {
            // Amazon Linux pins its repositories to the AMI's release: without `latest` there is nothing newer
            // (docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades.html).
            Manager::Dnf => {
                retry(POLICY, "security updates", || async {
                    let upgrade = ["upgrade", "--security", "--releasever=latest"];
                    self.transact(self.dnf(&upgrade)).await
                })
                .await
            }
            // The distribution's own tool: it knows which archives are for security, and leaves modified config alone.
            Manager::Apt => {
                if !self.package_installed("unattended-upgrades").await? {
                    self.install_packages(&["unattended-upgrades"]).await?;
                }
                retry(POLICY, "security updates", || async {
                    self.mend_packages().await?;
                    self.refresh_lists().await?;
                    self.succeed(quietly(self.command("unattended-upgrade")))
                        .await
                })
                .await
            }
        }
    }

    /// Has the package manager leave those of these packages that are installed as they are.
    pub async fn hold_packages(&self, packages: &[&str]) -> Result<()> {
        match self.os()?.manager {
            Manager::Dnf => {
                let lock = ["versionlock", "add"].iter().chain(packages);
                let lock: Vec<&str> = lock.copied().collect();
                self.succeed(self.dnf(&lock)).await
            }
            Manager::Apt => self.mark("hold", packages).await,
        }
    }

    /// Undoes [`Self::hold_packages`]; does nothing if they are not held.
    pub async fn release_packages(&self, packages: &[&str]) -> Result<()> {
        match self.os()?.manager {
            Manager::Dnf => {
                let release = ["versionlock", "delete"].iter().chain(packages);
                let release: Vec<&str> = release.copied().collect();
                let output = self.dnf(&release).output().await?;
                // Some versions fail if nothing was held.
                if output.stdout.contains("No package found for")
                    || output.stderr.contains("No package found for")
                {
                    return Ok(());
                }
                self.judge(&output)
            }
            Manager::Apt => self.mark("unhold", packages).await,
        }
    }

    /// Marks those of these packages that are installed; apt refuses names that it does not know.
    async fn mark(&self, how: &str, packages: &[&str]) -> Result<()> {
        let mut installed = Vec::new();
        for package in packages {
            if self.package_installed(package).await? {
                installed.push(*package);
            }
        }
        if installed.is_empty() {
            return Ok(());
        }
        let mark = self.command("apt-mark").arg(how).args(installed);
        self.succeed(mark).await
    }

    /// Refreshes apt's package lists, once per process unless a repository is added.
    pub(super) async fn refresh_lists(&self) -> Result<()> {
        if self.lists_are_fresh.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Without this, an index that could not be fetched is only a warning.
        let update = self.apt(&["-o", "APT::Update::Error-Mode=any", "update"]);
        self.succeed(update.timeout(LISTS)).await?;
        self.lists_are_fresh.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// dnf waits for its lock by itself.
    fn dnf(&self, args: &[&str]) -> Command {
        self.command("dnf").arg("-y").args(args).timeout(INSTALL)
    }

    fn dnf_install(&self, options: &[&str], packages: &[&str]) -> Command {
        let install = ["--setopt=install_weak_deps=False", "install"];
        let dnf = self.command("dnf").args(options).args(install);
        self.with_packages(dnf.timeout(INSTALL), packages)
    }

    fn apt_install(&self, options: &[&str], packages: &[&str]) -> Command {
        let apt = self.command("apt-get").args(options).args(APT);
        let install = apt.args(["install", "--no-install-recommends"]);
        self.with_packages(quietly(install), packages)
    }

    /// Adds names, and paths of package files.
    fn with_packages(&self, command: Command, packages: &[&str]) -> Command {
        packages.iter().fold(command, |command, package| {
            if package.starts_with('/') {
                command.arg(self.path(package))
            } else {
                command.arg(*package)
            }
        })
    }

    fn apt(&self, args: &[&str]) -> Command {
        quietly(self.command("apt-get").args(APT).args(args))
    }

    /// Runs it; a failure that is worth retrying is transient.
    async fn succeed(&self, command: Command) -> Result<()> {
        self.judge(&command.output().await?)
    }

    fn judge(&self, output: &Output) -> Result<()> {
        if output.code == 0 {
            return Ok(());
        }
        let error = output.failure();
        if error.is_transient() {
            // A "404 Not Found" means that the mirror has moved on since the lists were read.
            self.lists_are_fresh.store(false, Ordering::Relaxed);
        }
        Err(error)
    }
}

/// Asks no questions, and restarts no services: needrestart would restart the SSM agent whose command is running us, or
/// Docker with the node in it.
fn quietly(command: Command) -> Command {
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_MODE", "l")
        .timeout(INSTALL)
}

#[cfg(test)]
mod tests {
    use super::APT;
    use crate::host::testing::Tree;

    const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\n";
    const AMAZON: &str = "ID=\"amzn\"\nVERSION_ID=\"2023\"\n";

    #[tokio::test]
    async fn one_query_is_for_all_that_checks_ask_about() {
        let systems = [
            (
                DEBIAN,
                "dpkg-query",
                "cron",
                "installed logrotate\nunpacked cron",
            ),
            (
                AMAZON,
                "rpm",
                "cronie",
                "logrotate\npackage cronie is not installed",
            ),
        ];
        for (system, tool, cron, says) in systems {
            let tree = Tree::new();
            tree.file("/etc/os-release", system);
            let list = format!("case $* in *logrotate*) printf '{says}\\n';; esac; exit 1");
            tree.tool(tool, &list);
            tree.host.share_looks();
            assert!(tree.host.package_installed("logrotate").await.unwrap());
            assert_eq!(tree.calls().len(), 1);
            // Whether it is missing, or why that is not known, says the query for it alone.
            assert!(!tree.host.package_installed(cron).await.unwrap());
            assert_eq!(tree.calls().len(), 2);
            assert!(!tree.host.package_installed("dkms").await.unwrap());
            assert_eq!(tree.calls().len(), 3);
        }
    }

    #[tokio::test]
    async fn half_installed_is_not_installed() {
        for (status, code, installed) in [
            ("installed", 0, true),
            ("half-configured", 0, false),
            ("not-installed", 0, false),
            ("", 1, false),
        ] {
            let tree = Tree::new();
            tree.file("/etc/os-release", DEBIAN);
            tree.tool("dpkg-query", &format!("printf %s '{status}'; exit {code}"));
            assert_eq!(
                tree.host.package_installed("docker.io").await.unwrap(),
                installed,
                "{status}"
            );
        }
    }

    #[tokio::test]
    async fn dnf_installs_without_weak_dependencies_and_with_signatures() {
        let tree = Tree::new();
        tree.file("/etc/os-release", AMAZON);
        tree.tool("dnf", "exit 0");
        tree.host
            .install_packages(&["docker", "cronie"])
            .await
            .unwrap();
        assert_eq!(
            tree.calls(),
            ["dnf -y --setopt=install_weak_deps=False install docker cronie"]
        );
    }

    #[tokio::test]
    async fn apt_mends_first_then_reads_the_lists_once() {
        let tree = Tree::new();
        tree.file("/etc/os-release", DEBIAN);
        tree.tool("dpkg", "case $1 in --audit) echo half; esac");
        tree.tool("apt-get", "[ \"$DEBIAN_FRONTEND\" = noninteractive ]");
        tree.host
            .add_repository_file("/etc/apt/x.list", b"x")
            .unwrap();
        tree.host.install_packages(&["docker.io"]).await.unwrap();
        tree.host.install_packages(&["/var/x.deb"]).await.unwrap();
        let options = "-y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold";
        let mend = "dpkg --force-confdef --force-confold --configure -a".to_owned();
        let install = format!("apt-get {options} install --no-install-recommends");
        let file = tree.host.path("/var/x.deb");
        assert_eq!(
            tree.calls(),
            [
                "dpkg --audit".to_owned(),
                mend.clone(),
                format!("apt-get {options} -o APT::Update::Error-Mode=any update"),
                format!("{install} docker.io"),
                "dpkg --audit".to_owned(),
                mend,
                format!("{install} {}", file.display()),
            ]
        );
    }

    #[tokio::test]
    async fn the_first_set_that_can_be_installed_whole_is() {
        let sets = [
            vec!["good".to_owned(), "missing".to_owned()],
            vec!["other".to_owned()],
        ];
        let dnf =
            "case \"$*\" in *missing*) echo 'Error: Unable to find a match: missing' >&2; exit 1;;
             --assumeno*) echo Operation aborted. >&2; exit 1;; esac";
        let apt = "case \"$*\" in *missing*) echo 'E: Unable to locate package missing' >&2; exit 100;; esac";
        let apt_get = format!("apt-get {} install --no-install-recommends", APT.join(" "));
        for (system, manager, script, install, why) in [
            (
                AMAZON,
                "dnf",
                dnf,
                "dnf -y --setopt=install_weak_deps=False install",
                "Error: Unable to find a match: missing",
            ),
            (
                DEBIAN,
                "apt-get",
                apt,
                &apt_get,
                "E: Unable to locate package missing",
            ),
        ] {
            let tree = Tree::new();
            tree.file("/etc/os-release", system);
            tree.tool(manager, script);
            tree.tool("dpkg", "");
            tree.host.install_first_possible(&sets, "h").await.unwrap();
            assert_eq!(tree.calls().last().unwrap(), &format!("{install} other"));
            let impossible = tree.host.install_first_possible(&sets[..1], "h");
            let error = impossible.await.unwrap_err();
            assert_eq!(
                (error.reason(), error.hint()),
                (format!("cannot install good missing: {why}").as_str(), "h")
            );
        }
    }
}
