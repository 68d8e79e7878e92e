//! apt 2.4 to 3, dpkg, and what unattended-upgrade says through them.

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::{Lasts, Passes};

pub(super) const LOCKED: &str =
    "another package manager runs: wait for it to end, then run `bootstrap` again";
pub(super) const NETWORK: &str = "check that the instance reaches its package mirrors (route, NAT, DNS, S3 endpoint), then run `bootstrap` again";
pub(super) const MISSING: &str =
    "check that the system's repositories are all enabled, or use a newer AMI";
pub(super) const UNSIGNED: &str =
    "packages without a valid signature are never installed: check the repository's key";
pub(super) const ROOM: &str = "make room on the disk that is named (`df -h / /var /var/cache /boot`), or give the instance a larger one";

/// apt 3 writes `Error:` and `Warning:` where apt 2 writes `E:` and `W:`; so no fact begins with either.
pub(super) const APT: Tool = Tool {
    programs: &[
        "apt-get",
        "apt-cache",
        "apt-mark",
        "dpkg",
        "dpkg-query",
        "unattended-upgrade",
    ],
    chatter: &[
        "Reading *",
        "Building dependency tree*",
        "Solving dependencies*",
        "Hit:*",
        "Get:*",
        "Ign:*",
        "Fetched *",
        "N: *",
        "Notice: *",
        "needrestart is being skipped*",
        "Errors were encountered while processing:*",
        "E: Sub-process * returned an error code*",
        "Error: Sub-process * returned an error code*",
        "E: dpkg returned an error code*",
    ],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        Fact {
            words: &["no space left on device", "don't have enough free space"],
            meaning: Lasts,
            hint: ROOM,
            source: "Debian/apt",
        },
        Fact {
            words: &["NO_PUBKEY"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository is signed with a key that this machine does not trust: restore the repository's key",
        },
        Fact {
            words: &["EXPKEYSIG"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository's key has expired: install its new key",
        },
        Fact {
            words: &["BADSIG"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository's signature is wrong: check which mirror or proxy answers",
        },
        Fact {
            words: &["is not signed", "cannot be authenticated"],
            meaning: Lasts,
            hint: UNSIGNED,
            source: "Debian/apt",
        },
        // Before the next fact, which apt tells of these too, whether or not a package is held.
        Fact {
            words: &[
                "unmet dependencies",
                "unsatisfied dependencies",
                "unable to satisfy dependencies",
            ],
            meaning: Lasts,
            source: "Debian/apt (\"Unsatisfied\", \"Unable to satisfy\": from 2.9 on)",
            hint: "look at held packages (`apt-mark showhold`) and foreign repositories, then run `bootstrap` again",
        },
        Fact {
            words: &["held packages were changed", "held broken packages"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "see which packages are held (apt-mark showhold), release those that stand in the way (apt-mark unhold), then run \
                   `bootstrap` again",
        },
        Fact {
            words: &[
                "could not get lock",
                "unable to acquire the dpkg",
                "unable to lock",
                "lock file is already taken",
                "lock could not be acquired",
                "is another process using it",
            ],
            meaning: Passes,
            hint: LOCKED,
            source: "canonical/cloud-init#2908",
        },
        Fact {
            words: &["dpkg was interrupted"],
            meaning: Passes,
            source: "Debian/apt",
            hint: "run `dpkg --configure -a`, then run `bootstrap` again",
        },
        // The next fact's words can stand on the same line.
        Fact {
            words: &["not valid yet"],
            meaning: Passes,
            hint: super::CLOCK,
            source: "jareware/chilipie-kiosk#190",
        },
        Fact {
            words: &["is expired (invalid since"],
            meaning: Passes,
            source: "Debian/apt",
            hint: "the mirror is out of date, or the clock is ahead (`timedatectl`): put that right, then run `bootstrap` again",
        },
        Fact {
            words: &[
                "temporary failure resolving",
                "could not resolve",
                "failed to fetch",
                "unable to fetch some archives",
                "some index files failed to download",
                "hash sum mismatch",
                "mirror sync in progress",
                "has unexpected size",
                "got 'nosplit'",
                "connection failed",
                "connection timed out",
                "could not connect to",
                "cannot initiate the connection",
                "unable to connect to",
            ],
            meaning: Passes,
            hint: NETWORK,
            source: "Debian/apt",
        },
        Fact {
            words: &[
                "unable to locate package",
                "has no installation candidate",
                "does not have a release file",
            ],
            meaning: Lasts,
            hint: MISSING,
            source: "Debian/apt",
        },
        Fact {
            words: &["dpkg: error processing "],
            meaning: Lasts,
            source: "Debian/dpkg",
            hint: "see in /var/log/apt/term.log what the package's own script said, put that right, then run `bootstrap` again",
        },
    ],
};
