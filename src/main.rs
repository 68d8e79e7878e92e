//! `bootstrap` turns a bare EC2 instance into a healthy Theta Edge Node, and proves it.

mod aws;
mod cli;
mod commands;
mod config;
mod digest;
mod directories;
mod edge;
mod engine;
mod error;
mod health;
mod host;
mod http;
mod log;
mod metrics;
mod node;
mod pace;
mod phases;
mod report;
mod retry;
mod secret;

fn main() -> std::process::ExitCode {
    cli::main()
}
