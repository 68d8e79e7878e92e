//! The data volume: what is reused and grown. What is waited for or refused is in the fault table.

use serde_json::json;

use crate::Test;
use crate::machine::Machine;
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("an_expected_filesystem_is_reused", an_expected_filesystem_is_reused),
    ("a_volume_that_has_grown_is_used_whole", a_volume_that_has_grown_is_used_whole),
];

fn an_expected_filesystem_is_reused() {
    let machine = Machine::new("debian-12");
    let uuid = "deadbeef-0000-4000-8000-000000000000";
    machine.keep(
        "contents",
        &format!(r#"{{"signatures":[{{"type":"ext4","uuid":"{uuid}"}}]}}"#),
    );
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    assert!(
        !calls.iter().any(|call| call.starts_with("mkfs")),
        "{calls:#?}"
    );
    assert!(
        machine
            .read("/etc/fstab")
            .contains(&format!("UUID={uuid} /data ext4 "))
    );
}

fn a_volume_that_has_grown_is_used_whole() {
    let mut machine = healthy("debian-12");
    machine.write("/sys/class/block/nvme1n1/size", "33554432\n");
    machine.rule(json!({"run": "dumpe2fs -h ROOT/dev/nvme1n1", "if": ["grown"], "print": "Block count: 4194304\nBlock size: 4096"}));
    machine.rule(json!({"run": "resize2fs ROOT/dev/nvme1n1", "set": ["grown"]}));
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), ["resize2fs ROOT/dev/nvme1n1"]);
    assert_eq!(machine.phase("volume")["changed"], true);
}
