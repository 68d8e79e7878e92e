//! Which operating system this is, and what things are called there.

use super::Host;
use crate::error::Result;

/// Package managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Amazon Linux 2023.
    Dnf,
    /// Debian and Ubuntu.
    Apt,
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
}

impl Host {
    /// The machine's operating system, from /etc/os-release; an unsupported one is an error that says what to use.
    pub fn os(&self) -> Result<&'static Os> {
        todo!()
    }
}
