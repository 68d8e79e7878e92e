//! The engine with made-up phases on a made-up machine. Time is tokio's paused clock: pauses and deadlines elapse at
//! once when nothing else can run, so a test that hangs fails by its deadline instead.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Barrier, Notify, Semaphore};

use super::journal::{RunResult, Status, Store};
use super::*;
use crate::doing::doing;
use crate::error::{Error, Result};

const MINUTE: Duration = Duration::from_mins(1);

/// What applying a made-up phase does.
#[derive(Clone)]
enum Act {
    Works,
    Fails,
    FailsAtFirst(u32),
    HelpsNothing,
    Panics,
    Hangs,
    Takes(Duration),
    Reboots,
    Meets(Arc<Barrier>),
    Passes(Arc<Semaphore>),
    Alone,
}

/// The machine: what holds on it, and what was done to it.
#[derive(Default)]
struct World {
    holds: Mutex<BTreeSet<&'static str>>,
    done: Mutex<Vec<String>>,
    inside: AtomicU32,
    dropped: AtomicBool,
}

impl World {
    fn with(holds: &[&'static str]) -> Arc<Self> {
        let world = Arc::new(Self::default());
        world.holds.lock().unwrap().extend(holds);
        world
    }

    fn note(&self, what: &str, name: &str) {
        self.done.lock().unwrap().push(format!("{what} {name}"));
    }

    fn applied(&self) -> Vec<String> {
        let done = self.done.lock().unwrap();
        let applied = done.iter().filter_map(|line| line.strip_prefix("apply "));
        applied.map(str::to_owned).collect()
    }

    fn checks(&self) -> usize {
        let done = self.done.lock().unwrap();
        done.iter().filter(|line| line.starts_with("check")).count()
    }
}

struct Fake {
    name: &'static str,
    world: Arc<World>,
    act: Act,
    tries: AtomicU32,
    check: fn() -> Option<Result<State>>,
    opens: Option<Arc<Semaphore>>,
}

#[async_trait]
impl Phase for Fake {
    async fn check(&self) -> Result<State> {
        self.world.note("check", self.name);
        if let Some(gate) = &self.opens {
            gate.add_permits(1);
        }
        if let Some(answer) = (self.check)() {
            return answer;
        }
        let holds = self.world.holds.lock().unwrap().contains(self.name);
        Ok(if holds {
            State::Done(format!("{} is there", self.name))
        } else {
            State::Needed(format!("no {}", self.name))
        })
    }

    async fn apply(&self) -> Result<Applied> {
        struct Dropped<'a>(&'a AtomicBool);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        self.world.note("apply", self.name);
        let tries = self.tries.fetch_add(1, Ordering::SeqCst) + 1;
        match &self.act {
            Act::Fails => {
                let error = Error::new("it is broken", "repair it");
                return Err(error.because(anyhow::anyhow!("a cause")));
            }
            Act::FailsAtFirst(times) if tries <= *times => {
                return Err(Error::new("busy", "wait").transient());
            }
            Act::Works | Act::FailsAtFirst(_) => {}
            Act::HelpsNothing => return Ok(Applied::Finished),
            Act::Panics => panic!("index 7 out of 3"),
            Act::Hangs => {
                let _dropped = Dropped(&self.world.dropped);
                doing("waiting for a miracle");
                std::future::pending::<()>().await;
            }
            Act::Takes(time) => tokio::time::sleep(*time).await,
            Act::Reboots => return Ok(Applied::RebootNeeded("new kernel".into())),
            Act::Meets(barrier) => {
                barrier.wait().await;
            }
            Act::Passes(gate) => gate.acquire().await.unwrap().forget(),
            Act::Alone => {
                assert_eq!(self.world.inside.fetch_add(1, Ordering::SeqCst), 0);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                self.world.inside.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.world.holds.lock().unwrap().insert(self.name);
        Ok(Applied::Finished)
    }
}

type Line = (&'static str, &'static [&'static str], Act);

fn entry(world: &Arc<World>, (name, needs, act): Line) -> Entry {
    Entry {
        name,
        needs,
        deadline: 10 * MINUTE,
        packages: false,
        phase: Box::new(fake(world, name, act)),
    }
}

fn fake(world: &Arc<World>, name: &'static str, act: Act) -> Fake {
    Fake {
        name,
        world: world.clone(),
        act,
        tries: AtomicU32::new(0),
        check: || None,
        opens: None,
    }
}

fn engine(world: &Arc<World>, lines: impl IntoIterator<Item = Line>) -> Engine {
    let entries = lines.into_iter().map(|line| entry(world, line));
    Engine::new(entries.collect()).unwrap()
}

/// `a`, `b` and `c` in a chain, `d` on its own.
fn row(world: &Arc<World>, b: Act) -> Engine {
    let lines: [Line; 4] = [
        ("a", &[], Act::Works),
        ("b", &["a"], b),
        ("c", &["b"], Act::Works),
        ("d", &[], Act::Works),
    ];
    engine(world, lines)
}

#[derive(Default)]
struct Memory {
    bytes: Mutex<Option<Vec<u8>>>,
    aside: Mutex<Vec<String>>,
    full: AtomicBool,
    saves: AtomicU32,
}

impl Memory {
    fn holding(bytes: &[u8]) -> Self {
        Self {
            bytes: Mutex::new(Some(bytes.to_vec())),
            ..Self::default()
        }
    }

    fn journal(&self) -> Journal {
        Journal::parse(self.bytes.lock().unwrap().as_ref().unwrap()).unwrap()
    }
}

impl Store for Memory {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.bytes.lock().unwrap().clone())
    }
    fn save(&self, bytes: &[u8]) -> Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::new("no space left", "free some"));
        }
        *self.bytes.lock().unwrap() = Some(bytes.to_vec());
        self.saves.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn set_aside(&self, why: &str) -> Result<()> {
        *self.bytes.lock().unwrap() = None;
        self.aside.lock().unwrap().push(why.to_owned());
        Ok(())
    }
}

