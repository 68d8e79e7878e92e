//! The journal: what the last runs did to each phase. The machine is the source of truth; this is only a record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, OrFail, Result};
use crate::log::printable;

/// The format version that this program writes and reads.
const VERSION: u32 = 1;

/// How many runs are kept, including the last one.
const RUNS: usize = 10;

/// How many causes of an error are recorded at most.
const CAUSES: usize = 10;

/// Where the journal is kept.
pub trait Store: Send + Sync {
    /// The journal's content, or `None` before the first run.
    fn load(&self) -> Result<Option<Vec<u8>>>;
    /// Replaces it atomically; once this returns, it survives a power failure.
    fn save(&self, bytes: &[u8]) -> Result<()>;
    /// Renames it (`journal.json.unreadable-<UTC time>`) because it cannot be used, for the reason `why`.
    fn set_aside(&self, why: &str) -> Result<()>;
}

/// What is known about the runs so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Journal {
    /// Version of this shape.
    pub version: u32,
    /// The last run; `null` before the first.
    pub run: Option<RunRecord>,
    /// Each phase, in dependency order. A run of some phases leaves the records of the others alone.
    pub phases: Vec<Record>,
    /// Phases that asked for a reboot, and the boot id they asked in; removed when the phase holds.
    #[serde(default)]
    pub reboots: BTreeMap<String, String>,
    /// The runs before the last, the latest first, each with the records of the phases that it was about. An older
    /// program leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub earlier: Vec<Past>,
}

/// A run before the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    /// The run.
    pub run: RunRecord,
    /// The phases that it was about.
    pub phases: Vec<Record>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// Start time and a random number.
    pub id: String,
    /// By the machine's clock.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// Start of the first of the runs that reboots have made of one, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub first_started: Option<Timestamp>,
    /// `started` plus `seconds`.
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// By the monotonic clock, to a millisecond.
    pub seconds: Option<f64>,
    /// How it ended.
    pub result: RunResult,
    /// The boot it ran in.
    pub boot_id: String,
    /// The program's version and commit.
    pub binary_version: String,
    /// What was wrong with the node, where the run repairs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reason: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunResult {
    /// Everything it was about holds.
    Ok,
    /// A phase failed, or the run was stopped.
    Failed,
    /// Not ended, or killed.
    Running,
    /// Resumes after a reboot.
    Rebooting,
}

/// Where a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not started.
    Pending,
    /// Running.
    Running,
    /// Its check said that it holds.
    Ok,
    /// It does not hold; `error` says why.
    Failed,
    /// Not started, since something it needs failed or the run ended before.
    Skipped,
    /// Means nothing on this machine.
    NotApplicable,
}

/// What happened to one phase, the last time a run was about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The phase.
    pub name: String,
    /// Where it is.
    pub status: Status,
    /// Whether something was applied.
    pub changed: bool,
    /// How often applying was tried.
    pub attempts: u32,
    /// The run's start plus the monotonic time until the phase's start.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// `started` plus `seconds`.
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// By the monotonic clock, to a millisecond.
    pub seconds: Option<f64>,
    /// Evidence, or what it was doing last.
    pub detail: String,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Id of the run that this is about.
    #[serde(default)]
    pub run: Option<String>,
}

/// An error, as it is recorded: safe to print, and bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What went wrong.
    pub reason: String,
    /// What to do next.
    pub hint: String,
    /// The failures underneath, outermost first.
    pub causes: Vec<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let causes = error.causes();
        Self {
            reason: printable(error.reason()),
            hint: printable(error.hint()),
            causes: causes.iter().take(CAUSES).map(|c| printable(c)).collect(),
        }
    }
}

impl std::fmt::Display for Failure {
    /// `reason: cause: cause`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.reason)?;
        self.causes.iter().try_for_each(|c| write!(out, ": {c}"))
    }
}

impl Record {
    /// A phase of which nothing is known.
    pub fn pending(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Pending,
            changed: false,
            attempts: 0,
            started: None,
            ended: None,
            seconds: None,
            detail: String::new(),
            error: None,
            run: None,
        }
    }
}

