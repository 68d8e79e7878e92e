//! The system itself: its security updates.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("security_updates_come_first_and_once", security_updates_come_first_and_once),
];

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
