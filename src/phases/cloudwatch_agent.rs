//! Phase `cloudwatch-agent`: the agent is installed, has the assets' config, and runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::download::download;
use crate::config::{Config, Stack};
use crate::digest::sha256;
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, OrFail, Result};
use crate::host::files::Access;
use crate::host::openpgp;
use crate::host::os::CloudWatchAgent as Source;
use crate::node::Node;
use crate::paths::{
    AGENT_APPLIED, AGENT_ASSET, AGENT_ASSET_KEYRING, AGENT_CONFIG, AGENT_DEB, AGENT_KEYRING,
    AGENT_SIGNATURE,
};

const PACKAGE: &str = "amazon-cloudwatch-agent";
const UNIT: &str = "amazon-cloudwatch-agent.service";
/// The key that AWS signs the agent's packages with, as published in its guide ("Verifying the signature of the
/// CloudWatch agent package").
const KEY: &str = include_str!("cloudwatch_agent.asc");
/// The agent's files as fetch-config leaves them, each named after where it came from: `file_…` and `ssm_…`
/// (aws/amazon-cloudwatch-agent#594).
const IN_USE: &str = "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d";
const OURS: &str = "file_cloudwatch-agent.json";
const DEFAULT: &str = "default";
const PRIVATE: Access = Access::mode(0o600);

/// The package is about 150 MB.
const DEB_LIMIT: u64 = 512 << 20;
const DEB_TIMEOUT: Duration = Duration::from_mins(3);

/// The CloudWatch agent runs with our config.
pub(super) struct CloudWatchAgent(pub Arc<Node>);

impl CloudWatchAgent {
    /// The config that the agent should have, if the assets are there.
    fn wanted(&self) -> Result<Option<String>> {
        self.0
            .host
            .read_text(AGENT_ASSET)?
            .map(|text| rendered(&text, &self.0.config))
            .transpose()
    }

    fn is_applied(&self, config: &str) -> Result<bool> {
        let applied = self.0.host.read_text(AGENT_APPLIED)?;
        Ok(
            applied.is_some_and(|hash| hash.trim() == sha256(config.as_bytes()))
                && self.is_in_use(config)?,
        )
    }

    /// Whether the agent's own files hold our config and no other: a fleet tool may have given it another one since
    /// (fetch-config with an SSM parameter removes ours). If there are none, it keeps them elsewhere.
    fn is_in_use(&self, config: &str) -> Result<bool> {
        let host = &self.0.host;
        let names = host.names_in(IN_USE)?;
        // The agent ignores files with this extension: an interrupted fetch leaves them.
        let is_read = |name: &&String| name.rsplit_once('.').is_none_or(|(_, end)| end != "tmp");
        if (names.iter().filter(is_read)).any(|name| name != OURS && name != DEFAULT) {
            return Ok(false);
        }
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        let found = host.read_others(&format!("{IN_USE}/{OURS}"))?;
        Ok(found.is_none_or(|found| value(&found) == value(config)))
    }

    /// Installs it if necessary.
    async fn ensure(&self) -> Result<()> {
        let host = &self.0.host;
        if !host.package_installed(PACKAGE).await? {
            self.install().await?;
        }
        // Also if a run was killed before it did.
        host.remove(AGENT_DEB)?;
        host.remove(AGENT_SIGNATURE)?;
        host.remove(AGENT_KEYRING)?;
        Ok(())
    }

    async fn install(&self) -> Result<()> {
        let host = &self.0.host;
        let folder = match host.os()?.cloudwatch_agent {
            Source::Package => return host.install_packages(&[PACKAGE]).await,
            Source::Download(folder) => folder,
        };
        let url = package_url(&self.0.region().await?, folder);
        host.write(
            AGENT_DEB,
            &download(&url, DEB_LIMIT, DEB_TIMEOUT).await?,
            PRIVATE,
        )?;
        self.verify(&url).await?;
        host.install_packages(&[AGENT_DEB]).await
    }

