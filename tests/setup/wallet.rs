//! The wallet stays the one that it was, whatever the container or a new machine makes of the key folder.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use crate::Test;
use crate::faults::data;
use crate::machine::{ADDRESS, Machine, VOLUME};
use crate::shared::{expect_failure, healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("another_wallet_in_place_of_the_node_s_is_a_failure", another_wallet_in_place_of_the_node_s_is_a_failure),
    ("ec2_remembers_the_wallet_for_the_next_instance", ec2_remembers_the_wallet_for_the_next_instance),
    ("only_a_restore_changes_what_ec2_remembers", only_a_restore_changes_what_ec2_remembers),
    ("any_number_of_key_files_costs_nothing", any_number_of_key_files_costs_nothing),
    ("a_key_folder_that_is_a_link_is_not_followed", a_key_folder_that_is_a_link_is_not_followed),
];

const KEYS: &str = "/data/edgelauncher/edgecore/key/encrypted";
const OTHER: &str = "0x6666666666666666666666666666666666666666";
const REMEMBERED: &str = "/var/lib/bootstrap/wallet.json";
const TAG: &str = "theta-edge:wallet";
const RESTORE: &str = "if nobody has restored a key, something in the container has replaced it: put the right one back \
                       (scripts/backup-key --restore, which alone changes the wallet that is remembered)";

fn tag(machine: &Machine) -> Option<String> {
    machine.aws.state().volumes[0].tags.get(TAG).cloned()
}

fn swapped() -> String {
    format!("{KEYS} holds the key of {OTHER}, but the wallet of this node is {ADDRESS}")
}

/// The check of the key in the health check, which fails.
fn key_check(machine: &Machine) -> (String, String) {
    let report = machine.run(&["verify", "--json"]).expect(1).json();
    let check = named(&report["checks"], "key");
    assert_eq!(check["status"], "fail", "{check}");
    let text = |name: &str| check[name].as_str().unwrap().to_owned();
    (text("detail"), text("hint"))
}

fn published_health(machine: &Machine) -> f64 {
    let shown = machine.run(&["metrics", "--dry-run"]).expect(0).json();
    let metrics = shown["metrics"].as_array().unwrap();
    let health = metrics
        .iter()
        .find(|metric| metric["name"] == "edge_healthy");
    health.unwrap()["value"].as_f64().unwrap()
}

/// Code in the container renames its key, and the node answers with the other address.
fn another_wallet_in_place_of_the_node_s_is_a_failure() {
    let machine = healthy("debian-12");
    let remembered = machine.read(REMEMBERED);
    assert!(remembered.contains(ADDRESS), "{remembered}");
    assert!(published_health(&machine) > 0.5);
    let file = |address: &str| machine.path(&format!("{KEYS}/{}", &address[2..]));
    let answers = |address: &str| {
        let address = address[2..].to_owned();
        machine.node.change(|node| node.address = address);
    };

    // The node itself has another first, which no file shows.
    answers(OTHER);
    let says = format!("the node runs as {OTHER}, but its wallet is {ADDRESS}");
    assert_eq!(key_check(&machine), (says, RESTORE.to_owned()));
    assert!(published_health(&machine) < 0.5);

    fs::rename(file(ADDRESS), file(OTHER)).unwrap();
    for arguments in [
        &[][..],
        &["--phase", "container"],
        &["--phase", "container", "--force"],
        &["--phase", "container", "--force"],
    ] {
        machine.run(arguments).expect(1);
        expect_failure(&machine, "container", &swapped(), RESTORE);
        assert_eq!(key_check(&machine), (swapped(), RESTORE.to_owned()));
        assert!(published_health(&machine) < 0.5);
    }
    assert_eq!(machine.read(REMEMBERED), remembered);
    assert_eq!(tag(&machine).as_deref(), Some(ADDRESS));
    let started =
        |call: &String| call.starts_with("docker start") || call.starts_with("docker run");
    assert!(!machine.calls().iter().any(started));

    // A key that is gone is no health either.
    fs::rename(file(OTHER), machine.path("/data/aside")).unwrap();
    answers(ADDRESS);
    assert!(published_health(&machine) < 0.5);
    fs::rename(machine.path("/data/aside"), file(ADDRESS)).unwrap();
    machine.run(&[]).expect(0);
    machine.run(&["verify"]).expect(0);
    assert!(published_health(&machine) > 0.5);
}

/// A replacement, whose root disk is new, on a volume whose tags these are.
fn replacement(tags: &[(&str, &str)]) -> Machine {
    let mut machine = Machine::new("debian-12");
    data::put_volume(&mut machine, 10);
    let tags = tags
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    machine.aws.state().volumes[0].tags = tags.collect();
    machine
}

