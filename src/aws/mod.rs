//! AWS: the metadata service, S3, Secrets Manager, CloudWatch, the signed Query calls, the wait handle.

pub mod imds;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls;

/// What every client is made from: `region`, the standard credential chain (environment, then the instance's role),
/// one TLS stack, timeouts, retries. Asks nothing yet. `AWS_ENDPOINT_URL…` is honoured.
pub async fn sdk_config(region: String) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .http_client(http)
        // The SDK sets no time limit of its own on reading an answer or on a whole attempt.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(30))
                .operation_attempt_timeout(Duration::from_secs(60))
                .build(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .load()
        .await
}
