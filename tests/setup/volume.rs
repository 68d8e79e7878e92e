//! The data volume: what is reused and grown. What is waited for or refused is in the fault table.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde_json::json;
use standins::aws;
use standins::http::Response;

use crate::Test;
use crate::machine::{ADDRESS, Machine};
use crate::shared::{expect_failure, healthy, side_by_side};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("an_expected_filesystem_is_reused", an_expected_filesystem_is_reused),
    ("a_volume_that_has_grown_is_used_whole", a_volume_that_has_grown_is_used_whole),
    ("an_older_node_s_mount_is_made_safe_while_the_node_runs", an_older_node_s_mount_is_made_safe_while_the_node_runs),
    ("a_replacement_formats_nothing_that_was_formatted_once", a_replacement_formats_nothing_that_was_formatted_once),
    ("a_named_volume_is_never_formatted", a_named_volume_is_never_formatted),
    ("the_tag_is_there_before_the_filesystem", the_tag_is_there_before_the_filesystem),
    ("a_formatting_that_was_cut_short_goes_on_here_and_nowhere_else", a_formatting_that_was_cut_short_goes_on_here_and_nowhere_else),
    ("an_older_node_s_volume_gets_its_tag", an_older_node_s_volume_gets_its_tag),
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

fn an_older_node_s_mount_is_made_safe_while_the_node_runs() {
    let mut machine = healthy("debian-12");
    for path in ["/proc/self/mountinfo", "/etc/fstab"] {
        let older = machine.read(path).replace("nosuid,nodev,", "");
        machine.write(path, &older);
    }
    let remount = "mount -o remount,nosuid,nodev /data";
    machine.rule(json!({"run": remount, "append": {
        "/proc/self/mountinfo": "36 25 259:1 / /data rw,nosuid,nodev,relatime - ext4 /dev/nvme1n1 rw\n"}}));
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), ["systemctl daemon-reload", remount]);
    assert!(
        machine
            .read("/etc/fstab")
            .contains(" /data ext4 defaults,nofail,nosuid,nodev,")
    );
    machine.forget_calls();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
}

const FILESYSTEM: &str = "theta-edge:filesystem";
/// What a filesystem that is made on the machine's volume gets.
const UUID: &str = "36974908-8f88-8748-a27b-9de996e5d4a5";
const DAMAGED: &str = "it may be damaged: make a snapshot, repair it (`fsck.ext4 -b 32768 /dev/nvme1n1`) and run `bootstrap` \
                       again, or name an empty new volume in volume.id; only if nothing on it is needed, make the \
                       filesystem yourself: `mkfs.ext4 /dev/nvme1n1` destroys a wallet key on it; nothing was changed";

/// Writes to the volume's disk, at places.
fn put_bytes(machine: &Machine, places: &[(u64, Vec<u8>)]) {
    let disk = fs::File::options()
        .write(true)
        .open(machine.path("/dev/nvme1n1"))
        .unwrap();
    for (start, bytes) in places {
        disk.write_all_at(bytes, *start).unwrap();
    }
}

/// A tar with a wallet key in it, larger than what is read at the start.
fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in [("key", "{}".to_owned()), ("rest", "x".repeat(4 << 20))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// How the superblock in block group 3 of an ext4 with blocks of 4 KiB begins.
fn superblock() -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    (bytes[0x18], bytes[0x21], bytes[0x38], bytes[0x39]) = (2, 0x80, 0x53, 0xEF);
    (bytes[0x4C], bytes[0x5A]) = (1, 3);
    bytes
}

/// The machine refuses its volume for this reason and has written nothing to it.
#[track_caller]
fn expect_untouched(machine: &Machine, reason: &str) {
    let state = |machine: &Machine| {
        let disk = fs::metadata(machine.path("/dev/nvme1n1")).unwrap();
        (disk.modified().unwrap(), disk.blocks())
    };
    let before = state(machine);
    for arguments in [&[][..], &["--phase", "volume", "--force"]] {
        machine.run(arguments).expect(1);
        expect_failure(machine, "volume", reason, DAMAGED);
    }
    assert_eq!(state(machine), before);
    let calls = machine.changes();
    assert!(
        !calls.iter().any(|call| call.contains("nvme1n1")),
        "{calls:#?}"
    );
    assert_eq!(machine.aws.state().requests_of("CreateTags").len(), 0);
}

