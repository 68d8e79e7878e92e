//! Which operating system this is, and what things are called there.

use super::Host;
use crate::error::{Error, Result};

/// Package managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Amazon Linux 2023.
    Dnf,
    /// Debian and Ubuntu.
    Apt,
}

/// How the NVIDIA driver is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Amazon's mirror of NVIDIA's repository; the module is built by DKMS.
    AmazonRepository,
    /// Ubuntu's signed modules, built for each kernel; DKMS where the kernel has none.
    UbuntuModules,
    /// Debian's contrib and non-free; the module is built by DKMS.
    DebianNonFree,
}

/// How the CloudWatch agent is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudWatchAgent {
    /// A package of the system's own repository.
    Package,
    /// A .deb from AWS's bucket of the region, in this folder of it.
    Download(&'static str),
}

/// A supported operating system, as data. Adding one means adding a row to the table in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Os {
    /// `PRETTY`-like name: "Debian 12".
    pub name: &'static str,
    /// `ID` of os-release.
    pub id: &'static str,
    /// `VERSION_ID` of os-release.
    pub version: &'static str,
    /// Its package manager.
    pub manager: Manager,
    /// Package of the Docker engine.
    pub docker: &'static str,
    /// Package and unit of cron.
    pub cron: (&'static str, &'static str),
    /// Units that the SSM agent can have here, the likelier one first.
    pub ssm_units: &'static [&'static str],
    /// Package of the SSM agent, where the system's repositories have one.
    pub ssm_package: Option<&'static str>,
    /// How the CloudWatch agent is had.
    pub cloudwatch_agent: CloudWatchAgent,
    /// How the NVIDIA driver is had.
    pub driver: Driver,
}

const SSM: &str = "amazon-ssm-agent.service";
/// Ubuntu's AMIs carry the agent as a snap.
const SSM_SNAP: &str = "snap.amazon-ssm-agent.amazon-ssm-agent.service";

const AMAZON_LINUX_2023: Os = Os {
    name: "Amazon Linux 2023",
    id: "amzn",
    version: "2023",
    manager: Manager::Dnf,
    docker: "docker",
    cron: ("cronie", "crond"),
    ssm_units: &[SSM],
    ssm_package: Some("amazon-ssm-agent"),
    cloudwatch_agent: CloudWatchAgent::Package,
    driver: Driver::AmazonRepository,
};

const UBUNTU_24_04: Os = Os {
    name: "Ubuntu 24.04",
    id: "ubuntu",
    version: "24.04",
    manager: Manager::Apt,
    docker: "docker.io",
    cron: ("cron", "cron"),
    ssm_units: &[SSM_SNAP, SSM],
    ssm_package: None,
    cloudwatch_agent: CloudWatchAgent::Download("ubuntu"),
    driver: Driver::UbuntuModules,
};

const UBUNTU_22_04: Os = Os {
    name: "Ubuntu 22.04",
    version: "22.04",
    ..UBUNTU_24_04
};

const DEBIAN_12: Os = Os {
    name: "Debian 12",
    id: "debian",
    version: "12",
    ssm_units: &[SSM],
    cloudwatch_agent: CloudWatchAgent::Download("debian"),
    driver: Driver::DebianNonFree,
    ..UBUNTU_24_04
};

/// Every supported system.
pub const SUPPORTED: &[Os] = &[AMAZON_LINUX_2023, UBUNTU_24_04, UBUNTU_22_04, DEBIAN_12];

impl Host {
    /// The kernel's id of this boot; another after every reboot. `None` where /proc is not mounted.
    pub fn boot_id(&self) -> Result<Option<String>> {
        let text = self.read_text("/proc/sys/kernel/random/boot_id")?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    /// The machine's operating system, from /etc/os-release; an unsupported one is an error that says what to use.
    pub fn os(&self) -> Result<&'static Os> {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            if let Some(text) = self.read_text(path)? {
                return recognise(&text, path);
            }
        }
        Err(Error::new(
            "the machine has no /etc/os-release, so its operating system is not known",
            use_instead(),
        ))
    }
}

impl Host {
    /// What `uname -r` prints.
    pub fn kernel_release(&self) -> Result<String> {
        const FILE: &str = "/proc/sys/kernel/osrelease";
        match self.read_text(FILE)? {
            Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => Err(Error::new(format!("there is no {FILE}"), "Mount /proc.")),
        }
    }
}

