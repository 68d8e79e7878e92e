//! The local instance, end to end: real cloud-init, systemd, mkfs, mount, Docker and cron run the real user-data.
//!
//! `scripts/test` runs it; so does `cargo test --test instance` as root. The tests run in order and share one
//! instance, since a boot takes a minute.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod launch;

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use launch::{
    Instance, Launch, disk, keepsake, leftovers, release_binary, sha256_of, stop_everything,
};

/// The wallet password of the test: what must be found nowhere.
const PASSWORD: &str = "canary-7Qm2 wallet'pass\"word$HOME";

/// What the tests hand to each other.
struct Shared {
    instance: Option<Instance>,
    address: String,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared {
    instance: None,
    address: String::new(),
});

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root (systemd-nspawn, loop devices, a network namespace)");
    }
    let tests: [(&str, fn()); 9] = [
        (
            "a_bare_instance_becomes_a_healthy_node",
            a_bare_instance_becomes_a_healthy_node,
        ),
        (
            "the_release_binary_is_small_and_static",
            the_release_binary_is_small_and_static,
        ),
        ("a_second_run_changes_nothing", a_second_run_changes_nothing),
        (
            "the_password_is_found_nowhere",
            the_password_is_found_nowhere,
        ),
        (
            "a_reboot_ends_healthy_with_the_same_address",
            a_reboot_ends_healthy_with_the_same_address,
        ),
        (
            "a_second_instance_on_the_volume_has_the_same_address",
            a_second_instance_on_the_volume_has_the_same_address,
        ),
        ("a_stop_leaves_nothing_behind", a_stop_leaves_nothing_behind),
        (
            "foreign_contents_are_refused_and_unchanged",
            foreign_contents_are_refused_and_unchanged,
        ),
        (
            "killed_in_each_phase_the_next_run_heals",
            killed_in_each_phase_the_next_run_heals,
        ),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                std::panic::catch_unwind(test).map_err(|panic| {
                    let text = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or_else(|| panic.downcast_ref::<&str>().copied())
                        .unwrap_or("panicked");
                    Failed::from(text)
                })
            })
            .with_ignored_flag(!root)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if root {
        stop_everything();
    }
    conclusion.exit_code()
}

fn the_release_binary_is_small_and_static() {
    const ET_DYN: u16 = 3;
    const PT_DYNAMIC: u32 = 2;
    const PT_INTERP: u32 = 3;
    let bytes = std::fs::read(release_binary()).unwrap();
    assert!(bytes.len() <= 9_000_000, "{} bytes", bytes.len());
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(&bytes[..4], b"\x7fELF");
    assert_eq!(half(16), ET_DYN, "position independent");
    let (table, size, count) = (long(32), half(54), half(56));
    let kinds: Vec<u32> = (0..count)
        .map(|row| word(usize::try_from(table).unwrap() + usize::from(size * row)))
        .collect();
    assert!(!kinds.contains(&PT_INTERP), "asks for a dynamic loader");
    assert!(kinds.contains(&PT_DYNAMIC), "static-pie relocates itself");
}

