//! One program that plays every system tool of a test machine.
//!
//! A test links it under the tools' names into one folder, beside `rules.json`. Each call is appended to
//! `calls.log`; the first rule that matches the call answers it. A call that no rule matches exits with 97, so that
//! a test sees it. Facts of the machine ("docker is installed") are empty files in the folder `facts`, which rules
//! ask for and change.
//!
//! A rule: `{"run": "systemctl is-active docker*", "if": ["docker"], "unless": [], "print": "active", "error": "",
//! "exit": 0, "set": ["docker"], "clear": [], "write": {"/absolute/path": "text"}}`. `*` in `run` stands for any
//! text.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    match answer() {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("fake tool: {problem}");
            ExitCode::from(97)
        }
    }
}

fn answer() -> Result<u8, String> {
    let mut words = std::env::args();
    let program = words.next().ok_or("no name to be called by")?;
    let program = Path::new(&program);
    let folder = program.parent().ok_or("called without a folder")?;
    let name = program.file_name().ok_or("called without a name")?;
    let call = std::iter::once(name.to_string_lossy().into_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ");
    std::fs::File::options()
        .append(true)
        .create(true)
        .open(folder.join("calls.log"))
        .and_then(|mut log| log.write_all(format!("{call}\n").as_bytes()))
        .map_err(|error| error.to_string())?;

    let rules = std::fs::read_to_string(folder.join("rules.json")).map_err(|e| e.to_string())?;
    let rules: Vec<Value> = serde_json::from_str(&rules).map_err(|error| error.to_string())?;
    let facts = folder.join("facts");
    let holds = |fact: &str| facts.join(fact).exists();
    let rule = rules
        .iter()
        .find(|rule| {
            matches(rule["run"].as_str().unwrap_or_default(), &call)
                && texts(&rule["if"]).all(holds)
                && !texts(&rule["unless"]).any(holds)
        })
        .ok_or_else(|| format!("no rule for: {call}"))?;

    for fact in texts(&rule["set"]) {
        std::fs::write(facts.join(fact), "").map_err(|error| error.to_string())?;
    }
    for fact in texts(&rule["clear"]) {
        let _ = std::fs::remove_file(facts.join(fact));
    }
    for (path, text) in rule["write"].as_object().into_iter().flatten() {
        if let Some(parent) = Path::new(path).parent() {
            std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        }
        std::fs::write(path, text.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    }
    if let Some(text) = rule["print"].as_str() {
        println!("{text}");
    }
    if let Some(text) = rule["error"].as_str() {
        eprintln!("{text}");
    }
    Ok(u8::try_from(rule["exit"].as_u64().unwrap_or(0)).unwrap_or(255))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Whether `text` is `pattern`, where each `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|&at| rest.is_char_boundary(at))
                .any(|at| matches(tail, rest.get(at..).unwrap_or_default()))
        }),
    }
}
