//! The built binary from the outside: a directory tree as the machine, fake tools, all of AWS on loopback.
//!
//! This program is the tests and, linked under their names, every system tool (`standins::fake_tool`). With `BLESS=1`
//! the golden lists of commands (`tests/machines/NAME.commands`) are written instead of compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[path = "support/machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use machine::{
    ADDRESS, Ended, INSTANCE, Machine, PASSWORD, SECRET, VOLUME, archive, is_gone, machines, poll,
    sha256,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use standins::aws::Fault;
use standins::fake_tool;
use standins::http::Response;

/// Machines without a GPU, and with one.
const MACHINES: [&str; 6] = [
    "debian-12",
    "ubuntu-22.04",
    "ubuntu-24.04",
    "amazon-linux-2023",
    "amazon-linux-2023-gpu",
    "ubuntu-24.04-gpu",
];

const PHASES: [&str; 12] = [
    "preflight",
    "ssm-agent",
    "nvidia",
    "docker",
    "user",
    "volume",
    "assets",
    "secret",
    "cloudwatch-agent",
    "container",
    "metrics-cron",
    "signal",
];

type Test = (&'static str, fn());

#[rustfmt::skip]
const TESTS: &[Test] = &[
    ("plan_tells_and_changes_nothing", plan_tells_and_changes_nothing),
    ("phase_reruns_one_phase", phase_reruns_one_phase),
    ("unmet_needs_name_the_command", unmet_needs_name_the_command),
    ("force_applies_what_holds_already", force_applies_what_holds_already),
    ("a_second_run_at_the_same_time_is_refused", a_second_run_at_the_same_time_is_refused),
    ("a_denied_secret_fails_its_phase_only", a_denied_secret_fails_its_phase_only),
    ("an_empty_secret_is_refused", an_empty_secret_is_refused),
    ("assets_that_do_not_exist_are_named", assets_that_do_not_exist_are_named),
    ("assets_that_are_not_the_wanted_ones_are_refused", assets_that_are_not_the_wanted_ones_are_refused),
    ("an_archive_that_leads_elsewhere_is_refused", an_archive_that_leads_elsewhere_is_refused),
    ("foreign_contents_are_never_formatted", foreign_contents_are_never_formatted),
    ("an_expected_filesystem_is_reused", an_expected_filesystem_is_reused),
    ("a_phantom_table_on_a_new_encrypted_volume_is_formatted", a_phantom_table_on_a_new_encrypted_volume_is_formatted),
    ("an_unencrypted_volume_is_refused", an_unencrypted_volume_is_refused),
    ("an_unknown_volume_is_refused", an_unknown_volume_is_refused),
    ("a_driver_that_needs_a_reboot_gets_one", a_driver_that_needs_a_reboot_gets_one),
    ("a_second_reboot_is_refused", a_second_reboot_is_refused),
    ("a_wanted_gpu_that_is_not_there_is_an_error", a_wanted_gpu_that_is_not_there_is_an_error),
    ("sigterm_ends_the_run_in_good_order", sigterm_ends_the_run_in_good_order),
    ("killed_the_next_run_converges", killed_the_next_run_converges),
    ("after_a_reboot_the_container_is_started_and_not_remade", after_a_reboot_the_container_is_started_and_not_remade),
    ("another_config_remakes_the_container", another_config_remakes_the_container),
    ("verify_says_healthy_in_its_first_line", verify_says_healthy_in_its_first_line),
    ("verify_names_what_is_broken", verify_names_what_is_broken),
    ("verify_says_syncing_while_the_network_is_joined", verify_says_syncing_while_the_network_is_joined),
    ("metrics_publishes_once_each_tick", metrics_publishes_once_each_tick),
    ("metrics_dry_run_publishes_nothing", metrics_dry_run_publishes_nothing),
    ("two_ticks_at_once_are_one", two_ticks_at_once_are_one),
    ("the_password_is_found_nowhere", the_password_is_found_nowhere),
    ("status_shows_the_run_and_draws_it", status_shows_the_run_and_draws_it),
    ("passing_trouble_is_waited_out", passing_trouble_is_waited_out),
    ("a_volume_that_another_instance_holds_is_waited_for", a_volume_that_another_instance_holds_is_waited_for),
    ("a_container_that_lost_its_gpu_gets_it_back", a_container_that_lost_its_gpu_gets_it_back),
    ("the_tick_moves_between_cron_and_timer", the_tick_moves_between_cron_and_timer),
    ("security_updates_come_first_and_once", security_updates_come_first_and_once),
    ("a_package_with_a_bad_signature_is_not_installed", a_package_with_a_bad_signature_is_not_installed),
    ("the_container_never_starts_without_its_volume", the_container_never_starts_without_its_volume),
    ("a_volume_that_has_grown_is_used_whole", a_volume_that_has_grown_is_used_whole),
    ("files_at_the_mount_point_are_never_hidden", files_at_the_mount_point_are_never_hidden),
    ("an_unsupported_system_is_left_alone", an_unsupported_system_is_left_alone),
    ("json_output_is_json_lines_only", json_output_is_json_lines_only),
    ("an_unreadable_journal_is_set_aside", an_unreadable_journal_is_set_aside),
    ("a_wrong_password_ends_the_set_up", a_wrong_password_ends_the_set_up),
];

fn main() -> ExitCode {
    if fake_tool::name().is_some() {
        return fake_tool::main();
    }
    let mut arguments = Arguments::from_args();
    // They wait more than they work.
    arguments.test_threads.get_or_insert(8);
    let missing = missing();
    if let Some(missing) = missing {
        eprintln!("skipped: needs {missing}");
    }
    let machines = MACHINES.map(|name| {
        let test = move || a_bare_machine_becomes_a_healthy_node_and_stays_one(name);
        (
            format!("a_bare_machine_becomes_a_healthy_node_and_stays_one::{name}"),
            test,
        )
    });
    let machines = machines.into_iter().map(|(name, test)| trial(name, test));
    let tests = TESTS
        .iter()
        .map(|(name, test)| trial((*name).to_owned(), *test));
    let trials = machines
        .chain(tests)
        .map(|trial| trial.with_ignored_flag(missing.is_some()))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What these tests need and this machine lacks.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root (files are given to the node's account)");
    }
    let openssl = std::process::Command::new("openssl")
        .arg("version")
        .output();
    openssl
        .is_err()
        .then_some("openssl (the certificate of what is downloaded)")
}

fn trial(name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).map_err(|panic| {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Failed::from(said.unwrap_or("panicked"))
        })
    })
}

/// A machine on which a whole run has ended well.
fn healthy(name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.run(&[]).expect(0);
    machine.forget_calls();
    machine
}

