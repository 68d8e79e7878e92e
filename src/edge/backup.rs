//! The copy of the wallet key outside the volume: how its object is named, and what this machine knows of it.
//!
//! An object is `PREFIX/ADDRESS/FILE`: the node finds a key by its file's name, in which the case of letters counts.

use serde::{Deserialize, Serialize};

use super::keys::address;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;

/// What this machine knows of the backup.
const FILE: &str = "/var/lib/bootstrap/wallet-backup.json";

/// A wallet key that is a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// `0x` and 40 lower-case hex digits.
    pub address: String,
    /// Name of the key file on the volume.
    pub file: String,
}

impl Backup {
    /// That of the key file of this name, which has to be an address.
    pub fn of(file: &str) -> Option<Self> {
        Some(Self {
            address: address(file)?,
            file: file.to_owned(),
        })
    }

    /// Where all of this address lie; there is one at most.
    pub fn folder(&self, prefix: &str) -> String {
        format!("{prefix}/{}/", self.address)
    }

    /// The object's key.
    pub fn key(&self, prefix: &str) -> String {
        format!("{}{}", self.folder(prefix), self.file)
    }
}

/// What is remembered: the last backup that was read back, and why there is no later one.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// `s3://BUCKET/KEY`
    object: Option<String>,
    /// Of its bytes.
    sha256: Option<String>,
    trouble: Option<Trouble>,
}

/// Why the key was not backed up when that was tried last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What went wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// Whether a key of this SHA-256 was read back from `object`; a damaged record is as none.
pub fn is_made(host: &Host, object: &str, sha256: &str) -> bool {
    let Record {
        object: made,
        sha256: of,
        trouble,
    } = load(host);
    trouble.is_none() && made.as_deref() == Some(object) && of.as_deref() == Some(sha256)
}

/// What went wrong last, where no backup was made since.
pub fn trouble(host: &Host) -> Option<Trouble> {
    load(host).trouble
}

/// It was read back, and is what is on the volume.
pub fn made(host: &Host, object: &str, sha256: &str) -> Result<()> {
    let record = Record {
        object: Some(object.to_owned()),
        sha256: Some(sha256.to_owned()),
        trouble: None,
    };
    store(host, &record)
}

/// It could not be made.
pub fn failed(host: &Host, error: &Error) -> Result<()> {
    let record = Record {
        trouble: Some(Trouble {
            reason: error.to_string(),
            hint: error.hint().to_owned(),
        }),
        ..load(host)
    };
    store(host, &record)
}

fn load(host: &Host) -> Record {
    let bytes = host.read(FILE).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn store(host: &Host, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    host.write_if_changed(FILE, &bytes, Access::mode(0o600))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    #[test]
    fn the_key_has_the_address_and_the_file_s_own_name() {
        let file = "2E833968E5bB786Ae419c4d13189fB081Cc43bab";
        let backup = Backup::of(file).unwrap();
        let address = "0x2e833968e5bb786ae419c4d13189fb081cc43bab";
        assert_eq!(backup.address, address);
        assert_eq!(backup.key("w/n"), format!("w/n/{address}/{file}"));
        for name in ["", "..", "key.json", "2e83/..", &file[1..]] {
            assert_eq!(Backup::of(name), None, "{name}");
        }
    }

    #[test]
    fn only_what_was_read_back_is_made() {
        let tree = Tree::new();
        let host = &tree.host;
        assert!(!is_made(host, "s3://b/k", "aa"));
        made(host, "s3://b/k", "aa").unwrap();
        assert!(is_made(host, "s3://b/k", "aa"));
        assert!(!is_made(host, "s3://b/k", "bb"));
        assert!(!is_made(host, "s3://c/k", "aa"));

        failed(host, &Error::new("no", "do")).unwrap();
        let said = trouble(host).unwrap();
        assert_eq!((said.reason.as_str(), said.hint.as_str()), ("no", "do"));
        assert!(!is_made(host, "s3://b/k", "aa"));
        made(host, "s3://b/k", "aa").unwrap();
        assert_eq!(trouble(host), None);

        tree.file(FILE, "{");
        assert!(!is_made(host, "s3://b/k", "aa"));
    }
}
