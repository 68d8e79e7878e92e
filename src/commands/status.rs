//! `bootstrap status`

use std::path::Path;

use jiff::Timestamp;

use super::run::boot_id;
use super::{Exit, JOURNAL, fail, host, json, need_root, say};
use crate::engine::journal::RunResult;
use crate::engine::lock::{RUN_LOCK, Taken};
use crate::engine::{Journal, Lock};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::report;

/// Columns of the text timeline: SSM's console and a plain terminal show as many.
const WIDTH: usize = 100;

/// Shows the last run from the journal.
pub fn status(as_json: bool, svg: Option<&Path>) -> Exit {
    if let Err(exit) = need_root(&host()) {
        return exit;
    }
    match show(as_json, svg) {
        Ok(()) => Exit::Done,
        Err(error) => fail(&error),
    }
}

fn show(as_json: bool, svg: Option<&Path>) -> Result<()> {
    let host = host();
    let bytes = host.read(JOURNAL)?.ok_or_else(|| {
        Error::new(
            format!("there is no journal at {JOURNAL}: bootstrap has not run here"),
            "run `bootstrap`; /var/log/cloud-init-output.log says why user-data did not",
        )
    })?;
    let journal = Journal::parse(&bytes)?;
    let interrupted = was_interrupted(&journal, &host)?;
    let now = if interrupted {
        journal.last_moment()
    } else {
        Timestamp::now()
    };
    if svg == Some(Path::new("-")) {
        say(&report::svg::chart(&journal, now));
        return Ok(());
    }
    if let Some(file) = svg {
        std::fs::write(file, report::svg::chart(&journal, now)).or_fail(
            || format!("cannot write {}", file.display()),
            "name a file in a directory that you can write to",
        )?;
    }
    if as_json {
        say(&json(&journal)?);
        return Ok(());
    }
    say(&report::text::timeline(&journal, WIDTH, now));
    say(&report::text::summary(&journal));
    if interrupted {
        say(
            "This run was interrupted (killed, or a power cut).\n  help: run `bootstrap`, which goes on from there",
        );
    }
    Ok(())
}

/// Whether the journal says that a run goes on, but none does.
fn was_interrupted(journal: &Journal, host: &Host) -> Result<bool> {
    match &journal.run {
        Some(run) if run.result == RunResult::Running => {
            let free = || matches!(Lock::take(&host.path(RUN_LOCK)), Ok(Taken::Ours(_)));
            Ok(run.boot_id != boot_id(host)? || free())
        }
        _ => Ok(false),
    }
}