/// Does the same with each case, each in a thread of its own: the node is waited for more than worked on.
fn side_by_side<C: Sync>(cases: &[C], each: impl Fn(&C) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| scope.spawn(|| each(case)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// What a failed phase says, and what to do about it.
#[track_caller]
fn expect_failure(machine: &Machine, phase: &str, reason: &str, hint: &str) {
    let failed = machine.phase(phase);
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert_eq!(failed["error"]["reason"], reason);
    assert_eq!(failed["error"]["hint"], hint);
}

/// The stack hears of one failure at the wait handle, with its reason, and of one failure of the resource.
#[track_caller]
fn expect_failure_signals(machine: &Machine, reason: &str) {
    let signals = machine.signals();
    assert_eq!(signals.len(), 2, "{signals:#?}");
    assert_eq!(
        signals[0],
        json!({"by": "wait-handle", "Status": "FAILURE", "Reason": reason, "UniqueId": INSTANCE, "Data": ""})
    );
    let resource = json!({
        "by": "SignalResource", "Status": "FAILURE", "StackName": "theta-edge",
        "LogicalResourceId": "NodeReady", "UniqueId": INSTANCE
    });
    assert_eq!(signals[1], resource);
}

fn a_bare_machine_becomes_a_healthy_node_and_stays_one(name: &str) {
    let machine = Machine::new(name);
    machine.run(&[]).expect(0);
    let mut not_applicable = Vec::new();
    if name == "debian-12" {
        not_applicable.push("ssm-agent");
    }
    if !name.ends_with("-gpu") {
        not_applicable.push("nvidia");
    }
    assert_eq!(machine.phases("not-applicable"), not_applicable);
    assert_eq!(
        machine.phases("ok").len(),
        PHASES.len() - not_applicable.len()
    );
    assert_eq!(machine.journal()["run"]["result"], "ok");

    let signals = machine.signals();
    assert_eq!(signals.len(), 2, "{signals:#?}");
    let resource = json!({
        "by": "SignalResource", "Status": "SUCCESS", "StackName": "theta-edge",
        "LogicalResourceId": "NodeReady", "UniqueId": INSTANCE
    });
    assert_eq!(signals[0], resource);
    assert_eq!(signals[1]["Status"], "SUCCESS");
    assert_eq!(signals[1]["UniqueId"], INSTANCE);
    let data: Value = serde_json::from_str(signals[1]["Data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({"address": ADDRESS, "instance": INSTANCE, "verdict": "healthy"})
    );

    compare_commands(&machine, name);
    assert_eq!(
        machine
            .internet
            .asked()
            .iter()
            .filter(|url| url.contains("cloudwatch-agent"))
            .count(),
        usize::from(!name.starts_with("amazon")),
    );
    let data = fs::metadata(machine.path("/data")).unwrap();
    assert_eq!((data.uid(), data.gid()), (1002, 1002));
    let secret = fs::metadata(machine.path("/run/bootstrap/secrets/wallet-password")).unwrap();
    assert_eq!((secret.uid(), secret.mode() & 0o7777), (1002, 0o400));
    assert_eq!(
        machine.read("/etc/fstab").lines().last().unwrap(),
        "UUID=5ca1ab1e-0000-4000-8000-00000000da7a /data ext4 \
         defaults,nofail,x-systemd.before=docker.service,x-systemd.device-timeout=30s,x-bootstrap 0 2"
    );

    machine.forget_calls();
    let before = machine.snapshot();
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
    for name in PHASES {
        assert_eq!(machine.phase(name)["changed"], false, "{name}");
    }
    assert_eq!(machine.signals().len(), 2);
}

/// The commands that the log tells of, by phase, each once, in the order of the first time; what cannot be the same
/// twice is masked. They are also those that the tools saw.
fn compare_commands(machine: &Machine, name: &str) {
    let mut phases: BTreeMap<Option<usize>, Vec<String>> = BTreeMap::new();
    let mut logged: Vec<String> = Vec::new();
    for line in machine.log() {
        let message = line["message"].as_str().unwrap();
        let Some((_, command)) = message
            .strip_prefix("op ")
            .and_then(|m| m.split_once(": started "))
        else {
            continue;
        };
        let command = masked(machine, command);
        let phase = line["phase"].as_str();
        // What runs in the background, beside the phases, is the early pull.
        let place = phase.map(|phase| PHASES.iter().position(|name| *name == phase).unwrap());
        let commands = phases.entry(place).or_default();
        if !commands.contains(&command) {
            commands.push(command.clone());
        }
        logged.push(command.replace('\'', ""));
    }
    // The health check looks at everything side by side.
    if let Some(commands) = phases.get_mut(&Some(PHASES.len() - 1)) {
        commands.sort();
    }
    let mut text = String::new();
    for (place, commands) in phases {
        let phase = place.map_or("beside the phases", |place| PHASES[place]);
        text.extend([phase, "\n    ", &commands.join("\n    "), "\n"]);
    }
    let mut seen: Vec<String> = machine
        .calls()
        .iter()
        .map(|call| masked(machine, call))
        .collect();
    seen.sort();
    logged.sort();
    // A program that is not installed yet is logged, but cannot see the call.
    logged.retain(|command| seen.contains(command));
    assert_eq!(logged, seen);

    let golden = machines().join(format!("{name}.commands"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, text).unwrap();
    } else {
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            wanted == text,
            "{}:\n{}",
            golden.display(),
            difference(&wanted, &text)
        );
    }
}

/// Followed by the hash of all that the container is made of.
const LABEL: &str = "io.theta.bootstrap.spec=";

fn masked(machine: &Machine, command: &str) -> String {
    let mut text = command.replace(machine.root().to_str().unwrap(), "ROOT");
    for (port, name) in machine.ports().iter().zip(["LAUNCHER", "CORE", "ENCODER"]) {
        text = text.replace(&port.to_string(), name);
    }
    if let Some(at) = text.find(LABEL) {
        let hash = at + LABEL.len();
        text.replace_range(hash..hash + 64, "SPEC");
    }
    text
}

fn difference(wanted: &str, found: &str) -> String {
    let lines = |text: &str, other: &str, mark: &str| -> Vec<String> {
        let only = text
            .lines()
            .filter(|line| !other.lines().any(|l| l == *line));
        only.map(|line| format!("{mark} {line}")).collect()
    };
    [lines(wanted, found, "-"), lines(found, wanted, "+")]
        .concat()
        .join("\n")
}

fn plan_tells_and_changes_nothing() {
    let machine = Machine::new("debian-12");
    let before = machine.snapshot();
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    let states: Vec<_> = plan["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["state"].as_str().unwrap())
        .collect();
    let mut wanted = ["needed"; 12];
    (wanted[1], wanted[2]) = ("not-applicable", "not-applicable");
    assert_eq!(states, wanted, "{plan:#}");
    assert_eq!(plan["changes"], 10);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
    let text = machine.run(&["plan"]).expect(0).stdout;
    assert!(text.ends_with("\na run would apply 10 phases\n"), "{text}");
    assert!(machine.signals().is_empty());

    machine.run(&[]).expect(0);
    machine.forget_calls();
    let before = machine.snapshot();
    let plan = machine.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["changes"], 0, "{plan:#}");
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.changed_since(&before), [""; 0]);
}

fn phase_reruns_one_phase() {
    let machine = healthy("debian-12");
    machine.forget("active docker.service");
    machine.run(&["--phase", "docker"]).expect(0);
    assert_eq!(machine.changes(), ["systemctl start docker.service"]);
    let docker = machine.phase("docker");
    assert_eq!(
        (&docker["changed"], &docker["status"]),
        (&json!(true), &json!("ok"))
    );
    // The others' records are of the run before.
    assert_ne!(machine.phase("user")["run"], docker["run"]);

    let unknown = machine.run(&["--phase", "dokcer"]).expect(2);
    assert_eq!(
        unknown.stderr,
        format!(
            "error: no phase is named 'dokcer'; did you mean 'docker'?\n  help: the phases are: {}\n",
            PHASES.join(", ")
        )
    );
}

fn unmet_needs_name_the_command() {
    let machine = Machine::new("debian-12");
    machine.run(&["--phase", "user"]).expect(1);
    expect_failure(
        &machine,
        "user",
        "needs what does not hold: preflight (bootstrap.service is not installed), docker (docker is not installed)",
        "run `bootstrap --phase preflight --phase docker --phase user`",
    );
    assert_eq!(machine.changes(), Vec::<String>::new());
    machine
        .run(&[
            "--phase",
            "preflight",
            "--phase",
            "docker",
            "--phase",
            "user",
        ])
        .expect(0);
    assert_eq!(machine.phases("ok"), ["preflight", "docker", "user"]);
}

fn force_applies_what_holds_already() {
    let machine = healthy("debian-12");
    machine.run(&["--phase", "container"]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    machine.run(&["--phase", "container", "--force"]).expect(0);
    assert_eq!(
        machine.changes(),
        ["docker pull --quiet thetalabsorg/edgelauncher_mainnet:latest"]
    );
    let alone = machine.run(&["--force"]).expect(2);
    assert!(alone.stderr.contains("--phase <NAME>"), "{}", alone.stderr);

    // Never against a safety rule.
    machine.keep("contents", r#"{"signatures":[{"type":"xfs","uuid":"1"}]}"#);
    machine.forget_calls();
    machine.run(&["--phase", "volume", "--force"]).expect(1);
    expect_failure(
        &machine,
        "volume",
        "vol-0123456789abcdef0 (/dev/nvme1n1) holds an xfs filesystem (uuid 1); ext4 or a blank volume was expected",
        "name the right volume in volume.id, or, if nothing on this one is needed, clear it yourself \
         (`wipefs --all /dev/nvme1n1`) and run `bootstrap` again; nothing was changed",
    );
    assert_eq!(machine.changes(), Vec::<String>::new());
}

fn a_second_run_at_the_same_time_is_refused() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("useradd *");
    let first = machine.start(&[]);
    let waiting = gate.arrived();
    let second = machine.run(&[]).expect(3);
    let lock = machine.path("/run/bootstrap/lock");
    let pid = fs::read_to_string(&lock).unwrap();
    assert_eq!(
        second.stderr,
        format!(
            "error: process {} holds the lock {}\n  help: wait until it is done (`bootstrap status` shows how far it \
             is), then try again\n",
            pid.trim(),
            lock.display()
        )
    );
    assert_eq!(
        machine.run(&["status", "--json"]).expect(0).json()["run"]["result"],
        "running"
    );
    drop(waiting);
    first.wait().expect(0);
    assert_eq!(machine.signals().len(), 2);
}

fn denied(kind: &str) -> Response {
    let body =
        json!({"__type": "AccessDeniedException", "message": format!("not allowed: {kind}")});
    Response::new(400, "application/x-amz-json-1.1", body.to_string())
}

fn a_denied_secret_fails_its_phase_only() {
    let machine = Machine::new("debian-12");
    machine
        .aws
        .state()
        .fail("GetSecretValue", 1, Fault::Answer(denied("GetSecretValue")));
    machine.run(&[]).expect(1);
    let reason = format!(
        "the secret {SECRET} may not be read (AccessDeniedException: not allowed: GetSecretValue)"
    );
    let hint = "allow secretsmanager:GetSecretValue on it (and kms:Decrypt, if it has its own key) in the policy of the \
                instance's role";
    expect_failure(&machine, "secret", &reason, hint);
    expect_failure_signals(&machine, &format!("secret: {reason}. {hint}"));
    assert_eq!(machine.phases("failed"), ["secret"]);
    assert_eq!(
        machine.phases("skipped"),
        ["container", "metrics-cron", "signal"]
    );
    assert_eq!(
        machine.phase("container")["detail"],
        "needs secret, which failed"
    );
    assert_eq!(machine.phases("ok").len(), 6, "{:?}", machine.phases("ok"));

    // The next run goes on, and the stack, which has given up, is told all the same.
    machine.run(&[]).expect(0);
    assert_eq!(machine.signals()[2]["Status"], "SUCCESS");
}

fn an_empty_secret_is_refused() {
    let machine = Machine::new("debian-12");
    for (value, fault) in [("\n", "is empty"), ("two\nlines", "contains a line break")] {
        machine
            .aws
            .state()
            .secrets
            .insert(SECRET.into(), value.into());
        machine
            .run(&["--phase", "preflight", "--phase", "secret"])
            .expect(1);
        expect_failure(
            &machine,
            "secret",
            &format!("the wallet password {fault} ({SECRET})"),
            "store the wallet password itself, one line of text, as the value of the secret (aws secretsmanager put-secret-value)",
        );
        assert!(
            !machine
                .path("/run/bootstrap/secrets/wallet-password")
                .exists()
        );
    }
}

const PUBLISH: &str = "publish the assets again with scripts/publish, and give the node the bucket, key and SHA-256 that it prints";

fn assets_that_do_not_exist_are_named() {
    let machine = Machine::new("debian-12");
    machine.aws.state().objects.clear();
    machine.run(&[]).expect(1);
    let reason = "s3://theta-assets/assets.tar.gz does not exist";
    expect_failure(&machine, "assets", reason, PUBLISH);
    expect_failure_signals(&machine, &format!("assets: {reason}. {PUBLISH}"));
    assert_eq!(
        machine.phases("skipped"),
        ["cloudwatch-agent", "container", "metrics-cron", "signal"]
    );
}

fn assets_that_are_not_the_wanted_ones_are_refused() {
    let machine = Machine::new("debian-12");
    let other = archive(&[("edge.json", "{}")]);
    let key = "theta-assets/assets.tar.gz".to_owned();
    let right = machine
        .aws
        .state()
        .objects
        .insert(key, other.clone())
        .unwrap();
    machine
        .run(&["--phase", "preflight", "--phase", "assets"])
        .expect(1);
    let reason = format!(
        "s3://theta-assets/assets.tar.gz has SHA-256 {}, expected {}",
        sha256(&other),
        sha256(&right)
    );
    expect_failure(&machine, "assets", &reason, PUBLISH);
    assert!(!machine.path("/opt/bootstrap/assets").exists());
    assert_eq!(
        fs::read_dir(machine.path("/opt/bootstrap"))
            .unwrap()
            .count(),
        0
    );
}

fn an_archive_that_leads_elsewhere_is_refused() {
    let mut machine = Machine::new("debian-12");
    let bad = archive(&[("edge.json", "{}"), ("sub/file", "x")]);
    machine.configure(|config| config["assets"]["sha256"] = sha256(&bad).into());
    machine
        .aws
        .state()
        .objects
        .insert("theta-assets/assets.tar.gz".into(), bad);
    machine
        .run(&["--phase", "preflight", "--phase", "assets"])
        .expect(1);
    expect_failure(
        &machine,
        "assets",
        "the assets archive holds \"sub/file\", which is not a plain name",
        "make and publish the archive with scripts/publish",
    );
    assert!(!machine.path("/opt/bootstrap/assets").exists());
}

/// The phases up to the volume.
const TO_THE_VOLUME: [&str; 8] = [
    "--phase",
    "preflight",
    "--phase",
    "docker",
    "--phase",
    "user",
    "--phase",
    "volume",
];

fn foreign_contents_are_never_formatted() {
    let machine = Machine::new("debian-12");
    machine.attach();
    let cases = [
        (
            r#"[{"type":"xfs","uuid":"11"}]"#,
            "an xfs filesystem (uuid 11)",
        ),
        (
            r#"[{"type":"gpt"},{"type":"PMBR"}]"#,
            "a gpt partition table, a PMBR partition table",
        ),
        (
            r#"[{"type":"LVM2_member","uuid":"22"}]"#,
            "an LVM2_member signature (uuid 22)",
        ),
        (
            r#"[{"type":"linux_raid_member"}]"#,
            "a linux_raid_member signature",
        ),
        (
            r#"[{"type":"crypto_LUKS","uuid":"33"}]"#,
            "a crypto_LUKS signature (uuid 33)",
        ),
        (
            r#"[{"type":"ext4","uuid":"44"},{"type":"dos"}]"#,
            "an ext4 filesystem (uuid 44), a dos partition table",
        ),
    ];
    for (signatures, found) in cases {
        machine.keep("contents", &format!("{{\"signatures\":{signatures}}}"));
        machine.forget_calls();
        machine.run(&TO_THE_VOLUME).expect(1);
        let reason =
            format!("{VOLUME} (/dev/nvme1n1) holds {found}; ext4 or a blank volume was expected");
        let hint = "name the right volume in volume.id, or, if nothing on this one is needed, clear it yourself \
                    (`wipefs --all /dev/nvme1n1`) and run `bootstrap` again; nothing was changed";
        expect_failure(&machine, "volume", &reason, hint);
        let touched = machine
            .changes()
            .into_iter()
            .find(|call| call.contains("nvme1n1"));
        assert_eq!(touched, None, "{found}");
    }
    assert!(!machine.path("/data").exists());
    let told = &machine.signals()[0]["Reason"];
    assert!(
        told.as_str()
            .unwrap()
            .starts_with(&format!("volume: {VOLUME} (/dev/nvme1n1) holds an xfs")),
        "{told}"
    );

    // Something mounted there, however blank it looks.
    machine.forget("contents");
    let mounts = machine.read("/proc/self/mountinfo");
    machine.write(
        "/proc/self/mountinfo",
        &format!("{mounts}40 25 259:1 / /mnt rw - ext4 /dev/nvme1n1 rw\n"),
    );
    machine.run(&TO_THE_VOLUME).expect(1);
    let reason = &machine.phase("volume")["error"]["reason"];
    assert_eq!(
        *reason,
        format!(
            "{VOLUME} (/dev/nvme1n1) holds what is mounted at /mnt; ext4 or a blank volume was expected"
        )
    );
}

fn an_expected_filesystem_is_reused() {
    let machine = Machine::new("debian-12");
    let uuid = "deadbeef-0000-4000-8000-000000000000";
    machine.keep(
        "contents",
        &format!(r#"{{"signatures":[{{"type":"ext4","uuid":"{uuid}"}}]}}"#),
    );
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    assert!(
        !calls.iter().any(|call| call.starts_with("mkfs")),
        "{calls:#?}"
    );
    assert!(
        machine
            .read("/etc/fstab")
            .contains(&format!("UUID={uuid} /data ext4 "))
    );
}

fn a_phantom_table_on_a_new_encrypted_volume_is_formatted() {
    let mut machine = Machine::new("debian-12");
    let atari = r#"{"signatures":[{"type":"atari"}]}"#;
    machine.keep("contents", atari);
    machine.rule(json!({
        "run": "mkfs.ext4 *", "unless": ["made"], "set": ["made"], "keep": {"contents":
        "{\"signatures\":[{\"type\":\"ext4\",\"uuid\":\"5ca1ab1e-0000-4000-8000-00000000da7a\"}]}"}
    }));
    // Made from a snapshot: the table may be real.
    machine.aws.state().volumes[0].snapshot = "snap-0123456789abcdef0".into();
    machine.run(&TO_THE_VOLUME).expect(1);
    assert_eq!(
        machine.phase("volume")["error"]["reason"],
        format!(
            "{VOLUME} (/dev/nvme1n1) holds an atari partition table; ext4 or a blank volume was expected"
        )
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.starts_with("mkfs"))
    );
    machine.aws.state().volumes[0].snapshot.clear();
    machine.run(&TO_THE_VOLUME).expect(0);
    assert!(
        machine
            .changes()
            .iter()
            .any(|call| call.starts_with("mkfs.ext4 "))
    );
}

fn an_unencrypted_volume_is_refused() {
    let machine = Machine::new("debian-12");
    machine.aws.state().volumes[0].encrypted = false;
    machine.run(&[]).expect(1);
    let reason = format!("{VOLUME} is not encrypted");
    let hint = "make an encrypted copy (a snapshot, then an encrypted volume from it) and name that in volume.id; \
                nothing was changed";
    expect_failure(&machine, "volume", &reason, hint);
    expect_failure_signals(&machine, &format!("volume: {reason}. {hint}"));
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    assert_eq!(
        machine.phases("skipped"),
        ["container", "metrics-cron", "signal"]
    );
}

fn an_unknown_volume_is_refused() {
    let mut machine = Machine::new("debian-12");
    machine.attach();
    // The disk that is there is somebody else's.
    machine.configure(|config| config["volume"]["id"] = "vol-0fedcba9876543210".into());
    machine.run(&TO_THE_VOLUME).expect(1);
    let error = machine.phase("volume")["error"].clone();
    assert_eq!(
        error["reason"],
        "the volume vol-0fedcba9876543210 does not exist in us-east-1 (InvalidVolume.NotFound: The volume does not exist.)"
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}

fn a_driver_that_needs_a_reboot_gets_one() {
    let machine = Machine::new("amazon-linux-2023-gpu");
    machine.keep("reboot first", "");
    machine.run(&[]).expect(4);
    assert_eq!(machine.calls().last().unwrap(), "systemctl reboot");
    let journal = machine.journal();
    assert_eq!(journal["run"]["result"], "rebooting");
    assert_eq!(
        journal["reboots"],
        json!({"nvidia": "11111111-0000-4000-8000-000000000000"})
    );
    assert_eq!(
        machine.phase("nvidia")["detail"],
        "waits for a reboot: the NVIDIA driver is not loaded (`modprobe nvidia` failed with exit code 1: modprobe: \
         FATAL: Module nvidia not found in directory /lib/modules/KERNEL)"
    );
    assert!(machine.signals().is_empty());

    machine.reboot(2);
    machine.forget("reboot first");
    machine.run(&[]).expect(0);
    assert_eq!(machine.phases("ok").len(), PHASES.len());
    assert_eq!(machine.journal()["reboots"], json!({}));
    assert_eq!(machine.signals().len(), 2);
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call.contains("install kmod"))
    );
}

fn a_second_reboot_is_refused() {
    let machine = Machine::new("amazon-linux-2023-gpu");
    machine.keep("reboot first", "");
    machine.run(&[]).expect(4);
    machine.reboot(2);
    machine.run(&[]).expect(1);
    let reason = "nvidia asked for a second reboot, and the first did not help: the NVIDIA driver is not loaded (`modprobe \
                  nvidia` failed with exit code 1: modprobe: FATAL: Module nvidia not found in directory \
                  /lib/modules/KERNEL)";
    let hint = "see in the log why, repair it, then `bootstrap --phase nvidia`";
    expect_failure(&machine, "nvidia", reason, hint);
    expect_failure_signals(&machine, &format!("nvidia: {reason}. {hint}"));
    assert!(
        !machine
            .calls()
            .iter()
            .any(|call| call == "systemctl reboot")
    );
}

fn a_wanted_gpu_that_is_not_there_is_an_error() {
    let mut machine = Machine::new("debian-12");
    machine.configure(|config| config["gpu"] = true.into());
    machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(1);
    expect_failure(
        &machine,
        "nvidia",
        "the config wants a GPU, but the machine has no NVIDIA PCI device",
        "Use a GPU instance type (g4dn, g5, g6), or set \"gpu\" to false in the config.",
    );
}

fn sigterm_ends_the_run_in_good_order() {
    let mut machine = Machine::new("debian-12");
    let gate = machine.gate("useradd *");
    let run = machine.start(&[]);
    let mut waiting = gate.arrived();
    poll("the agent's phase did not end", || {
        let ended = machine
            .phases("ok")
            .contains(&"cloudwatch-agent".to_owned());
        ended.then_some(())
    });
    run.signal(Signal::TERM);
    run.wait().expect(1);
    assert!(is_gone(&mut waiting), "the tool outlived the run");
    assert_eq!(machine.journal()["run"]["result"], "failed");
    let user = machine.phase("user");
    assert_eq!(user["error"]["reason"], "stopped by SIGTERM", "{user:#}");
    assert_eq!(machine.phase("container")["status"], "skipped");
    let signals = machine.signals();
    assert_eq!(signals[0]["Status"], "FAILURE");
    assert_eq!(
        signals[0]["Reason"],
        "user: stopped by SIGTERM. run `bootstrap` again: it goes on from what the machine has"
    );
}

fn killed_the_next_run_converges() {
    side_by_side(
        &["useradd *", "mkfs.ext4 *", "mount *", "docker run *"],
        |tool| {
            let mut machine = Machine::new("debian-12");
            let gate = machine.gate(tool);
            let run = machine.start(&[]);
            let waiting = gate.arrived();
            run.signal(Signal::KILL);
            assert_eq!(run.wait().code, -1);
            drop(waiting);
            machine.unrule();
            machine.run(&[]).expect(0);
            assert_eq!(machine.journal()["run"]["result"], "ok", "{tool}");
            assert_eq!(machine.signals().len(), 2, "{tool}");
            let twice = machine
                .changes()
                .iter()
                .filter(|call| call.starts_with("mkfs"))
                .count();
            assert!(twice <= 2, "{tool}");
        },
    );
}

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
            "docker stop -t 60 edgelauncher-previous",
            "docker rm edgelauncher-previous",
        ]
    );
}

