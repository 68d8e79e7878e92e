//! What a run would do: checks only.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::journal::lasting;
use super::phase::{Entry, State};
use super::table::Engine;
use super::work::caught;
use crate::error::{Error, Result};
use crate::log::printable;
use crate::paths::LOG;

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Plan {
    /// How many phases would be applied.
    pub changes: usize,
    /// Each phase, in dependency order.
    pub phases: Vec<Planned>,
}

/// What a run would do with one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Planned {
    /// The phase.
    pub name: &'static str,
    /// What would happen.
    pub state: Prospect,
    /// Evidence, or what is missing.
    pub detail: String,
}

/// What would happen to a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prospect {
    /// Nothing: it holds.
    Done,
    /// It would be applied.
    Needed,
    /// It means nothing on this machine.
    NotApplicable,
    /// Unknown: its check failed, or that of something it needs.
    Blocked,
}

impl Engine {
    /// The result of every phase's check, in dependency order; the checks run concurrently.
    pub async fn check(&self) -> Vec<(&'static str, Result<State>)> {
        let mut tasks = JoinSet::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let entry = Arc::clone(entry);
            let said = async move { (place, entry.name, check(&entry).await) };
            // The health check calls this within phase `signal`, and the log should show that.
            tasks.spawn(said.in_current_span());
        }
        let mut said = tasks.join_all().await;
        said.sort_by_key(|(place, ..)| *place);
        said.into_iter()
            .map(|(_, name, said)| (name, said))
            .collect()
    }

    /// Checks every phase and changes nothing. A check that fails blocks its dependents.
    pub async fn plan(&self) -> Plan {
        let mut blocked = BTreeSet::new();
        let mut phases = Vec::new();
        for (entry, (_, said)) in self.entries.iter().zip(self.check().await) {
            let in_the_way = entry.needs.iter().find(|need| blocked.contains(*need));
            let (state, detail) = match (in_the_way, said) {
                (Some(need), _) => {
                    let why = format!("needs {need}, which cannot be checked");
                    (Prospect::Blocked, why)
                }
                (None, Ok(State::Done(evidence))) => (Prospect::Done, evidence),
                (None, Ok(State::Needed(missing))) => (Prospect::Needed, missing),
                (None, Ok(State::NotApplicable(why))) => (Prospect::NotApplicable, why),
                (None, Err(error)) => {
                    let why = format!("{error}; help: {}", error.hint());
                    (Prospect::Blocked, why)
                }
            };
            if state == Prospect::Blocked {
                blocked.insert(entry.name);
            }
            phases.push(Planned {
                name: entry.name,
                state,
                detail: printable(&detail),
            });
        }
        Plan {
            changes: phases
                .iter()
                .filter(|phase| phase.state == Prospect::Needed)
                .count(),
            phases,
        }
    }
}

/// The result of the phase's check within its deadline.
async fn check(entry: &Entry) -> Result<State> {
    let check = async {
        let check = tokio::time::timeout(entry.deadline, entry.phase.check());
        check.await.unwrap_or_else(|_| {
            let deadline = lasting(entry.deadline.as_secs_f64());
            let reason = format!("its check did not answer within {deadline}");
            Err(Error::new(
                reason,
                format!("see in {LOG} what it waited for"),
            ))
        })
    };
    caught(check).await
}
