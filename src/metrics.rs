//! One metrics tick: looks at the edge node and publishes one `PutMetricData`. Silent if all is well.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::aws::cloudwatch::{Metric, put_metrics};
use crate::edge::container::restore_gpu;
use crate::edge::earnings::{self, Earnings};
use crate::edge::keys::{self, Keys};
use crate::edge::processes::{self, ANYCAST, Process, lives};
use crate::edge::{Spec, logs, trouble, wallet};
use crate::engine::Lock;
use crate::engine::lock::Taken;
use crate::error::{Error, Result};
use crate::health::probes::{Live, live};
use crate::health::progress::{Identity, Progress, STALL_SECONDS};
use crate::host::directories;
use crate::host::disk::VolumeId;
use crate::host::{Host, nvidia};
use crate::node::Node;
use crate::owner;
use crate::paths::{RUN_LOCK, TICK_LOCK};
use crate::repair::Repairs;

/// The next tick comes after 60 s.
const TICK_LIMIT: Duration = Duration::from_secs(50);

/// The group's name is not worth a long wait: the metadata service has just named the instance.
const GROUP_PATIENCE: Duration = Duration::from_secs(5);

/// What a tick did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Published.
    Published,
    /// Another tick is still running; this one did nothing.
    Busy,
    /// What would be published, as JSON; nothing was published or written.
    Shown(String),
}

/// One tick.
pub async fn tick(node: &Node, dry_run: bool) -> Result<Outcome> {
    if dry_run {
        return show(node).await;
    }
    let Some(_lock) = lock(&node.host)? else {
        return Ok(Outcome::Busy);
    };
    let was_lost = Progress::load(&node.host).gpu_lost_at.is_some();
    let published = tokio::time::timeout(TICK_LIMIT, publish(node))
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                format!(
                    "the metrics tick took longer than {} s",
                    TICK_LIMIT.as_secs()
                ),
                "see what is slow: bootstrap metrics --verbose; bootstrap verify",
            ))
        });
    // Not subject to the limit, since stopping the node takes time; later ticks find the lock taken and do nothing.
    // Only if the previous tick saw it, too: what a single tick sees may be momentary.
    let given = if was_lost {
        give_gpu_back(node).await
    } else {
        Ok(())
    };
    given.and(published)
}

/// Restarts the container that has lost its GPU, once (see [`Progress::is_gpu_restart_due`]).
async fn give_gpu_back(node: &Node) -> Result<()> {
    let host = &node.host;
    let mut progress = Progress::load(host);
    let now = Timestamp::now().as_second();
    // The instance's identity must be from this boot: it tells whose container this is.
    let boot = host.boot_id()?;
    let is_own =
        (progress.identity.as_ref()).is_some_and(|known| Some(&known.boot) == boot.as_ref());
    if !is_own || !progress.is_gpu_restart_due(now) {
        return Ok(());
    }
    // A run takes care of the container itself.
    let Taken::Ours(_lock) = Lock::take(&host.path(RUN_LOCK))? else {
        return Ok(());
    };
    let looked = host.command("nvidia-smi").arg("-L").output().await;
    if !looked.is_ok_and(|looked| nvidia::works(&looked) && looked.stdout.contains("GPU ")) {
        tracing::debug!(
            "the machine itself has lost its GPU: a restart of the container does not help"
        );
        return Ok(());
    }
    // Recorded first, so that there is no second restart even if this process is killed.
    progress.gpu_restarted_at = Some(now);
    progress.save(host)?;
    restore_gpu(host, &node.config).await
}

async fn show(node: &Node) -> Result<Outcome> {
    let mut progress = Progress::load(&node.host);
    let spec = Spec::require(&node.host, &node.config)?;
    let live = live(&node.host, &node.config, &spec).await;
    let metrics = look(node, &spec, &live, &mut progress).await?;
    let list: Vec<_> = metrics
        .iter()
        .map(|metric| {
            let dimensions: serde_json::Map<_, _> = metric
                .dimensions
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            json!({
                "name": metric.name, "value": metric.value, "unit": metric.unit, "dimensions": dimensions
            })
        })
        .collect();
    let shown = json!({"namespace": node.config.metrics.namespace, "metrics": list});
    Ok(Outcome::Shown(format!("{shown:#}")))
}

