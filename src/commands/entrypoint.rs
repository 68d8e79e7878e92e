//! The hidden command that the container starts with.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::{Exit, complain};
use crate::edge;

/// Becomes the image's own entrypoint, or runs it to its end.
pub fn exec(secret: &str, data: &Path, argv: &[OsString]) -> ExitCode {
    match edge::entrypoint::exec(secret, data, argv) {
        Ok(code) => code.into(),
        Err(error) => {
            // One line and nothing else: `edge::trouble` recognises it in the container's log.
            complain(error.reason());
            Exit::Failed.into()
        }
    }
}