fn about(boot: &str) -> About {
    About {
        boot_id: boot.into(),
        binary_version: "1.2.3".into(),
        deadline: 60 * MINUTE,
        jobs: usize::MAX,
        reason: None,
    }
}

async fn run(engine: &Engine) -> Finished {
    run_some(engine, &engine.everything(), &Memory::default()).await
}

async fn run_some(engine: &Engine, selection: &Selection, store: &Memory) -> Finished {
    let finished = engine
        .run(
            selection,
            about("boot-1"),
            store,
            Arc::new(()),
            &Stop::default(),
        )
        .await
        .unwrap();
    assert_eq!(
        store.journal(),
        finished.journal,
        "the saved journal is the answer"
    );
    finished
}

fn named(engine: &Engine, names: &[&str], force: bool) -> Result<Selection> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    engine.named(&names, force)
}

fn statuses(journal: &Journal) -> Vec<(&str, Status)> {
    let phases = journal.phases.iter();
    phases.map(|r| (r.name.as_str(), r.status)).collect()
}

fn reason(finished: &Finished, name: &str) -> String {
    let record = finished.journal.record(name).unwrap();
    assert_eq!(record.status, Status::Failed);
    record.error.as_ref().unwrap().reason.clone()
}

fn failure(finished: &Finished) -> &journal::Failure {
    match &finished.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

use Status::{Failed, NotApplicable, Ok as Fine, Pending, Running, Skipped};

#[test]
fn refuses_a_table_that_does_not_fit_together() {
    let refusal = |lines: &[Line]| {
        let world = World::with(&[]);
        let entries = lines.iter().cloned().map(|line| entry(&world, line));
        let error = Engine::new(entries.collect()).err().unwrap();
        error.reason().to_owned()
    };
    assert_eq!(
        refusal(&[("a", &[], Act::Works), ("a", &[], Act::Works)]),
        "two phases are named 'a'"
    );
    assert_eq!(
        refusal(&[("a", &["x"], Act::Works)]),
        "phase 'a' needs 'x', which does not exist"
    );
    assert_eq!(
        refusal(&[
            ("r", &[], Act::Works),
            ("z", &["a", "r"], Act::Works),
            ("a", &["r", "b"], Act::Works),
            ("b", &["c"], Act::Works),
            ("c", &["a"], Act::Works),
        ]),
        "phases depend on each other in a cycle: a -> b -> c -> a"
    );
    assert_eq!(
        refusal(&[("a", &["a"], Act::Works)]),
        "phases depend on each other in a cycle: a -> a"
    );
}

#[tokio::test(start_paused = true)]
async fn applies_in_order_of_need_and_then_changes_nothing() {
    let world = World::with(&["d"]);
    let store = Memory::default();
    let lines: [Line; 4] = [
        ("c", &["b", "d"], Act::Works),
        ("b", &["a"], Act::Works),
        ("a", &[], Act::Works),
        ("d", &[], Act::Works),
    ];
    let engine = engine(&world, lines);
    let first = run_some(&engine, &engine.everything(), &store).await;
    assert_eq!(first.outcome, Outcome::Done);
    assert_eq!(world.applied(), ["a", "b", "c"]);
    assert_eq!(engine.names(), ["a", "b", "d", "c"]);
    let record = first.journal.record("b").unwrap();
    assert!(record.changed && record.attempts == 1);
    assert_eq!(record.detail, "b is there");
    assert!(!first.journal.record("d").unwrap().changed);

    let second = run_some(&engine, &engine.everything(), &store).await;
    assert_eq!(second.outcome, Outcome::Done);
    assert_eq!(world.applied().len(), 3);
    assert!(
        second
            .journal
            .phases
            .iter()
            .all(|r| !r.changed && r.attempts == 0)
    );
}

/// Each time waits for the disk.
#[tokio::test(start_paused = true)]
async fn the_journal_is_saved_once_for_what_happens_at_the_same_time() {
    let lines: [Line; 3] = ["a", "b", "c"].map(|name| (name, &[][..], Act::Works));
    let engine = engine(&World::with(&["a", "b", "c"]), lines);
    let store = Memory::default();
    run_some(&engine, &engine.everything(), &store).await;
    // The run begins; all begin; all have ended; the run has ended.
    assert_eq!(store.saves.load(Ordering::SeqCst), 4);
}

/// Each phase fails if another is running.
#[tokio::test(start_paused = true)]
async fn no_more_phases_are_at_work_than_asked_for() {
    let world = World::with(&[]);
    let lines: [Line; 4] = [
        ("a", &[], Act::Alone),
        ("b", &[], Act::Alone),
        ("c", &["b"], Act::Alone),
        ("d", &[], Act::Alone),
    ];
    let engine = engine(&world, lines);
    let about = About {
        jobs: 1,
        ..about("boot-1")
    };
    let everything = engine.everything();
    let (store, stop) = (Memory::default(), Stop::default());
    let run = engine.run(&everything, about, &store, Arc::new(()), &stop);
    assert_eq!(run.await.unwrap().outcome, Outcome::Done);
    assert_eq!(world.applied().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn independent_phases_overlap() {
    let world = World::with(&[]);
    let barrier = Arc::new(Barrier::new(3));
    let meets = || Act::Meets(barrier.clone());
    let lines: [Line; 3] = [
        ("a", &[], meets()),
        ("b", &[], meets()),
        ("c", &[], meets()),
    ];
    assert_eq!(run(&engine(&world, lines)).await.outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn phases_that_use_the_package_manager_take_turns() {
    let world = World::with(&[]);
    let entries = ["a", "b", "c"].map(|name| Entry {
        packages: true,
        ..entry(&world, (name, &[], Act::Alone))
    });
    let engine = Engine::new(entries.into()).unwrap();
    assert_eq!(run(&engine).await.outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_check_needs_no_turn_and_waiting_for_it_does_not_count() {
    let world = World::with(&[]);
    let gate = Arc::new(Semaphore::new(0));
    let entries = vec![
        Entry {
            packages: true,
            phase: Box::new(fake(&world, "a", Act::Passes(gate.clone()))),
            ..entry(&world, ("a", &[], Act::Works))
        },
        Entry {
            packages: true,
            ..entry(&world, ("b", &[], Act::Takes(9 * MINUTE)))
        },
        Entry {
            packages: true,
            phase: Box::new(Fake {
                opens: Some(gate),
                ..fake(&world, "c", Act::Takes(9 * MINUTE))
            }),
            ..entry(&world, ("c", &[], Act::Works))
        },
    ];
    let finished = run(&Engine::new(entries).unwrap()).await;
    assert_eq!(finished.outcome, Outcome::Done);
    // c waited nine minutes for b, and then took nine of its ten.
    let seconds = finished.journal.record("c").unwrap().seconds.unwrap();
    assert!((1080.0..1081.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_only_its_dependents() {
    let world = World::with(&[]);
    let lines: [Line; 6] = [
        ("a", &[], Act::Works),
        ("b", &["a"], Act::Fails),
        ("c", &["a", "b"], Act::Works),
        ("d", &[], Act::Works),
        ("e", &["c"], Act::Works),
        ("f", &["d"], Act::HelpsNothing),
    ];
    let finished = run(&engine(&world, lines)).await;
    assert_eq!(
        statuses(&finished.journal),
        [
            ("a", Fine),
            ("b", Failed),
            ("c", Skipped),
            ("d", Fine),
            ("e", Skipped),
            ("f", Failed)
        ]
    );
    let detail = |name| finished.journal.record(name).unwrap().detail.clone();
    assert_eq!(detail("c"), "needs b, which failed");
    assert_eq!(detail("e"), "needs c, which was skipped");
    assert_eq!(
        reason(&finished, "f"),
        "applied, but the check still says: no f"
    );
    let failure = failure(&finished);
    assert_eq!(
        failure.reason,
        "b: it is broken: a cause; f: applied, but the check still says: no f"
    );
    assert!(
        failure.hint.starts_with("b: repair it; f: "),
        "{}",
        failure.hint
    );
    assert!(failure.causes.is_empty());
    assert_eq!(
        finished.journal.run.as_ref().unwrap().result,
        RunResult::Failed
    );
    assert_eq!(
        world.applied().iter().filter(|n| *n == "b").count(),
        1,
        "final failures are not retried"
    );
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_tried_three_times() {
    let world = World::with(&[]);
    let lines: [Line; 2] = [
        ("a", &[], Act::FailsAtFirst(2)),
        ("b", &[], Act::FailsAtFirst(3)),
    ];
    let finished = run(&engine(&world, lines)).await;
    assert_eq!(
        statuses(&finished.journal),
        [("a", Fine), ("b", Status::Failed)]
    );
    assert!(finished.journal.phases.iter().all(|r| r.attempts == 3));
    assert_eq!(reason(&finished, "b"), "busy");
}

#[tokio::test(start_paused = true)]
async fn a_phase_that_hangs_fails_by_its_deadline() {
    let world = World::with(&[]);
    let finished = run(&row(&world, Act::Hangs)).await;
    assert_eq!(
        reason(&finished, "b"),
        "did not finish within its deadline of 10 min"
    );
    assert!(world.dropped.load(Ordering::SeqCst));
    let record = finished.journal.record("b").unwrap();
    assert_eq!(record.detail, "waiting for a miracle");
    assert_eq!(
        record.error.as_ref().unwrap().causes,
        ["last seen: waiting for a miracle"]
    );
    assert!((600.0..601.0).contains(&record.seconds.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_before_the_reboot() {
    let run_after = async |before: Duration, result: RunResult, boot: &str| {
        let world = World::with(&[]);
        let store = Memory::default();
        run_some(
            &row(&world, Act::Works),
            &row(&world, Act::Works).everything(),
            &store,
        )
        .await;
        let mut journal = store.journal();
        let run = journal.run.as_mut().unwrap();
        run.result = result;
        run.first_started = Some(Timestamp::now() - before);
        journal.save(&store).unwrap();
        let about = About {
            deadline: 5 * MINUTE,
            ..about(boot)
        };
        let engine = row(&World::with(&[]), Act::Hangs);
        let everything = engine.everything();
        let finished = engine
            .run(&everything, about, &store, Arc::new(()), &Stop::default())
            .await
            .unwrap();
        let run = finished.journal.run.clone().unwrap();
        (run.seconds.unwrap().round(), reason(&finished, "b"))
    };
    let whole = "the run did not finish within its deadline of 5 min";
    for result in [RunResult::Rebooting, RunResult::Running] {
        let (seconds, said) = run_after(4 * MINUTE, result, "boot-2").await;
        assert!((59.0..=60.0).contains(&seconds), "{seconds}");
        assert_eq!(
            said,
            format!("{whole}, of which 4 min passed before the reboot")
        );
        // Killed, and resumed in the same boot.
        assert_eq!(
            run_after(4 * MINUTE, result, "boot-1").await,
            (300.0, whole.to_owned())
        );
    }
    for (before, result) in [
        (11 * MINUTE, RunResult::Rebooting),
        (4 * MINUTE, RunResult::Failed),
    ] {
        assert_eq!(
            run_after(before, result, "boot-2").await,
            (300.0, whole.to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_ends_by_its_deadline() {
    let world = World::with(&[]);
    let engine = row(&world, Act::Hangs);
    let about = About {
        deadline: 5 * MINUTE,
        ..about("boot-1")
    };
    let everything = engine.everything();
    let store = Memory::default();
    let finished = engine
        .run(&everything, about, &store, Arc::new(()), &Stop::default())
        .await
        .unwrap();
    assert_eq!(
        reason(&finished, "b"),
        "the run did not finish within its deadline of 5 min"
    );
    let skipped = finished.journal.record("c").unwrap();
    assert_eq!(skipped.status, Skipped);
    assert_eq!(
        skipped.detail,
        "the run did not finish within its deadline of 5 min"
    );
    assert_eq!(finished.journal.record("d").unwrap().status, Fine);
    assert!(world.dropped.load(Ordering::SeqCst));
    assert_eq!(store.journal(), finished.journal);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_failure_of_one_phase() {
    let world = World::with(&[]);
    let finished = run(&row(&world, Act::Panics)).await;
    assert_eq!(
        reason(&finished, "b"),
        "the program panicked: index 7 out of 3"
    );
    assert_eq!(
        statuses(&finished.journal),
        [("a", Fine), ("b", Failed), ("c", Skipped), ("d", Fine)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_applicable_counts_as_met() {
    let world = World::with(&[]);
    let entries = vec![
        Entry {
            phase: Box::new(Fake {
                check: || Some(Ok(State::NotApplicable("gpu is false".into()))),
                ..fake(&world, "a", Act::Fails)
            }),
            ..entry(&world, ("a", &[], Act::Works))
        },
        entry(&world, ("b", &["a"], Act::Works)),
    ];
    let engine = Engine::new(entries).unwrap();
    let finished = run(&engine).await;
    assert_eq!(finished.outcome, Outcome::Done);
    assert_eq!(
        statuses(&finished.journal),
        [("a", NotApplicable), ("b", Fine)]
    );
    // Not even with --force.
    let forced = named(&engine, &["a"], true).unwrap();
    run_some(&engine, &forced, &Memory::default()).await;
    assert_eq!(world.applied(), ["b"]);
}

/// Does something at the moment a phase is applied.
struct AtApply(&'static str, Box<dyn Fn() + Send + Sync>);

impl Observer for AtApply {
    fn on(&self, event: Event<'_>) {
        if matches!(event, Event::Doing(name, what) if name == self.0 && what.ends_with("applying"))
        {
            (self.1)();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_cancels_what_runs_and_records_it() {
    let world = World::with(&[]);
    let engine = row(&world, Act::Hangs);
    let (stop, store) = (Stop::default(), Memory::default());
    let asked = stop.clone();
    let observer = AtApply(
        "b",
        Box::new(move || {
            asked.request("SIGTERM");
            asked.request("SIGINT");
        }),
    );
    let finished = engine
        .run(
            &engine.everything(),
            about("boot-1"),
            &store,
            Arc::new(observer),
            &stop,
        )
        .await
        .unwrap();
    assert_eq!(reason(&finished, "b"), "stopped by SIGTERM");
    assert_eq!(
        finished.journal.record("c").unwrap().detail,
        "stopped by SIGTERM"
    );
    assert_eq!(
        failure(&finished).to_string(),
        "b: stopped by SIGTERM: last seen: waiting for a miracle"
    );
    assert!(world.dropped.load(Ordering::SeqCst), "b was cancelled");
    assert_eq!(
        store.journal().run.as_ref().unwrap().result,
        RunResult::Failed
    );
    assert_eq!(
        statuses(&store.journal()),
        [("a", Fine), ("b", Failed), ("c", Skipped), ("d", Fine)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_run_is_resumed() {
    let world = World::with(&[]);
    let store = Memory::default();
    let killed = row(&world, Act::Hangs);
    let kill = Arc::new(Notify::new());
    let now = kill.clone();
    let observer = AtApply("b", Box::new(move || now.notify_one()));
    let (everything, stop) = (killed.everything(), Stop::default());
    tokio::select! {
        _ = killed.run(&everything, about("boot-1"), &store, Arc::new(observer), &stop) => panic!("hangs"),
        () = kill.notified() => {}
    }
    assert_eq!(store.journal().record("b").unwrap().status, Running);
    assert_eq!(store.journal().run.unwrap().result, RunResult::Running);

    let resumed = Journal::resume(&store).unwrap();
    let record = resumed.record("b").unwrap();
    assert_eq!(
        (record.status, record.detail.as_str()),
        (Pending, "interrupted")
    );

    let engine = row(&world, Act::Works);
    let finished = run_some(&engine, &engine.everything(), &store).await;
    assert_eq!(finished.outcome, Outcome::Done);
    assert_eq!(world.applied(), ["a", "d", "b", "b", "c"]);
    // What it was doing when it was killed is kept.
    let killed = &store.journal().runs()[1];
    assert_eq!(killed.run.result, RunResult::Running);
    assert_eq!(killed.phases[1].status, Running);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_journalled_before_it_is_asked_for_and_never_asked_for_twice() {
    let world = World::with(&[]);
    let store = Memory::default();
    let run = async |b: Act, boot: &str| {
        let engine = row(&world, b);
        let everything = engine.everything();
        let stop = Stop::default();
        engine
            .run(&everything, about(boot), &store, Arc::new(()), &stop)
            .await
            .unwrap()
    };
    let finished = run(Act::Reboots, "boot-1").await;
    assert_eq!(finished.outcome, Outcome::Rebooting("b: new kernel".into()));
    let journal = store.journal();
    assert_eq!(journal.reboots["b"], "boot-1");
    assert_eq!(journal.run.as_ref().unwrap().result, RunResult::Rebooting);
    assert_eq!(
        statuses(&journal),
        [("a", Fine), ("b", Pending), ("c", Pending), ("d", Fine)]
    );
    assert_eq!(
        journal.record("b").unwrap().detail,
        "waits for a reboot: new kernel"
    );

    // The reboot never came: asking again in the same boot is not a second request.
    let finished = run(Act::Reboots, "boot-1").await;
    assert_eq!(finished.outcome, Outcome::Rebooting("b: new kernel".into()));

    let finished = run(Act::Reboots, "boot-2").await;
    assert_eq!(
        reason(&finished, "b"),
        "b asked for a second reboot, and the first did not help: new kernel"
    );

    let finished = run(Act::Works, "boot-2").await;
    assert_eq!(finished.outcome, Outcome::Done);
    assert!(store.journal().reboots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn others_finish_before_a_reboot_and_none_starts() {
    let world = World::with(&[]);
    let lines: [Line; 3] = [
        ("a", &[], Act::Reboots),
        ("b", &[], Act::Takes(MINUTE)),
        ("c", &["b"], Act::Works),
    ];
    let finished = run(&engine(&world, lines)).await;
    assert_eq!(finished.outcome, Outcome::Rebooting("a: new kernel".into()));
    assert_eq!(
        statuses(&finished.journal),
        [("a", Pending), ("b", Fine), ("c", Pending)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_a_reboot_and_nothing_else() {
    let world = World::with(&[]);
    let store = Memory::default();
    store.full.store(true, Ordering::SeqCst);
    let engine = row(&world, Act::Reboots);
    let (everything, stop) = (engine.everything(), Stop::default());
    let finished = engine
        .run(&everything, about("boot-1"), &store, Arc::new(()), &stop)
        .await
        .unwrap();
    assert_eq!(reason(&finished, "b"), "no space left");
    assert_eq!(finished.journal.record("d").unwrap().status, Fine);
}

#[tokio::test(start_paused = true)]
async fn a_named_phase_is_run_and_its_needs_are_only_checked() {
    let world = World::with(&["a", "c"]);
    let engine = row(&world, Act::Works);
    let store = Memory::default();
    let finished = run_some(&engine, &named(&engine, &["b"], false).unwrap(), &store).await;
    assert_eq!(finished.outcome, Outcome::Done);
    assert_eq!(world.applied(), ["b"]);
    assert_eq!(
        statuses(&finished.journal),
        [("a", Pending), ("b", Fine), ("c", Pending), ("d", Pending)],
        "what was only checked has no new record"
    );
    assert_eq!(world.checks(), 3);
}

#[tokio::test(start_paused = true)]
async fn unmet_needs_name_the_command_to_run() {
    let world = World::with(&["b"]);
    let engine = row(&world, Act::Works);
    let selection = named(&engine, &["c", "d"], false).unwrap();
    let finished = run_some(&engine, &selection, &Memory::default()).await;
    assert_eq!(reason(&finished, "c"), "needs what does not hold: a (no a)");
    let record = finished.journal.record("c").unwrap();
    assert_eq!(
        record.error.as_ref().unwrap().hint,
        "run `bootstrap --phase a --phase c --phase d`"
    );
    assert_eq!(world.applied(), ["d"]);

    // All of them, if more than one is unmet.
    world.holds.lock().unwrap().clear();
    let selection = named(&engine, &["c"], true).unwrap();
    let finished = run_some(&engine, &selection, &Memory::default()).await;
    assert_eq!(
        reason(&finished, "c"),
        "needs what does not hold: a (no a), b (no b)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_need_whose_check_fails_is_unmet() {
    let world = World::with(&[]);
    let entries = vec![
        Entry {
            phase: Box::new(Fake {
                check: || panic!("oh"),
                ..fake(&world, "a", Act::Works)
            }),
            ..entry(&world, ("a", &[], Act::Works))
        },
        entry(&world, ("b", &["a"], Act::Works)),
    ];
    let engine = Engine::new(entries).unwrap();
    let selection = named(&engine, &["b"], false).unwrap();
    let finished = run_some(&engine, &selection, &Memory::default()).await;
    assert_eq!(
        reason(&finished, "b"),
        "needs what does not hold: a (its check failed: the program panicked: oh)"
    );
}

#[tokio::test(start_paused = true)]
async fn named_phases_run_in_order_even_with_others_between() {
    let world = World::with(&["b"]);
    let engine = row(&world, Act::Works);
    let selection = named(&engine, &["c", "a"], false).unwrap();
    let finished = run_some(&engine, &selection, &Memory::default()).await;
    assert_eq!(finished.outcome, Outcome::Done);
    assert_eq!(world.applied(), ["a", "c"]);
    let done = world.done.lock().unwrap().join(", ");
    assert_eq!(
        done,
        "check a, apply a, check a, check b, check c, apply c, check c"
    );
}

#[tokio::test(start_paused = true)]
async fn force_applies_the_named_phase_only() {
    let world = World::with(&["a", "b", "c", "d"]);
    let engine = row(&world, Act::Works);
    for (force, applied) in [(false, vec![]), (true, vec!["b".to_owned()])] {
        let selection = named(&engine, &["b"], force).unwrap();
        let finished = run_some(&engine, &selection, &Memory::default()).await;
        assert_eq!(finished.outcome, Outcome::Done);
        assert_eq!(world.applied(), applied);
        assert_eq!(finished.journal.record("b").unwrap().changed, force);
    }
}

#[test]
fn an_unknown_phase_is_told_with_the_nearest_name() {
    let world = World::with(&[]);
    let lines: [Line; 2] = [("docker", &[], Act::Works), ("volume", &[], Act::Works)];
    let engine = engine(&world, lines);
    let error = named(&engine, &["dokcer"], false).unwrap_err();
    assert_eq!(
        error.reason(),
        "no phase is named 'dokcer'; did you mean 'docker'?"
    );
    assert_eq!(error.hint(), "the phases are: docker, volume");
    let error = named(&engine, &["x"], false).unwrap_err();
    assert_eq!(error.reason(), "no phase is named 'x'");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_one_phase_keeps_the_other_records() {
    let world = World::with(&[]);
    let store = Memory::default();
    let engine = row(&world, Act::Fails);
    let first = run_some(&engine, &engine.everything(), &store).await;
    let mut foreign = store.journal();
    foreign.phases.insert(0, journal::Record::pending("gone"));
    foreign.save(&store).unwrap();

    let engine = row(&world, Act::Works);
    let second = run_some(&engine, &named(&engine, &["b"], false).unwrap(), &store).await;
    assert_eq!(second.outcome, Outcome::Done);
    assert_eq!(
        statuses(&second.journal),
        [
            ("a", Fine),
            ("b", Fine),
            ("c", Skipped),
            ("d", Fine),
            ("gone", Pending)
        ]
    );
    for name in ["a", "c", "d"] {
        assert_eq!(second.journal.record(name), first.journal.record(name));
    }
    assert_ne!(
        second.journal.run.as_ref().unwrap().id,
        first.journal.run.as_ref().unwrap().id
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_ten_runs_are_kept_each_with_its_own_phases() {
    let world = World::with(&[]);
    // As written by a program that kept only one run.
    let store = Memory::holding(br#"{"version": 1, "run": null, "phases": []}"#);
    let failing = row(&world, Act::Fails);
    let whole = run_some(&failing, &failing.everything(), &store).await;
    let engine = row(&world, Act::Works);
    let one = named(&engine, &["b"], false).unwrap();
    run_some(&engine, &one, &store).await;

    let runs = store.journal().runs();
    let names = |past: &journal::Past| {
        let names = past.phases.iter().map(|record| record.name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(runs.iter().map(names).collect::<Vec<_>>(), ["b", "a b c d"]);
    assert_eq!(runs[1].run, whole.journal.run.unwrap());
    assert_eq!(runs[1].phases, whole.journal.phases);

    let mut ids = Vec::new();
    for _ in 0..12 {
        let finished = run_some(&engine, &one, &store).await;
        ids.insert(0, finished.journal.run.unwrap().id);
    }
    let kept: Vec<_> = store
        .journal()
        .runs()
        .into_iter()
        .map(|past| past.run.id)
        .collect();
    assert_eq!(kept, ids[..10]);
}

#[tokio::test(start_paused = true)]
async fn an_unusable_journal_is_set_aside() {
    let whole = serde_json::to_vec(&Journal::default()).unwrap();
    let newer = br#"{"version":2,"phases":{}}"#;
    let garbage = "the journal is not readable";
    for (bytes, why) in [
        (&b""[..], garbage),
        (b"\0\0\0\0", garbage),
        (&whole[..whole.len() / 2], garbage),
        (br#"{"version":1,"phases":{}}"#, garbage),
        (
            newer,
            "the journal has version 2, and this program reads version 1",
        ),
    ] {
        let world = World::with(&[]);
        let store = Memory::holding(bytes);
        let engine = row(&world, Act::Works);
        let finished = run_some(&engine, &engine.everything(), &store).await;
        assert_eq!(finished.outcome, Outcome::Done);
        assert_eq!(*store.aside.lock().unwrap(), [why]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_the_promised_shape() {
    let world = World::with(&[]);
    let finished = run(&row(&world, Act::Fails)).await;
    let json = serde_json::to_value(&finished.journal).unwrap();
    let keys = |value: &serde_json::Value| {
        let keys = value.as_object().unwrap().keys();
        keys.cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(json["version"], 1);
    assert_eq!(
        keys(&json["run"]),
        "binary_version boot_id ended id result seconds started"
    );
    let b = &json["phases"][1];
    assert_eq!(
        keys(b),
        "attempts changed detail ended error name run seconds started status"
    );
    assert_eq!(
        b["error"],
        serde_json::json!({"reason": "it is broken", "hint": "repair it", "causes": ["a cause"]})
    );
    assert_eq!(b["status"], "failed");
    assert!(b["started"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn recorded_errors_are_bounded_and_safe_to_print() {
    let deep = (0..30).fold(anyhow::anyhow!("deep"), anyhow::Error::context);
    let failure = journal::Failure::from(&Error::new("r", "\u{1b}[2J").because(deep));
    assert_eq!(failure.causes.len(), 10);
    assert_eq!(failure.hint, "\\u{1b}[2J");
    let long = journal::Failure::from(&Error::new("x".repeat(9000), ""));
    assert_eq!(long.reason.chars().count(), 2001);
}

#[tokio::test(start_paused = true)]
async fn a_plan_checks_and_changes_nothing() {
    let world = World::with(&["d"]);
    let broken = |name, needs| Entry {
        phase: Box::new(Fake {
            check: || Some(Err(Error::new("no answer", "wait"))),
            ..fake(&world, name, Act::Works)
        }),
        ..entry(&world, (name, needs, Act::Works))
    };
    let entries = vec![
        entry(&world, ("a", &[], Act::Works)),
        entry(&world, ("b", &["a"], Act::Works)),
        broken("c", &[]),
        entry(&world, ("d", &["a"], Act::Works)),
        entry(&world, ("e", &["c", "d"], Act::Works)),
    ];
    let plan = Engine::new(entries).unwrap().plan().await;
    assert_eq!(
        serde_json::to_value(&plan).unwrap(),
        serde_json::json!({"changes": 2, "phases": [
            {"name": "a", "state": "needed", "detail": "no a"},
            {"name": "b", "state": "needed", "detail": "no b"},
            {"name": "c", "state": "blocked", "detail": "no answer; help: wait"},
            {"name": "d", "state": "done", "detail": "d is there"},
            {"name": "e", "state": "blocked", "detail": "needs c, which cannot be checked"},
        ]})
    );
    assert!(world.applied().is_empty());
}

#[test]
fn durations_read_well() {
    for (seconds, text) in [
        (0.0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min"),
        (125.4, "2 min 5 s"),
        (3600.0, "1 h"),
        (3840.0, "1 h 4 min"),
    ] {
        assert_eq!(journal::lasting(seconds), text);
    }
}
