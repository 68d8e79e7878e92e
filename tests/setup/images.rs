//! Machine images: one that `prepare` has made ready, and one of a node as it is.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::machine::{INSTANCE, Machine};
use crate::shared::{PHASES, healthy, named};
use crate::trace::{self, Nobody, Victim};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("image_that_is_prepared_has_nothing_of_an_instance", image_that_is_prepared_has_nothing_of_an_instance),
    ("image_that_is_prepared_needs_no_mirror::debian-12", || image_that_is_prepared_needs_no_mirror("debian-12")),
    ("image_that_is_prepared_needs_no_mirror::ubuntu-22.04", || image_that_is_prepared_needs_no_mirror("ubuntu-22.04")),
    ("image_that_is_prepared_needs_no_mirror::ubuntu-24.04", || image_that_is_prepared_needs_no_mirror("ubuntu-24.04")),
    ("image_that_is_prepared_needs_no_mirror::amazon-linux-2023", || image_that_is_prepared_needs_no_mirror("amazon-linux-2023")),
    ("image_that_is_prepared_needs_no_mirror::amazon-linux-2023-gpu", || image_that_is_prepared_needs_no_mirror("amazon-linux-2023-gpu")),
    ("image_that_is_prepared_needs_no_mirror::ubuntu-24.04-gpu", || image_that_is_prepared_needs_no_mirror("ubuntu-24.04-gpu")),
    ("image_of_a_node_is_not_prepared", image_of_a_node_is_not_prepared),
    ("image_is_not_prepared_under_cloud_init", image_is_not_prepared_under_cloud_init),
    ("image_with_what_is_no_image_is_refused", image_with_what_is_no_image_is_refused),
    ("image_of_a_node_does_not_act_on_the_old_config", image_of_a_node_does_not_act_on_the_old_config),
    ("image_of_a_node_becomes_a_node_of_its_own", image_of_a_node_becomes_a_node_of_its_own),
    ("image_of_a_node_loses_no_state_at_any_kill", image_of_a_node_loses_no_state_at_any_kill),
    ("image_whose_config_names_no_instance_is_recognised", image_whose_config_names_no_instance_is_recognised),
];

const OTHER: &str = "i-0fedcba9876543210";
const CONFIG: &str = "/etc/bootstrap/config.json";
const STATE: &str = "/var/lib/bootstrap";
/// Whose the state is.
const NOTE: &str = "/var/lib/bootstrap/instance";

/// What makes a machine this machine.
const IDENTITY: [(&str, &str); 8] = [
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    (
        "/var/lib/dbus/machine-id",
        "0123456789abcdef0123456789abcdef\n",
    ),
    ("/etc/ssh/ssh_host_ed25519_key", "a key"),
    ("/etc/ssh/ssh_host_ed25519_key.pub", "its public half"),
    ("/var/lib/systemd/random-seed", "a seed"),
    ("/var/lib/docker/engine-id", "an id"),
    ("/var/lib/cloud/instance/user-data.txt", "#!/bin/bash"),
    ("/var/lib/cloud/data/instance-id", INSTANCE),
];

/// A machine without the config of a node, on which cloud-init has worked.
fn bare(name: &str) -> Machine {
    let mut machine = Machine::new(name);
    fs::remove_file(machine.path(CONFIG)).unwrap();
    // The folder is there where a test needs little room.
    let _ = fs::remove_file(machine.path("/etc/systemd/system/bootstrap.service"));
    machine.be_tolerant();
    for (path, text) in IDENTITY {
        machine.write(path, text);
    }
    machine.write(
        "/lib/modules/6.12.46-66.121.amzn2023.x86_64/modules.dep",
        "",
    );
    machine.rule(json!({"run": "cloud-init status", "print": "status: done"}));
    machine.rule(json!({"run": "cloud-init clean --logs", "remove": ["/var/lib/cloud"]}));
    machine.rule(json!({"run": "modinfo -k * -F version nvidia", "error": "modinfo: ERROR: Module nvidia not found.", "exit": 1}));
    machine.rule(
        json!({"run": "modinfo -k * -F version nvidia", "if": ["driver"], "print": "580.159.03"}),
    );
    machine
}

fn prepare(machine: &Machine, gpu: bool) {
    let arguments: &[&str] = if gpu {
        &["prepare", "--gpu"]
    } else {
        &["prepare"]
    };
    machine.run(arguments).expect(0);
}