fn ec2_remembers_the_wallet_for_the_next_instance() {
    let first = healthy("debian-12");
    assert_eq!(tag(&first).as_deref(), Some(ADDRESS));
    // A run on a healthy node asks no more.
    let asked = first.aws.state().requests_of("CreateTags").len();
    first.run(&[]).expect(0);
    assert_eq!(first.aws.state().requests_of("CreateTags").len(), asked);

    let machine = replacement(&[(TAG, OTHER)]);
    machine.run(&[]).expect(1);
    let found =
        format!("{KEYS} holds the key of {ADDRESS}, but the wallet of this node is {OTHER}");
    expect_failure(&machine, "container", &found, RESTORE);
    assert_eq!(key_check(&machine).0, found);
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call.starts_with("docker run"))
    );
    assert_eq!(tag(&machine).as_deref(), Some(OTHER));

    // Nothing at all on the volume is told from a new one.
    let machine = replacement(&[(TAG, ADDRESS)]);
    data::leave_out(&machine);
    machine.run(&[]).expect(1);
    let gone = format!("the wallet key of {ADDRESS} is gone: {KEYS} holds none");
    assert_eq!(machine.phase("container")["error"]["reason"], gone);
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call.starts_with("docker run --detach"))
    );

    let machine = replacement(&[(TAG, ADDRESS)]);
    machine.run(&[]).expect(0);
    // Of an older node, whose volume has no tags yet.
    let machine = replacement(&[]);
    machine.run(&[]).expect(0);
    assert_eq!(tag(&machine).as_deref(), Some(ADDRESS));
}

fn only_a_restore_changes_what_ec2_remembers() {
    let machine = healthy("debian-12");
    let set = |address: &str| {
        let mut cloud = machine.aws.state();
        cloud.volumes[0].tags.insert(TAG.into(), address.into());
    };
    // What scripts/key-on-node.py leaves.
    set(OTHER);
    let wallet = format!(r#"{{"disk": "{VOLUME}", "address": "{ADDRESS}", "restored": true}}"#);
    machine.write(REMEMBERED, &wallet);
    machine.run(&["--phase", "container", "--force"]).expect(0);
    assert_eq!(tag(&machine).as_deref(), Some(ADDRESS));
    // Somebody has removed what this machine remembers.
    set(OTHER);
    fs::remove_file(machine.path(REMEMBERED)).unwrap();
    machine.run(&["--phase", "container", "--force"]).expect(1);
    let both = format!(
        "EC2 says that the volume has the key of {OTHER}, but the node has the wallet {ADDRESS}"
    );
    expect_failure(&machine, "container", &both, RESTORE);
    machine.run(&[]).expect(1);
    let found =
        format!("{KEYS} holds the key of {ADDRESS}, but the wallet of this node is {OTHER}");
    expect_failure(&machine, "container", &found, RESTORE);
    assert_eq!(tag(&machine).as_deref(), Some(OTHER));
}

fn any_number_of_key_files_costs_nothing() {
    let machine = healthy("debian-12");
    for number in 0..100_000 {
        let path = machine.path(&format!("{KEYS}/{number:0240}"));
        fs::File::create_new(&path).unwrap();
        chown(&path, Some(1002), Some(1002)).unwrap();
    }
    for arguments in [
        &["verify"][..],
        &["verify", "--json"],
        &["--phase", "container", "--force"],
    ] {
        let said = machine.run(arguments).expect(1).output();
        assert!(said.len() < 20_000, "{} bytes", said.len());
    }
    let reason = machine.phase("container")["error"]["reason"].to_string();
    assert!(reason.contains("holds several files: "), "{reason}");
    assert!(reason.len() < 2_000, "{reason}");
}

fn a_key_folder_that_is_a_link_is_not_followed() {
    let machine = healthy("debian-12");
    fs::remove_dir_all(machine.path(KEYS)).unwrap();
    machine.write("/srv/private/customers-of-acme", "x");
    symlink(machine.path("/srv/private"), machine.path(KEYS)).unwrap();
    let reason =
        format!("the key folder {KEYS} is reached through a symbolic link, which is not followed");
    machine.run(&["--phase", "container", "--force"]).expect(1);
    let hint = format!("see who made it (namei -l {KEYS}), and put a folder in its place");
    expect_failure(&machine, "container", &reason, &hint);
    let said = machine.run(&["verify", "--json"]).expect(1).output();
    assert!(said.contains(&reason), "{said}");
    assert!(!said.contains("acme"), "{said}");
}
