//! The edge node's JSON-RPC on its three ports, as far as it is documented.
//!
//! Core (17888): `edgecore.GetStatus`, `GetPeers`, `GetVersion`, `GetEdgeNodeSummary`.
//! Launcher (15888): `edgelauncher.GetPastJobs`. Encoder (17935): `edgeencoder.GetStatus`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::http::{Listener, Request, Response};

/// Where the chain stands at the first second of a node's life.
const FIRST_HEIGHT: u64 = 28_000_000;

/// How a node behaves; the defaults are a healthy one.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The wallet's address, 40 hex digits without `0x`.
    pub address: String,
    /// Seconds in which height is `u64::MAX` and peers are null, as on a node that has just started.
    pub warmup_seconds: u64,
    /// Peers after that.
    pub peers: usize,
    /// The height does not move.
    pub stalled: bool,
    /// Every call is answered with 503.
    pub down: bool,
    /// The processes (`launcher`, `core`, `encoder`) whose calls are.
    pub dead: Vec<String>,
    /// So many of the encoder's jobs have failed, one after another.
    pub failed_jobs: usize,
    /// Every call is answered with this.
    pub rubbish: Option<String>,
    /// Every answer comes so late.
    pub late: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            address: "2e833968e5bb786ae419c4d13189fb081cc43bab".into(),
            warmup_seconds: 0,
            peers: 3,
            stalled: false,
            down: false,
            dead: Vec::new(),
            failed_jobs: 0,
            rubbish: None,
            late: Duration::ZERO,
        }
    }
}

impl Behaviour {
    /// Takes over the keys that a JSON object names: `address`, `warmup_seconds`, `peers`, `stalled`, `down`, `dead`,
    /// `failed_jobs`, `rubbish`, `late_seconds`.
    pub fn change(&mut self, with: &Value) {
        if let Some(seconds) = with.get("warmup_seconds").and_then(Value::as_u64) {
            self.warmup_seconds = seconds;
        }
        if let Some(peers) = with.get("peers").and_then(Value::as_u64) {
            self.peers = usize::try_from(peers).unwrap_or(usize::MAX);
        }
        if let Some(stalled) = with.get("stalled").and_then(Value::as_bool) {
            self.stalled = stalled;
        }
        if let Some(down) = with.get("down").and_then(Value::as_bool) {
            self.down = down;
        }
        if let Some(jobs) = with.get("failed_jobs").and_then(Value::as_u64) {
            self.failed_jobs = usize::try_from(jobs).unwrap_or(usize::MAX);
        }
        if let Some(dead) = with.get("dead").and_then(Value::as_array) {
            let names = dead.iter().filter_map(Value::as_str);
            self.dead = names.map(str::to_owned).collect();
        }
        if let Some(rubbish) = with.get("rubbish").and_then(Value::as_str) {
            self.rubbish = Some(rubbish.into());
        }
        if let Some(seconds) = with.get("late_seconds").and_then(Value::as_u64) {
            self.late = Duration::from_secs(seconds);
        }
        if let Some(address) = with.get("address").and_then(Value::as_str) {
            self.address = address.into();
        }
    }
}

/// The RPC ports of a running node, or of some of its processes.
#[derive(Debug)]
pub struct Node {
    behaviour: Arc<Mutex<Behaviour>>,
    listeners: Vec<Listener>,
}

impl Node {
    /// Serves on `[launcher, core, encoder]` of an address; a port of 0 takes any free one.
    pub fn start(bind: IpAddr, ports: [u16; 3], behaviour: Behaviour) -> io::Result<Self> {
        let [launcher, core, encoder] = ports;
        let all = [("launcher", launcher), ("core", core), ("encoder", encoder)];
        Self::of(bind, &all, behaviour)
    }

