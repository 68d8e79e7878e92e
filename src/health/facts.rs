//! Everything that the health check judges, gathered once and concurrently. Failures are values here.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::probes::{Live, live};
use super::progress::Progress;
use crate::config::{Config, Schedule};
use crate::edge::backup::{self, Trouble};
use crate::edge::earnings::{self, Earnings};
use crate::edge::keys::{self, KeyFolder};
use crate::edge::processes::{self, ANYCAST, Process};
use crate::edge::rpc::{Client, Fault};
use crate::edge::run_as::{self, RunAs};
use crate::edge::spec::Spec;
use crate::edge::{trouble, wallet};
use crate::engine::{Engine, State};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::docker::CONTAINERD;
use crate::host::room::Space;
use crate::node::Node;
use crate::paths::{CRON_TABLE, TICK_TIMER};
use crate::wallet_password::WalletPassword;

/// How long to wait for AWS, whose answers are not vital.
const AWS_PATIENCE: Duration = Duration::from_secs(10);

/// Blocks come about every 6 seconds: how many times, and at what interval, to look for the next one.
const HEIGHT_LOOKS: u32 = 16;
const HEIGHT_PAUSE: Duration = Duration::from_millis(750);

/// What is known about the node.
#[derive(Debug)]
pub(super) struct Facts {
    /// When all this was seen.
    pub now: Timestamp,
    /// Seconds since boot.
    pub uptime: i64,
    /// Name of the operating system.
    pub os: Result<String>,
    /// The results of the phases' own checks.
    pub phases: Vec<(&'static str, Result<State>)>,
    /// Whether the EBS volume is encrypted, according to AWS; `None` for an instance store.
    pub encrypted: Option<Result<bool>>,
    /// Whether Secrets Manager holds another password than the one in memory; `None` if there is none in memory, or AWS
    /// does not answer.
    pub secret_changed: Option<Result<bool>>,
    /// Space on the root disk, and on each other disk that holds images or logs.
    pub spaces: Vec<(String, Result<Space>)>,
    /// Space on the filesystem where the volume is mounted.
    pub data_space: (String, Result<Space>),
    /// The key folder.
    pub keys: Result<KeyFolder>,
    /// Address of the wallet recorded for the node on this disk.
    pub wallet: Option<String>,
    /// Why the last attempt to back up the wallet key failed.
    pub backup_trouble: Option<Trouble>,
    /// Where the copy of the recorded wallet's key is.
    pub backup: Option<String>,
    /// Where the node's RPC is to be published.
    pub rpc_bind: IpAddr,
    /// The container spec.
    pub spec: Result<Spec>,
    /// The edge node.
    pub edge: Edge,
    /// Since when (Unix seconds) the tick has been scheduled; `None` if it is not.
    pub scheduled_since: Option<i64>,
    /// The state that the last tick left.
    pub progress: Progress,
}

impl Facts {
    /// The node's address, from its RPC or its key.
    pub(super) fn address(&self) -> Option<String> {
        let by_rpc = self.edge.live.status.as_ref().ok();
        by_rpc
            .and_then(|status| status.address.clone())
            .or_else(|| match &self.keys {
                Ok(folder) => match &folder.keys {
                    keys::Keys::One(address) => Some(address.clone()),
                    _ => None,
                },
                Err(_) => None,
            })
    }
}

/// Gathers everything.
pub(super) async fn gather(node: &Node, phases: &Engine) -> Facts {
    let Node { host, config, .. } = node;
    let progress = Progress::load(host);
    let spec = Spec::require(host, config);
    let (phases, disk, encrypted, secret_changed, edge) = tokio::join!(
        phases.check(),
        tokio::time::timeout(AWS_PATIENCE, node.disk()),
        encrypted(node),
        secret_changed(node),
        edge(host, config, &spec, &progress),
    );
    let wallet = disk.ok().and_then(Result::ok);
    let wallet = wallet.and_then(|disk| wallet::remembered(host, &disk));
    Facts {
        now: Timestamp::now(),
        uptime: uptime(host),
        os: host.os().map(|os| os.name.to_owned()),
        phases,
        encrypted,
        secret_changed,
        spaces: spaces(host),
        data_space: space(host, &config.volume.mount),
        keys: spec.as_ref().map_err(Clone::clone).and_then(|spec| {
            let owner =
                (run_as::last(host, config) == Some(RunAs::User)).then_some(config.user.uid);
            keys::look(host, &spec.key_folder(config), owner)
        }),
        rpc_bind: config.edge.rpc_bind,
        spec,
        backup: wallet
            .as_deref()
            .and_then(|wallet| backup::copy_of(host, wallet)),
        wallet,
        backup_trouble: backup::trouble(host),
        edge,
        scheduled_since: scheduled_since(host, config),
        progress,
    }
}

/// The part of the facts that needs the container spec.
#[derive(Debug)]
pub(super) struct Edge {
    /// Container, RPC, peers, GPU.
    pub live: Live,
    /// A later height than the one in `live`, if one came in the meantime.
    pub next_height: Option<u64>,
    /// The node's version.
    pub version: Option<String>,
    /// What the owner needs for staking.
    pub summary: Option<String>,
    /// The known fatal line in the container's log: what it means, what to do.
    pub trouble: Option<(String, String)>,
    /// The end of the container's log, if the node is not well.
    pub log_end: Option<String>,
    /// Whether the process that answers no RPC runs; `None` if that is not known.
    pub anycast_runs: Option<bool>,
    /// The last log lines of the processes that do not answer, or have ended, by process.
    pub last_words: BTreeMap<&'static str, String>,
    /// What the node earns.
    pub earnings: Earnings,
    /// Whether `docker inspect` shows the password; `None` if there is none to look for.
    pub exposed: Option<bool>,
}

async fn edge(host: &Host, config: &Config, spec: &Result<Spec>, progress: &Progress) -> Edge {
    let spec = match spec {
        Ok(spec) => spec,
        Err(why) => {
            return Edge {
                live: Live {
                    container: Err(why.clone()),
                    status: Err(Fault::Broken(why.to_string())),
                    peers: Err(Fault::Broken(why.to_string())),
                    answers: Vec::new(),
                    processes: None,
                    gpus: config.gpu.then(|| Err(why.to_string())),
                },
                next_height: None,
                version: None,
                summary: None,
                trouble: None,
                log_end: None,
                anycast_runs: None,
                last_words: BTreeMap::new(),
                earnings: Earnings::default(),
                exposed: None,
            };
        }
    };
    let live = live(host, config, spec).await;
    let rpc = Client::at(config.edge.rpc_bind, spec.rpc.core);
    let answers = live.status.is_ok();
    let (next_height, version, summary, log) = tokio::join!(
        next_height(&rpc, &live, progress),
        async {
            if answers {
                rpc.version().await.ok().flatten()
            } else {
                None
            }
        },
        async {
            if answers {
                rpc.summary().await.ok().flatten()
            } else {
                None
            }
        },
        log(host, &spec.name, &live),
    );
    let password = trouble::password(host);
    let found = live.container.as_ref().ok().and_then(Option::as_ref);
    let now = Timestamp::now().as_second();
    let started = found.and_then(|found| found.started);
    let before = progress.processes_since(started.map(Timestamp::as_second));
    let anycast_runs = processes::runs(ANYCAST, live.processes.as_ref(), &before);
    Edge {
        earnings: earnings::look(host, config, spec, &live.answers, now),
        last_words: last_words(host, config, spec, &live, anycast_runs, password.as_ref()),
        anycast_runs,
        next_height,
        version,
        summary,
        trouble: log
            .as_deref()
            .and_then(trouble::known)
            .map(|error| (error.reason().to_owned(), error.hint().to_owned())),
        log_end: log.map(|log| trouble::last_lines(&log, password.as_ref())),
        exposed: password
            .zip(found)
            .map(|(password, found)| shows(&found.document, &password)),
        live,
    }
}

/// The container's log if the node is not well: of this run, or of earlier ones too if it keeps restarting.
async fn log(host: &Host, name: &str, live: &Live) -> Option<String> {
    let found = live.container.as_ref().ok()?.as_ref()?;
    if found.is_up() && live.status.is_ok() {
        return None;
    }
    let steady = found.is_up() && found.restarts == 0;
    let since = found
        .started
        .filter(|_| steady)
        .map(|time| time.to_string());
    host.docker().log(name, since.as_deref()).await.ok()
}

fn last_words(
    host: &Host,
    config: &Config,
    spec: &Spec,
    live: &Live,
    anycast_runs: Option<bool>,
    password: Option<&WalletPassword>,
) -> BTreeMap<&'static str, String> {
    let mut silent = Vec::from_iter(live.status.is_err().then_some("core"));
    for process in [Process::Launcher, Process::Encoder] {
        if let Some(Err(_)) = processes::lives(process, &live.answers) {
            silent.push(process.name());
        }
    }
    silent.extend((anycast_runs == Some(false)).then_some(ANYCAST));
    let word = |process| processes::last_word(host, config, spec, process, password);
    silent
        .into_iter()
        .filter_map(|process| Some((process, word(process)?)))
        .collect()
}

