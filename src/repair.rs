//! What has gone wrong with a node that was set up, and whether it may be repaired now. Looks are cheap: there is one
//! every 20 seconds, and it runs none of the phases' checks.

mod limits;

use serde::{Deserialize, Serialize};

pub use limits::Repairs;

use crate::config::Schedule;
use crate::edge::Spec;
use crate::edge::container::find;
use crate::edge::rpc::Client;
use crate::engine::Journal;
use crate::engine::journal::{RunResult, Status};
use crate::error::Result;
use crate::health::TIMER;
use crate::health::progress::Progress;
use crate::host::Host;
use crate::node::Node;

const DOCKER: &str = "docker.service";

/// For how long, in seconds, a failed run is left to whoever watches it.
const REST: i64 = 3600;

/// The kind of repair that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something that should be there is not.
    Down,
    /// It is up but hangs.
    Hung,
    /// A run has left something undone.
    Unfinished,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Determines which limits apply.
    pub kind: Kind,
    /// One line for people.
    pub reason: String,
}

/// Looks for a fault, given what the runs so far have done. Until a machine has been set up, nothing is down or hung; only
/// a first run that failed counts, an hour later.
pub async fn look(node: &Node, journal: &Journal, now: i64) -> Result<Option<Fault>> {
    let fault = |kind, reason| Ok(Some(Fault { kind, reason }));
    if was_set_up(journal) {
        let down = down(node).await?;
        if !down.is_empty() {
            return fault(Kind::Down, down.join("; "));
        }
        if let Some(reason) = hung(node, now).await? {
            return fault(Kind::Hung, reason);
        }
    }
    match unfinished(journal, now) {
        // The boot service retries by itself, more often.
        Some(reason) if !is_at_work(&node.host, "bootstrap.service").await? => {
            fault(Kind::Unfinished, reason)
        }
        _ => Ok(None),
    }
}

/// Whether any recorded run found the container as it should be.
fn was_set_up(journal: &Journal) -> bool {
    let last = journal.phases.iter();
    let earlier = journal.earlier.iter().flat_map(|past| &past.phases);
    last.chain(earlier)
        .any(|record| record.name == "container" && record.status == Status::Ok)
}

/// What the last run left undone, from an hour after it.
fn unfinished(journal: &Journal, now: i64) -> Option<String> {
    let run = journal.run.as_ref()?;
    if run.result == RunResult::Rebooting
        || now - run.ended.unwrap_or(run.started).as_second() < REST
    {
        return None;
    }
    if run.result == RunResult::Running {
        return Some("the last run was cut off".into());
    }
    let phases = journal.phases.iter();
    let undone = phases.filter(|record| matches!(record.status, Status::Failed | Status::Skipped));
    let names: Vec<&str> = undone.map(|record| record.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("left undone by the last run: {}", names.join(", ")))
}

async fn is_at_work(host: &Host, unit: &str) -> Result<bool> {
    let states = host.unit_states(&[unit]).await?;
    Ok(states
        .iter()
        .all(|state| state != "inactive" && state != "failed"))
}

/// Which parts of the node are down.
async fn down(node: &Node) -> Result<Vec<String>> {
    let Node { host, config, .. } = node;
    let os = host.os()?;
    let ssm = os.ssm_units.iter().find(|unit| host.unit_exists(unit));
    let ticker = match config.metrics.schedule {
        Schedule::Cron => os.cron.1,
        Schedule::SystemdTimer => TIMER,
    };
    let units = [DOCKER, "amazon-cloudwatch-agent.service", ticker];
    let units: Vec<&str> = units.into_iter().chain(ssm.copied()).collect();
    let states = host.unit_states(&units).await?;
    let mut down = Vec::new();
    let mut docker_runs = false;
    for (unit, state) in units.iter().zip(states) {
        // A unit that is starting or stopping is left alone.
        if state == "inactive" || state == "failed" {
            down.push(format!("{unit} is {state}"));
        }
        docker_runs |= *unit == DOCKER && state == "active";
    }
    let mount = &config.volume.mount;
    if host.mounted_at(mount)?.is_none() {
        down.push(format!("nothing is mounted at {mount}"));
    }
    match Spec::load(host, config)? {
        Some(spec) if docker_runs => down.extend(container_down(host, &spec.name).await),
        Some(_) => {}
        None => down.push("the container spec is gone".into()),
    }
    Ok(down)
}

/// How the running container hangs, according to the ticks; if they saw no answer, confirmed by asking again.
async fn hung(node: &Node, now: i64) -> Result<Option<String>> {
    let Node { host, config, .. } = node;
    let progress = Progress::load(host);
    // Usually not, however long it has run: then Docker need not be asked.
    if progress.hangs(i64::MAX, now).is_none() {
        return Ok(None);
    }
    let Some(spec) = Spec::load(host, config)? else {
        return Ok(None);
    };
    let Some(found) = find(host, &spec.name).await? else {
        return Ok(None);
    };
    let started = found.started.filter(|_| found.is_up());
    let age = started.map(|started| now - started.as_second());
    let Some(reason) = progress.hangs(age.unwrap_or_default(), now) else {
        return Ok(None);
    };
    if progress.silent_since.is_some() {
        let rpc = Client::at(config.edge.rpc_bind, spec.rpc.core);
        if rpc.status().await.is_ok() {
            return Ok(None);
        }
    }
    Ok(Some(reason))
}

/// What is wrong with the container. One that Docker is restarting is left to Docker; if the engine does not answer,
/// nothing is reported.
async fn container_down(host: &Host, name: &str) -> Option<String> {
    match find(host, name).await {
        Ok(None) => Some(format!("there is no container {name}")),
        Ok(Some(found)) if ["exited", "dead", "created"].contains(&found.status.as_str()) => Some(
            format!("{name} is {}, exit code {}", found.status, found.end()),
        ),
        _ => None,
    }
}
