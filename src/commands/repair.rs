//! `bootstrap repair`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::run::{Task, conclude, observe, to_the_end};
use super::status::journal;
use super::{Exit, Output, block_on, engine, fail, host, node};
use crate::engine::Lock;
use crate::engine::lock::Taken;
use crate::engine::store::JournalFile;
use crate::error::Result;
use crate::host::directories;
use crate::node::{Document, Node};
use crate::owner::{self, Found};
use crate::pace;
use crate::paths::RUN_LOCK;
use crate::phases::NAMES;
use crate::repair::{Fault, Kind, Repairs, look};

/// A restart by hand looks for a moment like a node that is down.
const MOMENT: Duration = Duration::from_secs(2);

/// Repairs what is wrong with the node, within the limits. Quiet where all is well: a timer starts it every 20 seconds.
pub fn repair(config: &Path, documents: fn() -> Vec<Document>, output: Output) -> Exit {
    if !config.exists() {
        return Exit::Done;
    }
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let node = match node(config, host()) {
        Ok(node) => Arc::new(node.with_documents(documents)),
        Err(exit) => return exit,
    };
    match block_on(mend(&node, output)).flatten() {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            fail(&error)
        }
    }
}

async fn mend(node: &Arc<Node>, output: Output) -> Result<Exit> {
    let host = &node.host;
    let lock = host.path(RUN_LOCK);
    if Lock::is_held(&lock) {
        return Ok(Exit::Locked);
    }
    if due(node, output).await?.is_none() {
        return Ok(Exit::Done);
    }
    match owner::look(node).await {
        Found::Own => {}
        // A run is about to begin.
        Found::State(_) => return Ok(Exit::Done),
        Found::Config(error) => {
            fail(&error);
            return Ok(Exit::Usage);
        }
    }
    directories::RUN.make(host)?;
    let Taken::Ours(_lock) = Lock::take(&lock)? else {
        return Ok(Exit::Locked);
    };
    pace::pause(MOMENT).await;
    host.look_again();
    // Going down, nothing is to come up again.
    if host.is_shutting_down().await {
        return Ok(Exit::Done);
    }
    let Some(fault) = due(node, output).await? else {
        return Ok(Exit::Done);
    };
    let now = Timestamp::now().as_second();
    let mut repairs = Repairs::load(host);
    repairs.note(fault.kind, now);
    // Noted first, so that it counts even where this is killed.
    repairs.save(host)?;
    run(node, fault, output).await
}

/// The fault that is to be repaired now. Where the limits have something against it, that is said once.
async fn due(node: &Node, output: Output) -> Result<Option<Fault>> {
    let host = &node.host;
    let Ok(mut journal) = journal(host) else {
        return Ok(None);
    };
    // Those of another version of this program are nobody's work.
    let phases = &mut journal.phases;
    phases.retain(|record| NAMES.contains(&record.name.as_str()));
    let now = Timestamp::now().as_second();
    let Some(fault) = look(node, &journal, now).await? else {
        return Ok(None);
    };
    let mut repairs = Repairs::load(host);
    let due = repairs.is_due(fault.kind, now);
    if !due && repairs.tell_once(fault.kind, now) {
        observe(output, host);
        tracing::error!(
            "the repairs of today did not help: {}. It is tried again {}; `bootstrap verify` says what is wrong",
            fault.reason,
            match fault.kind {
                Kind::Hung => "tomorrow",
                Kind::Down | Kind::Unfinished => "in an hour",
            }
        );
        repairs.save(host)?;
    }
    Ok(due.then_some(fault))
}

/// What a run at boot does, but for the wait until the node is good: the next looks see to that. What was not finished
/// is, and what hangs is restarted.
async fn run(node: &Arc<Node>, fault: Fault, output: Output) -> Result<Exit> {
    let observer = observe(output, &node.host);
    tracing::warn!(
        "repairing: {}. To keep the node down: systemctl stop bootstrap-repair.timer",
        fault.reason
    );
    let engine = engine(node)?;
    let selection = match fault.kind {
        Kind::Down => engine.everything_but("signal"),
        Kind::Hung => engine.named(&["container".to_owned()], true)?,
        Kind::Unfinished => engine.everything(),
    };
    let goes_on = fault.kind == Kind::Unfinished;
    let task = Task {
        selection,
        jobs: None,
        reason: Some(fault.reason),
        store: Box::new(JournalFile(node.host.clone())),
    };
    let finished = to_the_end(node, engine, task, observer).await?;
    conclude(node, &finished, goes_on, output).await
}
