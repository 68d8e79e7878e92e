//! What every phase works with: the config, the machine, the cloud; resolved once, shared by all.

use aws_types::SdkConfig;
use tokio::sync::OnceCell;

use crate::aws::ec2::describe_volume;
use crate::aws::imds::{Identity, Imds};
use crate::aws::sdk_config;
use crate::config::{Config, VolumeKind};
use crate::error::Result;
use crate::host::Host;

/// The node that is being set up.
pub struct Node {
    /// What is wanted.
    pub config: Config,
    /// The machine.
    pub host: Host,
    /// The metadata service.
    pub imds: Imds,
    identity: OnceCell<Identity>,
    aws: OnceCell<SdkConfig>,
    encrypted: OnceCell<bool>,
}

impl Node {
    /// The node that `config` describes, on `host`.
    pub fn new(config: Config, host: Host, imds: Imds) -> Self {
        Self {
            config,
            host,
            imds,
            identity: OnceCell::new(),
            aws: OnceCell::new(),
            encrypted: OnceCell::new(),
        }
    }

    /// Who the instance is; asked of the metadata service once.
    pub async fn identity(&self) -> Result<&Identity> {
        self.identity.get_or_try_init(|| self.imds.identity()).await
    }

    /// Name of the disk that holds the wallet key: the volume's id, or the instance's where the disk is its own.
    pub async fn disk(&self) -> Result<String> {
        match (&self.config.volume.id, self.config.volume.kind) {
            (Some(id), VolumeKind::Ebs) => Ok(id.clone()),
            _ => Ok(self.identity().await?.instance_id.clone()),
        }
    }

    /// The region to work in: the config's, or the instance's own.
    pub async fn region(&self) -> Result<String> {
        match &self.config.region {
            Some(region) => Ok(region.clone()),
            None => Ok(self.identity().await?.region.clone()),
        }
    }

    /// What every AWS client is made from: region, credentials, TLS, timeouts, retries.
    pub async fn aws(&self) -> Result<&SdkConfig> {
        self.aws
            .get_or_try_init(async || Ok(sdk_config(self.region().await?, &self.imds)))
            .await
    }

    /// Whether the EBS volume `id`, the config's, is encrypted, which never changes; asked of EC2 once.
    pub async fn is_encrypted(&self, id: &str) -> Result<bool> {
        let ask = async || Ok(describe_volume(self.aws().await?, id).await?.encrypted);
        self.encrypted.get_or_try_init(ask).await.copied()
    }
}
