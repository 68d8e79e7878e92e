//! `bootstrap status`

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::run::boot_id;
use super::{Exit, fail, host, json, need_root, say};
use crate::engine::journal::{Past, RunResult};
use crate::engine::lock::Taken;
use crate::engine::{Journal, Lock};
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::log::printable;
use crate::paragraph::WIDTH;
use crate::paths::{JOURNAL, RUN_LOCK};
use crate::report;

/// Shows a run from the journal: the last one, or the named one.
pub fn status(run: Option<&str>, as_json: bool, svg: Option<&Path>) -> Exit {
    if let Err(exit) = need_root(&host()) {
        return exit;
    }
    match show(run, as_json, svg) {
        Ok(()) => Exit::Done,
        Err(error) => fail(&error),
    }
}

/// Lists the runs that the journal knows.
pub fn list(as_json: bool) -> Exit {
    #[derive(Serialize)]
    struct Runs {
        version: u32,
        runs: Vec<Past>,
    }
    if let Err(exit) = need_root(&host()) {
        return exit;
    }
    let runs = journal(&host()).map(|journal| Runs {
        version: journal.version,
        runs: journal.runs(),
    });
    let text = runs.and_then(|all| {
        if as_json {
            json(&all)
        } else {
            Ok(report::text::runs(&all.runs))
        }
    });
    match text {
        Ok(text) => {
            say(&text);
            Exit::Done
        }
        Err(error) => fail(&error),
    }
}

fn show(run: Option<&str>, as_json: bool, svg: Option<&Path>) -> Result<()> {
    let host = host();
    let mut journal = journal(&host)?;
    let runs = journal.runs();
    let number = run.map_or(Ok(0), |name| number(&runs, name))?;
    let interrupted = if number == 0 {
        was_interrupted(&journal, &host)?
    } else {
        let past = runs.get(number).cloned();
        journal = past.map(Journal::from).unwrap_or_default();
        is_unfinished(&journal)
    };
    journal.earlier.clear();
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
        let goes_on = "\n  help: run `bootstrap`, which continues from there";
        let help = if number == 0 { goes_on } else { "" };
        say(&format!(
            "This run was interrupted (killed, or a power cut).{help}"
        ));
    }
    if let (0, Some(wider)) = (number, report::text::wider(&runs)) {
        say(&wider);
    }
    Ok(())
}

pub(super) fn journal(host: &Host) -> Result<Journal> {
    let bytes = host.read(JOURNAL)?.ok_or_else(|| {
        Error::new(
            format!("there is no journal at {JOURNAL}: bootstrap has not run here"),
            "run `bootstrap`; /var/log/cloud-init-output.log says why user-data did not",
        )
    })?;
    Journal::parse(&bytes)
}

/// Which of the runs is named: by its number, or by the beginning of its id.
fn number(runs: &[Past], name: &str) -> Result<usize> {
    let by_number = name.parse::<usize>().ok();
    if let Some(number @ 1..) = by_number.filter(|number| *number <= runs.len()) {
        return Ok(number - 1);
    }
    let begins = |past: &Past| past.run.id.starts_with(name);
    let mut found = runs.iter().enumerate().filter(|(_, past)| begins(past));
    match (found.next(), found.next()) {
        (Some((number, _)), None) => Ok(number),
        (Some(_), Some(_)) => Err(Error::new(
            format!("more than one run begins with '{}'", printable(name)),
            "write more of its id: bootstrap status --list",
        )),
        (None, _) => Err(Error::new(
            format!("no run is named '{}'", printable(name)),
            "the runs that are kept: bootstrap status --list",
        )),
    }
}

fn is_unfinished(journal: &Journal) -> bool {
    let run = journal.run.as_ref();
    run.is_some_and(|run| run.result == RunResult::Running)
}

/// Whether the journal says that a run is in progress, but none is.
fn was_interrupted(journal: &Journal, host: &Host) -> Result<bool> {
    match &journal.run {
        Some(run) if run.result == RunResult::Running => {
            let free = || matches!(Lock::take(&host.path(RUN_LOCK)), Ok(Taken::Ours(_)));
            Ok(run.boot_id != boot_id(host)? || free())
        }
        _ => Ok(false),
    }
}
