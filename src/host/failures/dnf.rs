//! dnf 4 and 5, and rpm through them.

use super::apt::{LOCKED, MISSING, NETWORK, ROOM, UNSIGNED};
use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::{Lasts, Passes};

/// The reason stands on standard error or in the middle of standard output; a summary follows.
pub(super) const DNF: Tool = Tool {
    programs: &["dnf", "dnf5", "yum", "rpm"],
    chatter: &[
        "The downloaded packages were saved in cache*",
        "You can remove cached packages*",
        "Error Summary",
        "---*",
        "===*",
        "Disk Requirements:",
        "Last metadata expiration check*",
        "(try to add *",
        "You can try to add to command line:*",
        "Dependencies resolved.",
        "Running transaction*",
        "Transaction check succeeded.",
        "Transaction test succeeded.",
        "Downloading Packages:",
        "Updating and loading repositories:",
        "Repositories loaded.",
        "Waiting for process with pid *",
        "Complete!",
        "Warning: *",
        "Ignoring repositories: *",
    ],
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        Fact {
            words: &[
                "no space left on device",
                "more space than available",
                "needs * on the * filesystem",
                "more space needed on the *filesystem",
                "don't have enough free space",
                "database or disk is full",
            ],
            meaning: Lasts,
            hint: ROOM,
            source: "rpm-software-management/rpm (space and inodes), rpm-software-management/dnf",
        },
        Fact {
            words: &[
                "is not signed",
                "GPG check FAILED",
                "public key for",
                "openpgp check *failed",
                "signature verification failed",
                "gpg signature verification error",
                "signature *not ok",
                "bad openpgp signature",
                "couldn't open file */rpm-gpg/",
            ],
            meaning: Lasts,
            hint: UNSIGNED,
            source: "rpm-software-management/dnf, rpm-software-management/dnf5",
        },
        Fact {
            words: &[
                "can't create transaction lock",
                "failed to obtain the transaction lock",
                "failed to obtain rpm transaction lock",
                "rpm database lock",
                "database is locked",
                "another copy is running",
                "[errno 11] resource temporarily unavailable",
            ],
            meaning: Passes,
            hint: LOCKED,
            source: "amazonlinux/amazon-linux-2023#397",
        },
        // Another dnf has cleaned the cache between download and transaction.
        Fact {
            words: &[
                "[errno 2] no such file or directory: '/var/cache/",
                "[errno 2] no such file or directory: '*.rpm'",
                "error opening file for checksum",
                "has incorrect checksum",
                "cannot open *.rpm",
                "failed to open *.rpm",
            ],
            meaning: Passes,
            source: "openshift/microshift#2061",
            hint: "another dnf has emptied the cache: run `dnf clean packages`, then run `bootstrap` again",
        },
        Fact {
            words: &[
                "certificate is not yet valid",
                "certificate is not valid yet",
            ],
            meaning: Passes,
            hint: super::CLOCK,
            source: "curl/curl (error 60)",
        },
        Fact {
            words: &[
                "could not resolve",
                "failed to download",
                "cannot download",
                "all mirrors were tried",
                "no more mirrors to try",
                "curl error",
                "librepo error",
                "errors during downloading metadata",
                "failed to synchronize cache",
                "status code: ",
                "checksum doesn't match",
                "[errno 14]",
            ],
            meaning: Passes,
            hint: NETWORK,
            source: "rpm-software-management/librepo",
        },
        Fact {
            words: &[
                "failed loading rpmdb",
                "rpmdb open failed",
                "cannot open packages *database",
                "database disk image is malformed",
            ],
            meaning: Lasts,
            hint: "rpm's database is damaged: run `rpm --rebuilddb`, then run `bootstrap` again",
            source: "rpm-software-management/rpm",
        },
        Fact {
            words: &[
                "filtered out by exclude filtering",
                "filtered out by modular filtering",
            ],
            meaning: Lasts,
            hint: "something keeps dnf from this package: see `dnf versionlock list` and `excludepkgs` in /etc/dnf/dnf.conf and \
                   /etc/yum.repos.d, release it, then run `bootstrap` again",
            source: "rpm-software-management/dnf, libdnf/goal",
        },
        Fact {
            words: &[
                "unable to find a match",
                "no match for argument",
                "there are no enabled repositories",
            ],
            meaning: Lasts,
            hint: MISSING,
            source: "amazonlinux/amazon-linux-2023#272",
        },
        Fact {
            words: &[
                "conflicts with",
                "nothing provides",
                "conflicting requests",
                "failed to resolve the transaction",
            ],
            meaning: Lasts,
            source: "amazonlinux/amazon-linux-2023#1042",
            hint: "see which packages are in each other's way (`dnf versionlock list`, foreign repositories), then run `bootstrap` again",
        },
    ],
};
