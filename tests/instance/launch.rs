//! A local instance, driven by `scripts/launch-local`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// The wallet password of the tests: what must be found nowhere.
pub const PASSWORD: &str = "canary-7Qm2 wallet'pass\"word$HOME";

/// The checkout.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of it.
pub fn in_checkout(path: &str) -> PathBuf {
    repository().join(path)
}

/// What `launch-local` keeps of its containers.
fn state() -> PathBuf {
    Place::Container.state()
}

/// Where an instance boots: each place has an AWS and a network of its own.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Container,
    /// Another container, beside that one.
    Beside,
    Qemu,
}

impl Place {
    /// What `launch-local` keeps of the instances there.
    fn state(self) -> PathBuf {
        repository().join(match self {
            Self::Container => "target/local",
            Self::Beside => "target/local-beside",
            Self::Qemu => "target/qemu",
        })
    }

    fn launch_local(self) -> Command {
        let mut command = launch_local();
        command.args(match self {
            Self::Container => [].as_slice(),
            Self::Beside => &["--cloud", "beside"],
            Self::Qemu => &["--qemu"],
        });
        command
    }
}

/// The binary that the instance runs.
pub fn release_binary() -> PathBuf {
    repository().join("target/x86_64-unknown-linux-musl/release/bootstrap")
}

/// A command that has ended.
pub struct Ended {
    pub code: i32,
    pub output: String,
}

fn finish(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ended {
        code: output.status.code().unwrap_or(-1),
        output: text,
    }
}

fn launch_local() -> Command {
    Command::new(repository().join("scripts/launch-local"))
}

/// Runs one of the scripts that operators use, with the local AWS for AWS.
pub fn operate(place: Place, script: &str, arguments: &[&str]) -> Ended {
    let script = repository().join("scripts").join(script);
    let mut command = place.launch_local();
    finish(command.args(["--aws", "--"]).arg(script).args(arguments))
}

/// Runs the AWS CLI against the local AWS.
pub fn aws(place: Place, arguments: &[&str]) -> Ended {
    let mut command = place.launch_local();
    finish(command.args(["--aws", "--", "aws"]).args(arguments))
}

/// Runs `launch-local` as it stands.
pub fn drive(arguments: &[&str]) -> Ended {
    finish(launch_local().args(arguments))
}

/// How the tests call `launch-local`, as its hints have it.
pub fn launched_as() -> String {
    launch_local().get_program().to_str().unwrap().to_owned()
}

/// Runs a hint that `launch-local` has printed, word for word.
pub fn follow(hint: &str) -> Ended {
    finish(Command::new("bash").args(["-c", hint]))
}

/// What the report of `bootstrap verify --json` says of this check.
pub fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == name).expect(name)
}

/// Does something while what stands in for AWS is not ready.
pub fn without_aws(act: impl FnOnce()) {
    let ready = state().join("cloud/ready");
    let away = ready.with_extension("away");
    std::fs::rename(&ready, &away).unwrap();
    act();
    std::fs::rename(away, ready).unwrap();
}

/// The command that `launch-local` has printed under this name.
pub fn hint(output: &str, name: &str) -> String {
    let lines = output.lines().rev();
    let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let found = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {output}"));
    found.trim().to_owned()
}

/// A file of the tests' own.
pub fn scratch(name: &str) -> PathBuf {
    state().join(name)
}

/// A launch to come.
pub struct Launch {
    name: String,
    place: Place,
    command: Command,
}

impl Launch {
    pub fn new(name: &str) -> Self {
        Self::at(Place::Container, name)
    }

    /// One that boots beside those.
    pub fn beside(name: &str) -> Self {
        Self::at(Place::Beside, name)
    }

    /// One that boots in QEMU.
    pub fn in_qemu(name: &str) -> Self {
        Self::at(Place::Qemu, name)
    }

    fn at(place: Place, name: &str) -> Self {
        let mut command = place.launch_local();
        command.args(["--keep", "--name", name]);
        Self {
            name: name.into(),
            place,
            command,
        }
    }

    /// An instance type with a GPU, whose driver is fake.
    pub fn fake_gpu(mut self) -> Self {
        self.command.arg("--fake-gpu");
        self
    }

    pub fn password(mut self, password: &str) -> Self {
        self.command.args(["--password", password]);
        self
    }

