//! The stand-in for the edge image's program. It keeps what the product relies on: it needs
//! `EDGELAUNCHER_CONFIG_PATH` and `PASSWORD`, makes one wallet key on the first start, refuses a
//! wrong password or a second key, hangs on an empty password and answers the three RPC ports.
//!
//! As the real launcher, it starts `edgecore`, `edgeencoder` and `anycast` as processes of their own, which end with it;
//! each writes a log of its own into the data folder, and the launcher tells of one that has ended, but starts none again.
//!
//! The key file is no wallet: instead of an encrypted private key it holds a salted SHA-256 of the
//! password, which is all that is needed to tell a right one from a wrong one.
//!
//! For tests: `EDGE_STANDIN_BIND`, `EDGE_STANDIN_PORTS` (launcher,core,encoder),
//! `EDGE_STANDIN_WARMUP` (seconds), `EDGE_STANDIN_BROKEN` (the message of an image that ends at once), `EDGE_STANDIN_JOBS` (a
//! folder that it must be able to write to),
//! and a `standin.json` in the data folder, read once a second,
//! with the keys of [`Behaviour::change`] and `stop_seconds`, how long it takes to stop.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use tokio::signal::unix::{SignalKind, signal};

use crate::edge::{Behaviour, Node};

/// The program's name, under which it starts itself again for each process.
pub const NAME: &str = "edge-node";

/// The processes that the launcher starts.
const CHILDREN: [&str; 3] = ["edgecore", "edgeencoder", "anycast"];

/// The program: the launcher, or the process that the first argument names.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.as_slice() {
        [name, address] if CHILDREN.contains(&name.as_str()) => child(name, address),
        _ => launcher(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log("fatal", &reason);
            ExitCode::FAILURE
        }
    }
}

/// A line of the launcher's.
fn log(level: &str, message: &str) {
    let _ = io::stderr().write_all(line(level, message, "launcher").as_bytes());
}

/// A line as logrus writes it.
fn line(level: &str, message: &str, prefix: &str) -> String {
    let seconds = now();
    format!("time=\"{seconds}\" level={level} msg=\"{message}\" prefix={prefix}\n")
}

fn now() -> u64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
    seconds.unwrap_or_default().as_secs()
}

fn data() -> Result<PathBuf, String> {
    let data = std::env::var_os("EDGELAUNCHER_CONFIG_PATH").map(PathBuf::from);
    data.ok_or_else(|| "EDGELAUNCHER_CONFIG_PATH is not set".into())
}

/// One of the launcher's processes. It ends with the launcher, whose end of its standard input is closed then.
fn child(name: &str, address: &str) -> Result<(), String> {
    let fault = |error: io::Error| error.to_string();
    // What the kernel calls it: the file that it was started from is the launcher's.
    fs::write("/proc/self/comm", name).map_err(fault)?;
    let data = data()?;
    let mut log = fs::File::options()
        .append(true)
        .create(true)
        .open(data.join(format!("{name}.log")))
        .map_err(fault)?;
    let mut write = |level: &str, message: &str| {
        let _ = log.write_all(line(level, message, name).as_bytes());
    };
    let [_, core, encoder] = ports();
    let behaviour = behaviour(address.into());
    let serve = |process, port| Node::of(bind(), &[(process, port)], behaviour.clone());
    let node = match name {
        "edgecore" => Some(serve("core", core)),
        "edgeencoder" => Some(serve("encoder", encoder)),
        _ => None,
    };
    let node = node.transpose().map_err(|error| {
        write("fatal", &format!("Failed to listen: {error}"));
        error.to_string()
    })?;
    write("info", &format!("{name} started."));
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0)
    });
    for second in 0_u64.. {
        if name == "edgecore" && second.is_multiple_of(60) {
            let vote = format!("EENVote{{Height: 1, CreationTimestamp: {}}}", now());
            write("info", &format!("[uptime miner] Broadcasted vote: {vote}"));
        }
        if let Some(node) = &node {
            obey(node, &behaviour, &data);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn behaviour(address: String) -> Behaviour {
    Behaviour {
        address,
        warmup_seconds: setting("EDGE_STANDIN_WARMUP", 3),
        ..Behaviour::default()
    }
}

/// Behaves as `standin.json` says.
fn obey(node: &Node, usually: &Behaviour, data: &Path) {
    let mut now = usually.clone();
    now.change(&told(data));
    node.change(|behaviour| *behaviour = now);
}

/// What a test has told it.
fn told(data: &Path) -> Value {
    let file = fs::read(data.join("standin.json")).unwrap_or_default();
    serde_json::from_slice(&file).unwrap_or_default()
}

/// The launcher's processes.
struct Children(Vec<(&'static str, Child)>);

impl Children {
    fn start(address: &str) -> Result<Self, String> {
        let start = |name| {
            log("info", &format!("Starting the {name} process..."));
            let child = Command::new("/proc/self/exe")
                .arg0(NAME)
                .args([name, address])
                .env_remove("PASSWORD")
                .stdin(Stdio::piped())
                .spawn();
            let fault = |error| format!("Failed to execute command: {name}, err: {error}");
            Ok((name, child.map_err(fault)?))
        };
        let children = CHILDREN.into_iter().map(start);
        children.collect::<Result<_, _>>().map(Self)
    }

    /// Tells of each that has ended, once.
    fn look(&mut self) {
        self.0.retain_mut(|(name, child)| match child.try_wait() {
            Ok(Some(status)) => {
                log(
                    "error",
                    &format!("Failed to execute command: {name}, err: {status}"),
                );
                false
            }
            _ => true,
        });
    }

    fn stop(self) {
        for (name, mut child) in self.0 {
            log("info", &format!("Stopping the {name} process..."));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// SHA-256 in hex digits.
fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

fn launcher() -> Result<(), String> {
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
    let data = data()?;
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
        let behaviour = behaviour(address);
        let [launcher, ..] = ports();
        let node = Node::of(bind(), &[("launcher", launcher)], behaviour.clone())
            .map_err(|error| format!("Failed to listen: {error}"))?;
        let mut children = Children::start(&behaviour.address)?;
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = every_second.tick() => {
                    obey(&node, &behaviour, &data);
                    children.look();
                }
            }
        }
        children.stop();
        let told = told(&data);
        let seconds = told.get("stop_seconds").and_then(Value::as_u64);
        tokio::time::sleep(Duration::from_secs(seconds.unwrap_or_default())).await;
        log("info", "Graceful exit.");
        Ok(())
    })
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let value = std::env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn bind() -> IpAddr {
    setting("EDGE_STANDIN_BIND", IpAddr::V4(Ipv4Addr::UNSPECIFIED))
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
