//! A machine as a directory tree, its tools played by `standins::fake_tool`, and all of AWS on loopback.
//!
//! What it is made of lies in `tests/setup/machines/NAME.json`: `files`, `facts` and `rules` (see
//! `standins::fake_tool`), on top of those of the files that `like` names. Rules of the machine itself come first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use standins::aws::{Hook, Server, Volume};
use standins::edge::{Behaviour, Node};
use standins::fake_tool;
use standins::internet::Internet;
use tempfile::TempDir;

use crate::disk::{RootDisk, SmallDisk};

/// The data volume.
pub const VOLUME: &str = "vol-0123456789abcdef0";
pub const INSTANCE: &str = "i-0123456789abcdef0";
pub const ADDRESS: &str = "0x2e833968e5bb786ae419c4d13189fb081cc43bab";
pub const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:wallet-AbCdEf";
/// What the keys of the wallet's backups begin with.
pub const BACKUPS: &str = "wallets/theta-edge";
/// The wallet password: what must be found nowhere. Full of what a shell, JSON, XML or a URL takes for its own.
pub const PASSWORD: &str = "canary-7Qm2 $(id)`w`'a\"l&l<e>t\\n%41;${HOME}|*?#!~ é€";

/// Debian's package `faketime`.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// A command that has ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Both streams.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails the test, with all that was said, where the exit code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.output());
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.output()))
    }
}

/// A machine with everything around it.
pub struct Machine {
    pub aws: Server,
    pub node: Node,
    pub internet: Internet,
    /// More variables for `bootstrap`.
    pub environment: BTreeMap<String, String>,
    /// How many times faster deliberate waiting goes.
    pub pace: u32,
    config: Value,
    rules: Vec<Value>,
    /// Unmounted before the folder goes.
    disk: Option<RootDisk>,
    small_disk: Option<SmallDisk>,
    /// Goes before the folder that it is in.
    _mounted: Option<Mounted>,
    folder: TempDir,
}

impl Machine {
    /// The machine that `tests/setup/machines/NAME.json` describes, as it is after its first boot.
    pub fn new(name: &str) -> Self {
        Self::over(name, HashMap::new(), |_| None)
    }

    /// The same with its root mounted by `mount`, and these pages too on the internet.
    pub fn over(
        name: &str,
        more_pages: HashMap<String, Vec<u8>>,
        mount: impl FnOnce(&Path) -> Option<Mounted>,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bootstrap-test-")
            .tempdir()
            .unwrap();
        // The container's user looks for files below.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let description = describe(name);
        let aws = Server::start().unwrap();
        let loopback = [127, 0, 0, 1].into();
        let node = Node::start(loopback, [0; 3], Behaviour::default()).unwrap();
        let mut pages = pages();
        pages.extend(more_pages);
        let internet = Internet::start(pages, folder.path()).unwrap();
        let mounted = mount(folder.path());
        let mut machine = Self {
            aws,
            node,
            internet,
            environment: BTreeMap::new(),
            pace: 1,
            config: Value::Null,
            rules: description.rules,
            disk: None,
            small_disk: None,
            _mounted: mounted,
            folder,
        };
        machine.internet.lead_to_aws(&machine.aws.url());
        machine.put_tools();
        for (path, text) in &description.files {
            machine.write(path, text);
        }
        for (fact, text) in &description.facts {
            machine.keep(fact, text);
        }
        for directory in ["/run", "/tmp", "/dev", "/opt", "/etc/systemd/system"] {
            fs::create_dir_all(machine.path(directory)).unwrap();
        }
        machine.put_cloud();
        machine.put_config(name.ends_with("-gpu"));
        machine.be_tolerant();
        machine
    }