    /// Verifies the package's signature: whoever can impersonate AWS can send any package, which then runs as root.
    async fn verify(&self, url: &str) -> Result<()> {
        let host = &self.0.host;
        let signature = download(&format!("{url}.sig"), 64 * 1024, DEB_TIMEOUT).await?;
        host.write(AGENT_SIGNATURE, &signature, PRIVATE)?;
        let keyring = if host.path(AGENT_ASSET_KEYRING).exists() {
            AGENT_ASSET_KEYRING
        } else {
            let key = openpgp::dearmored(KEY).unwrap_or_default();
            host.write(AGENT_KEYRING, &key, PRIVATE)?;
            AGENT_KEYRING
        };
        self.check_signature(url, keyring).await
    }

    async fn check_signature(&self, url: &str, keyring: &str) -> Result<()> {
        let host = &self.0.host;
        // Part of apt on every system that downloads the package.
        let gpgv = host
            .command("gpgv")
            .arg("--keyring")
            .args([keyring, AGENT_SIGNATURE, AGENT_DEB].map(|path| host.path(path)))
            .output()
            .await?;
        if gpgv.code == 0 {
            return Ok(());
        }
        Err(Error::new(
            format!(
                "the signature of {url} is not valid: {}",
                crate::log::printable(&gpgv.stderr)
            ),
            "see what answers there, a proxy may be in between; where AWS has changed its key and says so (\"Verifying the \
             signature of the CloudWatch agent package\" in the CloudWatch guide), put the new one, as a binary keyring, \
             into the assets archive as amazon-cloudwatch-agent.gpg, deploy that archive, then run `bootstrap` again",
        ))
    }

    /// Hands the config over. The agent's control program also restarts the agent, and makes systemd reload its units.
    async fn give(&self, config: &str) -> Result<()> {
        let host = &self.0.host;
        host.write(AGENT_CONFIG, config.as_bytes(), PRIVATE)?;
        host.command("amazon-cloudwatch-agent-ctl")
            .args(["-a", "fetch-config", "-m", "ec2", "-c"])
            .arg(format!("file:{}", host.path(AGENT_CONFIG).display()))
            .arg("-s")
            .timeout(Duration::from_mins(2))
            .run()
            .await?;
        host.write(AGENT_APPLIED, sha256(config.as_bytes()).as_bytes(), PRIVATE)
    }
}

#[async_trait]
impl Phase for CloudWatchAgent {
    async fn check(&self) -> Result<State> {
        let host = &self.0.host;
        let Some(config) = self.wanted()? else {
            return Ok(State::Needed(format!("{AGENT_ASSET} is not there yet")));
        };
        if !host.package_installed(PACKAGE).await? {
            return Ok(State::Needed(format!("{PACKAGE} is not installed")));
        }
        if !self.is_applied(&config)? {
            return Ok(State::Needed(
                "the agent does not have the desired config".into(),
            ));
        }
        if !host.unit_enabled(UNIT).await? {
            return Ok(State::Needed(format!("{UNIT} is not enabled")));
        }
        if !host.unit_active(UNIT).await? {
            return Ok(State::Needed(format!("{UNIT} is not active")));
        }
        Ok(State::Done(format!(
            "{UNIT} is active with the desired config"
        )))
    }

    async fn apply(&self) -> Result<Applied> {
        let host = &self.0.host;
        let config = self.wanted()?.ok_or_else(|| {
            Error::new(
                format!("{AGENT_ASSET} is missing"),
                "put the file into the assets archive, then run `bootstrap --phase assets`",
            )
        })?;
        self.ensure().await?;
        if !self.is_applied(&config)? {
            self.give(&config).await?;
        }
        host.enable_and_start(UNIT).await?;
        Ok(Applied::Finished)
    }
}

/// The agent is installed, with no config yet.
pub(super) struct Installed(CloudWatchAgent);

impl Installed {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self(CloudWatchAgent(node))
    }
}

#[async_trait]
impl Phase for Installed {
    async fn check(&self) -> Result<State> {
        let host = &self.0.0.host;
        let is_there = host.package_installed(PACKAGE).await?;
        let word = if is_there { "is" } else { "is not" };
        let told = format!("{PACKAGE} {word} installed");
        Ok(if is_there {
            State::Done(told)
        } else {
            State::Needed(told)
        })
    }

