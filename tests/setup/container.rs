//! The container: when it is started, when it is made anew, and when it must not start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Test;
use crate::machine::Machine;
use crate::shared::{expect_failure, healthy, named};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("after_a_reboot_the_container_is_started_and_not_remade", after_a_reboot_the_container_is_started_and_not_remade),
    ("another_config_remakes_the_container", another_config_remakes_the_container),
    ("a_script_s_children_are_asked_to_end", a_script_s_children_are_asked_to_end),
    ("probe_image_says_where_the_image_is_not_as_believed", probe_image_says_where_the_image_is_not_as_believed),
    ("what_was_replaced_is_kept_until_the_node_is_healthy", what_was_replaced_is_kept_until_the_node_is_healthy),
    ("whom_the_container_runs_as_is_seen_in_each_image_once", whom_the_container_runs_as_is_seen_in_each_image_once),
    ("what_the_container_writes_is_copied_within_limits", what_the_container_writes_is_copied_within_limits),
    ("what_a_container_wrote_that_did_not_stay_up_is_copied", what_a_container_wrote_that_did_not_stay_up_is_copied),
    ("the_container_never_starts_without_its_volume", the_container_never_starts_without_its_volume),
];

fn after_a_reboot_the_container_is_started_and_not_remade() {
    let machine = healthy("debian-12");
    machine.reboot(2);
    machine.run(&[]).expect(0);
    assert_eq!(
        machine.changes(),
        [
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher"
        ]
    );
    assert_eq!(machine.phase("secret")["changed"], true);
    assert_eq!(machine.signals().len(), 2);
}

fn another_config_remakes_the_container() {
    let mut machine = healthy("debian-12");
    machine.configure(|config| config["edge"] = json!({"rpc_bind": "0.0.0.0"}));
    machine.run(&[]).expect(0);
    let calls: Vec<_> = machine
        .changes()
        .into_iter()
        .map(|call| call.chars().take(60).collect::<String>())
        .collect();
    let (run, others): (Vec<_>, Vec<_>) = calls
        .iter()
        .partition(|call| call.starts_with("docker run"));
    assert_eq!(run.len(), 1);
    assert_eq!(
        others,
        [
            "docker stop -t 60 edgelauncher",
            "docker rename edgelauncher edgelauncher-previous",
            "docker rm edgelauncher-previous",
        ]
    );
}

/// As a container has it: the program is the first process of its own, and what it starts is a script.
fn a_script_s_children_are_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("password"), "pass word").unwrap();
    // It ends later than the script that has started it.
    let child = "trap 'while kill -0 $PPID; do sleep 0.1; done; echo Graceful exit: $PASSWORD; exit 0' TERM; echo up; \
                 while :; do sleep 0.1; done";
    fs::write(path("child"), child).unwrap();
    fs::write(
        path("start.sh"),
        format!("#!/bin/sh\nsh {}\nexit $?\n", path("child")),
    )
    .unwrap();
    fs::set_permissions(path("start.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = format!("PASSWORD={}", path("password"));
    let mut run = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
        ])
        .args([
            env!("CARGO_BIN_EXE_bootstrap"),
            "entrypoint",
            "--secret",
            &secret,
        ])
        .args(["--data", "/proc", "--", &path("start.sh")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "up");
    let first = fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id())).unwrap();
    let first = first.trim().parse().unwrap();
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "Graceful exit: pass word");
    assert!(said.next().is_none());
    // The script itself is no more polite than before.
    assert_eq!(run.wait().unwrap().code(), Some(128 + 15));
}

