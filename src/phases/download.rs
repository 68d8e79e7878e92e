//! Downloads of public files over HTTPS: a repository's key, a vendor's package.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::http::{Kind, Request};

/// The file at `url`, of at most `limit` bytes, within `timeout`. Tried once: if a retry can help, the engine retries
/// the phase.
pub(super) async fn download(url: &str, limit: u64, timeout: Duration) -> Result<Vec<u8>> {
    const HINT: &str = "check that the instance reaches that address (route, NAT, DNS, S3 endpoint), then run `bootstrap` again";
    const TRUST: &str = "check the clock (`timedatectl`), the CA certificates, and whether a proxy terminates TLS on the way, then run `bootstrap` again";
    tracing::info!("downloading {url}");
    match Request::get(url).limit(limit).timeout(timeout).send().await {
        Ok(response) if response.status == 200 => Ok(response.body),
        Ok(response) => {
            let error = Error::new(
                format!("cannot download {url}: HTTP status {}", response.status),
                HINT,
            );
            let busy = response.status == 429 || response.status >= 500;
            Err(error.transient_if(busy))
        }
        Err(failure) => {
            let hint = match failure.kind {
                Kind::Untrusted | Kind::NotYetValid => TRUST,
                _ => HINT,
            };
            Err(failure.told(format!("cannot download {url}"), hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standins::scripted::{Reply, serve};

    #[tokio::test]
    async fn a_busy_server_is_asked_once_and_left_to_the_engine() {
        for (status, transient) in [(503, true), (429, true), (404, false)] {
            let server = serve(move |_| Reply::new(status, ""));
            let error = download(&server.url, 9, Duration::from_secs(9))
                .await
                .unwrap_err();
            assert_eq!(
                error.reason(),
                format!("cannot download {}: HTTP status {status}", server.url)
            );
            assert_eq!(error.is_transient(), transient, "{status}");
            assert_eq!(server.received().len(), 1, "{status}");
        }
    }
}