fn image_that_is_prepared_has_nothing_of_an_instance() {
    let machine = bare("debian-12");
    let said = machine.run(&["prepare", "--tag", "v2"]).expect(0).stdout;
    assert!(
        said.contains("make the image now, before this machine boots again"),
        "{said}"
    );
    for fact in [
        "package docker.io",
        "package amazon-cloudwatch-agent",
        "image thetalabsorg_edgelauncher_mainnet:v2",
    ] {
        assert!(
            machine.fact(fact).is_some(),
            "{fact}: {:?}",
            machine.facts()
        );
    }
    for fact in [
        "enabled bootstrap.service",
        "enabled bootstrap-repair.timer",
        "active bootstrap-repair.timer",
        "enabled amazon-cloudwatch-agent.service",
        "container edgelauncher",
        "mounted",
    ] {
        assert!(machine.fact(fact).is_none(), "{fact}");
    }
    assert_eq!(machine.read("/etc/machine-id"), "");
    for (path, _) in &IDENTITY[1..] {
        assert!(!machine.path(path).exists(), "{path}");
    }
    for path in [
        CONFIG,
        "/var/log/bootstrap.log",
        "/etc/systemd/system/bootstrap.service",
        "/etc/cron.d/bootstrap-metrics",
        "/data",
    ] {
        assert!(!machine.path(path).exists(), "{path}");
    }
    assert_eq!(
        fs::read_dir(machine.path("/var/lib/bootstrap"))
            .unwrap()
            .count(),
        0
    );
    assert!(
        machine
            .path("/usr/local/share/man/man1/bootstrap-prepare.1")
            .exists()
    );
    assert_eq!(machine.files_with(INSTANCE), ["tools/rules.json"; 0]);
    assert!(machine.signals().is_empty());

    machine.forget_calls();
    machine.run(&["prepare", "--tag", "v2"]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
}

/// No call of a package manager but looks, and nothing from elsewhere.
fn image_that_is_prepared_needs_no_mirror(name: &str) {
    let mut machine = bare(name);
    let gpu = name.ends_with("-gpu");
    if gpu {
        // As where the image is made on a machine without one.
        let devices = machine.path("/sys/bus/pci/devices");
        fs::rename(&devices, machine.beside("devices")).unwrap();
        for install in [
            "apt-get * install --no-install-recommends linux-modules-nvidia-*",
            "dnf * install dkms *",
        ] {
            machine.rule(json!({"run": install, "also": true, "set": ["driver"]}));
        }
    }
    prepare(&machine, gpu);
    if gpu {
        fs::rename(
            machine.beside("devices"),
            machine.path("/sys/bus/pci/devices"),
        )
        .unwrap();
    }
    let check = if gpu {
        &["prepare", "--gpu", "--check"][..]
    } else {
        &["prepare", "--check"]
    };
    machine.forget_calls();
    machine.run(check).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
    let lacks = machine
        .run(&["prepare", "--check", "--tag", "v2"])
        .expect(1)
        .stdout;
    let lacks = lacks.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        lacks.contains("thetalabsorg/edgelauncher_mainnet:v2 is not pulled"),
        "{lacks}"
    );
    machine.forget_calls();
    let asked = machine.internet.asked().len();
    machine.configure(|_| {});
    machine.run(&[]).expect(0);
    let changes = machine.changes();
    let managers = ["apt-get ", "dpkg ", "dnf ", "rpm ", "docker pull "];
    let used: Vec<_> = changes
        .iter()
        .filter(|call| managers.iter().any(|m| call.starts_with(m)))
        .collect();
    assert_eq!(used, [""; 0]);
    assert_eq!(machine.internet.asked()[asked..], [""; 0]);
    assert_eq!(machine.phase("image")["changed"], false);
    assert_eq!(
        machine.read("/var/lib/bootstrap/instance"),
        format!("{INSTANCE}\n")
    );
}

fn image_of_a_node_is_not_prepared() {
    let machine = healthy("debian-12");
    let before = machine.snapshot();
    let refused = machine.run(&["prepare"]).expect(2);
    assert_eq!(
        refused.output(),
        format!(
            "error: this machine is a node: it has {}\n  help: prepare a new instance of the base AMI, without the user-data of a \
             node. An image can be made of a node as it is, too: other instances do not act on its config\n",
            machine.path(CONFIG).display()
        )
    );
    assert_eq!(machine.changed_since(&before), [""; 0]);
    assert_eq!(machine.changes(), [""; 0]);
}

