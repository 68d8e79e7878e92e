//! The data volume: what is reused and grown. What is waited for or refused is in the fault table.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::machine::{ADDRESS, Machine};
use crate::shared::{expect_failure, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("an_expected_filesystem_is_reused", an_expected_filesystem_is_reused),
    ("a_volume_that_has_grown_is_used_whole", a_volume_that_has_grown_is_used_whole),
    ("an_instance_store_is_told_by_its_model", an_instance_store_is_told_by_its_model),
    ("several_instance_store_disks_are_named_and_refused", several_instance_store_disks_are_named_and_refused),
    ("an_emptied_instance_store_never_gets_another_wallet_silently", an_emptied_instance_store_never_gets_another_wallet_silently),
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

/// Puts a disk of 8 GiB there.
fn put_disk(machine: &Machine, name: &str, number: &str, model: &str, serial: &str) {
    let sys = format!("/sys/class/block/{name}");
    for (file, text) in [
        ("size", "16777216"),
        ("ro", "0"),
        ("dev", number),
        ("device/model", model),
        ("device/serial", serial),
    ] {
        machine.write(&format!("{sys}/{file}"), &format!("{text}\n"));
    }
    machine.write(&format!("/dev/{name}"), "");
    let node = fs::File::options()
        .write(true)
        .open(machine.path(&format!("/dev/{name}")));
    node.unwrap().set_len(8 << 30).unwrap();
}

const STORE: &str = "Amazon EC2 NVMe Instance Storage        ";

/// A machine whose data belong on its own disk; a volume of the same size, blank too, is attached.
fn with_instance_store() -> Machine {
    let mut machine = Machine::new("debian-12");
    machine.configure(|config| config["volume"] = json!({"kind": "instance-store"}));
    put_disk(&machine, "nvme1n1", "259:1", STORE, "AWS1234567890ABCDEF0");
    let volume = "Amazon Elastic Block Store              ";
    put_disk(&machine, "nvme2n1", "259:2", volume, "vol0fedcba9876543210");
    machine
}

fn an_instance_store_is_told_by_its_model() {
    let machine = with_instance_store();
    machine.run(&[]).expect(0);
    let calls = machine.calls();
    assert!(
        calls
            .iter()
            .any(|call| call.starts_with("mkfs.ext4 ") && call.ends_with("/dev/nvme1n1"))
    );
    assert!(
        !calls.iter().any(|call| call.contains("nvme2n1")),
        "{calls:#?}"
    );
    let verify = machine
        .run(&["verify", "--only", "volume", "--json"])
        .expect(0)
        .json();
    assert_eq!(verify["checks"][1]["detail"], "an instance store");
    machine.run(&[]).expect(0);
}

fn several_instance_store_disks_are_named_and_refused() {
    let machine = with_instance_store();
    put_disk(&machine, "nvme3n1", "259:3", STORE, "AWS1234567890ABCDEF1");
    machine.run(&[]).expect(1);
    expect_failure(
        &machine,
        "volume",
        "the instance has several instance store disks: /dev/nvme1n1, /dev/nvme3n1",
        "choose an instance type with one instance store disk, or an EBS volume (volume.kind `ebs`)",
    );
    assert!(!machine.calls().iter().any(|call| call.starts_with("mkfs")));
}

/// What a stop and a start do: the disk is another one, and blank.
fn stop_and_start(machine: &Machine) {
    machine.reboot(2);
    machine.forget("contents");
    machine.forget("mounted");
    fs::remove_dir_all(machine.path("/data")).unwrap();
    fs::create_dir(machine.path("/data")).unwrap();
    let mounts = machine.read("/proc/self/mountinfo");
    let others: String = mounts
        .split_inclusive('\n')
        .filter(|line| !line.contains(" /data "))
        .collect();
    machine.write("/proc/self/mountinfo", &others);
}

fn an_emptied_instance_store_never_gets_another_wallet_silently() {
    let mut machine = with_instance_store();
    machine.run(&[]).expect(0);
    stop_and_start(&machine);
    machine.node.change(|node| node.down = true);
    machine.run(&[]).expect(1);
    let folder = "/data/edgelauncher/edgecore/key/encrypted";
    let reason = format!("the wallet key of {ADDRESS} is gone: {folder} holds none");
    let hint = "put it back (scripts/backup-key --restore), then run: bootstrap --phase container; to go on with a new \
                wallet instead: rm /var/lib/bootstrap/wallet.json, then bootstrap --phase container";
    expect_failure(&machine, "container", &reason, hint);
    let calls = machine.changes();
    // The new disk is ready for the key.
    assert!(
        calls.iter().any(|call| call.starts_with("mkfs.ext4 ")),
        "{calls:#?}"
    );
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("docker run") || call.starts_with("docker start")),
        "{calls:#?}"
    );
    let verify = machine
        .run(&["verify", "--only", "volume", "--json"])
        .expect(1)
        .json();
    let key = &verify["checks"][3];
    assert_eq!(
        (&key["name"], &key["status"]),
        (&json!("key"), &json!("fail"))
    );
    assert_eq!(
        (key["detail"].as_str(), key["hint"].as_str()),
        (Some(reason.as_str()), Some(hint))
    );

    // Somebody who wants a new one says so, and the node makes it.
    let (core, key) = (
        "/data/edgelauncher/edgecore",
        format!("{folder}/{}", &ADDRESS[2..]),
    );
    machine.rule(
        json!({"run": "docker start *", "also": true, "write": {&key: "{}"},
                        "give": [core, format!("{core}/key"), folder, key]}),
    );
    machine.node.change(|node| node.down = false);
    fs::remove_file(machine.path("/var/lib/bootstrap/wallet.json")).unwrap();
    machine.run(&[]).expect(0);
}