/// Runs `verify`; the report.
#[track_caller]
fn verify(machine: &Machine, code: i32) -> Value {
    machine.run(&["verify", "--json"]).expect(code).json()
}

fn verify_says_healthy_in_its_first_line() {
    let machine = healthy("amazon-linux-2023-gpu");
    machine.run(&["metrics"]).expect(0);
    let before = machine.snapshot();
    let report = verify(&machine, 0);
    assert_eq!(report["verdict"], "healthy", "{report:#}");
    assert_eq!(report["summary"]["fail"], 0);
    assert_eq!(report["checks"].as_array().unwrap().len(), 22);
    let text = machine.run(&["verify"]).expect(0).stdout;
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("healthy: 22 passed, 0 failed, 0 warned, 0 skipped; node 0x2e83"),
        "{first}"
    );
    assert_eq!(machine.changed_since(&before), [""; 0]);
    assert_eq!(machine.changes(), Vec::<String>::new());
}

/// A way to break a healthy node, and the check that must then fail.
struct Broken {
    how: fn(&Machine),
    verdict: &'static str,
    check: &'static str,
    detail: &'static str,
    hint: &'static str,
}

#[rustfmt::skip]
const BROKEN: &[Broken] = &[
    Broken {
        how: |machine| machine.keep("status edgelauncher", "exited"),
        verdict: "unhealthy", check: "container",
        detail: "exited, exit code 137; its log ends: time=\"1\" level=info msg=\"Wallet address: 0x2e833968e5bb786ae419c4d13189fb081cc43bab\"",
        hint: "read its log: docker logs --tail 100 edgelauncher; start it: bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.forget("container edgelauncher"),
        verdict: "unhealthy", check: "container",
        detail: "there is no container",
        hint: "run: bootstrap --phase container",
    },
    Broken {
        how: |machine| {
            machine.keep("status edgelauncher", "restarting");
            machine.keep("log", "level=fatal msg=\"Failed to setup wallet: could not decrypt key with given password\"");
        },
        verdict: "unhealthy", check: "container",
        detail: "the wallet password does not open the key on the volume",
        hint: "put the password that the key was made with back into the secret, then run: bootstrap --phase secret --phase container",
    },
    Broken {
        how: |machine| machine.write("/data/edgelauncher/edgecore/key/encrypted/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "{}"),
        verdict: "unhealthy", check: "key",
        detail: "/data/edgelauncher/edgecore/key/encrypted holds several files, the node will not start: \
                 2e833968e5bb786ae419c4d13189fb081cc43bab, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        hint: "move all but the right key file to a safe place outside that folder, then run: bootstrap --phase container",
    },
    Broken {
        how: |machine| fs::remove_file(machine.path("/etc/cron.d/bootstrap-metrics")).unwrap(),
        verdict: "degraded", check: "metrics",
        detail: "no metrics tick is scheduled",
        hint: "run: bootstrap --phase metrics-cron",
    },
    Broken {
        how: |machine| machine.write("/proc/self/mountinfo", "25 1 259:0 / / rw - ext4 /dev/nvme0n1p1 rw\n"),
        verdict: "unhealthy", check: "volume",
        detail: "nothing is mounted at /data",
        hint: "run: bootstrap --phase volume",
    },
    Broken {
        how: |machine| machine.forget("active docker.service"),
        verdict: "unhealthy", check: "docker",
        detail: "the engine does not answer",
        hint: "run: bootstrap --phase docker",
    },
    Broken {
        how: |machine| machine.keep("leak", &format!(" PASSWORD={}", json_text(PASSWORD))),
        verdict: "unhealthy", check: "password",
        detail: "docker inspect shows the wallet password",
        hint: "remove the container (docker rm -f edgelauncher), then run: bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.keep("bind core", "0.0.0.0"),
        verdict: "degraded", check: "ports",
        detail: "port CORE is published at 0.0.0.0",
        hint: "run: bootstrap --phase container --force; if it stays: docker rm -f edgelauncher, then bootstrap --phase container",
    },
    Broken {
        how: |machine| machine.forget("active amazon-cloudwatch-agent.service"),
        verdict: "degraded", check: "cloudwatch-agent",
        detail: "not active",
        hint: "run: bootstrap --phase cloudwatch-agent",
    },
    Broken {
        how: |machine| machine.aws.state().volumes[0].encrypted = false,
        verdict: "degraded", check: "volume-encrypted",
        detail: "the volume that holds the wallet key is not encrypted",
        hint: "copy it: snapshot, encrypted volume from it, then deploy with that volume's id",
    },
    Broken {
        how: |machine| machine.node.change(|node| node.down = true),
        verdict: "unhealthy", check: "rpc",
        detail: "HTTP status 503",
        hint: "read the log: docker logs --tail 100 edgelauncher; then: docker restart edgelauncher",
    },
    Broken {
        how: |machine| machine.keep("gpu lost", ""),
        verdict: "unhealthy", check: "gpu-container",
        detail: "the container does not see its GPU: Failed to initialize NVML: Unknown Error",
        hint: "run: docker restart edgelauncher; if that does not help: bootstrap --phase nvidia --phase docker",
    },
];

/// `text` as it stands inside a JSON string.
fn json_text(text: &str) -> String {
    json!(text).to_string().trim_matches('"').to_owned()
}

fn verify_names_what_is_broken() {
    // One machine for each: what is broken stays so.
    side_by_side(BROKEN, |broken| {
        let machine = healthy("ubuntu-24.04-gpu");
        (broken.how)(&machine);
        let report = verify(&machine, 1);
        let checks = report["checks"].as_array().unwrap();
        let check = checks
            .iter()
            .find(|check| check["name"] == broken.check)
            .unwrap();
        assert_eq!(check["status"], "fail", "{check:#}");
        assert_eq!(
            masked(&machine, check["detail"].as_str().unwrap()),
            broken.detail
        );
        assert_eq!(check["hint"], broken.hint);
        assert_eq!(
            report["verdict"], broken.verdict,
            "{}: {report:#}",
            broken.detail
        );
        let text = machine.run(&["verify"]).expect(1).stdout;
        assert!(text.starts_with(&format!("{}: ", broken.verdict)), "{text}");
        assert!(!text.contains("canary"), "{text}");
    });
}

fn verify_says_syncing_while_the_network_is_joined() {
    let machine = healthy("debian-12");
    machine.node.change(|node| node.warmup_seconds = u64::MAX);
    let report = verify(&machine, 5);
    assert_eq!(report["verdict"], "syncing");
    for (name, detail) in [("height", "not known yet"), ("peers", "none yet")] {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(
            *check,
            json!({"name": name, "status": "warn", "detail": detail, "hint": "wait: bootstrap verify --wait 30m"})
        );
    }

    // So a node that syncs is up, for the stack too.
    let machine = Machine::new("debian-12");
    machine.node.change(|node| node.warmup_seconds = u64::MAX);
    machine.run(&[]).expect(0);
    let data: Value = serde_json::from_str(machine.signals()[1]["Data"].as_str().unwrap()).unwrap();
    assert_eq!(data["verdict"], "syncing");
}

/// Name, value and dimensions of each metric.
fn published(call: &Value) -> Vec<(String, f64, String)> {
    let metrics = call["MetricData"]
        .as_array()
        .unwrap_or_else(|| panic!("{call:#}"));
    let one = |metric: &Value| {
        let dimensions: Vec<String> = metric["Dimensions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| {
                format!(
                    "{}={}",
                    d["Name"].as_str().unwrap(),
                    d["Value"].as_str().unwrap()
                )
            })
            .collect();
        (
            metric["MetricName"].as_str().unwrap().to_owned(),
            metric["Value"].as_f64().unwrap(),
            dimensions.join(","),
        )
    };
    metrics.iter().map(one).collect()
}

