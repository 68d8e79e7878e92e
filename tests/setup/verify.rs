//! `verify`: its verdicts, and the check that each fault fails.

use std::fs;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Machine, PASSWORD, poll};
use crate::shared::{healthy, json_text, masked, side_by_side};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("verify_says_healthy_in_its_first_line", verify_says_healthy_in_its_first_line),
    ("verify_names_what_is_broken", verify_names_what_is_broken),
    ("verify_says_syncing_while_the_network_is_joined", verify_says_syncing_while_the_network_is_joined),
    ("a_dead_node_is_not_well_because_it_once_was", a_dead_node_is_not_well_because_it_once_was),
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
    assert_eq!(report["checks"].as_array().unwrap().len(), 22);
    let text = machine.run(&["verify"]).expect(0).stdout;
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("healthy: 22 passed, 0 failed, 0 warned, 0 skipped; node 0x2e83"),
        "{first}"
    );
    assert_eq!(machine.changed_since(&before), [""; 0]);
    assert_eq!(machine.changes(), Vec::<String>::new());
}

/// A way to break a healthy node, and the check that must then fail.
struct Broken {
    how: fn(&Machine),
    verdict: &'static str,
    check: &'static str,
    detail: &'static str,
    hint: &'static str,
}

#[rustfmt::skip]
const BROKEN: &[Broken] = &[
    Broken {
        how: |machine| machine.keep("status edgelauncher", "exited"),
        verdict: "unhealthy", check: "container",
        detail: "exited, exit code 137; its log ends: time=\"1\" level=info msg=\"Wallet address: 0x2e833968e5bb786ae419c4d13189fb081cc43bab\"",
        hint: "read its log: docker logs --tail 100 edgelauncher; start it: bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.forget("container edgelauncher"),
        verdict: "unhealthy", check: "container",
        detail: "there is no container",
        hint: "run: bootstrap --phase container",
    },
    Broken {
        how: |machine| {
            machine.keep("status edgelauncher", "restarting");
            machine.keep("log", "level=fatal msg=\"Failed to setup wallet: could not decrypt key with given password\"");
        },
        verdict: "unhealthy", check: "container",
        detail: "the wallet password does not open the key on the volume",
        hint: "put the password that the key was made with back into the secret, then run: bootstrap --phase secret --phase container --force",
    },
    Broken {
        how: |machine| machine.write("/data/edgelauncher/edgecore/key/encrypted/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "{}"),
        verdict: "unhealthy", check: "key",
        detail: "/data/edgelauncher/edgecore/key/encrypted holds several files, the node will not start: \
                 2e833968e5bb786ae419c4d13189fb081cc43bab, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        hint: "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
    },
    Broken {
        how: |machine| fs::remove_file(machine.path("/etc/cron.d/bootstrap-metrics")).unwrap(),
        verdict: "degraded", check: "metrics",
        detail: "no metrics tick is scheduled",
        hint: "run: bootstrap --phase metrics-cron",
    },
    Broken {
        how: |machine| machine.write("/proc/self/mountinfo", "25 1 259:0 / / rw - ext4 /dev/nvme0n1p1 rw\n"),
        verdict: "unhealthy", check: "volume",
        detail: "nothing is mounted at /data",
        hint: "run: bootstrap --phase volume",
    },
    Broken {
        how: |machine| machine.forget("active docker.service"),
        verdict: "unhealthy", check: "docker",
        detail: "the engine does not answer",
        hint: "run: bootstrap --phase docker",
    },
    Broken {
        how: |machine| machine.keep("leak", &format!(" PASSWORD={}", json_text(PASSWORD))),
        verdict: "unhealthy", check: "password",
        detail: "docker inspect shows the wallet password",
        hint: "remove the container (docker rm -f edgelauncher), then run: bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.keep("bind core", "0.0.0.0"),
        verdict: "degraded", check: "ports",
        detail: "port CORE is published at 0.0.0.0",
        hint: "run: bootstrap --phase container --force; if it stays: docker rm -f edgelauncher, then bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.forget("active amazon-cloudwatch-agent.service"),
        verdict: "degraded", check: "cloudwatch-agent",
        detail: "not active",
        hint: "run: bootstrap --phase cloudwatch-agent",
    },
    Broken {
        how: |machine| machine.aws.state().volumes[0].encrypted = false,
        verdict: "degraded", check: "volume-encrypted",
        detail: "the volume that holds the wallet key is not encrypted",
        hint: "copy it: snapshot, encrypted volume from it, then deploy with that volume's id",
    },
    Broken {
        how: |machine| machine.node.change(|node| node.down = true),
        verdict: "unhealthy", check: "rpc",
        detail: "HTTP status 503",
        hint: "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher",
    },
    Broken {
        how: |machine| machine.keep("gpu lost", ""),
        verdict: "unhealthy", check: "gpu-container",
        detail: "the container does not see its GPU: Failed to initialize NVML: Unknown Error",
        hint: "run: docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
    },
];

fn verify_names_what_is_broken() {
    // One machine for each: what is broken stays so.
    side_by_side(BROKEN, |broken| {
        let machine = healthy("ubuntu-24.04-gpu");
        (broken.how)(&machine);
        let report = verify(&machine, 1);
        let checks = report["checks"].as_array().unwrap();
        let check = checks
            .iter()
            .find(|check| check["name"] == broken.check)
            .unwrap();
        assert_eq!(check["status"], "fail", "{check:#}");
        assert_eq!(
            masked(&machine, check["detail"].as_str().unwrap()),
            broken.detail
        );
        assert_eq!(check["hint"], broken.hint);
        assert_eq!(
            report["verdict"], broken.verdict,
            "{}: {report:#}",
            broken.detail
        );
        let text = machine.run(&["verify"]).expect(1).stdout;
        assert!(text.starts_with(&format!("{}: ", broken.verdict)), "{text}");
        assert!(!text.contains("canary"), "{text}");
    });
}

fn verify_says_syncing_while_the_network_is_joined() {
    let machine = healthy("debian-12");
    machine.node.change(|node| node.warmup_seconds = u64::MAX);
    let report = verify(&machine, 5);
    assert_eq!(report["verdict"], "syncing");
    for (name, detail) in [("height", "not known yet"), ("peers", "none yet")] {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(
            *check,
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

fn a_dead_node_is_not_well_because_it_once_was() {
    let machine = healthy("debian-12");
    machine.node.change(|node| node.down = true);
    let dead = "verify says unhealthy (rpc: HTTP status 503)";
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"], 1, "{plan:#}");
    assert_eq!(
        plan["phases"][11],
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
