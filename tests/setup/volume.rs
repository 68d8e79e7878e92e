//! The data volume: what is reused, formatted, waited for or refused.

use serde_json::json;

use crate::Test;
use crate::machine::{Machine, VOLUME, poll};
use crate::shared::{expect_failure, expect_failure_signals, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("foreign_contents_are_never_formatted", foreign_contents_are_never_formatted),
    ("an_expected_filesystem_is_reused", an_expected_filesystem_is_reused),
    ("a_phantom_table_on_a_new_encrypted_volume_is_formatted", a_phantom_table_on_a_new_encrypted_volume_is_formatted),
    ("an_unencrypted_volume_is_refused", an_unencrypted_volume_is_refused),
    ("a_volume_from_a_snapshot_is_never_blank", a_volume_from_a_snapshot_is_never_blank),
    ("a_volume_in_use_elsewhere_is_refused", a_volume_in_use_elsewhere_is_refused),
    ("an_unknown_volume_is_refused", an_unknown_volume_is_refused),
    ("a_volume_that_another_instance_holds_is_waited_for", a_volume_that_another_instance_holds_is_waited_for),
    ("a_volume_that_has_grown_is_used_whole", a_volume_that_has_grown_is_used_whole),
    ("files_at_the_mount_point_are_never_hidden", files_at_the_mount_point_are_never_hidden),
];

/// The phases up to the volume.
const TO_THE_VOLUME: [&str; 8] = [
    "--phase",
    "preflight",
    "--phase",
    "docker",
    "--phase",
    "user",
    "--phase",
    "volume",
];

fn foreign_contents_are_never_formatted() {
    let machine = Machine::new("debian-12");
    machine.attach();
    let cases = [
        (
            r#"[{"type":"xfs","uuid":"11"}]"#,
            "an xfs filesystem (uuid 11)",
        ),
        (
            r#"[{"type":"gpt"},{"type":"PMBR"}]"#,
            "a gpt partition table, a PMBR partition table",
        ),
        (
            r#"[{"type":"LVM2_member","uuid":"22"}]"#,
            "an LVM2_member signature (uuid 22)",
        ),
        (
            r#"[{"type":"linux_raid_member"}]"#,
            "a linux_raid_member signature",
        ),
        (
            r#"[{"type":"crypto_LUKS","uuid":"33"}]"#,
            "a crypto_LUKS signature (uuid 33)",
        ),
        (
            r#"[{"type":"ext4","uuid":"44"},{"type":"dos"}]"#,
            "an ext4 filesystem (uuid 44), a dos partition table",
        ),
    ];
    for (signatures, found) in cases {
        machine.keep("contents", &format!("{{\"signatures\":{signatures}}}"));
        machine.forget_calls();
        machine.run(&TO_THE_VOLUME).expect(1);
        let reason =
            format!("{VOLUME} (/dev/nvme1n1) holds {found}; ext4 or a blank volume was expected");
        let hint = "name the right volume in volume.id, or, if nothing on this one is needed, clear it yourself \
                    (`wipefs --all /dev/nvme1n1` destroys a wallet key on it) and run `bootstrap` again; nothing was changed";
        expect_failure(&machine, "volume", &reason, hint);
        let touched = machine
            .changes()
            .into_iter()
            .find(|call| call.contains("nvme1n1"));
        assert_eq!(touched, None, "{found}");
    }
    assert!(!machine.path("/data").exists());
    let told = &machine.signals()[0]["Reason"];
    assert!(
        told.as_str()
            .unwrap()
            .starts_with(&format!("volume: {VOLUME} (/dev/nvme1n1) holds an xfs")),
        "{told}"
    );

    // Something mounted there, however blank it looks.
    machine.forget("contents");
    let mounts = machine.read("/proc/self/mountinfo");
    machine.write(
        "/proc/self/mountinfo",
        &format!("{mounts}40 25 259:1 / /mnt rw - ext4 /dev/nvme1n1 rw\n"),
    );
    machine.run(&TO_THE_VOLUME).expect(1);
    let reason = &machine.phase("volume")["error"]["reason"];
    assert_eq!(
        *reason,
        format!(
            "{VOLUME} (/dev/nvme1n1) holds what is mounted at /mnt; ext4 or a blank volume was expected"
        )
    );
}

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

