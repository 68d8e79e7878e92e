//! The events of a run as it progresses.

use super::journal::Record;

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The run begins; these are its phases, in dependency order.
    RunStarted(&'a [&'static str]),
    /// A phase starts.
    Started(&'a str),
    /// What the phase does from now on ("checking", "docker is not installed; applying").
    Doing(&'a str, &'a str),
    /// One attempt to apply failed; if a retry can help, another follows.
    AttemptFailed(&'a str, u32, &'a str),
    /// A phase is finished: ok, failed, skipped, not applicable, or (a reboot) pending.
    Finished(&'a Record),
    /// The run is over.
    RunFinished,
}

/// A follower of a run. Called from several tasks; must return quickly.
pub trait Observer: Send + Sync {
    /// `event` has just happened.
    fn on(&self, event: Event<'_>);
}

/// Ignores every event.
impl Observer for () {
    fn on(&self, _: Event<'_>) {}
}
