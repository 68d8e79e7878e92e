//! The table of phases, validated and sorted; and which of them a run is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::phase::Entry;
use crate::error::{Error, Result};

/// Phases that have been validated to fit together.
pub struct Engine {
    /// In dependency order; phases that do not depend on each other are in the table's order.
    pub(super) entries: Vec<Arc<Entry>>,
}

/// What a run does with one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Check, and apply if needed.
    Ensure,
    /// Apply even if the check is satisfied.
    Force,
    /// Check only: a requested phase needs it.
    CheckOnly,
}

/// The phases that a run is about.
#[derive(Clone, Debug)]
pub struct Selection(BTreeMap<&'static str, Mode>);

impl Selection {
    pub(super) fn mode(&self, name: &str) -> Option<Mode> {
        self.0.get(name).copied()
    }
}

impl Engine {
    /// Takes the table of phases. Fails if two share a name, one needs a phase that does not exist, or some form a
    /// dependency cycle; each of these is a bug in the program.
    pub fn new(table: Vec<Entry>) -> Result<Self> {
        let mut names = BTreeSet::new();
        if let Some(twice) = table.iter().find(|entry| !names.insert(entry.name)) {
            return Err(mistake(format!("two phases are named '{}'", twice.name)));
        }
        for entry in &table {
            if let Some(unknown) = entry.needs.iter().find(|need| !names.contains(*need)) {
                return Err(mistake(format!(
                    "phase '{}' needs '{unknown}', which does not exist",
                    entry.name
                )));
            }
        }
        Ok(Self {
            entries: in_order(table)?,
        })
    }

    /// The phases' names in dependency order.
    pub fn names(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.name).collect()
    }

    /// Every phase, applied if its check says so.
    pub fn everything(&self) -> Selection {
        let all = self.entries.iter().map(|entry| (entry.name, Mode::Ensure));
        Selection(all.collect())
    }

    /// Every phase but this one, which no other needs.
    pub fn everything_but(&self, name: &str) -> Selection {
        let Selection(mut all) = self.everything();
        all.remove(name);
        Selection(all)
    }

    /// The phases `names`, and checks of what they need; `force` applies the named ones even if their check is
    /// satisfied. An unknown name is a usage error.
    pub fn named(&self, names: &[String], force: bool) -> Result<Selection> {
        let mode = if force { Mode::Force } else { Mode::Ensure };
        let mut modes = BTreeMap::new();
        for name in names {
            let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
                return Err(self.unknown(name));
            };
            modes.insert(entry.name, mode);
        }
        for need in self.all_needs(modes.keys().copied().collect()) {
            modes.entry(need).or_insert(Mode::CheckOnly);
        }
        Ok(Selection(modes))
    }

    /// `names` and everything that they need, directly or indirectly.
    pub(super) fn all_needs(&self, mut names: BTreeSet<&'static str>) -> BTreeSet<&'static str> {
        // Backwards through the dependency order, each phase comes after all that need it.
        for entry in self.entries.iter().rev() {
            if names.contains(entry.name) {
                names.extend(entry.needs);
            }
        }
        names
    }

    fn unknown(&self, name: &str) -> Error {
        let nearest = self
            .entries
            .iter()
            .map(|entry| (strsim::damerau_levenshtein(name, entry.name), entry.name))
            .min()
            .filter(|(distance, nearest)| *distance <= nearest.len() / 2)
            .map(|(_, nearest)| format!("; did you mean '{nearest}'?"));
        Error::new(
            format!("no phase is named '{name}'{}", nearest.unwrap_or_default()),
            format!("the phases are: {}", self.names().join(", ")),
        )
    }
}

fn in_order(mut waiting: Vec<Entry>) -> Result<Vec<Arc<Entry>>> {
    let mut ordered: Vec<Arc<Entry>> = Vec::new();
    while !waiting.is_empty() {
        let placed: BTreeSet<_> = ordered.iter().map(|entry| entry.name).collect();
        let ready = waiting
            .iter()
            .position(|entry| entry.needs.iter().all(|need| placed.contains(need)));
        match ready {
            Some(at) => ordered.push(Arc::new(waiting.remove(at))),
            None => return Err(circle(&waiting)),
        }
    }
    Ok(ordered)
}

/// Names the cycle among phases none of which can be first.
fn circle(stuck: &[Entry]) -> Error {
    let find = |name: &str| stuck.iter().find(|entry| entry.name == name);
    let mut path: Vec<&str> = Vec::new();
    let mut next = stuck.first();
    while let Some(entry) = next {
        let seen = path.iter().position(|name| *name == entry.name);
        path.push(entry.name);
        if let Some(start) = seen {
            path.drain(..start);
            break;
        }
        next = entry.needs.iter().find_map(|need| find(need));
    }
    mistake(format!(
        "phases depend on each other in a cycle: {}",
        path.join(" -> ")
    ))
}

fn mistake(reason: String) -> Error {
    Error::new(
        reason,
        "this is a bug in the program's table of phases: report it with the program's version",
    )
}
