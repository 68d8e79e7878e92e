//! One phase's work: check, apply, check again; within its deadline, retried if that can help.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::journal::lasting;
use super::observer::{Event, Observer};
use super::phase::{Applied, Entry, State};
use super::table::Mode;
use crate::doing::{Follower, followed};
use crate::error::{Error, Result};
use crate::log::printable;
use crate::paths::LOG;
use crate::retry::{Policy, retry};

/// Transient failures are tried three times; the phase's deadline bounds it all.
const POLICY: Policy = Policy {
    attempts: 3,
    first_pause: Duration::from_secs(3),
    longest_pause: Duration::from_secs(30),
};

/// How a phase's work ended, if it did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It holds: evidence, and whether something was applied.
    Holds(String, bool),
    /// It means nothing on this machine.
    NotApplicable(String),
    /// It was only to be checked, and does not hold.
    Unmet(String),
    /// The machine has to reboot first.
    Reboot(String),
}

/// What a phase is doing; outlives the phase's future, so that a cancelled phase can still be described.
pub(super) struct Activity {
    name: &'static str,
    doing: Mutex<String>,
    attempts: AtomicU32,
    observer: Arc<dyn Observer>,
}

impl Activity {
    pub(super) fn new(name: &'static str, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            name,
            doing: Mutex::default(),
            attempts: AtomicU32::new(0),
            observer,
        })
    }

    /// What the phase is doing, or was doing last.
    pub(super) fn doing(&self) -> String {
        let doing = self.doing.lock();
        doing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a cut-off phase was doing, as the cause of an error.
    pub(super) fn last_seen(&self) -> anyhow::Error {
        anyhow::anyhow!("last seen: {}", self.doing())
    }

    /// How often applying was attempted.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

impl Follower for Activity {
    fn now(&self, what: &str) {
        let what = &printable(what);
        {
            let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
            if *doing == *what {
                return;
            }
            doing.clone_from(what);
        }
        tracing::info!("{what}");
        self.observer.on(Event::Doing(self.name, what));
    }
}

/// Does the work of one phase. `turn` is held by the one phase that may use the package manager.
pub(super) async fn perform(
    entry: &Entry,
    mode: Mode,
    turn: &tokio::sync::Mutex<()>,
    activity: &Arc<Activity>,
) -> Result<End> {
    let work = steps(entry, mode, turn, activity);
    caught(followed(activity.clone(), work)).await
}

async fn steps(
    entry: &Entry,
    mode: Mode,
    turn: &tokio::sync::Mutex<()>,
    activity: &Activity,
) -> Result<End> {
    let mut time = Deadline {
        at: Instant::now() + entry.deadline,
        entry,
        activity,
    };
    let check = || retry(POLICY, "checking", || entry.phase.check());

    activity.now("checking");
    let missing = match (time.bound(check()).await?, mode) {
        (State::NotApplicable(why), _) => return Ok(End::NotApplicable(why)),
        (State::Done(evidence), Mode::Force) => format!("{evidence}, but forced"),
        (State::Done(evidence), _) => return Ok(End::Holds(evidence, false)),
        (State::Needed(missing), Mode::CheckOnly) => return Ok(End::Unmet(missing)),
        (State::Needed(missing), _) => missing,
    };

    let turn = if entry.packages {
        Some(time.paused(take(turn, activity)).await)
    } else {
        None
    };
    activity.now(&format!("{missing}; applying"));
    let apply = retry(POLICY, "applying", || attempt(entry, activity));
    if let Applied::RebootNeeded(why) = time.bound(apply).await? {
        return Ok(End::Reboot(why));
    }
    drop(turn);

    activity.now("applied; checking again");
    match time.bound(check()).await? {
        State::Done(evidence) => Ok(End::Holds(evidence, true)),
        State::NotApplicable(why) => Ok(End::NotApplicable(why)),
        State::Needed(missing) => Err(Error::new(
            format!("applied, but the check still says: {missing}"),
            format!(
                "see in {LOG} what it did, then `bootstrap --phase {}`",
                entry.name
            ),
        )),
    }
}

async fn attempt(entry: &Entry, activity: &Activity) -> Result<Applied> {
    let attempt = activity.attempts.fetch_add(1, Ordering::Relaxed) + 1;
    let applied = entry.phase.apply().await;
    if let Err(error) = &applied {
        let event = Event::AttemptFailed(entry.name, attempt, error.reason());
        activity.observer.on(event);
    }
    applied
}

async fn take<'a>(
    turn: &'a tokio::sync::Mutex<()>,
    activity: &Activity,
) -> tokio::sync::MutexGuard<'a, ()> {
    if let Ok(turn) = turn.try_lock() {
        return turn;
    }
    activity.now("waiting for another phase to finish with the package manager");
    turn.lock().await
}

/// A phase's deadline.
struct Deadline<'a> {
    at: Instant,
    entry: &'a Entry,
    activity: &'a Activity,
}

impl Deadline<'_> {
    /// The result of `work`, or an error if the deadline comes first.
    async fn bound<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::time::timeout_at(self.at, work).await;
        answer.unwrap_or_else(|_| {
            let name = self.entry.name;
            Err(Error::new(
                format!(
                    "did not finish within its deadline of {}",
                    lasting(self.entry.deadline.as_secs_f64())
                ),
                format!("see in {LOG} what it waited for, then `bootstrap --phase {name}`"),
            )
            .because(self.activity.last_seen()))
        })
    }

    /// Waits for something that is not the phase's fault, and moves its deadline by that long.
    async fn paused<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let before = Instant::now();
        let answer = waiting.await;
        self.at += before.elapsed();
        answer
    }
}

/// The result of `work`; a panic becomes an error.
pub(super) async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    let polled = poll_fn(|context| {
        let poll = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        poll.unwrap_or_else(|panic| std::task::Poll::Ready(Err(panicked(panic.as_ref()))))
    });
    polled.await
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        format!("the program panicked: {said}"),
        "report it with the log and the program's version",
    )
}
