//! What each command does; one file per command.

pub mod config;
pub mod doctor;
pub mod entrypoint;
pub mod explain;
pub mod look;
pub mod man;
pub mod metrics;
pub mod plan;
pub mod prepare;
pub mod probe_image;
pub mod repair;
pub mod run;
pub mod status;
pub mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use tracing::Level;

use crate::aws::imds::Imds;
use crate::engine::Engine;
use crate::error::{Error, OrFail, Result};
use crate::host::Host;
use crate::log;
use crate::node::Node;
use crate::paths::LOG;
use crate::{pace, phases};

/// How a command ended, as the shell, SSM and systemd see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or healthy.
    Done = 0,
    /// A phase failed, or the node is not healthy.
    Failed = 1,
    /// Wrong usage (without root for one) or a wrong config file. clap uses the same number.
    Usage = 2,
    /// Another run holds the lock.
    Locked = 3,
    /// A reboot is under way and the run resumes after it.
    Rebooting = 4,
    /// `verify`: nothing fails, but height or peers are still coming.
    Syncing = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What the global options say about output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// How standard output is written.
    pub format: log::Format,
    /// Whether details are shown.
    pub verbose: bool,
}

impl Output {
    /// Logs to the machine's log file; with `--verbose` also to standard error, since standard output belongs to the
    /// command's answer.
    fn log_beside_answer(self, host: &Host) {
        let stream = if self.verbose {
            log::Stream::Error
        } else {
            log::Stream::Nowhere
        };
        // A tick a minute would push the story of the set-up out of the file.
        let level = self.level();
        log::start(stream, self.format, level, &host.path(LOG), level);
    }

    /// How much is shown.
    fn level(self) -> Level {
        if self.verbose {
            Level::DEBUG
        } else {
            Level::INFO
        }
    }

    /// Whether the lines may give way to a live view.
    fn may_draw(self) -> bool {
        self.format == log::Format::Text && !self.verbose
    }
}

/// The machine: `/`, or in a test the directory that `BOOTSTRAP_ROOT` names.
fn host() -> Host {
    let root = std::env::var_os("BOOTSTRAP_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let host = Host::at(root);
    host.share_looks();
    let faster = std::env::var(pace::VARIABLE).ok();
    if let (false, Some(times)) = (host.is_real(), faster.and_then(|times| times.parse().ok())) {
        pace::hasten(times);
    }
    host
}

/// Refuses to continue without the capabilities that reading the whole machine needs.
fn need_root(host: &Host) -> Result<(), Exit> {
    if host.is_real() && !rustix::process::geteuid().is_root() {
        complain("error: this must run as root\n  help: repeat the command with sudo");
        return Err(Exit::Usage);
    }
    Ok(())
}

/// The node that the config file describes; where it is wrong, everything that is wrong has been said.
fn node(config: &Path, host: Host) -> Result<Node, Exit> {
    need_root(&host)?;
    match config::load(config) {
        Ok(config) => Ok(Node::new(config, host, Imds::from_env())),
        Err(mistakes) => {
            complain(&mistakes);
            Err(Exit::Usage)
        }
    }
}

/// The engine with the table of phases.
fn engine(node: &Arc<Node>) -> Result<Engine> {
    Engine::new(phases::table(node))
}

/// Runs `work` to its end on a small runtime.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_fail(
            || "cannot start the runtime",
            "see whether the machine is out of memory or threads",
        )?;
    let answer = runtime.block_on(work);
    // A blocking call that has not come back (a dead mount, a slow server) must not keep the program alive.
    runtime.shutdown_background();
    Ok(answer)
}

/// Writes a command's answer to standard output, in colour where a terminal takes it. A reader that has gone away (`| head`) is no failure.
fn say(text: &str) {
    let _ = writeln!(anstream::stdout(), "{}", text.trim_end());
}

/// `value` as JSON for people and programs.
fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .or_fail(|| "cannot write JSON", "report this as a bug in bootstrap")
}

/// The JSON Schema of what a command prints as JSON.
pub(crate) fn schema<T: JsonSchema>() -> Exit {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    say(&format!(
        "{:#}",
        settings
            .into_generator()
            .into_root_schema_for::<T>()
            .as_value()
    ));
    Exit::Done
}

/// Writes to standard error.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// Says what failed and what to do about it.
fn fail(error: &Error) -> Exit {
    complain(&format!("error: {error}\n  help: {}", error.hint()));
    Exit::Failed
}
