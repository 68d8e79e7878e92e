//! Package repositories beyond the system's own, added as the table of the system says.

use std::time::Duration;

use super::download::download;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::os::Repository;

/// Has the package manager know the repository.
pub(super) async fn add(host: &Host, repository: &Repository) -> Result<()> {
    match *repository {
        Repository::Package(name) => host.install_packages(&[name]).await,
        Repository::Components { origin, names } => host.add_components(origin, names).await,
        Repository::Keyed {
            key_url,
            key,
            path,
            text,
        } => {
            let bytes = download(key_url, 64 * 1024, Duration::from_secs(30)).await?;
            if !bytes.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") {
                return Err(Error::new(
                    format!("{key_url} is not a public key"),
                    "look at what answers there: a proxy may be in between",
                ));
            }
            host.add_repository_file(key, &bytes)?;
            host.add_repository_file(path, text.as_bytes())
        }
    }
}
