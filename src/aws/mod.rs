//! AWS: the metadata service, S3, Secrets Manager, CloudWatch, the signed Query calls, the wait handle.

pub mod cloudformation;
pub mod cloudwatch;
pub mod ec2;
pub mod imds;
pub mod query;
mod refusal;
pub mod s3;
pub mod secrets;
pub mod wait_handle;
pub mod xml;

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls;

/// What became of a signal to CloudFormation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was taken.
    Accepted,
    /// There is nothing in progress that it could be for: not an error, and not worth trying again.
    NobodyWaits,
}

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
                .operation_attempt_timeout(Duration::from_mins(1))
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(4)
                .with_initial_backoff(crate::pace::of(Duration::from_secs(1))),
        )
        .load()
        .await
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Example credentials, `us-east-1`, everything at `url`, retries without pauses.
    pub(crate) async fn config(url: &str) -> SdkConfig {
        let credentials = aws_credential_types::Credentials::new(
            "AKIDEXAMPLE",
            "secret",
            Some("session".into()),
            None,
            "test",
        );
        let provider = aws_credential_types::provider::SharedCredentialsProvider::new(credentials);
        sdk_config("us-east-1".into())
            .await
            .into_builder()
            .endpoint_url(url)
            .credentials_provider(provider)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(4)
                    .with_initial_backoff(Duration::ZERO),
            )
            .build()
    }
}
