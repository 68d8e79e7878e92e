//! What several themes use: the phases, a healthy machine, and what a failure must look like.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::{INSTANCE, Machine};

pub const PHASES: [&str; 14] = [
    "preflight",
    "ssm-agent",
    "nvidia",
    "docker",
    "image",
    "user",
    "volume",
    "assets",
    "secret",
    "cloudwatch-agent",
    "container",
    "wallet-backup",
    "metrics-cron",
    "signal",
];

/// A machine on which a whole run has ended well.
pub fn healthy(name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.run(&[]).expect(0);
    machine.forget_calls();
    machine
}

/// Does the same with each case, each in a thread of its own: the node is waited for more than worked on.
pub fn side_by_side<C: Sync>(cases: &[C], each: impl Fn(&C) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| scope.spawn(|| each(case)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// The check, or the metric, of this name in the list of a report.
#[track_caller]
pub fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut entries = list.as_array().unwrap().iter();
    entries.find(|entry| entry["name"] == name).expect(name)
}

/// What a failed phase says, and what to do about it.
#[track_caller]
pub fn expect_failure(machine: &Machine, phase: &str, reason: &str, hint: &str) {
    let failed = machine.phase(phase);
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert_eq!(failed["error"]["reason"], reason);
    assert_eq!(failed["error"]["hint"], hint);
}

/// The stack hears of one failure at the wait handle, with its reason, and of one failure of the resource.
#[track_caller]
pub fn expect_failure_signals(machine: &Machine, reason: &str) {
    let signals = machine.signals();
    assert_eq!(signals.len(), 2, "{signals:#?}");
    assert_eq!(
        signals[0],
        json!({"by": "wait-handle", "Status": "FAILURE", "Reason": reason, "UniqueId": INSTANCE, "Data": ""})
    );
    let resource = json!({
        "by": "SignalResource", "Status": "FAILURE", "StackName": "theta-edge",
        "LogicalResourceId": "NodeReady", "UniqueId": INSTANCE
    });
    assert_eq!(signals[1], resource);
}

/// Followed by the hash of all that the container is made of.
const LABEL: &str = "io.theta.bootstrap.spec=";

pub fn masked(machine: &Machine, command: &str) -> String {
    let mut text = command.replace(machine.root().to_str().unwrap(), "ROOT");
    for (port, name) in machine.ports().iter().zip(["LAUNCHER", "CORE", "ENCODER"]) {
        text = with_number(&text, &port.to_string(), name);
    }
    if let Some(at) = text.find(LABEL) {
        let hash = at + LABEL.len();
        text.replace_range(hash..hash + 64, "SPEC");
    }
    text
}

/// The text with `name` for each such number that is no part of a longer one.
fn with_number(text: &str, number: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        let is_part = before.ends_with(|c: char| c.is_ascii_digit())
            || after.starts_with(|c: char| c.is_ascii_digit());
        out += before;
        out += if is_part { number } else { name };
        rest = after;
    }
    out + rest
}

/// `text` as it stands inside a JSON string.
pub fn json_text(text: &str) -> String {
    json!(text).to_string().trim_matches('"').to_owned()
}

/// The text is that of the golden file, which `BLESS=1` writes.
#[track_caller]
pub fn compare_golden(golden: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, text).unwrap();
    } else {
        let wanted = fs::read_to_string(golden).unwrap_or_default();
        assert!(
            wanted == text,
            "{}:\n{}",
            golden.display(),
            difference(&wanted, text)
        );
    }
}

fn difference(wanted: &str, found: &str) -> String {
    let lines = |text: &str, other: &str, mark: &str| -> Vec<String> {
        let only = text
            .lines()
            .filter(|line| !other.lines().any(|l| l == *line));
        only.map(|line| format!("{mark} {line}")).collect()
    };
    [lines(wanted, found, "-"), lines(found, wanted, "+")]
        .concat()
        .join("\n")
}