fn image_is_not_prepared_under_cloud_init() {
    let mut machine = bare("debian-12");
    machine.rule(json!({"run": "cloud-init status", "print": "status: running"}));
    let said = machine.run(&["prepare"]).expect(1).output();
    assert!(
        said.contains(
            "cloud-init is at work on this machine. run it when that has ended: cloud-init status --wait; it cannot be a part \
             of user-data"
        ),
        "{said}"
    );
    assert_eq!(machine.changes(), [""; 0]);
    for (path, text) in IDENTITY {
        assert_eq!(machine.read(path), text);
    }
}

fn image_with_what_is_no_image_is_refused() {
    let machine = bare("debian-12");
    let refused = machine.run(&["prepare", "--tag", "-v2:x", "--digest", "sha256:1"]);
    assert_eq!(refused.code, 2);
    let refused = machine
        .run(&["prepare", "--tag=:x", "--digest=sha256:1"])
        .expect(2);
    assert_eq!(
        refused.output(),
        "1. $.edge.digest: \"sha256:1\" is not an image digest\n   help: write an image digest, such as \
         \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n\
         2. $.edge.tag: \":x\" is not an image tag\n   help: write an image tag, such as \"latest\"\n"
    );
    assert_eq!(machine.calls(), [""; 0]);
}

/// The disk of a node as it is, in another instance.
fn copied(named: bool) -> Machine {
    let mut machine = Machine::new("debian-12");
    if named {
        machine.configure(|config| config["instance"] = INSTANCE.into());
    }
    machine.run(&[]).expect(0);
    machine.run(&["metrics"]).expect(0);
    machine.reboot(2);
    let mut cloud = machine.aws.state();
    let id = cloud.metadata.pointer_mut("/meta-data/instance-id");
    *id.unwrap() = OTHER.into();
    cloud.volumes[0].attached = Some((OTHER.into(), "/dev/sdf".into()));
    drop(cloud);
    machine
}

fn refusal() -> (String, String) {
    (
        format!("the config on this disk was written for instance {INSTANCE}, and this is {OTHER}"),
        format!(
            "an image of a node carries its config along: wait for this instance's own, which its user-data writes (cloud-init \
             status --wait); without user-data, write it with \"instance\": \"{OTHER}\""
        ),
    )
}

#[track_caller]
fn expect_no_act(machine: &Machine) {
    let (reason, hint) = refusal();
    let before = machine.snapshot();
    let journal = machine.journal();
    let requests = |machine: &Machine| {
        let aws = machine.aws.state();
        let calls = aws.requests.iter().map(|(kind, _)| kind.clone());
        calls.filter(|kind| kind != "imds").collect::<Vec<_>>()
    };
    let asked = requests(machine);
    for command in [&[][..], &["--phase", "container", "--force"], &["repair"]] {
        let refused = machine.run(command).expect(2);
        assert!(
            refused
                .stderr
                .ends_with(&format!("error: {reason}\n  help: {hint}\n")),
            "{command:?}: {}",
            refused.output()
        );
    }
    let tick = machine.run(&["metrics"]).expect(1);
    assert_eq!(tick.output(), format!("error: {reason}\n  help: {hint}\n"));
    assert_eq!(requests(machine), asked);
    let verify = machine.run(&["verify", "--json"]).expect(1).json();
    let os = named(&verify["checks"], "os");
    assert_eq!(
        (&os["status"], &os["detail"], &os["hint"]),
        (&json!("fail"), &json!(reason), &json!(hint))
    );
    assert_eq!(machine.changes(), [""; 0]);
    let mut changed = machine.changed_since(&before);
    changed.retain(|path| path != "run" && !path.starts_with("run/"));
    assert_eq!(changed, ["var/lib/bootstrap/metrics.json"]);
    assert_eq!(machine.journal(), journal);
    assert_eq!(machine.signals().len(), 2);
}

fn image_of_a_node_does_not_act_on_the_old_config() {
    expect_no_act(&copied(true));
}

fn image_whose_config_names_no_instance_is_recognised() {
    let mut machine = copied(false);
    expect_no_act(&machine);
    machine.configure(|config| config["instance"] = OTHER.into());
    machine.run(&[]).expect(0);
}

