//! `repair`: what is down comes back without a person, within limits, and never against a safety rule.

use std::fs::{self, File};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, expect_failure, expect_failure_signals, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("repair_of_a_node_that_is_well_only_looks", repair_of_a_node_that_is_well_only_looks),
    ("repair_brings_back_what_is_down", repair_brings_back_what_is_down),
    ("repair_keeps_out_of_the_way", repair_keeps_out_of_the_way),
    ("repair_that_does_not_help_is_tried_three_times_and_then_hourly", repair_that_does_not_help_is_tried_three_times_and_then_hourly),
    ("repair_restarts_what_hangs_three_times_a_day", repair_restarts_what_hangs_three_times_a_day),
    ("repair_that_is_killed_counts", repair_that_is_killed_counts),
    ("repair_goes_on_with_a_first_run_that_failed", repair_goes_on_with_a_first_run_that_failed),
    ("repair_starts_no_node_with_another_wallet", repair_starts_no_node_with_another_wallet),
];

const CONTAINER: &str = "status edgelauncher";
const START: [&str; 2] = [
    "docker stop -t 60 edgelauncher",
    "docker start edgelauncher",
];

fn node() -> Machine {
    let mut machine = healthy("debian-12");
    machine.pace = 100;
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    machine
}

/// What is said of repairs in the log, each once.
fn said(machine: &Machine) -> Vec<String> {
    let log = machine.log().into_iter();
    let messages = log.map(|line| line["message"].as_str().unwrap().to_owned());
    messages
        .filter(|message| message.starts_with("repairing: ") || message.starts_with("the repairs "))
        .collect()
}

