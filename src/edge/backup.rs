//! The copy of the wallet key outside the volume: how its S3 object is named, and what this machine knows about it.
//!
//! An object is `PREFIX/ADDRESS/FILE`: the node finds a key by its file name, which is case-sensitive.

use serde::{Deserialize, Serialize};

use super::keys::address;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::paths::WALLET_BACKUP;

/// A backup of a wallet key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// `0x` and 40 lower-case hex digits.
    pub address: String,
    /// Name of the key file on the volume.
    pub file: String,
}

impl Backup {
    /// The backup of the key file with this name, which must be an address.
    pub fn of(file: &str) -> Option<Self> {
        Some(Self {
            address: address(file)?,
            file: file.to_owned(),
        })
    }

    /// The backup that the object with this key is, if it is one.
    fn at(key: &str, prefix: &str) -> Option<Self> {
        let (_, file) = key.rsplit_once('/')?;
        Self::of(file).filter(|backup| backup.key(prefix) == key)
    }

    /// The folder of this address's backups; there is at most one.
    pub fn folder(&self, prefix: &str) -> String {
        format!("{prefix}/{}/", self.address)
    }

    /// The object's key.
    pub fn key(&self, prefix: &str) -> String {
        format!("{}{}", self.folder(prefix), self.file)
    }
}

/// Which of the backups with these keys to restore onto a new volume: the one of the address that is `named` in the
/// config or `remembered`; with neither, the only one. `None` if there are no backups at all.
pub fn choose(
    keys: &[String],
    prefix: &str,
    named: Option<&str>,
    remembered: Option<&str>,
) -> Result<Option<Backup>> {
    let found = keys.iter().filter_map(|key| Backup::at(key, prefix));
    let found: Vec<Backup> = found.collect();
    let listed = || {
        let mut listed: Vec<&str> = found.iter().map(|backup| backup.address.as_str()).collect();
        let more = listed.len() > LISTED;
        listed.truncate(LISTED);
        let more = if more { ", …" } else { "" };
        format!("{}{more}", listed.join(", "))
    };
    let wanted = named.or(remembered);
    let of_wanted = |backup: &&Backup| wanted.is_none_or(|wanted| backup.address == wanted);
    let fitting: Vec<&Backup> = found.iter().filter(of_wanted).collect();
    match (fitting.as_slice(), wanted) {
        ([one], _) => Ok(Some((*one).clone())),
        ([], None) => Ok(None),
        // Nothing to compare with; phase `container` reports that the key is gone.
        ([], Some(_)) if found.is_empty() && named.is_none() => Ok(None),
        ([], Some(wanted)) => Err(Error::new(
            format!(
                "the wallet of this node is {wanted}, but its backups are of {}",
                if found.is_empty() {
                    "none".into()
                } else {
                    listed()
                }
            ),
            NAME_ONE,
        )),
        ([..], _) => Err(Error::new(
            format!(
                "the volume is new, and there are backups of several wallet keys: {}",
                listed()
            ),
            NAME_ONE,
        )),
    }
}

/// How many addresses an error lists.
const LISTED: usize = 8;

const NAME_ONE: &str = "name the right one's address in wallet_backup.address of /etc/bootstrap/config.json, then run: sudo \
                        bootstrap; another node must not run with it";

/// What is remembered: the last backup that was read back, and why there is no later one.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// `s3://BUCKET/KEY`
    object: Option<String>,
    /// SHA-256 of its content.
    sha256: Option<String>,
    trouble: Option<Trouble>,
}

/// Why the last attempt to back up the key failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What went wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// Whether a key with this SHA-256 was read back from `object`; a damaged record counts as none.
pub fn is_made(host: &Host, object: &str, sha256: &str) -> bool {
    let Record {
        object: made,
        sha256: of,
        trouble,
    } = load(host);
    trouble.is_none() && made.as_deref() == Some(object) && of.as_deref() == Some(sha256)
}

/// Where the key of this address was last read back from, as `s3://BUCKET/KEY`.
pub fn copy_of(host: &Host, address: &str) -> Option<String> {
    let folder = format!("/{address}/");
    load(host).object.filter(|object| object.contains(&folder))
}

/// What went wrong last, if no backup has been made since.
pub fn trouble(host: &Host) -> Option<Trouble> {
    load(host).trouble
}

/// Records that the backup was read back and matches the key on the volume.
pub fn made(host: &Host, object: &str, sha256: &str) -> Result<()> {
    let record = Record {
        object: Some(object.to_owned()),
        sha256: Some(sha256.to_owned()),
        trouble: None,
    };
    store(host, &record)
}

/// Records that the backup could not be made.
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
    let bytes = host.read(WALLET_BACKUP).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn store(host: &Host, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    host.write_if_changed(WALLET_BACKUP, &bytes, Access::mode(0o600))
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
    fn the_only_one_is_put_back_and_of_several_the_one_that_is_meant() {
        let one = "0x2e833968e5bb786ae419c4d13189fb081cc43bab";
        let two = "0x6666666666666666666666666666666666666666";
        let key = |address: &str| format!("w/n/{address}/{}", &address[2..]);
        let (both, only) = (vec![key(one), key(two)], vec![key(one)]);
        let strange = ["w/n/x", "w/n/0x/ab", "w/n-2/a"].map(String::from);
        let none = strange.to_vec();
        let chosen = |keys: &[String], named, remembered| {
            choose(keys, "w/n", named, remembered).map(|found| found.map(|backup| backup.address))
        };
        let refused = |keys: &[String], named, remembered| {
            let error = chosen(keys, named, remembered).unwrap_err();
            assert_eq!(error.hint(), NAME_ONE);
            error.reason().to_owned()
        };
        assert_eq!(chosen(&none, None, None).unwrap(), None);
        assert_eq!(chosen(&none, None, Some(one)).unwrap(), None);
        assert_eq!(chosen(&only, None, None).unwrap().unwrap(), one);
        assert_eq!(chosen(&both, None, Some(two)).unwrap().unwrap(), two);
        assert_eq!(chosen(&both, Some(two), Some(one)).unwrap().unwrap(), two);
        assert_eq!(
            refused(&both, None, None),
            format!(
                "the volume is new, and there are backups of several wallet keys: {one}, {two}"
            )
        );
        assert_eq!(
            refused(&only, None, Some(two)),
            format!("the wallet of this node is {two}, but its backups are of {one}")
        );
        assert_eq!(
            refused(&none, Some(two), None),
            format!("the wallet of this node is {two}, but its backups are of none")
        );
        // The same wallet under two names: which one the node finds is unknown.
        let twice = [key(one), key(one).replace("/2e83", "/2E83")];
        assert!(refused(&twice, Some(one), None).contains(one));
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

        made(host, "s3://b/p/0xab/AB", "aa").unwrap();
        assert_eq!(copy_of(host, "0xab").unwrap(), "s3://b/p/0xab/AB");
        assert_eq!(copy_of(host, "0xac"), None);

        tree.file(WALLET_BACKUP, "{");
        assert!(!is_made(host, "s3://b/k", "aa"));
    }
}