    /// Replaces the instance that runs: takes over its volume and its stack.
    pub fn attach_existing(mut self) -> Self {
        self.command.arg("--attach-existing");
        self
    }

    /// Has EC2 say for a while that the old instance still has the volume.
    pub fn release_late(mut self) -> Self {
        self.command.arg("--release-late");
        self
    }

    /// Wants this tag of the edge image.
    pub fn tag(mut self, tag: &str) -> Self {
        self.command.args(["--tag", tag]);
        self
    }

    /// Launches it in another zone.
    pub fn zone(mut self, zone: &str) -> Self {
        self.command.args(["--zone", zone]);
        self
    }

    /// Gives the node's template a parameter, `KEY=VALUE`.
    pub fn parameter(mut self, parameter: &str) -> Self {
        self.command.args(["--parameter", parameter]);
        self
    }

    /// Lets user-data meet a wrong `hash`, a missing `object` or a late `network`.
    pub fn breaking(mut self, what: &str) -> Self {
        self.command.args(["--break", what]);
        self
    }

    /// Uses this file as the data volume.
    pub fn disk(mut self, disk: &Path) -> Self {
        self.command.arg("--disk").arg(disk);
        self
    }

    /// Boots from a copy of the root disk of this instance, as from an image of it.
    pub fn root(mut self, name: &str) -> Self {
        self.command.args(["--root", name]);
        self
    }

    /// Nothing answers from which packages or images could come.
    pub fn without_mirrors(mut self) -> Self {
        self.command.arg("--no-mirrors");
        self
    }

    /// Expects the run to fail.
    pub fn failing(mut self) -> Self {
        self.command.args(["--wait-for", "failed"]);
        self
    }

    /// Has user-data fetch the binary but not run it.
    pub fn without_running(mut self) -> Self {
        self.command.args(["--wait-for", "ready"]);
        self
    }

    /// Launches; panics with the whole output where `launch-local` fails.
    pub fn run(mut self) -> (Instance, String) {
        let Ended { code, output } = finish(&mut self.command);
        assert_eq!(code, 0, "{output}");
        (Instance::launched(self.place, &self.name, &output), output)
    }
}

/// An instance that is up.
pub struct Instance {
    name: String,
    place: Place,
    /// What its launch has printed.
    told: String,
}

impl Instance {
    fn launched(place: Place, name: &str, told: &str) -> Self {
        Self {
            name: name.into(),
            place,
            told: told.into(),
        }
    }

    /// One that a hint has launched.
    pub fn launched_by(hint: &str, name: &str) -> Self {
        let Ended { code, output } = follow(hint);
        assert_eq!(code, 0, "{hint}: {output}");
        Self::launched(Place::Container, name, &output)
    }

    /// The command that its launch has printed under this name.
    pub fn hint(&self, name: &str) -> String {
        hint(&self.told, name)
    }

    /// A fact that `launch-local` keeps about the instance.
    fn fact(&self, name: &str) -> String {
        let fact = std::fs::read_to_string(self.file(name)).unwrap();
        fact.trim().to_owned()
    }

    /// A file that `launch-local` keeps of the instance.
    pub fn file(&self, name: &str) -> PathBuf {
        let instances = self.place.state().join("instances");
        instances.join(&self.name).join(name)
    }

    pub fn id(&self) -> String {
        self.fact("instance-id")
    }

    pub fn volume(&self) -> String {
        self.fact("volume-id")
    }

    pub fn bucket(&self) -> String {
        self.fact("bucket")
    }

    pub fn stack(&self) -> String {
        self.fact("stack")
    }

    /// Stops this one; what stands in for AWS goes on.
    pub fn stop(self) {
        let stop = ["--stop", &self.name];
        let Ended { code, output } = finish(self.place.launch_local().args(stop));
        assert_eq!(code, 0, "{output}");
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.place.launch_local();
        command.args(["--enter", &self.name, "--", "bash", "-c", script]);
        command
    }

    /// What the script printed and how it ended.
    pub fn try_run(&self, script: &str) -> Ended {
        finish(&mut self.command(script))
    }

    /// What the script printed, trimmed; it must succeed.
    pub fn run(&self, script: &str) -> String {
        let Ended { code, output } = self.try_run(script);
        assert_eq!(code, 0, "{script}: {output}");
        output.trim().to_owned()
    }

