//! modprobe, of kmod 29 to 34.

use super::{BY_HAND, Fact, Meaning, Tool};
use Meaning::Lasts;

pub(super) const MODPROBE: Tool = Tool {
    programs: &["modprobe"],
    chatter: &[],
    lines: 1,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[SECURE_BOOT],
};

const SECURE_BOOT: Fact = Fact {
    words: &[
        "key was rejected by service",
        "required key not available",
        "loading of unsigned module is rejected",
    ],
    meaning: Lasts,
    hint: "UEFI Secure Boot is on and the driver's module is not signed with a key that the machine trusts: use an AMI without \
           Secure Boot (`mokutil --sb-state`), or one whose system has signed modules of the driver; no reboot changes that",
    source: "linux-apfs/linux-apfs-rw#80, hhfeuer/nvhda#8 (\"Required key\": before Linux 5.4)",
};

/// Whether the kernel refuses the module for good: no other kernel, driver build or reboot is a help.
pub fn is_refused(said: &str) -> bool {
    said.lines().any(|line| SECURE_BOOT.fits(line))
}
