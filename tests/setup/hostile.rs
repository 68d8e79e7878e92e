//! What a hostile guest can say: the names of its files, its RPC's answers and its peers are data.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::Test;
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_remedy_that_is_pasted_runs_nothing_that_the_guest_named", pasted),
    ("what_the_node_says_hides_nothing_on_a_terminal", said),
    ("ever_new_peers_are_not_billed_without_end", peers),
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