fn a_phantom_table_on_a_new_encrypted_volume_is_formatted() {
    let mut machine = Machine::new("debian-12");
    let atari = r#"{"signatures":[{"type":"atari"}]}"#;
    machine.keep("contents", atari);
    machine.rule(json!({
        "run": "mkfs.ext4 *", "unless": ["made"], "set": ["made"], "keep": {"contents":
        "{\"signatures\":[{\"type\":\"ext4\",\"uuid\":\"5ca1ab1e-0000-4000-8000-00000000da7a\"}]}"}
    }));
    // Made from a snapshot: the table may be real.
    machine.aws.state().volumes[0].snapshot = "snap-0123456789abcdef0".into();
    machine.run(&TO_THE_VOLUME).expect(1);
    assert_eq!(
        machine.phase("volume")["error"]["reason"],
        format!(
            "{VOLUME} (/dev/nvme1n1) holds an atari partition table; ext4 or a blank volume was expected"
        )
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.starts_with("mkfs"))
    );
    machine.aws.state().volumes[0].snapshot.clear();
    machine.run(&TO_THE_VOLUME).expect(0);
    assert!(
        machine
            .changes()
            .iter()
            .any(|call| call.starts_with("mkfs.ext4 "))
    );
}

fn an_unencrypted_volume_is_refused() {
    let machine = Machine::new("debian-12");
    machine.aws.state().volumes[0].encrypted = false;
    machine.run(&[]).expect(1);
    let reason = format!("{VOLUME} is not encrypted");
    let hint = "make an encrypted copy (a snapshot, then an encrypted volume from it) and name that in volume.id; \
                nothing was changed";
    expect_failure(&machine, "volume", &reason, hint);
    expect_failure_signals(&machine, &format!("volume: {reason}. {hint}"));
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    assert_eq!(
        machine.phases("skipped"),
        ["secret", "container", "metrics-cron", "signal"]
    );
}

fn an_unknown_volume_is_refused() {
    let mut machine = Machine::new("debian-12");
    machine.attach();
    // The disk that is there is somebody else's.
    machine.configure(|config| config["volume"]["id"] = "vol-0fedcba9876543210".into());
    machine.run(&TO_THE_VOLUME).expect(1);
    let error = machine.phase("volume")["error"].clone();
    assert_eq!(
        error["reason"],
        "the volume vol-0fedcba9876543210 does not exist in us-east-1 (InvalidVolume.NotFound: The volume does not exist.)"
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}

fn a_volume_that_another_instance_holds_is_waited_for() {
    let machine = Machine::new("debian-12");
    machine.aws.state().volumes[0].attached =
        Some(("i-0fedcba9876543210".into(), "/dev/sdf".into()));
    let run = machine.start(&[]);
    poll("EC2 was not asked again", || {
        (machine.aws.state().requests_of("DescribeVolumes").len() > 1).then_some(())
    });
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    machine.aws.state().volumes[0].attached = None;
    run.wait().expect(0);
    let said: Vec<_> = machine
        .log()
        .into_iter()
        .filter(|line| line["phase"] == "volume")
        .collect();
    let waited = format!("waiting for i-0fedcba9876543210 to let go of {VOLUME} (attached)");
    assert!(
        said.iter().any(|line| line["message"] == *waited),
        "{said:#?}"
    );
    assert_eq!(machine.aws.state().requests_of("AttachVolume").len(), 1);
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

fn files_at_the_mount_point_are_never_hidden() {
    let machine = Machine::new("debian-12");
    machine.write("/data/precious", "");
    machine.run(&TO_THE_VOLUME).expect(1);
    expect_failure(
        &machine,
        "volume",
        "/data is not a mount point and not empty: precious; mounting over it would hide that",
        "move what is in /data elsewhere, then run `bootstrap --phase volume`",
    );
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}

fn a_volume_from_a_snapshot_is_never_blank() {
    let machine = Machine::new("debian-12");
    machine.aws.state().volumes[0].snapshot = "snap-0123456789abcdef0".into();
    machine.run(&TO_THE_VOLUME).expect(1);
    expect_failure(
        &machine,
        "volume",
        &format!(
            "{VOLUME} (/dev/nvme1n1) holds nothing, but was made from the snapshot snap-0123456789abcdef0"
        ),
        "it may be damaged: make a snapshot, repair it (`fsck.ext4 -b 32768 /dev/nvme1n1`) and run `bootstrap` again, \
         or name an empty new volume in volume.id; only if nothing on it is needed, make the filesystem yourself: \
         `mkfs.ext4 /dev/nvme1n1` destroys a wallet key on it; nothing was changed",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}

fn a_volume_in_use_elsewhere_is_refused() {
    let machine = Machine::new("debian-12");
    machine.attach();
    machine.aws.state().volumes[0].attached =
        Some(("i-0fedcba9876543210".into(), "/dev/sdf".into()));
    machine.run(&TO_THE_VOLUME).expect(1);
    expect_failure(
        &machine,
        "volume",
        &format!(
            "{VOLUME} is attached to i-0fedcba9876543210 too; two machines that use one filesystem destroy it"
        ),
        "detach the volume from every other instance (EC2 console, Multi-Attach), then run `bootstrap` again; \
         nothing was changed",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}
