//! Every path of ours on a node, in one place. What each means to an operator: `src/README.md`, under Files on a node.

/// The config.
pub const CONFIG: &str = "/etc/bootstrap/config.json";
/// This program.
pub const PROGRAM: &str = "/usr/local/bin/bootstrap";

/// Locks and secrets; on tmpfs.
pub const RUN: &str = "/run/bootstrap";
/// Keeps two runs from overlapping; a reboot removes it.
pub const RUN_LOCK: &str = "/run/bootstrap/lock";
/// Keeps two ticks from overlapping.
pub const TICK_LOCK: &str = "/run/bootstrap/metrics.lock";
/// Folder of the wallet password; the container sees it under the same path.
pub const SECRETS: &str = "/run/bootstrap/secrets";
/// The wallet password, on the host and inside the container.
pub const PASSWORD: &str = "/run/bootstrap/secrets/wallet-password";
/// Exists for the rest of this boot if a GPU refused persistence mode, which costs seconds at a client's start and
/// nothing else.
pub const GPU_NOT_PERSISTENT: &str = "/run/bootstrap/gpu-without-persistence";
/// UUID of the filesystem on the instance store disk, if this boot has seen one: the disk is formatted only if it is
/// blank when first seen.
pub const INSTANCE_STORE: &str = "/run/bootstrap/instance-store";

/// State kept between runs.
pub const STATE: &str = "/var/lib/bootstrap";
/// Which instance the state belongs to.
pub const INSTANCE: &str = "/var/lib/bootstrap/instance";
/// What the last runs did.
pub const JOURNAL: &str = "/var/lib/bootstrap/journal.json";
/// When repairs began.
pub const REPAIRS: &str = "/var/lib/bootstrap/repairs.json";
/// What the last metrics tick knew.
pub const TICK: &str = "/var/lib/bootstrap/metrics.json";
/// What CloudFormation was told.
pub const SIGNALLED: &str = "/var/lib/bootstrap/signalled.json";
/// Whose key is on which disk.
pub const WALLET: &str = "/var/lib/bootstrap/wallet.json";
/// Where the copy of the key is, or why there is none.
pub const WALLET_BACKUP: &str = "/var/lib/bootstrap/wallet-backup.json";
/// Which user the container runs as, and why.
pub const RUN_AS: &str = "/var/lib/bootstrap/run-as.json";
/// Names the disk while it is being formatted. It is gone before anything can be written to the new filesystem, so as
/// long as it exists, and the volume has not left this instance since, nothing of value is on the disk.
///
/// What the disk holds says less: a fresh encrypted volume reads as random bytes, and an interrupted mkfs leaves what
/// looks like a damaged filesystem.
pub const FORMATTING: &str = "/var/lib/bootstrap/formatting";
/// Names the disk, as [`FORMATTING`] does, from then on until the container is about to be started for the first time:
/// until then, nothing but a filesystem has ever been on it.
pub const UNUSED_FILESYSTEM: &str = "/var/lib/bootstrap/unused-filesystem";
/// The version of the program that wrote the manual pages and completions, and their SHA-256.
pub const MANUAL: &str = "/var/lib/bootstrap/manual.sha256";
/// Security updates are for set-up, not for every boot.
pub const UPDATED: &str = "/var/lib/bootstrap/security-updates-installed";
/// Exists while the package manager is changing something, and holds the time (Unix seconds) when that began. It tells
/// the next run of a change that was cut off, by a power cut or a phase's timeout.
pub const PACKAGES_UNFINISHED: &str = "/var/lib/bootstrap/packages-unfinished";
/// Exists while the driver is being installed, so that a run killed before the packages were held is resumed.
pub const DRIVER_UNFINISHED: &str = "/var/lib/bootstrap/driver-install-unfinished";
/// Exists from before daemon.json changes under a running engine until the engine has restarted, so that the next run
/// finishes what a killed one began.
pub const DOCKER_RESTART_DUE: &str = "/var/lib/bootstrap/docker-restart-due";
/// Whom phase `user` has added to group docker: anyone else in it was added by someone else, and stays.
pub const DOCKER_GROUP: &str = "/var/lib/bootstrap/docker-group";
/// The CloudWatch agent's config as applied. Not in the agent's own folder: fetch-config removes what it finds there.
pub const AGENT_CONFIG: &str = "/var/lib/bootstrap/cloudwatch-agent.json";
/// SHA-256 of the config that the agent was last given, written after the agent took it.
pub const AGENT_APPLIED: &str = "/var/lib/bootstrap/cloudwatch-agent.sha256";
/// The agent's package, until it is installed.
pub const AGENT_DEB: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.deb";
/// Its signature.
pub const AGENT_SIGNATURE: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.deb.sig";
/// The key that the signature is verified with.
pub const AGENT_KEYRING: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.gpg";
/// When logrotate rotated which log.
pub const LOGROTATE_STATE: &str = "/var/lib/bootstrap/logrotate.state";

