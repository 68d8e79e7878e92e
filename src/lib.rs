//! `bootstrap` turns a bare EC2 instance into a healthy Theta Edge Node, and proves it.
//!
//! The program is [`cli::main`]; everything else is here so that the tests, the fuzz targets and the fleet benchmark use
//! the same code. From the top down, and no arrow goes up:
//!
//! | module | owns |
//! | --- | --- |
//! | [`cli`], [`commands`] | arguments to command to exit code; what each command does |
//! | [`phases`] | one file for each phase, and the table that lists them in order |
//! | [`metrics`], [`health`], [`repair`] | one metrics tick; the health check; what is repaired, and how often |
//! | [`report`] | text, SVG and live views of the journal |
//! | [`explain`] | what each check and each fault means, how it comes about, what to do |
//! | [`node`] | what every phase shares: the config, the machine, the clients |
//! | [`notify`] | what CloudFormation is told of success and failure |
//! | [`owner`] | which instance the config and the state on the disk belong to |
//! | [`engine`] | runs phases in dependency order, in parallel; journal, lock; knows no phase by name |
//! | [`edge`] | the edge node: container spec, image, JSON-RPC, key folder, entrypoint |
//! | [`aws`] | IMDS, S3, Secrets Manager, CloudWatch, EC2, CloudFormation, the wait handle |
//! | [`host`] | everything that touches the machine, behind one root prefix |
//! | [`config`] | the config file: schema, defaults, every mistake at once |
//! | [`paths`] | every path of ours on a node |
//! | [`retry`], [`http`], [`doing`], [`log`], [`error`], [`wallet_password`], … | what all of them stand on |
//!
//! A [phase](engine::Phase) is *checked*, *applied* if its check finds that it does not hold yet, and checked again: a
//! phase is done only when its own check says so. The machine is the source of truth; the journal only records.

#![cfg_attr(not(test), deny(unreachable_pub))]
// The panic over a slice that ends within a character quotes the whole text, which may be the password.
#![cfg_attr(not(test), deny(clippy::string_slice))]

/// Version and git commit.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BOOTSTRAP_COMMIT"),
    ")"
);

pub mod aws;
pub mod cli;
pub mod commands;
pub mod config;
pub mod digest;
pub mod doing;
pub mod edge;
pub mod engine;
pub mod error;
pub mod explain;
pub mod health;
pub mod host;
pub mod http;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod notify;
pub mod owner;
pub mod pace;
pub mod paragraph;
pub mod paths;
pub mod phases;
pub mod proxy;
pub mod repair;
pub mod report;
pub mod retry;
pub mod rights;
pub mod shell;
pub mod wallet_password;
