//! The metrics tick.

use crate::engine::State;
use crate::error::Result;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, ago, fail, of_phase, pass};

/// A tick comes every 60 s; this many seconds without one are a failure.
const TICK_SECONDS: i64 = 180;

/// That it is scheduled, and that it comes.
pub(super) fn metrics(facts: &Facts, said: &Result<State>) -> Finding {
    if !matches!(said, Ok(State::Done(_))) {
        return of_phase(said);
    }
    let now = facts.now.as_second();
    let due = facts.scheduled_since.map_or(0, |since| now - since);
    match facts.progress.last_success.map(|time| now - time) {
        Some(age) if (0..=TICK_SECONDS).contains(&age) => {
            pass(format!("published {} ago", ago(age)))
        }
        _ if due.min(facts.uptime) <= TICK_SECONDS => pass("the first tick is due"),
        Some(age) if age < 0 => fail(
            "last published at a time that is still to come: the clock was set back",
            "wait for the next tick: bootstrap verify --wait 2m",
        ),
        Some(age) => fail(
            format!("last published {} ago", ago(age)),
            "run it to see why: bootstrap metrics",
        ),
        None => fail("never published", "run it to see why: bootstrap metrics"),
    }
}
