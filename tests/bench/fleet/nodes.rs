//! The nodes of a fleet, each with its own tree, its own clients and the engine: all that calls AWS in a first boot is
//! the product's code. What takes time at a boot and calls nobody (packages, images, the edge node's start) is left
//! out, so that all of them come at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::Region;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Plan, instance, volume};
use bootstrap::aws::cloudwatch::{Metric, put_metrics};
use bootstrap::aws::imds::Imds;
use bootstrap::aws::sdk_config;
use bootstrap::config::Config;
use bootstrap::engine::journal::Store;
use bootstrap::engine::{About, Applied, Engine, Entry, Outcome, Phase, State, Stop};
use bootstrap::error::Result;
use bootstrap::host::Host;
use bootstrap::node::Node;
use bootstrap::notify;
use bootstrap::pace;
use bootstrap::phases::{self, Volume};
use bootstrap::retry::Policy;

/// What the process of the nodes is told.
#[derive(Deserialize, Serialize)]
pub struct Order {
    pub plan: Plan,
    pub url: String,
    pub root: PathBuf,
    /// SHA-256 of the assets' archive.
    pub archive: String,
}

/// What it tells.
#[derive(Default, Deserialize, Serialize)]
pub struct Told {
    /// Nodes by the reason for which they failed.
    pub failures: BTreeMap<String, usize>,
    /// Metrics ticks that published.
    pub ticks: usize,
}

/// Boots them all, then has all that came up tick at the same second, as cron does.
pub fn boot(order: &Order) -> Told {
    pace::hasten(order.plan.pace);
    let (seed, threads) = (order.plan.seed, AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || fastrand::seed(seed + threads.fetch_add(1, Ordering::Relaxed)))
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut nodes = Vec::new();
        // Loading the SDK is each process's own; for a thousand in one process it would be most of the work.
        let sdk = sdk_config("us-east-1".into(), &Imds::from_env());
        for number in 0..order.plan.nodes {
            // The SDK shares what is left of its retries among all clients of a process and a region.
            let region = Region::new(format!("us-east-{}", number + 1));
            let aws = sdk.to_builder().region(region).build();
            let node = Arc::new(node(order, number).with_aws(aws));
            // Of the instance's own metadata service, which no other node asks.
            node.identity().await.unwrap();
            nodes.push(node);
        }
        let mut boots = JoinSet::new();
        for node in nodes {
            boots.spawn(async move { (set_up(&node).await, node) });
        }
        let mut told = Told::default();
        let mut up = Vec::new();
        while let Some(ended) = boots.join_next().await {
            match ended.unwrap() {
                (Outcome::Done, node) => up.push(node),
                (Outcome::Failed(failure), _) => {
                    *told.failures.entry(same(&failure.reason)).or_default() += 1;
                }
                (Outcome::Rebooting(_), _) => unreachable!("nothing here asks for a reboot"),
            }
        }
        let mut ticks = JoinSet::new();
        for node in up {
            ticks.spawn(async move { tick(&node).await.is_ok() });
        }
        told.ticks = ticks
            .join_all()
            .await
            .into_iter()
            .filter(|published| *published)
            .count();
        told
    })
}

/// The reason without what only this node has.
fn same(reason: &str) -> String {
    let id = regex_lite::Regex::new("(vol|i|node)-[0-9a-f]{17}").unwrap();
    id.replace_all(reason, "$1-…").into_owned()
}

fn node(order: &Order, number: usize) -> Node {
    let root = order.root.join(number.to_string());
    std::fs::create_dir_all(&root).unwrap();
    let name = super::name(number);
    let url = &order.url;
    let config = json!({
        "gpu": false,
        "volume": {"id": volume(number)},
        // Each its own name, so that a call tells who makes it; the limits are the account's all the same.
        "secret": {"arn": name},
        "assets": {"bucket": "assets", "key": name, "sha256": order.archive},
        "stack": {"name": "fleet", "resource": "Group", "wait_handle": format!("{url}/wait-handle/{name}")},
    });
    let mut config = Config::load(&config.to_string()).unwrap();
    // Whoever runs this, root too.
    config.user.uid = rustix::process::getuid().as_raw();
    config.user.gid = rustix::process::getgid().as_raw();
    let patient = Policy {
        attempts: 40,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(5),
    };
    Node::new(
        config,
        Host::at(root),
        Imds::at(&format!("{url}/node/{number}"), patient),
    )
}

