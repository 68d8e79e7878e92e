//! What every phase works with: the config, the machine, the cloud; resolved once, shared by all.

use aws_types::SdkConfig;
use tokio::sync::OnceCell;

use crate::aws::ec2::describe_volume;
use crate::aws::endpoint;
use crate::aws::imds::{Identity, Imds};
use crate::aws::secrets::wallet_password;
use crate::aws::{region_of_environment, sdk_config};
use crate::config::Config;
use crate::engine::State;
use crate::error::Result;
use crate::host::Host;
use crate::host::disk::VolumeId;
use crate::host::looks::Looks;
use crate::http::roots;
use crate::wallet_password::WalletPassword;

/// A file that documents the program: a manual page, a completion script.
pub struct Document {
    /// Where it is installed.
    pub path: String,
    /// Its content.
    pub text: Vec<u8>,
}

/// The node that is being set up.
pub struct Node {
    /// The desired state.
    pub config: Config,
    /// The machine.
    pub host: Host,
    /// The metadata service.
    pub imds: Imds,
    /// Generates the program's manual pages and completions, if they are to be installed; provided by the command line.
    pub documents: Option<fn() -> Vec<Document>>,
    /// Whether the check of the wallet password tries it on the key, which takes about a second and 256 MB.
    pub prove_password: bool,
    /// What the phases' checks have found, shared with the host's other answers.
    pub checks: Looks<State>,
    identity: OnceCell<Identity>,
    aws: OnceCell<SdkConfig>,
    encrypted: OnceCell<bool>,
    password: OnceCell<WalletPassword>,
}

impl Node {
    /// The node that `config` describes, on `host`.
    pub fn new(config: Config, host: Host, imds: Imds) -> Self {
        Self {
            checks: host.looks(),
            config,
            host,
            imds,
            documents: None,
            prove_password: false,
            identity: OnceCell::new(),
            aws: OnceCell::new(),
            encrypted: OnceCell::new(),
            password: OnceCell::new(),
        }
    }

    /// The same node, with these documents to be installed.
    pub fn with_documents(mut self, documents: fn() -> Vec<Document>) -> Self {
        self.documents = Some(documents);
        self
    }

    /// The same node, with its wallet password to be tried on its key.
    pub fn proving_password(mut self, prove: bool) -> Self {
        self.prove_password = prove;
        self
    }

    /// The same node, with AWS clients made from this config.
    pub fn with_aws(mut self, aws: SdkConfig) -> Self {
        self.aws = OnceCell::new_with(Some(aws));
        self
    }

    /// The instance's identity; queried from the metadata service once.
    pub async fn identity(&self) -> Result<&Identity> {
        self.identity.get_or_try_init(|| self.imds.identity()).await
    }

    /// Only its ID, which is known even if something else about the instance is not.
    pub async fn instance_id(&self) -> Result<String> {
        match self.identity.get() {
            Some(identity) => Ok(identity.instance_id.clone()),
            None => self.imds.instance_id().await,
        }
    }

    /// Name of the disk that holds the wallet key: the volume's ID, or the instance's if the disk is its own.
    pub async fn disk(&self) -> Result<String> {
        match self.config.volume.id() {
            Some(id) => Ok(id.to_string()),
            None => Ok(self.identity().await?.instance_id.clone()),
        }
    }

    /// The region to work in: the config's, the environment's, or the instance's own.
    pub async fn region(&self) -> Result<String> {
        let named = match &self.config.region {
            Some(region) => Some(region.clone()),
            None => region_of_environment()?,
        };
        match named {
            Some(region) => Ok(region),
            None => match self.identity().await {
                Ok(identity) => Ok(identity.region.clone()),
                // Something else about the instance is unknown.
                Err(error) => self.imds.region().await.map_err(|_| error),
            },
        }
    }

    /// What every AWS client is made from: region, credentials, TLS, timeouts, retries.
    pub async fn aws(&self) -> Result<&SdkConfig> {
        self.aws
            .get_or_try_init(async || {
                endpoint::check()?;
                // Meanwhile, the metadata service is asked for credentials.
                tokio::task::spawn_blocking(roots::read);
                Ok(sdk_config(self.region().await?, &self.imds))
            })
            .await
    }

    /// Whether the config's EBS volume `id` is encrypted, which never changes; queried from EC2 once.
    pub async fn is_encrypted(&self, id: &VolumeId) -> Result<bool> {
        let ask = async || {
            Ok(describe_volume(self.aws().await?, id.as_str())
                .await?
                .encrypted)
        };
        self.encrypted.get_or_try_init(ask).await.copied()
    }

    /// The wallet password that the next boot would fetch; queried from Secrets Manager once.
    pub async fn current_password(&self) -> Result<&WalletPassword> {
        let ask = async || wallet_password(self.aws().await?, &self.config.secret.arn).await;
        self.password.get_or_try_init(ask).await
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::aws::tests::config;
    use crate::retry::Policy;
    use standins::scripted::script;

    #[tokio::test]
    async fn ec2_is_asked_once_whether_the_volume_is_encrypted() {
        const ITEM: &str = "<R><volumeSet><item><availabilityZone>a</availabilityZone><status>in-use</status>\
                            <encrypted>true</encrypted></item></volumeSet></R>";
        const DENIED: &str = "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>";
        let server = script(vec![(403, DENIED), (200, ITEM), (500, "not asked")]);
        let text = format!(
            r#"{{"volume": {{"id": "vol-0abc1234"}}, "secret": {{"arn": "s"}},
                "assets": {{"bucket": "assets", "key": "a", "sha256": "{}"}}}}"#,
            "a".repeat(64)
        );
        let once = Policy::without_pause(1);
        let imds = Imds::at("http://127.0.0.1:9", once);
        let node = Node::new(Config::load(&text).unwrap(), Host::at("/nowhere"), imds);
        let node = node.with_aws(config(&server.url).await);
        let id = node.config.volume.id().unwrap();
        // A refusal is not cached.
        assert!(node.is_encrypted(id).await.is_err());
        for _ in 0..3 {
            assert!(node.is_encrypted(id).await.unwrap());
        }
        assert_eq!(server.received().len(), 2);
    }
}
