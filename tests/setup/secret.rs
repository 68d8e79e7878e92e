//! The wallet password: one that cannot be had, is no good or is wrong, and that it is found nowhere.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::Signal::SIGABRT;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde_json::json;
use standins::aws::Fault;
use standins::http::Response;

use crate::Test;
use crate::faults::look_for_the_password;
use crate::machine::{Gate, Machine, PASSWORD, SECRET, Started};
use crate::shared::{
    expect_failure, expect_failure_signals, healthy, json_text, named, side_by_side,
};
use crate::trace::{self, Call, Witness};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("a_denied_secret_fails_its_phase_only", a_denied_secret_fails_its_phase_only),
    ("a_corrected_password_reaches_the_container", a_corrected_password_reaches_the_container),
    ("what_cannot_be_a_password_is_fetched_again", what_cannot_be_a_password_is_fetched_again),
    ("a_password_is_proven_before_it_is_used", a_password_is_proven_before_it_is_used),
    ("verify_tries_the_password_where_asked", verify_tries_the_password_where_asked),
    ("the_password_is_found_nowhere", the_password_is_found_nowhere),
    ("the_password_does_not_stay_in_memory", the_password_does_not_stay_in_memory),
    ("a_crash_dumps_no_core", a_crash_dumps_no_core),
    ("who_dies_with_the_password_tells_nothing", who_dies_with_the_password_tells_nothing),
];

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
        .fail("GetSecretValue", 3, Fault::Answer(denied("GetSecretValue")));
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
        ["container", "wallet-backup", "metrics-cron", "signal"]
    );
    assert_eq!(
        machine.phase("container")["detail"],
        "needs secret, which failed"
    );
    assert_eq!(machine.phases("ok").len(), 7, "{:?}", machine.phases("ok"));

    // The next run goes on. The stack rolls back, where a late success would count for the next instance.
    machine.run(&[]).expect(0);
    assert_eq!(machine.signals().len(), 2);
}

