//! apt 2.4 to 3, dpkg, and what unattended-upgrade passes on from them.

use super::{BY_HAND, Fact, Meaning, PROXY_LOGIN, QUOTED_LINES, TLS, Tool};
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
        "Waiting for cache lock: *",
        "N: *",
        "Notice: *",
        "Note: removing the lock file *",
        "and the entire system. See *",
        "W: You may want to run *",
        "needrestart is being skipped*",
        "Errors were encountered while processing:*",
        "E: Sub-process * returned an error code*",
        "Error: Sub-process * returned an error code*",
        "E: dpkg returned an error code*",
        "E*: The list of sources could not be read.",
    ],
    marks: &["E: *", "Error: *", "dpkg: error*", "dpkg-deb: error*"],
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
            words: &[
                "failed to open package info file '/var/lib/dpkg/status'",
                "parsing file '/var/lib/dpkg/status' near line",
            ],
            meaning: Lasts,
            hint: "dpkg's list of packages is gone or damaged: put the copy of the day before in its place (cp /var/lib/dpkg/status-old \
                   /var/lib/dpkg/status), then run `bootstrap` again",
            source: "Debian/dpkg, dpkg(1) FILES",
        },
        Fact {
            words: &[
                "files list file for package",
                "parsing file '/var/lib/dpkg/",
            ],
            meaning: Lasts,
            hint: "a file of dpkg's own is damaged, as after a power cut: move the one that is named away (of a package's list: \
                   /var/lib/dpkg/info/PACKAGE.list), install that package anew (apt-get install --reinstall), then run `bootstrap` again",
            source: "Debian/dpkg",
        },
        Fact {
            words: &[
                "malformed entry ",
                "malformed stanza ",
                "is not known on line ",
                "the method driver ",
            ],
            meaning: Lasts,
            hint: "correct the file that is named, or the source that needs that method, in /etc/apt/sources.list or \
                   /etc/apt/sources.list.d, then run `bootstrap` again",
            source: "Debian/apt",
        },
        Fact {
            words: &["syntax error /etc/apt/"],
            meaning: Lasts,
            hint: "correct the line that is named in /etc/apt/apt.conf.d, then run `bootstrap` again",
            source: "Debian/apt",
        },
        // apt also calls unsigned what it was unable to check.
        Fact {
            words: &[
                "couldn't create temporary file /tmp/",
                "couldn't create tempfiles",
                "could not execute 'apt-key'",
            ],
            meaning: Lasts,
            hint: "apt cannot write into /tmp, and so checks no signature: see `ls -ld /tmp` and `df /tmp` (chmod 1777 /tmp), and whether gnupg is \
                   there, then run `bootstrap` again",
            source: "microsoft/WSL#2856, Debian/apt",
        },
        Fact {
            words: &["is not considered secure since"],
            meaning: Lasts,
            hint: "the repository is signed in a way that is too weak by now: install its newer key, or remove it in \
                   /etc/apt/sources.list.d, then run `bootstrap` again",
            source: "Sequoia's sqv (apt 3)",
        },
        Fact {
            words: &["NO_PUBKEY", "error message is: missing key"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository is signed with a key that this machine does not trust: restore the repository's key",
        },
        Fact {
            words: &["EXPKEYSIG", "sqv *: expired on"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository's key has expired: install its new key",
        },
        Fact {
            words: &["BADSIG", "at least one invalid signature was encountered"],
            meaning: Lasts,
            source: "Debian/apt",
            hint: "the repository's signature is wrong: check which mirror or proxy answers",
        },
        Fact {
            words: &["407  proxy"],
            meaning: Lasts,
            hint: PROXY_LOGIN,
            source: "Debian/apt",
        },
        Fact {
            words: &[
                "certificate verification failed",
                "no system certificates available",
            ],
            meaning: Lasts,
            hint: TLS,
            source: "Debian/apt",
        },
        // dpkg itself, half-way through its work.
        Fact {
            words: &[
                "/dpkg received ",
                "/dpkg exited unexpectedly",
                "dpkg was interrupted",
            ],
            meaning: Passes,
            source: "Debian/apt",
            hint: "run `dpkg --configure -a`, then run `bootstrap` again",
        },
        // If a fetch failed, apt also complains that there is no signature or no Release file.
        Fact {
            words: &[
                "500  internal",
                "502  bad gateway",
                "503  ",
                "504  gateway",
                "429  ",
                "temporary failure resolving",
                "could not resolve",
                "connection timed out",
                "connection failed",
                "could not connect to",
                "got 'nosplit'",
                "has died unexpectedly",
                "received a segmentation fault",
                "exited unexpectedly",
                "received signal ",
                "method gave invalid ",
            ],
            meaning: Passes,
            hint: NETWORK,
            source: "Debian/apt",
        },
        Fact {
            words: &["is not signed", "cannot be authenticated"],
            meaning: Lasts,
            hint: UNSIGNED,
            source: "Debian/apt",
        },
        // Before the next fact: apt adds that one's words to these too, whether or not a package is held.
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
                "locked by another process",
            ],
            meaning: Passes,
            hint: LOCKED,
            source: "canonical/cloud-init#2908; microsoft/lisa#660 (dpkg)",
        },
        // Another apt has cleaned or updated the files that this one reads.
        Fact {
            words: &[
                "problem renaming the file /var/",
                "could not open file /var/",
                "could not read meta data from /var/",
                "unable to determine file size for fd",
                "flabspath on /var/",
                "cannot access archive *: no such file",
                "failed to read archive *: no such file",
                "rename failed, no such file",
                "lists or status file could not be parsed",
                "unable to parse package file",
                "package cache file is corrupted",
            ],
            meaning: Passes,
            hint: "another apt has changed what this one was reading: remove /var/lib/apt/lists, run `apt-get clean` and `apt-get \
                   update`, then run `bootstrap` again",
            source: "NVIDIA/DIGITS#236, Debian/apt",
        },
        Fact {
            words: &[
                "is not a debian format archive",
                "unexpected end of file or stream",
                "compressed data is corrupt",
            ],
            meaning: Lasts,
            hint: "a package in apt's cache is damaged: run `apt-get clean`, then run `bootstrap` again",
            source: "Debian/dpkg",
        },
        Fact {
            words: &["is expired (invalid since"],
            meaning: Passes,
            source: "Debian/apt",
            hint: "the mirror is out of date, or the clock is ahead (`timedatectl`): put that right, then run `bootstrap` again",
        },
        Fact {
            words: &[
                "failed to fetch",
                "unable to fetch some archives",
                "some index files failed to download",
                "hash sum mismatch",
                "mirror sync in progress",
                "has unexpected size",
                "cannot initiate the connection",
                "unable to connect to",
            ],
            meaning: Passes,
            hint: NETWORK,
            source: "Debian/apt",
        },
        Fact {
            words: &[
                "does not have a release file",
                "no longer has a release file",
            ],
            meaning: Lasts,
            hint: "the repository that is named does not serve this release, or no longer: correct or remove it in /etc/apt/sources.list and \
                   /etc/apt/sources.list.d, or use a newer AMI",
            source: "Debian/apt",
        },
        Fact {
            words: &[
                "unable to locate package",
                "has no installation candidate",
                "version '*' for '*' was not found",
            ],
            meaning: Lasts,
            hint: MISSING,
            source: "Debian/apt",
        },
        Fact {
            words: &["changed its '"],
            meaning: Lasts,
            hint: "the repository says that it has changed: see whether that is right, then run `apt-get update \
                   --allow-releaseinfo-change` and `bootstrap` again",
            source: "Debian/apt, apt-secure(8)",
        },
        Fact {
            words: &["conflicting values set for option signed-by"],
            meaning: Lasts,
            hint: "two files in /etc/apt/sources.list.d name this repository with different keys: remove the one that this machine's image \
                   brought, then run `bootstrap` again",
            source: "Debian/apt",
        },
        Fact {
            words: &["trying to overwrite "],
            meaning: Lasts,
            source: "Debian/dpkg",
            hint: "another package has the same file: see which is wanted (`dpkg -S`, foreign repositories), remove the other one, then run \
                   `bootstrap` again",
        },
        Fact {
            words: &["bad return status for module build"],
            meaning: Lasts,
            source: "dkms-project/dkms",
            hint: "see why the module cannot be built for this kernel (/var/lib/dkms/*/*/build/make.log): the headers, the compiler or the \
                   driver are of another time; use a newer AMI, or name another branch in gpu_driver of /etc/bootstrap/config.json",
        },
        Fact {
            words: &["dpkg: error processing "],
            meaning: Lasts,
            source: "Debian/dpkg",
            hint: "see in /var/log/apt/term.log what the package's own script said, put that right, then run `bootstrap` again",
        },
    ],
};