async fn publish(node: &Node) -> Result<Outcome> {
    let mut progress = Progress::load(&node.host);
    let was_up = progress.up;
    let spec = Spec::require(&node.host, &node.config);
    let metrics = match &spec {
        Ok(spec) => {
            let Node { host, config, .. } = node;
            let live = live(host, config, spec).await;
            let metrics = look(node, spec, &live, &mut progress).await;
            let container = live.container.as_ref().ok().and_then(Option::as_ref);
            let (places, password) = (&mut progress.logs, trouble::password(host));
            logs::copy(host, config, spec, container, places, password.as_ref());
            metrics
        }
        Err(error) => Err(error.clone()),
    };
    if let (Some(was_up), Some(up)) = (was_up, progress.up)
        && was_up != up
    {
        if up {
            tracing::info!("the edge node is up");
        } else {
            tracing::warn!("the edge node is down");
        }
    }
    let published = async {
        let region = progress.identity.as_ref().map(|known| known.region.clone());
        let aws = match region {
            // With the cached region, the metadata service need not be asked; config and instance agree on it.
            Some(region) => crate::aws::sdk_config(region, &node.imds),
            None => node.aws().await?.clone(),
        };
        put_metrics(&aws, &node.config.metrics.namespace, metrics?).await
    }
    .await;
    if published.is_ok() {
        progress.last_success = Some(Timestamp::now().as_second());
    }
    // Even after a failure: the age of the height continues to count.
    let saved = progress.save(&node.host);
    published.and(saved).map(|()| Outcome::Published)
}

/// Records what was seen of the node in `progress`, and returns what to publish.
async fn look(
    node: &Node,
    spec: &Spec,
    live: &Live,
    progress: &mut Progress,
) -> Result<Vec<Metric>> {
    let Node { host, config, .. } = node;
    let now = Timestamp::now().as_second();
    let status = live.status.as_ref().ok();
    progress.observe(status.and_then(|status| status.height), now);
    progress.up = Some(status.is_some());
    let has_peers = live.peers.as_ref().is_ok_and(|peers| !peers.is_empty());
    progress.observe_life(status.is_some(), has_peers, now);
    let earnings = earnings::look(host, config, spec, &live.answers, now);
    progress.observe_vote(earnings.last_vote);
    if let (Ok(Some(container)), Some(running)) = (&live.container, &live.processes) {
        let started = container.started.map(Timestamp::as_second);
        progress.observe_processes(started, running);
    }
    let runs = matches!(&live.container, Ok(Some(container)) if container.is_up());
    progress.observe_gpu(live.gpus.as_ref().filter(|_| runs).map(Result::is_ok), now);

    let identity = identify(node, progress).await?;
    let volume = config.volume.id().map(VolumeId::as_str);
    let disk = volume.unwrap_or(&identity.instance);
    let address = status.and_then(|status| status.address.as_deref());
    let folder = keys::look(host, &spec.key_folder(config), None);
    let is_own = wallet::remembered(host, disk).is_none_or(|known| {
        folder.is_ok_and(|folder| {
            folder.keys != Keys::None && wallet::contradiction(&known, &folder, address).is_none()
        })
    });
    let repairs = Repairs::load(host).count(now);
    let mut metrics = measure(live, &earnings, progress, now, is_own, repairs, &identity);
    if config.metrics.per_peer {
        let peers: Vec<String> = live
            .peers
            .iter()
            .flatten()
            .map(|peer| dimension_value(peer))
            .collect();
        let admitted = progress.admit_peers(&peers, now);
        if admitted.len() < peers.len() {
            tracing::debug!(
                "{} peers beyond the day's limit have no metric",
                peers.len() - admitted.len()
            );
        }
        metrics.extend(each_peer(admitted, &identity));
    }
    progress.identity = Some(identity);
    Ok(metrics)
}

