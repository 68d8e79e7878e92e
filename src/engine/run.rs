//! One run: starts each phase once what it needs holds, and records what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::journal::{Failure, Journal, Record, RunRecord, RunResult, Status, Store, lasting};
use super::observer::{Event, Observer};
use super::phase::Entry;
use super::stop::Stop;
use super::table::{Engine, Mode, Selection};
use super::work::{Activity, End, perform};
use crate::error::{Error, Result};
use crate::log::printable;
use crate::paths::LOG;

/// How long cancelled phases may take to stop (they kill their child processes); some block briefly.
const LETTING_GO: Duration = Duration::from_secs(10);

/// Facts about a run.
#[derive(Clone, Debug)]
pub struct About {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The program's version and commit.
    pub binary_version: String,
    /// How long the whole run may take.
    pub deadline: Duration,
    /// How many phases may run in parallel.
    pub jobs: usize,
    /// Why it runs, if it repairs something.
    pub reason: Option<String>,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The journal as last saved.
    pub journal: Journal,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that the run was about holds.
    Done,
    /// Something does not: reason and hint name each failed phase with its own; the reason includes the causes.
    Failed(Failure),
    /// The machine must be rebooted, after which the run resumes; the text says which phase asks and why.
    /// The journal has recorded it already.
    Rebooting(String),
}

impl Engine {
    /// Runs what `selection` (of this engine) names. Fails only if the journal cannot be read or set aside;
    /// whatever happens to the phases is in the result. Dropping the future cancels all phases.
    pub async fn run(
        &self,
        selection: &Selection,
        about: About,
        store: &dyn Store,
        observer: Arc<dyn Observer>,
        stop: &Stop,
    ) -> Result<Finished> {
        let mut run = Run::begin(self, selection, about, store, observer)?;
        run.drive(stop).await;
        Ok(run.finish())
    }
}

/// The state of a phase once this run is done with it.
enum Settled {
    /// It holds, or means nothing here.
    Holds,
    /// It was only checked and does not hold.
    Unmet(String),
    Failed,
    Skipped,
    Rebooting,
}

/// A phase's name, and how its work has ended.
type Ended = (&'static str, Result<End>);

/// A running phase.
struct Working {
    activity: Arc<Activity>,
    started: Instant,
    span: Span,
}

struct Run<'a> {
    engine: &'a Engine,
    selection: &'a Selection,
    about: About,
    store: &'a dyn Store,
    observer: Arc<dyn Observer>,
    journal: Journal,
    record: RunRecord,
    zero: Instant,
    /// Held by the one phase that may use the package manager.
    turn: Arc<Mutex<()>>,
    tasks: JoinSet<Ended>,
    working: BTreeMap<&'static str, Working>,
    settled: BTreeMap<&'static str, Settled>,
    /// Why the machine must reboot; if set, nothing new starts.
    rebooting: Option<String>,
    /// Why the run ended early.
    halted: Option<Error>,
    /// Whether the journal has changed since it was saved.
    changed: bool,
    /// Whether the warning that the journal cannot be written has been logged.
    unsaved: bool,
}

