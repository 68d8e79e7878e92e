//! What the node earns. That is not entirely up to it: these checks warn, and never fail.

use super::running;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, ago, pass, skip, warn};

/// This many failed jobs in a row are no accident (alarm `JobsFailing` uses the same number).
const FAILING: u64 = 3;

/// How long the node may be without a job, in seconds, before that is mentioned.
const IDLE_SECONDS: i64 = 3 * 24 * 3600;

/// Limit for the last vote's age, in seconds: votes follow checkpoints, which come about every ten minutes.
const VOTE_SECONDS: i64 = 3600;

pub(super) fn pending_tfuel(facts: &Facts) -> Finding {
    match facts.edge.earnings.pending_tfuel {
        Some(pending) => pass(format!("{pending} TFUEL are earned and not paid yet")),
        None => skip("the node does not say"),
    }
}

pub(super) fn jobs(facts: &Facts) -> Finding {
    let Some(jobs) = facts.edge.earnings.jobs else {
        return skip("the node does not say");
    };
    let counts = format!(
        "{} done and {} failed since yesterday",
        jobs.done, jobs.failed
    );
    let idle = jobs.last.map(|last| facts.now.as_second() - last);
    let runs = running(facts).and_then(|found| found.age(facts.now));
    match idle.or(runs) {
        _ if jobs.failed_in_a_row >= FAILING => warn(
            format!("the last {} failed; {counts}", jobs.failed_in_a_row),
            "see why: docker logs --tail 100 edgelauncher; then: bootstrap verify --only gpu",
        ),
        Some(idle) if idle >= IDLE_SECONDS && runs.is_some_and(|runs| runs >= IDLE_SECONDS) => {
            warn(
                format!("none for {}", ago(idle)),
                "nothing fails on this machine; whether the network has jobs for it, only its operators know",
            )
        }
        _ => pass(match idle {
            Some(idle) => format!("{counts}, the last {} ago", ago(idle)),
            None => "none yet".into(),
        }),
    }
}

pub(super) fn uptime_vote(facts: &Facts) -> Finding {
    let now = facts.now.as_second();
    let mut known = facts.progress.clone();
    known.observe_vote(facts.edge.earnings.last_vote);
    match known.vote_age(now) {
        None => skip("the node's log shows none; a node that is not staked does not vote"),
        Some(age) if age >= VOTE_SECONDS => warn(
            format!("the last {} ago; one is due every ten minutes", ago(age)),
            "see whether it follows the chain: bootstrap verify --only node; and whether its stake still stands",
        ),
        Some(age) => pass(format!("the last {} ago", ago(age))),
    }
}
