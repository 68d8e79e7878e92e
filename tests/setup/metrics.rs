//! `metrics`: what a tick publishes, and what makes it tick.

use std::fs;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::INSTANCE;
use crate::shared::{healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("metrics_publishes_once_each_tick", metrics_publishes_once_each_tick),
    ("what_a_node_does_not_tell_is_not_published", what_a_node_does_not_tell_is_not_published),
    ("metrics_dry_run_publishes_nothing", metrics_dry_run_publishes_nothing),
    ("two_ticks_at_once_are_one", two_ticks_at_once_are_one),
    ("the_tick_moves_between_cron_and_timer", the_tick_moves_between_cron_and_timer),
];

/// Name, value and dimensions of each metric.
fn published(call: &Value) -> Vec<(String, f64, String)> {
    let metrics = call["MetricData"]
        .as_array()
        .unwrap_or_else(|| panic!("{call:#}"));
    let one = |metric: &Value| {
        let dimensions: Vec<String> = metric["Dimensions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| {
                format!(
                    "{}={}",
                    d["Name"].as_str().unwrap(),
                    d["Value"].as_str().unwrap()
                )
            })
            .collect();
        (
            metric["MetricName"].as_str().unwrap().to_owned(),
            metric["Value"].as_f64().unwrap(),
            dimensions.join(","),
        )
    };
    metrics.iter().map(one).collect()
}

fn metrics_publishes_once_each_tick() {
    let machine = healthy("amazon-linux-2023-gpu");
    machine.aws.state().metadata["meta-data"]["tags"]["instance"]["aws:autoscaling:groupName"] =
        "theta-group".into();
    let voted = jiff::Timestamp::now().as_second() - 60;
    machine.write(
        "/data/edgelauncher/edgecore.log",
        &format!(
            "[x]  INFO [uptime miner] Broadcasted vote: EENVote{{Height: 1, CreationTimestamp: {voted}}}\n[x]  INFO [p2p] x\n"
        ),
    );
    let log = machine.read("/var/log/bootstrap.log");
    let quiet = machine.run(&["metrics"]).expect(0);
    assert_eq!(quiet.output(), "");
    assert_eq!(machine.read("/var/log/bootstrap.log"), log);
    let calls = machine.aws.state().metrics();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["Namespace"], "CWAgent");
    let metrics = published(&calls[0]);
    let names = [
        ("theta_current_block_height", None),
        ("edge_peers", Some(3.0)),
        ("edge_up", Some(1.0)),
        ("edge_height_age_seconds", Some(0.0)),
        ("edge_healthy", Some(1.0)),
        ("edge_launcher_up", Some(1.0)),
        ("edge_encoder_up", Some(1.0)),
        ("edge_gpu_visible", Some(1.0)),
        ("edge_restarts", Some(0.0)),
        ("edge_repairs", Some(0.0)),
        ("edge_pending_tfuel", Some(0.25)),
        ("edge_jobs_done", Some(2.0)),
        ("edge_jobs_failed", Some(0.0)),
        ("edge_jobs_failed_in_a_row", Some(0.0)),
        ("edge_job_age_seconds", None),
        ("edge_vote_age_seconds", None),
    ];
    assert_eq!(metrics.len(), 2 * names.len());
    let of = [
        "InstanceId=i-0123456789abcdef0",
        "AutoScalingGroupName=theta-group",
    ];
    for ((name, value, dimensions), index) in metrics.iter().zip(0..) {
        let (wanted, exactly) = names[index % names.len()];
        assert_eq!(
            (name.as_str(), dimensions.as_str()),
            (wanted, of[index / names.len()])
        );
        match exactly {
            Some(exactly) => assert!((value - exactly).abs() < f64::EPSILON, "{name} {value}"),
            None if name.ends_with("_seconds") => {
                assert!((60.0..600.0).contains(value), "{name} {value}");
            }
            None => assert!(*value > 28_000_000.0, "{name} {value}"),
        }
    }

    // A lone, lost or dead node is published as such, and not left out.
    machine.node.change(|node| node.peers = 0);
    machine.keep("gpu lost", "");
    machine.run(&["metrics"]).expect(0);
    // What a second such tick does is told in gpu.rs.
    machine.forget("gpu lost");
    machine.node.change(|node| node.down = true);
    machine.run(&["metrics"]).expect(0);
    let calls = machine.aws.state().metrics();
    assert_eq!(calls.len(), 3);
    let value = |call: usize, wanted: &str| {
        let metrics = published(&calls[call]);
        metrics
            .into_iter()
            .find(|(name, ..)| name == wanted)
            .map(|(_, value, _)| value)
    };
    for (call, name, expected) in [
        (1, "edge_peers", Some(0.0)),
        (1, "edge_up", Some(1.0)),
        (1, "edge_healthy", Some(0.0)),
        (1, "edge_gpu_visible", Some(0.0)),
        (2, "edge_peers", Some(0.0)),
        (2, "edge_up", Some(0.0)),
        (2, "edge_healthy", Some(0.0)),
        (2, "theta_current_block_height", None),
    ] {
        assert_eq!(value(call, name), expected, "call {call}, {name}");
    }
    // The dashboard's list of troubles takes warnings and errors.
    let log = machine.log();
    let down = log
        .iter()
        .find(|line| line["message"] == "the edge node is down");
    assert_eq!(down.unwrap()["level"], "warn");
}

