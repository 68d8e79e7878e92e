//! Package managers: dnf and apt, with their locks waited for.

use super::Host;
use crate::error::Result;

impl Host {
    /// Whether the package is installed, whole (half-installed counts as not).
    pub async fn package_installed(&self, _package: &str) -> Result<bool> {
        todo!()
    }
    /// Installs the packages; mirror and lock failures are transient errors and are retried.
    pub async fn install_packages(&self, _packages: &[&str]) -> Result<()> {
        todo!()
    }
}
