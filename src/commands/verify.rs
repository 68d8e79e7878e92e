//! `bootstrap verify`

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Exit, JOURNAL, Output, block_on, fail, host, node, say};
use crate::engine::journal::{Status, lasting};
use crate::engine::lock::RUN_LOCK;
use crate::engine::{Journal, Lock};
use crate::health::{self, Verdict};
use crate::host::Host;
use crate::rights::only_look;
use crate::{log, phases};

/// Checks the node's health, by these groups of checks alone where there are any; with `wait`, until it is healthy or
/// that long has passed.
pub fn verify(
    config: &Path,
    groups: &[String],
    json: bool,
    wait: Option<Duration>,
    output: Output,
) -> Exit {
    only_look();
    let host = host();
    output.log_beside_answer(&host);
    let node = match node(config, host) {
        Ok(node) => node,
        Err(exit) => return exit,
    };
    phases::leave_size();
    let looked = phases::verified(&node).and_then(|phases| {
        let patience = wait.unwrap_or_default();
        block_on(health::verify_within(&node, &phases, groups, patience))
    });
    let report = match looked {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    let run: Vec<String> = at_work(&node.host).into_iter().collect();
    say(&if json || output.format == log::Format::Json {
        report.json()
    } else {
        report.text(output.verbose, &run)
    });
    match report.verdict {
        Verdict::Healthy => Exit::Done,
        Verdict::Syncing => Exit::Syncing,
        Verdict::Degraded | Verdict::Unhealthy => Exit::Failed,
    }
}

/// What the run that is under way is doing, if one is: what fails may be what it is about to set up.
fn at_work(host: &Host) -> Option<String> {
    if !Lock::is_held(&host.path(RUN_LOCK)) {
        return None;
    }
    let journal = host.read(JOURNAL).ok().flatten();
    let journal = journal.and_then(|bytes| Journal::parse(&bytes).ok());
    let now = Timestamp::now();
    let phases: Vec<String> = journal
        .iter()
        .flat_map(|journal| &journal.phases)
        .filter(|record| record.status == Status::Running)
        .filter_map(|record| {
            let took = now.duration_since(record.started?).as_secs_f64().max(0.0);
            Some(format!("{} for {}", record.name, lasting(took)))
        })
        .collect();
    let doing = if phases.is_empty() {
        String::new()
    } else {
        format!(" ({})", phases.join(", "))
    };
    Some(format!(
        "A run is at work{doing}: wait for it, bootstrap verify --wait 15m"
    ))
}
