//! `bootstrap`: the run itself, from the lock to the word that `CloudFormation` gets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{JOURNAL, LOG, Output, block_on, complain, config, engine, fail, host, say};
use crate::aws::imds::Imds;
use crate::cli::{Exit, Run, VERSION};
use crate::engine::journal::Store;
use crate::engine::lock::Taken;
use crate::engine::{About, Engine, Finished, Lock, Observer, Outcome, Selection, Stop};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::host::files::Access;
use crate::node::Node;
use crate::phases::{report_broken_config, report_failure};
use crate::report::live::Live;
use crate::{log, report};

/// Keeps two runs from overlapping; lies where a reboot forgets it.
const LOCK: &str = "/run/bootstrap/lock";

/// Runs every phase that is not true yet, or the named ones.
pub fn run(config_file: &Path, what: &Run, output: Output) -> Exit {
    // User-data runs with a narrow one, which packages must not inherit.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let host = host();
    let observer = observe(output, &host);
    let config = match config::load(config_file) {
        Ok(config) => config,
        Err(mistakes) => {
            complain(&mistakes);
            // The stack must not wait for its timeout only because of a typing mistake.
            tracing::error!("{mistakes}");
            let _ = block_on(tell_of_broken_config(config_file, &mistakes));
            return Exit::Usage;
        }
    };
    let node = Arc::new(Node::new(config, host.clone(), Imds::from_env()));
    let (engine, selection) = match select(&node, what) {
        Ok(selected) => selected,
        Err(error) => {
            fail(&error);
            return Exit::Usage;
        }
    };
    let _lock = match lock(&host) {
        Ok(Taken::Ours(lock)) => lock,
        Ok(Taken::Busy(error)) => {
            fail(&error);
            return Exit::Locked;
        }
        Err(error) => return fail(&error),
    };
    match block_on(to_the_end(node, engine, selection, observer, output)).flatten() {
        Ok(exit) => exit,
        Err(error) => fail(&error),
    }
}

/// In a terminal a live view, and the log in its file only; elsewhere the log lines.
fn observe(output: Output, host: &Host) -> Arc<dyn Observer> {
    if output.may_draw()
        && let Some(live) = Live::for_terminal()
    {
        log::start(log::Stream::Nowhere, output.format, false, &host.path(LOG));
        return Arc::new(live);
    }
    let stream = log::Stream::Output;
    log::start(stream, output.format, output.verbose, &host.path(LOG));
    Arc::new(())
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

fn lock(host: &Host) -> Result<Taken> {
    host.make_dir("/run/bootstrap", Access::mode(0o711))?;
    Lock::take(&host.path(LOCK))
}

/// Runs the selection and tells the stack of a failure, whatever ended it: a phase, a signal, a panic.
async fn to_the_end(
    node: Arc<Node>,
    engine: Engine,
    selection: Selection,
    observer: Arc<dyn Observer>,
    output: Output,
) -> Result<Exit> {
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let about = About {
        boot_id: boot_id(&node.host)?,
        binary_version: VERSION.into(),
        deadline: Duration::from_secs(node.config.deadline_seconds),
    };
    let store = JournalFile(node.host.clone());
    // A task of its own, so that a panic in the engine ends in an error here.
    let run =
        tokio::spawn(async move { engine.run(&selection, about, &store, observer, &stop).await });
    let finished = match run.await {
        Ok(Ok(finished)) => finished,
        Ok(Err(error)) => return Err(tell(&node, error).await),
        Err(panic) => {
            let error = Error::new(
                "the program hit a defect of its own",
                "run `bootstrap` again; if it happens again, report it with /var/log/bootstrap.log",
            );
            return Err(tell(&node, error.because(panic)).await);
        }
    };
    // Programs read JSON lines; `bootstrap status --json` tells them the rest.
    if output.format != log::Format::Json {
        say(&report::text::summary(&finished.journal));
    }
    conclude(&node, &finished).await
}

async fn tell(node: &Node, error: Error) -> Error {
    tracing::error!("{error}");
    report_failure(node, &error.to_string(), error.hint(), "").await;
    error
}

/// Tells the stack of the mistakes, where the wait handle can still be made out in the broken file.
async fn tell_of_broken_config(file: &Path, mistakes: &str) {
    let handle = std::fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|config| Some(config.pointer("/stack/wait_handle")?.as_str()?.to_owned()));
    if let Some(handle) = handle {
        report_broken_config(&Imds::from_env(), &handle, mistakes).await;
    }
}

/// The last words of a run: the failure for the stack, the reboot for the machine.
async fn conclude(node: &Node, finished: &Finished) -> Result<Exit> {
    match &finished.outcome {
        Outcome::Done => Ok(Exit::Done),
        Outcome::Failed(failure) => {
            report_failure(node, &failure.reason, &failure.hint, "").await;
            Ok(Exit::Failed)
        }
        Outcome::Rebooting(why) => {
            tracing::info!("rebooting: {why}");
            node.host.command("systemctl").arg("reboot").run().await?;
            Ok(Exit::Rebooting)
        }
    }
}

/// Has SIGTERM (systemd's stop, a shutdown), SIGINT and SIGHUP stop the run in good order.
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

fn boot_id(host: &Host) -> Result<String> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text = host
        .read_text(FILE)?
        .ok_or_else(|| Error::new(format!("there is no {FILE}"), "mount /proc"))?;
    Ok(text.trim().to_owned())
}

/// The journal as a file of the machine.
struct JournalFile(Host);

impl Store for JournalFile {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        self.0.read(JOURNAL)
    }

    fn save(&self, bytes: &[u8]) -> Result<()> {
        self.0.make_dir("/var/lib/bootstrap", Access::mode(0o700))?;
        self.0.write(JOURNAL, bytes, Access::mode(0o600))
    }

    fn set_aside(&self, _why: &str) -> Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let aside = format!("{JOURNAL}.unreadable-{now}");
        std::fs::rename(self.0.path(JOURNAL), self.0.path(&aside)).or_fail(
            || format!("cannot rename {JOURNAL} to {aside}"),
            "move it away by hand",
        )
    }
}
