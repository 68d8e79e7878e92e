//! The system's steps for the NVIDIA driver, with the names filled in for a kernel and a branch.

use crate::host::os::{self, Driver, Repository};

/// One step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Adds a repository.
    Repository(Repository),
    /// Installs what the following steps need.
    Prepare(Vec<String>),
    /// Installs, in one transaction, the first of these sets of packages that can be installed.
    Install(Vec<Vec<String>>),
    /// Makes the package manager hold these back from upgrades.
    Hold(Vec<String>),
    /// Releases such holds.
    Release(Vec<String>),
    /// Makes DKMS, if it is installed, build its modules for the running kernel.
    BuildModules,
}

/// The steps for the kernel release `kernel` (`uname -r`) and this driver branch.
pub(super) fn plan(driver: &Driver, kernel: &str, branch: u16) -> Vec<Step> {
    let numbers = version(kernel);
    let named_after = numbers.filter(|numbers| *numbers >= driver.series_from);
    let series = named_after.map_or_else(String::new, |(major, minor)| format!("{major}.{minor}"));
    let (flavour, branch) = (flavour(kernel), branch.to_string());
    let filled = |names: &[&str]| -> Vec<String> {
        let fill = |name: &&str| {
            name.replace("{kernel}", kernel)
                .replace("{series}", &series)
                .replace("{flavour}", &flavour)
                .replace("{branch}", &branch)
        };
        names.iter().map(fill).collect()
    };
    let fill = |step: &os::Step| match step {
        os::Step::Repository(repository) => Step::Repository(*repository),
        os::Step::Prepare(names) => Step::Prepare(filled(names)),
        os::Step::Install(sets) => Step::Install(sets.iter().map(|set| filled(set)).collect()),
        os::Step::Hold(names) => Step::Hold(filled(names)),
        os::Step::Release(names) => Step::Release(filled(names)),
        os::Step::BuildModules => Step::BuildModules,
    };
    driver.steps.iter().map(fill).collect()
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
    use super::*;

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
        assert_eq!(version("6.18.8-9.213.amzn2023.x86_64"), Some((6, 18)));
        assert_eq!(version("odd"), None);
    }
}
