//! A fleet that boots at once, against AWS's published request limits: small in `cargo test`, with 1,000 nodes in
//! `scripts/bench`.
//!
//! Two processes, both of this program: one is AWS ([`cloud`]), the other all the nodes ([`nodes`]). They speak over
//! real sockets; time goes faster for both by the same factor. Seeded are the jitter of the nodes and how long their
//! devices take to appear; in which order the kernel runs them is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

mod cloud;
mod limits;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use self::cloud::{Call, Cloud};
use self::limits::{Limits, published, small};
use self::nodes::{Order, Told};
use bootstrap::digest::sha256;

/// This module's test, by which the program finds itself.
const NAME: &str = "a_fleet_that_boots_at_once_comes_up";
/// What the process of the nodes is told, as JSON.
const ORDER: &str = "BOOTSTRAP_FLEET_ORDER";
/// A plan, as JSON, for `scripts/bench`; and the file for what was found.
const PLAN: &str = "BOOTSTRAP_FLEET_PLAN";
const FIGURES: &str = "BOOTSTRAP_FLEET_FIGURES";

/// What is simulated.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// How many times faster than in the world.
    pub pace: u32,
    /// Where chance begins.
    pub seed: u64,
}

/// What became of it.
#[derive(Serialize)]
struct Figures {
    plan: Plan,
    /// Nodes of which CloudFormation took success.
    succeeded: usize,
    failures: BTreeMap<String, usize>,
    ticks: usize,
    apis: BTreeMap<String, Api>,
    /// When each node was done, in order (s).
    done: Vec<f64>,
    limits: Limits,
    /// No boot of this fleet can end earlier (s), and the API that says so.
    bound: (f64, String),
}

/// The calls of one API.
#[derive(Default, Serialize)]
struct Api {
    /// Granted calls per node: least, mean, most.
    granted: (usize, f64, usize),
    /// Throttled calls per node.
    throttled: (usize, f64, usize),
    /// Calls in each second.
    granted_in_second: Vec<usize>,
    throttled_in_second: Vec<usize>,
    /// Calls in each second by nodes that were throttled there before.
    retries_in_second: Vec<usize>,
}

impl Api {
    fn of(calls: &[&Call], nodes: usize) -> Self {
        let mut api = Self::default();
        let mut per_node = vec![(0, 0); nodes];
        let mut throttled = BTreeSet::new();
        for call in calls {
            let second = call.at as usize;
            if !throttled.is_empty() && throttled.contains(&call.node) {
                count(&mut api.retries_in_second, second);
            }
            if call.granted {
                per_node[call.node].0 += 1;
                count(&mut api.granted_in_second, second);
            } else {
                per_node[call.node].1 += 1;
                count(&mut api.throttled_in_second, second);
                throttled.insert(call.node);
            }
        }
        api.granted = spread(per_node.iter().map(|node| node.0));
        api.throttled = spread(per_node.iter().map(|node| node.1));
        api
    }

    /// Most calls again within one second.
    fn wave(&self) -> usize {
        self.retries_in_second
            .iter()
            .max()
            .copied()
            .unwrap_or_default()
    }
}

fn count(bins: &mut Vec<usize>, second: usize) {
    bins.resize(bins.len().max(second + 1), 0);
    bins[second] += 1;
}

fn spread(counts: impl Iterator<Item = usize> + Clone) -> (usize, f64, usize) {
    let (least, most) = (counts.clone().min().unwrap(), counts.clone().max().unwrap());
    let mean = counts.clone().sum::<usize>() as f64 / counts.count() as f64;
    (least, mean, most)
}

/// A node's name in S3, in Secrets Manager and at the wait handle.
fn name(node: usize) -> String {
    format!("node-{node:017x}")
}

fn instance(node: usize) -> String {
    format!("i-{node:017x}")
}

fn volume(node: usize) -> String {
    format!("vol-{node:017x}")
}

/// An assets archive.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, "edge.json", b"{}".as_slice())
        .unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