/// Waits a little for the next block, unless the last tick saw another height within minutes.
async fn next_height(rpc: &Client, live: &Live, progress: &Progress) -> Option<u64> {
    let height = live.status.as_ref().ok()?.height?;
    let now = Timestamp::now().as_second();
    let recent = progress
        .last_success
        .is_some_and(|time| (0..600).contains(&(now - time)));
    if recent && progress.last_height.is_some_and(|last| last != height) {
        return Some(height);
    }
    for _ in 0..HEIGHT_LOOKS {
        crate::pace::pause(HEIGHT_PAUSE).await;
        let next = rpc.status().await.ok().and_then(|status| status.height);
        if next.is_some_and(|next| next != height) {
            return next;
        }
    }
    None
}

async fn encrypted(node: &Node) -> Option<Result<bool>> {
    let id = node.config.volume.id()?;
    let answer = tokio::time::timeout(AWS_PATIENCE, node.is_encrypted(id)).await;
    Some(answer.unwrap_or_else(|_| {
        Err(Error::new(
            format!("no answer within {} s", AWS_PATIENCE.as_secs()),
            "check that the instance's route and security group reach EC2",
        ))
    }))
}

async fn secret_changed(node: &Node) -> Option<Result<bool>> {
    let used = trouble::password(&node.host)?;
    let current = tokio::time::timeout(AWS_PATIENCE, node.current_password()).await;
    let differs = |current: &WalletPassword| current.expose() != used.expose();
    Some(current.ok()?.map(differs))
}

