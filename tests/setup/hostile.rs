//! What a hostile guest can say: the names of its files, its RPC's answers and its peers are data. So is what other
//! programs leave in files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::mpsc::channel;

use rustix::process::Signal;

use serde_json::{Value, json};

use crate::Test;
use crate::machine::{Gate, Machine};
use crate::shared::{expect_failure, healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_remedy_that_is_pasted_runs_nothing_that_the_guest_named", pasted),
    ("what_the_node_says_hides_nothing_on_a_terminal", said),
    ("ever_new_peers_are_not_billed_without_end", peers),
    ("a_pipe_in_place_of_the_key_holds_nobody_up", pipe),
    ("a_run_that_was_stopped_while_it_formats_keeps_others_out", stopped),
    ("what_others_write_may_hold_any_bytes", any_bytes),
];

const KEYS: &str = "/data/edgelauncher/edgecore/key/encrypted";

/// Every command in a hint of `verify` about a file of the guest, given to a shell.
fn pasted() {
    let machine = healthy("debian-12");
    let folder = machine.path(KEYS);
    let key = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let named = folder.join("k;echo PWNED;touch $(echo pwned) 'x");
    fs::rename(key.path(), &named).unwrap();
    fs::set_permissions(&named, fs::Permissions::from_mode(0o644)).unwrap();
    let report = machine.run(&["verify", "--json"]).json();
    let checks = report["checks"].as_array().unwrap();
    let hints = checks.iter().filter_map(|check| check["hint"].as_str());
    let commands: Vec<&str> = hints
        .filter_map(|hint| hint.split_once("chmod ").map(|(_, command)| command))
        .collect();
    assert!(!commands.is_empty(), "{report:#}");
    for command in commands {
        let here = format!("{}/data/", machine.root().display());
        let command = format!("chmod {command}").replace("/data/", &here);
        let ran = Command::new("bash")
            .args(["--norc", "-c", &command])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{command}: {ran:?}");
        assert!(ran.stdout.is_empty(), "{command}: {ran:?}");
    }
    let mode = fs::metadata(&named).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

fn said() {
    let machine = healthy("debian-12");
    let answer = json!({"result": {
        "peers": ["a"], "current_height": 5, "chain_id": "main\u{61c}\u{2028}healthy: all\u{9b}2J",
        "version": "\u{200b}1\u{2029}2\u{feff}", "address": crate::machine::ADDRESS
    }});
    let answer = answer.to_string();
    machine
        .node
        .change(|node| node.rubbish = Some(answer.clone()));
    for arguments in [&["verify", "-v"][..], &["verify", "--json"]] {
        let output = machine.run(arguments).output();
        assert!(output.contains("healthy: all"), "{output}");
        let hidden = |c: &char| {
            (c.is_control() && *c != '\n')
                || matches!(
                    c,
                    '\u{61c}' | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{feff}'
                )
        };
        assert_eq!(output.chars().find(hidden), None, "{output:?}");
    }
}

fn peers() {
    let mut machine = healthy("debian-12");
    machine.configure(|config| config["metrics"] = json!({"per_peer": true}));
    for tick in 0..3 {
        let peers: Vec<String> = (0..1000).map(|n| format!("{tick}-{n}")).collect();
        let answer = json!({"result": {"peers": peers, "current_height": 5, "address": crate::machine::ADDRESS}});
        machine
            .node
            .change(|node| node.rubbish = Some(answer.to_string()));
        machine.run(&["metrics"]).expect(0);
    }
    let memory: Value =
        serde_json::from_str(&machine.read("/var/lib/bootstrap/metrics.json")).unwrap();
    assert_eq!(memory["peers_named"].as_array().unwrap().len(), 200);
    // None of the last tick's: the day's number was used up by the first.
    let shown = machine.run(&["metrics", "--dry-run"]).json();
    let shown = shown["metrics"].as_array().unwrap().iter();
    assert_eq!(
        shown.filter(|metric| metric["name"] == "edge_peer").count(),
        0
    );
}

/// Whoever opens it waits for a writer, who never comes.
fn pipe() {
    let machine = healthy("debian-12");
    let folder = machine.path(KEYS);
    let key = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let name = key.file_name().into_string().unwrap();
    fs::remove_file(key.path()).unwrap();
    let Gate(pipe) = Gate::at(&key.path());
    chown(&pipe, Some(1002), Some(1002)).unwrap();
    // Comes through as soon as somebody opens it to read.
    let (came, comes) = channel();
    let path = pipe.clone();
    let writer = std::thread::spawn(move || {
        let _open = fs::File::options().write(true).open(path).unwrap();
        came.send(()).unwrap();
    });
    let report = machine.run(&["verify", "--json"]).json();
    let check = named(&report["checks"], "key");
    let said = format!("{KEYS}/{name} is no plain file, as a key is");
    assert_eq!(
        (&check["status"], &check["detail"]),
        (&json!("fail"), &json!(said)),
        "{report:#}"
    );
    machine.run(&["--phase", "secret", "--force"]).expect(1);
    let hint = format!(
        "see what put it there (`ls -ld {KEYS}/{name}`), move it away, then run `bootstrap` again"
    );
    expect_failure(&machine, "secret", &said, &hint);
    assert!(comes.try_recv().is_err(), "it was opened");
    drop(fs::File::open(&pipe).unwrap());
    writer.join().unwrap();
}

fn stopped() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("mkfs.ext4 *");
    let first = machine.start(&[]);
    let waiting = gate.arrived();
    first.signal(Signal::STOP);
    let lock = machine.path("/run/bootstrap/lock");
    let said = format!(
        "error: process {} holds the lock {}\n",
        first.id(),
        lock.display()
    );
    for arguments in [&[][..], &["--phase", "volume", "--force"]] {
        let second = machine.run(arguments).expect(3);
        assert!(second.stderr.starts_with(&said), "{}", second.stderr);
    }
    first.signal(Signal::CONT);
    drop(waiting);
    machine.ungate();
    first.wait().expect(0);
    let calls = machine.calls();
    let formatted = calls.iter().filter(|call| call.starts_with("mkfs"));
    assert_eq!(formatted.count(), 1, "{calls:#?}");
}