fn repairs(machine: &Machine) -> Value {
    let text = machine.read("/var/lib/bootstrap/repairs.json");
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn expect_quiet(machine: &Machine, code: i32) {
    let (before, log) = (machine.snapshot(), machine.read("/var/log/bootstrap.log"));
    let journal = machine.journal();
    machine.forget_calls();
    assert_eq!(machine.run(&["repair"]).expect(code).output(), "");
    assert_eq!(machine.changed_since(&before), [""; 0]);
    assert_eq!(machine.read("/var/log/bootstrap.log"), log);
    assert_eq!(machine.journal(), journal);
    assert_eq!(machine.changes(), [""; 0]);
}

fn repair_of_a_node_that_is_well_only_looks() {
    let machine = node();
    expect_quiet(&machine, 0);
    let calls = machine.calls();
    // The engine's socket spares the second.
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert!(calls[0].starts_with("systemctl show "), "{calls:#?}");
    assert_eq!(calls[1], "docker container inspect edgelauncher");
    assert!(!machine.path("/var/lib/bootstrap/repairs.json").exists());

    assert!(machine.fact("enabled bootstrap-repair.timer").is_some());
    assert!(machine.fact("active bootstrap-repair.timer").is_some());
}

fn repair_brings_back_what_is_down() {
    let machine = node();
    let expect = |fault: &dyn Fn(), reason: &str, changes: &[&str]| {
        machine.forget_calls();
        fault();
        machine.run(&["repair"]).expect(0);
        assert_eq!(machine.changes(), changes);
        let run = &machine.journal()["run"];
        assert_eq!(
            (&run["reason"], &run["result"]),
            (&json!(reason), &json!("ok"))
        );
        let told = format!(
            "repairing: {reason}. To keep the node down: systemctl stop bootstrap-repair.timer"
        );
        assert_eq!(said(&machine).last(), Some(&told));
        let status = machine.run(&["status"]).expect(0).stdout;
        assert_eq!(status.lines().nth(1), Some(&*format!("repaired: {reason}")));
        // A new day.
        fs::remove_file(machine.path("/var/lib/bootstrap/repairs.json")).unwrap();
        expect_quiet(&machine, 0);
    };
    expect(
        &|| machine.keep(CONTAINER, "exited"),
        "edgelauncher is exited, exit code 1",
        &START,
    );
    expect(
        &|| machine.forget("active docker.service"),
        "docker.service is inactive",
        &["systemctl start docker.service"],
    );
    expect(
        &|| machine.forget("active amazon-cloudwatch-agent.service"),
        "amazon-cloudwatch-agent.service is inactive",
        &["systemctl start amazon-cloudwatch-agent.service"],
    );
    expect(
        &|| machine.forget("active cron"),
        "cron is inactive",
        &["systemctl start cron"],
    );
    expect(
        &|| {
            machine.unmount();
            fs::remove_dir_all(machine.path("/data/edgelauncher")).unwrap();
        },
        "nothing is mounted at /data",
        &[
            "systemctl daemon-reload",
            "mount -t ext4 -o nosuid,nodev ROOT/dev/nvme1n1 /data",
        ],
    );
    assert_eq!(machine.signals().len(), 2, "those of the first run");
}

fn repair_keeps_out_of_the_way() {
    let mut machine = node();
    machine.keep(CONTAINER, "exited");

    // A run, or scripts/backup-key --restore, which has stopped the container itself.
    let lock = File::open(machine.path("/run/bootstrap/lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    expect_quiet(&machine, 3);
    assert_eq!(machine.calls(), [""; 0]);
    drop(lock);

    machine.rule(json!({"run": "systemctl is-system-running", "print": "stopping", "exit": 1}));
    expect_quiet(&machine, 0);
    machine.unrule();

    // Somebody restarts it by hand.
    machine.rule(
        json!({"run": "systemctl is-system-running", "also": true, "keep": {CONTAINER: "running"}}),
    );
    expect_quiet(&machine, 0);
    machine.unrule();

    // Docker starts it again by itself.
    machine.keep(CONTAINER, "restarting");
    expect_quiet(&machine, 0);

    // Nobody has begun to make a node of it.
    let bare = Machine::new("debian-12");
    assert_eq!(bare.run(&["repair"]).expect(0).output(), "");
    fs::remove_file(bare.path("/etc/bootstrap/config.json")).unwrap();
    assert_eq!(bare.run(&["repair"]).expect(0).output(), "");
    assert_eq!(bare.calls(), [""; 0]);
}

fn repair_that_does_not_help_is_tried_three_times_and_then_hourly() {
    let mut machine = node();
    machine.set_clock("+0");
    machine.rule(json!({"run": "docker start edgelauncher", "keep": {CONTAINER: "exited"}}));
    machine.keep(CONTAINER, "exited");
    for _ in 0..3 {
        machine.run(&["repair"]).expect(1);
        expect_failure(
            &machine,
            "container",
            "edgelauncher did not stay up (exited, exit code 1); its log ends: time=\"1\" level=info msg=\"Wallet \
             address: 0x2e833968e5bb786ae419c4d13189fb081cc43bab\"",
            "read the whole log: docker logs edgelauncher",
        );
    }
    let told = "the repairs of today did not help: edgelauncher is exited, exit code 1. It is tried again in an hour; \
                `bootstrap verify` says what is wrong";
    machine.forget_calls();
    machine.run(&["repair"]).expect(0);
    assert_eq!(said(&machine).last().unwrap(), told);
    expect_quiet(&machine, 0);

    // A reboot does not let it try more, and a clock that was set back one.
    machine.reboot(2);
    expect_quiet(&machine, 0);
    machine.set_clock("-2d");
    machine.run(&["repair"]).expect(1);
    machine.run(&["repair"]).expect(0);
    expect_quiet(&machine, 0);
    machine.set_clock("+0");
    expect_quiet(&machine, 0);

    machine.set_clock("+3601");
    machine.run(&["repair"]).expect(1);
    machine.run(&["repair"]).expect(0);
    assert_eq!(said(&machine).last().unwrap(), told);
    expect_quiet(&machine, 0);
    assert_eq!(machine.signals().len(), 2, "the stack has had its word");

    machine.unrule();
    machine.set_clock("+7202");
    machine.run(&["repair"]).expect(0);
    assert_eq!(machine.fact(CONTAINER).unwrap(), "running");
    expect_quiet(&machine, 0);
}

fn repair_restarts_what_hangs_three_times_a_day() {
    let mut machine = node();
    machine.set_clock("+0");
    let started = |machine: &Machine, after: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(after);
        machine.keep("started edgelauncher", &at.to_string());
    };
    started(&machine, -60);
    machine.node.change(|node| node.down = true);
    machine.run(&["metrics"]).expect(0);
    expect_quiet(&machine, 0);
    machine.set_clock("+930");
    // No tick has come since.
    expect_quiet(&machine, 0);
    machine.run(&["metrics"]).expect(0);
    // It answers again.
    machine.node.change(|node| node.down = false);
    expect_quiet(&machine, 0);
    machine.node.change(|node| node.down = true);

    for (clock, minutes) in [(930, 15), (4600, 76), (8300, 138)] {
        machine.set_clock(&format!("+{clock}"));
        machine.run(&["metrics"]).expect(0);
        machine.forget_calls();
        machine.run(&["repair"]).expect(0);
        assert_eq!(machine.changes(), START);
        let reason = format!("its RPC has not answered for {minutes} min");
        assert_eq!(machine.journal()["run"]["reason"], reason);
        let told = format!(
            "repairing: {reason}. To keep the node down: systemctl stop bootstrap-repair.timer"
        );
        assert_eq!(said(&machine).last(), Some(&told));
        started(&machine, clock);
        expect_quiet(&machine, 0);
        // Silent for long enough by then, but the hour is not over.
        machine.set_clock(&format!("+{}", clock + 1000));
        machine.run(&["metrics"]).expect(0);
        if clock < 8300 {
            expect_quiet(&machine, 0);
        }
    }
    machine.set_clock("+12000");
    machine.run(&["metrics"]).expect(0);
    machine.run(&["repair"]).expect(0);
    let told = "the repairs of today did not help: its RPC has not answered for 200 min. It is tried again tomorrow; \
                `bootstrap verify` says what is wrong";
    assert_eq!(said(&machine).last().unwrap(), told);
    expect_quiet(&machine, 0);
    assert_eq!(
        repairs(&machine)["began"]["hung"].as_array().unwrap().len(),
        3
    );
    let ticks = machine.aws.state().metrics();
    let published = ticks.last().unwrap()["MetricData"].as_array().unwrap();
    let spent = published
        .iter()
        .find(|one| one["MetricName"] == "edge_repairs");
    assert_eq!(spent.unwrap()["Value"].as_f64(), Some(3.0));
}

fn repair_that_is_killed_counts() {
    let mut machine = node();
    machine.keep(CONTAINER, "exited");
    for count in 1..=2 {
        let gate = machine.gate("docker start edgelauncher");
        let repair = machine.start(&["repair"]);
        let waiting = gate.arrived();
        repair.cut_off();
        drop(waiting);
        machine.ungate();
        let began = &repairs(&machine)["began"]["down"];
        assert_eq!(began.as_array().unwrap().len(), count, "{began}");
    }
    machine.run(&["repair"]).expect(0);
    assert_eq!(machine.phases("failed"), [""; 0]);
    expect_quiet(&machine, 0);
}

fn repair_goes_on_with_a_first_run_that_failed() {
    let mut machine = Machine::new("debian-12");
    machine.pace = 100;
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    machine.set_clock("+0");
    let archive = "theta-assets/assets.tar.gz";
    let object = machine.aws.state().objects.remove(archive).unwrap();
    machine.run(&[]).expect(1);
    let error = machine.phase("assets")["error"].clone();
    let words = |key: &str| error[key].as_str().unwrap();
    expect_failure_signals(
        &machine,
        &format!("assets: {}. {}", words("reason"), words("hint")),
    );
    machine.aws.state().objects.insert(archive.into(), object);

    // Whoever waits for it has an hour to look at it.
    expect_quiet(&machine, 0);
    machine.set_clock("+3000");
    expect_quiet(&machine, 0);
    machine.set_clock("+3660");
    machine.keep("active bootstrap.service", "");
    expect_quiet(&machine, 0);
    machine.forget("active bootstrap.service");

    machine.run(&["repair"]).expect(0);
    assert_eq!(
        machine.journal()["run"]["reason"],
        "left undone by the last run: assets, secret, cloudwatch-agent, container, wallet-backup, metrics-cron, signal"
    );
    let ok = machine.phases("ok");
    assert_eq!(ok.len(), PHASES.len() - 2, "{ok:?}");
    assert_eq!(machine.signals().len(), 2, "success is not signalled late");
    expect_quiet(&machine, 0);
}

fn repair_starts_no_node_with_another_wallet() {
    let machine = node();
    machine.keep(CONTAINER, "exited");
    let folder = "/data/edgelauncher/edgecore/key/encrypted";
    let own = "2e833968e5bb786ae419c4d13189fb081cc43bab";
    let other = "aa".repeat(20);
    fs::remove_file(machine.path(&format!("{folder}/{own}"))).unwrap();
    let key = json!({"address": other, "version": 3}).to_string();
    machine.write(&format!("{folder}/{other}"), &key);
    machine.run(&["repair"]).expect(1);
    expect_failure(
        &machine,
        "container",
        &format!("{folder} holds the key of 0x{other}, but the wallet of this node is 0x{own}"),
        "if nobody has restored a key, something in the container has replaced it: put the right one back \
         (scripts/backup-key --restore, which alone changes the wallet that is remembered)",
    );
    assert_eq!(machine.changes(), [""; 0]);
    assert_eq!(machine.read(&format!("{folder}/{other}")), key);
}
