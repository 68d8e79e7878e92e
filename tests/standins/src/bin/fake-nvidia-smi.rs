//! Stands in for nvidia-smi on a machine without a GPU: one Tesla T4, whose driver is loaded while
//! `/proc/driver/nvidia/version` is there, as with the real one. Answers `-L`, `--query-gpu` as CSV and
//! `--persistence-mode`, with NVIDIA's words and exit codes.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// There while the driver is loaded.
const DRIVER: &str = "/proc/driver/nvidia/version";
/// Beside it, and gone with it.
const PERSISTENCE: &str = "/proc/driver/nvidia/persistence";
/// What nvidia-smi's manual calls "NVIDIA driver is not loaded".
const NOT_LOADED: u8 = 9;
const INVALID_ARGUMENT: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (code, said) = answer(&arguments);
    // The real one tells its failures on standard output, too.
    let written = writeln!(io::stdout(), "{said}");
    if written.is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::from(code)
}

fn answer(arguments: &[String]) -> (u8, String) {
    if !Path::new(DRIVER).exists() {
        let said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the \
                    latest NVIDIA driver is installed and running.";
        return (NOT_LOADED, said.into());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["-L"] => {
            let uuid = value("uuid").unwrap_or_default();
            (0, format!("GPU 0: Tesla T4 (UUID: {uuid})"))
        }
        ["--persistence-mode=1"] => match fs::write(PERSISTENCE, "") {
            Ok(()) => (
                0,
                "Enabled persistence mode for GPU 00000000:00:1E.0.".into(),
            ),
            Err(error) => (
                INVALID_ARGUMENT,
                format!("cannot write {PERSISTENCE}: {error}"),
            ),
        },
        [query, "--format=csv,noheader"] if query.starts_with("--query-gpu=") => {
            let mut values = Vec::new();
            for field in query.trim_start_matches("--query-gpu=").split(',') {
                let Some(value) = value(field) else {
                    let said = format!("Field \"{field}\" is not a valid field to query.");
                    return (INVALID_ARGUMENT, said);
                };
                values.push(value);
            }
            (0, values.join(", "))
        }
        _ => (
            INVALID_ARGUMENT,
            format!("Invalid combination of input arguments: {arguments:?}"),
        ),
    }
}

fn value(field: &str) -> Option<&'static str> {
    Some(match field {
        "name" => "Tesla T4",
        "driver_version" => "535.261.03",
        "uuid" => "GPU-00000000-0000-0000-0000-00000000fa4e",
        "persistence_mode" if Path::new(PERSISTENCE).exists() => "Enabled",
        "persistence_mode" => "Disabled",
        _ => return None,
    })
}
