//! The GPU: its driver, the one reboot that may take, and a container that lost it.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, expect_failure, expect_failure_signals};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_driver_that_needs_a_reboot_gets_one", a_driver_that_needs_a_reboot_gets_one),
    ("a_second_reboot_is_refused", a_second_reboot_is_refused),
    ("a_container_that_lost_its_gpu_gets_it_back", a_container_that_lost_its_gpu_gets_it_back),
];

fn a_driver_that_needs_a_reboot_gets_one() {
    let machine = Machine::new("amazon-linux-2023-gpu");
    machine.keep("reboot first", "");
    machine.run(&[]).expect(4);
    assert_eq!(machine.calls().last().unwrap(), "systemctl reboot");
    let journal = machine.journal();
    assert_eq!(journal["run"]["result"], "rebooting");
    assert_eq!(
        journal["reboots"],
        json!({"nvidia": "11111111-0000-4000-8000-000000000000"})
    );
    assert_eq!(
        machine.phase("nvidia")["detail"],
        "waits for a reboot: the NVIDIA driver is not loaded (`modprobe nvidia` failed with exit code 1: modprobe: \
         FATAL: Module nvidia not found in directory /lib/modules/KERNEL)"
    );
    assert!(machine.signals().is_empty());

    machine.reboot(2);
    machine.forget("reboot first");
    machine.run(&[]).expect(0);
    assert_eq!(machine.phases("ok").len(), PHASES.len());
    assert_eq!(machine.journal()["reboots"], json!({}));
    assert_eq!(machine.signals().len(), 2);
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call.contains("install kmod"))
    );
}

fn a_second_reboot_is_refused() {
    let machine = Machine::new("amazon-linux-2023-gpu");
    machine.keep("reboot first", "");
    machine.run(&[]).expect(4);
    machine.reboot(2);
    machine.run(&[]).expect(1);
    let reason = "nvidia asked for a second reboot, and the first did not help: the NVIDIA driver is not loaded (`modprobe \
                  nvidia` failed with exit code 1: modprobe: FATAL: Module nvidia not found in directory \
                  /lib/modules/KERNEL)";
    let hint = "see in /var/log/bootstrap.log why, repair it, then `bootstrap --phase nvidia`";
    expect_failure(&machine, "nvidia", reason, hint);
    expect_failure_signals(&machine, &format!("nvidia: {reason}. {hint}"));
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call == "systemctl reboot")
    );
}

fn a_container_that_lost_its_gpu_gets_it_back() {
    let mut machine = Machine::new("amazon-linux-2023-gpu");
    // As the daemon-reload of a package's scripts does (nvidia-container-toolkit#48).
    machine.rule(json!({"run": "dnf * install cronie", "also": true, "set": ["gpu lost"]}));
    machine.rule(json!({"run": "docker start *", "also": true, "clear": ["gpu lost"]}));
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    let after: Vec<_> = calls
        .iter()
        .skip_while(|call| !call.ends_with("install cronie"))
        .collect();
    assert_eq!(
        after,
        [
            "dnf -y --setopt=install_weak_deps=False install cronie",
            "systemctl enable --no-reload crond",
            "systemctl start crond",
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher",
        ]
    );
}
