//! Phase `wallet-backup`: a copy of the key file, still encrypted, is in a bucket, which outlives volume and zone.
//!
//! A node without it earns just as well: what prevents the copy is reported, by `verify` too, and the next run tries
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::secret::{Proof, proof};
use crate::aws::objects::{Bucket, Put};
use crate::config::WalletBackup as Wanted;
use crate::digest::sha256;
use crate::doing::doing;
use crate::edge::backup::{self, Backup};
use crate::edge::keystore::LARGEST_FILE;
use crate::edge::{Spec, keys, wallet};
use crate::engine::{Applied, Phase, State};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::paths::LOG;
use crate::shell::word;

/// The node creates its key at its first start, which can take minutes.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_secs(2);

/// Time limit for the bucket: less than the phase's deadline, since the phase must not fail because of it.
const PATIENCE: Duration = Duration::from_mins(3);

/// See [`Phase`].
pub(super) struct WalletBackup {
    node: Arc<Node>,
    /// It failed in this run, and is not tried again in it.
    failed: AtomicBool,
}

/// The key on the volume.
struct Key {
    backup: Backup,
    bytes: Vec<u8>,
}

#[async_trait]
impl Phase for WalletBackup {
    async fn check(&self) -> Result<State> {
        let Node { host, config, .. } = &*self.node;
        let Some(wanted) = &config.wallet_backup else {
            return Ok(State::NotApplicable(
                "the config has no wallet_backup".into(),
            ));
        };
        let (missing, is_made) = match self.key()? {
            None => ("there is no key to back up yet".into(), false),
            Some(key) => {
                let (address, object) = (&key.backup.address, key.object(wanted));
                let is_made = backup::is_made(host, &object, &sha256(&key.bytes));
                if is_made {
                    (format!("the key of {address} is in {object}"), true)
                } else {
                    (format!("the key of {address} is not backed up"), false)
                }
            }
        };
        Ok(if is_made || self.failed.load(Ordering::Relaxed) {
            State::Done(missing)
        } else {
            State::Needed(missing)
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let Some(wanted) = &self.node.config.wallet_backup else {
            return Ok(Applied::Finished);
        };
        if let Err(error) = self.back_up(wanted).await {
            tracing::warn!("the wallet key is not backed up: {error}; {}", error.hint());
            // What the bucket said is recorded; whether there is a key is looked up each time.
            if self.key()?.is_some() {
                backup::failed(&self.node.host, &error)?;
            }
            self.failed.store(true, Ordering::Relaxed);
        }
        Ok(Applied::Finished)
    }
}

impl WalletBackup {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            failed: AtomicBool::new(false),
        }
    }

    /// The key on the volume, if there is exactly one. What is wrong with the folder is reported by phase `container`.
    fn key(&self) -> Result<Option<Key>> {
        let Node { host, config, .. } = &*self.node;
        let Some(spec) = Spec::load(host, config)? else {
            return Ok(None);
        };
        let folder = keys::look(host, &spec.key_folder(config), None)?;
        let file = folder.file.unwrap_or_default();
        let name = file.rsplit('/').next().unwrap_or_default();
        let Some(backup) = Backup::of(name) else {
            return Ok(None);
        };
        let bytes = host.read_foreign(&file)?;
        Ok(bytes.map(|bytes| Key { backup, bytes }))
    }

    async fn back_up(&self, wanted: &Wanted) -> Result<()> {
        let key = self.await_key().await?;
        let work = tokio::time::timeout(PATIENCE, self.copy(wanted, &key));
        let object = key.object(wanted);
        let object = work.await.map_err(|_| {
            Error::new(
                format!(
                    "{object} was not made within {} s",
                    PATIENCE.as_secs()
                ),
                format!("see in {LOG} what AWS answered, and check that the instance's route and security group reach S3"),
            )
        })??;
        backup::made(&self.node.host, &object, &sha256(&key.bytes))
    }

