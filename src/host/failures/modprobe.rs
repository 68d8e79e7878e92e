//! modprobe (kmod 29 to 34).

use super::{BY_HAND, Fact, Meaning, Tool};
use Meaning::Lasts;

pub(super) const MODPROBE: Tool = Tool {
    programs: &["modprobe"],
    chatter: &[],
    marks: &[],
    lines: 1,
    otherwise: Lasts,
    hint: BY_HAND,
    facts: &[
        // Because of this, Debian's `install` line for the module fails with "Operation not permitted".
        Fact {
            words: &["module * not found in directory"],
            meaning: Lasts,
            hint: "the driver has no module for the running kernel: see `dkms status`, then run: bootstrap --phase nvidia",
            source: "Witko/nvidia-xrun#148",
        },
        SECURE_BOOT,
        // How hardened images disable a module; what modprobe says after it is misleading.
        Fact {
            words: &[
                "install command '*/false' for module",
                "install command '*/true' for module",
            ],
            meaning: Lasts,
            hint: "a file in /etc/modprobe.d keeps the module from being loaded (grep -r nvidia /etc/modprobe.d): remove that line, then \
                   run: bootstrap --phase nvidia",
            source: "kmod, modprobe.d(5)",
        },
        LOCKDOWN,
        Fact {
            words: &[
                "exec format error",
                "unknown symbol in module",
                "invalid argument",
            ],
            meaning: Lasts,
            hint: "the driver's module was built for another kernel: see `dkms status` and `dmesg`, then run: bootstrap --phase nvidia",
            source: "hhfeuer/nvhda#16",
        },
        Fact {
            words: &["could not insert *: no such device"],
            meaning: Lasts,
            hint: "this version of the driver does not drive the machine's GPU: see `dmesg`, and name another branch in gpu_driver of \
                   /etc/bootstrap/config.json",
            source: "NVIDIA/open-gpu-kernel-modules",
        },
    ],
};

const LOCKDOWN: Fact = Fact {
    words: &["could not insert *: operation not permitted"],
    meaning: Lasts,
    hint: "the kernel loads signed modules only (Secure Boot, or lockdown: see /sys/kernel/security/lockdown): use an AMI without that; no \
           reboot changes it",
    source: "bottlerocket-os/bottlerocket#4218",
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

/// Whether the kernel refuses the module for good: no other kernel, driver build or reboot helps.
pub fn is_refused(said: &str) -> bool {
    said.lines()
        .any(|line| SECURE_BOOT.fits(line) || LOCKDOWN.fits(line))
}
