//! Package repositories besides the system's own, added as the system's table says.

use std::time::Duration;

use super::download::download;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::openpgp::only_key;
use crate::host::os::Repository;

/// Adds the repository to the package manager.
pub(super) async fn add(host: &Host, repository: &Repository) -> Result<()> {
    match *repository {
        Repository::Package(name) => host.install_packages(&[name]).await,
        Repository::Components { origin, names } => host.add_components(origin, names).await,
        Repository::Keyed {
            key_url,
            fingerprint,
            key,
            path,
            text,
        } => {
            // One that is already there is an administrator's, or was verified before.
            if host.read(key)?.is_none() {
                let bytes = download(key_url, 64 * 1024, Duration::from_secs(30)).await?;
                check(&bytes, key_url, fingerprint, key)?;
                host.add_repository_file(key, &bytes)?;
            }
            host.add_repository_file(path, text.as_bytes())
        }
    }
}

/// Whoever can impersonate the vendor can send any key.
fn check(bytes: &[u8], url: &str, fingerprint: &str, path: &str) -> Result<()> {
    let found = only_key(bytes);
    if found.as_deref() == Some(fingerprint) {
        return Ok(());
    }
    let found = found.unwrap_or_else(|| "no key, or several".into());
    Err(Error::new(
        format!("{url} is not the key {fingerprint}: {found}"),
        format!(
            "see what answers there, a proxy may be in between; where the vendor has changed its key and says so, put it into {path} \
             yourself, then run: bootstrap --phase docker"
        ),
    ))
}
