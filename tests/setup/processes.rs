//! The node's own processes, for real: the stand-in's, killed one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use standins::edge::{Behaviour, Node};
use standins::edge_node;

use crate::Test;
use crate::machine::{Machine, PASSWORD, Started, poll};
use crate::shared::{healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_killed_process_is_named_and_published", a_killed_process_is_named_and_published),
];

/// The image's program on this machine, instead of the RPC alone that others have; its processes by name.
fn start_node(machine: &mut Machine) -> (Started, BTreeMap<String, u32>) {
    let ports: Vec<String> = machine.ports().iter().map(u16::to_string).collect();
    machine.node = Node::of([127, 0, 0, 1].into(), &[], Behaviour::default()).unwrap();
    let data = machine.path("/data/edgelauncher");
    // It makes one that it can open.
    fs::remove_dir_all(data.join("edgecore")).unwrap();
    let launcher = Command::new(std::env::current_exe().unwrap())
        .arg0(edge_node::NAME)
        .env("EDGELAUNCHER_CONFIG_PATH", &data)
        .env("PASSWORD", PASSWORD)
        .env("EDGE_STANDIN_BIND", "127.0.0.1")
        .env("EDGE_STANDIN_PORTS", ports.join(","))
        .env("EDGE_STANDIN_WARMUP", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = launcher.id();
    let launcher = Started::from(launcher);
    let started = poll("the node's processes do not start", || {
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
        let numbers = children
            .split_whitespace()
            .map(|number| number.parse().unwrap());
        let name = |number: u32| fs::read_to_string(format!("/proc/{number}/comm")).ok();
        let named: BTreeMap<String, u32> = numbers
            .filter_map(|number| Some((name(number)?.trim().to_owned(), number)))
            .collect();
        let all = ["anycast", "edgecore", "edgeencoder"];
        let is_listening = |name: &str| data.join(format!("{name}.log")).exists();
        all.iter()
            .all(|name| named.contains_key(*name) && is_listening(name))
            .then_some(named)
    });
    for number in started.values().chain([&first]) {
        symlink(
            format!("/proc/{number}"),
            machine.path(&format!("/proc/{number}")),
        )
        .unwrap();
    }
    let fact = |name: &str| machine.fact(name).unwrap();
    let inspected = json!([{
        "Id": "c0ffee", "Name": "/edgelauncher", "RestartCount": 0,
        "State": {"Status": "running", "StartedAt": fact("started edgelauncher"), "Pid": first},
        "Config": {"Labels": {"io.theta.bootstrap.spec": fact("spec edgelauncher")}}
    }]);
    machine.rule(json!({"run": "docker container inspect edgelauncher", "print": inspected}));
    (launcher, started)
}

fn a_killed_process_is_named_and_published() {
    let mut machine = healthy("debian-12");
    let (launcher, started) = start_node(&mut machine);
    let check = |name: &str| {
        let report = machine.run(&["verify", "--only", "node", "--json"]).json();
        let found = named(&report["checks"], name);
        format!(
            "{}: {}",
            found["status"].as_str().unwrap(),
            found["detail"].as_str().unwrap()
        )
    };
    // By a tick.
    let published = |name: &str| {
        let sent = machine.aws.state().metrics().len();
        machine.run(&["metrics"]).expect(0);
        let calls = machine.aws.state().metrics();
        assert_eq!(calls.len(), sent + 1);
        let metrics = calls.last().unwrap()["MetricData"]
            .as_array()
            .unwrap()
            .clone();
        let found = metrics.iter().find(|metric| metric["MetricName"] == name);
        found.and_then(|metric| metric["Value"].as_f64())
    };
    let kill = |name: &str| {
        let number = rustix::process::Pid::from_raw(started[name].cast_signed()).unwrap();
        rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
        poll("it lives on", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", started[name]));
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
    };

    let unseen = "skip: it was not seen to run since the container's start";
    poll("the encoder does not answer", || {
        (published("edge_encoder_up") == Some(1.0)).then_some(())
    });
    assert_eq!(published("edge_anycast_up"), Some(1.0));
    assert_eq!(published("edge_up"), Some(1.0));
    assert_eq!(check("anycast"), "pass: runs");

    kill("anycast");
    let said = check("anycast");
    assert!(
        said.starts_with("warn: it has ended; anycast.log says: time="),
        "{said}"
    );
    assert!(
        said.ends_with("msg=\"anycast started.\" prefix=anycast"),
        "{said}"
    );
    assert_eq!(published("edge_anycast_up"), Some(0.0));
    assert_eq!(published("edge_up"), Some(1.0));

    kill("edgeencoder");
    let said = check("encoder");
    assert!(
        said.contains("the connection is refused; edgeencoder.log says: "),
        "{said}"
    );
    assert_eq!(published("edge_encoder_up"), Some(0.0));
    assert_eq!(published("edge_healthy"), Some(0.0));

    kill("edgecore");
    let said = check("rpc");
    assert!(
        said.contains("the connection is refused; edgecore.log says: "),
        "{said}"
    );
    assert_eq!(published("edge_up"), Some(0.0));
    assert_eq!(published("edge_launcher_up"), Some(1.0));

    // What they wrote is on its way to CloudWatch.
    let shipped = machine.read("/var/log/bootstrap-edge.log");
    for line in [
        "anycast.log: time=",
        "edgecore.log: time=",
        "edgeencoder.log: time=",
    ] {
        assert!(shipped.contains(line), "{shipped}");
    }

    // Another run of the container has another past.
    machine.rule(json!({"run": "docker container inspect edgelauncher", "print": [inspected_later(&machine, launcher.id())]}));
    let report = machine.run(&["verify", "--only", "node", "--json"]).json();
    let anycast = named(&report["checks"], "anycast");
    assert_eq!(
        format!("skip: {}", anycast["detail"].as_str().unwrap()),
        unseen
    );
}

/// The container, had it been started later.
fn inspected_later(machine: &Machine, first: u32) -> Value {
    json!({
        "Id": "c0ffee", "Name": "/edgelauncher", "RestartCount": 1,
        "State": {"Status": "running", "StartedAt": "2100-01-01T00:00:00Z", "Pid": first},
        "Config": {"Labels": {"io.theta.bootstrap.spec": machine.fact("spec edgelauncher").unwrap()}}
    })
}
