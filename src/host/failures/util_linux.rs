//! mount (util-linux 2.37 to 2.41).

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::{Lasts, Passes};

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
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        Fact {
            words: &[
                "already mounted or mount point busy",
                "already mounted on ",
                "target is busy",
                "can't open blockdev",
            ],
            meaning: Lasts,
            hint: "see what is mounted there and what uses it (`findmnt`, `fuser -vm`), then run `bootstrap` again",
            source: "util-linux/util-linux (\"Can't open blockdev\": from 2.39 on, of the kernel)",
        },
        Fact {
            words: &["probing initialization failed: device or resource busy"],
            meaning: Passes,
            hint: "see what uses the device (`lsblk`, `fuser -v`), then run `bootstrap` again",
            source: "util-linux/util-linux",
        },
        Fact {
            words: &["unknown filesystem type"],
            meaning: Lasts,
            hint: "the running kernel has no module for this filesystem: see `lsmod` and `dmesg`; after an update of the kernel, reboot \
                   (systemctl reboot)",
            source: "util-linux/util-linux",
        },
        Fact {
            words: &[
                "special device * does not exist",
                "probing initialization failed: no such",
            ],
            meaning: Passes,
            hint: super::GONE,
            source: "util-linux/util-linux",
        },
    ],
};
