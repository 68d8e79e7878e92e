//! Every path of ours on a node, once. What each is for a person: `src/README.md`, under Files on a node.

/// The config.
pub const CONFIG: &str = "/etc/bootstrap/config.json";
/// This program.
pub const PROGRAM: &str = "/usr/local/bin/bootstrap";

/// Locks and secrets; in memory.
pub const RUN: &str = "/run/bootstrap";
/// Keeps two runs from overlapping; lies where a reboot forgets it.
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
/// UUID of the filesystem on the instance's own disk, where this boot has seen one: the disk is formatted only when it
/// is blank at first sight.
pub const INSTANCE_STORE: &str = "/run/bootstrap/instance-store";

/// What is remembered from run to run.
pub const STATE: &str = "/var/lib/bootstrap";
/// Whose the state is.
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
/// Whom the container runs as, and why.
pub const RUN_AS: &str = "/var/lib/bootstrap/run-as.json";
/// Names the disk while it is formatted. It is gone before anything can be written to the new filesystem, so as long as
/// it is there, and the volume has not left this instance since, nothing of worth is on the disk.
///
/// What the disk holds says less: a fresh encrypted volume reads as random bytes, and mkfs that was cut short leaves what
/// looks like a damaged filesystem.
pub const FORMATTING: &str = "/var/lib/bootstrap/formatting";
/// Names the disk, as [`FORMATTING`] does, from then on until the container is about to be started for the first time:
/// so long nothing but a filesystem has ever been on it.
pub const UNUSED_FILESYSTEM: &str = "/var/lib/bootstrap/unused-filesystem";
/// The version of the program that wrote the manual pages and completions, and their SHA-256.
pub const MANUAL: &str = "/var/lib/bootstrap/manual.sha256";
/// Security updates are for set-up, not for every boot.
pub const UPDATED: &str = "/var/lib/bootstrap/security-updates-installed";
/// There while the package manager changes something, with the time (Unix seconds) when that began. So a change that was
/// cut off, by a power cut or by the end of a phase's time, is known at the next run.
pub const PACKAGES_UNFINISHED: &str = "/var/lib/bootstrap/packages-unfinished";
/// Exists while the driver is being installed, so that a run killed before the packages were held is resumed.
pub const DRIVER_UNFINISHED: &str = "/var/lib/bootstrap/driver-install-unfinished";
/// Exists from before daemon.json changes under a running engine until the engine has restarted, so that the next run
/// finishes what a killed one began.
pub const DOCKER_RESTART_DUE: &str = "/var/lib/bootstrap/docker-restart-due";
/// Says whom phase `user` has put into group docker: whoever else is in it was put there by someone else, and stays.
pub const DOCKER_GROUP: &str = "/var/lib/bootstrap/docker-group";
/// The CloudWatch agent's config as applied. Not in the agent's own folder: fetch-config removes what it finds there.
pub const AGENT_CONFIG: &str = "/var/lib/bootstrap/cloudwatch-agent.json";
/// SHA-256 of the config that the agent was last given, written after the agent took it.
pub const AGENT_APPLIED: &str = "/var/lib/bootstrap/cloudwatch-agent.sha256";
/// The agent's package, until it is installed.
pub const AGENT_DEB: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.deb";
/// Its signature.
pub const AGENT_SIGNATURE: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.deb.sig";
/// The key that the signature is checked with.
pub const AGENT_KEYRING: &str = "/var/lib/bootstrap/amazon-cloudwatch-agent.gpg";
/// When logrotate rotated which log.
pub const LOGROTATE_STATE: &str = "/var/lib/bootstrap/logrotate.state";

/// Folder of the assets, and of what is being unpacked.
pub const HOME: &str = "/opt/bootstrap";
/// The assets.
pub const ASSETS: &str = "/opt/bootstrap/assets";
/// The container spec, as the `assets` phase unpacks it.
pub const SPEC: &str = "/opt/bootstrap/assets/edge.json";
/// The CloudWatch agent's config as the assets bring it, with placeholders.
pub const AGENT_ASSET: &str = "/opt/bootstrap/assets/amazon-cloudwatch-agent.json";
/// A keyring (binary, not armoured) that the assets may hold, for the day when AWS has another key; the config's SHA-256
/// vouches for it.
pub const AGENT_ASSET_KEYRING: &str = "/opt/bootstrap/assets/amazon-cloudwatch-agent.gpg";

/// The log.
pub const LOG: &str = "/var/log/bootstrap.log";
/// Where it is moved to when it is long.
pub const OLD_LOG: &str = "/var/log/bootstrap.log.1";
/// The lines of the logs of the node's processes, each behind the name of its log.
pub const EDGE_LOG: &str = "/var/log/bootstrap-edge.log";

/// Runs at every boot; there once a first run has begun.
pub const UNIT: &str = "/etc/systemd/system/bootstrap.service";
/// Repairs what is down.
pub const REPAIR_UNIT: &str = "/etc/systemd/system/bootstrap-repair.service";
/// Starts the repairs.
pub const REPAIR_TIMER: &str = "/etc/systemd/system/bootstrap-repair.timer";
/// One metrics tick.
pub const TICK_UNIT: &str = "/etc/systemd/system/bootstrap-metrics.service";
/// Starts it where the config says so.
pub const TICK_TIMER: &str = "/etc/systemd/system/bootstrap-metrics.timer";
/// Starts it otherwise; its name has no dot, or cron would skip it.
pub const CRON_TABLE: &str = "/etc/cron.d/bootstrap-metrics";
/// Rotates the logs of the node's processes. The operating system's own logrotate reads it once a day, the cron table
/// every hour.
pub const LOGROTATE: &str = "/etc/logrotate.d/bootstrap-edge";

/// Components of the distribution's archives that the node needs beside `main`, in the newer of apt's forms.
pub const APT_STANZAS: &str = "/etc/apt/sources.list.d/bootstrap-components.sources";
/// The same in the older form.
pub const APT_LINES: &str = "/etc/apt/sources.list.d/bootstrap-components.list";

/// What completes the commands in bash.
pub const BASH_COMPLETION: &str = "/usr/local/share/bash-completion/completions/bootstrap";
/// In zsh.
pub const ZSH_COMPLETION: &str = "/usr/local/share/zsh/site-functions/_bootstrap";
/// In fish.
pub const FISH_COMPLETION: &str = "/usr/local/share/fish/vendor_completions.d/bootstrap.fish";