/// What is not known is not made up: no log, jobs that fail, processes that say nothing.
fn what_a_node_does_not_tell_is_not_published() {
    let machine = healthy("debian-12");
    machine.write(
        "/var/lib/bootstrap/metrics.json",
        &json!({"version": 1, "last_vote": jiff::Timestamp::now().as_second() - 60}).to_string(),
    );
    machine.node.change(|node| {
        node.failed_jobs = 3;
        node.dead = vec!["launcher".into()];
    });
    let shown = machine.run(&["metrics", "--dry-run"]).expect(0).json();
    let value = |wanted: &str| {
        let mut metrics = shown["metrics"].as_array().unwrap().iter();
        metrics.find(|metric| metric["name"] == wanted)?["value"].as_f64()
    };
    assert_eq!(value("edge_jobs_done"), Some(0.0));
    assert_eq!(value("edge_jobs_failed_in_a_row"), Some(3.0));
    assert_eq!(value("edge_launcher_up"), Some(0.0));
    assert!(value("edge_vote_age_seconds").is_some_and(|age| age >= 60.0));
    machine
        .node
        .change(|node| node.dead = vec!["encoder".into(), "launcher".into()]);
    let shown = machine.run(&["metrics", "--dry-run"]).expect(0).json();
    for absent in [
        "edge_pending_tfuel",
        "edge_jobs_done",
        "edge_jobs_failed",
        "edge_job_age_seconds",
    ] {
        assert!(!shown.to_string().contains(absent), "{absent}: {shown:#}");
    }
}

fn metrics_dry_run_publishes_nothing() {
    let machine = healthy("debian-12");
    let before = machine.snapshot();
    let shown = machine.run(&["metrics", "--dry-run"]).expect(0).json();
    assert_eq!(shown["namespace"], "CWAgent");
    assert_eq!(
        *named(&shown["metrics"], "edge_peers"),
        json!({"name": "edge_peers", "value": 3.0, "unit": "Count", "dimensions": {"InstanceId": INSTANCE}})
    );
    assert!(machine.aws.state().metrics().is_empty());
    assert_eq!(machine.changed_since(&before), [""; 0]);
}

fn two_ticks_at_once_are_one() {
    let mut machine = healthy("debian-12");
    let gate = machine.gate("docker container inspect *");
    let first = machine.start(&["metrics"]);
    let waiting = gate.arrived();
    let second = machine.run(&["metrics"]).expect(3);
    assert_eq!(second.output(), "");
    drop(waiting);
    first.wait().expect(0);
    assert_eq!(machine.aws.state().metrics().len(), 1);
}

fn the_tick_moves_between_cron_and_timer() {
    let mut machine = healthy("debian-12");
    let cron = machine.path("/etc/cron.d/bootstrap-metrics");
    let timer = machine.path("/etc/systemd/system/bootstrap-metrics.timer");
    assert!(
        fs::read_to_string(&cron)
            .unwrap()
            .contains("\n* * * * * root /usr/local/bin/bootstrap metrics\n")
    );
    machine.configure(|config| config["metrics"] = json!({"schedule": "systemd-timer"}));
    machine.run(&[]).expect(0);
    assert!(!cron.exists() && timer.exists());
    assert_eq!(
        machine.changes(),
        [
            "systemctl enable --no-reload bootstrap-metrics.timer",
            "systemctl start bootstrap-metrics.timer"
        ]
    );
    machine.forget_calls();
    machine.configure(|config| config["metrics"] = json!({}));
    machine.run(&[]).expect(0);
    assert!(cron.exists() && !timer.exists());
    assert_eq!(
        machine.changes(),
        [
            "systemctl disable --no-reload bootstrap-metrics.timer",
            "systemctl stop bootstrap-metrics.timer"
        ]
    );
}
