//! A bare machine of each supported system, with and without a GPU: set up whole, then left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{ADDRESS, INSTANCE, Machine, machines};
use crate::shared::{PHASES, compare_golden, masked};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::debian-12", || a_bare_machine_becomes_a_healthy_node_and_stays_one("debian-12")),
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::ubuntu-22.04", || a_bare_machine_becomes_a_healthy_node_and_stays_one("ubuntu-22.04")),
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::ubuntu-24.04", || a_bare_machine_becomes_a_healthy_node_and_stays_one("ubuntu-24.04")),
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::amazon-linux-2023", || a_bare_machine_becomes_a_healthy_node_and_stays_one("amazon-linux-2023")),
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::amazon-linux-2023-gpu", || a_bare_machine_becomes_a_healthy_node_and_stays_one("amazon-linux-2023-gpu")),
    ("a_bare_machine_becomes_a_healthy_node_and_stays_one::ubuntu-24.04-gpu", || a_bare_machine_becomes_a_healthy_node_and_stays_one("ubuntu-24.04-gpu")),
];

fn a_bare_machine_becomes_a_healthy_node_and_stays_one(name: &str) {
    let machine = Machine::new(name);
    machine.run(&[]).expect(0);
    let mut not_applicable = Vec::new();
    if name == "debian-12" {
        not_applicable.push("ssm-agent");
    }
    if !name.ends_with("-gpu") {
        not_applicable.push("nvidia");
    }
    assert_eq!(machine.phases("not-applicable"), not_applicable);
    assert_eq!(
        machine.phases("ok").len(),
        PHASES.len() - not_applicable.len()
    );
    assert_eq!(machine.journal()["run"]["result"], "ok");

    let signals = machine.signals();
    assert_eq!(signals.len(), 2, "{signals:#?}");
    let resource = json!({
        "by": "SignalResource", "Status": "SUCCESS", "StackName": "theta-edge",
        "LogicalResourceId": "NodeReady", "UniqueId": INSTANCE
    });
    assert_eq!(signals[0], resource);
    assert_eq!(signals[1]["Status"], "SUCCESS");
    assert_eq!(signals[1]["UniqueId"], INSTANCE);
    let data: Value = serde_json::from_str(signals[1]["Data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({"address": ADDRESS, "summary": standins::edge::summary(&ADDRESS[2..]), "instance": INSTANCE, "verdict": "healthy"})
    );

    compare_commands(&machine, name);
    assert_eq!(
        machine
            .internet
            .asked()
            .iter()
            .filter(|url| url.contains("cloudwatch-agent"))
            .count(),
        if name.starts_with("amazon") { 0 } else { 2 },
        "the package and its signature"
    );
    let data = fs::metadata(machine.path("/data")).unwrap();
    assert_eq!((data.uid(), data.gid()), (1002, 1002));
    let secret = fs::metadata(machine.path("/run/bootstrap/secrets/wallet-password")).unwrap();
    assert_eq!((secret.uid(), secret.mode() & 0o7777), (1002, 0o400));
    assert_eq!(
        machine.read("/etc/fstab").lines().last().unwrap(),
        "UUID=36974908-8f88-8748-a27b-9de996e5d4a5 /data ext4 \
         defaults,nofail,nosuid,nodev,x-systemd.before=docker.service,x-systemd.device-timeout=30s,\
         x-bootstrap=vol-0123456789abcdef0 0 2"
    );

    machine.forget_calls();
    let before = machine.snapshot();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
    for name in PHASES {
        assert_eq!(machine.phase(name)["changed"], false, "{name}");
    }
    assert_eq!(machine.signals().len(), 2);

    machine.run(&["metrics"]).expect(0);
    compare_calls_of_aws(&machine);
}

/// The calls of AWS that a whole run and a tick make are those that `tests/cloudformation/test_iam.py` judges by the
/// role's policies. Another one belongs into calls.json, with the action, resource and context that IAM judges it by.
fn compare_calls_of_aws(machine: &Machine) {
    let judged: Value = serde_json::from_str(include_str!("../cloudformation/calls.json")).unwrap();
    let judged: BTreeSet<&str> = judged["calls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["by"] == "bootstrap")
        .map(|call| call["call"].as_str().unwrap())
        .collect();
    let aws = machine.aws.state();
    let made: BTreeSet<&str> = aws
        .requests
        .iter()
        .map(|(kind, _)| kind.as_str())
        .filter(|kind| !["imds", "wait-handle"].contains(kind))
        .collect();
    assert_eq!(made, judged);
}

/// The commands that the log tells of, by phase, each once, in the order of the first time; what cannot be the same
/// twice is masked. They are also those that the tools saw.
fn compare_commands(machine: &Machine, name: &str) {
    let mut phases: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut logged: Vec<String> = Vec::new();
    for line in machine.log() {
        let message = line["message"].as_str().unwrap();
        let Some((_, command)) = message
            .strip_prefix("op ")
            .and_then(|m| m.split_once(": started "))
        else {
            continue;
        };
        let command = masked(machine, command);
        let phase = line["phase"].as_str().unwrap();
        let place = PHASES.iter().position(|name| *name == phase).unwrap();
        let commands = phases.entry(place).or_default();
        if !commands.contains(&command) {
            commands.push(command.clone());
        }
        logged.push(command.replace('\'', ""));
    }
    // The health check looks at everything side by side.
    if let Some(commands) = phases.get_mut(&(PHASES.len() - 1)) {
        commands.sort();
    }
    let mut text = String::new();
    for (place, commands) in phases {
        text.extend([PHASES[place], "\n    ", &commands.join("\n    "), "\n"]);
    }
    let mut seen: Vec<String> = machine
        .calls()
        .iter()
        .map(|call| masked(machine, call))
        .collect();
    seen.sort();
    logged.sort();
    // A program that is not installed yet is logged, but cannot see the call.
    logged.retain(|command| seen.contains(command));
    assert_eq!(logged, seen);

    let golden = machines().join(format!("{name}.commands"));
    compare_golden(&golden, &text);
}