impl From<Past> for Journal {
    /// The journal as if that run were the only one.
    fn from(Past { run, phases }: Past) -> Self {
        Self {
            run: Some(run),
            phases,
            ..Self::default()
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            version: VERSION,
            run: None,
            phases: Vec::new(),
            reboots: BTreeMap::new(),
            earlier: Vec::new(),
        }
    }
}

impl Journal {
    /// Reads what `save` wrote. Garbage and other versions are errors.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let garbage = || "the journal is not readable";
        let hint = "the next run sets it aside and starts a new one";
        let head: Head = serde_json::from_slice(bytes).or_fail(garbage, hint)?;
        if head.version != VERSION {
            return Err(Error::new(
                format!(
                    "the journal has version {}, and this program reads version {VERSION}",
                    head.version
                ),
                "use the bootstrap that wrote it; a run of this one sets it aside and starts a new one",
            ));
        }
        serde_json::from_slice(bytes).or_fail(garbage, hint)
    }

    /// The journal for a run to continue. One that cannot be used is set aside with a warning; phases that a killed run
    /// left as running are pending again.
    pub fn resume(store: &dyn Store) -> Result<Self> {
        let mut journal = match store.load()?.map(|bytes| Self::parse(&bytes)) {
            None => Self::default(),
            Some(Ok(journal)) => journal,
            Some(Err(error)) => {
                tracing::warn!("{error}; it is set aside and a new one started");
                store.set_aside(error.reason())?;
                Self::default()
            }
        };
        journal.file_away();
        for record in &mut journal.phases {
            if record.status == Status::Running {
                tracing::warn!("the last run was interrupted during {}", record.name);
                *record = Record {
                    detail: "interrupted".to_owned(),
                    ..Record::pending(&record.name)
                };
            }
        }
        Ok(journal)
    }

    /// Writes it to `store`.
    pub fn save(&self, store: &dyn Store) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self).or_fail(
            || "cannot encode the journal",
            "this is a bug in the program: report it with the program's version",
        )?;
        bytes.push(b'\n');
        store.save(&bytes)
    }

    /// Moves the last run to the earlier ones, as it was when it ended or was killed.
    fn file_away(&mut self) {
        if let Some(past) = self.last() {
            self.earlier.insert(0, past);
            self.earlier.truncate(RUNS - 1);
            self.run = None;
        }
    }

    /// The last run on its own.
    fn last(&self) -> Option<Past> {
        let run = self.run.clone()?;
        let phases = self.phases.iter();
        let phases = phases.filter(|record| record.run.as_ref() == Some(&run.id));
        Some(Past {
            phases: phases.cloned().collect(),
            run,
        })
    }

    /// Every recorded run, the latest first.
    pub fn runs(&self) -> Vec<Past> {
        self.last()
            .into_iter()
            .chain(self.earlier.clone())
            .collect()
    }

    /// The latest time in the journal.
    pub fn last_moment(&self) -> Timestamp {
        let run = self
            .run
            .iter()
            .flat_map(|run| [Some(run.started), run.ended]);
        let phases = self
            .phases
            .iter()
            .flat_map(|phase| [phase.started, phase.ended]);
        run.chain(phases).flatten().max().unwrap_or_default()
    }

    /// The record of a phase.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.phases.iter().find(|record| record.name == name)
    }

    /// Replaces the record of a phase.
    pub(super) fn put(&mut self, record: Record) {
        match self.phases.iter_mut().find(|old| old.name == record.name) {
            Some(old) => *old = record,
            None => self.phases.push(record),
        }
    }

    /// Puts the records in the order of `names`; those of phases that no longer exist are kept at the end.
    pub(super) fn arrange(&mut self, names: &[&str]) {
        self.phases.sort_by_key(|record| {
            let place = names.iter().position(|name| *name == record.name);
            place.unwrap_or(names.len())
        });
    }
}

/// A duration in seconds for people: `0.4 s`, `12.3 s`, `2 min 5 s`, `1 h 4 min`.
pub fn lasting(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    // The seconds of a run are far below 2^32, and never negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, _, 0) => format!("{minutes} min"),
        (0, ..) => format!("{minutes} min {rest} s"),
        (_, 0, _) => format!("{hours} h"),
        _ => format!("{hours} h {minutes} min"),
    }
}
