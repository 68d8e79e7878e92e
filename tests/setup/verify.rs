//! `verify`: its verdicts. Which check each fault fails is in the fault table (`faults/90-node.json`).

use std::fs;
use std::io::BufRead;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Machine, poll};
use crate::shared::{PHASES, healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("verify_says_healthy_in_its_first_line", verify_says_healthy_in_its_first_line),
    ("verify_says_syncing_while_the_network_is_joined", verify_says_syncing_while_the_network_is_joined),
    ("an_unmounted_volume_is_no_lost_key", an_unmounted_volume_is_no_lost_key),
    ("each_thing_is_asked_once", each_thing_is_asked_once),
    ("whoever_watches_ends_with_the_last_verdict", whoever_watches_ends_with_the_last_verdict),
    ("a_dead_node_is_not_well_because_it_once_was", a_dead_node_is_not_well_because_it_once_was),
    ("each_disk_that_fills_up_is_named", each_disk_that_fills_up_is_named),
];

/// Runs `verify`; the report.
#[track_caller]
fn verify(machine: &Machine, code: i32) -> Value {
    machine.run(&["verify", "--json"]).expect(code).json()
}

fn verify_says_healthy_in_its_first_line() {
    let machine = healthy("amazon-linux-2023-gpu");
    machine.run(&["metrics"]).expect(0);
    let before = machine.snapshot();
    let report = verify(&machine, 0);
    assert_eq!(report["verdict"], "healthy", "{report:#}");
    assert_eq!(report["summary"]["fail"], 0);
    assert_eq!(report["checks"].as_array().unwrap().len(), 32);
    let text = machine.run(&["verify"]).expect(0).stdout;
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("healthy: 30 passed, 2 skipped; node 0x2e83"),
        "{first}"
    );
    assert_eq!(machine.changed_since(&before), [""; 0]);
    assert_eq!(machine.changes(), Vec::<String>::new());
}

fn verify_says_syncing_while_the_network_is_joined() {
    let machine = healthy("debian-12");
    machine.node.change(|node| node.warmup_seconds = u64::MAX);
    let report = verify(&machine, 5);
    assert_eq!(report["verdict"], "syncing");
    for (name, detail) in [("height", "not known yet"), ("peers", "none yet")] {
        assert_eq!(
            *named(&report["checks"], name),
            json!({"name": name, "status": "warn", "detail": detail, "hint": "wait: bootstrap verify --wait 30m"})
        );
    }

    // So a node that syncs is up, for the stack too.
    let machine = Machine::new("debian-12");
    machine.node.change(|node| node.warmup_seconds = u64::MAX);
    machine.run(&[]).expect(0);
    let data: Value = serde_json::from_str(machine.signals()[1]["Data"].as_str().unwrap()).unwrap();
    assert_eq!(data["verdict"], "syncing");
}

/// Following a hint to forget the wallet would take away what guards the key.
fn an_unmounted_volume_is_no_lost_key() {
    let mut machine = healthy("debian-12");
    assert!(machine.path("/var/lib/bootstrap/wallet.json").exists());
    machine.unmount();
    fs::rename(machine.path("/data"), machine.beside("data")).unwrap();
    fs::create_dir(machine.path("/data")).unwrap();
    machine.keep("status edgelauncher", "exited");
    machine.node.change(|node| node.down = true);

    let report = verify(&machine, 1);
    let checks = report["checks"].as_array().unwrap().iter();
    let failing: Vec<_> = checks.filter(|check| check["status"] == "fail").collect();
    assert_eq!(failing.len(), 1, "{report:#}");
    assert_eq!(failing[0]["name"], "volume");
    for name in [
        "disk-data",
        "key",
        "container",
        "spec",
        "ports",
        "rpc",
        "height",
        "peers",
    ] {
        let skipped =
            json!({"name": name, "status": "skip", "detail": "because of volume", "hint": null});
        assert_eq!(*named(&report["checks"], name), skipped);
    }
    let run = machine.run(&["--phase", "container", "--force"]).expect(1);
    for said in [report.to_string(), run.output()] {
        for word in ["wallet key", "is gone", "wallet.json"] {
            assert!(!said.contains(word), "{word}: {said}");
        }
    }

    // The whole run mends it.
    machine.rule(json!({"run": "mount -t * ROOT/dev/nvme1n1 /data", "also": true, "moves": {"/../data": "/data"}}));
    machine.node.change(|node| node.down = false);
    machine.run(&[]).expect(0);
    assert_eq!(verify(&machine, 0)["verdict"], "healthy");
}