    fn put_tools(&self) {
        fs::create_dir_all(self.tools().join("facts")).unwrap();
        let texts = |rule: &Value, key: &str| -> Vec<String> {
            let list = rule[key].as_array().into_iter().flatten();
            list.filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let later: BTreeSet<String> = self
            .rules
            .iter()
            .flat_map(|rule| texts(rule, "brings"))
            .collect();
        let tools: BTreeSet<&str> = self
            .rules
            .iter()
            .filter_map(|rule| rule["run"].as_str()?.split(' ').next())
            .filter(|tool| !later.contains(*tool))
            .collect();
        let program = std::env::current_exe().unwrap();
        for tool in tools {
            symlink(&program, self.tools().join(tool)).unwrap();
        }
        self.write_rules();
    }

    fn write_rules(&self) {
        let rules = Value::from(self.rules.clone()).to_string();
        fake_tool::put(&self.tools().join("rules.json"), &rules).unwrap();
    }

    /// The volume, free; the secret; the assets, whose RPC ports are the stand-in's.
    fn put_cloud(&self) {
        let ports = self.ports();
        for (name, port) in ["launcher", "core", "encoder"].iter().zip(&ports) {
            self.keep(name, &port.to_string());
        }
        let device = Device(self.root());
        let mut cloud = self.aws.state();
        cloud.volumes.push(Volume::blank(VOLUME));
        cloud.on_attach = Some(Hook(Box::new(move |volume| device.appear(volume))));
        cloud.secrets.insert(SECRET.into(), PASSWORD.into());
        cloud
            .objects
            .insert("theta-assets/assets.tar.gz".into(), assets(&ports, &[]));
    }

    fn put_config(&mut self, gpu: bool) {
        let archive = self.aws.state().objects["theta-assets/assets.tar.gz"].clone();
        self.config = json!({
            "stack": {"name": "theta-edge", "resource": "NodeReady", "wait_handle": self.aws.wait_handle()},
            "gpu": gpu,
            "volume": {"id": VOLUME, "origin": "new"},
            "assets": {"bucket": "theta-assets", "key": "assets.tar.gz", "sha256": sha256(&archive)},
            "secret": {"arn": SECRET},
            "wallet_backup": {"bucket": "theta-assets", "prefix": BACKUPS},
            "deadline_seconds": 120
        });
        self.configure(|_| {});
    }

    /// A bare machine needs much free space; where the disk of this one has not enough, pretend that the first
    /// set-up is over: then 2 GiB will do.
    pub fn be_tolerant(&self) {
        let disk = rustix::fs::statvfs(self.folder.path()).unwrap();
        if disk.f_bavail * disk.f_frsize < 20 << 30 {
            self.write("/etc/systemd/system/bootstrap.service", "[Unit]\n");
        }
    }

    /// Changes the config.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        self.write("/etc/bootstrap/config.json", &format!("{:#}", self.config));
    }

    /// Adds a file to the assets archive, and has the config want that one.
    pub fn add_asset(&mut self, name: &str, text: &str) {
        let ports = self.ports();
        let archive = assets(&ports, &[(name, text)]);
        self.configure(|config| config["assets"]["sha256"] = sha256(&archive).into());
        let mut cloud = self.aws.state();
        cloud
            .objects
            .insert("theta-assets/assets.tar.gz".into(), archive);
    }

