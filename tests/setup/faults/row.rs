//! The shape of the fault table: what `tests/setup/faults/THEME.json` may say.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::inject::Fault;

/// One file of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Theme {
    /// Its headline in `README.md`.
    pub theme: String,
    rows: Vec<Value>,
}

impl Theme {
    /// The rows; one that is misspelt fails by its name.
    pub fn rows(&self) -> Vec<Row> {
        let parse = |row: &Value| {
            Row::deserialize(row).unwrap_or_else(|error| panic!("{}: {error}", row["name"]))
        };
        self.rows.iter().map(parse).collect()
    }
}

/// One fault: where it is injected, and what must follow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What a person at night would search for.
    pub name: String,
    /// The machine (`tests/setup/machines`).
    #[serde(default = "debian")]
    pub machine: String,
    /// How many files its volume holds beside the key, at least.
    #[serde(default)]
    pub files: usize,
    /// What it is when the fault comes.
    #[serde(default)]
    pub start: Start,
    /// What is wrong from the start of the run.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// The run is held at this call of a tool …
    #[serde(default)]
    pub at: Option<String>,
    /// … while these come.
    #[serde(default)]
    pub meanwhile: Vec<Fault>,
    /// How many times faster deliberate waiting goes.
    #[serde(default = "hundredfold")]
    pub pace: u32,
    /// Arguments of the run; none is the whole run.
    #[serde(default)]
    pub run: Vec<String>,

    /// It runs once more, after the reboot where it has asked for one; the values are of that run.
    #[serde(default)]
    pub then_run: bool,
    /// At the end `verify` finds nothing that fails.
    #[serde(default)]
    pub then_verify: bool,

    /// Exit code.
    pub exit: i32,
    /// The phase that fails; with `verify` as the run, the check.
    #[serde(default)]
    pub phase: String,
    /// The exact reason; see [`super::masked`] for what is written in capitals.
    #[serde(default)]
    pub reason: String,
    /// The failures underneath.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The exact hint.
    #[serde(default)]
    pub hint: String,
    /// Where more than one thing fails: all that CloudFormation gets as the reason.
    #[serde(default)]
    pub told: Option<String>,
    /// How many signals CloudFormation takes, where that is not what a run of this kind sends.
    #[serde(default)]
    pub signals: Option<usize>,
    /// What the log has to say, where the run gets over the fault.
    #[serde(default)]
    pub says: String,
    /// What the log does not say.
    #[serde(default)]
    pub silent: Vec<String>,
    /// All calls that change something, in their order.
    #[serde(default)]
    pub changes: Option<Vec<String>>,
    /// No call that changes something has this in it.
    #[serde(default)]
    pub never: Vec<String>,
    /// Files and folders of the machine that are not touched.
    #[serde(default)]
    pub unchanged: Vec<String>,

    /// What a person does about it; where nothing is named, the fault is taken away.
    #[serde(default)]
    pub remedy: Vec<Fault>,
    /// Arguments of the run that heals.
    #[serde(default)]
    pub again: Vec<String>,
    /// Whether `README.md` leaves it out: another row says the same.
    #[serde(default)]
    pub like_another: bool,
}

/// What a machine is when the fault comes.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Bare, with a volume of an earlier node, free.
    #[default]
    Bare,
    /// A healthy node.
    Node,
    /// A healthy node that has just rebooted.
    Reboot,
}

impl Row {
    /// The reason and the failures underneath, in one line.
    pub fn whole_reason(&self) -> String {
        let mut parts = vec![self.reason.as_str()];
        parts.extend(self.causes.iter().map(String::as_str));
        parts.join(": ")
    }

    /// Whether it asks `verify`, and runs nothing.
    pub fn verifies(&self) -> bool {
        self.run.first().is_some_and(|command| command == "verify")
    }
}

fn debian() -> String {
    "debian-12".into()
}

const fn hundredfold() -> u32 {
    100
}

/// The whole table, in the order of the files' names.
pub fn table() -> Vec<Theme> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/faults");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    let parse = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().map(parse).collect()
}
