//! The container: when it is started, when it is made anew, and when it must not start.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::shared::{expect_failure, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("after_a_reboot_the_container_is_started_and_not_remade", after_a_reboot_the_container_is_started_and_not_remade),
    ("another_config_remakes_the_container", another_config_remakes_the_container),
    ("the_container_never_starts_without_its_volume", the_container_never_starts_without_its_volume),
];

fn after_a_reboot_the_container_is_started_and_not_remade() {
    let machine = healthy("debian-12");
    machine.reboot(2);
    machine.run(&[]).expect(0);
    assert_eq!(
        machine.changes(),
        [
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher"
        ]
    );
    assert_eq!(machine.phase("secret")["changed"], true);
    assert_eq!(machine.signals().len(), 2);
}

fn another_config_remakes_the_container() {
    let mut machine = healthy("debian-12");
    machine.configure(|config| config["edge"] = json!({"rpc_bind": "0.0.0.0"}));
    machine.run(&[]).expect(0);
    let calls: Vec<_> = machine
        .changes()
        .into_iter()
        .map(|call| call.chars().take(60).collect::<String>())
        .collect();
    let (run, others): (Vec<_>, Vec<_>) = calls
        .iter()
        .partition(|call| call.starts_with("docker run"));
    assert_eq!(run.len(), 1);
    assert_eq!(
        others,
        [
            "docker stop -t 60 edgelauncher",
            "docker rename edgelauncher edgelauncher-previous",
            "docker stop -t 60 edgelauncher-previous",
            "docker rm edgelauncher-previous",
        ]
    );
}

fn the_container_never_starts_without_its_volume() {
    let mut machine = healthy("debian-12");
    machine.keep("status edgelauncher", "exited");
    machine.forget("mounted");
    let mounts = machine.read("/proc/self/mountinfo");
    let without: Vec<_> = mounts
        .lines()
        .filter(|line| !line.contains(" /data "))
        .collect();
    machine.write("/proc/self/mountinfo", &(without.join("\n") + "\n"));
    fs::remove_dir_all(machine.path("/data/edgelauncher")).unwrap();
    for more in [
        &["--phase", "container"][..],
        &["--phase", "container", "--force"],
    ] {
        machine.run(more).expect(1);
        expect_failure(
            &machine,
            "container",
            "needs what does not hold: volume (vol-0123456789abcdef0 (/dev/nvme1n1) holds an ext4 filesystem (uuid \
             36974908-8f88-8748-a27b-9de996e5d4a5) and is not mounted at /data)",
            "run `bootstrap --phase volume --phase container`",
        );
    }
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert!(!machine.path("/data/edgelauncher").exists());

    // A mount that says it worked, and did not.
    machine.rule(json!({"run": "mount *"}));
    machine.run(&[]).expect(1);
    expect_failure(
        &machine,
        "volume",
        "/dev/nvme1n1 was mounted at /data and vanished at once",
        "see in `journalctl -b` who unmounted /data, then run `bootstrap` again",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.starts_with("docker"))
    );
}
