//! The edge node inside the container: its processes, and whether it follows the chain.

use std::fmt;

use super::running;
use crate::edge::processes::{self, ANYCAST, Process};
use crate::edge::rpc::Fault;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, ago, fail, pass, skip, warn};
use crate::health::progress::STALL_SECONDS;

/// How long the node may take, in seconds, until its RPC answers (the blueprint's guide says ten minutes).
const START_SECONDS: i64 = 15 * 60;

/// How long the node may take, in seconds, until it has a height and peers.
const JOIN_SECONDS: i64 = 30 * 60;

const READ: &str =
    "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher";
const WAIT: &str = "wait, a start can take ten minutes: bootstrap verify --wait 15m";

pub(super) fn rpc(facts: &Facts) -> Finding {
    match &facts.edge.live.status {
        Ok(status) => match &status.address {
            Some(address) => {
                let chain = status.chain.as_deref().unwrap_or("chain not named");
                let version = facts.edge.version.as_deref().unwrap_or("version not named");
                pass(format!("{address}, {chain}, {version}"))
            }
            None => fail(
                "the node answers, but reports no address",
                "wait: bootstrap verify --wait 15m; if it stays: docker restart edgelauncher",
            ),
        },
        Err(fault) => {
            let detail = with_last_word(facts, "core", fault);
            match starting(facts) {
                Some(since) if *fault == Fault::Refused => fail(format!("{detail}; {since}"), WAIT),
                _ => fail(detail, READ),
            }
        }
    }
}

pub(super) fn launcher(facts: &Facts) -> Finding {
    process(facts, Process::Launcher)
}

pub(super) fn encoder(facts: &Facts) -> Finding {
    process(facts, Process::Encoder)
}

/// A process besides the core. The core alone may look fine while nothing does the jobs.
fn process(facts: &Facts, process: Process) -> Finding {
    let fault = match processes::lives(process, &facts.edge.live.answers) {
        None => return skip("edge.json has no question for it"),
        Some(Ok(())) => return pass("answers"),
        Some(Err(fault)) => fault,
    };
    let detail = with_last_word(facts, process.name(), &fault);
    match starting(facts) {
        Some(since) => warn(format!("{detail}; {since}"), WAIT),
        None => fail(detail, READ),
    }
}

/// The process that answers no RPC.
pub(super) fn anycast(facts: &Facts) -> Finding {
    match facts.edge.anycast_runs {
        None => skip("it was not seen to run since the container's start"),
        Some(true) => pass("runs"),
        Some(false) => warn(with_last_word(facts, ANYCAST, "it has ended"), READ),
    }
}

pub(super) fn height(facts: &Facts) -> Finding {
    let stuck = "read the log: docker logs --tail 100 edgelauncher; check outbound TCP 16888; then: docker restart edgelauncher";
    let Ok(status) = &facts.edge.live.status else {
        return fail("not known", stuck);
    };
    let wait = "wait: bootstrap verify --wait 30m";
    match status.height.filter(|height| *height > 0) {
        None if joined_long_ago(facts) => fail("not known 30 minutes after the start", stuck),
        None => warn("not known yet", wait),
        Some(height) => {
            let age = facts.progress.height_age(facts.now.as_second());
            match (facts.edge.next_height, age) {
                (Some(next), _) => pass(format!("{next}, advancing")),
                (None, Some(age)) if age >= STALL_SECONDS => {
                    fail(format!("{height}, the same for {}", ago(age)), stuck)
                }
                (None, _) => warn(format!("{height}, not advancing yet"), wait),
            }
        }
    }
}

pub(super) fn peers(facts: &Facts) -> Finding {
    let stuck = "check outbound TCP 16888 (security group, network ACL, NAT), then: docker restart edgelauncher";
    let detail = match &facts.edge.live.peers {
        Ok(peers) if !peers.is_empty() => return pass(format!("{}", peers.len())),
        Ok(_) => "none".to_owned(),
        Err(fault) => fault.to_string(),
    };
    if joined_long_ago(facts) {
        fail(format!("{detail}, 30 minutes after the start"), stuck)
    } else {
        warn(format!("{detail} yet"), "wait: bootstrap verify --wait 30m")
    }
}

pub(super) fn staking(facts: &Facts) -> Finding {
    match &facts.edge.summary {
        Some(summary) => pass(format!("node summary {summary}")),
        None => skip("the node returns no summary"),
    }
}

/// Since when the container runs, if it may still be starting.
fn starting(facts: &Facts) -> Option<String> {
    let age = running(facts).and_then(|found| found.age(facts.now))?;
    (age < START_SECONDS).then(|| format!("the container started {} ago", ago(age)))
}

fn joined_long_ago(facts: &Facts) -> bool {
    running(facts)
        .and_then(|found| found.age(facts.now))
        .is_some_and(|age| age >= JOIN_SECONDS)
}

/// What is wrong with a process, and what its own log last said.
fn with_last_word(facts: &Facts, process: &str, fault: impl fmt::Display) -> String {
    match facts.edge.last_words.get(process) {
        Some(word) => format!("{fault}; {word}"),
        None => fault.to_string(),
    }
}
