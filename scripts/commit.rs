//! Cargo's build script: tells the compiler which git commit it builds, for `bootstrap --version`.

#![allow(clippy::print_stdout)] // how a build script talks to Cargo

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BOOTSTRAP_COMMIT");
    // Every commit, checkout and reset writes the reflog of HEAD.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = std::env::var("BOOTSTRAP_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=BOOTSTRAP_COMMIT={commit}");
}

/// What git prints, or `None` where there is no git or no repository (a source archive).
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
