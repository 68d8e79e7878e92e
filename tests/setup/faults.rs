//! The fault table: every row of `tests/setup/faults/*.json` comes over a machine, and what must follow is compared.
//!
//! What every row has to show besides its own words: no file of the data volume is lost, the password is found nowhere,
//! CloudFormation hears what it should, and once the fault is gone the next run makes the node whole.

pub mod data;
mod guide;
mod inject;
mod row;
pub mod tally;

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use self::inject::{Fault, Undo};
use self::row::{Row, Start, table};
use crate::machine::{Ended, INSTANCE, Machine};
use crate::shared::masked as masked_by_machine;

/// Begins the wallet password, and stands in nothing else.
const CANARY: &str = "canary-7Qm2";

const JOURNAL: &str = "/var/lib/bootstrap/journal.json";

/// Where the password belongs, and where a row puts it itself.
const ALLOWED: [&str; 3] = [
    "root/run/bootstrap/secrets/wallet-password",
    "tools/facts/log",
    "tools/facts/leak",
];

/// Where a killed run may leave it, in memory, until the next one writes the password.
const UNFINISHED: &str = "root/run/bootstrap/secrets/.wallet-password.bootstrap-";

/// What is written before a hint at the wait handle, in characters.
const REASON: usize = 600;

/// One trial for each row, and one for the page that is made from them.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for theme in table() {
        let of = theme.theme.to_lowercase().replace(' ', "-");
        for row in theme.rows() {
            let name = format!("faults::{of}::{}", row.name.replace(' ', "_"));
            trials.push(crate::trial(&name, move || hold(&row)));
        }
    }
    trials.push(crate::trial(
        "faults::the_readme_says_what_can_go_wrong",
        guide::compare,
    ));
    trials
}

/// Holds one row against a machine.
fn hold(row: &Row) {
    let mut machine = stage(row);
    let told_before = machine.signals().len();
    let mut undos: Vec<Undo> = Vec::new();
    for fault in &row.faults {
        undos.push(fault.inject(&mut machine, None));
    }
    tally::tried();
    let at_stake = data::at_stake(&machine, data::files(row.files));
    let before = like(&machine, &row.unchanged);
    machine.forget_calls();

    let mut ended = run(&mut machine, row, &mut undos);
    let mut told_before = told_before;
    if row.then_run {
        if ended.code == 4 {
            machine.reboot(3);
        }
        told_before = machine.signals().len();
        ended = machine.run(&[]);
    }
    tally::ended(ended.code);
    let output = ended.output();
    // First what must never happen, so that it is counted whatever else is wrong.
    compare_data(&machine, at_stake);
    look_for_the_password(&machine, &output);
    compare_words(&machine, row, &ended);
    compare_durations(&machine);
    assert_eq!(like(&machine, &row.unchanged), before, "touched");
    compare_calls(&machine, row);
    if !row.verifies() {
        compare_signals(&machine, row, told_before);
    }

    if row.then_verify {
        let report = machine.run(&["verify"]);
        assert!(matches!(report.code, 0 | 5), "{}", report.output());
    }
    if row.exit != 0 {
        heal(&mut machine, row, undos);
        compare_data(&machine, at_stake);
    }
}

/// The machine before the fault.
fn stage(row: &Row) -> Machine {
    let mut machine = Machine::new(&row.machine);
    machine.pace = row.pace;
    // Divided by the pace, this is minutes.
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    data::put_volume(&mut machine, data::files(row.files));
    if row.start != Start::Bare {
        machine.run(&[]).expect(0);
    }
    if row.start == Start::Reboot {
        machine.reboot(2);
    }
    machine
}

fn run(machine: &mut Machine, row: &Row, undos: &mut Vec<Undo>) -> Ended {
    let mut arguments: Vec<&str> = row.run.iter().map(String::as_str).collect();
    if row.verifies() {
        arguments.push("--json");
    }
    let Some(at) = &row.at else {
        return machine.run(&arguments);
    };
    let gate = machine.gate(at);
    let started = machine.start(&arguments);
    let waiting = gate.arrived();
    for fault in &row.meanwhile {
        undos.push(fault.inject(machine, Some(&started)));
    }
    machine.ungate();
    if row.meanwhile.iter().any(Fault::ends_the_run) {
        // The tool must not end first.
        let ended = started.wait();
        drop(waiting);
        return ended;
    }
    drop(waiting);
    started.wait()
}

