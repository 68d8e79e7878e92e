//! `bootstrap` turns a bare EC2 instance into a healthy Theta Edge Node, and proves it.

#![cfg_attr(fuzzing, no_main, allow(dead_code, unused_imports))]
// The panic over a slice that ends within a character quotes the whole text, which may be the password.
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod aws;
mod cli;
mod commands;
mod config;
mod digest;
mod directories;
mod edge;
mod engine;
mod error;
#[cfg(test)]
#[path = "../tests/bench/fleet/mod.rs"]
mod fleet;
#[cfg(any(fuzzing, test))]
#[path = "../tests/fuzz/targets.rs"]
mod fuzz;
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
mod rights;
mod secret;

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    cli::main()
}
