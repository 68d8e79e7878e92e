//! The system itself: which one is supported, and its security updates.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::{PHASES, expect_failure, expect_failure_signals};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("an_unsupported_system_is_left_alone", an_unsupported_system_is_left_alone),
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

fn an_unsupported_system_is_left_alone() {
    let machine = Machine::new("amazon-linux-2023");
    machine.write(
        "/etc/os-release",
        "NAME=\"Amazon Linux\"\nID=\"amzn\"\nVERSION_ID=\"2\"\n",
    );
    machine.run(&[]).expect(1);
    let reason = "Amazon Linux 2 has been out of support since 2026-06-30";
    let hint = "Use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12.";
    expect_failure(&machine, "preflight", reason, hint);
    expect_failure_signals(&machine, &format!("preflight: {reason}. {hint}"));
    assert_eq!(machine.phases("skipped"), PHASES[1..]);
    assert_eq!(machine.calls(), Vec::<String>::new());
}
