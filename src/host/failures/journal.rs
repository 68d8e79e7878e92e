//! The journal of a service that did not start: what systemd adds after the service's own lines, and dockerd's lines.

use super::{Fact, Meaning, QUOTED_LINES, SEE_JOURNAL, Tool};
use Meaning::{Lasts, Passes};

const CHATTER: &[&str] = &[
    "*: Main process exited, code=*",
    "*: Control process exited, code=*",
    "*: Failed with result *",
    "*: Scheduled restart job*",
    "*: Start request repeated too quickly*",
    "*: Consumed * CPU time*",
    "*: Triggering OnFailure=*",
    "*: Unit entered failed state*",
    "*: Deactivated successfully*",
    "*: Stopped *",
    "*: Service RestartSec=*",
    "Failed to start * - *",
    "Failed to start *.",
    "*level=info *",
    "*level=warning *",
    "Starting *",
    "Started *",
    "Stopping *",
    "Stopped *",
];

/// Any service.
pub(super) const SERVICE: Tool = Tool {
    programs: &[],
    chatter: CHATTER,
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: SEE_JOURNAL,
    facts: &[],
};

/// The Docker engine.
pub(super) const DOCKERD: Tool = Tool {
    programs: &["docker.service", "dockerd"],
    chatter: CHATTER,
    marks: &[
        "failed to *",
        "unable to *",
        "unknown flag*",
        "*configuration validation *",
    ],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: SEE_JOURNAL,
    facts: &[
        Fact {
            words: &["specified both as a flag and in the configuration file"],
            meaning: Lasts,
            hint: "take the option that is named out of the engine's flags (systemctl cat docker.service, /etc/sysconfig/docker, \
                   /etc/default/docker), or out of /etc/docker/daemon.json, then run: bootstrap --phase docker",
            source: "moby/moby#41725, kubernetes-sigs/kubespray#1473",
        },
        Fact {
            words: &[
                "unable to configure the docker daemon with file",
                "don't match any configuration option",
                "configuration validation ",
                "failed to set log opts",
            ],
            meaning: Lasts,
            hint: "correct /etc/docker/daemon.json where it says (dockerd --validate), then run: bootstrap --phase docker",
            source: "moby/moby#22339",
        },
        Fact {
            words: &[
                "pid file found",
                "ensure docker is not running or delete",
                "metadata database (*): timeout",
            ],
            meaning: Lasts,
            hint: "see whether another engine runs (pgrep -a dockerd); where none does, remove /var/run/docker.pid; then run: bootstrap \
                   --phase docker",
            source: "moby/moby, daemon/pidfile",
        },
        // After a power cut.
        Fact {
            words: &[
                "local-kv.db",
                "invalid database",
                "panic: freepages",
                "panic: assertion failed",
                "panic: page ",
            ],
            meaning: Lasts,
            hint: "one of the engine's own databases is damaged: move the one that is named out of the way (where none is: \
                   /var/lib/docker/network/files/local-kv.db), which the engine makes anew, then run: bootstrap --phase docker",
            source: "moby/moby#43072, moby/moby#34840",
        },
        Fact {
            words: &[
                "no available network",
                "predefined address pools have been",
                "non-overlapping ipv4 address pool",
            ],
            meaning: Lasts,
            hint: "every range that the engine would take for its network is used by a route already (`ip route`): name a free one as \
                   default-address-pools in /etc/docker/daemon.json, then run: bootstrap --phase docker",
            source: "moby/moby, libnetwork/ipamutils",
        },
        Fact {
            words: &["no sockets found via socket activation"],
            meaning: Lasts,
            hint: "run: systemctl restart docker.socket docker.service; then run `bootstrap` again",
            source: "moby/moby#22847",
        },
        Fact {
            words: &["iptables failed"],
            meaning: Lasts,
            hint: "the running kernel lacks modules for the engine's firewall rules, as after an update of the kernel: reboot (systemctl \
                   reboot); if it stays so, see `nft list ruleset`",
            source: "moby/moby, libnetwork/iptables",
        },
        Fact {
            words: &["error initializing graphdriver", "driver not supported"],
            meaning: Lasts,
            hint: "the disk of /var/lib/docker cannot hold images as /etc/docker/daemon.json wants it (storage-driver): take that out, or \
                   put data-root on an ext4 or XFS disk; then run: bootstrap --phase docker",
            source: "moby/moby, daemon/graphdriver",
        },
        Fact {
            words: &[
                "timeout waiting for containerd",
                "containerd.sock*: context deadline exceeded",
                "containerd.sock: timeout",
            ],
            meaning: Passes,
            hint: "see what containerd is about (`journalctl -u containerd.service`), then run: bootstrap --phase docker",
            source: "moby/moby, libcontainerd/supervisor",
        },
    ],
};