/// Folder of the assets, and of what is being unpacked.
pub const HOME: &str = "/opt/bootstrap";
/// The assets.
pub const ASSETS: &str = "/opt/bootstrap/assets";
/// The container spec, as the `assets` phase unpacks it.
pub const SPEC: &str = "/opt/bootstrap/assets/edge.json";
/// The CloudWatch agent's config as it comes with the assets, with placeholders.
pub const AGENT_ASSET: &str = "/opt/bootstrap/assets/amazon-cloudwatch-agent.json";
/// A keyring (binary, not armoured) that the assets may hold, in case AWS changes its key; the config's SHA-256 vouches
/// for it.
pub const AGENT_ASSET_KEYRING: &str = "/opt/bootstrap/assets/amazon-cloudwatch-agent.gpg";

/// The log.
pub const LOG: &str = "/var/log/bootstrap.log";
/// Where it is moved when it has grown too large.
pub const OLD_LOG: &str = "/var/log/bootstrap.log.1";
/// The lines of the logs of the node's processes, each prefixed with the name of its log.
pub const EDGE_LOG: &str = "/var/log/bootstrap-edge.log";

/// Runs at every boot; exists once a first run has begun.
pub const UNIT: &str = "/etc/systemd/system/bootstrap.service";
/// Repairs what is down.
pub const REPAIR_UNIT: &str = "/etc/systemd/system/bootstrap-repair.service";
/// Starts the repairs.
pub const REPAIR_TIMER: &str = "/etc/systemd/system/bootstrap-repair.timer";
/// One metrics tick.
pub const TICK_UNIT: &str = "/etc/systemd/system/bootstrap-metrics.service";
/// Starts it if the config says so.
pub const TICK_TIMER: &str = "/etc/systemd/system/bootstrap-metrics.timer";
/// Starts it otherwise; its name has no dot, or cron would skip it.
pub const CRON_TABLE: &str = "/etc/cron.d/bootstrap-metrics";
/// Rotates the logs of the node's processes. The operating system's own logrotate reads it once a day, the cron table
/// every hour.
pub const LOGROTATE: &str = "/etc/logrotate.d/bootstrap-edge";

/// Components of the distribution's archives that the node needs besides `main`, in the newer of apt's formats.
pub const APT_STANZAS: &str = "/etc/apt/sources.list.d/bootstrap-components.sources";
/// The same in the older format.
pub const APT_LINES: &str = "/etc/apt/sources.list.d/bootstrap-components.list";

/// Command completion for bash.
pub const BASH_COMPLETION: &str = "/usr/local/share/bash-completion/completions/bootstrap";
/// For zsh.
pub const ZSH_COMPLETION: &str = "/usr/local/share/zsh/site-functions/_bootstrap";
/// For fish.
pub const FISH_COMPLETION: &str = "/usr/local/share/fish/vendor_completions.d/bootstrap.fish";