fn whoever_watches_ends_with_the_last_verdict() {
    let mut machine = healthy("debian-12");
    machine.pace = 100;
    for (down, code) in [(false, 0), (true, 1)] {
        machine.node.change(|node| node.down = down);
        machine.forget_calls();
        let mut watch = machine.command(&["verify", "--watch"]).spawn().unwrap();
        let said = std::io::BufReader::new(watch.stdout.take().unwrap());
        let verdict = if down { "unhealthy: " } else { "healthy: " };
        // Once more, at least.
        let seen = said
            .lines()
            .map(Result::unwrap)
            .filter(|line| line.starts_with(verdict));
        assert_eq!(seen.take(2).count(), 2);
        let process = rustix::process::Pid::from_child(&watch);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        assert_eq!(watch.wait().unwrap().code(), Some(code));
    }
}

/// By a plan, by the health check, and by a run that has nothing to do.
fn each_thing_is_asked_once() {
    let machine = healthy("debian-12");
    machine.run(&["metrics"]).expect(0);
    let all = [
        "docker container inspect edgelauncher",
        "docker container inspect edgelauncher-previous",
        "docker image inspect thetalabsorg/edgelauncher_mainnet:latest",
        "docker version --format {{json .Server}}",
        "dpkg-query --show --showformat=${db:Status-Status} ${Package}\\n amazon-cloudwatch-agent logrotate \
         nvidia-container-toolkit cron",
        "dumpe2fs -h ROOT/dev/nvme1n1",
        "systemctl show --property=ActiveState,UnitFileState bootstrap.service bootstrap-repair.timer docker.service \
         amazon-cloudwatch-agent.service bootstrap-metrics.timer amazon-ssm-agent.service cron",
        "wipefs --no-act --json ROOT/dev/nvme1n1",
    ];
    for arguments in [&["plan"][..], &["verify"], &[]] {
        machine.forget_calls();
        machine.run(arguments).expect(0);
        let mut calls = machine.calls();
        calls.sort();
        let mut wanted = all.to_vec();
        // Less room than there could be is no failure.
        wanted.retain(|call| arguments != ["verify"] || !call.starts_with("dumpe2fs"));
        assert_eq!(calls, wanted, "{arguments:?}");
    }
}

fn a_dead_node_is_not_well_because_it_once_was() {
    let machine = healthy("debian-12");
    machine.node.change(|node| node.down = true);
    let dead = "verify says unhealthy (rpc: HTTP status 503)";
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"], 1, "{plan:#}");
    assert_eq!(
        plan["phases"][PHASES.len() - 1],
        json!({"name": "signal", "state": "needed", "detail": dead})
    );

    // A run, as at every boot, waits for the node; the stack has heard of it already.
    let run = machine.start(&[]);
    poll("nothing was said of the node", || {
        let log = machine.read("/var/log/bootstrap.log");
        log.contains(&format!("\"{dead}\"")).then_some(())
    });
    machine.node.change(|node| node.down = false);
    run.wait().expect(0);
    let signal = machine.phase("signal");
    assert_eq!(
        (&signal["status"], &signal["changed"]),
        (&json!("ok"), &json!(true))
    );
    assert_eq!(machine.signals().len(), 2);
}

/// Wherever Docker keeps its images, what is below /var, and where the volume is mounted.
fn each_disk_that_fills_up_is_named() {
    let mut machine = healthy("debian-12");
    let daemon = machine.read("/etc/docker/daemon.json");
    for (check, place, data_root) in [
        ("disk-root", "/var/lib/docker", None),
        ("disk-root", "/srv/images", Some("/srv/images")),
        ("disk-data", "/data", None),
    ] {
        fs::create_dir_all(machine.path(place)).unwrap();
        if let Some(root) = data_root {
            let mut config: Value = serde_json::from_str(&daemon).unwrap();
            config["data-root"] = root.into();
            machine.write("/etc/docker/daemon.json", &config.to_string());
        }
        machine.put_disk(place, 64);
        for (used, status, free) in [(54, "pass", "15 % free"), (7, "fail", "4 % free")] {
            machine.write(&format!("{place}/ballast-{used}"), &"x".repeat(used << 20));
            let report = machine.run(&["verify", "--json"]).json();
            let found = named(&report["checks"], check);
            let detail = found["detail"].as_str().unwrap();
            assert_eq!(found["status"], status, "{place}: {found}");
            assert!(detail.contains(&format!("{place}: {free} (")), "{detail}");
            let has_root = detail.starts_with("/: ");
            assert_eq!(has_root, check == "disk-root", "{detail}");
        }
        for used in [54, 7] {
            fs::remove_file(machine.path(&format!("{place}/ballast-{used}"))).unwrap();
        }
        machine.take_disk();
        machine.write("/etc/docker/daemon.json", &daemon);
    }
}
