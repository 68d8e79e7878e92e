//! `bootstrap probe-image`

use std::path::Path;

use super::{Exit, Output, block_on, fail, host, node, say};
use crate::edge::belief;

/// Looks at the edge image, and says where it is not what it is believed to be. Starts throw-away containers only.
pub fn probe_image(config: &Path, output: Output) -> Exit {
    let host = host();
    output.log_beside_answer(&host);
    let node = match node(config, host) {
        Ok(node) => node,
        Err(exit) => return exit,
    };
    match block_on(belief::compare(&node.host, &node.config)).flatten() {
        Ok(rows) => {
            let (agrees, report) = belief::told(&rows);
            say(&report);
            if agrees { Exit::Done } else { Exit::Failed }
        }
        Err(error) => fail(&error),
    }
}