    /// The RPC ports of launcher, core and encoder.
    pub fn ports(&self) -> Vec<u16> {
        self.node
            .addresses()
            .iter()
            .map(std::net::SocketAddr::port)
            .collect()
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A place beside the machine's root; tools call it `/../NAME`.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The disk that the machine's root directory is, from now on if not before.
    pub fn own_disk(&mut self) -> &RootDisk {
        let root = self.root();
        self.disk.get_or_insert_with(|| RootDisk::below(&root))
    }

    /// The machine's root directory is a plain directory again, with all that was on the disk.
    pub fn leave_disk(&mut self) {
        self.disk.take().expect("it has a disk of its own").leave();
    }

    /// This folder is a small disk of its own from now on.
    pub fn put_disk(&mut self, folder: &str, mebibytes: u32) {
        self.small_disk = Some(SmallDisk::at(&self.path(folder), mebibytes));
    }

    /// It is a plain folder again.
    pub fn take_disk(&mut self) {
        self.small_disk.take().expect("it has a small disk").leave();
    }

    /// Has the clock of `bootstrap` and its tools be off by so much ("+1y", "-2h"), also of those that run already with
    /// a clock that was set. Time that only passes is as it was.
    pub fn set_clock(&mut self, off: &str) {
        let told = self.beside("clock");
        fake_tool::put(&told, off).unwrap();
        for (name, value) in [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", told.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ] {
            self.environment.insert(name.into(), value.into());
        }
    }

    /// Where the tools lie.
    pub fn tools(&self) -> PathBuf {
        self.folder.path().join("tools")
    }

    /// Where a path of the machine lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a fact of the machine true, with this text.
    pub fn keep(&self, fact: &str, text: &str) {
        let name = fact.replace('/', "_");
        fake_tool::put(&self.tools().join("facts").join(name), text).unwrap();
    }

    /// The text of a fact, where it is true.
    pub fn fact(&self, fact: &str) -> Option<String> {
        let name = fact.replace('/', "_");
        fs::read_to_string(self.tools().join("facts").join(name)).ok()
    }

    /// Every fact that is true.
    pub fn facts(&self) -> Vec<String> {
        let facts = fs::read_dir(self.tools().join("facts")).unwrap();
        let name = |fact: std::io::Result<fs::DirEntry>| {
            fact.unwrap().file_name().to_string_lossy().into_owned()
        };
        facts.map(name).collect()
    }

    /// Makes a fact untrue.
    pub fn forget(&self, fact: &str) {
        fs::remove_file(self.tools().join("facts").join(fact)).unwrap();
    }

    /// Has this rule answer before all others.
    pub fn rule(&mut self, rule: Value) {
        let tool = rule["run"].as_str().unwrap().split(' ').next().unwrap();
        let link = self.tools().join(tool);
        let brought = |rule: &Value| {
            rule["brings"]
                .as_array()
                .is_some_and(|tools| tools.contains(&tool.into()))
        };
        if !link.exists() && !self.rules.iter().any(brought) {
            symlink(std::env::current_exe().unwrap(), link).unwrap();
        }
        self.rules.insert(0, rule);
        self.write_rules();
    }

    /// Puts a tool there that something else would bring.
    pub fn bring(&self, tool: &str) {
        symlink(std::env::current_exe().unwrap(), self.tools().join(tool)).unwrap();
    }

    /// Takes the last such rule back.
    pub fn unrule(&mut self) {
        self.rules.remove(0);
        self.write_rules();
    }

    /// Attaches the data volume, as CloudFormation would have.
    pub fn attach(&self) {
        let mut cloud = self.aws.state();
        let volume = &mut cloud.volumes[0];
        volume.attached = Some((INSTANCE.into(), "/dev/sdf".into()));
        volume.attachments += 1;
        Device(self.root()).appear(volume);
    }

    /// Takes the data volume away, whatever it is used for.
    pub fn detach(&self) {
        self.aws.state().volumes[0].attached = None;
        for path in [
            "/dev/nvme1n1",
            "/dev/disk/by-id",
            "/sys/class/block/nvme1n1",
        ] {
            let path = self.path(path);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        self.unmount();
    }

    /// The data volume is mounted no longer.
    pub fn unmount(&self) {
        let mounts = self.read("/proc/self/mountinfo");
        let rest = mounts.split_inclusive('\n');
        let rest: String = rest.filter(|line| !line.contains(" /data ")).collect();
        self.write("/proc/self/mountinfo", &rest);
        if self.fact("mounted").is_some() {
            self.forget("mounted");
        }
    }

    /// `bootstrap` on this machine, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        let config = self.path("/etc/bootstrap/config.json");
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.tools())
            .env("BOOTSTRAP_ROOT", self.root())
            .env("BOOTSTRAP_CONFIG", config)
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.aws.url())
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("https_proxy", self.internet.proxy())
            .env("SSL_CERT_FILE", self.folder.path().join("internet.crt"))
            .env("BOOTSTRAP_PACE", self.pace.to_string())
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `bootstrap` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    /// Starts `bootstrap`.
    pub fn start(&self, arguments: &[&str]) -> Started {
        self.command(arguments).spawn().unwrap().into()
    }

