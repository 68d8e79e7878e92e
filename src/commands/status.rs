//! `bootstrap status`

use std::path::Path;

use jiff::Timestamp;

use super::{JOURNAL, fail, host, json, say};
use crate::cli::Exit;
use crate::engine::Journal;
use crate::error::{Error, OrFail, Result};
use crate::report;

/// Columns of the text timeline: SSM's console and a plain terminal show as many.
const WIDTH: usize = 100;

/// Shows the last run from the journal.
pub fn status(as_json: bool, svg: Option<&Path>) -> Exit {
    match show(as_json, svg) {
        Ok(()) => Exit::Done,
        Err(error) => fail(&error),
    }
}

fn show(as_json: bool, svg: Option<&Path>) -> Result<()> {
    let bytes = host().read(JOURNAL)?.ok_or_else(|| {
        Error::new(
            format!("there is no journal at {JOURNAL}"),
            "run `bootstrap` first",
        )
    })?;
    let journal = Journal::parse(&bytes)?;
    let now = Timestamp::now();
    if let Some(file) = svg {
        std::fs::write(file, report::svg::chart(&journal, now)).or_fail(
            || format!("cannot write {}", file.display()),
            "name a file in a directory that you can write to",
        )?;
    }
    say(&if as_json {
        json(&journal)?
    } else {
        report::text::timeline(&journal, WIDTH, now)
    });
    Ok(())
}
