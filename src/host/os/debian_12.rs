//! Debian 12. Names as in its index of 2026-11-22.

use super::ubuntu::NVIDIA_TOOLKIT;
use super::{CloudWatchAgent, Driver, Manager, Os, Repository, Step};

pub(super) const OS: Os = Os {
    name: "Debian 12",
    id: "debian",
    version: "12",
    manager: Manager::Apt,
    docker: &["docker.io", "docker-ce"],
    cron: ("cron", "cron"),
    ssm_units: &["amazon-ssm-agent.service"],
    ssm_package: None,
    cloudwatch_agent: CloudWatchAgent::Download("debian"),
    toolkit: NVIDIA_TOOLKIT,
    driver: Driver {
        // The only one that it has; L4 needs 525.
        branch: 535,
        has_other_branches: false,
        series_from: (0, 0),
        steps: &[
            // By https, so that the entry does not collide with the image's own (apt refuses two entries for one
            // address whose Signed-By differ).
            Step::Repository(Repository::File {
                path: "/etc/apt/sources.list.d/bootstrap-nvidia.sources",
                text: "Types: deb\n\
                       URIs: https://deb.debian.org/debian\n\
                       Suites: bookworm bookworm-updates\n\
                       Components: contrib non-free non-free-firmware\n\
                       Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            }),
            Step::Install(&[
                &["linux-headers-{kernel}"],
                // The archive keeps the newest kernel's only; this pair then needs a reboot.
                &["linux-image-{flavour}", "linux-headers-{flavour}"],
            ]),
            Step::Install(&[&[
                "nvidia-open-kernel-dkms",
                "nvidia-smi",
                "nvidia-persistenced",
                "libcuda1",
                "libnvidia-encode1",
                "libnvcuvid1",
            ]]),
            Step::BuildModules,
        ],
    },
};
