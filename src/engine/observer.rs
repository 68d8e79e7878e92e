//! The events of a run, as it happens.

use super::journal::Record;

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The run begins; these are the phases it is about, in dependency order.
    RunStarted(&'a [&'static str]),
    /// A phase starts.
    Started(&'a str),
    /// What the phase is doing from now on ("checking", "docker is not installed; applying").
    Doing(&'a str, &'a str),
    /// One try at applying failed; where that is worth it, another follows.
    AttemptFailed(&'a str, u32, &'a str),
    /// A phase is finished: ok, failed, skipped, not applicable, or (a reboot) pending.
    Finished(&'a Record),
    /// The run is over.
    RunFinished,
}

/// Someone who follows a run. Called from several tasks; must return quickly.
pub trait Observer: Send + Sync {
    /// `event` has just happened.
    fn on(&self, event: Event<'_>);
}

/// No one follows.
impl Observer for () {
    fn on(&self, _: Event<'_>) {}
}
