//! Restores this node's wallet key from its backup onto a new volume, before the container creates another.
//!
//! Only onto a filesystem that this machine has made and no container has seen yet, and only if no key is there: so
//! nothing can be lost.

use crate::aws::objects::Bucket;
use crate::config::WalletBackup;
use crate::doing::doing;
use crate::edge::backup::{self, Backup};
use crate::edge::keys::{self, Keys};
use crate::edge::keystore::LARGEST_FILE;
use crate::edge::run_as::RunAs;
use crate::edge::spec::Spec;
use crate::edge::wallet;
use crate::error::{Error, Result};
use crate::host::files::Access;
use crate::log::printable;
use crate::node::Node;
use crate::paths::CONFIG;
use crate::phases::secret::{Proof, proof};

/// Restores the key if there is a backup. The volume is mounted and has had nothing on it but its filesystem.
pub(super) async fn restore(node: &Node, spec: &Spec, run_as: RunAs) -> Result<()> {
    let Node { host, config, .. } = node;
    let Some(wanted) = &config.wallet_backup else {
        return Ok(());
    };
    let folder = spec.key_folder(config);
    if keys::look(host, &folder, None)?.keys != Keys::None {
        return Ok(());
    }
    let bucket = Bucket::new(node.aws().await?, &wanted.bucket);
    let there = bucket.list(&format!("{}/", wanted.prefix)).await;
    let there = there.map_err(|error| unknown(&error))?;
    let disk = node.disk().await?;
    let remembered = wallet::remembered(host, &disk);
    let named = wanted.address.as_deref();
    let Some(backup) = backup::choose(&there, &wanted.prefix, named, remembered.as_deref())? else {
        return Ok(());
    };
    let bytes = fetch(node, &bucket, wanted, &backup).await?;
    let address = &backup.address;
    doing(&format!("putting the key of {address} back"));
    // First, so that the run after a killed one expects no other wallet.
    wallet::put_back(host, &disk, address)?;
    put(node, spec, run_as, &backup, &bytes)?;
    let found = keys::look(host, &folder, None)?.keys;
    if found != Keys::One(address.clone()) {
        return Err(Error::new(
            format!("the key of {address} was put back, and is not what {folder} holds now"),
            "see what else writes to the volume, then run: bootstrap --phase container",
        ));
    }
    let object = bucket.object(&backup.key(&wanted.prefix));
    tracing::info!("the key of {address} was put back from {object}");
    Ok(())
}

/// The backup's content, if it is that wallet's key and the password opens it.
async fn fetch(
    node: &Node,
    bucket: &Bucket<'_>,
    wanted: &WalletBackup,
    backup: &Backup,
) -> Result<Vec<u8>> {
    let key = backup.key(&wanted.prefix);
    let object = bucket.object(&key);
    let bytes = bucket.get(&key, LARGEST_FILE).await;
    let Some(bytes) = bytes.map_err(|error| unknown(&error))? else {
        return Err(Error::new(
            format!("{object} was there a moment ago, and is gone"),
            "see who deletes the backups of wallet keys, then run: bootstrap --phase container",
        ));
    };
    let file: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let says = file.get("address").and_then(serde_json::Value::as_str);
    if let Some(says) = says
        && keys::address(says).as_ref() != Some(&backup.address)
    {
        return Err(Error::new(
            format!(
                "{object} says of itself that it is the key of {}",
                printable(says)
            ),
            "see who has put it there, and put the right one into its place; nothing was changed on the volume",
        ));
    }
    match proof(&node.host, &bytes, &object).await? {
        Proof::Opens => Ok(bytes),
        Proof::Unknown(what) => {
            tracing::warn!("{object} is put back unproven: it is of an unknown kind ({what})");
            Ok(bytes)
        }
        Proof::Fails => Err(Error::new(
            format!("the wallet password does not open {object}"),
            "put the password with which the key was created back into the secret (aws secretsmanager put-secret-value), then \
             run: bootstrap --phase secret --phase container --force",
        )),
    }
}

/// Writes it atomically into its folder, owned by the container's user, with no temporary file next to it.
fn put(node: &Node, spec: &Spec, run_as: RunAs, backup: &Backup, bytes: &[u8]) -> Result<()> {
    let Node { host, config, .. } = node;
    let user = Some((config.user.uid, config.user.gid));
    let (data, folder) = (spec.data_folder(config), spec.key_folder(config));
    let owner = user.filter(|_| run_as == RunAs::User);
    let access = |mode, owner| Access { mode, owner };
    host.make_dir(&data, access(0o700, user))?;
    let mut path = data.clone();
    let below = folder.strip_prefix(&data).unwrap_or_default();
    for part in below.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        host.make_dir(&path, access(0o700, owner))?;
    }
    let file = format!("{folder}/{}", backup.file);
    host.write_by_way_of(&data, &file, bytes, access(0o600, owner))
}

/// The error if it is unknown whether this node has a wallet: a new one is not created on the off chance.
fn unknown(error: &Error) -> Error {
    Error::new(
        format!("the volume is new, and its wallet cannot be looked up: {error}"),
        format!(
            "{}; then run: bootstrap --phase container. To go on without a backup, take wallet_backup out of \
             {CONFIG} first",
            error.hint()
        ),
    )
    .transient_if(error.is_transient())
    .settling_if(error.is_settling())
}
