//! What is shown of a run: `status`, and the log as JSON lines.

use std::fs;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Ended, Machine};
use crate::shared::{PHASES, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("status_shows_the_run_and_draws_it", status_shows_the_run_and_draws_it),
    ("earlier_runs_stay_to_be_looked_at", earlier_runs_stay_to_be_looked_at),
    ("what_is_printed_as_json_fits_its_schema", what_is_printed_as_json_fits_its_schema),
    ("the_manual_and_the_completions_are_installed", the_manual_and_the_completions_are_installed),
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

/// What in `value` is not as the schema says; a key that it does not name is wrong, too.
fn misfits(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")) {
        let mut choices = choices.as_array().unwrap().iter();
        let fits = choices.any(|choice| misfits(choice, value, at).is_empty());
        return if fits {
            Vec::new()
        } else {
            vec![format!("{at}: {value}")]
        };
    }
    if let Some(only) = schema.get("const") {
        return if only == value {
            Vec::new()
        } else {
            vec![format!("{at}: {value}")]
        };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = match &schema["type"] {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    };
    let is_kind = wanted
        .iter()
        .any(|wanted| wanted == kind || (kind == "integer" && wanted == "number"));
    let is_named = schema
        .get("enum")
        .is_none_or(|names| names.as_array().unwrap().contains(value));
    if !is_kind || !is_named {
        return vec![format!("{at}: {value} is not {schema}")];
    }
    let mut wrong = Vec::new();
    if let Value::Array(items) = value {
        let item = |item| misfits(&schema["items"], item, &format!("{at}[]"));
        wrong.extend(items.iter().flat_map(item));
    }
    if let (Value::Object(entries), Some(known)) = (value, schema.get("properties")) {
        for (key, value) in entries {
            let at = format!("{at}.{key}");
            match known.get(key) {
                Some(schema) => wrong.extend(misfits(schema, value, &at)),
                None => wrong.push(format!("{at} is not in the schema")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required.filter(|key| !entries.contains_key(key.as_str().unwrap()));
        wrong.extend(missing.map(|key| format!("{at} lacks {key}")));
    }
    wrong
}

fn what_is_printed_as_json_fits_its_schema() {
    let machine = Machine::new("debian-12");
    let schema = |command: &str| machine.run(&[command, "--schema"]).expect(0).json();
    let [verify, plan, status] = ["verify", "plan", "status"].map(schema);
    let fits = |bad: i32| {
        for (command, code, schema) in [
            ("verify", bad, &verify),
            ("plan", 0, &plan),
            ("status", 0, &status),
        ] {
            let printed = machine.run(&[command, "--json"]).expect(code).json();
            assert!(printed.as_object().unwrap().len() > 1);
            assert_eq!(misfits(schema, &printed, command), [""; 0]);
        }
    };
    machine.aws.state().objects.clear();
    machine.run(&[]).expect(1);
    fits(1);
    let healthy = healthy("debian-12");
    healthy.run(&["--phase", "docker"]).expect(0);
    for (command, schema) in [("verify", &verify), ("plan", &plan), ("status", &status)] {
        let printed = healthy.run(&[command, "--json"]).expect(0).json();
        assert_eq!(misfits(schema, &printed, command), [""; 0]);
    }
    // The judge judges.
    assert_ne!(
        misfits(&plan, &json!({"changes": "none", "phases": []}), "plan"),
        [""; 0]
    );
    assert_ne!(misfits(&plan, &json!({"changes": 1}), "plan"), [""; 0]);
    assert_ne!(
        misfits(
            &plan,
            &json!({"changes": 1, "phases": [], "more": 1}),
            "plan"
        ),
        [""; 0]
    );
}

fn the_manual_and_the_completions_are_installed() {
    let machine = healthy("debian-12");
    let page = "/usr/local/share/man/man1/bootstrap-config-check.1";
    for (file, arguments) in [
        ("/usr/local/share/man/man1/bootstrap.1", &["man"][..]),
        (page, &["man", "config", "check"]),
        (
            "/usr/local/share/bash-completion/completions/bootstrap",
            &["completions", "bash"],
        ),
        (
            "/usr/local/share/zsh/site-functions/_bootstrap",
            &["completions", "zsh"],
        ),
        (
            "/usr/local/share/fish/vendor_completions.d/bootstrap.fish",
            &["completions", "fish"],
        ),
    ] {
        let printed = machine.run(arguments).expect(0).stdout;
        assert_eq!(machine.read(file).trim_end(), printed.trim_end(), "{file}");
    }
    let before = machine.snapshot();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changed_since(&before), [""; 0]);

    // An older program's are replaced; nothing is wrong with the node meanwhile.
    machine.write(page, "older");
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(
        plan["phases"][0]["detail"],
        format!("{page} is not that of this program")
    );
    let report = machine.run(&["verify", "--json"]).expect(0).json();
    assert_eq!(report["summary"]["fail"], 0, "{report:#}");
    machine.run(&["--phase", "preflight"]).expect(0);
    let printed = machine.run(&["man", "config", "check"]).expect(0).stdout;
    assert_eq!(machine.read(page).trim_end(), printed.trim_end());
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