fn a_bare_instance_becomes_a_healthy_node() {
    let (instance, output) = Launch::new("first").password(PASSWORD).run();

    let status = instance.json("bootstrap status --json");
    assert_eq!(status["run"]["result"], "ok");
    let phases = status["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 12);
    for phase in phases {
        let state = phase["status"].as_str().unwrap();
        assert!(matches!(state, "ok" | "not-applicable"), "{phase}");
    }
    assert_eq!(
        instance.json("bootstrap verify --json")["verdict"],
        "healthy"
    );
    assert!(
        output.lines().any(|line| line.starts_with("healthy")),
        "{output}"
    );

    let signals = instance.signals();
    let by = |by: &str| signals.iter().find(|signal| signal["by"] == by);
    let handle = by("wait-handle").expect("a signal at the wait handle");
    let data: Value = serde_json::from_str(handle["Data"].as_str().unwrap()).unwrap();
    let address = instance.address();
    assert_eq!(data["address"], address.as_str());
    by("SignalResource").expect("a SignalResource call");
    assert!(
        signals.iter().all(|signal| signal["Status"] == "SUCCESS"),
        "{signals:?}"
    );

    let mut shared = shared();
    shared.address = address;
    shared.instance = Some(instance);
}

fn a_second_run_changes_nothing() {
    let shared = shared();
    let instance = shared.instance.as_ref().expect("the first test's instance");
    let container =
        instance.run("docker inspect --format '{{.Id}} {{.State.StartedAt}}' edgelauncher");
    instance.run("touch /run/before-the-rerun");
    let rerun = instance.try_run("bootstrap");
    assert_eq!(rerun.code, 0, "{}", rerun.output);

    for phase in instance.json("bootstrap status --json")["phases"]
        .as_array()
        .unwrap()
    {
        assert_eq!(phase["changed"], false, "{phase}");
        assert_eq!(phase["attempts"], 0, "{phase}");
    }
    assert_eq!(
        instance.run("docker inspect --format '{{.Id}} {{.State.StartedAt}}' edgelauncher"),
        container
    );
    // What may change: the journal and the log, and what runs all the time (the tick's state, the node's own data,
    // the container's log, systemd's and cloud-init's own records).
    let changed = instance.run(
        "find / /data -xdev -newer /run/before-the-rerun ! -type d ! -path '/var/log/*' ! -path '/data/edgelauncher/*' \
         ! -path '/var/lib/bootstrap/journal.json' ! -path '/var/lib/bootstrap/metrics.json' \
         ! -path '/var/lib/docker/containers/*' ! -path '/var/lib/systemd/*' ! -path '/etc/machine-id'",
    );
    assert_eq!(changed, "", "files written by a run that had nothing to do");
}

fn the_password_is_found_nowhere() {
    let shared = shared();
    let instance = shared.instance.as_ref().expect("the first test's instance");
    // The pattern goes in by standard input, so that the search does not find itself.
    instance.feed("cat >/run/canary", PASSWORD);
    let search = |command: &str| instance.try_run(command).output;

    let control = search("grep -l -F -f /run/canary /run/bootstrap/secrets/wallet-password");
    assert_eq!(
        control.trim(),
        "/run/bootstrap/secrets/wallet-password",
        "the search works"
    );
    assert_eq!(
        instance.run("findmnt --noheadings --output FSTYPE --target /run/bootstrap/secrets"),
        "tmpfs"
    );

    let on_disks = "find / /data -xdev -type f -print0 | xargs -0 grep -s -l -F -f /run/canary";
    assert_eq!(search(on_disks).trim(), "", "on a disk");
    let in_memory = "find /run /tmp /dev/shm -type f ! -path /run/canary ! -path '/run/bootstrap/secrets/*' \
                     -print0 | xargs -0 grep -s -l -F -f /run/canary";
    assert_eq!(search(in_memory).trim(), "", "in memory-backed storage");
    assert_eq!(
        search("docker inspect edgelauncher | grep -F -f /run/canary").trim(),
        "",
        "docker inspect"
    );
    assert_eq!(
        search("docker logs edgelauncher 2>&1 | grep -F -f /run/canary").trim(),
        "",
        "docker logs"
    );
    assert_eq!(
        search("journalctl --no-pager | grep -F -f /run/canary").trim(),
        "",
        "the systemd journal"
    );
    assert_eq!(
        search("grep -s -l -F -f /run/canary /proc/[0-9]*/cmdline").trim(),
        "",
        "arguments"
    );

    let inside = instance.run("docker top edgelauncher -eo pid | tail -n +2");
    for file in search("grep -s -l -F -f /run/canary /proc/[0-9]*/environ").split_whitespace() {
        let process = file.split('/').nth(2).unwrap();
        assert!(
            inside.split_whitespace().any(|pid| pid == process),
            "{file} is in the environment of a process of the host"
        );
    }
}

fn a_reboot_ends_healthy_with_the_same_address() {
    let shared = shared();
    let instance = shared.instance.as_ref().expect("the first test's instance");
    let boot = instance.run(
        "cat /var/lib/bootstrap/journal.json | grep -o '\"boot_id\": *\"[^\"]*\"' | head -n 1",
    );
    instance.reboot();
    assert_ne!(
        instance.run(
            "cat /var/lib/bootstrap/journal.json | grep -o '\"boot_id\": *\"[^\"]*\"' | head -n 1"
        ),
        boot,
        "bootstrap.service ran in the new boot"
    );
    let verify = instance.try_run("bootstrap verify --wait 3m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    assert_eq!(instance.address(), shared.address);
}

fn a_second_instance_on_the_volume_has_the_same_address() {
    let mut shared = shared();
    drop(shared.instance.take().expect("the first test's instance"));
    let (instance, _) = Launch::new("second")
        .password(PASSWORD)
        .attach_existing()
        .run();
    assert_eq!(instance.address(), shared.address);
    let volume = &instance.json("bootstrap status --json")["phases"][5];
    assert_eq!(volume["name"], "volume");
    assert_eq!(volume["status"], "ok");
    shared.instance = Some(instance);
}

fn a_stop_leaves_nothing_behind() {
    let mut shared = shared();
    drop(shared.instance.take().expect("the second instance"));
    stop_everything();
    assert_eq!(leftovers(), Vec::<String>::new());
}

fn foreign_contents_are_refused_and_unchanged() {
    let prepared = [
        ("xfs", "mkfs.xfs -q DISK", "xfs"),
        ("gpt", "sgdisk --new=1:0:0 DISK", "gpt"),
        ("lvm", "pvcreate --quiet --devicesfile= DISK", "LVM2_member"),
        ("btrfs", "mkfs.btrfs --quiet DISK", "btrfs"),
    ];
    for (name, make, found) in prepared {
        let disk = disk(name, make);
        let before = sha256_of(&disk);
        let (instance, _) = Launch::new("foreign")
            .password(PASSWORD)
            .disk(&disk)
            .failing()
            .run();
        let status = instance.json("bootstrap status --json");
        assert_eq!(status["run"]["result"], "failed");
        let volume = &status["phases"][5];
        assert_eq!(volume["status"], "failed");
        let reason = volume["error"]["reason"].as_str().unwrap();
        assert!(reason.contains(found), "{name}: {reason}");
        let signals = instance.signals();
        assert_eq!(signals[0]["by"], "wait-handle");
        assert_eq!(signals[0]["Status"], "FAILURE");
        let told = signals[0]["Reason"].as_str().unwrap();
        assert!(
            told.contains(found),
            "{name}: CloudFormation was told {told}"
        );
        stop_everything();
        assert_eq!(sha256_of(&disk), before, "{name}: the disk changed");
    }
}

fn killed_in_each_phase_the_next_run_heals() {
    let keepsake = keepsake();
    let make = format!("mkfs.ext4 -q -d {} DISK", keepsake.display());
    let (instance, _) = Launch::new("killed")
        .password(PASSWORD)
        .disk(&disk("kept", &make))
        .without_running()
        .run();
    for phase in [
        "preflight",
        "assets",
        "secret",
        "docker",
        "user",
        "volume",
        "cloudwatch-agent",
        "container",
        "metrics-cron",
        "signal",
    ] {
        let killed = (0..5).any(|_| instance.kill_in(phase));
        assert!(killed, "{phase} was always over before the kill");
    }
    let run = instance.try_run("bootstrap");
    assert_eq!(run.code, 0, "{}", run.output);
    let verify = instance.try_run("bootstrap verify --wait 3m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    instance.run("cd /data && sha256sum --check --quiet SHA256SUMS");
    stop_everything();
}
