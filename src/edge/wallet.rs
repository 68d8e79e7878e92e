//! Which wallet the node on this disk has (`wallet.json`, on the root disk). A node that finds no key creates a new
//! one, and code in the container could replace it: without this record, the old wallet would vanish unnoticed.
//!
//! The record is permanent: only a restore (`scripts/backup-key --restore`) changes the address.

use serde::{Deserialize, Serialize};

use super::keys::{KeyFolder, Keys};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::log::printable;
use crate::paths::WALLET;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wallet {
    /// `vol-…`, or the ID of the instance if it is its own disk.
    disk: String,
    /// `0x…`
    address: String,
    /// Whether a restore has put it in place of another (`scripts/key-on-node.py`).
    #[serde(default)]
    restored: bool,
    /// Whether it is recorded in EC2, too.
    #[serde(default)]
    told: bool,
}

/// Address of the wallet that the node on this disk was last seen with; a damaged file counts as none.
pub fn remembered(host: &Host, disk: &str) -> Option<String> {
    load(host, disk).map(|wallet| wallet.address)
}

fn load(host: &Host, disk: &str) -> Option<Wallet> {
    let bytes = host.read(WALLET).ok().flatten()?;
    let wallet: Wallet = serde_json::from_slice(&bytes).ok()?;
    (wallet.disk == disk).then_some(wallet)
}

fn store(host: &Host, wallet: &Wallet) -> Result<()> {
    let bytes = serde_json::to_vec(wallet).unwrap_or_default();
    host.write_if_changed(WALLET, &bytes, Access::mode(0o600))
        .map(drop)
}

/// Records it; fails if another one is recorded. `folder` is where its key was seen.
pub fn remember(host: &Host, disk: &str, address: &str, folder: &str) -> Result<()> {
    match remembered(host, disk) {
        Some(known) if known == address => Ok(()),
        Some(known) => Err(another(&known, address, folder)),
        None => {
            let wallet = Wallet {
                disk: disk.to_owned(),
                address: address.to_owned(),
                restored: false,
                told: false,
            };
            store(host, &wallet)
        }
    }
}

/// Records the wallet whose key was restored onto this disk; if another was recorded, somebody has named this one in
/// its place.
pub fn put_back(host: &Host, disk: &str, address: &str) -> Result<()> {
    match remembered(host, disk) {
        Some(known) if known == address => Ok(()),
        known => store(
            host,
            &Wallet {
                disk: disk.to_owned(),
                address: address.to_owned(),
                restored: known.is_some(),
                told: false,
            },
        ),
    }
}

/// What to do about a wallet that may not be recorded in EC2 yet; see [`tell`].
pub enum Telling {
    /// EC2 has it.
    Known,
    /// Record this address in EC2 from now on.
    Tell(String),
}

/// Compares the wallet recorded here with the one in EC2, `ec2`. Only a restore overrides EC2: otherwise, if EC2 has
/// another address, that is recorded here too from now on, and the error names both.
pub fn tell(host: &Host, disk: &str, ec2: Option<&str>) -> Result<Telling> {
    let Some(wallet) = load(host, disk) else {
        return Ok(Telling::Known);
    };
    match ec2 {
        Some(known) if known == wallet.address => told(host, disk).map(|()| Telling::Known),
        Some(known) if !wallet.restored => {
            let own = Wallet {
                address: known.to_owned(),
                told: true,
                ..wallet
            };
            store(host, &own)?;
            Err(Error::new(
                format!(
                    "EC2 says that the volume has the key of {known}, but the node has the wallet {}",
                    wallet.address
                ),
                RESTORE,
            ))
        }
        _ => Ok(Telling::Tell(wallet.address)),
    }
}

/// Whether it has yet to be compared with EC2's record.
pub fn is_untold(host: &Host, disk: &str) -> bool {
    load(host, disk).is_some_and(|wallet| !wallet.told)
}

/// Notes that EC2 has it.
pub fn told(host: &Host, disk: &str) -> Result<()> {
    match load(host, disk) {
        Some(wallet) if !wallet.told => store(
            host,
            &Wallet {
                restored: false,
                told: true,
                ..wallet
            },
        ),
        _ => Ok(()),
    }
}