fn image_of_a_node_becomes_a_node_of_its_own() {
    let mut machine = copied(true);
    let before = machine.journal();
    let key = machine
        .read("/data/edgelauncher/edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab");
    // Half installed packages belong to the disk, the repairs to the instance.
    machine.write("/var/lib/bootstrap/docker-group", "");
    machine.write("/var/lib/bootstrap/repairs.json", "{\"version\":1}");
    machine.configure(|config| config["instance"] = OTHER.into());
    machine.run(&["repair"]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);

    machine.run(&[]).expect(0);
    assert_eq!(machine.journal()["earlier"], json!(null));
    for name in PHASES {
        assert_ne!(machine.phase(name)["status"], "pending", "{name}");
    }
    assert_eq!(
        machine.read("/var/lib/bootstrap/instance"),
        format!("{OTHER}\n")
    );
    assert!(machine.path("/var/lib/bootstrap/docker-group").exists());
    assert!(!machine.path("/var/lib/bootstrap/repairs.json").exists());
    let names = fs::read_dir(machine.path("/var/lib/bootstrap")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<_> = names
        .filter(|name| name.starts_with(&format!("of-{INSTANCE}-")))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let old = machine.read(&format!("/var/lib/bootstrap/{}/journal.json", aside[0]));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&old).unwrap(),
        before
    );
    for file in ["repairs.json", "wallet.json", "signalled.json"] {
        assert!(
            machine
                .path(&format!("/var/lib/bootstrap/{}/{file}", aside[0]))
                .exists(),
            "{file}"
        );
    }
    let told = &machine.signals()[2..];
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(
        (&told[1]["Status"], &told[1]["UniqueId"]),
        (&json!("SUCCESS"), &json!(OTHER))
    );
    // On the volume, which is the same here, nothing has changed.
    assert_eq!(
        machine.read(
            "/data/edgelauncher/edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab"
        ),
        key
    );

    machine.forget_calls();
    let before = machine.snapshot();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), [""; 0]);
    assert_eq!(machine.changed_since(&before), [""; 0]);
}

/// Where each file of the other instance's state lies, under its name in there: in place or set aside.
fn places_of(machine: &Machine, name: &str) -> Vec<String> {
    let folder = machine.path(STATE);
    let folders = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|folder| folder.starts_with(&format!("of-{OTHER}-")));
    let places = folders.map(|aside| format!("{aside}/{name}"));
    places
        .chain([name.to_owned()])
        .filter(|place| {
            fs::read_to_string(folder.join(place)).is_ok_and(|text| text == state_of(name))
        })
        .collect()
}

/// What this file of the other instance's state holds.
fn state_of(name: &str) -> String {
    format!("{{\"version\":1,\"of\":\"{OTHER}\",\"name\":\"{name}\"}}")
}

/// At each call of the kernel that leaves something behind, until all is set aside.
fn image_of_a_node_loses_no_state_at_any_kill() {
    let files = [
        "journal.json",
        "metrics.json",
        "previous/config.json",
        "repairs.json",
        "signalled.json",
        "wallet.json",
    ];
    let noted = format!("{OTHER}\n");
    for call in 1.. {
        let mut machine = Machine::new("debian-12");
        machine.configure(|config| config["instance"] = INSTANCE.into());
        for name in files {
            machine.write(&format!("{STATE}/{name}"), &state_of(name));
        }
        machine.write(NOTE, &noted);
        let run = machine.command(&["--phase", "preflight"]);
        let end = Some((call, Victim::Everything));
        let traced = trace::run(&run, &machine.beside("said"), end, &mut Nobody);
        assert_eq!(traced.code, None, "it ended before call {call}");
        for name in files {
            assert_eq!(places_of(&machine, name).len(), 1, "{name}, call {call}");
        }
        let is_over = fs::read_to_string(machine.path(NOTE)).ok() != Some(noted.clone());

        machine.run(&["--phase", "preflight"]).expect(0);
        for name in files {
            let places = places_of(&machine, name);
            assert!(
                places.len() == 1 && places[0] != name,
                "{name}, call {call}: {places:?}"
            );
        }
        assert_eq!(machine.read(NOTE), format!("{INSTANCE}\n"), "call {call}");
        assert_eq!(machine.journal()["run"]["result"], "ok", "call {call}");
        if is_over {
            break;
        }
    }
}
