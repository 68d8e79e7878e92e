//! Is the node healthy? Probes shared by `verify` and `metrics`, and the checks made of them.

use crate::node::Node;

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Wrong; needs someone.
    Fail,
    /// Not as it should be, or not yet.
    Warn,
    /// As it should be.
    Pass,
    /// Means nothing here, or cannot be known.
    Skip,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// The evidence.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
}

/// All checks in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node does its work.
    Healthy,
    /// Nothing fails; height or peers are still coming.
    Syncing,
    /// The node works, but something around it fails.
    Degraded,
    /// The node does not work.
    Unhealthy,
}

impl Verdict {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Syncing => "syncing",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The whole health check.
#[derive(Clone, Debug)]
pub struct Report {
    /// All checks in one word.
    pub verdict: Verdict,
    /// Every check.
    pub checks: Vec<Check>,
    /// The node's wallet address, where known.
    pub address: Option<String>,
}

/// Looks at everything once. Changes nothing.
pub async fn verify(_node: &Node) -> Report {
    todo!()
}