/// A key file as the ledger writes it, with a light derivation; "testpassword" opens it.
pub const KEY: &str = r#"{"address":"2e833968e5bb786ae419c4d13189fb081cc43bab","crypto":{"cipher":"aes-128-ctr","cipherparams":{
    "iv":"83dbcc02d8ccb40e466191a123791e0e"},"ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
    "kdf":"scrypt","kdfparams":{"dklen":32,"n":4,"p":1,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
    "mac":"d60fbbf87ce80e4659548e09fbc827b715b7a9cfcaaa20d85e153ddf59bff9e2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

/// The private key in it, which nothing here ever takes out.
const OPENED: &str = "67d6462a1b123a91c6bded8a80158e81924b3acedeb6bc6de531e836ca7e512b";

fn verify_tries_the_password_where_asked() {
    const FILE: &str =
        "/data/edgelauncher/edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab";
    const STORED: &str = "/run/bootstrap/secrets/wallet-password";
    let machine = healthy("debian-12");
    let secret = |options: &[&str], code| {
        let run = machine.run(&[&["verify", "--json"], options].concat());
        let report = run.expect(code).json();
        named(&report["checks"], "secret").clone()
    };
    let there = format!("{STORED} is there, in memory, for bcuser");
    let proving: &[&str] = &["--prove-password"];
    fs::write(machine.path(FILE), KEY).unwrap();
    assert_eq!(secret(&[], 0)["detail"], there.as_str());
    assert_eq!(
        secret(proving, 1),
        json!({"name": "secret", "status": "fail",
            "detail": format!("the wallet password in memory does not open {FILE}"),
            "hint": "run: bootstrap --phase secret --force, which says whether the secret's own value does, and what to do"})
    );
    machine
        .aws
        .state()
        .secrets
        .insert(SECRET.into(), "testpassword".into());
    machine.run(&["--phase", "secret", "--force"]).expect(0);
    assert_eq!(
        secret(proving, 0)["detail"],
        format!("{there}; it opens {FILE}")
    );
    fs::remove_file(machine.path(FILE)).unwrap();
    let untried = format!("{there}; there is no key to try it on");
    assert_eq!(secret(proving, 1)["detail"], untried.as_str());
}

/// As a reboot leaves it: the password has to be fetched again, and the container to be started.
fn a_password_is_proven_before_it_is_used() {
    const FILE: &str =
        "/data/edgelauncher/edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab";
    const STORED: &str = "/run/bootstrap/secrets/wallet-password";
    let machine = healthy("debian-12");
    let secret = |name: &str, value: &str| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(name.into(), value.into());
    };
    machine.keep("status edgelauncher", "exited");
    fs::write(machine.path(FILE), KEY).unwrap();
    fs::remove_file(machine.path(STORED)).unwrap();
    let previous = format!("{SECRET} AWSPREVIOUS");
    let reason = format!("the wallet password in {SECRET} does not open {FILE}");
    for (earlier, hint) in [
        (
            "neither",
            "put the password with which the key was created back into the secret (aws secretsmanager put-secret-value), then \
             run: bootstrap --phase secret --phase container",
        ),
        (
            "testpassword",
            "the secret's previous value (AWSPREVIOUS) opens it: make that the current one again (aws secretsmanager \
             update-secret-version-stage --version-stage AWSCURRENT), then run: bootstrap --phase secret --phase container",
        ),
    ] {
        secret(&previous, earlier);
        machine.forget_calls();
        let run = machine.run(&[]).expect(1);
        expect_failure(&machine, "secret", &reason, hint);
        assert!(!run.output().contains("testpassword"), "{}", run.output());
        assert!(!machine.path(STORED).exists());
        assert_eq!(machine.phase("container")["status"], "skipped");
    }

    fs::write(
        machine.path(FILE),
        KEY.replace("\"n\":4", "\"n\":1073741824"),
    )
    .unwrap();
    machine.run(&[]).expect(1);
    expect_failure(
        &machine,
        "secret",
        &format!(
            "the key file {FILE} asks for scrypt with n=1073741824, r=1, p=1, which no wallet writes; it is not tried"
        ),
        "keep it, see who changed it, and put the key back from a copy (scripts/backup-key --restore), then run: bootstrap \
         --phase secret --phase container",
    );

    // Code in the container may put anything there.
    let aside = machine.path("/aside");
    fs::rename(machine.path(FILE), &aside).unwrap();
    for tool in ["mkfifo", "ln"] {
        let mut made = Command::new(tool);
        if tool == "ln" {
            made.args(["-s", "/etc/hosts"]);
        }
        assert!(made.arg(machine.path(FILE)).status().unwrap().success());
        machine.run(&[]).expect(1);
        let hint = format!(
            "see what put it there (`ls -ld {FILE}`), move it away, then run `bootstrap` again"
        );
        let reason = format!("{FILE} is no plain file, as a key is");
        expect_failure(&machine, "secret", &reason, &hint);
        fs::remove_file(machine.path(FILE)).unwrap();
    }

    fs::rename(&aside, machine.path(FILE)).unwrap();
    fs::write(machine.path(FILE), KEY).unwrap();
    secret(SECRET, "testpassword");
    machine.run(&[]).expect(0);
    assert_eq!(machine.read(STORED), "testpassword");
    machine.run(&["verify", "--prove-password"]);
    assert_eq!(machine.files_with(OPENED), [""; 0]);
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

fn the_password_does_not_stay_in_memory() {
    // Short, it fits into a buffer that is kept; long, what is left behind is hardly used again as a whole.
    side_by_side(&[1, 300], |times| {
        let mut machine = Machine::new("debian-12");
        let password = PASSWORD.repeat(*times);
        machine.aws.state().secrets.insert(SECRET.into(), password);
        let gate = machine.gate("docker run *");
        let run = machine.start(&[]);
        let waiting = gate.arrived();
        // It has been fetched, compared, stored and looked at by then.
        assert_eq!(machine.phase("secret")["status"], "ok");
        let memory = memory(run.id());
        // What is known to stay there is found.
        assert_ne!(places(&memory, SECRET.as_bytes()), [""; 0]);
        // Its beginning, as it is and in JSON, and its end, since whoever frees memory overwrites the beginning.
        for part in ["canary-7Qm2", "${HOME}|*?#!~"] {
            let found = places(&memory, part.as_bytes());
            assert_eq!(found, [""; 0], "the password stays in memory");
        }
        drop(waiting);
        machine.ungate();
        run.wait().expect(0);
    });
}

fn a_crash_dumps_no_core() {
    allow_core_dumps();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    // Other programs do.
    let other = Command::new("sleep").arg("60").current_dir(place).spawn();
    let other = Started::from(other.unwrap()).crash(Signal::SEGV);
    assert!(other.core_dumped(), "look at /proc/sys/kernel/core_pattern");

    for signal in [Signal::SEGV, Signal::ABORT] {
        let mut machine = Machine::new("debian-12");
        let gate = machine.gate("docker run *");
        let run = machine.start(&[]);
        let waiting = gate.arrived();
        let ended = run.crash(signal);
        assert_eq!(ended.signal(), Some(signal.as_raw()));
        assert!(!ended.core_dumped());
        drop(waiting);
    }

    // The container's entrypoint, as the container's user, with the password half read.
    let program = place.join("bootstrap");
    fs::copy(env!("CARGO_BIN_EXE_bootstrap"), &program).unwrap();
    let file = place.join("password");
    let gate = Gate::at(&file);
    chown(&file, Some(1002), Some(1002)).unwrap();
    let secret = format!("PASSWORD={}", file.display());
    let shim = Command::new(program)
        .args(["entrypoint", "--secret", &secret])
        .args(["--data", "/proc", "--", "/bin/true"])
        .current_dir(place)
        .uid(1002)
        .gid(1002)
        .spawn();
    let shim = Started::from(shim.unwrap());
    let mut half = gate.arrived();
    half.write_all(PASSWORD.as_bytes()).unwrap();
    // What cannot be dumped is root's, whoever runs it: proc(5).
    let memory = fs::metadata(format!("/proc/{}/mem", shim.id())).unwrap();
    assert_eq!(memory.uid(), 0);
    let ended = shim.crash(Signal::SEGV);
    assert_eq!(ended.signal(), Some(Signal::SEGV.as_raw()));
    assert!(!ended.core_dumped());
}

fn who_dies_with_the_password_tells_nothing() {
    allow_core_dumps();
    for death in [Death::Abort, Death::Panic] {
        let mut machine = Machine::new("debian-12");
        machine.pace = 100;
        // Divided by the pace, this is minutes.
        machine.configure(|config| config["deadline_seconds"] = 43_200.into());
        let mut command = machine.command(&["-v"]);
        command.env("RUST_BACKTRACE", "full");
        let said = machine.beside("said");
        let mut moment = Moment(Some(death));
        let traced = trace::run(&command, &said, None, &mut moment);
        let said = fs::read_to_string(said).unwrap();
        assert!(moment.0.is_none(), "it never held the password: {said}");
        match death {
            Death::Abort => {
                assert_eq!(traced.signal, Some((SIGABRT, false)), "a core dump");
            }
            Death::Panic => {
                assert_eq!(traced.code, Some(1), "{said}");
                let length = PASSWORD.len();
                let reason = format!(
                    "the program panicked: range start index 1048576 out of range for slice of \
                     length {length}"
                );
                let hint = "report it with the log and the program's version";
                expect_failure(&machine, "secret", &reason, hint);
                expect_failure_signals(&machine, &format!("secret: {reason}. {hint}"));
                assert!(said.contains("stack backtrace:"), "{said}");
            }
        }
        look_for_the_password(&machine, &said);
        machine.run(&[]).expect(0);
    }
}

/// How it ends.
#[derive(Clone, Copy)]
enum Death {
    /// By the signal that a failing assertion of C, or a failing allocation, ends in.
    Abort,
    /// In the middle of writing: the kernel claims to have written a MiB, and the rest of the password is looked for
    /// behind that.
    Panic,
}

/// Comes over the program while it writes the password.
struct Moment(Option<Death>);

impl Witness for Moment {
    fn before(&mut self, thread: Pid, call: &Call) {
        if !writes_the_password(call) || self.0.is_none() {
            return;
        }
        let memory = memory(thread.as_raw().cast_unsigned());
        assert_ne!(places(&memory, b"canary-7Qm2"), [""; 0]);
        if let Some(Death::Abort) = self.0 {
            self.0 = None;
            kill(thread, SIGABRT).unwrap();
        }
    }

    fn after(&mut self, thread: Pid, call: &Call) {
        if let Some(Death::Panic) = self.0
            && writes_the_password(call)
        {
            self.0 = None;
            let mut registers = ptrace::getregs(thread).unwrap();
            registers.rax = 1 << 20;
            ptrace::setregs(thread, registers).unwrap();
        }
    }
}

fn writes_the_password(call: &Call) -> bool {
    matches!(call, Call::Write(path) if path.to_string_lossy().contains("/.wallet-password."))
}

/// For whatever this process starts.
fn allow_core_dumps() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Core, unlimited).unwrap();
}

