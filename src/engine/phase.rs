//! What a phase is.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// True already; the text is the evidence ("docker 20.10.24 is active").
    Done(String),
    /// Not true yet; the text says what is missing ("docker is not installed").
    Needed(String),
    /// Means nothing on this machine; the text says why ("gpu is false").
    NotApplicable(String),
}

/// The result of applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The work is done; the engine's second check decides whether it holds.
    Finished,
    /// The machine must reboot before the work can hold; the text says why.
    RebootNeeded(String),
}

/// One thing that the run makes true.
///
/// The contract:
/// - `check` reads only. It changes nothing and answers from the machine, never from the journal.
/// - `apply` makes it true. It may be killed at any instant, so it can be started again from whatever it left.
/// - After `apply`, `check` says `Done`, or the phase has failed.
/// - On a machine where `check` says `Done`, `apply` (with `--force`) does no harm.
/// - Dropping the future of either cancels it: child processes are killed with their group.
#[async_trait]
pub trait Phase: Send + Sync {
    /// Is it true already?
    async fn check(&self) -> Result<State>;

    /// Makes it true.
    async fn apply(&self) -> Result<Applied>;
}

/// One line of the table of phases.
pub struct Entry {
    /// The phase's name, as in the journal and `--phase`.
    pub name: &'static str,
    /// Names of the phases that must hold before this one starts.
    pub needs: &'static [&'static str],
    /// How long check, apply and check may take in all, retries included.
    pub deadline: Duration,
    /// Whether it may use the package manager: such phases take turns.
    pub packages: bool,
    /// The work itself.
    pub phase: Box<dyn Phase>,
}