/// The engine's run, with its tries and the phases' own deadlines, at the fleet's pace.
async fn set_up(node: &Arc<Node>) -> Outcome {
    let mut table = Vec::new();
    for entry in phases::table(node) {
        let (needs, phase): (&[_], Box<dyn Phase>) = match entry.name {
            "volume" => (&[], Box::new(Attached(Arc::clone(node)))),
            "assets" => (&[], entry.phase),
            "secret" => (&["volume"], entry.phase),
            "signal" => (
                &["assets", "secret"],
                Box::new(Signalled(Arc::clone(node), AtomicBool::new(false))),
            ),
            _ => continue,
        };
        table.push(Entry {
            needs,
            phase,
            packages: false,
            deadline: pace::of(entry.deadline),
            ..entry
        });
    }
    let engine = Engine::new(table).unwrap();
    let about = About {
        boot_id: "boot".into(),
        binary_version: "fleet".into(),
        deadline: Duration::from_secs(node.config.deadline_seconds),
        jobs: usize::MAX,
        reason: None,
    };
    let (everything, stop) = (engine.everything(), Stop::default());
    let run = engine.run(&everything, about, &Nowhere, Arc::new(()), &stop);
    run.await.unwrap().outcome
}

/// Phase `volume` as far as EC2 is asked.
struct Attached(Arc<Node>);

#[async_trait]
impl Phase for Attached {
    async fn check(&self) -> Result<State> {
        let id = self.0.config.volume.id().unwrap();
        Ok(match self.0.host.volume_device(id)? {
            Some(device) => State::Done(device.path),
            None => State::Needed("the volume is not attached".into()),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let id = self.0.config.volume.id().unwrap();
        let volume = Volume(Arc::clone(&self.0));
        volume.obtain(id).await.map(|_| Applied::Finished)
    }
}

/// Phase `signal` for a node that is good at once.
struct Signalled(Arc<Node>, AtomicBool);

#[async_trait]
impl Phase for Signalled {
    async fn check(&self) -> Result<State> {
        Ok(if self.1.load(Ordering::Relaxed) {
            State::Done("told".into())
        } else {
            State::Needed("the stack has not been notified yet".into())
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let stack = self.0.config.stack.as_ref().unwrap();
        notify::success(&self.0, stack, "{}").await?;
        self.1.store(true, Ordering::Relaxed);
        Ok(Applied::Finished)
    }
}

/// As a metrics tick publishes them; at the world's own pace, or this machine would spread a thousand calls over many
/// seconds.
async fn tick(node: &Node) -> Result<()> {
    let aws = node.aws().await?;
    let retries = aws.retry_config().unwrap().clone();
    let first_pause = pace::in_the_world(retries.initial_backoff());
    let retries = retries.with_initial_backoff(first_pause);
    let aws = aws.to_builder().retry_config(retries).build();
    let metric = |name: &str| Metric {
        name: name.into(),
        value: 1.0,
        unit: "None",
        dimensions: vec![("InstanceId".into(), instance_of(node))],
    };
    let metrics = ["edge_up", "edge_healthy", "edge_peers"].map(metric);
    put_metrics(&aws, &node.config.metrics.namespace, metrics.into()).await
}

fn instance_of(node: &Node) -> String {
    let number = usize::from_str_radix(&node.config.secret.arn["node-".len()..], 16).unwrap();
    instance(number)
}

/// The journal of a machine that is never looked at again.
struct Nowhere;

impl Store for Nowhere {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn save(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn set_aside(&self, _: &str) -> Result<()> {
        Ok(())
    }
}
