//! Phase `docker`: the engine runs, its logs are bounded, and if there is a GPU it has NVIDIA's runtime.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::repository;
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, OrFail, Result};
use crate::host::docker::CONFIG;
use crate::host::files::{Access, without_mark};
use crate::node::Node;
use crate::paths::DOCKER_RESTART_DUE;

const UNIT: &str = "docker.service";

const TOOLKIT: &str = "nvidia-container-toolkit";
/// Older versions let a container become root on the host (CVE-2025-23266, NVIDIA's security bulletin of July 2025).
const LEAST_TOOLKIT: [u64; 3] = [1, 17, 8];

/// The container engine runs.
pub(super) struct Docker(pub Arc<Node>);

impl Docker {
    /// What is not as desired in the files; `None` if all is.
    fn missing(&self) -> Result<Option<String>> {
        let host = &self.0.host;
        let current = host.read_text(CONFIG)?;
        if merged(current.as_deref())?.is_some() {
            return Ok(Some(format!(
                "{CONFIG} does not bound the containers' logs"
            )));
        }
        if self.0.config.gpu && !has_nvidia_runtime(current.as_deref())? {
            return Ok(Some(format!("{CONFIG} has no NVIDIA runtime")));
        }
        if host.path(DOCKER_RESTART_DUE).exists() {
            return Ok(Some(format!(
                "{CONFIG} has changed since the engine started"
            )));
        }
        Ok(None)
    }

    async fn install_toolkit(&self) -> Result<()> {
        let host = &self.0.host;
        if host.package_installed(TOOLKIT).await? && self.old_toolkit().await?.is_none() {
            return Ok(());
        }
        repository::add(host, &host.os()?.toolkit).await?;
        host.install_packages(&[TOOLKIT]).await?;
        match self.old_toolkit().await? {
            None => Ok(()),
            Some(old) => Err(Error::new(
                format!("{old}, and there is no newer one in its place"),
                "see what holds it (apt-mark showhold, dnf versionlock list) and which repositories have it, then run: bootstrap \
                 --phase docker",
            )),
        }
    }

    /// What is wrong with the toolkit's version, if anything.
    async fn old_toolkit(&self) -> Result<Option<String>> {
        let asked = self.0.host.command("nvidia-ctk").arg("--version").looks();
        let told = asked.output().await?.stdout;
        let version = told.lines().find_map(|line| line.split_once(" version "));
        let version = version.map_or("", |(_, version)| version.trim());
        Ok(is_older(version).then(|| {
            format!(
                "{TOOLKIT} {} is older than 1.17.8 (CVE-2025-23266)",
                crate::log::printable(version)
            )
        }))
    }

    /// Installs the first of the packages, unless the image has one of them.
    async fn install_engine(&self) -> Result<()> {
        let host = &self.0.host;
        let packages = host.os()?.docker;
        for package in packages {
            if host.package_installed(package).await? {
                return Ok(());
            }
        }
        let own: Vec<&str> = packages.iter().take(1).copied().collect();
        host.install_packages(&own).await
    }

    /// The engine reads daemon.json only when it starts. The previous file is kept until that has succeeded.
    async fn before_change(&self) -> Result<()> {
        let host = &self.0.host;
        if host.unit_active(UNIT).await? && !host.path(DOCKER_RESTART_DUE).exists() {
            let before = host.read(CONFIG)?.unwrap_or_default();
            host.write(DOCKER_RESTART_DUE, &before, Access::mode(0o600))?;
        }
        Ok(())
    }

    /// Restarts the engine, so that it reads the changes; if it does not start with them, the previous file is restored
    /// and the engine started with that.
    async fn restart(&self, before: &[u8]) -> Result<()> {
        let host = &self.0.host;
        let refused = self.validate().await.err();
        let is_untouched = refused.is_some();
        let failed = match refused {
            Some(error) => Some(error),
            None => host.restart_unit(UNIT).await.err(),
        };
        let Some(error) = failed else {
            return host.remove(DOCKER_RESTART_DUE).map(drop);
        };
        if before.is_empty() {
            host.remove(CONFIG)?;
        } else {
            host.write(CONFIG, before, Access::mode(0o644))?;
        }
        let back = if is_untouched {
            Ok(())
        } else {
            host.restart_unit(UNIT).await
        };
        host.remove(DOCKER_RESTART_DUE)?;
        let outcome = match back {
            Ok(()) => "it is as it was, and the engine runs",
            Err(_) => "it is as it was, but the engine does not run",
        };
        Err(Error::new(
            format!("the engine does not take the new {CONFIG}: {error}; {outcome}"),
            error.hint(),
        ))
    }

