//! What a check finds.

use super::report::{RUN, Status};
use crate::engine::State;
use crate::engine::journal::lasting;
use crate::error::Result;

/// The status of a check, the evidence, and what to do.
pub(super) type Finding = (Status, String, Option<String>);

pub(super) fn pass(detail: impl Into<String>) -> Finding {
    (Status::Pass, detail.into(), None)
}

pub(super) fn skip(detail: impl Into<String>) -> Finding {
    (Status::Skip, detail.into(), None)
}

pub(super) fn warn(detail: impl Into<String>, hint: impl Into<String>) -> Finding {
    (Status::Warn, detail.into(), Some(hint.into()))
}

pub(super) fn fail(detail: impl Into<String>, hint: impl Into<String>) -> Finding {
    (Status::Fail, detail.into(), Some(hint.into()))
}

pub(super) fn holds(holds: bool, right: &str, wrong: &str, hint: &str) -> Finding {
    if holds {
        pass(right)
    } else {
        fail(wrong, hint)
    }
}

/// What a phase's own check has found.
pub(super) fn of_phase(said: &Result<State>) -> Finding {
    match said {
        Ok(State::Done(evidence)) => pass(evidence.as_str()),
        Ok(State::NotApplicable(why)) => skip(why.as_str()),
        Ok(State::Needed(missing)) => fail(missing.as_str(), RUN),
        Err(error) => fail(error.to_string(), error.hint()),
    }
}

/// How long ago something was, for people; zero if the clock was set back.
pub(super) fn ago(seconds: i64) -> String {
    match u32::try_from(seconds.max(0)).unwrap_or(u32::MAX) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => lasting(seconds.into()),
    }
}

/// Bytes for people, to at least two digits.
pub(super) fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gib @ 1..10 => format!("{gib}.{} GiB", ((bytes % (1 << 30)) * 10) >> 30),
        gib => format!("{gib} GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_for_people() {
        let gib = 1 << 30;
        for (bytes, text) in [
            (500 << 20, "500 MiB"),
            (gib + gib / 2, "1.5 GiB"),
            (64 * gib, "64 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [(-5, "0 s"), (9, "9 s"), (345, "5 min 45 s"), (7200, "2 h")] {
            assert_eq!(ago(seconds), text);
        }
    }
}