/// All that a process has written to its memory, each part with its name.
fn memory(process: u32) -> Vec<(String, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut parts = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, rest) = rest.split_once(' ').unwrap();
        let address = |hex| u64::from_str_radix(hex, 16).unwrap();
        let (start, end) = (address(start), address(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            parts.push((format!("{start:x} {rest}"), bytes));
        }
    }
    parts
}

/// Where `text` stands, with what is around it.
fn places(memory: &[(String, Vec<u8>)], text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bytes) in memory {
        for at in 0..bytes.len().saturating_sub(text.len()) {
            if bytes[at..].starts_with(text) {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + 60)];
                found.push(format!("{name}: {}", around.escape_ascii()));
            }
        }
    }
    found
}

/// Somebody has written it by hand, and the container stays down with what it got.
fn what_cannot_be_a_password_is_fetched_again() {
    const STORED: &str = "/run/bootstrap/secrets/wallet-password";
    let machine = Machine::new("debian-12");
    machine.run(&[]).expect(0);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(machine.path(STORED))
        .unwrap();
    file.write_all(b"\n").unwrap();
    machine.keep("status edgelauncher", "restarting");
    machine.run(&[]).expect(0);
    assert_eq!(machine.read(STORED), PASSWORD);
    machine.run(&["verify"]).expect(0);
}

fn a_corrected_password_reaches_the_container() {
    const HINT: &str = "then run: bootstrap --phase secret --phase container --force";
    let machine = Machine::new("debian-12");
    let correct = |password: &str| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(SECRET.into(), password.into());
    };
    correct("wrong");
    machine.run(&[]).expect(0);
    machine.forget_calls();
    // The launcher lives on although its core has given up.
    machine.keep(
        "log",
        "level=fatal msg=\"could not decrypt key with given password\"",
    );
    machine.node.change(|node| node.down = true);
    let said = machine.run(&["verify", "--json"]).expect(1).stdout;
    assert!(said.contains(HINT), "{said}");

    correct(PASSWORD);
    machine.keep("log", "");
    machine.node.change(|node| node.down = false);
    let (_, arguments) = HINT.split_once("bootstrap ").unwrap();
    let arguments: Vec<_> = arguments.split(' ').collect();
    machine.run(&arguments).expect(0);
    let stored = machine.read("/run/bootstrap/secrets/wallet-password");
    assert_eq!(stored, PASSWORD);
    assert_eq!(
        machine.changes(),
        [
            "docker stop -t 60 edgelauncher",
            "docker start edgelauncher"
        ]
    );
    machine.run(&["verify"]).expect(0);
}
