//! The hidden command that looks at an image from the inside.

use super::{Exit, complain, say};
use crate::edge::look::{Needs, look};

/// Prints what the user that this runs as can use, as JSON.
pub fn print(user: &str, needs: &Needs) -> Exit {
    match serde_json::to_string(&look(user, needs)) {
        Ok(seen) => {
            say(&seen);
            Exit::Done
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    }
}
