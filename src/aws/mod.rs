//! AWS: the metadata service, S3, Secrets Manager, CloudWatch, the signed Query calls, the wait handle.

pub mod imds;

/// What every client is made from: `region`, the standard credential chain, one TLS stack, timeouts, retries.
pub async fn sdk_config(_region: String) -> aws_config::SdkConfig {
    todo!()
}
