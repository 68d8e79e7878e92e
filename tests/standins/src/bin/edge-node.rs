//! The stand-in for the edge image's program. It keeps what the product relies on: it needs
//! `EDGELAUNCHER_CONFIG_PATH` and `PASSWORD`, makes one wallet key on the first start, refuses a
//! wrong password or a second key, hangs on an empty password and answers the three RPC ports.
//!
//! The key file is no wallet: instead of an encrypted private key it holds a salted SHA-256 of the
//! password, which is all that is needed to tell a right one from a wrong one.
//!
//! For tests: `EDGE_STANDIN_BIND`, `EDGE_STANDIN_PORTS` (launcher,core,encoder),
//! `EDGE_STANDIN_WARMUP` (seconds), `EDGE_STANDIN_BROKEN` (the message of an image that ends at once), `EDGE_STANDIN_JOBS` (a
//! folder that it must be able to write to),
//! and a `standin.json` in the data folder, read once a second,
//! with the keys of `standins::edge::Behaviour::change`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use standins::edge::{Behaviour, Node};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log("fatal", &reason);
            ExitCode::FAILURE
        }
    }
}

/// A line as logrus writes it.
fn log(level: &str, message: &str) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = seconds.unwrap_or_default().as_secs();
    let line = format!("time=\"{seconds}\" level={level} msg=\"{message}\" prefix=launcher\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// SHA-256 in hex digits.
fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

fn run() -> Result<(), String> {
    if let Ok(reason) = std::env::var("EDGE_STANDIN_BROKEN") {
        return Err(reason);
    }
    if let Some(jobs) = std::env::var_os("EDGE_STANDIN_JOBS") {
        let job = PathBuf::from(jobs).join("job");
        fs::write(&job, "").map_err(|error| {
            let job = job.display();
            format!("Failed to execute command: {job}, err: {error}")
        })?;
    }
    let data = std::env::var_os("EDGELAUNCHER_CONFIG_PATH")
        .map(PathBuf::from)
        .ok_or("EDGELAUNCHER_CONFIG_PATH is not set")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        // Before anything slow: without a handler, SIGTERM does nothing to a container's PID 1.
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        log("info", "Setup wallet...");
        let password = std::env::var("PASSWORD").unwrap_or_default();
        if password.is_empty() {
            // The real one prompts on its terminal, where nobody answers.
            let _ = io::stdout().write_all(b"Please enter the password to launch the Theta node: ");
            let _ = io::stdout().flush();
            terminate.recv().await;
            return Err("Failed to setup wallet: interrupted".into());
        }
        let address = wallet(&data, &password)?;
        log("info", &format!("Wallet address: 0x{address}"));
        let behaviour = Behaviour {
            address,
            warmup_seconds: setting("EDGE_STANDIN_WARMUP", 3),
            ..Behaviour::default()
        };
        let node = Node::start(
            setting("EDGE_STANDIN_BIND", IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            ports(),
            behaviour.clone(),
        )
        .map_err(|error| format!("Failed to listen: {error}"))?;
        log("info", "Starting the edgecore process...");
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = every_second.tick() => {
                    let mut now = behaviour.clone();
                    let file = fs::read(data.join("standin.json")).unwrap_or_default();
                    now.change(&serde_json::from_slice(&file).unwrap_or_default());
                    node.change(|behaviour| *behaviour = now);
                }
            }
        }
        log("info", "Stopping the edgecore process...");
        log("info", "Graceful exit.");
        Ok(())
    })
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let value = std::env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Launcher, core, encoder.
fn ports() -> [u16; 3] {
    let text = std::env::var("EDGE_STANDIN_PORTS").unwrap_or_default();
    let ports: Vec<u16> = text.split(',').flat_map(str::parse).collect();
    ports.try_into().unwrap_or([15888, 17888, 17935])
}

/// The address of the wallet in the data folder, which is made where there is none.
fn wallet(data: &Path, password: &str) -> Result<String, String> {
    let fault = |error: io::Error| format!("Failed to setup wallet: {error}");
    let folder = data.join("edgecore/key/encrypted");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(fault)?;
    let mode = fs::metadata(&folder).map_err(fault)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err("Failed to setup wallet: key folder permissions must be 0700".into());
    }
    let keys: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(fault)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(fault)?;
    match keys.as_slice() {
        [] => create(&folder, password).map_err(fault),
        [key] => unlock(key, password),
        _ => Err("Multiple encrypted keys detected".into()),
    }
}

/// The MAC of Ethereum's version 3 keystore: it tells whether the password is right. N is small: every start pays for it.
fn mac(password: &str, salt: &[u8], ciphertext: &[u8]) -> String {
    let mut derived = [0; 32];
    let params = scrypt::Params::new(12, 8, 1).unwrap_or_default();
    let _ = scrypt::scrypt(password.as_bytes(), salt, &params, &mut derived);
    let (_, second) = derived.split_at(16);
    let mac = Keccak256::new().chain_update(second);
    hex(&mac.chain_update(ciphertext).finalize())
}

fn create(folder: &Path, password: &str) -> io::Result<String> {
    let mut random = [0; 64];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let address: String = digest(random).chars().take(40).collect();
    // What would be the encrypted private key, which nobody here needs.
    let (ciphertext, salt) = random.split_at(32);
    let key = json!({
        "address": address,
        "version": 3,
        "crypto": {
            "cipher": "aes-128-ctr", "ciphertext": hex(ciphertext),
            "kdf": "scrypt", "kdfparams": {"dklen": 32, "n": 4096, "r": 8, "p": 1, "salt": hex(salt)},
            "mac": mac(password, salt, ciphertext),
        },
    });
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(&address))?;
    file.write_all(key.to_string().as_bytes())?;
    file.sync_all()?;
    Ok(address)
}

fn unlock(key: &Path, password: &str) -> Result<String, String> {
    let wrong = "could not decrypt key with given password";
    let bytes = fs::read(key).map_err(|error| format!("Failed to setup wallet: {error}"))?;
    let key: Value = serde_json::from_slice(&bytes).map_err(|_| wrong)?;
    let address = key.get("address").and_then(Value::as_str).ok_or(wrong)?;
    let text = |place: &str| key.pointer(place).and_then(Value::as_str).ok_or(wrong);
    let bytes = |place: &str| text(place).map(unhex);
    let (salt, ciphertext) = (
        bytes("/crypto/kdfparams/salt")?,
        bytes("/crypto/ciphertext")?,
    );
    if text("/crypto/mac")? == mac(password, &salt, &ciphertext) {
        Ok(address.to_owned())
    } else {
        Err(wrong.into())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.filter_map(byte).collect()
}
