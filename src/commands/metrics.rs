//! `bootstrap metrics`

use std::path::Path;

use super::{Exit, Output, block_on, fail, host, node, say};
use crate::metrics::{self, Outcome};
use crate::rights::only_look;

/// One tick. Quiet where all is well: cron would mail every line.
pub fn tick(config: &Path, dry_run: bool, output: Output) -> Exit {
    only_look();
    let host = host();
    output.log_beside_answer(&host);
    let node = match node(config, host) {
        Ok(node) => node,
        Err(exit) => return exit,
    };
    match block_on(metrics::tick(&node, dry_run)).flatten() {
        Ok(Outcome::Published) => Exit::Done,
        Ok(Outcome::Shown(metrics)) => {
            say(&metrics);
            Exit::Done
        }
        Ok(Outcome::Busy) => Exit::Locked,
        Err(error) => {
            // Nobody reads what cron's jobs print; the log does stay.
            tracing::warn!("{error}. {}", error.hint());
            fail(&error)
        }
    }
}