fn metrics_publishes_once_each_tick() {
    let machine = healthy("amazon-linux-2023-gpu");
    machine.aws.state().metadata["meta-data"]["tags"]["instance"]["aws:autoscaling:groupName"] =
        "theta-group".into();
    let quiet = machine.run(&["metrics"]).expect(0);
    assert_eq!(quiet.output(), "");
    let calls = machine.aws.state().metrics();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["Namespace"], "CWAgent");
    let metrics = published(&calls[0]);
    let names = [
        ("theta_current_block_height", None),
        ("edge_peers", Some(3.0)),
        ("edge_up", Some(1.0)),
        ("edge_height_age_seconds", Some(0.0)),
        ("edge_healthy", Some(1.0)),
        ("edge_gpu_visible", Some(1.0)),
        ("edge_restarts", Some(0.0)),
    ];
    assert_eq!(metrics.len(), 2 * names.len());
    let of = [
        "InstanceId=i-0123456789abcdef0",
        "AutoScalingGroupName=theta-group",
    ];
    for ((name, value, dimensions), index) in metrics.iter().zip(0..) {
        let (wanted, exactly) = names[index % names.len()];
        assert_eq!(
            (name.as_str(), dimensions.as_str()),
            (wanted, of[index / names.len()])
        );
        match exactly {
            Some(exactly) => assert!((value - exactly).abs() < f64::EPSILON, "{name} {value}"),
            None => assert!(*value > 28_000_000.0, "{name} {value}"),
        }
    }

    // A lone, lost or dead node is published as such, and not left out.
    machine.node.change(|node| node.peers = 0);
    machine.keep("gpu lost", "");
    machine.run(&["metrics"]).expect(0);
    machine.node.change(|node| node.down = true);
    machine.run(&["metrics"]).expect(0);
    let calls = machine.aws.state().metrics();
    assert_eq!(calls.len(), 3);
    let value = |call: usize, wanted: &str| {
        let metrics = published(&calls[call]);
        metrics
            .into_iter()
            .find(|(name, ..)| name == wanted)
            .map(|(_, value, _)| value)
    };
    for (call, name, expected) in [
        (1, "edge_peers", Some(0.0)),
        (1, "edge_up", Some(1.0)),
        (1, "edge_healthy", Some(0.0)),
        (1, "edge_gpu_visible", Some(0.0)),
        (2, "edge_peers", Some(0.0)),
        (2, "edge_up", Some(0.0)),
        (2, "edge_healthy", Some(0.0)),
        (2, "theta_current_block_height", None),
    ] {
        assert_eq!(value(call, name), expected, "call {call}, {name}");
    }
}

