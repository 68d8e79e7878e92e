//! What goes down on a running node comes back without a person.

use std::time::{Duration, Instant};

use crate::launch::Instance;
use crate::shared::shared;

const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until `is_back` says so and the node is healthy with the address that it had; `reason` is what a repair has said
/// of it, where it took one.
fn comes_back(break_it: &str, is_back: &str, reason: Option<&str>) {
    let shared = shared();
    let instance = shared.instance();
    // A day like the first: three repairs come at once.
    instance.run("rm -f /var/lib/bootstrap/repairs.json");
    instance.run(break_it);
    until(instance, &format!("{is_back} && bootstrap verify"));
    assert_eq!(instance.address(), shared.address);
    if let Some(reason) = reason {
        let status = instance.json("bootstrap status --json");
        assert_eq!(status["run"]["reason"], reason, "{status:#}");
    }
}

fn until(instance: &Instance, script: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let tried = instance.try_run(script);
        if tried.code == 0 {
            return;
        }
        assert!(Instant::now() < end, "{}", tried.output);
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub fn a_killed_container_comes_back() {
    comes_back(
        "docker kill edgelauncher",
        "docker inspect --format '{{.State.Running}}' edgelauncher | grep -q true",
        Some("edgelauncher is exited, exit code 137 (killed)"),
    );
}

/// systemd starts the engine again by itself.
pub fn a_killed_engine_comes_back_with_its_container() {
    comes_back(
        "systemctl kill --kill-whom=main --signal=KILL docker.service",
        "docker inspect --format '{{.State.Running}}' edgelauncher | grep -q true",
        None,
    );
}

pub fn a_stopped_agent_comes_back() {
    comes_back(
        "systemctl stop amazon-cloudwatch-agent.service",
        "systemctl is-active --quiet amazon-cloudwatch-agent.service",
        Some("amazon-cloudwatch-agent.service is inactive"),
    );
}

pub fn an_unmounted_volume_comes_back() {
    comes_back(
        "umount /data",
        "mountpoint --quiet /data",
        Some("nothing is mounted at /data"),
    );
}
