//! systemctl (systemd 249 to 257).

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::{Lasts, Passes};

pub(super) const SYSTEMCTL: Tool = Tool {
    programs: &["systemctl"],
    chatter: &[
        "See \"systemctl status *\" and \"journalctl *\" for details.",
        "See 'systemctl status *' and 'journalctl *' for details.",
        "See system logs and 'systemctl status *' for details.",
        "Warning: The unit file, source configuration file or drop-ins of *",
        "Created symlink *",
        "Synchronizing state of * with SysV service script *",
        "Executing: */systemd-sysv-install *",
        "To force a start use \"systemctl reset-failed *",
        "followed by \"systemctl start *",
    ],
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        Fact {
            words: &["is masked"],
            meaning: Lasts,
            source: "systemd/systemd",
            hint: "someone has masked the unit, so that nothing can start it: take that back (systemctl unmask, with the unit's name), \
                   then run `bootstrap` again",
        },
        Fact {
            words: &[
                "was attempted too often",
                "start request repeated too quickly",
            ],
            meaning: Lasts,
            source: "systemd/systemd",
            hint: "the service has failed again and again: see why (`journalctl -xe`), let it be started again (systemctl reset-failed), \
                   then run `bootstrap` again",
        },
        Fact {
            words: &["has not been booted with systemd"],
            meaning: Lasts,
            source: "systemd/systemd",
            hint: "this machine was started by something other than systemd, as a container is: a node needs an instance of an AMI with systemd",
        },
        Fact {
            words: &["a dependency job for"],
            meaning: Lasts,
            source: "systemd/systemd",
            hint: "another unit that it needs has failed: see which (`systemctl --failed`) and why (`journalctl -xe`), put that right, \
                   then run `bootstrap` again",
        },
        Fact {
            words: &["has a bad unit file setting"],
            meaning: Lasts,
            source: "systemd/systemd",
            hint: "correct the unit, or what was added to it (`systemctl cat` and `systemd-analyze verify`, with the unit's name), then \
                   run `bootstrap` again",
        },
        // At boot, or while the bus restarts.
        Fact {
            words: &[
                "failed to connect to bus",
                "failed to connect to system scope bus",
            ],
            meaning: Passes,
            source: "systemd/systemd (\"system scope bus\": from 257 on)",
            hint: "systemd does not answer: see whether it runs (`ps -p 1`, `dmesg`), reboot if it stays so",
        },
        Fact {
            words: &[
                "job for * canceled",
                "is destructive",
                "because a timeout was exceeded",
                "connection timed out",
                "transport endpoint is not connected",
                "reload service manager: device or resource busy",
            ],
            meaning: Passes,
            source: "systemd/systemd",
            hint: "see what systemd is busy with (`systemctl list-jobs`), then run `bootstrap` again",
        },
    ],
};

/// systemd knows no such unit: an answer. "Failed to connect to bus: No such file or directory" is not.
pub fn is_unit_absent(stderr: &str) -> bool {
    // Before 253, on standard error only; since then, as the word "not-found" on standard output.
    stderr.lines().any(|line| {
        super::like(
            "Failed to get unit file state for *: No such file or directory",
            line,
        )
    })
}
