//! Which wallet the node on this disk has (`wallet.json`, on the root disk). An instance store is empty after every
//! stop, and a node that finds no key makes a new one: without a memory the old wallet would be gone without a word.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;

/// Where it is remembered.
pub const FILE: &str = "/var/lib/bootstrap/wallet.json";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wallet {
    /// `vol-…`, or the id of the instance whose own disk it is.
    disk: String,
    /// `0x…`
    address: String,
}

/// Address of the wallet that the node on this disk had when it was last looked at; a damaged file is as none.
pub fn remembered(host: &Host, disk: &str) -> Option<String> {
    let bytes = host.read(FILE).ok().flatten()?;
    let wallet: Wallet = serde_json::from_slice(&bytes).ok()?;
    (wallet.disk == disk).then_some(wallet.address)
}

/// Remembers it.
pub fn remember(host: &Host, disk: &str, address: &str) -> Result<()> {
    let wallet = Wallet {
        disk: disk.to_owned(),
        address: address.to_owned(),
    };
    let bytes = serde_json::to_vec(&wallet).unwrap_or_default();
    host.write_if_changed(FILE, &bytes, Access::mode(0o600))
        .map(drop)
}

/// The key of that wallet is not on the disk any more.
pub fn gone(address: &str, folder: &str) -> Error {
    Error::new(
        format!("the wallet key of {address} is gone: {folder} holds none"),
        format!(
            "put it back (scripts/backup-key --restore), then run: bootstrap --phase container; to go on with a new wallet \
             instead: rm {FILE}, then bootstrap --phase container"
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
        remember(&tree.host, "vol-1", "0xab").unwrap();
        assert_eq!(remembered(&tree.host, "vol-1").unwrap(), "0xab");
        assert_eq!(remembered(&tree.host, "vol-2"), None);
        tree.file(FILE, "{");
        assert_eq!(remembered(&tree.host, "vol-1"), None);
    }
}