    /// The key, which a new node makes at its first start. If this disk has had one, it does not come back by itself.
    async fn await_key(&self) -> Result<Key> {
        let had = wallet::remembered(&self.node.host, &self.node.disk().await?);
        for _ in 0..LOOKS {
            if let Some(key) = self.key()? {
                return Ok(key);
            }
            if let Some(address) = &had {
                return Err(Error::new(
                    format!("the key of {address} is not on the volume any more"),
                    "run: bootstrap verify, which says what to do",
                ));
            }
            doing("waiting for the node to make its key");
            crate::pace::pause(PAUSE).await;
        }
        Err(Error::new(
            "the node has made no key yet",
            "wait: bootstrap verify --wait 15m",
        ))
    }

    /// Makes sure that the bucket has the key, and returns where. Nothing is ever overwritten.
    async fn copy(&self, wanted: &Wanted, Key { backup, bytes }: &Key) -> Result<String> {
        let bucket = Bucket::new(self.node.aws().await?, &wanted.bucket);
        let (address, key) = (&backup.address, backup.key(&wanted.prefix));
        let object = bucket.object(&key);
        let there = bucket.list(&backup.folder(&wanted.prefix)).await?;
        if let Some(other) = there.iter().find(|there| **there != key) {
            return Err(differs(&bucket.object(other), address));
        }
        let put = if there.is_empty() {
            doing(&format!("copying the key of {address} to {object}"));
            bucket.put_new(&key, bytes).await?
        } else {
            Put::Taken
        };
        let back = bucket.get(&key, LARGEST_FILE).await?.unwrap_or_default();
        if back != *bytes {
            return Err(match put {
                Put::New => Error::new(
                    format!("{object} was read back otherwise than it was written"),
                    "see what stands between the node and S3, such as a proxy",
                ),
                Put::Taken => differs(&object, address),
            });
        }
        self.prove(&back, &object).await?;
        Ok(object)
    }

    /// A copy that nobody can open is worthless.
    async fn prove(&self, bytes: &[u8], object: &str) -> Result<()> {
        match proof(&self.node.host, bytes, object).await? {
            Proof::Opens => Ok(()),
            Proof::Unknown(what) => {
                tracing::info!("{object} is not proven: it is of an unknown kind ({what})");
                Ok(())
            }
            Proof::Fails => Err(Error::new(
                format!("the wallet password in memory does not open {object}"),
                "run: bootstrap --phase secret --force, which says what is wrong with it",
            )),
        }
    }
}

impl Key {
    fn object(&self, wanted: &Wanted) -> String {
        let key = self.backup.key(&wanted.prefix);
        crate::log::printable(&format!("s3://{}/{key}", wanted.bucket))
    }
}

fn differs(object: &str, address: &str) -> Error {
    let other = word(object);
    Error::new(
        format!(
            "{object} is another key file of {address} than the volume's, and is not overwritten"
        ),
        format!(
            "see which of the two the wallet password opens; if it is the volume's, remove the other one (aws s3 rm {other}, \
             whose last version the bucket keeps for 90 days)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::aws::tests::config as aws;
    use crate::host::testing::Tree;
    use crate::paths::SPEC;
    use crate::phases::testing::{DEBIAN, config, node};

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_never_answers_is_given_up() {
        let tree = Tree::new();
        tree.file(SPEC, include_str!("../../cloudformation/assets/edge.json"));
        let keys = "/data/edgelauncher/edgecore/key/encrypted";
        let file = "2e833968e5bb786ae419c4d13189fb081cc43bab";
        tree.file(&format!("{keys}/{file}"), "{}");
        let mut config = config(false);
        config.wallet_backup = Some(Wanted {
            bucket: "b".into(),
            prefix: "w".into(),
            address: None,
        });
        // It accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let node = Arc::into_inner(node(&tree, DEBIAN, config)).unwrap();
        let phase = WalletBackup::new(Arc::new(node.with_aws(aws(&url).await)));
        let missing = format!("the key of 0x{file} is not backed up");
        assert_eq!(phase.check().await.unwrap(), State::Needed(missing.clone()));
        phase.apply().await.unwrap();
        assert_eq!(phase.check().await.unwrap(), State::Done(missing));
        assert_eq!(
            backup::trouble(&tree.host).unwrap().reason,
            format!("s3://b/w/0x{file}/{file} was not made within 180 s")
        );
    }
}
