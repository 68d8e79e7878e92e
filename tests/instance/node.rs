//! One node from a bare instance on: healthy, at rest, its password hidden, the same after a reboot.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::launch::{Launch, PASSWORD, Place, release_binary, requests};
use crate::oncall::is_healthy;
use crate::shared::shared;

pub fn a_bare_instance_becomes_a_healthy_node() {
    let (instance, output) = Launch::new("first").password(PASSWORD).run();

    let status = instance.json("bootstrap status --json");
    assert_eq!(status["run"]["result"], "ok");
    let phases = status["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 14);
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
    shared.goes_on_with(instance);
}

pub fn the_release_binary_is_small_and_static() {
    const ET_DYN: u16 = 3;
    const PT_DYNAMIC: u32 = 2;
    const PT_INTERP: u32 = 3;
    let bytes = std::fs::read(release_binary()).unwrap();
    // Growth that is worth it gets a line of its own there.
    let record = include_str!("../bench/binary_size.txt");
    let kept: usize = record
        .lines()
        .next_back()
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .expect("the last line of tests/bench/binary_size.txt begins with a number of bytes");
    let most = 8_750_000.min(kept + kept / 20);
    assert!(
        bytes.len() <= most,
        "{} bytes, {most} at most: see tests/bench/binary_size.txt",
        bytes.len()
    );
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

pub fn a_second_run_changes_nothing() {
    let shared = shared();
    let instance = shared.instance();
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

pub fn the_password_is_found_nowhere() {
    let shared = shared();
    let instance = shared.instance();
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

pub fn the_units_do_their_work_with_the_rights_that_they_have() {
    let shared = shared();
    let instance = shared.instance();
    let verified = |units: &str| {
        let verified = instance.try_run(&format!("systemd-analyze verify {units}"));
        assert_eq!((verified.code, verified.output.trim()), (0, ""), "{units}");
    };
    let may = |unit: &str| {
        let show = format!("systemctl show {unit} --property CapabilityBoundingSet --value");
        instance.run(&show)
    };

    verified("bootstrap.service bootstrap-repair.service bootstrap-repair.timer");
    assert_eq!(may("bootstrap-repair.service"), may("bootstrap.service"));
    let rights = may("bootstrap.service");
    assert!(rights.contains("cap_sys_admin"), "{rights}");
    for taken in ["cap_sys_time", "cap_sys_rawio", "cap_sys_boot"] {
        assert!(!rights.contains(taken), "{rights}");
    }
    // What takes rights: mounting, files of others, and a package's own scripts.
    instance.run(
        "systemctl stop bootstrap-repair.timer && docker rm --force edgelauncher && umount /data && rm -r /run/bootstrap/secrets && \
         DEBIAN_FRONTEND=noninteractive apt-get -y purge cron",
    );
    let run = instance.try_run("systemctl start --wait bootstrap.service");
    assert_eq!(
        run.code,
        0,
        "{}",
        instance.run("journalctl --no-pager --unit bootstrap")
    );
    // Mounted for everybody.
    assert_eq!(
        instance.run("findmnt --noheadings --output FSTYPE /data"),
        "ext4"
    );
    let verify = instance.try_run("bootstrap verify --wait 3m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    assert_eq!(instance.address(), shared.address);

    // The tick by a timer, whose unit has a sandbox; also where it comes first after a boot.
    instance.run(
        "cp -p /etc/bootstrap/config.json /run/config.json && \
         sed -i 's/\"schedule\": \"cron\"/\"schedule\": \"systemd-timer\"/' /etc/bootstrap/config.json && \
         bootstrap --phase metrics-cron && systemctl stop bootstrap-metrics.timer",
    );
    verified("bootstrap-metrics.service bootstrap-metrics.timer");
    assert_eq!(may("bootstrap-metrics.service"), "cap_dac_read_search");
    instance.run("systemd-analyze security --no-pager --threshold=30 bootstrap-metrics.service");
    let tick = "rm -f /var/lib/bootstrap/metrics.json && systemctl start bootstrap-metrics.service && \
                grep -o '\"up\":true' /var/lib/bootstrap/metrics.json";
    assert_eq!(instance.run(tick), "\"up\":true");
    instance.run("mv /run/bootstrap /run/bootstrap.away");
    assert_eq!(instance.run(tick), "\"up\":true");
    instance.run(
        "rm -r /run/bootstrap && mv /run/bootstrap.away /run/bootstrap && \
         cp -p /run/config.json /etc/bootstrap/config.json && bootstrap --phase metrics-cron && \
         test -e /etc/cron.d/bootstrap-metrics && systemctl start bootstrap-repair.timer",
    );
}

pub fn a_reboot_ends_healthy_with_the_same_address() {
    let shared = shared();
    let instance = shared.instance();
    let boot = instance.run(
        "cat /var/lib/bootstrap/journal.json | grep -o '\"boot_id\": *\"[^\"]*\"' | head -n 1",
    );
    // Longer than Docker waits unless told otherwise: as much as the node may need, and less than a spot instance is given.
    instance.run("echo '{\"stop_seconds\": 15}' >/data/edgelauncher/standin.json");
    let graceful =
        || instance.run("docker logs edgelauncher 2>&1 | grep -c 'Graceful exit.' || true");
    let before: u32 = graceful().parse().unwrap();
    instance.reboot();
    instance.run("rm /data/edgelauncher/standin.json");
    assert_eq!(graceful(), (before + 1).to_string());
    assert_ne!(
        instance.run(
            "cat /var/lib/bootstrap/journal.json | grep -o '\"boot_id\": *\"[^\"]*\"' | head -n 1"
        ),
        boot,
        "bootstrap.service ran in the new boot"
    );
    is_healthy(instance, &shared.address, "a reboot");
}

/// By its name; what of each the role allows is judged beside the template.
pub fn every_call_to_aws_is_one_that_the_role_was_judged_for() {
    shared().instance().run("bootstrap metrics");
    let judged: Value = serde_json::from_str(include_str!("../cloudformation/calls.json")).unwrap();
    let judged = judged["calls"].as_array().unwrap().iter();
    let judged: BTreeSet<&str> = judged.filter_map(|call| call["call"].as_str()).collect();
    let requests = requests(Place::Container);
    let to_aws = requests.iter().filter(|request| {
        let host = request["host"].as_str().unwrap();
        host.ends_with(".amazonaws.com")
            && request["call"] != "wait-handle"
            && request["call"] != "agent-package"
    });
    let made: BTreeSet<&str> = to_aws.map(|made| made["call"].as_str().unwrap()).collect();
    assert_eq!(made.difference(&judged).next(), None, "{made:?}");
    for call in [
        "AttachVolume",
        "PutMetricData",
        "PutObject",
        "SignalResource",
    ] {
        assert!(made.contains(call), "{call} is not among {made:?}");
    }
}