fn metrics_dry_run_publishes_nothing() {
    let machine = healthy("debian-12");
    let before = machine.snapshot();
    let shown = machine.run(&["metrics", "--dry-run"]).expect(0).json();
    assert_eq!(shown["namespace"], "CWAgent");
    let peers = shown["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|metric| metric["name"] == "edge_peers");
    assert_eq!(
        *peers.unwrap(),
        json!({"name": "edge_peers", "value": 3.0, "unit": "Count", "dimensions": {"InstanceId": INSTANCE}})
    );
    assert!(machine.aws.state().metrics().is_empty());
    assert_eq!(machine.changed_since(&before), [""; 0]);
}

fn two_ticks_at_once_are_one() {
    let mut machine = healthy("debian-12");
    let gate = machine.gate("docker container inspect *");
    let first = machine.start(&["metrics"]);
    let waiting = gate.arrived();
    let second = machine.run(&["metrics"]).expect(3);
    assert_eq!(second.output(), "");
    drop(waiting);
    first.wait().expect(0);
    assert_eq!(machine.aws.state().metrics().len(), 1);
}

fn the_password_is_found_nowhere() {
    let machine = Machine::new("ubuntu-24.04");
    let mut said = machine.run(&["-v"]).expect(0).output();
    for arguments in [
        &["verify"][..],
        &["metrics"],
        &["plan"],
        &["status"],
        &["-v", "--log-format", "json"],
    ] {
        said += &machine.run(arguments).output();
    }
    // A container that says it all, as it is and as a logger quotes it, and does not start.
    machine.keep(
        "log",
        &format!(
            "password {PASSWORD}\nlevel=debug msg=\"password {}\"",
            json_text(PASSWORD)
        ),
    );
    machine.keep("status edgelauncher", "exited");
    said += &machine.run(&["verify"]).expect(1).output();
    let inside = "root/run/bootstrap/secrets/wallet-password";
    assert_eq!(
        machine.read("/run/bootstrap/secrets/wallet-password"),
        PASSWORD
    );
    assert_eq!(
        machine.files_with(PASSWORD),
        [inside, "tools/facts/log"].map(str::to_owned)
    );
    // Escaped or cut, too.
    assert!(
        machine
            .files_with("canary-7Qm2")
            .iter()
            .all(|file| file == inside || file == "tools/facts/log")
    );
    assert!(!said.contains("canary"), "{said}");
    let signals = format!("{:?}", machine.signals());
    assert!(!signals.contains("canary"), "{signals}");
}

fn status_shows_the_run_and_draws_it() {
    let machine = Machine::new("debian-12");
    let none: Ended = machine.run(&["status"]).expect(1);
    assert_eq!(
        none.stderr,
        "error: there is no journal at /var/lib/bootstrap/journal.json\n  help: run `bootstrap` first\n"
    );
    machine.run(&[]).expect(0);
    let chart = machine.path("/tmp/chart.svg");
    let text = machine
        .run(&["status", "--svg", chart.to_str().unwrap()])
        .expect(0)
        .stdout;
    let id = machine.journal()["run"]["id"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("run {id}: ok, ")), "{text}");
    let drawn = fs::read_to_string(chart).unwrap();
    assert!(
        drawn.trim_start().starts_with("<svg ") && drawn.trim_end().ends_with("</svg>"),
        "{drawn}"
    );
    for name in PHASES {
        assert!(drawn.contains(name) && text.contains(name), "{name}");
    }
    let status = machine.run(&["status", "--json"]).expect(0).json();
    assert_eq!(
        (&status["version"], &status["run"]["result"]),
        (&json!(1), &json!("ok"))
    );
    let names: Vec<_> = status["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, PHASES);
    let keys = [
        "status", "changed", "attempts", "started", "ended", "seconds", "detail", "error",
    ];
    assert!(
        keys.iter()
            .all(|key| status["phases"][0].get(key).is_some()),
        "{status:#}"
    );
}

fn passing_trouble_is_waited_out() {
    let mut machine = Machine::new("debian-12");
    machine
        .aws
        .state()
        .fail("imds", 2, Fault::Answer(Response::text(503, "")));
    machine
        .aws
        .state()
        .fail("GetObject", 1, Fault::Answer(Response::text(503, "")));
    machine
        .aws
        .state()
        .fail("DescribeVolumes", 1, Fault::Answer(Response::text(503, "")));
    machine
        .aws
        .state()
        .fail("wait-handle", 1, Fault::Answer(Response::text(503, "")));
    machine.rule(json!({
        "run": "apt-get * docker.io", "unless": ["tried"], "set": ["tried"], "exit": 100,
        "error": "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)"
    }));
    machine.run(&[]).expect(0);
    assert_eq!(machine.signals().len(), 2);
    assert_eq!(machine.aws.state().requests_of("wait-handle").len(), 2);
}

fn a_volume_that_another_instance_holds_is_waited_for() {
    let machine = Machine::new("debian-12");
    machine.aws.state().volumes[0].attached =
        Some(("i-0fedcba9876543210".into(), "/dev/sdf".into()));
    let run = machine.start(&[]);
    poll("EC2 was not asked again", || {
        (machine.aws.state().requests_of("DescribeVolumes").len() > 1).then_some(())
    });
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    machine.aws.state().volumes[0].attached = None;
    run.wait().expect(0);
    let said: Vec<_> = machine
        .log()
        .into_iter()
        .filter(|line| line["phase"] == "volume")
        .collect();
    let waited = format!("waiting for i-0fedcba9876543210 to let go of {VOLUME} (attached)");
    assert!(
        said.iter().any(|line| line["message"] == *waited),
        "{said:#?}"
    );
    assert_eq!(machine.aws.state().requests_of("AttachVolume").len(), 1);
}

fn a_container_that_lost_its_gpu_gets_it_back() {
    let mut machine = Machine::new("amazon-linux-2023-gpu");
    // As the daemon-reload of a package's scripts does (nvidia-container-toolkit#48).
    machine.rule(json!({"run": "dnf * install cronie", "also": true, "set": ["gpu lost"]}));
    machine.rule(json!({"run": "docker start *", "also": true, "clear": ["gpu lost"]}));
    machine.run(&[]).expect(0);
    let calls = machine.changes();
    let after: Vec<_> = calls
        .iter()
        .skip_while(|call| !call.ends_with("install cronie"))
        .collect();
    assert_eq!(
        after,
        [
            "dnf -y --setopt=install_weak_deps=False install cronie",
            "systemctl enable --no-reload crond",
            "systemctl start crond",
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher",
        ]
    );
}

fn the_tick_moves_between_cron_and_timer() {
    let mut machine = healthy("debian-12");
    let cron = machine.path("/etc/cron.d/bootstrap-metrics");
    let timer = machine.path("/etc/systemd/system/bootstrap-metrics.timer");
    assert!(
        fs::read_to_string(&cron)
            .unwrap()
            .contains("\n* * * * * root /usr/local/bin/bootstrap metrics\n")
    );
    machine.configure(|config| config["metrics"] = json!({"schedule": "systemd-timer"}));
    machine.run(&[]).expect(0);
    assert!(!cron.exists() && timer.exists());
    assert_eq!(
        machine.changes(),
        [
            "systemctl enable --no-reload bootstrap-metrics.timer",
            "systemctl start bootstrap-metrics.timer"
        ]
    );
    machine.forget_calls();
    machine.configure(|config| config["metrics"] = json!({}));
    machine.run(&[]).expect(0);
    assert!(cron.exists() && !timer.exists());
    assert_eq!(
        machine.changes(),
        [
            "systemctl disable --no-reload bootstrap-metrics.timer",
            "systemctl stop bootstrap-metrics.timer"
        ]
    );
}

fn security_updates_come_first_and_once() {
    for (name, update) in [
        ("debian-12", "unattended-upgrade"),
        (
            "amazon-linux-2023",
            "dnf -y upgrade --security --releasever=latest",
        ),
    ] {
        let mut machine = Machine::new(name);
        machine.configure(|config| config["system"] = json!({"update": "security"}));
        machine.run(&["--phase", "preflight"]).expect(0);
        let changes = machine.changes();
        let at = |call: &str| changes.iter().position(|change| change == call);
        assert!(
            at(update) < at("systemctl enable --no-reload bootstrap.service"),
            "{changes:#?}"
        );
        assert!(at(update).is_some(), "{changes:#?}");
        machine.forget_calls();
        machine.run(&["--phase", "preflight"]).expect(0);
        assert_eq!(machine.changes(), Vec::<String>::new());
    }
}

fn a_package_with_a_bad_signature_is_not_installed() {
    let mut machine = Machine::new("debian-12");
    machine.add_asset("amazon-cloudwatch-agent.gpg", "a keyring");
    let paths = [
        "opt/bootstrap/assets/amazon-cloudwatch-agent.gpg",
        "var/lib/bootstrap/amazon-cloudwatch-agent.deb.sig",
    ];
    let gpgv = format!(
        "gpgv --keyring ROOT/{} ROOT/{} ROOT/var/lib/bootstrap/amazon-cloudwatch-agent.deb",
        paths[0], paths[1]
    );
    machine.rule(json!({"run": gpgv, "error": "gpgv: BAD signature from \"Amazon CloudWatch Agent\"", "exit": 1}));
    let phases = [
        "--phase",
        "preflight",
        "--phase",
        "assets",
        "--phase",
        "cloudwatch-agent",
    ];
    machine.run(&phases).expect(1);
    let url = "https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com/debian/amd64/latest/amazon-cloudwatch-agent.deb";
    expect_failure(
        &machine,
        "cloudwatch-agent",
        &format!(
            "the signature of {url} is not valid: gpgv: BAD signature from \"Amazon CloudWatch Agent\""
        ),
        "Check that the assets hold AWS's current signing key (\"Verifying the signature of the CloudWatch agent \
         package\" in the CloudWatch guide), then run bootstrap again.",
    );
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("install")),
        "{:#?}",
        machine.changes()
    );
    machine.unrule();
    machine.rule(json!({"run": gpgv}));
    machine.run(&phases).expect(0);
    assert_eq!(
        machine.internet.asked().last().unwrap(),
        &format!("{url}.sig")
    );
}

