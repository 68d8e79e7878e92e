//! The GPU: its driver, the one reboot that may take, and a container that lost it.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, expect_failure, expect_failure_signals, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_driver_that_needs_a_reboot_gets_one", a_driver_that_needs_a_reboot_gets_one),
    ("a_second_reboot_is_refused", a_second_reboot_is_refused),
    ("a_container_that_lost_its_gpu_gets_it_back", a_container_that_lost_its_gpu_gets_it_back),
    ("a_tick_gives_the_container_its_gpu_back", a_tick_gives_the_container_its_gpu_back),
    ("a_restart_that_does_not_help_is_the_only_one", a_restart_that_does_not_help_is_the_only_one),
    ("a_machine_that_lost_its_gpu_is_not_helped_by_a_restart", a_machine_that_lost_its_gpu_is_not_helped_by_a_restart),
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
            .any(|call| call.contains("install dkms"))
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
    machine.rule(json!({"run": "docker restart *", "also": true, "clear": ["gpu lost"]}));
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
            "docker restart -t 60 edgelauncher",
        ]
    );
}

/// What a tick has noted, with the loss of the GPU seen long ago.
fn notice_the_loss(machine: &Machine) {
    let file = "/var/lib/bootstrap/metrics.json";
    let mut noted: serde_json::Value = serde_json::from_str(&machine.read(file)).unwrap();
    assert!(noted["gpu_lost_at"].is_i64(), "{noted}");
    noted["gpu_lost_at"] = 1_000_000_000.into();
    machine.write(file, &noted.to_string());
}

fn a_tick_gives_the_container_its_gpu_back() {
    let mut machine = healthy("amazon-linux-2023-gpu");
    machine.rule(json!({"run": "docker restart *", "also": true, "clear": ["gpu lost"]}));
    machine.keep("gpu lost", "");
    let only = ["verify", "--only", "gpu", "--json"];
    let failing = machine.run(&only).expect(1).json();
    assert_eq!(failing["verdict"], "unhealthy");
    assert_eq!(failing["checks"].as_array().unwrap().len(), 2);
    assert_eq!(
        failing["checks"][1]["detail"],
        "the container does not see its GPU: Failed to initialize NVML: Unknown Error"
    );
    machine.forget_calls();

    machine.run(&["metrics"]).expect(0);
    assert_eq!(machine.changes(), [""; 0], "the first tick only takes note");
    notice_the_loss(&machine);
    machine.run(&["metrics"]).expect(0);
    assert_eq!(
        machine.changes(),
        ["nvidia-smi -L", "docker restart -t 60 edgelauncher"]
    );
    let log = machine.read("/var/log/bootstrap.log");
    assert!(log.contains("edgelauncher has lost its GPU; restarting it"));
    let passing = machine.run(&only).expect(0).json();
    let detail = passing["checks"][1]["detail"].as_str().unwrap();
    assert!(
        detail.ends_with(" s ago, since it had lost its GPU"),
        "{detail}"
    );
}

fn a_restart_that_does_not_help_is_the_only_one() {
    let machine = healthy("amazon-linux-2023-gpu");
    machine.keep("gpu lost", "");
    machine.run(&["metrics"]).expect(0);
    notice_the_loss(&machine);
    let failed = machine.run(&["metrics"]).expect(1);
    assert_eq!(
        failed.stderr,
        "error: edgelauncher does not see its GPU after a restart: Failed to initialize NVML: Unknown Error\n  help: \
         run: bootstrap --phase nvidia --phase docker --phase container\n"
    );
    machine.forget_calls();
    machine.run(&["metrics"]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
    let told = machine
        .run(&["verify", "--only", "gpu", "--json"])
        .expect(1)
        .stdout;
    assert!(
        told.contains(" s ago did not help: Failed to initialize NVML: Unknown Error"),
        "{told}"
    );
}

fn a_machine_that_lost_its_gpu_is_not_helped_by_a_restart() {
    let mut machine = healthy("amazon-linux-2023-gpu");
    machine.keep("gpu lost", "");
    machine.run(&["metrics"]).expect(0);
    notice_the_loss(&machine);
    machine.rule(json!({"run": "nvidia-smi -L", "print": "No devices were found", "exit": 6}));
    machine.forget_calls();
    machine.run(&["metrics"]).expect(0);
    assert_eq!(machine.changes(), ["nvidia-smi -L"]);
}