    /// Adds a rule that stops calls like `pattern` at a gate.
    pub fn gate(&mut self, pattern: &str) -> Gate {
        let gate = Gate::at(&self.tools().join("gate"));
        self.rule(json!({"run": pattern, "also": true, "wait": "gate"}));
        gate
    }

    /// Takes the gate away.
    pub fn ungate(&mut self) {
        self.rules.retain(|rule| rule.get("wait").is_none());
        self.write_rules();
        let _ = fs::remove_file(self.tools().join("gate"));
    }

    /// Every tool call so far, oldest first; the root directory is `ROOT` there.
    pub fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.tools().join("calls.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        for log in ["calls.log", "rights.log"] {
            let _ = fs::remove_file(self.tools().join(log));
        }
    }

    /// What each tool so far was allowed to do.
    pub fn rights(&self) -> Vec<String> {
        let log = fs::read_to_string(self.tools().join("rights.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The calls that change something.
    pub fn changes(&self) -> Vec<String> {
        let mut calls = self.calls();
        calls.retain(|call| !LOOKS.iter().any(|look| call.starts_with(look)));
        calls
    }

    pub fn journal(&self) -> Value {
        serde_json::from_str(&self.read("/var/lib/bootstrap/journal.json")).unwrap()
    }

    /// What the journal says of a phase.
    #[track_caller]
    pub fn phase(&self, name: &str) -> Value {
        let journal = self.journal();
        let phases = journal["phases"].as_array().unwrap();
        let found = phases.iter().find(|phase| phase["name"] == name);
        found.unwrap_or_else(|| panic!("no phase {name}")).clone()
    }

    /// Names of the phases with this status.
    pub fn phases(&self, status: &str) -> Vec<String> {
        let journal = self.journal();
        let phases = journal["phases"].as_array().unwrap().iter();
        phases
            .filter(|phase| phase["status"] == status)
            .map(|phase| phase["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The lines of the log.
    pub fn log(&self) -> Vec<Value> {
        let log = self.read("/var/log/bootstrap.log");
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What each file and folder is like, but for the journal and the log, which every run writes.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(&self.root(), &mut |path| {
            let shown = path
                .strip_prefix(self.root())
                .unwrap()
                .display()
                .to_string();
            let own = [
                "var/lib/bootstrap",
                "var/lib/bootstrap/journal.json",
                "var/log",
                "var/log/bootstrap.log",
            ];
            // A lock's file holds the number of the process that had it last.
            if own.contains(&shown.as_str()) || shown.ends_with("/lock") {
                return;
            }
            let like = fs::symlink_metadata(path).unwrap();
            let like = format!(
                "{:o} {}:{} {} {}.{:09} #{}",
                like.mode(),
                like.uid(),
                like.gid(),
                like.len(),
                like.mtime(),
                like.mtime_nsec(),
                like.ino()
            );
            found.insert(shown, like);
        });
        found
    }

    /// What is no longer, or newly, as it was.
    pub fn changed_since(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let now = self.snapshot();
        let both: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let changed = both
            .into_iter()
            .filter(|path| before.get(*path) != now.get(*path));
        changed.cloned().collect()
    }

    /// Every file of the machine, of the tools' records included, that contains `text`.
    pub fn files_with(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.folder.path(), &mut |path| {
            // The tools are this program, which has the text; disks are 8 GiB of nothing.
            let is_volume = path
                .strip_prefix(self.root())
                .is_ok_and(|path| path.starts_with("dev"));
            if path.is_file() && !path.is_symlink() && !is_volume {
                let bytes = fs::read(path).unwrap();
                if bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
                {
                    let shown = path.strip_prefix(self.folder.path()).unwrap();
                    found.push(shown.display().to_string());
                }
            }
        });
        found.sort();
        found
    }

    /// What a reboot does to it: memory is empty, services that are enabled run, the volume is mounted by fstab.
    /// Docker cannot start the container: the password is gone.
    pub fn reboot(&self, boot: u32) {
        let text = format!("{boot:08}-0000-4000-8000-000000000000\n");
        self.write("/proc/sys/kernel/random/boot_id", &text);
        let _ = fs::remove_dir_all(self.path("/run"));
        fs::create_dir(self.path("/run")).unwrap();
        let _ = fs::remove_file(self.path("/proc/driver/nvidia/version"));
        self.keep("status edgelauncher", "exited");
        self.forget_calls();
    }

    /// What CloudFormation received.
    pub fn signals(&self) -> Vec<Value> {
        self.aws.signals()
    }
}

/// What is mounted here, until it is dropped.
pub struct Mounted(pub PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmount = Command::new("umount")
            .args(["--recursive", "--lazy"])
            .arg(&self.0)
            .status();
        assert!(unmount.is_ok_and(|status| status.success()));
    }
}

/// How calls begin that only look.
const LOOKS: [&str; 23] = [
    "cloud-init status",
    "modinfo ",
    "systemctl show ",
    "systemctl is-system-running",
    "systemctl is-active ",
    "systemctl is-enabled ",
    "dpkg-query ",
    "dpkg --audit",
    "rpm -q ",
    "apt-get --simulate ",
    "dnf --assumeno ",
    "wipefs --no-act ",
    "dumpe2fs -h ",
    "xfs_info ",
    "docker version ",
    "docker container inspect ",
    "docker image inspect ",
    "docker logs ",
    "docker exec edgelauncher nvidia-smi -L",
    "nvidia-smi --query-gpu",
    "nvidia-ctk --version",
    "journalctl ",
    "gpgv ",
];

/// A `bootstrap` at work, or another process; killed when dropped.
pub struct Started(Option<Child>);

impl From<Child> for Started {
    fn from(child: Child) -> Self {
        Self(Some(child))
    }
}

impl Started {
    /// Ends it and every tool that it has started, at once, as a power cut would.
    pub fn cut_off(self) {
        let groups = tools_of(self.0.as_ref().unwrap().id());
        self.signal(rustix::process::Signal::KILL);
        for group in groups {
            let group = rustix::process::Pid::from_raw(group.parse().unwrap()).unwrap();
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        self.wait();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.0.as_ref().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Ends it by this signal, and says how it ended. Rust's own handler takes the first SIGSEGV.
    pub fn crash(mut self, signal: rustix::process::Signal) -> ExitStatus {
        poll("it lives on", || {
            self.signal(signal);
            self.0.as_mut().unwrap().try_wait().unwrap()
        })
    }

    pub fn wait(mut self) -> Ended {
        let child = self.0.take().unwrap();
        Ended::of(&child.wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The children of every thread of the process: each leads a process group.
fn tools_of(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            let children = children.split_whitespace().map(str::to_owned);
            children.collect::<Vec<_>>()
        })
        .collect()
}

/// Where a tool waits.
pub struct Gate(pub PathBuf);

impl Gate {
    /// A FIFO, whose reader waits.
    pub fn at(path: &Path) -> Self {
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
        Self(path.to_owned())
    }

    /// Comes back when a tool waits here; it goes on when the answer is dropped.
    pub fn arrived(&self) -> fs::File {
        let mut open = fs::File::options();
        // Without a reader this is refused, and not waited for, so that a tool that never comes ends the test.
        open.write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        poll("no tool came to the gate", || open.open(&self.0).ok())
    }
}

/// The answer of `look` as soon as it has one.
#[track_caller]
pub fn poll<T>(otherwise: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a waiting tool has been killed: writing to it is refused.
pub fn is_gone(gate: &mut fs::File) -> bool {
    gate.write_all(b"?").is_err()
}

/// The data volume's device, as udev and the kernel show it.
struct Device(PathBuf);

impl Device {
    fn appear(&self, volume: &Volume) {
        let put = |path: &str, text: &str| {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let bytes = u64::from(volume.size) << 30;
        let serial = volume.id.replace('-', "");
        let sys = "sys/class/block/nvme1n1";
        put(&format!("{sys}/size"), &format!("{}\n", bytes / 512));
        put(&format!("{sys}/ro"), "0\n");
        put(&format!("{sys}/device/serial"), &format!("{serial}\n"));
        put(
            &format!("{sys}/device/model"),
            "Amazon Elastic Block Store              \n",
        );
        put(&format!("{sys}/dev"), "259:1\n");
        put("dev/nvme1n1", "");
        let device = fs::File::options()
            .write(true)
            .open(self.0.join("dev/nvme1n1"));
        device.unwrap().set_len(bytes).unwrap();
        let links = self.0.join("dev/disk/by-id");
        fs::create_dir_all(&links).unwrap();
        let link = links.join(format!("nvme-Amazon_Elastic_Block_Store_{serial}"));
        let _ = symlink("../../nvme1n1", link);
    }
}

struct Description {
    files: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    rules: Vec<Value>,
}

fn describe(name: &str) -> Description {
    let path = machines().join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let own: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut all = Description {
        files: BTreeMap::new(),
        facts: BTreeMap::new(),
        rules: own["rules"].as_array().cloned().unwrap_or_default(),
    };
    let mut likes: Vec<Description> = Vec::new();
    for like in own["like"].as_array().into_iter().flatten() {
        likes.push(describe(like.as_str().unwrap()));
    }
    for like in likes {
        all.rules.extend(like.rules);
        all.files.extend(like.files);
        all.facts.extend(like.facts);
    }
    let texts = |key: &str| -> BTreeMap<String, String> {
        let entries = own[key].as_object().into_iter().flatten();
        entries
            .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
            .collect()
    };
    all.files.extend(texts("files"));
    all.facts.extend(texts("facts"));
    all
}

/// Where the descriptions lie.
pub fn machines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/machines")
}

/// What the node downloads from elsewhere.
fn pages() -> HashMap<String, Vec<u8>> {
    let agent = "https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com";
    let europe = "https://amazoncloudwatch-agent-eusc-de-east-1.s3.eusc-de-east-1.amazonaws.eu";
    let china = "https://amazoncloudwatch-agent-cn-north-1.s3.cn-north-1.amazonaws.com.cn";
    let deb = "amd64/latest/amazon-cloudwatch-agent.deb";
    [
        (format!("{agent}/debian/{deb}"), "a package"),
        (format!("{agent}/debian/{deb}.sig"), "its signature"),
        (format!("{agent}/ubuntu/{deb}"), "a package"),
        (format!("{agent}/ubuntu/{deb}.sig"), "its signature"),
        (format!("{europe}/debian/{deb}"), "a package"),
        (format!("{europe}/debian/{deb}.sig"), "its signature"),
        (format!("{china}/debian/{deb}"), "a package"),
        (format!("{china}/debian/{deb}.sig"), "its signature"),
        (
            "https://nvidia.github.io/libnvidia-container/gpgkey".to_owned(),
            include_str!("another-key.asc"),
        ),
    ]
    .map(|(url, page)| (url, page.as_bytes().to_vec()))
    .into()
}

/// The repository's own assets, but with the stand-in's ports.
fn assets(ports: &[u16], more: &[(&str, &str)]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudformation/assets");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let mut edge: Value = serde_json::from_str(&read("edge.json")).unwrap();
    edge["ports"] = json!(ports);
    edge["rpc"] = json!({"launcher": ports[0], "core": ports[1], "encoder": ports[2]});
    let agent = read("amazon-cloudwatch-agent.json");
    let edge = edge.to_string();
    let own = [
        ("edge.json", edge.as_str()),
        ("amazon-cloudwatch-agent.json", &agent),
    ];
    archive(&[&own, more].concat())
}

/// A tar.gz of these files.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// SHA-256 in hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Calls `visit` with everything below `folder`.
pub fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}
