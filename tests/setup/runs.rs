//! What a run applies: the plan, chosen phases, what they need, and one run at a time.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, expect_failure, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("plan_tells_and_changes_nothing", plan_tells_and_changes_nothing),
    ("phase_reruns_one_phase", phase_reruns_one_phase),
    ("unmet_needs_name_the_command", unmet_needs_name_the_command),
    ("force_applies_what_holds_already", force_applies_what_holds_already),
    ("a_second_run_at_the_same_time_is_refused", a_second_run_at_the_same_time_is_refused),
];

fn plan_tells_and_changes_nothing() {
    let machine = Machine::new("debian-12");
    let before = machine.snapshot();
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    let states: Vec<_> = plan["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["state"].as_str().unwrap())
        .collect();
    let mut wanted = ["needed"; PHASES.len()];
    (wanted[1], wanted[2]) = ("not-applicable", "not-applicable");
    assert_eq!(states, wanted, "{plan:#}");
    assert_eq!(plan["changes"], 12);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
    let text = machine.run(&["plan"]).expect(0).stdout;
    assert!(text.ends_with("\na run would apply 12 phases\n"), "{text}");
    assert!(machine.signals().is_empty());

    machine.run(&[]).expect(0);
    machine.forget_calls();
    let before = machine.snapshot();
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"], 0, "{plan:#}");
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
}

fn phase_reruns_one_phase() {
    let machine = healthy("debian-12");
    machine.forget("active docker.service");
    machine.run(&["--phase", "docker"]).expect(0);
    assert_eq!(machine.changes(), ["systemctl start docker.service"]);
    let docker = machine.phase("docker");
    assert_eq!(
        (&docker["changed"], &docker["status"]),
        (&json!(true), &json!("ok"))
    );
    // The others' records are of the run before.
    assert_ne!(machine.phase("user")["run"], docker["run"]);

    let unknown = machine.run(&["--phase", "dokcer"]).expect(2);
    assert_eq!(
        unknown.stderr,
        format!(
            "error: no phase is named 'dokcer'; did you mean 'docker'?\n  help: the phases are: {}\n",
            PHASES.join(", ")
        )
    );
}

fn unmet_needs_name_the_command() {
    let machine = Machine::new("debian-12");
    machine.run(&["--phase", "user"]).expect(1);
    expect_failure(
        &machine,
        "user",
        "needs what does not hold: preflight (bootstrap.service is not installed), docker (docker is not installed)",
        "run `bootstrap --phase preflight --phase docker --phase user`",
    );
    assert_eq!(machine.changes(), Vec::<String>::new());
    machine
        .run(&[
            "--phase",
            "preflight",
            "--phase",
            "docker",
            "--phase",
            "user",
        ])
        .expect(0);
    assert_eq!(machine.phases("ok"), ["preflight", "docker", "user"]);
}

fn force_applies_what_holds_already() {
    let mut machine = healthy("debian-12");
    machine.run(&["--phase", "container"]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    machine.run(&["--phase", "container", "--force"]).expect(0);
    let pull = "docker pull --quiet thetalabsorg/edgelauncher_mainnet:latest";
    let stop = "docker stop -t 60 edgelauncher";
    // A restart is no upgrade.
    assert_eq!(machine.changes(), [stop, "docker start edgelauncher"]);

    // The pull brings another image.
    machine.rule(json!({
        "run": "docker image inspect *", "if": ["newer"],
        "print": [{"Id": format!("sha256:{}", "22".repeat(32)), "Config": {"Cmd": ["/edgelauncher/start.sh"]}}]
    }));
    machine.rule(json!({"run": "docker pull *", "also": true, "set": ["newer"]}));
    machine.forget_calls();
    machine.run(&["--phase", "image", "--force"]).expect(0);
    let told = machine.log().into_iter().any(|line| {
        let message = line["message"].as_str().unwrap();
        message.starts_with(
            "thetalabsorg/edgelauncher_mainnet:latest is another image now: sha256:2222",
        )
    });
    assert!(told, "{:#?}", machine.log());
    machine.run(&["--phase", "container"]).expect(0);
    let mut changes = machine.changes();
    // The new image is looked at before the container of the old one ends.
    let look = changes.remove(1);
    assert!(look.starts_with("docker run --rm "), "{look}");
    assert_eq!(
        changes[..3],
        [
            pull,
            stop,
            "docker rename edgelauncher edgelauncher-previous"
        ]
    );
    assert!(changes[3].starts_with("docker run "), "{changes:#?}");
    machine.unrule();
    machine.unrule();

    let alone = machine.run(&["--force"]).expect(2);
    assert!(alone.stderr.contains("--phase <NAME>"), "{}", alone.stderr);

    // Never against a safety rule.
    machine.keep("contents", r#"{"signatures":[{"type":"xfs","uuid":"1"}]}"#);
    machine.forget_calls();
    machine.run(&["--phase", "volume", "--force"]).expect(1);
    expect_failure(
        &machine,
        "volume",
        "vol-0123456789abcdef0 (/dev/nvme1n1) holds an xfs filesystem (uuid 1); ext4 or a blank volume was expected",
        "name the right volume in volume.id, or, if nothing on this one is needed, clear it yourself \
         (`wipefs --all /dev/nvme1n1` destroys a wallet key on it) and run `bootstrap` again; nothing was changed",
    );
    assert_eq!(machine.changes(), Vec::<String>::new());
}

fn a_second_run_at_the_same_time_is_refused() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("useradd *");
    let first = machine.start(&[]);
    let waiting = gate.arrived();
    let second = machine.run(&[]).expect(3);
    let lock = machine.path("/run/bootstrap/lock");
    let pid = fs::read_to_string(&lock).unwrap();
    assert_eq!(
        second.stderr,
        format!(
            "error: process {} holds the lock {}\n  help: wait until it is done (`bootstrap status` shows how far it \
             is), then try again\n",
            pid.trim(),
            lock.display()
        )
    );
    assert_eq!(
        machine.run(&["status", "--json"]).expect(0).json()["run"]["result"],
        "running"
    );
    // What fails may be what that run is about to set up.
    let verdict = machine.run(&["verify"]).expect(1).stdout;
    let told = verdict
        .lines()
        .find(|line| line.starts_with("A run is in progress"));
    assert!(
        told.is_some_and(|line| line.contains("user for ")),
        "{verdict}"
    );
    drop(waiting);
    first.wait().expect(0);
    let verdict = machine.run(&["verify", "-v"]).expect(0).stdout;
    assert!(!verdict.contains("in progress"), "{verdict}");
    assert_eq!(machine.signals().len(), 2);
}
