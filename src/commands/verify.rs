//! `bootstrap verify`

use std::path::Path;
use std::time::Duration;

use super::{Exit, Output, block_on, fail, host, node, say};
use crate::health::{self, Verdict};
use crate::rights::only_look;

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
    let report = match block_on(health::verify_within(
        &node,
        groups,
        wait.unwrap_or_default(),
    )) {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    say(&if json { report.json() } else { report.text() });
    match report.verdict {
        Verdict::Healthy => Exit::Done,
        Verdict::Syncing => Exit::Syncing,
        Verdict::Degraded | Verdict::Unhealthy => Exit::Failed,
    }
}