    /// Serves what these processes answer, each on its port.
    pub fn of(
        bind: IpAddr,
        processes: &[(&'static str, u16)],
        behaviour: Behaviour,
    ) -> io::Result<Self> {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let started = Instant::now();
        let listeners = processes
            .iter()
            .map(|&(process, port)| {
                let behaviour = Arc::clone(&behaviour);
                Listener::start((bind, port), move |request| {
                    let behaviour = behaviour
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    std::thread::sleep(behaviour.late);
                    if behaviour.dead.iter().any(|dead| dead == process) {
                        return Response::text(503, "");
                    }
                    answer(request, &behaviour, started.elapsed().as_secs())
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            behaviour,
            listeners,
        })
    }

    /// Their addresses: of the launcher, the core and the encoder.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Behaves differently from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(
            &mut self
                .behaviour
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// A Summary as long as the ledger's of a guardian node: address, BLS key, its proof, signature.
pub fn summary(address: &str) -> String {
    format!("0x{address}{:0>418}", "5")
}

/// One call, with the HTTP rules of the ledger's server.
pub fn answer(request: &Request, behaviour: &Behaviour, age_seconds: u64) -> Response {
    if behaviour.down {
        return Response::text(503, "");
    }
    if let Some(rubbish) = &behaviour.rubbish {
        return Response::text(200, rubbish.as_str());
    }
    if request.method != "POST" {
        return Response::text(405, "rpc: POST method required\n");
    }
    if request.path() != "/rpc" {
        return Response::text(404, "404 page not found\n");
    }
    let kind = request.header("content-type").unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Response::text(415, "rpc: unrecognized Content-Type\n");
    }
    let call: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let method = call.get("method").and_then(Value::as_str).unwrap_or("");
    let first = call.get("params").and_then(|params| params.get(0));
    let reply = match result(method, first, behaviour, age_seconds) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": call.get("id"), "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": call.get("id"), "error": {"code": code, "message": message}})
        }
    };
    Response::json(&reply)
}

fn result(
    method: &str,
    parameter: Option<&Value>,
    behaviour: &Behaviour,
    age: u64,
) -> Result<Value, (i64, String)> {
    let warm = age >= behaviour.warmup_seconds;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = clock.unwrap_or_default();
    let now = clock.as_secs();
    match method {
        "edgecore.GetStatus" => {
            let height = match (warm, behaviour.stalled) {
                (false, _) => u64::MAX,
                (true, true) => FIRST_HEIGHT,
                // Of the clock, so that a restarted node does not go back; fast, for tests that hurry.
                (true, false) => {
                    FIRST_HEIGHT + now % 10_000_000 * 100 + u64::from(clock.subsec_millis() / 10)
                }
            };
            Ok(json!({
                "address": format!("0x{}", behaviour.address),
                "chain_id": "mainnet",
                "peer_id": format!("0x{}", behaviour.address),
                "current_height": height.to_string(),
                "current_time": now.to_string(),
            }))
        }
        "edgecore.GetPeers" if !warm => Ok(json!({"peers": null})),
        "edgecore.GetPeers" => {
            let peers: Vec<String> = (0..behaviour.peers)
                .map(|n| format!("0x{n:040x}"))
                .collect();
            Ok(json!({"peers": peers}))
        }
        "edgecore.GetVersion" => Ok(json!({
            "version": "1.3.1",
            "git_hash": "0000000000000000000000000000000000000000",
            "timestamp": "Thu Nov 30 00:00:00 UTC 2023",
        })),
        "edgecore.GetEdgeNodeSummary" => Ok(json!({
            "Summary": summary(&behaviour.address),
        })),
        "edgelauncher.GetPastJobs" => {
            match parameter
                .and_then(|p| p.get("type"))
                .and_then(Value::as_str)
            {
                Some("lavita" | "fedml") => Ok(json!({
                    "status": "success",
                    "body": [{
                        "id": "job_1",
                        "start_time": now.saturating_sub(120) * 1000,
                        "end_time": now.saturating_sub(60) * 1000,
                        "status": "rewarded",
                        "reward_amount": 200_000_000_000_000_000_u64,
                        "error": null,
                    }],
                })),
                _ => Err((-32000, "Invalid job type".into())),
            }
        }
        "edgeencoder.GetStatus" => {
            let jobs: Vec<Value> = (0..behaviour.failed_jobs)
                .map(|n| {
                    json!({
                        "id": format!("job_failed_{n}"), "type": "encoding", "is_failed": true, "error": "no codec",
                        "create_time": at(now - 50), "start_time": at(now - 50), "finish_time": "", "failed_at": at(now - 30),
                        "reward_tfuelwei": "0",
                    })
                })
                .collect();
            Ok(json!({
                "status": "ok",
                "address": format!("0x{}", behaviour.address),
                "encoder_state": "idle",
                "pending_tfuel": 0.25,
                "progress": 0,
                "recent_jobs": jobs,
                "current_time": {},
            }))
        }
        _ => Err((-32000, format!("rpc: can't find method \"{method}\""))),
    }
}

/// The time as the encoder writes it.
fn at(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use super::*;

    fn call(method: &str, kind: &str, age: u64) -> (u16, Value) {
        let request = Request {
            method: "POST".into(),
            target: "/rpc".into(),
            headers: vec![("content-type".into(), kind.into())],
            body: json!({"method": method, "params": [], "id": 1})
                .to_string()
                .into(),
        };
        let behaviour = Behaviour {
            warmup_seconds: 5,
            ..Behaviour::default()
        };
        let answer = answer(&request, &behaviour, age);
        (
            answer.status,
            serde_json::from_slice(&answer.body).unwrap_or_default(),
        )
    }

    #[test]
    fn a_fresh_node_knows_no_height_and_no_peers() {
        let (_, young) = call("edgecore.GetStatus", "application/json", 0);
        assert_eq!(young["result"]["current_height"], "18446744073709551615");
        let (_, young) = call("edgecore.GetPeers", "application/json", 0);
        assert_eq!(young["result"]["peers"], Value::Null);
        let (_, grown) = call("edgecore.GetPeers", "application/json; charset=utf-8", 5);
        assert_eq!(grown["result"]["peers"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn the_server_is_strict_about_http_and_parameters() {
        assert_eq!(call("edgecore.GetStatus", "text/plain", 0).0, 415);
        let (_, jobs) = call("edgelauncher.GetPastJobs", "application/json", 0);
        assert_eq!(jobs["error"]["message"], "Invalid job type");
        let get = Request {
            method: "GET".into(),
            target: "/rpc".into(),
            ..Request::default()
        };
        assert_eq!(answer(&get, &Behaviour::default(), 0).status, 405);
    }
}