fn simulate(plan: Plan, limits: Limits) -> Figures {
    // Thousands of files that are synced: better in memory, where there is such a place.
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.into()
    } else {
        std::env::temp_dir()
    };
    let root = tempfile::tempdir_in(place).unwrap();
    let archive = archive();
    let order = Order {
        archive: sha256(&archive),
        plan: plan.clone(),
        url: String::new(),
        root: root.path().into(),
    };
    let cloud = Cloud::start(&plan, limits.clone(), root.path(), archive);
    let order = Order {
        url: cloud.url.clone(),
        ..order
    };
    let mut nodes = Command::new(std::env::current_exe().unwrap());
    nodes
        .args(["--exact", NAME, "--nocapture"])
        .env(ORDER, serde_json::to_string(&order).unwrap());
    for name in ["AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"] {
        nodes.env(name, &cloud.url);
    }
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        nodes.env(name, "/dev/null");
    }
    // Of the environment: all nodes of this process would ask one metadata service, each in the world has its own.
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ] {
        nodes.env(name, "local");
    }
    nodes.env_remove("AWS_PROFILE").env_remove(PLAN);
    assert!(
        nodes.stdout(Stdio::null()).status().unwrap().success(),
        "the nodes' process failed"
    );
    let told = std::fs::read(root.path().join("told.json")).unwrap();
    figures(
        plan,
        limits,
        &cloud.calls(),
        serde_json::from_slice(&told).unwrap(),
    )
}

fn figures(plan: Plan, limits: Limits, calls: &[Call], told: Told) -> Figures {
    let names: BTreeSet<&String> = calls.iter().map(|call| &call.api).collect();
    let of =
        |name: &String| -> Vec<&Call> { calls.iter().filter(|call| call.api == *name).collect() };
    let apis: BTreeMap<_, _> = names
        .iter()
        .map(|name| ((*name).clone(), Api::of(&of(name), plan.nodes)))
        .collect();
    // The handle is a node's last word in a boot.
    let last = calls
        .iter()
        .filter(|call| call.granted && call.api == "wait-handle");
    let mut done: Vec<f64> = last.map(|call| call.at).collect();
    done.sort_by(f64::total_cmp);
    let bound = apis
        .iter()
        .filter(|(name, _)| *name != "PutMetricData")
        .map(|(name, api)| {
            let (limit, calls) = (limits[name], api.granted.1 * plan.nodes as f64);
            (
                ((calls - limit.capacity) / limit.refill).max(0.0),
                name.clone(),
            )
        });
    Figures {
        bound: bound
            .rev()
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .unwrap(),
        succeeded: done.len(),
        failures: told.failures,
        ticks: told.ticks,
        plan,
        apis,
        done,
        limits,
    }
}

#[test]
fn a_fleet_that_boots_at_once_comes_up() {
    if let Ok(order) = std::env::var(ORDER) {
        let order: Order = serde_json::from_str(&order).unwrap();
        let told = serde_json::to_vec(&nodes::boot(&order)).unwrap();
        return std::fs::write(order.root.join("told.json"), told).unwrap();
    }
    if let (Ok(plan), Ok(file)) = (std::env::var(PLAN), std::env::var(FIGURES)) {
        let found = simulate(serde_json::from_str(&plan).unwrap(), published());
        return std::fs::write(file, serde_json::to_vec(&found).unwrap()).unwrap();
    }
    let plan = |nodes| Plan {
        nodes,
        pace: 15,
        seed: 1,
    };
    let (alone, fleet) = (simulate(plan(1), small()), simulate(plan(40), small()));
    assert_eq!(fleet.failures, BTreeMap::new());
    assert_eq!((alone.succeeded, alone.ticks), (1, 1));
    assert_eq!((fleet.succeeded, fleet.ticks), (40, 40));
    let granted = |figures: &Figures| -> Vec<_> {
        let each = figures.apis.iter();
        each.map(|(name, api)| (name.clone(), api.granted.0, api.granted.2))
            .collect()
    };
    assert_eq!(
        granted(&fleet),
        granted(&alone),
        "granted calls per node: least and most"
    );
    // Those that are turned away at the same moment do not come back at the same moment.
    for (name, api) in &fleet.apis {
        assert!(api.wave() < 20, "{name}: {:?}", api.retries_in_second);
    }
    for name in ["AttachVolume", "DescribeVolumes", "SignalResource"] {
        assert!(
            fleet.apis[name].throttled.2 > 0,
            "{name} was never throttled"
        );
    }
}
