//! The config file: its shape, its defaults, and in the attributes of its structs what each key may hold. `schema` makes
//! the JSON Schema of that, by which `check` says what is wrong.

mod check;
mod problem;
mod schema;
mod syntax;
mod volume;

use serde::{Deserialize, Serialize};

pub use problem::{Problem, render};
pub use volume::{Origin, Volume, VolumeSource};

/// `/etc/bootstrap/config.json`. Holds no secret. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The instance that it is for; any where absent. An image carries it to others.
    #[schemars(
        title = "an EC2 instance id",
        example = &"i-0123456789abcdef0",
        regex(pattern = r"^i-([0-9a-f]{8}|[0-9a-f]{17})$")
    )]
    pub instance: Option<String>,
    /// AWS region; where absent, that of `AWS_REGION`, else the instance's own.
    #[schemars(
        title = "an AWS region",
        example = &"us-east-1",
        regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$")
    )]
    pub region: Option<String>,
    /// The CloudFormation stack that waits for this node; nothing is signalled where absent.
    pub stack: Option<Stack>,
    /// Whether the node offers an NVIDIA GPU.
    #[serde(default)]
    pub gpu: bool,
    /// The branch of the NVIDIA driver that is installed where the machine has none; by default 580 (Debian: 535).
    // NVIDIA's first open kernel modules came with 515.
    #[schemars(range(min = 515, max = 999))]
    pub gpu_driver: Option<u16>,
    /// The unprivileged account that owns the data and runs the container.
    #[serde(default)]
    pub user: User,
    /// Where the wallet key and the node's data live.
    #[schemars(with = "volume::Written")]
    pub volume: Volume,
    /// The archive with the container spec and the CloudWatch agent's config.
    pub assets: Assets,
    /// The wallet password.
    pub secret: SecretRef,
    /// Where a copy of the wallet key is kept; none is made where absent.
    pub wallet_backup: Option<WalletBackup>,
    /// The edge container.
    #[serde(default)]
    pub edge: Edge,
    /// What is published to CloudWatch, and how often.
    #[serde(default)]
    pub metrics: Metrics,
    /// The operating system.
    #[serde(default)]
    pub system: System,
    /// The whole run's deadline in seconds; keep it below CloudFormation's timeout.
    // Twelve hours: the longest that a CloudFormation CreationPolicy waits.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 60, max = 43_200))]
    pub deadline_seconds: u64,
}

impl Config {
    /// Reads a config file's text; every mistake in it is reported, not only the first.
    pub fn load(text: &str) -> Result<Self, Vec<Problem>> {
        let value = check::checked(text)?;
        // The check's rules are the structs' own, so this fails only on a defect of ours.
        serde_json::from_value(value).map_err(|error| {
            vec![Problem::new(
                "$",
                format!("the config cannot be read: {error}"),
                "compare it with `bootstrap config schema`",
            )]
        })
    }

    /// The JSON Schema of the file, pretty-printed.
    pub fn schema() -> String {
        format!("{:#}\n", schema::schema())
    }
}

/// The stack that waits.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Stack id, or name: IAM judges a name as `stack/NAME/*`, so a policy for the stack's id allows the id only.
    #[schemars(title = "a stack name or stack ARN", example = &"theta-edge", regex(pattern = schema::STACK))]
    pub name: String,
    /// Logical id of the resource that waits for SignalResource; none is signalled where absent.
    #[schemars(
        title = "a logical resource id (letters and digits)",
        example = &"NodeReady",
        regex(pattern = r"^[A-Za-z0-9]{1,255}$")
    )]
    pub resource: Option<String>,
    /// Presigned URL of the wait condition handle; not used where absent.
    // Whoever has it can speak for the node.
    #[schemars(title = "an http(s) URL", example = &"https://cloudformation-waitcondition-us-east-1.s3.amazonaws.com/handle",
        regex(pattern = r"^https?://[!-.0-~][!-~]*$"), length(max = 4_000), extend("writeOnly" = true))]
    pub wait_handle: Option<String>,
}