/// In the encoding of whoever wrote it, or in none.
fn any_bytes() {
    let machine = Machine::new("debian-12");
    let append = |path: &str, bytes: &[u8]| {
        let path = machine.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut text = fs::read(&path).unwrap_or_default();
        text.extend_from_slice(bytes);
        fs::write(path, text).unwrap();
    };
    append(
        "/etc/passwd",
        b"jose:x:2001:2001:Jos\xe9:/home/jose:/bin/sh\n\xff\xfe\n",
    );
    append("/etc/group", b"g\xe9n:x:2001:jos\xe9\n");
    append("/etc/os-release", b"VENDOR_NAME=\"\xe9quipe\"\n");
    append("/etc/fstab", b"# monte les donn\xe9es\n");
    append(
        "/proc/self/mountinfo",
        b"90 25 0:90 / /mnt/\xe9 rw - tmpfs tmpfs rw\n",
    );
    append(
        "/proc/swaps",
        b"Filename Type Size Used Priority\n/swap\xe9 file 9 0 -2\n",
    );
    append("/sys/class/block/nvme9n1/device/serial", b"S\xff\xfe\n");
    append("/sys/class/block/nvme9n1/device/model", b"\xfe\n");
    append("/sys/bus/pci/devices/0000:00:1f.0/vendor", b"\xff\n");
    machine.run(&[]).expect(0);
    let log = machine.read("/var/log/bootstrap.log");
    assert!(log.contains("swap is on"), "{log}");
    machine.run(&["verify"]).expect(0);
}
