//! The stand-in for the edge image keeps the image's contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use standins::http::{Request, forward};

struct Node {
    child: Option<Child>,
    ports: Vec<u16>,
}

impl Node {
    fn start(data: &Path, password: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [free(), free(), free()];
        let ports: Vec<u16> = listeners
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        drop(listeners);
        let text: Vec<String> = ports.iter().map(u16::to_string).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_edge-node"))
            .env("EDGELAUNCHER_CONFIG_PATH", data)
            .env("PASSWORD", password)
            .env("EDGE_STANDIN_BIND", "127.0.0.1")
            .env("EDGE_STANDIN_PORTS", text.join(","))
            .env("EDGE_STANDIN_WARMUP", "0")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child: Some(child),
            ports,
        }
    }

    /// Tries until the node answers; the test harness ends a node that never does.
    fn call(&self, port: usize, method: &str) -> Value {
        let to = SocketAddr::from(([127, 0, 0, 1], *self.ports.get(port).unwrap()));
        let request = Request {
            method: "POST".into(),
            target: "/rpc".into(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: json!({"method": method, "params": [{"type": "fedml"}], "id": 1})
                .to_string()
                .into(),
        };
        loop {
            if let Ok(answer) = forward(to, &request) {
                return serde_json::from_slice(&answer.body).unwrap();
            }
        }
    }

    fn terminate(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn end(mut self) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.child.take().unwrap().wait_with_output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn keys(data: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(data.join("edgecore/key/encrypted")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// Runs a node until it answers, then stops it as Docker would.
fn first_start(data: &Path, password: &str) -> Value {
    let node = Node::start(data, password);
    let status = node.call(1, "edgecore.GetStatus");
    node.terminate();
    let (code, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("msg=\"Setup wallet...\" prefix=launcher"),
        "{log}"
    );
    assert!(log.contains("Graceful exit."), "{log}");
    status
}

#[test]
fn the_first_start_makes_the_key_and_the_next_one_keeps_it() {
    let data = tempfile::tempdir().unwrap();
    let first = first_start(data.path(), "right");
    let [key] = keys(data.path()).try_into().unwrap();
    let name = key.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        first.pointer("/result/address").unwrap(),
        &json!(format!("0x{name}"))
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(key.parent().unwrap()), mode(&key)), (0o700, 0o600));

    let second = first_start(data.path(), "right");
    assert_eq!(
        first.pointer("/result/address"),
        second.pointer("/result/address")
    );
}

#[test]
fn a_wrong_password_ends_it_with_the_real_message() {
    let data = tempfile::tempdir().unwrap();
    first_start(data.path(), "right");
    let (code, log) = Node::start(data.path(), "wrong").end();
    assert_eq!(code, Some(1));
    assert!(
        log.contains("could not decrypt key with given password"),
        "{log}"
    );
}

#[test]
fn a_second_key_is_fatal() {
    let data = tempfile::tempdir().unwrap();
    first_start(data.path(), "right");
    let [key] = keys(data.path()).try_into().unwrap();
    fs::copy(&key, key.with_extension("bak")).unwrap();
    let (code, log) = Node::start(data.path(), "right").end();
    assert_eq!(code, Some(1));
    assert!(log.contains("Multiple encrypted keys detected"), "{log}");
}

#[test]
fn an_empty_password_makes_it_hang_without_a_key() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path(), "");
    let mut prompt = [0; 50];
    let out = node.child.as_mut().unwrap().stdout.as_mut().unwrap();
    std::io::Read::read_exact(out, &mut prompt).unwrap();
    assert_eq!(
        &prompt,
        b"Please enter the password to launch the Theta node"
    );
    assert_eq!(node.child.as_mut().unwrap().try_wait().unwrap(), None);
    node.terminate();
    assert_eq!(node.end().0, Some(1));
    assert!(!data.path().join("edgecore").exists());
}

/// The processes whose parent this is, by their names.
fn children(of: u32) -> HashMap<String, u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm"));
    let named = pids.filter_map(|pid| Some((name(pid).ok()?.trim().to_owned(), pid)));
    named.collect()
}

#[test]
fn a_killed_process_takes_nothing_with_it_but_its_port() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path(), "right");
    node.call(1, "edgecore.GetStatus");
    node.call(2, "edgeencoder.GetStatus");
    let log = |name: &str| fs::read_to_string(data.path().join(format!("{name}.log")));
    while !log("anycast").is_ok_and(|log| log.contains("anycast started.")) {}
    let launcher = node.child.as_ref().unwrap().id();
    let started = children(launcher);
    for (name, port) in [
        ("anycast", None),
        ("edgecore", Some(1)),
        ("edgeencoder", Some(2)),
    ] {
        let pid = started.get(name).unwrap().to_string();
        assert!(
            Command::new("kill")
                .args(["-KILL", &pid])
                .status()
                .unwrap()
                .success()
        );
        while children(launcher).contains_key(name) {}
        if let Some(port) = port {
            let to = SocketAddr::from(([127, 0, 0, 1], *node.ports.get(port).unwrap()));
            assert!(TcpStream::connect(to).is_err(), "{name}");
        }
        assert!(log(name).unwrap().contains(&format!("{name} started.")));
    }
    node.call(0, "edgelauncher.GetPastJobs");
    let mut said = String::new();
    let errors = node.child.as_mut().unwrap().stderr.as_mut().unwrap();
    let mut lines = BufReader::new(errors).lines();
    while said.matches("Failed to execute command").count() < 3 {
        said += &lines.next().unwrap().unwrap();
    }
    assert!(said.contains("Failed to execute command: edgecore, err: signal: 9 (SIGKILL)"));
    assert!(
        log("edgecore")
            .unwrap()
            .contains("[uptime miner] Broadcasted vote")
    );
}

#[test]
fn all_three_ports_answer() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path(), "right");
    let jobs = node.call(0, "edgelauncher.GetPastJobs");
    assert_eq!(jobs.pointer("/result/status").unwrap(), "success");
    let encoder = node.call(2, "edgeencoder.GetStatus");
    assert_eq!(encoder.pointer("/result/current_time").unwrap(), &json!({}));
}