/// The instance's identity: as known since boot, or as the metadata service says.
async fn identify(node: &Node, progress: &Progress) -> Result<Identity> {
    let boot = node.host.boot_id()?.unwrap_or_default();
    let region = node.config.region.as_ref();
    if let Some(known) = &progress.identity
        && known.boot == boot
        && region.is_none_or(|region| *region == known.region)
    {
        return Ok(known.clone());
    }
    let instance = node.identity().await?.instance_id.clone();
    owner::require(node, &instance)?;
    let group = tokio::time::timeout(GROUP_PATIENCE, node.imds.auto_scaling_group());
    Ok(Identity {
        instance,
        region: node.region().await?,
        asg: group.await.ok().and_then(Result::ok).flatten(),
        boot,
    })
}

/// The values for the instance, and again for its Auto Scaling group. `is_own`: whether the wallet is the node's own;
/// `repairs`: those of the last day.
fn measure(
    live: &Live,
    earnings: &Earnings,
    progress: &Progress,
    now: i64,
    is_own: bool,
    repairs: usize,
    identity: &Identity,
) -> Vec<Metric> {
    let status = live.status.as_ref().ok();
    let height = status.and_then(|status| status.height);
    let no_peers = Vec::new();
    let peers = live.peers.as_ref().unwrap_or(&no_peers);
    let age = progress.height_age(now).unwrap_or_default();
    // `None` if the container has no nvidia-smi to ask.
    let gpu = match &live.gpus {
        Some(Ok(seen)) if seen.names.is_empty() => None,
        seen => seen.as_ref().map(Result::is_ok),
    };
    let live_process = |process| lives(process, &live.answers).map(|alive| alive.is_ok());
    let (launcher, encoder) = (
        live_process(Process::Launcher),
        live_process(Process::Encoder),
    );
    // What it does, and whether a node earns without it, is not known here: it does not count for health.
    let anycast = processes::runs(ANYCAST, live.processes.as_ref(), &progress.processes);
    let healthy = height.is_some_and(|height| height > 0)
        && age < STALL_SECONDS
        && !peers.is_empty()
        && gpu != Some(false)
        && launcher != Some(false)
        && encoder != Some(false)
        && is_own;
    let container = live.container.as_ref().ok().and_then(Option::as_ref);
    let jobs = earnings.jobs;
    let last_job = jobs.and_then(|jobs| jobs.last);
    let flag = |flag: bool| if flag { 1.0 } else { 0.0 };

    // CloudWatch takes doubles; heights and counts stay far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let values = [
        (
            "theta_current_block_height",
            height.map(|height| height as f64),
            "None",
        ),
        ("edge_peers", Some(peers.len() as f64), "Count"),
        ("edge_up", Some(flag(status.is_some())), "None"),
        ("edge_height_age_seconds", Some(age as f64), "Seconds"),
        ("edge_healthy", Some(flag(healthy)), "None"),
        ("edge_launcher_up", launcher.map(flag), "None"),
        ("edge_encoder_up", encoder.map(flag), "None"),
        ("edge_anycast_up", anycast.map(flag), "None"),
        ("edge_gpu_visible", gpu.map(flag), "None"),
        (
            "edge_restarts",
            container.map(|container| container.restarts as f64),
            "Count",
        ),
        ("edge_repairs", Some(repairs as f64), "Count"),
        ("edge_pending_tfuel", earnings.pending_tfuel, "None"),
        ("edge_jobs_done", jobs.map(|jobs| jobs.done as f64), "Count"),
        (
            "edge_jobs_failed",
            jobs.map(|jobs| jobs.failed as f64),
            "Count",
        ),
        (
            "edge_jobs_failed_in_a_row",
            jobs.map(|jobs| jobs.failed_in_a_row as f64),
            "Count",
        ),
        (
            "edge_job_age_seconds",
            last_job.map(|last| (now - last).max(0) as f64),
            "Seconds",
        ),
        (
            "edge_vote_age_seconds",
            progress.vote_age(now).map(|age| age as f64),
            "Seconds",
        ),
    ];
    let instance = ("InstanceId".to_owned(), identity.instance.clone());
    let group = identity
        .asg
        .as_ref()
        .map(|asg| ("AutoScalingGroupName".to_owned(), asg.clone()));
    let metric = |name: &str, value, unit, dimensions| Metric {
        name: name.into(),
        value,
        unit,
        dimensions,
    };
    let mut metrics = Vec::new();
    for dimension in [Some(instance.clone()), group].into_iter().flatten() {
        for (name, value, unit) in &values {
            let dimensions = vec![dimension.clone()];
            metrics.extend(value.map(|value| metric(name, value, *unit, dimensions)));
        }
    }
    metrics
}

