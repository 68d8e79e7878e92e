//! What a run would do: checks only.

use std::collections::BTreeSet;

use serde::Serialize;

use super::journal::lasting;
use super::phase::{Entry, State};
use super::table::Engine;
use super::work::caught;
use crate::error::Error;
use crate::log::printable;

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How many phases would be applied.
    pub changes: usize,
    /// Each phase, in dependency order.
    pub phases: Vec<Planned>,
}

/// What a run would do with one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The phase.
    pub name: &'static str,
    /// What would happen.
    pub state: Prospect,
    /// Evidence, or what is missing.
    pub detail: String,
}

/// What would happen to a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// Checks every phase, in dependency order, and changes nothing. A check that fails blocks its dependents.
    pub async fn plan(&self) -> Plan {
        let mut blocked = BTreeSet::new();
        let mut phases = Vec::new();
        for entry in &self.entries {
            let in_the_way = entry.needs.iter().find(|need| blocked.contains(*need));
            let (state, detail) = match in_the_way {
                Some(need) => {
                    let why = format!("needs {need}, which cannot be checked");
                    (Prospect::Blocked, why)
                }
                None => prospect(entry).await,
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

async fn prospect(entry: &Entry) -> (Prospect, String) {
    let check = async {
        let check = tokio::time::timeout(entry.deadline, entry.phase.check());
        check.await.unwrap_or_else(|_| {
            let deadline = lasting(entry.deadline.as_secs_f64());
            let reason = format!("its check did not answer within {deadline}");
            Err(Error::new(
                reason,
                "see in /var/log/bootstrap.log what it waited for",
            ))
        })
    };
    match caught(check).await {
        Ok(State::Done(evidence)) => (Prospect::Done, evidence),
        Ok(State::Needed(missing)) => (Prospect::Needed, missing),
        Ok(State::NotApplicable(why)) => (Prospect::NotApplicable, why),
        Err(error) => (
            Prospect::Blocked,
            format!("{error}; help: {}", error.hint()),
        ),
    }
}
