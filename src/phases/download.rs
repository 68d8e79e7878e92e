//! Downloads of public files over HTTPS: a repository's key, a vendor's package.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::http::Request;
use crate::retry::{Policy, retry};

const POLICY: Policy = Policy {
    attempts: 4,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(10),
};

/// The file at `url`, of at most `limit` bytes, each try within `timeout`.
pub(super) async fn download(url: &str, limit: u64, timeout: Duration) -> Result<Vec<u8>> {
    const HINT: &str = "Check that the instance reaches that address (route, NAT, DNS, S3 endpoint), then run bootstrap again.";
    tracing::info!("downloading {url}");
    retry(POLICY, "download", || async {
        let reason = || format!("cannot download {url}");
        match Request::get(url).limit(limit).timeout(timeout).send().await {
            Ok(response) if response.status == 200 => Ok(response.body),
            Ok(response) => {
                let error = Error::new(
                    format!("cannot download {url}: HTTP status {}", response.status),
                    HINT,
                );
                let busy = response.status == 429 || response.status >= 500;
                Err(if busy { error.transient() } else { error })
            }
            Err(failure) => {
                let transient = failure.is_transient();
                let error = Error::new(reason(), HINT).because(failure);
                Err(if transient { error.transient() } else { error })
            }
        }
    })
    .await
}
