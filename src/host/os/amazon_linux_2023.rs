//! Amazon Linux 2023. Its own repositories have everything, including NVIDIA's driver and toolkit.

use super::{CloudWatchAgent, Driver, Manager, Os, Repository, Step};

/// Sets up the repository `amazonlinux-nvidia`, Amazon's signed mirror of NVIDIA's
/// (docs.aws.amazon.com/linux/al2023/ug/nvidia-drivers.html). NVIDIA's own .repo file turns signature checks off
/// (gpgcheck=0).
const NVIDIA: Repository = Repository::Package("nvidia-release");

pub(super) const OS: Os = Os {
    name: "Amazon Linux 2023",
    id: "amzn",
    version: "2023",
    manager: Manager::Dnf,
    docker: &["docker", "docker-ce"],
    // Not preinstalled (docs.amazonaws.cn/en_us/linux/al2/ug/prepare-for-al2023.html), but in the repositories.
    cron: ("cronie", "crond"),
    ssm_units: &["amazon-ssm-agent.service"],
    ssm_package: Some("amazon-ssm-agent"),
    for_user_data: &[],
    // aws/amazon-cloudwatch-agent#1727.
    cloudwatch_agent: CloudWatchAgent::Package,
    toolkit: NVIDIA,
    driver: Driver {
        branch: 580,
        has_other_branches: true,
        open_modules: true,
        // `kernel6.12-devel`; other names of those do not resolve (amazonlinux/amazon-linux-2023#989, and FAQ 6 of
        // docs.aws.amazon.com/linux/al2023/ug/kernel-update.html).
        series_from: (6, 12),
        // The same set as in aws/amazon-ecs-ami scripts/al2023/gpu/install-nvidia-driver.sh.
        steps: &[
            Step::Repository(NVIDIA),
            Step::Prepare(&["dnf-command(versionlock)"]),
            // A lock hides every other version, including those for the kernel that runs now.
            Step::Release(&["kernel*", "nvidia*", "kmod-nvidia*", "libnvidia*"]),
            // Before dkms, whose compiler needs some kernel's headers.
            Step::Hold(&[
                "kernel*",
                "kernel{series}-devel-{kernel}",
                "kernel{series}-headers-{kernel}",
                "kernel{series}-modules-extra-{kernel}",
            ]),
            // Always for the running kernel: without a version these resolved to another kernel's and broke DKMS
            // (amazonlinux/amazon-linux-2023#945, aws/amazon-ecs-ami#414). Not its headers: DKMS needs none, and they
            // conflict with another kernel's, which the compiler may have pulled in (#1042).
            Step::Install(&[&[
                "dkms",
                "kernel{series}-devel-{kernel}",
                "kernel{series}-modules-extra-{kernel}",
                "kmod-nvidia-open-dkms-{branch}*",
                "nvidia-driver-cuda-{branch}*",
                "nvidia-persistenced-{branch}*",
            ]]),
            // Updating only one of them would leave the library out of step with the module.
            Step::Hold(&["nvidia*", "kmod-nvidia*", "libnvidia*"]),
            Step::BuildModules,
        ],
    },
};
