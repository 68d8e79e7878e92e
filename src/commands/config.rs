//! `bootstrap config`, and how every command reads its config.

use std::path::Path;

use super::{Exit, complain, say};
use crate::config::{Config, render};

/// The config, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "cannot read the config file {shown}: {error}\n  help: write it (`bootstrap config schema` prints its \
             shape), or name another with --config"
        )
    })?;
    Config::load(&text).map_err(|problems| {
        let count = problems.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        format!("{shown}: {count} {noun}\n{}", render(&problems))
    })
}

/// `bootstrap config check`: every mistake at once.
pub fn check(path: &Path) -> Exit {
    match load(path) {
        Ok(_) => {
            say(&format!("{}: valid", path.display()));
            Exit::Done
        }
        Err(mistakes) => {
            complain(&mistakes);
            Exit::Usage
        }
    }
}

/// `bootstrap config schema`
pub fn schema() -> Exit {
    say(&Config::schema());
    Exit::Done
}
