//! The built binary from the outside: a directory tree as the machine, fake tools, all of AWS on loopback.
//!
//! This program is the tests and, linked under their names, every system tool (`standins::fake_tool`). With `BLESS=1`
//! the golden lists of commands (`tests/setup/machines/NAME.commands`) are written instead of compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod container;
mod debian;
mod disk;
mod doctor;
mod downloads;
mod drivers;
mod endpoints;
mod faults;
mod gpu;
mod hostile;
mod images;
mod interruptions;
mod kills;
mod logs;
mod machine;
mod metrics;
mod output;
mod packages;
mod pictures;
mod processes;
mod repair;
mod rights;
mod runs;
mod secret;
mod shared;
mod soak;
mod system;
mod trace;
mod verify;
mod volume;
mod wallet;
mod wallet_backup;
mod whole_machines;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use standins::{edge_node, fake_tool};

/// A name, and what it stands for.
type Test = (&'static str, fn());

const THEMES: &[&[Test]] = &[
    soak::TESTS,
    drivers::TESTS,
    whole_machines::TESTS,
    system::TESTS,
    runs::TESTS,
    interruptions::TESTS,
    gpu::TESTS,
    volume::TESTS,
    wallet::TESTS,
    wallet_backup::TESTS,
    downloads::TESTS,
    endpoints::TESTS,
    secret::TESTS,
    container::TESTS,
    verify::TESTS,
    metrics::TESTS,
    processes::TESTS,
    repair::TESTS,
    images::TESTS,
    rights::TESTS,
    hostile::TESTS,
    output::TESTS,
    pictures::TESTS,
    doctor::TESTS,
];

fn main() -> ExitCode {
    if fake_tool::name().is_some() {
        return fake_tool::main();
    }
    if std::env::args().next().as_deref() == Some(edge_node::NAME) {
        return edge_node::main();
    }
    if let Some(failed) = packages::enter_namespace() {
        eprintln!("{failed}");
        return ExitCode::FAILURE;
    }
    let mut arguments = Arguments::from_args();
    // They wait more than they work.
    arguments.test_threads.get_or_insert(8);
    let missing = missing();
    if let Some(missing) = missing {
        eprintln!("skipped: needs {missing}");
    }
    let missing_for_packages = missing.map(str::to_owned).or_else(packages::missing);
    if let (None, Some(missing)) = (missing, &missing_for_packages) {
        eprintln!("skipped: real package managers: needs {missing}");
    }
    let missing_for_debian = missing_for_packages.clone().or_else(debian::missing);
    if let (None, Some(missing)) = (&missing_for_packages, &missing_for_debian) {
        eprintln!("skipped: Debian's real driver packages: needs {missing}");
    }
    let missing_for_logs = missing.or_else(logs::missing);
    if let (None, Some(missing)) = (missing, missing_for_logs) {
        eprintln!("skipped: the real logrotate: needs {missing}");
    }
    let tests = THEMES.iter().copied().flatten();
    let packages = packages::TESTS
        .iter()
        .map(|(name, test)| trial(name, *test).with_ignored_flag(missing_for_packages.is_some()));
    let logs = logs::TESTS
        .iter()
        .map(|(name, test)| trial(name, *test).with_ignored_flag(missing_for_logs.is_some()));
    let debian = debian::TESTS
        .iter()
        .map(|(name, test)| trial(name, *test).with_ignored_flag(missing_for_debian.is_some()));
    let others = tests
        .map(|(name, test)| trial(name, *test))
        .chain(faults::trials())
        .chain(kills::trials())
        .map(|trial| trial.with_ignored_flag(missing.is_some()));
    // They begin in this order: the longest first, or one would go on alone at the end.
    let trials = debian.chain(packages).chain(others).chain(logs).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    packages::tidy();
    for line in [faults::tally::line(), kills::tally::line()]
        .iter()
        .flatten()
    {
        println!("{line}");
    }
    conclusion.exit_code()
}

/// What these tests need and this machine lacks.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root (files are given to the node's account)");
    }
    let openssl = std::process::Command::new("openssl")
        .arg("version")
        .output();
    if openssl.is_err() {
        return Some("openssl (the certificate of what is downloaded)");
    }
    let faketime = std::path::Path::new(machine::FAKETIME);
    (!faketime.exists()).then_some("faketime (clocks that jump)")
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(test))
            .map_err(|panic| Failed::from(said(&*panic)))
    })
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
}
