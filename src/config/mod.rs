//! The config file: its shape, its defaults and how it is read.

use serde::{Deserialize, Serialize};

/// `/etc/bootstrap/config.json`. Holds no secret. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// AWS region; the instance's own region where absent.
    pub region: Option<String>,
    /// The CloudFormation stack that waits for this node; nothing is signalled where absent.
    pub stack: Option<Stack>,
    /// Whether the node offers an NVIDIA GPU.
    #[serde(default)]
    pub gpu: bool,
    /// The unprivileged account that owns the data and runs the container.
    #[serde(default)]
    pub user: User,
    /// Where the wallet key and the node's data live.
    pub volume: Volume,
    /// The archive with the container spec and the CloudWatch agent's config.
    pub assets: Assets,
    /// The wallet password.
    pub secret: SecretRef,
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
    #[serde(default = "default_deadline")]
    pub deadline_seconds: u64,
}

/// The stack that waits.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Stack name or id, as SignalResource's StackName takes it.
    pub name: String,
    /// Logical id of the resource that waits for SignalResource; none is signalled where absent.
    pub resource: Option<String>,
    /// Presigned URL of the wait condition handle; not used where absent.
    pub wait_handle: Option<String>,
}

/// The node's account.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Kinds of data volume.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeKind {
    /// An EBS volume, named by id.
    #[default]
    Ebs,
    /// The instance's own NVMe disk, empty after every stop.
    InstanceStore,
}

/// Filesystems that a blank volume can be given.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4
    #[default]
    Ext4,
    /// XFS
    Xfs,
}

/// The data volume.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// EBS or instance store.
    #[serde(default)]
    pub kind: VolumeKind,
    /// EBS volume id (`vol-…`); required for `ebs`.
    pub id: Option<String>,
    /// Mount point.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// Filesystem of the volume; a blank volume is formatted with it.
    #[serde(default)]
    pub filesystem: Filesystem,
}

/// The assets archive (tar.gz) in S3.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assets {
    /// Bucket name.
    pub bucket: String,
    /// Object key.
    pub key: String,
    /// SHA-256 of the archive, 64 lower-case hex digits.
    pub sha256: String,
}

/// Where the wallet password is kept.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Secrets Manager ARN (or name).
    pub arn: String,
}

/// The edge container.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Edge {
    /// Theta network.
    pub network: String,
    /// Image repository; `thetalabsorg/edgelauncher_<network>` where absent.
    pub image: Option<String>,
    /// Image tag.
    pub tag: String,
    /// Image digest (`sha256:…`); wins over the tag.
    pub digest: Option<String>,
    /// Address on which the three RPC ports are published.
    pub rpc_bind: std::net::IpAddr,
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

fn default_mount() -> String {
    "/data".into()
}