    /// The JSON that the script printed, however it ended.
    pub fn json(&self, script: &str) -> Value {
        let output = self.command(script).stdin(Stdio::null()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{script}: {error}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// What a tick would publish of this metric.
    pub fn published(&self, metric: &str) -> f64 {
        let shown = self.json("bootstrap metrics --dry-run");
        let mut metrics = shown["metrics"].as_array().unwrap().iter();
        let found = metrics.find(|found| found["name"] == metric);
        found.expect(metric)["value"].as_f64().unwrap()
    }

    /// Runs the script with `text` on its standard input.
    pub fn feed(&self, script: &str, text: &str) {
        let mut child = self.command(script).stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{script}");
    }

    /// The node's address, by its own RPC.
    pub fn address(&self) -> String {
        let request = r#"{"jsonrpc":"2.0","method":"edgecore.GetStatus","params":[],"id":1}"#;
        let answer = self.json(&format!(
            "curl -sS -H 'Content-Type: application/json' --data '{request}' http://127.0.0.1:17888/rpc"
        ));
        answer["result"]["address"]
            .as_str()
            .expect("an address")
            .to_owned()
    }

    /// What `CloudFormation` would have received from this instance, oldest first.
    pub fn signals(&self) -> Vec<Value> {
        let id = self.id();
        records(self.place, "signals")
            .into_iter()
            .filter(|signal| signal["UniqueId"] == id.as_str())
            .collect()
    }

    /// Reboots by the printed hint, and waits until the new boot has run everything that starts at boot, and the run has
    /// ended for which the boot does not wait.
    pub fn reboot(&self) {
        self.up_again(Command::new("bash").args(["-c", &self.hint("Reboot it")]));
    }

    /// Powers it off and on, and waits until everything that starts at boot has run. An instance store is empty then; in
    /// QEMU, the disks are in another order on the bus.
    pub fn restart(&self) {
        self.up_again(self.place.launch_local().args(["--restart", &self.name]));
    }

    fn up_again(&self, how: &mut Command) {
        let again = finish(how);
        assert_eq!(again.code, 0, "{}", again.output);
        // systemd may not listen yet.
        let patience = Instant::now() + Duration::from_mins(5);
        loop {
            let state = self.try_run("systemctl is-system-running --wait");
            if ["running", "degraded"].contains(&state.output.trim()) {
                self.run("while systemctl is-active --quiet bootstrap.service; do sleep 0.2; done");
                return;
            }
            assert!(Instant::now() < patience, "{}", state.output);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a run and kills it with SIGKILL while its journal says that `phase` is running. Says whether it was
    /// caught there: on a busy machine a short phase may be over too soon.
    pub fn kill_in(&self, phase: &str) -> bool {
        // Watched from outside, in a tight loop: some phases last a few milliseconds.
        let journal = self.file("root/var/lib/bootstrap/journal.json");
        let read = || -> Value {
            let text = std::fs::read(&journal).unwrap_or_default();
            serde_json::from_slice(&text).unwrap_or_default()
        };
        let before = read()["run"]["id"].clone();
        let mut run = self
            .command("exec bootstrap >/run/killed.log 2>&1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let inside = PathBuf::from(self.run("readlink /proc/1/ns/pid"));
        let mut process = None;
        while run.try_wait().unwrap().is_none() {
            process = process.or_else(|| the_run(&inside));
            let now = read();
            let phases = now["phases"].as_array();
            let at_work = phases.is_some_and(|phases| {
                phases
                    .iter()
                    .any(|record| record["name"] == phase && record["status"] == "running")
            });
            // A killed run's journal says "running", too.
            if now["run"]["id"] != before
                && at_work
                && let Some(process) = process
            {
                rustix::process::kill_process(process, Signal::KILL).unwrap();
                run.wait().unwrap();
                return true;
            }
        }
        false
    }
}

/// The process of `bootstrap` without arguments in the instance with this namespace of processes.
fn the_run(inside: &Path) -> Option<Pid> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
        let ours = arguments == b"bootstrap\0"
            && std::fs::read_link(entry.path().join("ns/pid")).is_ok_and(|of| of == inside);
        ours.then(|| Pid::from_raw(number))?
    })
}

/// What the stand-ins have recorded, oldest first.
fn records(place: Place, of: &str) -> Vec<Value> {
    let file = place.state().join("cloud").join(of);
    let file = file.with_extension("jsonl");
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The requests to the local AWS.
pub fn requests(place: Place) -> Vec<Value> {
    records(place, "requests")
}

/// How many requests to the bucket were left without an answer.
pub fn unanswered(bucket: &str) -> usize {
    let requests = requests(Place::Container);
    let ours = |host: &str| host.split('.').next() == Some(bucket);
    requests
        .iter()
        .filter(|request| request["status"] == 0 && ours(request["host"].as_str().unwrap()))
        .count()
}

/// Stops whatever is up, everywhere.
pub fn stop_everything() {
    for place in [Place::Container, Place::Beside, Place::Qemu] {
        stop_all(place);
    }
}

/// Stops whatever is up there, and what stands in for AWS.
pub fn stop_all(place: Place) {
    let Ended { code, output } = finish(place.launch_local().args(["--stop", "--all"]));
    assert_eq!(code, 0, "{output}");
}

/// The network namespace of the containers, whose name `tests/local/machine.sh` derives from the path of their state.
fn namespace() -> String {
    let script = "cksum <<<\"$0\" | cut -d ' ' -f 1";
    let sum = finish(Command::new("bash").args(["-c", script]).arg(state())).output;
    format!("bootstrap-{}", sum.trim())
}

/// What is still there of instances: loop devices, mounts, network namespaces, processes.
pub fn leftovers() -> Vec<String> {
    let state = format!("{}/", state().display());
    let ours = |command: &mut Command, mark: &str| -> Vec<String> {
        finish(command)
            .output
            .lines()
            .filter(|line| line.contains(mark))
            .map(str::to_owned)
            .collect()
    };
    let mut left = ours(
        Command::new("losetup").args(["--list", "--noheadings"]),
        &state,
    );
    left.extend(ours(
        Command::new("findmnt").args(["--list", "--noheadings", "--output", "TARGET"]),
        &state,
    ));
    left.extend(ours(
        Command::new("ip").args(["netns", "list"]),
        &namespace(),
    ));
    // The programs of its AWS are those of every cloud; what they are told is not.
    for of in ["instances/", "cloud/"] {
        let mark = format!("{state}{of}");
        left.extend(ours(Command::new("ps").args(["-eo", "args"]), &mark));
    }
    left
}

/// A disk image of 1 GiB, for an instance beside the others, on which `make` was run, with the image's path for `DISK`.
pub fn disk(name: &str, make: &str) -> PathBuf {
    let state = Place::Beside.state();
    let path = state.join(format!("{name}.disk"));
    std::fs::create_dir_all(state).unwrap();
    let _ = std::fs::remove_file(&path);
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    // Some tools write to block devices only.
    let attached = finish(
        Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&path),
    );
    assert_eq!(attached.code, 0, "{}", attached.output);
    let device = attached.output.trim().to_owned();
    let make = make.replace("DISK", &device);
    let mut words = make.split_whitespace();
    let formatted = finish(Command::new(words.next().unwrap()).args(words));
    let detached = finish(Command::new("losetup").args(["--detach", &device]));
    assert_eq!(formatted.code, 0, "{make}: {}", formatted.output);
    assert_eq!(detached.code, 0, "{}", detached.output);
    path
}

/// A folder of files that must not be lost, with their SHA-256 sums.
pub fn keepsake() -> PathBuf {
    let folder = state().join("keepsake");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut sums = String::new();
    for number in 0..200 {
        let name = format!("file-{number}");
        let path = folder.join(&name);
        std::fs::write(&path, name.repeat(number * 17 + 1)).unwrap();
        writeln!(sums, "{}  {name}", sha256_of(&path)).unwrap();
    }
    std::fs::write(folder.join("SHA256SUMS"), sums).unwrap();
    folder
}

/// SHA-256 of a file, in hex.
pub fn sha256_of(path: &Path) -> String {
    let Ended { code, output } = finish(Command::new("sha256sum").arg(path));
    assert_eq!(code, 0, "{output}");
    output.split_whitespace().next().unwrap().to_owned()
}
