//! Amazon Linux 2023. Its own repositories have everything, NVIDIA's driver and toolkit too.

use super::{CloudWatchAgent, Driver, Manager, Os, Repository, Step};

/// Brings the repository `amazonlinux-nvidia`, Amazon's signed mirror of NVIDIA's
/// (docs.aws.amazon.com/linux/al2023/ug/nvidia-drivers.html). NVIDIA's own .repo file turns signatures off (gpgcheck=0).
const NVIDIA: Repository = Repository::Package("nvidia-release");

pub(super) const OS: Os = Os {
    name: "Amazon Linux 2023",
    id: "amzn",
    version: "2023",
    manager: Manager::Dnf,
    docker: &["docker", "docker-ce"],
    // The system ships no cron (docs.amazonaws.cn/en_us/linux/al2/ug/prepare-for-al2023.html), but has it.
    cron: ("cronie", "crond"),
    ssm_units: &["amazon-ssm-agent.service"],
    ssm_package: Some("amazon-ssm-agent"),
    // aws/amazon-cloudwatch-agent#1727.
    cloudwatch_agent: CloudWatchAgent::Package,
    toolkit: NVIDIA,
    driver: Driver {
        branch: 580,
        has_other_branches: true,
        // The kernel page's FAQ 6 and EKS prefix the names of the packages for 6.12 and 6.18
        // (docs.aws.amazon.com/linux/al2023/ug/kernel-update.html, awslabs/amazon-eks-ami install-nvidia-driver.sh);
        // the driver page does not.
        series_from: (6, 12),
        // The set of aws/amazon-ecs-ami scripts/al2023/gpu/install-nvidia-driver.sh.
        steps: &[
            Step::Repository(NVIDIA),
            Step::Install(&[&["dkms", "dnf-command(versionlock)"]]),
            // A lock hides every other version, those for a kernel that runs now among them.
            Step::Release(&["kernel*", "nvidia*", "kmod-nvidia*", "libnvidia*"]),
            // Always for the running kernel: without a version these resolved to another kernel's and broke DKMS
            // (amazonlinux/amazon-linux-2023#945, aws/amazon-ecs-ami#414).
            Step::Install(&[
                &[
                    "kernel{series}-devel-{kernel}",
                    "kernel{series}-headers-{kernel}",
                    "kernel{series}-modules-extra-{kernel}",
                ],
                &[
                    "kernel-devel-{kernel}",
                    "kernel-headers-{kernel}",
                    "kernel-modules-extra-{kernel}",
                ],
            ]),
            Step::Hold(&["kernel*"]),
            Step::Install(&[&[
                "kmod-nvidia-open-dkms-{branch}*",
                "nvidia-driver-cuda-{branch}*",
                "nvidia-persistenced-{branch}*",
            ]]),
            // An update of one of them alone parts the library from the module.
            Step::Hold(&["nvidia*", "kmod-nvidia*", "libnvidia*"]),
            Step::BuildModules,
        ],
    },
};
