//! mount, of util-linux 2.37 to 2.41.

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::Lasts;

pub(super) const MOUNT: Tool = Tool {
    programs: &["mount", "umount", "wipefs"],
    chatter: &[
        // From 2.39 on, after each failed system call.
        "dmesg(1) may have more information after failed mount system call.",
        "*dmesg(1) may have more information after failed mount system call.",
        "In some cases useful info is found in syslog*",
        "dmesg | tail or so.",
        "mount: (hint) your fstab has been modified, but systemd still uses*",
        "the old version; use 'systemctl daemon-reload' to reload.",
    ],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[Fact {
        words: &["already mounted or mount point busy", "target is busy"],
        meaning: Lasts,
        hint: "see what is mounted there and what uses it (`findmnt`, `fuser -vm`), then run `bootstrap` again",
        source: "util-linux/util-linux",
    }],
};