    /// Asks the engine whether it would accept daemon.json; engines before 23 cannot tell.
    async fn validate(&self) -> Result<()> {
        let host = &self.0.host;
        let config = format!("--config-file={}", host.path(CONFIG).display());
        let asked = host.command("dockerd").args(["--validate", &config]);
        match asked.output().await {
            Ok(output) if output.code != 0 && !output.stderr.contains("unknown flag") => {
                Err(output.failure())
            }
            // No answer counts as no objection.
            _ => Ok(()),
        }
    }

    async fn configure(&self) -> Result<()> {
        let host = &self.0.host;
        if let Some(text) = merged(host.read_text(CONFIG)?.as_deref())? {
            self.before_change().await?;
            host.write(CONFIG, text.as_bytes(), Access::mode(0o644))?;
        }
        if self.0.config.gpu && !has_nvidia_runtime(host.read_text(CONFIG)?.as_deref())? {
            self.before_change().await?;
            host.command("nvidia-ctk")
                .args(["runtime", "configure", "--runtime=docker"])
                .arg(format!("--config={}", host.path(CONFIG).display()))
                .run()
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Phase for Docker {
    async fn check(&self) -> Result<State> {
        let host = &self.0.host;
        if !host.unit_exists(UNIT) {
            return Ok(State::Needed("docker is not installed".into()));
        }
        if let Some(missing) = self.missing()? {
            return Ok(State::Needed(missing));
        }
        if self.0.config.gpu && !host.package_installed(TOOLKIT).await? {
            return Ok(State::Needed(format!("{TOOLKIT} is not installed")));
        }
        if self.0.config.gpu
            && let Some(old) = self.old_toolkit().await?
        {
            return Ok(State::Needed(old));
        }
        if !host.unit_enabled(UNIT).await? {
            return Ok(State::Needed("docker is not enabled".into()));
        }
        if !host.unit_active(UNIT).await? {
            return Ok(State::Needed("docker is not active".into()));
        }
        Ok(match host.docker().server_version().await? {
            Some(version) => State::Done(format!("docker {version} is active")),
            None => State::Needed("docker does not answer".into()),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        if self.0.config.gpu {
            self.install_toolkit().await?;
        }
        // Before the engine is installed, since the packages of Debian and Ubuntu start it.
        self.configure().await?;
        self.install_engine().await?;
        host.enable_and_start(UNIT).await?;
        if let Some(before) = host.read(DOCKER_RESTART_DUE)? {
            self.restart(&before).await?;
        }
        Ok(Applied::Finished)
    }
}

/// Whether the version (`1.17.7`, `1.17.8-rc.1`) is older than the required one; false for what is no version.
fn is_older(version: &str) -> bool {
    let numbers = version
        .split(['.', '-', '~', '+'])
        .take(LEAST_TOOLKIT.len());
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    !numbers.is_empty() && numbers.as_slice() < LEAST_TOOLKIT.as_slice()
}

/// daemon.json as an object. A file that is not one is never overwritten: it is an administrator's.
fn parsed(current: Option<&str>) -> Result<Map<String, Value>> {
    const HINT: &str = "correct /etc/docker/daemon.json by hand, or remove it to get the default";
    // The engine itself skips a byte order mark.
    match current.map(|text| without_mark(text).trim()) {
        None | Some("") => Ok(Map::new()),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(Value::Null) => Ok(Map::new()),
            Ok(_) => Err(Error::new(format!("{CONFIG} is not a JSON object"), HINT)),
            Err(error) => Err(error).or_fail(|| format!("{CONFIG} is not valid JSON"), HINT),
        },
    }
}

/// The text that daemon.json should have, if it differs from the current one: container logs bounded, unless an
/// administrator has chosen otherwise; everything else kept.
pub fn merged(current: Option<&str>) -> Result<Option<String>> {
    let mut config = parsed(current)?;
    let before = config.clone();
    let driver = config
        .entry("log-driver")
        .or_insert_with(|| json!("json-file"));
    // The engine treats null as absent.
    if driver.is_null() {
        *driver = json!("json-file");
    }
    if *driver == json!("json-file") {
        let options = config.entry("log-opts").or_insert_with(|| json!({}));
        if options.is_null() {
            *options = json!({});
        }
        let Value::Object(options) = options else {
            return Err(Error::new(
                format!("\"log-opts\" in {CONFIG} is not a JSON object"),
                "correct /etc/docker/daemon.json by hand",
            ));
        };
        for (name, value) in [("max-size", "50m"), ("max-file", "3")] {
            options.entry(name).or_insert_with(|| json!(value));
        }
    }
    Ok((config != before).then(|| format!("{:#}\n", Value::Object(config))))
}

fn has_nvidia_runtime(current: Option<&str>) -> Result<bool> {
    let config = parsed(current)?;
    Ok(config
        .get("runtimes")
        .is_some_and(|runtimes| runtimes.get("nvidia").is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;
    use crate::phases::testing::{AMAZON, config, node};

    fn value(text: Option<String>) -> Option<Value> {
        text.map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn bounds_logs_and_keeps_what_an_administrator_has_set() {
        let bounded =
            json!({"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "3"}});
        let cases = [
            (None, Some(bounded.clone())),
            (Some("  \n"), Some(bounded.clone())),
            (Some(r#"{"log-driver": "journald"}"#), None),
            (
                Some(r#"{"data-root": "/d", "log-opts": {"max-size": "1g"}}"#),
                Some(json!({"data-root": "/d", "log-driver": "json-file",
                            "log-opts": {"max-size": "1g", "max-file": "3"}})),
            ),
        ];
        for (current, wanted) in cases {
            assert_eq!(value(merged(current).unwrap()), wanted, "{current:?}");
        }
        assert_eq!(merged(Some(&bounded.to_string())).unwrap(), None);
    }

    #[test]
    fn a_config_that_cannot_be_read_is_named_and_left_alone() {
        for (text, reason) in [
            ("{,}", "/etc/docker/daemon.json is not valid JSON"),
            ("[]", "/etc/docker/daemon.json is not a JSON object"),
            (
                r#"{"log-opts": 1}"#,
                "\"log-opts\" in /etc/docker/daemon.json is not a JSON object",
            ),
        ] {
            assert_eq!(merged(Some(text)).unwrap_err().reason(), reason);
        }
    }

    /// An Amazon Linux machine where `dnf install` marks packages as installed and systemctl keeps state.
    fn machine() -> Tree {
        let tree = Tree::new();
        tree.tool(
            "rpm",
            "grep -qx -- \"$2\" \"$BOOTSTRAP_ROOT/installed\" 2>/dev/null",
        );
        tree.tool(
            "dnf",
            "for p in $*; do echo $p; done >> \"$BOOTSTRAP_ROOT/installed\"",
        );
        tree.tool(
            "systemctl",
            "active=\"$BOOTSTRAP_ROOT/active\"; case $1 in
             is-active) if [ -e \"$active\" ]; then echo active; else echo inactive; exit 3; fi;;
             is-enabled) echo enabled;;
             start|restart) touch \"$active\";; esac",
        );
        tree.tool(
            "nvidia-ctk",
            "if [ $1 = --version ]; then echo 'NVIDIA Container Toolkit CLI version 1.17.8'; exit; fi; printf '{\"log-driver\":\"json-file\",\"log-opts\":{\"max-file\":\"3\",\"max-size\":\"50m\"},\"runtimes\":{\"nvidia\":{}}}' > ${4#--config=}",
        );
        tree
    }

    #[tokio::test]
    async fn installs_configures_and_starts_and_never_restarts_without_need() {
        let tree = machine();
        let phase = Docker(node(&tree, AMAZON, config(false)));
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("docker is not installed".into())
        );
        phase.apply().await.unwrap();
        tree.file("/usr/lib/systemd/system/docker.service", "");
        tree.tool("docker", "echo '{\"Version\":\"25.0.8\"}'");
        assert_eq!(
            phase.check().await.unwrap(),
            State::Done("docker 25.0.8 is active".into())
        );
        let first = tree.calls();
        assert!(first.contains(&"dnf -y --setopt=install_weak_deps=False install docker".into()));
        assert!(first.contains(&"systemctl start docker.service".into()));
        phase.apply().await.unwrap();
        assert!(
            !tree
                .calls()
                .contains(&"systemctl restart docker.service".into())
        );
        assert_eq!(phase.missing().unwrap(), None);

        tree.file(CONFIG, "{}");
        phase.apply().await.unwrap();
        assert!(
            tree.calls()
                .contains(&"systemctl restart docker.service".into())
        );
        assert_eq!(phase.missing().unwrap(), None);
    }

    #[tokio::test]
    async fn what_the_engine_would_not_take_never_reaches_it() {
        const OWN: &str = r#"{"live-restore": true}"#;
        let tree = machine();
        tree.file("/usr/lib/systemd/system/docker.service", "");
        tree.file("/installed", "docker\n");
        tree.file("/active", "");
        tree.file(CONFIG, OWN);
        tree.tool(
            "dockerd",
            "echo \"unable to configure the Docker daemon with file x: the following directives don't match any configuration option: y\" >&2; exit 1",
        );
        let phase = Docker(node(&tree, AMAZON, config(false)));
        let error = phase.apply().await.unwrap_err();
        assert!(
            error
                .reason()
                .ends_with("configuration option: y; it is as it was, and the engine runs"),
            "{error}"
        );
        assert!(error.hint().contains("dockerd --validate"));
        assert_eq!(tree.host.read(CONFIG).unwrap().unwrap(), OWN.as_bytes());
        let calls = tree.calls();
        assert!(
            calls
                .iter()
                .any(|call| call.starts_with("dockerd --validate"))
        );
        assert!(
            !calls.iter().any(|call| call.contains("restart")),
            "{calls:?}"
        );
    }

    #[tokio::test]
    async fn a_restart_that_was_cut_off_is_taken_up() {
        let tree = machine();
        let phase = Docker(node(&tree, AMAZON, config(false)));
        phase.apply().await.unwrap();
        tree.file(DOCKER_RESTART_DUE, "");
        assert_eq!(
            phase.missing().unwrap().unwrap(),
            "/etc/docker/daemon.json has changed since the engine started"
        );
        phase.apply().await.unwrap();
        assert_eq!(
            tree.calls().last().unwrap(),
            "systemctl restart docker.service"
        );
        assert_eq!(phase.missing().unwrap(), None);
    }

    #[test]
    fn a_toolkit_has_a_least_version() {
        for (version, old) in [
            ("1.17.7", true),
            ("1.16.2-1", true),
            ("1.9.0", true),
            ("1.17", true),
            ("1.17.8", false),
            ("1.17.8-1", false),
            ("1.20.0-rc.1", false),
            ("2.0.0", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(is_older(version), old, "{version}");
        }
    }

    #[tokio::test]
    async fn with_a_gpu_the_toolkit_comes_from_a_signed_repository() {
        let tree = machine();
        let phase = Docker(node(&tree, AMAZON, config(true)));
        phase.apply().await.unwrap();
        let dnf: Vec<_> = tree
            .calls()
            .into_iter()
            .filter(|c| c.starts_with("dnf"))
            .collect();
        let install = "dnf -y --setopt=install_weak_deps=False install";
        assert_eq!(
            dnf,
            [
                format!("{install} nvidia-release"),
                format!("{install} nvidia-container-toolkit"),
                format!("{install} docker"),
            ]
        );
        let ctk = format!(
            "nvidia-ctk runtime configure --runtime=docker --config={}",
            tree.host.path(CONFIG).display()
        );
        assert!(tree.calls().contains(&ctk));
        assert_eq!(phase.missing().unwrap(), None);
    }
}
