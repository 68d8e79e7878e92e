//! The key file on the volume, and whether a password opens it: verified by its MAC, without decrypting the key.
//!
//! The ledger uses Ethereum's "Web3 Secret Storage", version 3 (theta-protocol-ledger
//! `wallet/softwallet/keystore/ks_encrypted.go`): a key is derived from the password by scrypt or PBKDF2, and
//! `keccak256(derived[16..32] ‖ ciphertext)` must equal the file's `mac`. The first half of the derived key, which
//! would decrypt, is not used.

use serde::Deserialize;
use sha3::{Digest as _, Keccak256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::log::printable;
use crate::wallet_password::WalletPassword;

/// No key file is larger; the ledger's are about 500 bytes.
pub const LARGEST_FILE: usize = 64 << 10;
/// Most memory that a key file may demand (bytes): twice what the standard parameters of geth and the ledger take.
const MOST_MEMORY: u64 = 512 << 20;
/// Most work that a key file may demand, as N·r·p: four times the standard parameters, a few seconds.
const MOST_WORK: u64 = 8 << 20;
/// Most PBKDF2 iterations that a key file may demand: 40 times what Ethereum's clients write, a few seconds.
const MOST_ROUNDS: u32 = 10_000_000;

const HINT: &str = "put the key back from a copy (scripts/backup-key --restore), then run: bootstrap --phase secret --phase container";

/// What the verification needs of a key file.
#[derive(Debug)]
pub struct Keystore {
    kdf: Kdf,
    ciphertext: Vec<u8>,
    mac: Vec<u8>,
}

#[derive(Debug)]
enum Kdf {
    Scrypt(scrypt::Params, Vec<u8>),
    Pbkdf2(u32, Vec<u8>),
}

/// The result of reading a key file.
#[derive(Debug)]
pub enum Read {
    /// Its password can be verified.
    Known(Keystore),
    /// A kind of file that cannot be verified; the text says what it is.
    Unknown(String),
}

#[derive(Deserialize)]
struct File {
    #[serde(alias = "Crypto")]
    crypto: Option<Crypto>,
    version: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Crypto {
    ciphertext: String,
    kdf: String,
    kdfparams: serde_json::Value,
    mac: String,
}

#[derive(Deserialize)]
struct ScryptParams {
    n: u64,
    r: u32,
    p: u32,
    salt: String,
}

#[derive(Deserialize)]
struct Pbkdf2Params {
    c: u32,
    prf: String,
    salt: String,
}

impl Keystore {
    /// Reads the key file at `path` (for errors). A damaged file, or one that demands more memory or work than any
    /// wallet writes, is an error; an unknown version or key derivation function is not, since the node may know it.
    pub fn read(bytes: &[u8], path: &str) -> Result<Read> {
        let damaged = |what: &str| {
            Error::new(
                format!("the key file {path} is damaged: {what}"),
                format!("keep it, and {HINT}"),
            )
        };
        if bytes.len() > LARGEST_FILE {
            return Err(damaged(&format!("it has {} bytes", bytes.len())));
        }
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| damaged(&printable(&error.to_string())))?;
        if file.version != Some(3.into()) {
            let version = file.version.unwrap_or_default().to_string();
            return Ok(Read::Unknown(format!(
                "its version is {}",
                printable(&version)
            )));
        }
        let Some(crypto) = file.crypto else {
            return Ok(Read::Unknown("it has no `crypto`".into()));
        };
        let hex = |name: &str, text: &str| {
            unhex(text).ok_or_else(|| damaged(&format!("`{name}` is not hex")))
        };
        let params = |what: serde_json::Error| damaged(&printable(&format!("`kdfparams`: {what}")));
        let kdf = match crypto.kdf.as_str() {
            "scrypt" => {
                let wanted = ScryptParams::deserialize(crypto.kdfparams).map_err(params)?;
                let params = bounded(&wanted, path)?;
                Kdf::Scrypt(params, hex("salt", &wanted.salt)?)
            }
            "pbkdf2" => {
                let wanted = Pbkdf2Params::deserialize(crypto.kdfparams).map_err(params)?;
                if wanted.prf != "hmac-sha256" {
                    return Ok(Read::Unknown(format!(
                        "its prf is {}",
                        printable(&wanted.prf)
                    )));
                }
                if wanted.c > MOST_ROUNDS {
                    return Err(excessive(path, &format!("{} rounds of PBKDF2", wanted.c)));
                }
                Kdf::Pbkdf2(wanted.c, hex("salt", &wanted.salt)?)
            }
            other => return Ok(Read::Unknown(format!("its kdf is {}", printable(other)))),
        };
        let mac = hex("mac", &crypto.mac)?;
        if mac.len() != 32 {
            return Err(damaged("`mac` has not 32 bytes"));
        }
        Ok(Read::Known(Self {
            kdf,
            ciphertext: hex("ciphertext", &crypto.ciphertext)?,
            mac,
        }))
    }

    /// Whether `password` opens it. With the standard parameters this takes about a second, and 256 MiB that are wiped.
    pub fn opens(&self, password: &WalletPassword) -> bool {
        let mut derived = Zeroizing::new([0; 32]);
        let password = password.expose();
        match &self.kdf {
            Kdf::Scrypt(params, salt) => {
                // Fails only for an invalid output length.
                let _ = scrypt::scrypt(password, salt, params, derived.as_mut());
            }
            Kdf::Pbkdf2(rounds, salt) => {
                pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, salt, *rounds, derived.as_mut());
            }
        }
        let (_, second) = derived.split_at(16);
        let mac = Keccak256::new()
            .chain_update(second)
            .chain_update(&self.ciphertext)
            .finalize();
        mac.as_slice() == self.mac
    }
}

