//! Which operating system this is, and what things are called there; one file per system.

mod amazon_linux_2023;
mod debian_12;
mod ubuntu;

use super::Host;
use super::files::without_mark;
use crate::error::{Error, Result};

/// Package managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Amazon Linux 2023.
    Dnf,
    /// Debian and Ubuntu.
    Apt,
}

/// How the CloudWatch agent is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudWatchAgent {
    /// A package of the system's own repositories.
    Package,
    /// A .deb from AWS's bucket in the region, in this folder.
    Download(&'static str),
}

/// A package repository beyond the system's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A package from the system's own repositories sets it up, with its key.
    Package(&'static str),
    /// More components of the archive that the system comes from.
    Components {
        /// What the archive calls itself: `Debian`.
        origin: &'static str,
        /// The components.
        names: &'static [&'static str],
    },
    /// A file, and the key that it names.
    Keyed {
        /// Where the vendor publishes the key, over HTTPS.
        key_url: &'static str,
        /// The key's fingerprint; the key is for this repository only.
        fingerprint: &'static str,
        /// Where the key goes.
        key: &'static str,
        /// Where the file goes.
        path: &'static str,
        /// What it holds.
        text: &'static str,
    },
}

/// One step of installing the NVIDIA driver. In names, `{kernel}` is what `uname -r` prints (`6.8.0-1021-aws`),
/// `{series}` its first two numbers (`6.18`) if the system names packages after them, `{flavour}` what comes after
/// its numbers (`aws`, `cloud-amd64`), and `{branch}` the driver's branch (`580`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Adds a repository.
    Repository(Repository),
    /// Installs what the steps after it need.
    Prepare(&'static [&'static str]),
    /// Installs, in one transaction, the first of these sets of packages that can be installed.
    Install(&'static [&'static [&'static str]]),
    /// Has the package manager leave these as they are; of packages not installed yet, dnf also sticks to the versions
    /// named here.
    Hold(&'static [&'static str]),
    /// Removes such holds, so that they do not block the steps after it.
    Release(&'static [&'static str]),
    /// Has DKMS, if it is installed, build its modules for the running kernel.
    BuildModules,
}

/// How the NVIDIA driver is obtained: with the open kernel modules if they are available, since driver 620 drops the
/// others (driver guide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The branch that is installed, unless the config names another.
    pub branch: u16,
    /// Whether the repositories have other branches.
    pub has_other_branches: bool,
    /// Whether its kernel modules are the open ones.
    pub open_modules: bool,
    /// Packages are named after the kernel's series from this one on.
    pub series_from: (u32, u32),
    /// What installs it.
    pub steps: &'static [Step],
}

/// A supported operating system, as data: everything whose name or source differs from one system to another. Adding
/// one means adding a file beside this one, and a row to [`SUPPORTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Os {
    /// Name, much like `PRETTY_NAME`: "Debian 12".
    pub name: &'static str,
    /// `ID` of os-release.
    pub id: &'static str,
    /// `VERSION_ID` of os-release.
    pub version: &'static str,
    /// Its package manager.
    pub manager: Manager,
    /// Packages of the Docker engine: the system's own, which is installed, and others that an image may come with.
    pub docker: &'static [&'static str],
    /// Package and unit of cron.
    pub cron: (&'static str, &'static str),
    /// Units that the SSM agent can have here, the likelier one first.
    pub ssm_units: &'static [&'static str],
    /// Package of the SSM agent, if the system's repositories have one.
    pub ssm_package: Option<&'static str>,
    /// Packages that the user-data would install for itself.
    pub for_user_data: &'static [&'static str],
    /// How the CloudWatch agent is obtained.
    pub cloudwatch_agent: CloudWatchAgent,
    /// Where the NVIDIA container toolkit comes from.
    pub toolkit: Repository,
    /// How the NVIDIA driver is obtained.
    pub driver: Driver,
}

/// Every supported system.
pub const SUPPORTED: &[Os] = &[
    amazon_linux_2023::OS,
    ubuntu::UBUNTU_24_04,
    ubuntu::UBUNTU_22_04,
    debian_12::OS,
];

impl Host {
    /// The kernel's id for this boot, different after every reboot. `None` if /proc is not mounted.
    pub fn boot_id(&self) -> Result<Option<String>> {
        let text = self.read_text("/proc/sys/kernel/random/boot_id")?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    /// The machine's operating system, from /etc/os-release; an unsupported one is an error that says what to use.
    pub fn os(&self) -> Result<&'static Os> {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            if let Some(text) = self.read_others(path)? {
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
            _ => Err(Error::new(format!("there is no {FILE}"), "mount /proc")),
        }
    }
}

/// The supported system that this os-release, read from `path`, describes.
pub fn recognise(text: &str, path: &str) -> Result<&'static Os> {
    let text = without_mark(text);
    // Only the lines that are needed have to conform to os-release(5).
    let value = |key: &str| -> Result<String> {
        let mut found = String::new();
        for (index, line) in text.lines().enumerate() {
            // A shell also accepts indentation and `export`.
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            // As in a shell, the last one counts. systemd ignores blanks around the `=`.
            let value = value.trim_start();
            if name.trim_end() == key {
                found = unquoted(value).ok_or_else(|| {
                    Error::new(
                        format!("line {} of {path} is not KEY=VALUE", index + 1),
                        format!("restore {path}: os-release(5) says what it holds"),
                    )
                })?;
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
            "use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12",
        ));
    }
    let name = match value("PRETTY_NAME").unwrap_or_default() {
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
        "use an AMI of one of the supported systems: {}",
        names.join(", ")
    )
}

/// A shell-like value of os-release(5) without its quotes; `None` if the quotes do not match.
fn unquoted(value: &str) -> Option<String> {
    // What may follow: blanks and a comment.
    let is_end = |rest: &str| {
        rest.trim().is_empty()
            || (rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with('#'))
    };
    if let Some(rest) = value.strip_prefix('\'') {
        let (inner, rest) = rest.split_once('\'')?;
        return is_end(rest).then(|| inner.into());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut text = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => return is_end(characters.as_str()).then_some(text),
                '\\' => text.push(characters.next()?),
                _ => text.push(character),
            }
        }
        return None;
    }
    let value = value.split_once(" #").map_or(value, |(value, _)| value);
    let value = value.trim_end();
    (!value.contains(['"', '\'', '\\', ' ', '\t', '$', '`', ';', '&'])).then(|| value.into())
}

#[cfg(test)]
mod tests {
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
                "ID=debian\nVENDOR=Golden Images Team\nnonsense\nX='\nPRETTY_NAME=\"a\nVERSION_ID=12",
                "Debian 12",
            ),
            ("\u{feff}ID=debian\r\nVERSION_ID=12\r\n", "Debian 12"),
            (
                " ID='debian' # ours\nexport VERSION_ID=\"12\"  # bookworm\n",
                "Debian 12",
            ),
            ("ID=debian # ours\nVERSION_ID=12\t\n", "Debian 12"),
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
                "use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12",
            ),
            (
                "ID=debian\nVERSION_ID=\"11\"\nPRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"",
                "the operating system is Debian GNU/Linux 11 (bullseye), which is not supported",
                "use an AMI of one of the supported systems: Amazon Linux 2023, Ubuntu 24.04, Ubuntu 22.04, Debian 12",
            ),
            (
                "",
                "the operating system is a system that does not name itself, which is not supported",
                "use an AMI of one of the supported systems: Amazon Linux 2023, Ubuntu 24.04, Ubuntu 22.04, Debian 12",
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
            ("ID=\"debian", 1),
            ("NAME=x\nID=a b", 2),
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
