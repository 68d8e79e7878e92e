//! Ubuntu 22.04 and 24.04, as in AWS's AMIs.

use super::{CloudWatchAgent, Driver, Manager, Os, Repository, Step};

/// The same for every Debian and Ubuntu
/// (docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html).
pub(super) const NVIDIA_TOOLKIT: Repository = Repository::Keyed {
    key_url: "https://nvidia.github.io/libnvidia-container/gpgkey",
    fingerprint: "C95B321B61E88C1809C4F759DDCAE044F796ECB0",
    key: "/etc/apt/keyrings/nvidia-container-toolkit.asc",
    path: "/etc/apt/sources.list.d/nvidia-container-toolkit.list",
    text: "deb [signed-by=/etc/apt/keyrings/nvidia-container-toolkit.asc] \
           https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n",
};

/// A new kernel would come without modules, and a new library would not match the loaded module (unattended-upgrades
/// installs both).
const HELD: &[&str] = &[
    "linux-{flavour}",
    "linux-image-{flavour}",
    "linux-headers-{flavour}",
    "linux-modules-nvidia-{branch}-server-open-{kernel}",
    "nvidia-dkms-{branch}-server-open",
    "nvidia-kernel-common-{branch}-server",
    "nvidia-compute-utils-{branch}-server",
    "nvidia-headless-no-dkms-{branch}-server-open",
    "nvidia-utils-{branch}-server",
    "libnvidia-cfg1-{branch}-server",
    "libnvidia-compute-{branch}-server",
    "libnvidia-decode-{branch}-server",
    "libnvidia-encode-{branch}-server",
];

pub(super) const UBUNTU_24_04: Os = Os {
    name: "Ubuntu 24.04",
    id: "ubuntu",
    version: "24.04",
    manager: Manager::Apt,
    docker: &["docker.io", "docker-ce"],
    cron: ("cron", "cron"),
    // The AMIs carry the agent as a snap.
    ssm_units: &[
        "snap.amazon-ssm-agent.amazon-ssm-agent.service",
        "amazon-ssm-agent.service",
    ],
    ssm_package: None,
    for_user_data: &[],
    cloudwatch_agent: CloudWatchAgent::Download("ubuntu"),
    toolkit: NVIDIA_TOOLKIT,
    driver: Driver {
        branch: 580,
        has_other_branches: true,
        open_modules: true,
        series_from: (0, 0),
        // Names as in Ubuntu's index of 2026-11-22, which has 580, 595 and 615.
        steps: &[
            Step::Release(HELD),
            // The edge encoder transcodes video, with libnvidia-encode.
            Step::Install(&[
                // Signed modules, built for this kernel. The flavour's metapackage would pull in the newest kernel, and
                // so require a reboot. Modules for an older kernel stay in the index after the driver that they were
                // built for has gone, and then cannot be installed.
                &[
                    "linux-modules-nvidia-{branch}-server-open-{kernel}",
                    "nvidia-headless-no-dkms-{branch}-server-open",
                    "nvidia-utils-{branch}-server",
                    "libnvidia-encode-{branch}-server",
                ],
                &[
                    "linux-headers-{kernel}",
                    "nvidia-dkms-{branch}-server-open",
                    "nvidia-headless-no-dkms-{branch}-server-open",
                    "nvidia-utils-{branch}-server",
                    "libnvidia-encode-{branch}-server",
                ],
            ]),
            Step::Hold(HELD),
            Step::BuildModules,
        ],
    },
};

pub(super) const UBUNTU_22_04: Os = Os {
    name: "Ubuntu 22.04",
    version: "22.04",
    // Its curl cannot sign requests with a role's credentials.
    for_user_data: &["awscli"],
    ..UBUNTU_24_04
};