fn probe_image_says_where_the_image_is_not_as_believed() {
    let mut machine = healthy("debian-12");
    machine.node.change(|node| node.down = true);
    let told = machine.run(&["probe-image"]).expect(1).stdout;
    assert_eq!(
        told,
        "The image differs from what it is believed to be in 8 points.\n  \
         image                 sha256:1f5bc6e5c5a9a4ad1f1ae0b0d7d2d9bd8c9ff6bd7e4b5d2d0e0f0a0b0c0d0e0f\n  \
         user                  root\n\
         ! entrypoint            /edgelauncher/start.sh --log-level info\n    \
         believed            /bin/start.sh\n  \
         working directory     /\n  \
         home                  /root\n\
         ! jobs                  not there\n    \
         believed            there\n\
         ! as the config's user  can use all\n    \
         believed            cannot use /root/fedml-miniconda, /root\n  \
         as its own user       can use all\n\
         ! logs                  none\n    \
         believed            anycast.log, edgecore.log, edgeencoder.log\n\
         ! processes             not to be seen\n    \
         believed            anycast, edgecore, edgeencoder\n\
         ! RPC of the core       HTTP status 503\n    \
         believed            answers\n\
         ! RPC of the launcher   HTTP status 503\n    \
         believed            answers\n\
         ! RPC of the encoder    HTTP status 503\n    \
         believed            answers\n"
    );

    machine.node.change(|node| node.down = false);
    machine.rule(json!({"run": "docker container inspect *", "print": [{"Id": "c0ffee", "State": {"Status": "running", "Pid": 20}}]}));
    machine.write("/proc/20/stat", "20 (edgelauncher) S 1");
    for (name, number) in [("anycast", 21), ("edgecore", 22), ("edgeencoder", 23)] {
        machine.write(&format!("/data/edgelauncher/{name}.log"), "");
        machine.write(
            &format!("/proc/{number}/stat"),
            &format!("{number} ({name}) S 20"),
        );
    }
    let jobs = "/root/fedml-miniconda";
    machine.rule(json!({"run": "docker image inspect *", "print": [{"Id": "sha256:aa", "Config": {"Cmd": ["/bin/start.sh"]}}]}));
    for (user, found) in [("", "usable"), ("--user 1002:1002 ", "denied")] {
        machine.rule(json!({"run": format!("docker run --rm --network none --workdir / {user}--security-opt *"), "print": {
            "home": "/root", "uses": [
                {"path": jobs, "wants": "read", "found": found}, {"path": "/root", "wants": "write", "found": found}]}}));
    }
    let told = machine.run(&["probe-image"]).expect(0).stdout;
    assert!(
        told.starts_with("The image is what it is believed to be.\n"),
        "{told}"
    );
    assert_eq!(
        machine
            .changes()
            .iter()
            .filter(|call| !call.starts_with("docker run --rm "))
            .count(),
        0,
        "only looks"
    );
}

fn what_was_replaced_is_kept_until_the_node_is_healthy() {
    let mut machine = healthy("debian-12");
    machine.pace = 400;
    let changes = |machine: &Machine| {
        let calls = machine.changes().into_iter();
        let short = calls.map(|call| call.split(" --").next().unwrap().to_owned());
        let changes: Vec<String> = short.collect();
        machine.forget_calls();
        changes
    };
    machine.node.change(|node| node.down = true);
    machine.configure(|config| {
        config["edge"] = json!({"rpc_bind": "0.0.0.0"});
        config["deadline_seconds"] = 43_200.into();
    });
    machine.run(&[]).expect(1);
    assert_eq!(
        changes(&machine),
        [
            "docker stop -t 60 edgelauncher",
            "docker rename edgelauncher edgelauncher-previous",
            "docker run",
        ]
    );

    // What never was healthy gives way; what was stays.
    machine.configure(|config| config["edge"] = json!({"rpc_bind": "127.0.0.1"}));
    machine.run(&["--phase", "container"]).expect(0);
    assert_eq!(
        changes(&machine),
        [
            "docker stop -t 60 edgelauncher",
            "docker rm edgelauncher",
            "docker run",
        ]
    );
    machine.run(&["--phase", "container"]).expect(0);
    assert_eq!(changes(&machine), [""; 0]);

    machine.node.change(|node| node.down = false);
    machine.run(&[]).expect(0);
    assert_eq!(changes(&machine), ["docker rm edgelauncher-previous"]);
    machine.run(&[]).expect(0);
    assert_eq!(changes(&machine), [""; 0]);
}

fn whom_the_container_runs_as_is_seen_in_each_image_once() {
    let mut machine = healthy("debian-12");
    let said = |machine: &Machine| {
        let report = machine.run(&["verify", "--json"]).json();
        let spec = named(&report["checks"], "spec");
        spec["detail"].as_str().unwrap().to_owned()
    };
    let image = "edgelauncher runs thetalabsorg/edgelauncher_mainnet:latest";
    assert_eq!(
        said(&machine),
        format!("{image} as bcuser (uid 1002 can use all that the image needs)")
    );

    // The tag names another image by now, which keeps its jobs where only root can go.
    machine.keep("root", "denied");
    machine.rule(json!({"run": "docker image inspect *", "if": ["image {1}"], "print": [{
        "Id": "sha256:another", "RepoDigests": ["edge@sha256:d1635"], "Config": {"Cmd": ["/bin/start.sh"]}}]}));
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    let runs: Vec<&String> = calls
        .iter()
        .filter(|call| call.starts_with("docker run"))
        .collect();
    assert_eq!(runs.len(), 2, "{calls:#?}");
    assert!(runs[0].contains(" --user 1002:1002 ") && runs[0].contains(" sha256:another look "));
    assert!(!runs[1].contains("--user") && runs[1].contains(" --cap-add DAC_OVERRIDE "));
    let why = "as the image's own root (uid 1002 cannot use the image's /root)";
    assert_eq!(said(&machine), format!("{image} {why}"));
    let record: Value =
        serde_json::from_str(&machine.read("/var/lib/bootstrap/run-as.json")).unwrap();
    assert_eq!(record["digest"], "sha256:d1635");
    assert_eq!(record["seen"]["uses"][1]["found"], "denied");

    // A record that is lost is made again, and the container stays.
    fs::remove_file(machine.path("/var/lib/bootstrap/run-as.json")).unwrap();
    machine.forget_calls();
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    assert!(
        matches!(calls.as_slice(), [look] if look.starts_with("docker run --rm ")),
        "{calls:#?}"
    );

    machine.configure(|config| config["edge"] = json!({"run_as": "user"}));
    machine.run(&[]).expect(0);
    assert_eq!(
        said(&machine),
        format!("{image} as bcuser (edge.run_as is user)")
    );
}