impl<'a> Run<'a> {
    fn begin(
        engine: &'a Engine,
        selection: &'a Selection,
        about: About,
        store: &'a dyn Store,
        observer: Arc<dyn Observer>,
    ) -> Result<Self> {
        let mut journal = Journal::resume(store)?;
        let started = in_milliseconds(Timestamp::now());
        let first_started = cut_by_reboot(&journal, &about.boot_id);
        let record = RunRecord {
            id: format!(
                "{}-{:06x}",
                started.strftime("%Y%m%dT%H%M%SZ"),
                fastrand::u32(..1 << 24)
            ),
            started,
            first_started,
            ended: None,
            seconds: None,
            result: RunResult::Running,
            boot_id: about.boot_id.clone(),
            binary_version: about.binary_version.clone(),
            reason: about.reason.clone(),
        };
        let names = engine.names();
        for name in &names {
            let applies = !matches!(selection.mode(name), None | Some(Mode::CheckOnly));
            if applies || journal.record(name).is_none() {
                journal.put(Record {
                    run: applies.then(|| record.id.clone()),
                    ..Record::pending(name)
                });
            }
        }
        journal.arrange(&names);
        journal.run = Some(record.clone());

        let about_these: Vec<_> = names
            .into_iter()
            .filter(|name| selection.mode(name).is_some())
            .collect();
        tracing::info!("run {} of {}", record.id, about.binary_version);
        observer.on(Event::RunStarted(&about_these));
        let mut run = Self {
            engine,
            selection,
            about,
            store,
            observer,
            journal,
            record,
            zero: Instant::now(),
            turn: Arc::default(),
            tasks: JoinSet::new(),
            working: BTreeMap::new(),
            settled: BTreeMap::new(),
            rebooting: None,
            halted: None,
            changed: true,
            unsaved: false,
        };
        run.save();
        Ok(run)
    }

    async fn drive(&mut self, stop: &Stop) {
        let whole = self.about.deadline;
        let spent = self.spent();
        let mut deadline = pin!(crate::pace::pause(whole.saturating_sub(spent)));
        loop {
            let begun = self.start_what_can();
            // Once for all that has ended and begins: each time waits for the disk.
            self.save();
            for work in begun {
                self.tasks.spawn(work);
            }
            let halt = tokio::select! {
                biased;
                joined = self.tasks.join_next() => {
                    let Some(joined) = joined else { return };
                    self.end(joined);
                    while let Some(joined) = self.tasks.try_join_next() {
                        self.end(joined);
                    }
                    continue;
                },
                what = stop.requested() => format!("stopped by {what}"),
                () = &mut deadline => {
                    let before = if spent.is_zero() {
                        String::new()
                    } else {
                        format!(", of which {} passed before the reboot", lasting(spent.as_secs_f64()))
                    };
                    let whole = lasting(whole.as_secs_f64());
                    format!("the run did not finish within its deadline of {whole}{before}")
                }
            };
            return self.halt(&halt).await;
        }
    }

