//! The one command runner: argv quoted in errors, exit code, tail of stderr, timeout, process group killed.

use std::time::Duration;

use super::Host;
use crate::error::Result;

/// A system command to run. No shell is involved.
pub struct Command {}

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; 128 + signal number where a signal ended it.
    pub code: i32,
    /// Standard output, lossily decoded, bounded.
    pub stdout: String,
    /// Standard error, lossily decoded, bounded.
    pub stderr: String,
}

impl Command {
    pub(super) fn new(_host: &Host, _program: &str) -> Self {
        todo!()
    }
    /// Adds one argument.
    pub fn arg(self, _arg: impl Into<std::ffi::OsString>) -> Self {
        todo!()
    }
    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<std::ffi::OsString>>(self, _args: I) -> Self {
        todo!()
    }
    /// Sets an environment variable of the command.
    pub fn env(self, _name: &str, _value: &str) -> Self {
        todo!()
    }
    /// Bytes for its standard input; empty where not called.
    pub fn stdin(self, _bytes: Vec<u8>) -> Self {
        todo!()
    }
    /// Kills it, and its process group, after this long. Default 60 s.
    pub fn timeout(self, _timeout: Duration) -> Self {
        todo!()
    }
    /// Runs it; an exit code other than 0 is an error that quotes the argv and the tail of stderr.
    pub async fn run(self) -> Result<Output> {
        todo!()
    }
    /// Runs it; any exit code is an answer. Not found, timeout and the like are errors.
    pub async fn output(self) -> Result<Output> {
        todo!()
    }
}