impl Stack {
    /// Its name, also where the config gives its id (`arn:…:stack/NAME/UUID`).
    pub fn short_name(&self) -> &str {
        self.name.split('/').nth(1).unwrap_or(&self.name)
    }
}

/// The node's account.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// Login name.
    #[schemars(title = "an account name other than root", example = &"bcuser", regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}$"),
        extend("not" = { "const": "root" }))]
    pub name: String,
    /// User id.
    #[schemars(range(min = 1, max = 60_000))]
    pub uid: u32,
    /// Group id.
    #[schemars(range(min = 1, max = 60_000))]
    pub gid: u32,
    /// Whether it may use Docker, which makes it as good as root.
    pub docker_group: bool,
}

/// The assets archive (tar.gz) in S3.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assets {
    /// Bucket name.
    #[schemars(transform = schema::bucket)]
    pub bucket: String,
    /// Object key.
    #[schemars(
        title = "an S3 object key without a leading slash",
        example = &"bootstrap/assets.tar.gz",
        regex(pattern = r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"),
        length(max = 1_024)
    )]
    pub key: String,
    /// SHA-256 of the archive, 64 lower-case hex digits.
    #[schemars(
        title = "a SHA-256 of 64 lower-case hex digits",
        example = &"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        regex(pattern = r"^[0-9a-f]{64}$")
    )]
    pub sha256: String,
}

/// Where the wallet password is kept.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Secrets Manager ARN (or name).
    // Someone may paste the password itself.
    #[schemars(title = "a Secrets Manager ARN or secret name", example = &"arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf",
        regex(pattern = r"^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@!-]+$"), length(max = 600),
        extend("writeOnly" = true))]
    pub arn: String,
}

/// Where a copy of the wallet key is kept, as encrypted as it is.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletBackup {
    /// Bucket name.
    #[schemars(transform = schema::bucket)]
    pub bucket: String,
    /// What the keys of this node's backups begin with, without the slash behind it.
    #[schemars(
        title = "plain words with slashes between them",
        example = &"wallets/theta-edge-node",
        regex(pattern = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"),
        length(max = 512)
    )]
    pub prefix: String,
    /// Address of the wallet whose key is put back onto a new volume; the only one that has a backup where absent.
    #[schemars(
        title = "a wallet's address in lower case",
        example = &"0x2e833968e5bb786ae419c4d13189fb081cc43bab",
        regex(pattern = r"^0x[0-9a-f]{40}$")
    )]
    pub address: Option<String>,
}

/// The edge container.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Edge {
    /// Theta network.
    #[schemars(
        title = "a Theta network's name",
        example = &"mainnet",
        regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$")
    )]
    pub network: String,
    /// Image repository; `thetalabsorg/edgelauncher_<network>` where absent.
    #[schemars(title = "an image repository without tag or digest", example = &"thetalabsorg/edgelauncher_mainnet",
        regex(pattern = schema::REPOSITORY), length(max = 255))]
    pub image: Option<String>,
    /// Image tag.
    #[schemars(
        title = "an image tag",
        example = &"latest",
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
    )]
    pub tag: String,
    /// Image digest (`sha256:…`); wins over the tag.
    #[schemars(
        title = "an image digest",
        example = &"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        regex(pattern = r"^sha256:[0-9a-f]{64}$")
    )]
    pub digest: Option<String>,
    /// Address on which the three RPC ports are published.
    #[schemars(title = "an IP address", example = &"127.0.0.1", regex(pattern = r"^[0-9A-Fa-f.:]{2,45}$"))]
    pub rpc_bind: std::net::IpAddr,
    /// Whom the container runs as.
    pub run_as: RunAs,
}

/// Whom the container runs as.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RunAs {
    /// The config's user where the image lets it work, else the image's own root with few rights; looked at once for
    /// each image.
    #[default]
    Auto,
    /// The config's user, by id.
    User,
    /// The image's own user.
    Image,
}

/// How the metrics tick is scheduled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// `/etc/cron.d/bootstrap-metrics`
    #[default]
    Cron,
    /// `bootstrap-metrics.timer`
    SystemdTimer,
}

