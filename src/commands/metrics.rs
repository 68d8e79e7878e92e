//! `bootstrap metrics`

use std::path::Path;

use super::{Output, block_on, fail, host, node, say};
use crate::cli::Exit;
use crate::metrics::{self, Outcome};

/// One tick. Quiet where all is well: cron would mail every line.
pub fn tick(config: &Path, dry_run: bool, output: Output) -> Exit {
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
        Err(error) => fail(&error),
    }
}
