//! Debian 12. Names as in its index of 2026-11-28.

use super::ubuntu::NVIDIA_TOOLKIT;
use super::{CloudWatchAgent, Driver, Manager, Os, Repository, Step};

/// A new library (unattended-upgrades installs it) would not match the loaded module, and a new kernel comes without
/// headers.
const HELD: &[&str] = &[
    "linux-image-{flavour}",
    "linux-headers-{flavour}",
    "firmware-nvidia-gsp",
    "nvidia-alternative",
    "nvidia-kernel-dkms",
    "nvidia-kernel-support",
    "nvidia-modprobe",
    "nvidia-smi",
    "libcuda1",
    "libnvcuvid1",
    "libnvidia-cfg1",
    "libnvidia-encode1",
    "libnvidia-ml1",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler1",
];

pub(super) const OS: Os = Os {
    name: "Debian 12",
    id: "debian",
    version: "12",
    manager: Manager::Apt,
    docker: &["docker.io", "docker-ce"],
    cron: ("cron", "cron"),
    ssm_units: &["amazon-ssm-agent.service"],
    ssm_package: None,
    for_user_data: &[],
    cloudwatch_agent: CloudWatchAgent::Download("debian"),
    toolkit: NVIDIA_TOOLKIT,
    driver: Driver {
        // The only one that it has; an L4 needs at least 525.
        branch: 535,
        has_other_branches: false,
        open_modules: false,
        series_from: (0, 0),
        steps: &[
            Step::Release(HELD),
            Step::Repository(Repository::Components {
                origin: "Debian",
                names: &["contrib", "non-free", "non-free-firmware"],
            }),
            // Not nvidia-open-kernel-dkms: it stayed at 535.261.03, which does not compile for kernels from 6.1.0-53 on
            // (`pci_resize_resource` takes other arguments), and a package that cannot be configured blocks apt. This
            // one gets security updates.
            Step::Install(&[
                &[
                    "linux-headers-{kernel}",
                    "nvidia-kernel-dkms",
                    "nvidia-smi",
                    "nvidia-persistenced",
                    "libcuda1",
                    "libnvidia-encode1",
                    "libnvcuvid1",
                ],
                // The archive drops the headers of older kernels; the newest kernel and headers then need a reboot.
                &[
                    "linux-image-{flavour}",
                    "linux-headers-{flavour}",
                    "nvidia-kernel-dkms",
                    "nvidia-smi",
                    "nvidia-persistenced",
                    "libcuda1",
                    "libnvidia-encode1",
                    "libnvcuvid1",
                ],
            ]),
            Step::Hold(HELD),
            Step::BuildModules,
        ],
    },
};
