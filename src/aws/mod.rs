//! AWS: the metadata service, S3, Secrets Manager, CloudWatch, the signed Query calls, the wait handle.

mod bounds;
pub mod cloudformation;
pub mod cloudwatch;
mod credentials;
pub mod ec2;
pub mod endpoint;
pub mod imds;
pub mod objects;
pub mod partition;
pub mod query;
mod refusal;
pub mod s3;
pub mod secrets;
pub mod wait_handle;
pub mod xml;

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, IdentityCache, Region};
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_types::SdkConfig;

use self::imds::Imds;
pub use self::query::policy as retry_policy;
use crate::error::{Error, Result};
use crate::http::roots;
use crate::log::printable;
use crate::retry::Policy;

/// Outcome of a signal to CloudFormation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was accepted.
    Accepted,
    /// Nothing in progress is waiting for it: not an error, and not worth retrying.
    NobodyWaits,
}

/// Retries when asking the metadata service for credentials; each call to AWS has its own.
const CREDENTIALS: Policy = Policy {
    attempts: 4,
    first_pause: Duration::from_millis(500),
    longest_pause: Duration::from_secs(2),
};

/// What every client is made from: `region`, credentials (the environment's, or those of the instance's role), one TLS
/// stack, timeouts, retries. Makes no call yet. `AWS_ENDPOINT_URL…` is honoured.
///
/// Not made with aws-config: no node has the other sources that it checks (profiles, containers, single sign-on, web
/// identities), and it made up a fifteenth of the binary.
pub fn sdk_config(region: String, imds: &Imds) -> SdkConfig {
    let proxy = crate::proxy::of_sdk();
    let http = aws_smithy_http_client::Builder::new().build_with_connector_fn(
        move |settings, components| {
            let mut connector = Connector::builder().proxy_config(proxy.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            let connector = connector.tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ));
            let trusted = tls::TrustStore::empty().with_pem_certificate(roots::pem());
            match tls::TlsContext::builder().with_trust_store(trusted).build() {
                Ok(context) => connector.tls_context(context).build(),
                Err(_) => connector.build(),
            }
        },
    );
    let credentials = credentials::Provider::new(imds.asked_like(CREDENTIALS));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        // The provider has its own cache.
        .identity_cache(IdentityCache::no_cache())
        .service_config(endpoint::Endpoints)
        .http_client(bounds::bounded(http))
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
                .with_initial_backoff(crate::pace::of(Duration::from_secs(1)))
                .with_max_backoff(crate::pace::of(Duration::from_secs(20))),
        );
    config.set_endpoint_url(endpoint::of_all());
    config.build()
}

/// The region that `AWS_REGION` names, if it is set.
pub fn region_of_environment() -> Result<Option<String>> {
    let region = std::env::var("AWS_REGION").unwrap_or_default();
    match region.as_str() {
        "" => Ok(None),
        known if imds::is_region(known) => Ok(Some(region)),
        unknown => Err(Error::new(
            format!(
                "AWS_REGION is not the name of a region: {}",
                printable(unknown)
            ),
            "set it to the node's region, such as us-east-1, or unset it",
        )),
    }
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
        let imds = Imds::at("http://127.0.0.1:1", CREDENTIALS);
        sdk_config("us-east-1".into(), &imds)
            .into_builder()
            .endpoint_url(url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(4)
                    .with_initial_backoff(Duration::ZERO),
            )
            .build()
    }
}
