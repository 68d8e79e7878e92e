//! `bootstrap explain`

use super::{Exit, fail, say};
use crate::explain;

/// Explains a check or a fault; without a name lists what can be explained.
pub fn explain(name: &[String]) -> Exit {
    if name.is_empty() {
        say(&explain::index());
        return Exit::Done;
    }
    match explain::explain(&name.join(" ")) {
        Ok(text) => {
            say(&text);
            Exit::Done
        }
        Err(error) => {
            fail(&error);
            Exit::Usage
        }
    }
}