    async fn apply(&self) -> Result<Applied> {
        self.0.ensure().await?;
        Ok(Applied::Finished)
    }
}

/// The bucket's ubuntu and debian folders are named like the documented ones (`amazon_linux`, `centos`, `redhat`).
fn package_url(region: &str, folder: &str) -> String {
    let domain = crate::aws::partition::domain(region);
    format!(
        "https://amazoncloudwatch-agent-{region}.s3.{region}.{domain}/{folder}/amd64/latest/{PACKAGE}.deb"
    )
}

/// The asset with `{mount}`, `{namespace}` and `{stack}` filled in, and without GPU metrics if there is no GPU: the
/// agent would log an error every minute.
fn rendered(asset: &str, config: &Config) -> Result<String> {
    let mut value: Value = serde_json::from_str(asset).or_fail(
        || format!("{AGENT_ASSET} is not valid JSON"),
        "correct the file, rebuild the assets archive, and put its SHA-256 into the config",
    )?;
    if !config.gpu
        && let Some(Value::Object(metrics)) = value.pointer_mut("/metrics/metrics_collected")
    {
        metrics.remove("nvidia_gpu");
    }
    fill(&mut value, config);
    Ok(format!("{value:#}\n"))
}

fn fill(value: &mut Value, config: &Config) {
    match value {
        Value::String(text) => {
            let stack = config.stack.as_ref().map_or("edge-node", Stack::short_name);
            *text = text
                .replace("{mount}", &config.volume.mount)
                .replace("{namespace}", &config.metrics.namespace)
                .replace("{stack}", stack);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, config)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| fill(entry, config)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::testing::Tree;
    use crate::phases::testing::{AMAZON, DEBIAN, config, node};

    const OURS: &str = include_str!("../../cloudformation/assets/amazon-cloudwatch-agent.json");

    fn value(config: &Config) -> Value {
        serde_json::from_str(&rendered(OURS, config).unwrap()).unwrap()
    }

    #[test]
    fn our_config_is_filled_in() {
        let mut config = config(true);
        config.volume.mount = "/mnt/theta".into();
        config.stack = Some(Stack {
            name: "arn:aws:cloudformation:us-east-1:123456789012:stack/edge/1-2".into(),
            resource: None,
            wait_handle: None,
        });
        let with = value(&config);
        let collected = &with["metrics"]["metrics_collected"];
        assert_eq!(collected["disk"]["resources"], json!(["/", "/mnt/theta"]));
        assert_eq!(with["metrics"]["namespace"], "CWAgent");
        assert_eq!(
            with["metrics"]["append_dimensions"]["InstanceId"],
            "${aws:InstanceId}"
        );
        let logs = with["logs"]["logs_collected"]["files"]["collect_list"]
            .as_array()
            .unwrap();
        let streams: Vec<_> = logs.iter().map(|log| &log["log_stream_name"]).collect();
        assert_eq!(
            streams,
            [
                "{instance_id}/bootstrap",
                "{instance_id}/cloud-init",
                "{instance_id}/edge"
            ]
        );
        assert!(
            logs.iter()
                .all(|log| log["log_group_name"] == "/theta-edge/edge")
        );
        assert!(collected.get("nvidia_gpu").is_some());

        config.gpu = false;
        config.stack = None;
        let without = rendered(OURS, &config).unwrap();
        assert!(!without.contains("nvidia_gpu") && without.contains("/theta-edge/edge-node"));
    }

    /// The dashboard and the alarms query by group, and disks by path too; a metric whose original is dropped and that
    /// has no dimension but the group's would be lost.
    #[test]
    fn metrics_are_kept_by_group_and_path() {
        let metrics = &value(&config(true))["metrics"];
        let kept = metrics["aggregation_dimensions"].as_array().unwrap();
        assert!(kept.contains(&json!(["AutoScalingGroupName"])));
        assert!(kept.contains(&json!(["AutoScalingGroupName", "path"])));
        let collected = metrics["metrics_collected"].as_object().unwrap();
        let mut dropping: Vec<_> = collected
            .iter()
            .filter(|(_, section)| section.get("drop_original_metrics").is_some())
            .map(|(name, _)| name.as_str())
            .collect();
        dropping.sort_unstable();
        // These have dimensions of their own (cpu, path, name, index); mem, swap and netstat have none.
        assert_eq!(dropping, ["cpu", "disk", "diskio", "nvidia_gpu"]);
    }

    #[test]
    fn packages_come_from_the_regions_own_bucket() {
        assert_eq!(
            package_url("eu-west-1", "debian"),
            "https://amazoncloudwatch-agent-eu-west-1.s3.eu-west-1.amazonaws.com/debian/amd64/latest/amazon-cloudwatch-agent.deb"
        );
        assert_eq!(
            package_url("cn-north-1", "ubuntu"),
            "https://amazoncloudwatch-agent-cn-north-1.s3.cn-north-1.amazonaws.com.cn/ubuntu/amd64/latest/amazon-cloudwatch-agent.deb"
        );
    }

    #[tokio::test]
    async fn gives_the_config_once_and_again_when_it_changes() {
        let tree = Tree::new();
        tree.tool("rpm", "[ -e \"$BOOTSTRAP_ROOT/installed\" ]");
        tree.tool("dnf", "touch \"$BOOTSTRAP_ROOT/installed\"");
        tree.tool(
            "systemctl",
            "case $1 in is-active) echo active;; is-enabled) echo enabled;; esac",
        );
        tree.tool("amazon-cloudwatch-agent-ctl", "");
        let phase = CloudWatchAgent(node(&tree, AMAZON, config(false)));
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed(
                "/opt/bootstrap/assets/amazon-cloudwatch-agent.json is not there yet".into()
            )
        );
        assert_eq!(
            phase.apply().await.unwrap_err().reason(),
            "/opt/bootstrap/assets/amazon-cloudwatch-agent.json is missing"
        );

        tree.file(AGENT_ASSET, OURS);
        phase.apply().await.unwrap();
        let state = phase.check().await.unwrap();
        assert_eq!(
            state,
            State::Done("amazon-cloudwatch-agent.service is active with the desired config".into())
        );
        phase.apply().await.unwrap();
        tree.file(AGENT_ASSET, r#"{"agent": {}}"#);
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("the agent does not have the desired config".into())
        );
        phase.apply().await.unwrap();
        let calls = tree.calls();
        let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
        assert_eq!((count("dnf"), count("amazon-cloudwatch-agent-ctl")), (1, 2));
        let ctl = format!(
            "amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -c file:{} -s",
            tree.host.path(AGENT_CONFIG).display()
        );
        assert!(calls.contains(&ctl), "{calls:?}");
    }

    #[tokio::test]
    async fn a_config_that_the_agent_refused_is_given_again() {
        let tree = Tree::new();
        tree.tool("dpkg-query", "printf installed");
        tree.tool("amazon-cloudwatch-agent-ctl", "echo 'invalid' >&2; exit 1");
        tree.file(AGENT_ASSET, OURS);
        let phase = CloudWatchAgent(node(&tree, DEBIAN, config(false)));
        assert!(phase.apply().await.is_err());
        assert_eq!(
            phase.check().await.unwrap(),
            State::Needed("the agent does not have the desired config".into())
        );
    }

    #[test]
    fn the_key_is_the_one_that_aws_publishes() {
        assert_eq!(
            openpgp::only_key(KEY.as_bytes()).unwrap(),
            "937616F3450B7D806CBD9725D58167303B789C72"
        );
    }

    #[tokio::test]
    async fn a_broken_asset_is_named() {
        let tree = Tree::new();
        tree.file(AGENT_ASSET, "{");
        let phase = CloudWatchAgent(node(&tree, DEBIAN, config(false)));
        assert_eq!(
            phase.check().await.unwrap_err().reason(),
            "/opt/bootstrap/assets/amazon-cloudwatch-agent.json is not valid JSON"
        );
    }
}