fn an_unreadable_journal_is_set_aside() {
    let machine = healthy("debian-12");
    machine.write("/var/lib/bootstrap/journal.json", "{\"version\": 1, \"phas");
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(machine.journal()["run"]["result"], "ok");
    let names = fs::read_dir(machine.path("/var/lib/bootstrap")).unwrap();
    let aside = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy()
            .starts_with("journal.json.unreadable-")
    });
    assert_eq!(aside.count(), 1);
}

fn a_wrong_password_ends_the_set_up() {
    let mut machine = Machine::new("debian-12");
    machine.node.change(|node| node.down = true);
    machine.keep(
        "log",
        "level=fatal msg=\"Failed to setup wallet: could not decrypt key with given password\"",
    );
    machine.rule(json!({
        "run": "docker container inspect edgelauncher", "if": ["container edgelauncher"], "also": true,
        "keep": {"status edgelauncher": "restarting"}
    }));
    machine.run(&[]).expect(1);
    let reason = "the wallet password does not open the key on the volume";
    let hint = "put the password that the key was made with back into the secret, then run: bootstrap --phase secret \
                --phase container";
    expect_failure(&machine, "container", reason, hint);
    expect_failure_signals(&machine, &format!("container: {reason}. {hint}"));
}

fn a_volume_that_has_grown_is_used_whole() {
    let mut machine = healthy("debian-12");
    machine.write("/sys/class/block/nvme1n1/size", "33554432\n");
    machine.rule(json!({"run": "dumpe2fs -h ROOT/dev/nvme1n1", "if": ["grown"], "print": "Block count: 4194304\nBlock size: 4096"}));
    machine.rule(json!({"run": "resize2fs ROOT/dev/nvme1n1", "set": ["grown"]}));
    machine.run(&[]).expect(0);
    assert_eq!(machine.changes(), ["resize2fs ROOT/dev/nvme1n1"]);
    assert_eq!(machine.phase("volume")["changed"], true);
}

