//! `bootstrap`: the run itself, from the lock to the signal that `CloudFormation` gets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use super::{Exit, Output, block_on, complain, config, engine, fail, host, need_root, say};
use crate::aws::imds::Imds;
use crate::engine::journal::Store;
use crate::engine::lock::Taken;
use crate::engine::store::JournalFile;
use crate::engine::{About, Engine, Finished, Lock, Observer, Outcome, Selection, Stop};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::host::directories;
use crate::node::{Document, Node};
use crate::owner::{self, Found};
use crate::paths::{LOG, RUN_LOCK};
use crate::report::live::Live;
use crate::{VERSION, log, notify, report};

/// What a run does.
#[derive(Args)]
pub struct Run {
    /// Rerun only this phase; repeat for several. What it needs is checked, not rerun
    #[arg(long = "phase", value_name = "NAME")]
    pub phases: Vec<String>,

    /// Apply the named phases even if their checks are satisfied; safety rules still hold
    #[arg(long, requires = "phases")]
    pub force: bool,

    /// Run at most this many phases in parallel (default: as many as possible)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub jobs: Option<u8>,
}

/// Runs every phase that is not true yet, or the named ones.
pub fn run(
    config_file: &Path,
    what: &Run,
    documents: fn() -> Vec<Document>,
    output: Output,
) -> Exit {
    // User-data runs with a narrow one, which packages must not inherit.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let host = host();
    if let Err(exit) = need_root(&host) {
        return exit;
    }
    let observer = observe(output, &host);
    let config = match config::load(config_file) {
        Ok(config) => config,
        Err(mistakes) => {
            complain(&mistakes);
            // The stack must not wait for its timeout only because of a typing mistake.
            tracing::error!("{mistakes}");
            let _ = block_on(notify::broken_config(config_file, &mistakes));
            return Exit::Usage;
        }
    };
    let node = Node::new(config, host.clone(), Imds::from_env()).with_documents(documents);
    let node = Arc::new(node);
    let (engine, selection) = match select(&node, what) {
        Ok(selected) => selected,
        Err(error) => {
            fail(&error);
            return Exit::Usage;
        }
    };
    let ended = block_on(async {
        let found = owner::look(&node).await;
        if let Found::Config(error) = &found {
            // Nobody waits for that: the stack in the config is another instance's.
            tracing::error!("{error}. {}", error.hint());
            fail(error);
            return Ok(Exit::Usage);
        }
        let Some(_lock) = lock(&node.host)? else {
            return Ok(Exit::Locked);
        };
        if let Found::State(other) = &found {
            owner::set_aside(&node.host, other)?;
        }
        let task = Task {
            selection,
            jobs: what.jobs,
            reason: None,
            store: Box::new(JournalFile(node.host.clone())),
        };
        let finished = to_the_end(&node, engine, task, observer).await?;
        conclude(&node, &finished, true, output).await
    });
    match ended.flatten() {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            let reason = error.to_string();
            let _ = block_on(notify::failure(&node, &reason, error.hint()));
            fail(&error)
        }
    }
}

/// In a terminal a live view, and the log in its file only; elsewhere the log lines.
pub(super) fn observe(output: Output, host: &Host) -> Arc<dyn Observer> {
    if output.may_draw()
        && let Some(live) = Live::for_terminal()
    {
        start_log(log::Stream::Nowhere, output, host);
        return Arc::new(live);
    }
    start_log(log::Stream::Output, output, host);
    Arc::new(())
}

/// The file has all the details of a run: they are what one wants after a failure.
fn start_log(stream: log::Stream, output: Output, host: &Host) {
    let (shown, kept) = (output.level(), Level::DEBUG);
    log::start(stream, output.format, shown, &host.path(LOG), kept);
}

fn select(node: &Arc<Node>, what: &Run) -> Result<(Engine, Selection)> {
    let engine = engine(node)?;
    let selection = if what.phases.is_empty() {
        engine.everything()
    } else {
        engine.named(&what.phases, what.force)?
    };
    Ok((engine, selection))
}

/// The lock, or `None` where another run has it, which has been said.
pub(super) fn lock(host: &Host) -> Result<Option<Lock>> {
    directories::RUN.make(host)?;
    match Lock::take(&host.path(RUN_LOCK))? {
        Taken::Ours(lock) => Ok(Some(lock)),
        Taken::Busy(error) => {
            fail(&error);
            Ok(None)
        }
    }
}

/// What a run is to do.
pub(super) struct Task {
    /// The phases.
    pub(super) selection: Selection,
    /// How many of them at once.
    pub(super) jobs: Option<u8>,
    /// What it repairs.
    pub(super) reason: Option<String>,
    /// Where it is recorded.
    pub(super) store: Box<dyn Store>,
}

/// Runs the selection, whatever ends it: the last phase, a signal, a panic.
pub(super) async fn to_the_end(
    node: &Arc<Node>,
    engine: Engine,
    Task {
        selection,
        jobs,
        reason,
        store,
    }: Task,
    observer: Arc<dyn Observer>,
) -> Result<Finished> {
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let about = About {
        boot_id: boot_id(&node.host)?,
        binary_version: VERSION.into(),
        deadline: Duration::from_secs(node.config.deadline_seconds),
        jobs: jobs.map_or(usize::MAX, usize::from),
        reason,
    };
    // A task of its own, so that a panic in the engine ends in an error here.
    let run = tokio::spawn(async move {
        engine
            .run(&selection, about, &*store, observer, &stop)
            .await
    });
    run.await.unwrap_or_else(|panic| {
        let error = Error::new(
            "the program hit a bug",
            format!("run `bootstrap` again; if it happens again, report it with {LOG}"),
        );
        Err(error.because(panic))
    })
}

/// The last words of a run: the summary for people, the failure for the stack where it `concerns` it, the reboot for the
/// machine.
pub(super) async fn conclude(
    node: &Node,
    finished: &Finished,
    concerns: bool,
    output: Output,
) -> Result<Exit> {
    // Programs read JSON lines; `bootstrap status --json` tells them the rest.
    if output.format != log::Format::Json {
        say(&report::text::summary(&finished.journal));
    }
    match &finished.outcome {
        Outcome::Done => Ok(Exit::Done),
        Outcome::Failed(failure) => {
            if concerns {
                notify::failure(node, &failure.reason, &failure.hint).await;
            }
            Ok(Exit::Failed)
        }
        Outcome::Rebooting(why) => {
            tracing::info!("rebooting: {why}");
            node.host.command("systemctl").arg("reboot").run().await?;
            Ok(Exit::Rebooting)
        }
    }
}

/// Makes SIGTERM (systemd's stop, a shutdown), SIGINT and SIGHUP stop the run in an orderly way.
fn stop_on_signals(stop: &Stop) -> Result<()> {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
    ] {
        let mut signals = signal(kind).or_fail(
            || format!("cannot listen for {name}"),
            "see whether the machine is out of memory",
        )?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                stop.request(name);
            }
        });
    }
    Ok(())
}

/// Which boot this is.
pub(super) fn boot_id(host: &Host) -> Result<String> {
    host.boot_id()?
        .ok_or_else(|| Error::new("there is no /proc/sys/kernel/random/boot_id", "mount /proc"))
}