fn the_container_never_starts_without_its_volume() {
    let mut machine = healthy("debian-12");
    machine.keep("status edgelauncher", "exited");
    machine.forget("mounted");
    let mounts = machine.read("/proc/self/mountinfo");
    let without: Vec<_> = mounts
        .lines()
        .filter(|line| !line.contains(" /data "))
        .collect();
    machine.write("/proc/self/mountinfo", &(without.join("\n") + "\n"));
    fs::remove_dir_all(machine.path("/data/edgelauncher")).unwrap();
    for more in [
        &["--phase", "container"][..],
        &["--phase", "container", "--force"],
    ] {
        machine.run(more).expect(1);
        expect_failure(
            &machine,
            "container",
            "needs what does not hold: volume (vol-0123456789abcdef0 (/dev/nvme1n1) holds an ext4 filesystem (uuid \
             36974908-8f88-8748-a27b-9de996e5d4a5) and is not mounted at /data)",
            "run `bootstrap --phase volume --phase container`",
        );
    }
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert!(!machine.path("/data/edgelauncher").exists());

    // A mount that says it worked, and did not.
    machine.rule(json!({"run": "mount *"}));
    machine.run(&[]).expect(1);
    expect_failure(
        &machine,
        "volume",
        "/dev/nvme1n1 was mounted at /data and vanished at once",
        "see in `journalctl -b` who unmounted /data, then run `bootstrap` again",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.starts_with("docker"))
    );
}

const COPY: &str = "/var/log/bootstrap-edge.log";

/// CloudWatch bills what the agent ships of it, by the byte and the line.
fn what_the_container_writes_is_copied_within_limits() {
    let machine = healthy("debian-12");
    let line = |text: &str| {
        format!(
            "{}\n",
            json!({"log": format!("{text}\n"), "stream": "stdout"})
        )
    };
    let write = |text: &str| {
        machine.write("/var/lib/docker/containers/c0ffee/c0ffee-json.log", text);
        machine.run(&["metrics"]).expect(0);
        machine.read(COPY)
    };
    let first = line("Wallet address: \u{1b}[2J0x2e83");
    let copied = write(&first);
    assert_eq!(copied, "container: Wallet address: \\u{1b}[2J0x2e83\n");
    // Short lines, which are billed at more than their length.
    let shipped = write(&(first + &line("x").repeat(100_000)));
    let new = shipped.strip_prefix(&copied).unwrap();
    assert!(new.starts_with("container: ("), "{}", &new[..99]);
    let billed: usize = new.lines().map(|line| line.len() + 26).sum();
    assert!((60_000..70_000).contains(&billed), "{billed}");
}

fn what_a_container_wrote_that_did_not_stay_up_is_copied() {
    let mut machine = Machine::new("debian-12");
    machine.node.change(|node| node.down = true);
    machine.keep("log", "panic: runtime error\ngoroutine 1 [running]");
    machine.rule(
        json!({"run": "docker container inspect edgelauncher", "if": ["container edgelauncher"],
        "also": true, "keep": {"status edgelauncher": "exited"}}),
    );
    machine.run(&[]).expect(1);
    assert_eq!(
        machine.read(COPY),
        "container: panic: runtime error\ncontainer: goroutine 1 [running]\n"
    );
    // The next one runs.
    machine.unrule();
    machine.node.change(|node| node.down = false);
    machine.run(&[]).expect(0);
    machine.run(&["metrics"]).expect(0);
    assert_eq!(machine.read(COPY).lines().count(), 2);
}
