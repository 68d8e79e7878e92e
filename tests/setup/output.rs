//! What is shown of a run: `status`, and the log as JSON lines.

use std::fs;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Ended, Machine};
use crate::shared::PHASES;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("status_shows_the_run_and_draws_it", status_shows_the_run_and_draws_it),
    ("earlier_runs_stay_to_be_looked_at", earlier_runs_stay_to_be_looked_at),
    ("json_output_is_json_lines_only", json_output_is_json_lines_only),
    ("an_answer_is_json_where_the_log_is", an_answer_is_json_where_the_log_is),
];

fn status_shows_the_run_and_draws_it() {
    let machine = Machine::new("debian-12");
    let none: Ended = machine.run(&["status"]).expect(1);
    assert_eq!(
        none.stderr,
        "error: there is no journal at /var/lib/bootstrap/journal.json: bootstrap has not run here\n  help: run `bootstrap`; \
         /var/log/cloud-init-output.log says why user-data did not\n"
    );
    machine.run(&[]).expect(0);
    let chart = machine.path("/tmp/chart.svg");
    let text = machine
        .run(&["status", "--svg", chart.to_str().unwrap()])
        .expect(0)
        .stdout;
    let id = machine.journal()["run"]["id"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("run {id}: ok, ")), "{text}");
    let drawn = fs::read_to_string(chart).unwrap();
    assert!(
        drawn.trim_start().starts_with("<svg ") && drawn.trim_end().ends_with("</svg>"),
        "{drawn}"
    );
    for name in PHASES {
        assert!(drawn.contains(name) && text.contains(name), "{name}");
    }
    let shown = machine.run(&["status", "--svg", "-"]).expect(0).stdout;
    assert!(
        shown.starts_with("<svg ") && shown.trim_end().ends_with("</svg>"),
        "{shown}"
    );
    let status = machine.run(&["status", "--json"]).expect(0).json();
    assert_eq!(
        (&status["version"], &status["run"]["result"]),
        (&json!(1), &json!("ok"))
    );
    let names: Vec<_> = status["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, PHASES);
    let keys = [
        "status", "changed", "attempts", "started", "ended", "seconds", "detail", "error",
    ];
    assert!(
        keys.iter()
            .all(|key| status["phases"][0].get(key).is_some()),
        "{status:#}"
    );
}

/// A rerun of one phase does not hide what the boot did.
fn earlier_runs_stay_to_be_looked_at() {
    let machine = Machine::new("debian-12");
    machine.run(&[]).expect(0);
    let boot = machine.journal()["run"]["id"].as_str().unwrap().to_owned();
    machine.forget("active docker.service");
    machine.run(&["--phase", "docker"]).expect(0);
    let rerun = machine.journal()["run"]["id"].as_str().unwrap().to_owned();

    let text = machine.run(&["status"]).expect(0).stdout;
    assert!(text.starts_with(&format!("run {rerun}: ok, ")), "{text}");
    let pointer = format!(
        "This run was about 1 of {} phases. The last run of all: bootstrap status {boot}\n",
        PHASES.len()
    );
    assert!(text.ends_with(&pointer), "{text}");

    for name in [boot.as_str(), "2"] {
        let text = machine.run(&["status", name]).expect(0).stdout;
        assert!(text.starts_with(&format!("run {boot}: ok, ")), "{text}");
        assert!(PHASES.iter().all(|phase| text.contains(phase)), "{text}");
        assert!(
            !text.contains("not in this run") && !text.contains("This run was"),
            "{text}"
        );
    }
    let only = machine.run(&["status", "1", "--json"]).expect(0).json();
    assert_eq!(only["run"]["id"], rerun.as_str());
    let keys: Vec<_> = only.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["phases", "reboots", "run", "version"]);

    let list = machine.run(&["status", "--list"]).expect(0).stdout;
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert_eq!(lines[1][..3], ["1", &rerun, "ok"]);
    assert_eq!(lines[1].last(), Some(&"docker"));
    assert_eq!(lines[2][..3], ["2", &boot, "ok"]);
    let list = machine
        .run(&["status", "--list", "--json"])
        .expect(0)
        .json();
    assert_eq!(list["runs"][1]["run"]["id"], boot.as_str());

    let none = machine.run(&["status", "1999"]).expect(1);
    assert_eq!(
        none.stderr,
        "error: no run is named '1999'\n  help: the runs that are kept: bootstrap status --list\n"
    );
}

fn an_answer_is_json_where_the_log_is() {
    let machine = Machine::new("debian-12");
    for (command, code, key) in [("plan", 0, "phases"), ("verify", 1, "checks")] {
        let said = machine.run(&["--log-format", "json", command]).expect(code);
        assert!(said.json()[key].is_array(), "{}", said.stdout);
    }
}

fn json_output_is_json_lines_only() {
    let machine = Machine::new("debian-12");
    machine.aws.state().objects.clear();
    for arguments in [
        &["--log-format", "json"][..],
        &["--log-format", "json", "-v"],
    ] {
        let said = machine.run(arguments).expect(1);
        assert_eq!(said.stderr, "");
        assert!(said.stdout.lines().count() > 10);
        for line in said.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(
                line["time"].is_string() && line["level"].is_string(),
                "{line}"
            );
        }
    }
}