fn scheduled_since(host: &Host, config: &Config) -> Option<i64> {
    let file = match config.metrics.schedule {
        Schedule::Cron => CRON_TABLE,
        Schedule::SystemdTimer => TICK_TIMER,
    };
    let written = fs::metadata(host.path(file)).ok()?;
    Some(written.mtime())
}

/// The root disk, and what is on separate ones: Docker's images, the rest of /var, logs.
fn spaces(host: &Host) -> Vec<(String, Result<Space>)> {
    let images = host.docker().data_root();
    let elsewhere = host.on_other_disks([images.as_str(), CONTAINERD, "/var", "/var/log"]);
    let places = ["/"].into_iter().chain(elsewhere);
    places.map(|place| space(host, place)).collect()
}

fn space(host: &Host, place: &str) -> (String, Result<Space>) {
    (place.to_owned(), host.space(place))
}

fn uptime(host: &Host) -> i64 {
    let text = host.read_text("/proc/uptime").ok().flatten();
    text.as_deref()
        .and_then(|text| text.split(['.', ' ']).next()?.parse().ok())
        .unwrap_or(i64::MAX)
}

/// Whether the password occurs in what Docker shows. One shorter than 8 bytes is searched for only as a variable's
/// whole value, since it can occur anywhere by chance.
fn shows(document: &Value, password: &WalletPassword) -> bool {
    let password = String::from_utf8_lossy(password.expose());
    let mut open = vec![document];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) if password.len() >= 8 && text.contains(&*password) => return true,
            Value::String(text)
                if text
                    .split_once('=')
                    .is_some_and(|(_, value)| value == password) =>
            {
                return true;
            }
            Value::Array(items) => open.extend(items),
            Value::Object(items) => open.extend(items.values()),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_password_wherever_docker_shows_it() {
        let long = WalletPassword::new(b"correct horse".to_vec());
        let short = WalletPassword::new(b"e".to_vec());
        let quiet =
            json!({"Config": {"Env": ["EDGE=e2", "X=y"], "Cmd": ["edge"]}, "Args": ["correct"]});
        assert!(!shows(&quiet, &long) && !shows(&quiet, &short));
        let leaky = json!({"Config": {"Env": ["A=b", "PASSWORD=correct horse"]}});
        assert!(shows(&leaky, &long));
        let argument = json!({"Args": ["-c", "run --pw=\"correct horse\""]});
        assert!(shows(&argument, &long));
        assert!(shows(&json!({"Config": {"Env": ["PASSWORD=e"]}}), &short));
    }
}
