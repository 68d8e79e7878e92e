//! What each check of `verify` means, what makes it fail, what to do; and the phases that have no check of the same name.

/// One check, or a phase, for a person.
#[derive(Debug)]
pub(super) struct Meaning {
    /// The check, or the phase.
    pub name: &'static str,
    /// What is true where it passes.
    pub means: &'static str,
    /// How it comes to fail or to warn.
    pub causes: &'static str,
    /// What to do, safest first.
    pub remedy: &'static str,
}

/// Every check, in the order of reports; then `signal`, the one phase without a check.
#[rustfmt::skip]
pub(super) const MEANINGS: &[Meaning] = &[
    Meaning {
        name: "os",
        means: "The machine can be a node: x86_64, a supported operating system, an instance metadata service that \
                answers, a root disk that is writable and has room, no other account with the node's user id.",
        causes: "An AMI other than the documented ones; a metadata service that is disabled or behind a proxy; a disk \
                 error, after which the kernel makes the root disk read-only; a root disk that is full.",
        remedy: "Do what the check's own hint says. Where the root disk is broken, replace the instance: the wallet key \
                 is on another disk.",
    },
    Meaning {
        name: "boot-service",
        means: "bootstrap.service and bootstrap-repair.timer are installed and enabled, so that every boot repairs \
                the node, and whatever goes down in between is restarted.",
        causes: "Someone disabled or edited a unit, or a newer binary has a newer one.",
        remedy: "sudo bootstrap",
    },
    Meaning {
        name: "ssm-agent",
        means: "The SSM agent runs: operators get a shell through it, and scripts/verify reaches the node through it.",
        causes: "The agent was stopped or removed. On an AMI without it, it is installed from AWS.",
        remedy: "sudo bootstrap",
    },
    Meaning {
        name: "gpu-driver",
        means: "NVIDIA's driver is loaded for the kernel that runs, and nvidia-smi sees the GPU. Skipped where the \
                config says that no GPU is offered.",
        causes: "A new kernel for which the module was not built; an instance type without an NVIDIA GPU; a GPU that \
                 has fallen off the bus (an Xid error in dmesg).",
        remedy: "sudo bootstrap, which builds and loads the driver; after an Xid error stop and start the instance, \
                 which moves it to other hardware.",
    },
    Meaning {
        name: "docker",
        means: "The Docker engine is enabled and runs, rotates its logs, and hands the GPU to containers where one is \
                offered.",
        causes: "The engine was killed, or its /etc/docker/daemon.json was edited; a full root disk keeps it from starting.",
        remedy: "sudo bootstrap; if that does not help: journalctl -u docker --since -1h",
    },
    Meaning {
        name: "image",
        means: "The edge image is on the machine, and its digest is recorded.",
        causes: "Someone pruned Docker's images, or the config names another tag.",
        remedy: "sudo bootstrap, which pulls it. To get a newer image on purpose: bootstrap --phase image --force, then \
                 bootstrap --phase container.",
    },
    Meaning {
        name: "user",
        means: "The account that owns the node's data exists with the ids that own the files on the volume.",
        causes: "The account was removed, or another one took its id.",
        remedy: "sudo bootstrap; where another account has the id, the hint names it.",
    },
    Meaning {
        name: "volume",
        means: "The data volume, which holds the wallet key, is attached, has the expected filesystem and is mounted.",
        causes: "Someone unmounted or detached it; it is attached to another instance or in another zone; it holds \
                 something unexpected, in which case nothing is ever formatted.",
        remedy: "sudo bootstrap, which attaches and mounts it. If it refuses, the hint names what it found. Never \
                 format the volume, and never remove what is below the mount point without looking at it first.",
    },
    Meaning {
        name: "volume-encrypted",
        means: "The EBS volume is encrypted at rest. Skipped if AWS does not say, or for an instance store.",
        causes: "A volume that was made by hand without encryption.",
        remedy: "Make a snapshot, an encrypted volume from it, and deploy with that volume's id.",
    },
    Meaning {
        name: "disk-root",
        means: "At least 15 % is free on the root disk, and on each other disk that holds Docker's images, /var or the logs. It warns \
                below that, and fails below 5 %.",
        causes: "Old images, the journal, or a log that nobody rotates.",
        remedy: "docker system df; journalctl --disk-usage; then remove what is not needed (docker image prune).",
    },
    Meaning {
        name: "disk-data",
        means: "At least 15 % of the data volume is free. It warns below that, and fails below 5 %.",
        causes: "The chain's database grows, and so do the logs of the edge node.",
        remedy: "Make the EBS volume larger, then: sudo bootstrap, which grows the filesystem while it is in use.",
    },
    Meaning {
        name: "assets",
        means: "The assets archive that the config names by its SHA-256 is unpacked: edge.json, the agent's config.",
        causes: "A file below /opt/bootstrap/assets was edited or removed; the config names another archive.",
        remedy: "sudo bootstrap, which fetches it again from S3.",
    },
    Meaning {
        name: "secret",
        means: "The wallet password is in memory-backed storage, readable for the container's user alone, and is the \
                value that the secret has now.",
        causes: "A boot empties that storage, and the run that fills it again failed; the secret was changed after this \
                 node had read it; its role may not read it.",
        remedy: "sudo bootstrap. Where the secret was changed: bootstrap --phase secret --force, which first proves the \
                 new value against the key on the volume and keeps the old one if it does not open it.",
    },
    Meaning {
        name: "cloudwatch-agent",
        means: "The CloudWatch agent runs with the config of the assets: machine metrics and logs reach CloudWatch.",
        causes: "The agent was stopped, or its config was edited.",
        remedy: "sudo bootstrap; then its own log: /opt/aws/amazon-cloudwatch-agent/logs/amazon-cloudwatch-agent.log",
    },
    Meaning {
        name: "key",
        means: "The key folder on the volume holds exactly one wallet key, that of the node's remembered address, and \
                nobody else can read it.",
        causes: "A second file in the folder (the node then refuses to start); a key that was moved away or replaced; \
                 modes that were changed.",
        remedy: "Never delete a key. Move what does not belong there to a safe place outside the folder; bring a lost \
                 key back with scripts/backup-key --restore.",
    },
    Meaning {
        name: "wallet-backup",
        means: "A copy of the still encrypted key file is in the bucket that the config names, was read back, and \
                matches the one on the volume. Skipped if the config has no wallet_backup. It only ever warns.",
        causes: "The bucket refused it or could not be reached; the clock is wrong; the bucket has a \
                 different backup of the same wallet, for example because the key was re-encrypted. A backup is never \
                 overwritten.",
        remedy: "Do what the check's own hint says, then: sudo bootstrap. By hand: scripts/backup-key.",
    },
    Meaning {
        name: "container",
        means: "The edge node's container runs, was made by bootstrap, and is not in a restart loop.",
        causes: "It was stopped or removed; Docker was killed; the wallet password does not open the key; the node \
                 itself exited, in which case the check quotes the end of its log.",
        remedy: "sudo bootstrap; if that does not help: docker logs --tail 100 edgelauncher",
    },
    Meaning {
        name: "spec",
        means: "The container was made with the image, ports, mounts, user and environment that the config and the \
                assets ask for now.",
        causes: "The config or the assets changed, or the container was made by hand.",
        remedy: "sudo bootstrap, which recreates it; data and key are on the volume and stay there.",
    },
    Meaning {
        name: "password",
        means: "docker inspect does not show the wallet password.",
        causes: "A container that was started by hand with the password in its environment or arguments.",
        remedy: "docker rm -f edgelauncher, then: bootstrap --phase container. Members of group docker could have read \
                 it: change the wallet's password if that matters.",
    },
    Meaning {
        name: "gpu-container",
        means: "nvidia-smi works inside the container. Skipped where no GPU is offered.",
        causes: "A systemctl daemon-reload can cut a running container off its GPU; the driver was updated underneath it. The \
                 metrics tick restarts the container by itself, a bounded number of times.",
        remedy: "docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
    },
    Meaning {
        name: "ports",
        means: "The node's RPC ports are published at the configured address only, which by default only this machine reaches.",
        causes: "A container that was made by hand, or edge.rpc_bind was changed without a rerun.",
        remedy: "bootstrap --phase container --force",
    },
    Meaning {
        name: "rpc",
        means: "The edge node answers its JSON-RPC and names its wallet address.",
        causes: "The node is starting, which can take ten minutes; the node hangs or has ended.",
        remedy: "Wait: bootstrap verify --wait 15m. If it stays: docker logs --tail 100 edgelauncher, then docker restart edgelauncher.",
    },
    Meaning {
        name: "launcher",
        means: "The launcher, which starts the node's other processes and takes jobs, answers its JSON-RPC. In the \
                container's first 15 minutes it only warns, since starting takes time.",
        causes: "It hangs or has ended; then the node gets no jobs, although the core still answers.",
        remedy: "Wait: bootstrap verify --wait 15m. If it stays: docker logs --tail 100 edgelauncher, then docker restart edgelauncher.",
    },
    Meaning {
        name: "encoder",
        means: "The encoder, which does the video jobs and knows what was earned, answers its JSON-RPC. In the \
                container's first 15 minutes it only warns, since starting takes time.",
        causes: "It hangs or has ended: the check quotes the last relevant line of its own log on the volume; then no \
                 video job is done, although the core still answers.",
        remedy: "Wait: bootstrap verify --wait 15m. If it stays: read that log below the mount point (edgeencoder.log), then \
                 docker restart edgelauncher.",
    },
    Meaning {
        name: "anycast",
        means: "The node's third process, which has no RPC, still runs: a metrics tick has seen it in the container since \
                its start. What it does is not documented, so this only warns.",
        causes: "It has ended: the check quotes the last relevant line of its own log on the volume.",
        remedy: "Read that log below the mount point (anycast.log), then docker restart edgelauncher.",
    },
    Meaning {
        name: "height",
        means: "The node follows the chain: its block height advances.",
        causes: "The node is still joining, which can take half an hour; or it is stuck, or cut off from its peers.",
        remedy: "Wait: bootstrap verify --wait 30m. If it stays: check outbound TCP 16888, then docker restart edgelauncher.",
    },
    Meaning {
        name: "peers",
        means: "The node is connected to other nodes of the network.",
        causes: "The node is still joining; or a security group, network ACL or NAT keeps it from TCP 16888.",
        remedy: "Check outbound TCP 16888, then: docker restart edgelauncher",
    },
    Meaning {
        name: "metrics",
        means: "bootstrap metrics runs every minute and reached CloudWatch within the last three; the logs of the node's \
                processes are rotated.",
        causes: "The cron table, the timer or logrotate is gone; the cron daemon is stopped; the role lacks the permission to publish; the clock was set back.",
        remedy: "sudo bootstrap; then bootstrap metrics, which prints why a tick fails.",
    },
    Meaning {
        name: "staking",
        means: "The node reports its summary, which its owner needs for staking. If it does not, that is not a failure.",
        causes: "A node that has just started, or an edge image that does not report it.",
        remedy: "Nothing; ask again once the node is in sync: bootstrap verify --only node -v",
    },
    Meaning {
        name: "pending-tfuel",
        means: "The TFUEL that the node reports as earned but not yet paid. If it reports none, nothing fails.",
        causes: "Payment comes in the first days of a month; an edge image that does not report it.",
        remedy: "Nothing. Nobody from Theta will ask for your key or password to pay it out.",
    },
    Meaning {
        name: "jobs",
        means: "How many jobs were done and failed since yesterday, and when the last one ended. It warns if three \
                fail in a row, or if none came for three days; it never fails.",
        causes: "The GPU or its driver does not do what a job asks for; the disk is full; or the network has no jobs for \
                 this machine, which nothing on it can change.",
        remedy: "docker logs --tail 100 edgelauncher; bootstrap verify --only gpu; bootstrap verify --only volume",
    },
    Meaning {
        name: "uptime-vote",
        means: "The node's log shows an uptime vote within the last hour; votes follow checkpoints, about every ten \
                minutes. It warns, and never fails; it is skipped if the log shows no votes at all.",
        causes: "The node is not staked, or no longer; it does not follow the chain; its log uses other words.",
        remedy: "bootstrap verify --only node; check that the stake is still in place.",
    },
    Meaning {
        name: "signal",
        means: "The last phase: the node is healthy or syncing, and CloudFormation has been signalled.",
        causes: "The node did not become healthy before the phase's deadline; the wait handle or SignalResource cannot be reached.",
        remedy: "bootstrap verify names the cause. Once that is fixed: sudo bootstrap",
    },
];