fn files_at_the_mount_point_are_never_hidden() {
    let machine = Machine::new("debian-12");
    machine.write("/data/precious", "");
    machine.run(&TO_THE_VOLUME).expect(1);
    expect_failure(
        &machine,
        "volume",
        "/data is not a mount point and not empty: precious; mounting over it would hide that",
        "move what is in /data elsewhere, then run `bootstrap --phase volume`",
    );
    assert!(machine.aws.state().requests_of("AttachVolume").is_empty());
    assert!(
        !machine
            .changes()
            .iter()
            .any(|call| call.contains("nvme1n1"))
    );
}

fn an_unsupported_system_is_left_alone() {
    let machine = Machine::new("amazon-linux-2023");
    machine.write(
        "/etc/os-release",
        "NAME=\"Amazon Linux\"\nID=\"amzn\"\nVERSION_ID=\"2\"\n",
    );
    machine.run(&[]).expect(1);
    let reason = "Amazon Linux 2 has been out of support since 2026-06-30";
    let hint = "Use an AMI of Amazon Linux 2023, or of Ubuntu 24.04, Ubuntu 22.04 or Debian 12.";
    expect_failure(&machine, "preflight", reason, hint);
    expect_failure_signals(&machine, &format!("preflight: {reason}. {hint}"));
    assert_eq!(machine.phases("skipped"), PHASES[1..]);
    assert_eq!(machine.calls(), Vec::<String>::new());
}

fn json_output_is_json_lines_only() {
    let machine = Machine::new("debian-12");
    machine.aws.state().objects.clear();
    for arguments in [
        &["--log-format", "json"][..],
        &["--log-format", "json", "-v"],
    ] {
        let said = machine.run(arguments).expect(1);
        assert_eq!(said.stderr, "");
        assert!(said.stdout.lines().count() > 10);
        for line in said.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(
                line["time"].is_string() && line["level"].is_string(),
                "{line}"
            );
        }
    }
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
             5ca1ab1e-0000-4000-8000-00000000da7a) and is not mounted at /data)",
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
