//! The operating system, the service that runs at every boot, and room on the disks.

use crate::engine::State;
use crate::error::Result;
use crate::health::facts::Facts;
use crate::health::finding::{Finding, fail, of_phase, pass, size};
use crate::health::report::Status;
use crate::host::room::Space;

/// The phase also wants the boot service, whose absence is no fault of the system.
pub(super) fn os(facts: &Facts, said: &Result<State>) -> Finding {
    match (said, &facts.os) {
        (Ok(_), Ok(name)) => pass(name.as_str()),
        _ => of_phase(said),
    }
}

pub(super) fn boot_service(_: &Facts, said: &Result<State>) -> Finding {
    match of_phase(said) {
        (Status::Pass, ..) => pass("bootstrap.service runs at every boot"),
        wrong => wrong,
    }
}

pub(super) fn disk_root(facts: &Facts) -> Finding {
    let hint = "see what fills it: docker system df; journalctl --disk-usage";
    room(&facts.spaces, hint)
}

pub(super) fn disk_data(facts: &Facts) -> Finding {
    let hint = "make the EBS volume larger, then run: sudo bootstrap";
    room(std::slice::from_ref(&facts.data_space), hint)
}

/// Free space on each of the disks; the worst status decides.
fn room(disks: &[(String, Result<Space>)], hint: &str) -> Finding {
    let mut worst = Status::Pass;
    let mut details = Vec::new();
    for (place, answer) in disks {
        let space = match answer {
            Err(error) => return fail(error.to_string(), error.hint()),
            Ok(space) => space,
        };
        let percent = space.free.saturating_mul(100) / space.size.max(1);
        details.push(format!("{place}: {percent} % free ({})", size(space.free)));
        worst = match (percent, worst) {
            (0..5, _) | (_, Status::Fail) => Status::Fail,
            (5..15, _) | (_, Status::Warn) => Status::Warn,
            _ => worst,
        };
    }
    let hint = (worst != Status::Pass).then(|| hint.to_owned());
    (worst, details.join(", "), hint)
}
