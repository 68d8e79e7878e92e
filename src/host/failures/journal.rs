//! The journal of a service that did not start: what systemd adds behind the service's own words, and Docker's own.

use super::{Fact, Meaning, QUOTED_LINES, SEE_JOURNAL, Tool};
use Meaning::Lasts;

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
    "Failed to start *",
    "Starting *",
    "Started *",
    "Stopping *",
    "Stopped *",
];

/// Any service.
pub(super) const SERVICE: Tool = Tool {
    programs: &[],
    chatter: CHATTER,
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: SEE_JOURNAL,
    facts: &[],
};

/// The Docker engine.
pub(super) const DOCKERD: Tool = Tool {
    programs: &["docker.service", "dockerd"],
    chatter: CHATTER,
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
            ],
            meaning: Lasts,
            hint: "correct /etc/docker/daemon.json where it says (dockerd --validate), then run: bootstrap --phase docker",
            source: "moby/moby#22339",
        },
    ],
};