/// One metric for each peer.
fn each_peer(peers: Vec<String>, identity: &Identity) -> impl Iterator<Item = Metric> {
    let instance = ("InstanceId".to_owned(), identity.instance.clone());
    peers.into_iter().map(move |peer| Metric {
        name: "edge_peer".into(),
        value: 1.0,
        unit: "None",
        dimensions: vec![instance.clone(), ("PeerAddress".to_owned(), peer)],
    })
}

/// A dimension value may have 1,024 ASCII characters, no control characters, and must not be blank.
fn dimension_value(text: &str) -> String {
    let value: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(1024)
        .collect();
    if value.is_empty() {
        "unknown".into()
    } else {
        value
    }
}

/// The lock of the tick, or `None` if another has it. The kernel releases it when the process ends, however it does.
fn lock(host: &Host) -> Result<Option<Lock>> {
    directories::RUN.make(host)?;
    Ok(match Lock::take(&host.path(TICK_LOCK))? {
        Taken::Ours(lock) => Some(lock),
        Taken::Busy(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::edge::container::Container;
    use crate::edge::earnings::Jobs;
    use crate::edge::processes::tests::answer;
    use crate::edge::rpc::{Fault, Status};
    use crate::host::testing::Tree;

    fn good() -> Live {
        let container = Container {
            restarts: 2,
            ..Container::default()
        };
        Live {
            container: Ok(Some(container)),
            status: Ok(Status {
                height: Some(100),
                ..Status::default()
            }),
            peers: Ok(vec!["0xa".into(), "1.2.3.4:5\n".into()]),
            answers: [Process::Launcher, Process::Encoder]
                .map(|process| answer(process, Ok(serde_json::Value::Null)))
                .into(),
            processes: Some([ANYCAST.to_owned()].into()),
            gpus: Some(Ok("GPU 0".into())),
        }
    }

    fn identity(asg: Option<&str>) -> Identity {
        Identity {
            boot: "b".into(),
            instance: "i-1".into(),
            asg: asg.map(String::from),
            region: "us-east-1".into(),
        }
    }

    /// The values for the instance, as `name=value`, with a height that last moved `age` seconds ago.
    fn values(live: &Live, age: i64) -> Vec<String> {
        let progress = Progress {
            height_moved_at: Some(1_000 - age),
            ..Progress::default()
        };
        let nothing = Earnings::default();
        measure(live, &nothing, &progress, 1_000, true, 1, &identity(None))
            .iter()
            .map(|metric| format!("{}={}", metric.name, metric.value))
            .collect()
    }

    #[test]
    fn a_good_node_publishes_everything() {
        assert_eq!(
            values(&good(), 7),
            [
                "theta_current_block_height=100",
                "edge_peers=2",
                "edge_up=1",
                "edge_height_age_seconds=7",
                "edge_healthy=1",
                "edge_launcher_up=1",
                "edge_encoder_up=1",
                "edge_anycast_up=1",
                "edge_gpu_visible=1",
                "edge_restarts=2",
                "edge_repairs=1"
            ]
        );
    }

    #[test]
    fn what_a_node_earns_is_published_as_far_as_it_tells() {
        let progress = Progress {
            last_vote: Some(400),
            ..Progress::default()
        };
        let published = |earnings: &Earnings, progress: &Progress| -> Vec<String> {
            measure(&good(), earnings, progress, 1_000, true, 1, &identity(None))
                .iter()
                .map(|metric| format!("{}={} {}", metric.name, metric.value, metric.unit))
                .skip_while(|metric| !metric.starts_with("edge_repairs"))
                .skip(1)
                .collect()
        };
        let jobs = Jobs {
            done: 0,
            failed: 4,
            failed_in_a_row: 3,
            last: Some(940),
        };
        let all = Earnings {
            pending_tfuel: Some(0.25),
            jobs: Some(jobs),
            last_vote: None,
        };
        assert_eq!(
            published(&all, &progress),
            [
                "edge_pending_tfuel=0.25 None",
                "edge_jobs_done=0 Count",
                "edge_jobs_failed=4 Count",
                "edge_jobs_failed_in_a_row=3 Count",
                "edge_job_age_seconds=60 Seconds",
                "edge_vote_age_seconds=600 Seconds"
            ]
        );
        let idle = Earnings {
            jobs: Some(Jobs::default()),
            ..Earnings::default()
        };
        assert_eq!(
            published(&idle, &Progress::default()),
            [
                "edge_jobs_done=0 Count",
                "edge_jobs_failed=0 Count",
                "edge_jobs_failed_in_a_row=0 Count"
            ]
        );
        let nothing = published(&Earnings::default(), &Progress::default());
        assert!(nothing.is_empty(), "{nothing:?}");
    }

    #[test]
    fn a_node_that_is_down_says_so() {
        let down = Live {
            container: Ok(None),
            status: Err(Fault::Refused),
            peers: Err(Fault::Refused),
            processes: Some(BTreeSet::new()),
            answers: vec![answer(Process::Encoder, Err(Fault::Refused))],
            gpus: None,
        };
        assert_eq!(
            values(&down, 700),
            [
                "edge_peers=0",
                "edge_up=0",
                "edge_height_age_seconds=700",
                "edge_healthy=0",
                "edge_encoder_up=0",
                "edge_repairs=1"
            ]
        );
    }

    #[test]
    fn healthy_takes_height_progress_peers_processes_and_gpu() {
        let healthy = |live: &Live, age| values(live, age).contains(&"edge_healthy=1".to_owned());
        assert!(healthy(&good(), STALL_SECONDS - 1));
        assert!(!healthy(&good(), STALL_SECONDS));
        let lonely = Live {
            peers: Ok(Vec::new()),
            ..good()
        };
        assert!(!healthy(&lonely, 0));
        assert!(values(&lonely, 0).contains(&"edge_peers=0".to_owned()));
        let blind = Live {
            gpus: Some(Err("NVML".into())),
            ..good()
        };
        assert!(!healthy(&blind, 0));
        assert!(values(&blind, 0).contains(&"edge_gpu_visible=0".to_owned()));
        let jobless = Live {
            answers: vec![answer(Process::Launcher, Err(Fault::TimedOut))],
            ..good()
        };
        assert!(!healthy(&jobless, 0));
        let fresh = Live {
            status: Ok(Status::default()),
            ..good()
        };
        assert!(!healthy(&fresh, 0));
    }

    #[test]
    fn the_group_gets_a_copy_and_peers_only_where_asked() {
        let progress = Progress::default();
        let nothing = Earnings::default();
        let of = |identity| measure(&good(), &nothing, &progress, 1, true, 1, &identity);
        let (plain, copied) = (of(identity(None)), of(identity(Some("group"))));
        assert_eq!(copied.len(), 2 * plain.len());
        let dimensions = &copied.last().unwrap().dimensions;
        assert_eq!(
            *dimensions,
            [("AutoScalingGroupName".into(), "group".into())]
        );

        let named = vec!["0xa".into(), dimension_value("1.2.3.4:5\n")];
        let peers: Vec<Metric> = each_peer(named, &identity(Some("group"))).collect();
        assert_eq!(peers.len(), 2);
        let last = peers.last().unwrap();
        assert_eq!((last.name.as_str(), last.value), ("edge_peer", 1.0));
        assert_eq!(
            last.dimensions,
            [
                ("InstanceId".into(), "i-1".into()),
                ("PeerAddress".into(), "1.2.3.4:5".into())
            ]
        );
        assert_eq!(dimension_value("\u{1f}ä "), "unknown");
    }

    #[test]
    fn two_ticks_never_overlap() {
        let tree = Tree::new();
        let first = lock(&tree.host).unwrap();
        assert!(first.is_some());
        assert!(lock(&tree.host).unwrap().is_none());
        drop(first);
        assert!(lock(&tree.host).unwrap().is_some());
    }
}