/// The error if another wallet has replaced the recorded one, according to the key folder or to the node itself.
pub fn contradiction(remembered: &str, folder: &KeyFolder, by_rpc: Option<&str>) -> Option<Error> {
    let by_key = match &folder.keys {
        Keys::One(address) => Some(address.as_str()),
        _ => None,
    };
    if let Some(found) = by_key.filter(|found| *found != remembered) {
        return Some(another(remembered, found, &folder.path));
    }
    let found = by_rpc.filter(|found| *found != remembered)?;
    Some(Error::new(
        format!(
            "the node runs as {}, but its wallet is {remembered}",
            printable(found)
        ),
        RESTORE,
    ))
}

/// What to do about another wallet.
const RESTORE: &str = "if nobody has restored a key, something in the container has replaced it: put the right one back \
                       (scripts/backup-key --restore, which alone changes the wallet that is remembered)";

fn another(remembered: &str, found: &str, folder: &str) -> Error {
    Error::new(
        format!("{folder} holds the key of {found}, but the wallet of this node is {remembered}"),
        RESTORE,
    )
}

/// The error that the key of that wallet is no longer on the disk.
pub fn gone(address: &str, folder: &str) -> Error {
    Error::new(
        format!("the wallet key of {address} is gone: {folder} holds none"),
        format!(
            "put it back (scripts/backup-key --restore), then run: bootstrap --phase container; to go on with a new wallet \
             instead: delete the tag theta-edge:wallet of its volume, if it has one, rm {WALLET}, then bootstrap --phase \
             container"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[test]
    fn another_disk_s_wallet_is_not_asked_for() {
        let tree = Tree::new();
        assert_eq!(remembered(&tree.host, "vol-1"), None);
        remember(&tree.host, "vol-1", "0xab", "/keys").unwrap();
        remember(&tree.host, "vol-1", "0xab", "/keys").unwrap();
        assert_eq!(remembered(&tree.host, "vol-1").unwrap(), "0xab");
        assert_eq!(
            remember(&tree.host, "vol-1", "0xcd", "/keys")
                .unwrap_err()
                .reason(),
            "/keys holds the key of 0xcd, but the wallet of this node is 0xab"
        );
        assert_eq!(remembered(&tree.host, "vol-1").unwrap(), "0xab");
        assert_eq!(remembered(&tree.host, "vol-2"), None);
        // A restore has put another one in its place.
        tree.file(
            WALLET,
            r#"{"disk": "vol-1", "address": "0xcd", "restored": true}"#,
        );
        remember(&tree.host, "vol-1", "0xcd", "/keys").unwrap();
        remember(&tree.host, "vol-2", "0xcd", "/keys").unwrap();
        assert_eq!(remembered(&tree.host, "vol-2").unwrap(), "0xcd");
        tree.file(WALLET, "{");
        assert_eq!(remembered(&tree.host, "vol-1"), None);
    }

    #[test]
    fn ec2_s_memory_gives_way_to_a_restore_only() {
        let tree = Tree::new();
        let host = &tree.host;
        let ask = |ec2| tell(host, "vol-1", ec2);
        assert!(matches!(ask(Some("0xab")), Ok(Telling::Known)));
        remember(host, "vol-1", "0xab", "/keys").unwrap();
        assert!(is_untold(host, "vol-1"));
        assert!(matches!(ask(None), Ok(Telling::Tell(address)) if address == "0xab"));
        assert!(matches!(ask(Some("0xab")), Ok(Telling::Known)));
        assert!(!is_untold(host, "vol-1"));

        tree.file(
            WALLET,
            r#"{"disk": "vol-1", "address": "0xcd", "restored": true}"#,
        );
        assert!(matches!(ask(Some("0xab")), Ok(Telling::Tell(address)) if address == "0xcd"));
        told(host, "vol-1").unwrap();
        assert!(!is_untold(host, "vol-1"));

        tree.file(WALLET, r#"{"disk": "vol-1", "address": "0xef"}"#);
        assert_eq!(
            ask(Some("0xab")).err().unwrap().reason(),
            "EC2 says that the volume has the key of 0xab, but the node has the wallet 0xef"
        );
        assert_eq!(remembered(host, "vol-1").unwrap(), "0xab");
    }
}
