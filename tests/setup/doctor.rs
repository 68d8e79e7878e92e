//! `doctor`: all that a bug report needs, and never a secret.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Machine, PASSWORD};
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_bug_report_has_all_but_the_secrets", a_bug_report_has_all_but_the_secrets),
    ("a_bug_report_can_be_had_where_nothing_is_well", a_bug_report_can_be_had_where_nothing_is_well),
];

const PARTS: [&str; 9] = [
    "bootstrap.log",
    "cloud-init-output.log",
    "config.json",
    "journal.json",
    "plan.json",
    "units.log",
    "units.txt",
    "verify.json",
    "versions.txt",
];

/// The files of an archive, by their names without the folder.
fn unpacked(archive: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(archive))
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let name = entry
            .path()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

fn put_units(machine: &mut Machine) {
    let leak = format!("dockerd: -e PASSWORD={PASSWORD}");
    machine.rule(json!({"run": "systemctl show --property=Id,*", "print": "Id=docker.service"}));
    machine.rule(json!({"run": "journalctl --no-pager *", "print": leak}));
}

fn a_bug_report_has_all_but_the_secrets() {
    let mut machine = healthy("debian-12");
    put_units(&mut machine);
    let handle = machine.aws.wait_handle();
    let escaped = Value::from(PASSWORD).to_string();
    // What must not stand in any of these, but might.
    let log = machine.read("/var/log/bootstrap.log");
    let log = format!("{log}{{\"message\": {escaped}}}\n{PASSWORD}\n{handle}\n");
    machine.write("/var/log/bootstrap.log", &log);
    machine.write(
        "/var/log/cloud-init-output.log",
        &format!("old\n{}curl {handle} {PASSWORD}\n", "x\n".repeat(3_000)),
    );
    let config = machine.read("/etc/bootstrap/config.json");
    machine.write(
        "/etc/bootstrap/config.json",
        &config.replace(&handle, &handle.replace(':', "\\u003a")),
    );
    let keys = machine.path("/data/edgelauncher/edgecore/key/encrypted");
    let key = fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let held = fs::read_to_string(&key).unwrap();
    assert!(!held.is_empty());

    machine.forget_calls();
    let before = machine.snapshot();
    let said = machine.run(&["doctor"]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    let made = machine.changed_since(&before);
    let archives: Vec<_> = made
        .iter()
        .filter(|path| path.contains("doctor-"))
        .collect();
    let [archive] = archives.as_slice() else {
        panic!("{made:?}");
    };
    let file = machine.path(archive);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        said.stdout
            .starts_with(&format!("/{} (", archive.trim_start_matches('/'))),
        "{}",
        said.stdout
    );

    let files = unpacked(&fs::read(&file).unwrap());
    assert_eq!(files.keys().collect::<Vec<_>>(), PARTS);
    for (name, text) in &files {
        assert!(
            said.stdout.contains(&format!("\n  {name} ")),
            "{name}: {}",
            said.stdout
        );
        for secret in ["canary-7Qm2", handle.as_str(), held.as_str(), "\u{1b}"] {
            assert!(!text.contains(secret), "{name} has {secret}: {text}");
        }
    }
    let json = |name: &str| serde_json::from_str::<Value>(&files[name]).unwrap();
    assert_eq!(json("config.json")["stack"]["wait_handle"], "[redacted]");
    assert_eq!(json("journal.json")["run"]["result"], "ok");
    assert_eq!(json("plan.json")["changes"], 0);
    assert!(json("verify.json")["checks"].is_array());
    assert!(
        files["versions.txt"].contains("operating system: Debian 12\n"),
        "{}",
        files["versions.txt"]
    );
    assert!(files["units.txt"].contains("Id=docker.service"));
    assert_eq!(files["units.log"], "dockerd: -e PASSWORD=[redacted]\n");
    assert!(
        files["bootstrap.log"].ends_with("{\"message\": \"[redacted]\"}\n[redacted]\n[redacted]"),
        "{}",
        files["bootstrap.log"]
    );
    assert!(!files["cloud-init-output.log"].contains("old"));

    let piped = machine
        .command(&["doctor", "--output", "-"])
        .output()
        .unwrap();
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(unpacked(&piped.stdout).len(), PARTS.len());

    // What is there already is not written over.
    let taken = machine.path("/tmp/taken");
    fs::write(&taken, "mine").unwrap();
    let refused = machine
        .run(&["doctor", "--output", taken.to_str().unwrap()])
        .expect(1);
    assert_eq!(
        refused.stderr,
        format!(
            "error: cannot write {}: File exists (os error 17)\n  help: name a new file in a directory that you can write to: \
             --output FILE\n",
            taken.display()
        )
    );
    assert_eq!(fs::read_to_string(taken).unwrap(), "mine");
}

fn a_bug_report_can_be_had_where_nothing_is_well() {
    let mut machine = Machine::new("debian-12");
    put_units(&mut machine);
    machine.configure(|config| config["gpu"] = "no".into());
    let piped = machine
        .command(&["doctor", "--output", "-"])
        .output()
        .unwrap();
    assert!(piped.status.success(), "{piped:?}");
    let files = unpacked(&piped.stdout);
    assert_eq!(files.keys().collect::<Vec<_>>(), PARTS);
    assert!(
        files["plan.json"].contains("$.gpu: is a string, not a boolean"),
        "{}",
        files["plan.json"]
    );
    assert_eq!(
        files["journal.json"],
        "there is no /var/lib/bootstrap/journal.json"
    );
    assert!(!files["config.json"].contains(&machine.aws.wait_handle()));
}