fn recognise(text: &str, path: &str) -> Result<&'static Os> {
    let value = |key: &str| -> Result<String> {
        let mut found = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line
                .split_once('=')
                .and_then(|(name, value)| Some((name, unquoted(value)?)))
                .ok_or_else(|| {
                    Error::new(
                        format!("line {} of {path} is not KEY=VALUE", index + 1),
                        format!("Restore {path}: os-release(5) says what it holds."),
                    )
                })?;
            // As in a shell, the last one counts.
            if name == key {
                found = value;
            }
        }
        Ok(found)
    };
    let (id, version) = (value("ID")?, value("VERSION_ID")?);
    if let Some(os) = SUPPORTED
        .iter()
        .find(|os| os.id == id && os.version == version)
    {
        return Ok(os);
    }
    // docker-library/tomcat#340 quotes aws.amazon.com/amazon-linux-2.
    if (id.as_str(), version.as_str()) == ("amzn", "2") {
        return Err(Error::new(
            "Amazon Linux 2 has been out of support since 2026-06-30",
            "Use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12.",
        ));
    }
    let name = match value("PRETTY_NAME")? {
        name if name.is_empty() => format!("{id} {version}").trim().to_owned(),
        name => name,
    };
    let name = if name.is_empty() {
        "a system that does not name itself".into()
    } else {
        crate::log::printable(&name)
    };
    Err(Error::new(
        format!("the operating system is {name}, which is not supported"),
        use_instead(),
    ))
}

fn use_instead() -> String {
    let names: Vec<_> = SUPPORTED.iter().map(|os| os.name).collect();
    format!(
        "Use an AMI of one of the supported systems: {}.",
        names.join(", ")
    )
}

/// A shell-like value of os-release(5) without its quotes; `None` where the quotes do not match.
fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        return (!inner.contains('\'')).then(|| inner.into());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut text = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => return characters.as_str().is_empty().then_some(text),
                '\\' => text.push(characters.next()?),
                _ => text.push(character),
            }
        }
        return None;
    }
    (!value.contains(['"', '\'', '\\', ' ', '\t', '$', '`', ';', '&'])).then(|| value.into())
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

    #[test]
    fn knows_the_supported_systems() {
        let cases = [
            (
                "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n",
                "Amazon Linux 2023",
            ),
            (
                "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\n# x\n\nVERSION_ID=\"24.04\"\nID=ubuntu\n",
                "Ubuntu 24.04",
            ),
            ("ID='ubuntu'\nVERSION_ID='22.04'", "Ubuntu 22.04"),
            (
                "VERSION_ID=\"12\"\nID=debian\nBUG_REPORT_URL=\"https://bugs.debian.org/\"",
                "Debian 12",
            ),
        ];
        for (text, name) in cases {
            assert_eq!(recognise(text, "os-release").unwrap().name, name);
        }
    }

    #[test]
    fn an_unsupported_system_is_named_with_what_to_use() {
        let cases = [
            (
                "ID=\"amzn\"\nVERSION_ID=\"2\"",
                "Amazon Linux 2 has been out of support since 2026-06-30",
                "Use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12.",
            ),
            (
                "ID=debian\nVERSION_ID=\"11\"\nPRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"",
                "the operating system is Debian GNU/Linux 11 (bullseye), which is not supported",
                "Use an AMI of one of the supported systems: Amazon Linux 2023, Ubuntu 24.04, Ubuntu 22.04, Debian 12.",
            ),
            (
                "",
                "the operating system is a system that does not name itself, which is not supported",
                "Use an AMI of one of the supported systems: Amazon Linux 2023, Ubuntu 24.04, Ubuntu 22.04, Debian 12.",
            ),
        ];
        for (text, reason, hint) in cases {
            let error = recognise(text, "os-release").unwrap_err();
            assert_eq!((error.reason(), error.hint()), (reason, hint));
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_guess() {
        for (text, line) in [
            ("ID=debian\nnonsense", 2),
            ("ID=\"debian", 1),
            ("ID=\"a\"b", 1),
            ("ID='a", 1),
            ("ID=$(reboot)", 1),
        ] {
            let error = recognise(text, "/etc/os-release").unwrap_err();
            assert_eq!(
                error.reason(),
                format!("line {line} of /etc/os-release is not KEY=VALUE")
            );
        }
    }
}