/// Exit code, phase, reason, causes, hint; or what the log has to say.
fn compare_words(machine: &Machine, row: &Row, ended: &Ended) {
    let output = ended.output();
    assert_eq!(ended.code, row.exit, "{output}");
    if row.verifies() {
        return compare_check(machine, row, ended);
    }
    if !row.says.is_empty() {
        let log = machine.log();
        let messages = log.iter().filter_map(|line| line["message"].as_str());
        let messages: Vec<_> = messages.map(|said| masked(machine, said)).collect();
        let messages = messages.iter().filter(|said| !said.starts_with("op "));
        let messages: Vec<_> = messages.collect();
        let is_said = messages.iter().any(|said| said.contains(&row.says));
        assert!(is_said, "{messages:#?}");
    }
    if !row.silent.is_empty() {
        let log = machine.read("/var/log/bootstrap.log");
        let said = row.silent.iter().find(|text| log.contains(*text));
        assert_eq!(said, None, "{log}");
    }
    if row.phase.is_empty() {
        // Before any phase, or where no journal can be written.
        let said = masked(machine, &output);
        assert!(
            said.contains(&row.reason) && said.contains(&row.hint),
            "{said}"
        );
        return;
    }
    assert_eq!(machine.phases("failed"), [row.phase.as_str()], "{output}");
    let error = &machine.phase(&row.phase)["error"];
    let words = |value: &Value| masked(machine, value.as_str().unwrap());
    let causes: Vec<_> = error["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(words)
        .collect();
    assert_eq!(
        (words(&error["reason"]), causes, words(&error["hint"])),
        (row.reason.clone(), row.causes.clone(), row.hint.clone())
    );
}

/// No row takes so long, and nothing takes less than no time, whatever the clock says.
fn compare_durations(machine: &Machine) {
    if !machine.path(JOURNAL).exists() {
        return;
    }
    let journal = machine.journal();
    let phases = journal["phases"].as_array().unwrap().iter();
    for part in phases.chain([&journal["run"]]) {
        let seconds = part["seconds"].as_f64();
        assert!(
            seconds.is_none_or(|s| (0.0..600.0).contains(&s)),
            "{part:#}"
        );
    }
}

fn compare_check(machine: &Machine, row: &Row, ended: &Ended) {
    let report = ended.json();
    let checks = report["checks"].as_array().unwrap().iter();
    let failing: Vec<_> = checks.filter(|check| check["name"] == *row.phase).collect();
    let [check] = failing.as_slice() else {
        panic!("no check {}: {report:#}", row.phase);
    };
    let words = |name: &str| masked(machine, check[name].as_str().unwrap_or_default());
    let status = if row.exit == 0 { "warn" } else { "fail" };
    assert_eq!(
        (words("detail"), Vec::<String>::new(), words("hint")),
        (row.reason.clone(), Vec::new(), row.hint.clone())
    );
    assert_eq!(words("status"), status);
}

fn compare_calls(machine: &Machine, row: &Row) {
    let changes = machine.changes();
    if let Some(wanted) = &row.changes {
        assert_eq!(changes, *wanted);
    }
    for part in &row.never {
        let done = changes.iter().find(|call| call.contains(part));
        assert_eq!(done, None, "must never happen: {part}");
    }
}

/// What CloudFormation has heard of the run.
fn compare_signals(machine: &Machine, row: &Row, before: usize) {
    let signals = machine.signals().split_off(before);
    let by = |index: usize| {
        let signal = signals.get(index).unwrap_or(&Value::Null);
        (signal["by"].clone(), signal["Status"].clone())
    };
    let (handle, resource) = ("wait-handle", "SignalResource");
    let count = match (row.start, row.exit) {
        // A node's later troubles are none of the stack's business; who is killed says nothing.
        (Start::Node | Start::Reboot, _) | (_, -1 | 4) => 0,
        _ if row.signals == Some(0) => 0,
        (Start::Bare, 0) if row.signals.is_some() => 0,
        (Start::Bare, 0) => {
            assert_eq!(by(0), (resource.into(), "SUCCESS".into()));
            assert_eq!(by(1), (handle.into(), "SUCCESS".into()));
            2
        }
        (Start::Bare, _) => {
            assert_eq!(by(0), (handle.into(), "FAILURE".into()));
            let reason = masked(machine, signals[0]["Reason"].as_str().unwrap());
            assert_eq!(reason, row.told.clone().unwrap_or_else(|| failure(row)));
            // Without a config, or a name of its own, nobody but the handle can be told.
            let nameless = signals[0]["UniqueId"] != INSTANCE;
            if row.exit == 2 || nameless || row.signals.is_some() {
                1
            } else {
                assert_eq!(by(1), (resource.into(), "FAILURE".into()));
                2
            }
        }
    };
    let count = row.signals.unwrap_or(count);
    assert_eq!(signals.len(), count, "{signals:#?}");
}

/// The wait handle's reason, by the row's own words.
fn failure(row: &Row) -> String {
    let phase = match row.phase.as_str() {
        "" => String::new(),
        phase => format!("{phase}: "),
    };
    let reason = format!("{phase}{}", row.whole_reason());
    let reason: String = reason.chars().take(REASON).collect();
    format!("{reason}. {}", row.hint)
}

/// Neither in what was said, nor in any file, nor in a tool's arguments or environment (files beside the machine).
pub fn look_for_the_password(machine: &Machine, said: &str) {
    assert!(!said.contains(CANARY), "{said}");
    let signals = json!(machine.signals()).to_string();
    assert!(!signals.contains(CANARY), "{signals}");
    let mut files = machine.files_with(CANARY);
    files.retain(|file| !ALLOWED.contains(&file.as_str()) && !file.starts_with(UNFINISHED));
    assert_eq!(files, Vec::<String>::new(), "the password is there");
}

pub fn compare_data(machine: &Machine, at_stake: usize) {
    if at_stake == 0 {
        return;
    }
    let lost = data::lost(machine, at_stake - 1);
    tally::looked(at_stake, lost.len());
    assert_eq!(lost.first(), None, "{} files are lost", lost.len());
}

/// Takes the fault away, or does what a person would, and runs again.
fn heal(machine: &mut Machine, row: &Row, undos: Vec<Undo>) {
    if row.remedy.is_empty() {
        for undo in undos.into_iter().rev() {
            undo(machine);
        }
    }
    for step in &row.remedy {
        // Nobody takes a remedy back.
        drop(step.inject(machine, None));
    }
    let again: Vec<&str> = row.again.iter().map(String::as_str).collect();
    let ended = machine.run(&again).expect(0);
    assert_eq!(machine.phases("failed"), Vec::<String>::new());
    look_for_the_password(machine, &ended.output());
    tally::healed();
}

/// What each of these files, and of those below these folders, is like.
fn like(machine: &Machine, paths: &[String]) -> BTreeMap<String, String> {
    let mut all = machine.snapshot();
    all.retain(|found, _| {
        paths.iter().any(|path| {
            let path = path.trim_start_matches('/');
            found == path || found.starts_with(&format!("{path}/"))
        })
    });
    all
}

/// The text with what is another each time in capitals: `ROOT`, `AWS`, the ports, `HASH`, the archive's `SIZE` and
/// the hundredth `PART` of it.
pub fn masked(machine: &Machine, text: &str) -> String {
    let size = machine.aws.state().objects["theta-assets/assets.tar.gz"].len();
    let mut text = text.to_owned();
    // The test took a moment itself.
    for seconds in 3601..3660 {
        text = text.replace(&format!(" {seconds} s"), " 3600 s");
    }
    let text = text
        .replace(&machine.aws.url(), "AWS")
        .replace(
            &format!("({} of {size} bytes)", size / 100),
            "(PART of SIZE bytes)",
        )
        .replace(&format!(" of {size} bytes"), " of SIZE bytes");
    let text = masked_by_machine(machine, &text);
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if digits.len() == 64 {
            out += "HASH";
            out += &word[digits.len()..];
        } else {
            out += word;
        }
    }
    out
}