/// An instance that remembers nothing meets data that no signature shows, on a volume that another has formatted.
fn a_replacement_formats_nothing_that_was_formatted_once() {
    let mut random = vec![0; 8 << 20];
    fastrand::Rng::with_seed(1).fill(&mut random);
    let first = healthy("debian-12");
    let tags = first.aws.state().volumes[0].tags.clone();
    assert_eq!(tags[FILESYSTEM], UUID);
    let cases = [
        (vec![(0, tar())], "nothing"),
        (vec![(0, random)], "nothing"),
        (
            vec![(384 << 20, superblock())],
            "remains of an ext4 filesystem",
        ),
        (vec![], "nothing"),
    ];
    side_by_side(&cases, |(places, seems)| {
        let machine = Machine::new("debian-12");
        machine.aws.state().volumes[0].tags.clone_from(&tags);
        machine.attach();
        put_bytes(&machine, places);
        let reason = format!(
            "vol-0123456789abcdef0 (/dev/nvme1n1) holds {seems}, but its tag {FILESYSTEM} says that it has UUID={UUID}"
        );
        expect_untouched(&machine, &reason);
    });
}

fn a_named_volume_is_never_formatted() {
    let mut machine = Machine::new("debian-12");
    machine.configure(|config| config["volume"]["origin"] = "given".into());
    machine.attach();
    let reason = "vol-0123456789abcdef0 (/dev/nvme1n1) holds nothing, but volume.origin in the config does not say that \
                  it is `new`";
    expect_untouched(&machine, reason);
    // A config from before there was such a setting says as much.
    machine.configure(|config| {
        config["volume"].as_object_mut().unwrap().remove("origin");
    });
    expect_untouched(&machine, reason);
}

fn the_tag_is_there_before_the_filesystem() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("mkfs.ext4 *");
    let run = machine.start(&[]);
    let tool = gate.arrived();
    let tags = machine.aws.state().volumes[0].tags.clone();
    assert_eq!(tags, [(FILESYSTEM.to_owned(), UUID.to_owned())].into());
    drop(tool);
    run.wait().expect(0);
    assert!(
        machine
            .read("/etc/fstab")
            .contains(&format!("UUID={UUID} "))
    );
}

/// Ended between the tag and the filesystem.
fn a_formatting_that_was_cut_short_goes_on_here_and_nowhere_else() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("mkfs.ext4 *");
    let run = machine.start(&[]);
    let tool = gate.arrived();
    run.cut_off();
    drop(tool);
    machine.ungate();
    assert_eq!(machine.fact("contents"), None);
    let volume = machine.aws.state().volumes[0].clone();
    let refuses = |machine: &Machine| {
        let reason = format!(
            "vol-0123456789abcdef0 (/dev/nvme1n1) holds nothing, but its tag {FILESYSTEM} says that it has UUID={UUID}"
        );
        machine.run(&[]).expect(1);
        expect_failure(machine, "volume", &reason, DAMAGED);
    };
    // Another instance, and this one once the volume has been away.
    let other = Machine::new("debian-12");
    other.aws.state().volumes[0].tags.clone_from(&volume.tags);
    refuses(&other);
    machine.aws.state().volumes[0].attachments += 1;
    refuses(&machine);
    machine.aws.state().volumes[0].attachments = volume.attachments;
    machine.run(&[]).expect(0);
    assert!(
        machine
            .read("/etc/fstab")
            .contains(&format!("UUID={UUID} "))
    );
}

/// Its filesystem is older than such tags. A role that may not write them yet keeps no node down.
fn an_older_node_s_volume_gets_its_tag() {
    let uuid = "deadbeef-0000-4000-8000-000000000000";
    let machine = Machine::new("debian-12");
    machine.keep(
        "contents",
        &format!(r#"{{"signatures":[{{"type":"ext4","uuid":"{uuid}"}}]}}"#),
    );
    let denied = aws::Fault::Answer(Response::new(
        403,
        "",
        "<Error><Code>UnauthorizedOperation</Code></Error>",
    ));
    machine.aws.state().fail("CreateTags", 1, denied);
    machine.run(&[]).expect(0);
    assert_eq!(machine.aws.state().volumes[0].tags.get(FILESYSTEM), None);
    machine.run(&["--phase", "volume", "--force"]).expect(0);
    assert_eq!(machine.aws.state().volumes[0].tags[FILESYSTEM], uuid);
    machine.run(&["--phase", "volume", "--force"]).expect(0);
    // The one that was refused, the wallet's, and the one that was taken.
    assert_eq!(machine.aws.state().requests_of("CreateTags").len(), 3);
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
pub fn with_instance_store() -> Machine {
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
pub fn stop_and_start(machine: &Machine) {
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
    machine.configure(|config| {
        config.as_object_mut().unwrap().remove("wallet_backup");
    });
    machine.run(&[]).expect(0);
    stop_and_start(&machine);
    machine.node.change(|node| node.down = true);
    machine.run(&[]).expect(1);
    let folder = "/data/edgelauncher/edgecore/key/encrypted";
    let reason = format!("the wallet key of {ADDRESS} is gone: {folder} holds none");
    let hint = "put it back (scripts/backup-key --restore), then run: bootstrap --phase container; to go on with a new \
                wallet instead: delete the tag theta-edge:wallet of its volume, if it has one, rm \
                /var/lib/bootstrap/wallet.json, then bootstrap --phase container";
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
