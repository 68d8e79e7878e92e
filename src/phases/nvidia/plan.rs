//! What installs the NVIDIA driver on each system for a given kernel, as data. The 580 branch is a production branch
//! that all three systems' sources have or had; open kernel modules, since driver guide 620 removes the others.

use crate::host::os::Driver;

/// One step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A repository's file.
    Repository { path: String, text: String },
    /// Installs the first of these sets of packages that the repositories have whole.
    Install(Vec<Vec<String>>),
    /// Has the package manager leave these as they are.
    Hold(Vec<String>),
    /// Has DKMS, where it is installed, build its modules for the running kernel.
    BuildModules,
}

/// The steps for the kernel that `uname -r` names `kernel`.
pub(super) fn plan(driver: Driver, kernel: &str) -> Vec<Step> {
    match driver {
        Driver::AmazonRepository => amazon(kernel),
        Driver::UbuntuModules => ubuntu(kernel),
        Driver::DebianNonFree => debian(kernel),
    }
}

/// docs.aws.amazon.com/linux/al2023/ug/nvidia-drivers.html; package set and locks as in aws/amazon-ecs-ami
/// scripts/al2023/gpu/install-nvidia-driver.sh.
fn amazon(kernel: &str) -> Vec<Step> {
    // Always for the running kernel: without a version these resolved to another kernel's and broke DKMS
    // (amazonlinux/amazon-linux-2023#945, aws/amazon-ecs-ami#414).
    let headers = |prefix: &str| -> Vec<String> {
        ["devel", "headers", "modules-extra"]
            .iter()
            .map(|part| format!("{prefix}-{part}-{kernel}"))
            .collect()
    };
    // From 6.12 on the kernel page's FAQ and EKS prefix the names, the driver page does not.
    let mut kernels = vec![headers("kernel")];
    if let Some((6, minor @ 12..)) = version(kernel) {
        kernels.insert(0, headers(&format!("kernel6.{minor}")));
    }
    let driver = [
        "kmod-nvidia-open-dkms",
        "nvidia-driver-cuda",
        "nvidia-persistenced",
    ];
    vec![
        install(&["nvidia-release"]),
        Step::Install(kernels),
        install(&["dkms", "dnf-command(versionlock)"]),
        hold(&["kernel*"]),
        Step::Install(vec![
            driver.iter().map(|name| format!("{name}-580*")).collect(),
            owned(&driver),
        ]),
        // An update of one of them alone parts the library from the module.
        hold(&["nvidia*", "kmod-nvidia*", "libnvidia*"]),
        Step::BuildModules,
    ]
}

/// Package names as seen in Ubuntu's index (2026-11-22). The meta package for the flavour would pull the newest
/// kernel and with it a reboot, so the modules for the running kernel come first; DKMS where it has none.
fn ubuntu(kernel: &str) -> Vec<Step> {
    let flavour = flavour(kernel);
    vec![
        Step::Install(vec![
            vec![format!("linux-modules-nvidia-580-server-open-{kernel}")],
            vec![
                format!("linux-headers-{kernel}"),
                "nvidia-dkms-580-server-open".into(),
            ],
        ]),
        install(&[
            "nvidia-headless-no-dkms-580-server-open",
            "nvidia-utils-580-server",
            // The edge encoder transcodes video.
            "libnvidia-encode-580-server",
        ]),
        // A new kernel would come without modules.
        hold(&[
            &format!("linux-{flavour}"),
            &format!("linux-image-{flavour}"),
            &format!("linux-headers-{flavour}"),
        ]),
        Step::BuildModules,
    ]
}

/// Debian 12 has 535, in contrib and non-free. The archive is named by https, so that the entry does not collide with
/// the image's own (apt refuses two entries for one address whose Signed-By differ).
fn debian(kernel: &str) -> Vec<Step> {
    let flavour = flavour(kernel);
    vec![
        Step::Repository {
            path: "/etc/apt/sources.list.d/bootstrap-nvidia.sources".into(),
            text: "Types: deb\n\
                   URIs: https://deb.debian.org/debian\n\
                   Suites: bookworm bookworm-updates\n\
                   Components: contrib non-free non-free-firmware\n\
                   Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
                .into(),
        },
        Step::Install(vec![
            vec![format!("linux-headers-{kernel}")],
            // The archive keeps the newest kernel's only; this pair then needs a reboot.
            vec![
                format!("linux-image-{flavour}"),
                format!("linux-headers-{flavour}"),
            ],
        ]),
        install(&[
            "nvidia-open-kernel-dkms",
            "nvidia-smi",
            "nvidia-persistenced",
            "libcuda1",
            "libnvidia-encode1",
            "libnvcuvid1",
        ]),
        Step::BuildModules,
    ]
}