    /// Settles a phase whose work has ended.
    fn end(&mut self, joined: Result<Ended, JoinError>) {
        match joined {
            Ok((name, result)) => self.settle(name, result),
            // Panics of phases are caught earlier: a bug in the engine is for the caller to report.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// How much of the deadline had passed when this run began, since whoever waits for it has waited since before the
    /// reboot. Zero if the clock was set in between, or the machine was off for so long that nobody waits any more.
    fn spent(&self) -> Duration {
        let first = self.record.first_started.unwrap_or(self.record.started);
        let spent = Duration::try_from(self.record.started.duration_since(first));
        let spent = spent.unwrap_or_default();
        if spent < self.about.deadline * 2 {
            spent
        } else {
            Duration::ZERO
        }
    }

    /// Skips every phase that cannot begin, and returns the work of those that begin now.
    fn start_what_can(&mut self) -> Vec<impl Future<Output = Ended> + Send + use<>> {
        let mut begun = Vec::new();
        for entry in &self.engine.entries {
            let Some(mode) = self.selection.mode(entry.name) else {
                continue;
            };
            let open = |need: &&str| !self.settled.contains_key(*need);
            if self.rebooting.is_some()
                || self.settled.contains_key(entry.name)
                || self.working.contains_key(entry.name)
                || entry.needs.iter().any(open)
            {
                continue;
            }
            if let Some(why) = self.stands_in_the_way(entry) {
                self.skip(entry.name, &why);
            } else if let Some(error) = self.unmet_needs(entry, mode) {
                self.refuse(entry.name, &error);
            } else if self.working.len() < self.about.jobs {
                begun.push(self.start(entry, mode));
            }
        }
        begun
    }

    /// Why `entry` has to be skipped, if something that it needs went wrong in this run.
    fn stands_in_the_way(&self, entry: &Entry) -> Option<String> {
        let those = |wanted: fn(&Settled) -> bool| {
            let needs = entry.needs.iter().copied();
            let those: Vec<_> = needs
                .filter(|need| self.settled.get(need).is_some_and(wanted))
                .collect();
            (!those.is_empty()).then(|| those.join(", "))
        };
        if let Some(failed) = those(|settled| matches!(settled, Settled::Failed)) {
            return Some(format!("needs {failed}, which failed"));
        }
        let skipped = those(|settled| matches!(settled, Settled::Skipped))?;
        Some(format!("needs {skipped}, which was skipped"))
    }

    /// The error if `entry` may not be applied: something that it needs was only checked, and does not hold.
    fn unmet_needs(&self, entry: &Entry, mode: Mode) -> Option<Error> {
        if mode == Mode::CheckOnly {
            return None;
        }
        let needs = self.engine.all_needs(BTreeSet::from([entry.name]));
        let mut unmet = Vec::new();
        let mut command = "bootstrap".to_owned();
        for name in self.engine.names() {
            let asked_for = !matches!(self.selection.mode(name), None | Some(Mode::CheckOnly));
            let missing = match self.settled.get(name) {
                Some(Settled::Unmet(missing)) if needs.contains(name) => Some(missing),
                _ => None,
            };
            unmet.extend(missing.map(|missing| format!("{name} ({missing})")));
            if asked_for || missing.is_some() {
                command = format!("{command} --phase {name}");
            }
        }
        (!unmet.is_empty()).then(|| {
            Error::new(
                format!("needs what does not hold: {}", unmet.join(", ")),
                format!("run `{command}`"),
            )
        })
    }

    fn start(
        &mut self,
        entry: &Arc<Entry>,
        mode: Mode,
    ) -> impl Future<Output = Ended> + Send + use<> {
        let name = entry.name;
        let activity = Activity::new(name, self.observer.clone());
        let working = Working {
            activity: activity.clone(),
            started: Instant::now(),
            span: tracing::info_span!("phase", name),
        };
        if mode != Mode::CheckOnly {
            self.journal.put(Record {
                status: Status::Running,
                started: Some(self.time(working.started)),
                ..self.blank(name)
            });
            self.changed = true;
        }
        self.observer.on(Event::Started(name));
        let (entry, turn, span) = (entry.clone(), self.turn.clone(), working.span.clone());
        self.working.insert(name, working);
        async move { (name, perform(&entry, mode, &turn, &activity).await) }.instrument(span)
    }

    /// Records how the work of a phase ended.
    fn settle(&mut self, name: &'static str, result: Result<End>) {
        let Some(working) = self.working.remove(name) else {
            return;
        };
        let _entered = working.span.clone().entered();
        let ended = Instant::now();
        let seconds = rounded(ended - working.started);
        let took = lasting(seconds);
        let result = result.and_then(|end| self.remember_reboot(name, end));
        let (settled, status, changed, detail, error) = match result {
            Ok(End::Holds(evidence, changed)) => {
                if changed {
                    tracing::info!("done in {took} ({evidence})");
                } else {
                    tracing::info!("nothing to do ({evidence})");
                }
                (Settled::Holds, Status::Ok, changed, evidence, None)
            }
            Ok(End::NotApplicable(why)) => {
                tracing::info!("not applicable ({why})");
                (Settled::Holds, Status::NotApplicable, false, why, None)
            }
            Ok(End::Unmet(missing)) => {
                tracing::warn!("does not hold: {missing}");
                let settled = Settled::Unmet(missing.clone());
                (settled, Status::Pending, false, missing, None)
            }
            Ok(End::Reboot(why)) => {
                tracing::info!("the machine must reboot: {why}");
                let detail = format!("waits for a reboot: {why}");
                (Settled::Rebooting, Status::Pending, false, detail, None)
            }
            Err(error) => {
                let failure = Failure::from(&error);
                tracing::error!("failed after {took}: {failure}. {}", failure.hint);
                let settled = match self.selection.mode(name) {
                    Some(Mode::CheckOnly) => Settled::Unmet(format!("its check failed: {failure}")),
                    _ => Settled::Failed,
                };
                let doing = working.activity.doing();
                (settled, Status::Failed, false, doing, Some(failure))
            }
        };
        if matches!(settled, Settled::Holds) {
            self.journal.reboots.remove(name);
        }
        let record = Record {
            status,
            changed,
            attempts: working.activity.attempts(),
            started: Some(self.time(working.started)),
            ended: Some(self.time(ended)),
            seconds: Some(seconds),
            detail: printable(&detail),
            error,
            ..self.blank(name)
        };
        self.close(name, settled, record);
    }

    /// Records a requested reboot in the journal, so that a phase that asks again after the reboot is refused: a node
    /// in a reboot loop never reports what is wrong.
    fn remember_reboot(&mut self, name: &'static str, end: End) -> Result<End> {
        let End::Reboot(why) = &end else {
            return Ok(end);
        };
        let boot = &self.about.boot_id;
        if self.journal.reboots.get(name).is_some_and(|b| b != boot) {
            return Err(Error::new(
                format!("{name} asked for a second reboot, and the first did not help: {why}"),
                format!("see in {LOG} why, repair it, then `bootstrap --phase {name}`"),
            ));
        }
        self.journal.reboots.insert(name.to_owned(), boot.clone());
        self.journal.save(self.store)?;
        self.rebooting.get_or_insert(format!("{name}: {why}"));
        Ok(end)
    }

    /// Fails a phase that may not start.
    fn refuse(&mut self, name: &'static str, error: &Error) {
        let failure = Failure::from(error);
        tracing::info_span!("phase", name)
            .in_scope(|| tracing::error!("{failure}. {}", failure.hint));
        let record = Record {
            status: Status::Failed,
            error: Some(failure),
            ..self.blank(name)
        };
        self.close(name, Settled::Failed, record);
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        tracing::info_span!("phase", name).in_scope(|| tracing::warn!("skipped: {why}"));
        let record = Record {
            status: Status::Skipped,
            detail: why.to_owned(),
            ..self.blank(name)
        };
        self.close(name, Settled::Skipped, record);
    }

    /// An empty record of a phase in this run.
    fn blank(&self, name: &str) -> Record {
        Record {
            run: Some(self.record.id.clone()),
            ..Record::pending(name)
        }
    }

    /// Settles a phase for this run; the journal records it unless the phase was only checked.
    fn close(&mut self, name: &'static str, settled: Settled, record: Record) {
        self.settled.insert(name, settled);
        self.observer.on(Event::Finished(&record));
        if self.selection.mode(name) != Some(Mode::CheckOnly) {
            self.journal.put(record);
            self.changed = true;
        }
    }

    /// Cancels what is running because of `why`, and skips the rest.
    async fn halt(&mut self, why: &str) {
        const HINT: &str =
            "run `bootstrap` again: it continues from the current state of the machine";
        self.tasks.abort_all();
        let _ = tokio::time::timeout(LETTING_GO, async {
            while let Some(joined) = self.tasks.join_next().await {
                // A phase that finished before the cancellation reached it counts as finished.
                if let Ok((name, result)) = joined {
                    self.settle(name, result);
                }
            }
        })
        .await;
        while let Some((name, working)) = self.working.first_key_value() {
            let error = Error::new(why, HINT).because(working.activity.last_seen());
            self.settle(name, Err(error));
        }
        for entry in &self.engine.entries {
            let open = !self.settled.contains_key(entry.name);
            if open && self.selection.mode(entry.name).is_some() {
                self.skip(entry.name, why);
            }
        }
        self.halted = Some(Error::new(why, HINT));
    }

    /// Records the result and reports it.
    fn finish(mut self) -> Finished {
        let outcome = match (self.failure(), self.rebooting.take()) {
            // What failed is retried after the reboot, unless the run was told to stop.
            (_, Some(why)) if self.halted.is_none() => Outcome::Rebooting(why),
            (Some(failure), _) => Outcome::Failed(failure),
            _ => Outcome::Done,
        };
        let ended = Instant::now();
        let seconds = rounded(ended - self.zero);
        self.record.ended = Some(self.time(ended));
        self.record.seconds = Some(seconds);
        self.record.result = match &outcome {
            Outcome::Done => RunResult::Ok,
            Outcome::Failed(_) => RunResult::Failed,
            Outcome::Rebooting(_) => RunResult::Rebooting,
        };
        self.journal.run = Some(self.record.clone());
        self.changed = true;
        self.save();
        let took = lasting(seconds);
        match &outcome {
            Outcome::Done => tracing::info!("run ok in {took}"),
            Outcome::Failed(failure) => {
                tracing::error!("run failed after {took}: {failure}. {}", failure.hint);
            }
            Outcome::Rebooting(why) => {
                tracing::info!("run stops after {took} and resumes after a reboot ({why})");
            }
        }
        self.observer.on(Event::RunFinished);
        Finished {
            outcome,
            journal: self.journal,
        }
    }

    /// Everything that went wrong, with the causes, as one failure.
    fn failure(&self) -> Option<Failure> {
        let failed: Vec<_> = self
            .journal
            .phases
            .iter()
            .filter(|record| {
                let settled = self.settled.get(record.name.as_str());
                matches!(settled, Some(Settled::Failed))
            })
            .filter_map(|record| Some((record, record.error.as_ref()?)))
            .collect();
        let alone = match failed.as_slice() {
            [] => return self.halted.as_ref().map(Failure::from),
            [_] => true,
            _ => false,
        };
        let (reasons, hints): (Vec<_>, Vec<_>) = failed
            .iter()
            .map(|(record, error)| {
                let name = &record.name;
                let hint = if alone {
                    error.hint.clone()
                } else {
                    format!("{name}: {}", error.hint)
                };
                (format!("{name}: {error}"), hint)
            })
            .unzip();
        Some(Failure {
            reason: printable(&reasons.join("; ")),
            hint: printable(&hints.join("; ")),
            causes: Vec::new(),
        })
    }

    /// Saves the journal if it has changed. The run goes on if that fails, with a single warning; only a reboot requires
    /// it.
    fn save(&mut self) {
        if std::mem::take(&mut self.changed)
            && let Err(error) = self.journal.save(self.store)
            && !std::mem::replace(&mut self.unsaved, true)
        {
            tracing::warn!("{error}. {}", error.hint());
        }
    }

    /// The wall-clock time of an instant of this run. Counted from the run's start, so that setting the clock in
    /// between (usual right after boot) does not make the journal's times inconsistent.
    fn time(&self, instant: Instant) -> Timestamp {
        let since = i64::try_from((instant - self.zero).as_millis()).unwrap_or(i64::MAX);
        let at = self.record.started.as_millisecond().saturating_add(since);
        Timestamp::from_millisecond(at).unwrap_or(self.record.started)
    }
}

/// When the work began that a reboot, planned or not, has interrupted and that resumes in this boot.
fn cut_by_reboot(journal: &Journal, boot_id: &str) -> Option<Timestamp> {
    let run = &journal.earlier.first()?.run;
    let goes_on = matches!(run.result, RunResult::Rebooting | RunResult::Running);
    (goes_on && run.boot_id != boot_id).then(|| run.first_started.unwrap_or(run.started))
}

/// Seconds, rounded to a millisecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn in_milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}
