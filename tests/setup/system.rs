//! The system itself: its security updates, and who may use Docker.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("security_updates_come_first_and_once", security_updates_come_first_and_once),
    ("the_account_is_in_group_docker_only_where_the_config_says_so", the_account_is_in_group_docker_only_where_the_config_says_so),
];

fn the_account_is_in_group_docker_only_where_the_config_says_so() {
    let mut machine = healthy("debian-12");
    assert!(machine.read("/etc/group").contains("docker:x:999:\n"));
    machine.configure(|config| config["user"] = json!({"docker_group": true}));
    machine.run(&[]).expect(0);
    machine.configure(|config| config["user"] = json!({"docker_group": false}));
    machine.run(&[]).expect(0);
    machine.run(&[]).expect(0);
    assert_eq!(
        machine.changes(),
        [
            "usermod --append --groups docker bcuser",
            "gpasswd --delete bcuser docker"
        ]
    );

    // Someone else's doing.
    let others = machine
        .read("/etc/group")
        .replace("docker:x:999:", "docker:x:999:bcuser");
    machine.write("/etc/group", &others);
    machine.forget_calls();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
    assert_eq!(machine.read("/etc/group"), others);
}

fn security_updates_come_first_and_once() {
    for (name, update) in [
        ("debian-12", "unattended-upgrade"),
        (
            "amazon-linux-2023",
            "dnf -y upgrade --security --releasever=latest",
        ),
    ] {
        let mut machine = Machine::new(name);
        machine.configure(|config| config["system"] = json!({"update": "security"}));
        machine.run(&["--phase", "preflight"]).expect(0);
        let changes = machine.changes();
        let at = |call: &str| changes.iter().position(|change| change == call);
        assert!(
            at(update) < at("systemctl enable --no-reload bootstrap.service"),
            "{changes:#?}"
        );
        assert!(at(update).is_some(), "{changes:#?}");
        machine.forget_calls();
        machine.run(&["--phase", "preflight"]).expect(0);
        assert_eq!(machine.changes(), Vec::<String>::new());
    }
}