fn install(packages: &[&str]) -> Step {
    Step::Install(vec![owned(packages)])
}

fn hold(packages: &[&str]) -> Step {
    Step::Hold(owned(packages))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

/// Major and minor of a kernel release: (6, 12) of `6.12.46-66.121.amzn2023.x86_64`.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `aws` of `6.8.0-1021-aws`, `cloud-amd64` of `6.1.0-50-cloud-amd64`.
fn flavour(kernel: &str) -> String {
    let words: Vec<&str> = kernel
        .split('-')
        .skip_while(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;

    /// One line for each step.
    fn told(driver: Driver, kernel: &str) -> Vec<String> {
        let join = |sets: &Vec<Vec<String>>| -> String {
            let sets: Vec<_> = sets.iter().map(|set| set.join(" ")).collect();
            sets.join(" | ")
        };
        plan(driver, kernel)
            .iter()
            .map(|step| match step {
                Step::Repository { path, .. } => format!("repository {path}"),
                Step::Install(sets) => format!("install {}", join(sets)),
                Step::Hold(packages) => format!("hold {}", packages.join(" ")),
                Step::BuildModules => "build".into(),
            })
            .collect()
    }

    #[test]
    fn amazon_linux_installs_for_the_running_kernel() {
        let rest = [
            "install dkms dnf-command(versionlock)",
            "hold kernel*",
            "install kmod-nvidia-open-dkms-580* nvidia-driver-cuda-580* nvidia-persistenced-580* | kmod-nvidia-open-dkms nvidia-driver-cuda nvidia-persistenced",
            "hold nvidia* kmod-nvidia* libnvidia*",
            "build",
        ];
        let old = "6.1.155-176.282.amzn2023.x86_64";
        let told_old = told(Driver::AmazonRepository, old);
        assert_eq!(told_old[0], "install nvidia-release");
        assert_eq!(
            told_old[1],
            format!("install kernel-devel-{old} kernel-headers-{old} kernel-modules-extra-{old}")
        );
        assert_eq!(told_old[2..], rest);
        let new = "6.18.8-9.213.amzn2023.x86_64";
        let told_new = told(Driver::AmazonRepository, new);
        assert_eq!(
            told_new[1],
            format!(
                "install kernel6.18-devel-{new} kernel6.18-headers-{new} kernel6.18-modules-extra-{new} | \
                 kernel-devel-{new} kernel-headers-{new} kernel-modules-extra-{new}"
            )
        );
        assert_eq!(told_new[2..], rest);
    }

    #[test]
    fn ubuntu_prefers_signed_modules_of_the_running_kernel() {
        assert_eq!(
            told(Driver::UbuntuModules, "6.8.0-1021-aws"),
            [
                "install linux-modules-nvidia-580-server-open-6.8.0-1021-aws | linux-headers-6.8.0-1021-aws nvidia-dkms-580-server-open",
                "install nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server libnvidia-encode-580-server",
                "hold linux-aws linux-image-aws linux-headers-aws",
                "build",
            ]
        );
    }

    #[test]
    fn debian_takes_the_driver_from_non_free() {
        assert_eq!(
            told(Driver::DebianNonFree, "6.1.0-50-cloud-amd64"),
            [
                "repository /etc/apt/sources.list.d/bootstrap-nvidia.sources",
                "install linux-headers-6.1.0-50-cloud-amd64 | linux-image-cloud-amd64 linux-headers-cloud-amd64",
                "install nvidia-open-kernel-dkms nvidia-smi nvidia-persistenced libcuda1 libnvidia-encode1 libnvcuvid1",
                "build",
            ]
        );
    }

    #[test]
    fn reads_kernel_names() {
        for (kernel, flavour_of) in [
            ("6.8.0-1021-aws", "aws"),
            ("6.12.38+deb12-cloud-amd64", "cloud-amd64"),
            ("6.1.0-50-amd64", "amd64"),
            ("odd", "odd"),
        ] {
            assert_eq!(flavour(kernel), flavour_of);
        }
        assert_eq!(version("6.18.8-9.amzn2023.x86_64"), Some((6, 18)));
        assert_eq!(version("odd"), None);
    }
}
