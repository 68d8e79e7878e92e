//! Arguments to command to exit code, nothing else.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::VERSION;
use crate::commands::prepare::Wanted;
use crate::commands::run::Run;
use crate::commands::verify::Verify;
use crate::commands::{self, Output};
use crate::edge::look::Needs;
use crate::engine::{Journal, Plan};
use crate::log;
use crate::memory::hide_memory;
use crate::node::Document;
use crate::paths;

/// Turns a bare EC2 instance into a healthy Theta Edge Node, and proves it.
///
/// Without a command, runs every phase that does not hold yet.
#[derive(Parser)]
#[command(name = "bootstrap", version = VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    run: Run,

    #[command(flatten)]
    global: Global,
}

/// What every command takes.
#[derive(Args)]
struct Global {
    /// The config file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BOOTSTRAP_CONFIG",
        default_value = paths::CONFIG
    )]
    config: PathBuf,

    /// Format of standard output; `json` is also what a command's `--json` prints
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// Also show details, such as every command run
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Check every phase and say what a run would do; changes nothing
    Plan {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the JSON Schema of what --json prints
        #[arg(long, conflicts_with = "json")]
        schema: bool,
    },
    /// Check the node's health; the verdict is in the first line
    Verify(Verify),
    /// Show a run: phases, durations, attempts, errors
    Status {
        /// The run to show: its id, the beginning of its id, or its number in the list (default: the last run)
        run: Option<String>,
        /// List the last ten runs instead
        #[arg(long, conflicts_with_all = ["run", "svg"])]
        list: bool,
        /// Print the JSON Schema of what --json prints for one run
        #[arg(long, conflicts_with_all = ["run", "svg", "list", "json"])]
        schema: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Also draw the run as a Gantt chart into this file; `-` prints the chart alone, to standard output
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Explain a check or a fault: what it means, what causes it, what to do, how it was tested
    Explain {
        /// A check, a phase, or words from a fault or a message; without it, list everything that can be explained
        name: Vec<String>,
    },
    /// Collect what a bug report needs into one archive, without any secret
    Doctor {
        /// The archive; `-` is standard output. Without it, a file in /var/lib/bootstrap
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Probe the node once and publish its metrics to CloudWatch
    Metrics {
        /// Print what would be published instead
        #[arg(long)]
        dry_run: bool,
    },
    /// Repair what is down or hangs, within limits; a timer runs this every 20 seconds
    Repair,
    /// Prepare a machine image: install what every node needs, and nothing specific to an instance
    ///
    /// Installs what belongs to an image: packages, with --gpu the NVIDIA driver, Docker, cron, the agents, the manual, the
    /// edge image. Installs no unit and writes no config. At the end it removes what identifies this machine: machine-id,
    /// SSH host keys, the state of cloud-init, its own state and log. What logging in has left behind is not removed.
    /// Needs no config file; refuses a machine that has one.
    Prepare(Wanted),
    /// Inspect the edge image and say where it differs from what is assumed
    ProbeImage,
    /// Work with the config file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script
    Completions {
        /// The shell it is for
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    Man {
        /// The command to describe (default: bootstrap itself)
        command: Vec<String>,
    },
    /// Says what can be used in the image that this runs in
    #[command(hide = true)]
    Look {
        /// The image's own user
        #[arg(long, value_name = "USER")]
        home_of: String,
        /// A program that must start
        #[arg(long, value_name = "PATH")]
        run: Vec<String>,
        /// A file or directory that must be readable
        #[arg(long, value_name = "PATH")]
        read: Vec<String>,
        /// A file or directory that must be writable
        #[arg(long, value_name = "PATH")]
        write: Vec<String>,
    },
    /// The container's entrypoint: hands the secret to the image's own entrypoint
    #[command(hide = true)]
    Entrypoint {
        /// Environment variable to set, and the file that holds its value
        #[arg(long, value_name = "VARIABLE=FILE")]
        secret: String,
        /// The data directory, which must not lie on the root disk
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The image's own entrypoint and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Report every mistake in the config file at once
    Check,
    /// Print the JSON Schema of the config file
    Schema,
}

/// Manual pages and completions, as they are installed.
fn documents() -> Vec<Document> {
    commands::man::documents(&Arguments::command())
}

/// Runs what the process arguments say.
pub fn main() -> ExitCode {
    hide_memory();
    let Arguments {
        command,
        run,
        global,
    } = Arguments::parse();
    let output = Output {
        format: match global.log_format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        },
        verbose: global.verbose,
    };
    if command.is_some() && !run.phases.is_empty() {
        // clap could only refuse all of a run's arguments together with the global ones.
        let message = "--phase belongs to a run: leave the subcommand out";
        Arguments::command()
            .error(ErrorKind::ArgumentConflict, message)
            .exit();
    }
    let config = &global.config;
    let exit = match command {
        None => commands::run::run(config, &run, documents, output),
        Some(Command::Plan { schema: true, .. }) => commands::schema::<Plan>(),
        Some(Command::Status { schema: true, .. }) => commands::schema::<Journal>(),
        Some(Command::Plan { json, .. }) => commands::plan::plan(config, json, documents, output),
        Some(Command::Verify(what)) => commands::verify::verify(config, &what, output),
        Some(Command::Status {
            run,
            list,
            json,
            svg,
            ..
        }) => {
            let json = json || output.format == log::Format::Json;
            if list {
                commands::status::list(json)
            } else {
                commands::status::status(run.as_deref(), json, svg.as_deref())
            }
        }
        Some(Command::Explain { name }) => commands::explain::explain(&name),
        Some(Command::Doctor { output: file }) => {
            commands::doctor::doctor(config, file.as_deref(), output)
        }
        Some(Command::Metrics { dry_run }) => commands::metrics::tick(config, dry_run, output),
        Some(Command::Repair) => commands::repair::repair(config, documents, output),
        Some(Command::Prepare(wanted)) => {
            commands::prepare::prepare(config, &wanted, documents, output)
        }
        Some(Command::ProbeImage) => commands::probe_image::probe_image(config, output),
        Some(Command::Config(ConfigCommand::Check)) => commands::config::check(config),
        Some(Command::Config(ConfigCommand::Schema)) => commands::config::schema(),
        Some(Command::Completions { shell }) => {
            commands::man::completions(shell, Arguments::command())
        }
        Some(Command::Man { command }) => commands::man::page(Arguments::command(), &command),
        Some(Command::Look {
            home_of,
            run,
            read,
            write,
        }) => commands::look::print(&home_of, &Needs { run, read, write }),
        Some(Command::Entrypoint {
            secret,
            data,
            command,
        }) => return commands::entrypoint::exec(&secret, &data, &command),
    };
    exit.into()
}