/// The parameters, unless they demand more than any wallet's.
fn bounded(wanted: &ScryptParams, path: &str) -> Result<scrypt::Params> {
    let ScryptParams { n, r, p, .. } = *wanted;
    let block = u64::from(r).saturating_mul(128);
    let memory = n
        .saturating_mul(block)
        .saturating_add(block.saturating_mul(p.into()));
    let work = n.saturating_mul(r.into()).saturating_mul(p.into());
    let asked = format!("scrypt with n={n}, r={r}, p={p}");
    if memory > MOST_MEMORY || work > MOST_WORK {
        return Err(excessive(path, &asked));
    }
    let log_n = u8::try_from(n.trailing_zeros())
        .ok()
        .filter(|_| n.is_power_of_two());
    let params = log_n.and_then(|log_n| scrypt::Params::new(log_n, r, p).ok());
    params.ok_or_else(|| excessive(path, &asked))
}

fn excessive(path: &str, asked: &str) -> Error {
    Error::new(
        format!("the key file {path} asks for {asked}, which no wallet writes; it is not tried"),
        format!("keep it, see who changed it, and {HINT}"),
    )
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs
        .iter()
        .map(byte)
        .collect::<Option<_>>()
        .filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethereum's published vectors (Web3 Secret Storage Definition); both open with "testpassword".
    const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
        "kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

    fn known(text: &str) -> Keystore {
        match Keystore::read(text.as_bytes(), "/key").unwrap() {
            Read::Known(keystore) => keystore,
            Read::Unknown(what) => panic!("{what}"),
        }
    }

    fn opens(text: &str, password: &str) -> bool {
        known(text).opens(&WalletPassword::new(password.into()))
    }

    fn refused(text: &str) -> String {
        let error = Keystore::read(text.as_bytes(), "/key").unwrap_err();
        assert!(error.hint().starts_with("keep it, "), "{}", error.hint());
        error.reason().to_owned()
    }

    #[test]
    fn the_published_vectors_open_with_their_password_only() {
        assert!(opens(SCRYPT, "testpassword"));
        assert!(!opens(SCRYPT, "testpassworD"));
        assert!(opens(PBKDF2, "testpassword"));
        assert!(!opens(
            &PBKDF2.replace("5318b4d5", "5318b4d4"),
            "testpassword"
        ));
        assert!(!opens(
            &PBKDF2.replace("517ead92", "517ead93"),
            "testpassword"
        ));
    }

    /// A key with n=262144, r=8, p=1, made by another implementation (PyCryptodome); the benchmark measures it.
    #[test]
    fn a_key_with_the_ledger_s_parameters_opens_with_its_password_only() {
        let key = include_str!("../../tests/bench/wallet-key.json");
        assert!(opens(key, "a password of the benchmark"));
        assert!(!opens(key, "a password of the benchmarK"));
    }

    #[test]
    fn a_hostile_file_costs_nothing() {
        for (from, to, reason) in [
            (
                "\"n\":262144",
                "\"n\":1073741824",
                "scrypt with n=1073741824, r=1, p=8",
            ),
            (
                "\"n\":262144",
                "\"n\":262143",
                "scrypt with n=262143, r=1, p=8",
            ),
            ("\"n\":262144", "\"n\":0", "scrypt with n=0, r=1, p=8"),
            (
                "\"r\":1",
                "\"r\":4294967295",
                "scrypt with n=262144, r=4294967295, p=8",
            ),
            ("\"p\":8", "\"p\":1000", "scrypt with n=262144, r=1, p=1000"),
        ] {
            assert_eq!(
                refused(&SCRYPT.replace(from, to)),
                format!(
                    "the key file /key asks for {reason}, which no wallet writes; it is not tried"
                )
            );
        }
        assert_eq!(
            refused(&PBKDF2.replace("\"c\":262144", "\"c\":4000000000")),
            "the key file /key asks for 4000000000 rounds of PBKDF2, which no wallet writes; it is not tried"
        );
    }

    #[test]
    fn a_damaged_file_says_what_is_wrong() {
        let (cut, _) = SCRYPT.split_at(100);
        for (text, what) in [
            (cut, "EOF while parsing a value at line 2 column 8"),
            ("", "EOF while parsing a value at line 1 column 0"),
            (&SCRYPT.replace("2103ac", "21x3ac"), "`mac` is not hex"),
            (&SCRYPT.replace("2103ac", "03ac"), "`mac` has not 32 bytes"),
            (
                &SCRYPT.replace("\"salt\"", "\"pepper\""),
                "`kdfparams`: missing field `salt`",
            ),
            (&" ".repeat(LARGEST_FILE + 1), "it has 65537 bytes"),
        ] {
            assert_eq!(
                refused(text),
                format!("the key file /key is damaged: {what}")
            );
        }
    }

    #[test]
    fn what_nobody_here_knows_is_left_to_the_node() {
        for (text, what) in [
            (r#"{"version":1}"#, "its version is 1"),
            (r#"{"version":3}"#, "it has no `crypto`"),
            (
                &SCRYPT.replace("\"kdf\":\"scrypt\"", "\"kdf\":\"argon2\""),
                "its kdf is argon2",
            ),
            (
                &PBKDF2.replace("hmac-sha256", "hmac-sha512"),
                "its prf is hmac-sha512",
            ),
        ] {
            match Keystore::read(text.as_bytes(), "/key").unwrap() {
                Read::Unknown(said) => assert_eq!(said, what),
                Read::Known(_) => panic!("{text}"),
            }
        }
    }
}