/// CloudWatch metrics.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// CloudWatch namespace.
    #[schemars(title = "a CloudWatch namespace (not AWS/…)", example = &"CWAgent", regex(pattern = r"^[A-Za-z0-9._/#-][A-Za-z0-9._/#:-]{0,254}$"),
        extend("not" = { "pattern": "^AWS/" }))]
    pub namespace: String,
    /// Also publish `edge_peer` once per peer address; each peer is a billed metric.
    pub per_peer: bool,
    /// What starts the tick.
    pub schedule: Schedule,
}

/// Operating system updates at set-up.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// None: the AMI decides.
    #[default]
    None,
    /// Security updates before anything is installed.
    Security,
}

/// The operating system.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct System {
    /// What is updated before anything is installed.
    pub update: Update,
}

impl Default for User {
    fn default() -> Self {
        Self {
            name: "bcuser".into(),
            uid: 1002,
            gid: 1002,
            docker_group: false,
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            network: "mainnet".into(),
            image: None,
            tag: "latest".into(),
            digest: None,
            rpc_bind: std::net::Ipv4Addr::LOCALHOST.into(),
            run_as: RunAs::Auto,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            namespace: "CWAgent".into(),
            per_peer: false,
            schedule: Schedule::Cron,
        }
    }
}

fn default_deadline() -> u64 {
    3000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::VolumeId;

    const SMALLEST: &str = r#"{
        "volume": {"id": "vol-0123456789abcdef0"},
        "assets": {"bucket": "assets", "key": "edge.tar.gz",
                   "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        "secret": {"arn": "wallet-password"}
    }"#;

    #[test]
    fn the_smallest_config_has_safe_defaults() {
        let config = Config::load(SMALLEST).unwrap();
        assert_eq!(
            (config.user.name.as_str(), config.user.uid, config.user.gid),
            ("bcuser", 1002, 1002)
        );
        let (id, origin) = (
            VolumeId::parse("vol-0123456789abcdef0").unwrap(),
            Origin::Given,
        );
        assert_eq!(config.volume.source, VolumeSource::Ebs { id, origin });
        assert_eq!(config.volume.mount, "/data");
        assert_eq!(config.edge.rpc_bind.to_string(), "127.0.0.1");
        assert_eq!(config.deadline_seconds, 3000);
        assert_eq!(config.edge.run_as, RunAs::Auto);
        assert!(!config.user.docker_group);
        assert!(!config.gpu && config.stack.is_none() && config.region.is_none());
        assert_eq!(config.system.update, Update::None);
    }

    #[test]
    fn what_it_writes_it_reads() {
        let full = Config::load(
            r#"{
            "instance": "i-0123456789abcdef0",
            "region": "us-gov-west-1",
            "stack": {"name": "edge", "resource": "Node", "wait_handle": "https://s3.example/h?x=1"},
            "gpu": true,
            "gpu_driver": 595,
            "user": {"name": "theta", "uid": 2000, "gid": 2001, "docker_group": true},
            "volume": {"kind": "instance-store", "mount": "/data", "filesystem": "xfs"},
            "assets": {"bucket": "assets", "key": "a/b.tar.gz",
                       "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
            "secret": {"arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf"},
            "wallet_backup": {"bucket": "assets", "prefix": "wallets/edge", "address": "0x2e833968e5bb786ae419c4d13189fb081cc43bab"},
            "edge": {"network": "testnet", "image": "registry:5000/theta/edge", "tag": "v1.2",
                     "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                     "rpc_bind": "::1", "run_as": "image"},
            "metrics": {"namespace": "Theta", "per_peer": true, "schedule": "systemd-timer"},
            "system": {"update": "security"},
            "deadline_seconds": 60
        }"#,
        )
        .unwrap();
        assert_eq!(full.metrics.schedule, Schedule::SystemdTimer);
        assert_eq!(full.stack.unwrap().resource.unwrap(), "Node");
        assert_eq!(full.volume.source, VolumeSource::InstanceStore);
        assert_eq!(full.volume.filesystem, crate::host::disk::Kind::Xfs);
    }
}
