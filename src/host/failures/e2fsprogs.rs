//! mkfs.ext4, resize2fs, dumpe2fs and e2fsck, 1.45 to 1.47.3, and their counterparts for XFS.

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};
use Meaning::{Lasts, Passes};

/// Each begins with a banner on standard error: `resize2fs 1.46.5 (30-Dec-2021)`.
pub(super) const E2FSPROGS: Tool = Tool {
    programs: &[
        "mkfs.ext4",
        "resize2fs",
        "dumpe2fs",
        "fsck.ext4",
        "mkfs.xfs",
        "xfs_growfs",
        "xfs_info",
    ],
    chatter: &[
        "mke2fs 1.*",
        "mkfs.ext4 1.*",
        "resize2fs 1.*",
        "dumpe2fs 1.*",
        "e2fsck 1.*",
        "Couldn't find valid filesystem superblock.",
        "Filesystem at * is mounted on *",
        "old_desc_blocks = *",
        "Proceed anyway? (y,N)*",
        "mkfs.xfs: Use the -f option to force overwrite.",
    ],
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        // Read while the kernel was writing it: the superblock of a mounted filesystem keeps changing.
        Fact {
            words: &["superblock checksum does not match"],
            meaning: Passes,
            source: "kubernetes-sigs/azuredisk-csi-driver#1728, tytso/e2fsprogs#125",
            hint: "run `bootstrap` again; if it stays, check the filesystem while it is not mounted (`fsck.ext4 -f`)",
        },
        Fact {
            words: &[
                "device or resource busy while trying to add",
                "device or resource busy while trying to open",
                ": mmp: ",
                "xfsctl failed: device or resource busy",
            ],
            meaning: Passes,
            source: "tytso/e2fsprogs, xfsprogs",
            hint: "something else changes the filesystem's size: see `dmesg`, then run `bootstrap` again",
        },
        Fact {
            words: &["no such device or address", "no such device"],
            meaning: Passes,
            source: "tytso/e2fsprogs",
            hint: super::GONE,
        },
        // 1.47 makes filesystems that 1.46 cannot read (orphan_file, metadata_csum_seed).
        Fact {
            words: &[
                "has unsupported *feature(s)",
                "get a newer version of e2fsck",
            ],
            meaning: Lasts,
            source: "tytso/e2fsprogs (1.47.0, RELEASE-NOTES)",
            hint: "the filesystem was made by newer tools than this system's: use an AMI as new as the one that it comes from",
        },
        // The reason is only in dmesg: "There are errors in the filesystem, so online resizing is not allowed".
        Fact {
            words: &[
                "permission denied to resize filesystem",
                "bad magic number in super-block",
                "structure needs cleaning",
                "resulted in short read",
                "can't read a block bitmap",
                "can't read an inode bitmap",
            ],
            meaning: Lasts,
            source: "democratic-csi/democratic-csi#392, piraeusdatastore/piraeus-operator#335",
            hint: "the filesystem has errors: see `dmesg`, check it while it is not mounted (`fsck.ext4 -f`, `xfs_repair`), then run \
                   `bootstrap` again",
        },
        Fact {
            words: &["please run 'e2fsck -f"],
            meaning: Lasts,
            source: "zalando-stups/taupage#291",
            hint: "check the filesystem while it is not mounted, with the command that is named, then run `bootstrap` again",
        },
        Fact {
            words: &[
                "is apparently in use by the system",
                "contains a mounted filesystem",
                "is mounted; will not make a filesystem",
                "cannot open *: device or resource busy",
                "appears to contain an existing filesystem",
                "contains a * file system",
            ],
            meaning: Lasts,
            source: "tytso/e2fsprogs",
            hint: "see what uses the device (`lsblk`, `mount`), then run `bootstrap` again; nothing was changed",
        },
    ],
};
