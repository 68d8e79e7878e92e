//! The real dnf, rpm, apt and dpkg, with their locks, signatures and databases, over repositories of models
//! (`tests/packages`): everything else of the machine is as in the other themes.
//!
//! The machine's root is an overlay over the root of the machine that runs the tests, with databases of its own; the
//! tools that `bootstrap` calls are entered by chroot. All mounts are in a mount namespace of this process.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use standins::http::{Listener, Request, Response};

use crate::Test;
use crate::machine::{Gate, Machine, Mounted, poll};
use crate::shared::{PHASES, expect_failure};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("real_dnf_sets_up_a_node_with_the_right_packages", real_dnf_sets_up_a_node_with_the_right_packages),
    ("real_dnf_installs_what_belongs_to_the_running_kernel", real_dnf_installs_what_belongs_to_the_running_kernel),
    ("real_dnf_brings_the_driver_back_after_another_kernel", real_dnf_brings_the_driver_back_after_another_kernel),
    ("real_dnf_installs_another_branch_where_the_config_says_so", real_dnf_installs_another_branch_where_the_config_says_so),
    ("real_dnf_says_what_it_cannot_have", real_dnf_says_what_it_cannot_have),
    ("real_dnf_waits_for_a_lock_and_a_mirror", real_dnf_waits_for_a_lock_and_a_mirror),
    ("real_dnf_cut_off_is_mended", real_dnf_cut_off_is_mended),
    ("real_apt_sets_up_a_node_with_the_right_packages", real_apt_sets_up_a_node_with_the_right_packages),
    ("real_apt_takes_dkms_where_the_kernel_has_no_modules", real_apt_takes_dkms_where_the_kernel_has_no_modules),
    ("real_apt_takes_dkms_where_modules_cannot_be_installed", real_apt_takes_dkms_where_modules_cannot_be_installed),
    ("real_apt_says_what_it_cannot_have", real_apt_says_what_it_cannot_have),
    ("real_apt_waits_for_a_lock_and_a_mirror", real_apt_waits_for_a_lock_and_a_mirror),
    ("real_apt_cut_off_is_mended", real_apt_cut_off_is_mended),
];

const AMAZON: &str = "real-amazon-linux-2023-gpu";
const UBUNTU: &str = "real-ubuntu-24.04-gpu";

/// What these tests need and this machine lacks.
pub fn missing() -> Option<String> {
    let tools = [
        "dnf",
        "rpm",
        "rpmbuild",
        "rpmsign",
        "createrepo_c",
        "apt-get",
        "dpkg-deb",
        "dpkg-scanpackages",
        "apt-ftparchive",
        "gpg",
        "unshare",
        "python3",
    ];
    if std::env::var_os(NAMESPACE).is_none() {
        return Some("the right to mount".into());
    }
    let is_there = |tool: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output();
        found.is_ok_and(|found| found.status.success())
    };
    tools
        .iter()
        .find(|tool| !is_there(tool))
        .map(|tool| (*tool).to_owned())
}

/// Set where this process has a mount namespace of its own.
const NAMESPACE: &str = "BOOTSTRAP_TEST_NAMESPACE";

/// Goes on as the same program in a mount namespace of its own, so that no mount outlives it. Comes back where it is in
/// one already, where it has no right to one (the tests are then skipped), or with what went wrong.
pub fn enter_namespace() -> Option<std::io::Error> {
    if std::env::var_os(NAMESPACE).is_some() || !may_mount() {
        return None;
    }
    let mut again = Command::new("unshare");
    again
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().ok()?)
        .args(std::env::args_os().skip(1))
        .env(NAMESPACE, "1");
    Some(again.exec())
}

fn may_mount() -> bool {
    let try_it = [
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "tmpfs",
        "/mnt",
    ];
    let tried = Command::new("unshare").args(try_it).output();
    rustix::process::geteuid().is_root() && tried.is_ok_and(|tried| tried.status.success())
}

/// Removes the repositories, where they have been made.
pub fn tidy() {
    if let Some(folder) = MADE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = fs::remove_dir_all(folder);
    }
}

static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The repositories, made once.
static REPOSITORIES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::Builder::new()
        .prefix("bootstrap-packages-")
        .tempdir()
        .unwrap()
        .keep();
    *MADE.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.clone());
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/make");
    let made = Command::new("python3")
        .arg(make)
        .arg(&folder)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    folder
});

/// Serves the repositories. How often it still refuses what has `part` in its path is `refusals`.
struct Mirror {
    listener: Listener,
    refused: Arc<Mutex<String>>,
    refusals: Arc<AtomicU32>,
}

impl Mirror {
    fn start() -> Self {
        let refused: Arc<Mutex<String>> = Arc::default();
        let refusals: Arc<AtomicU32> = Arc::default();
        let (part, left) = (Arc::clone(&refused), Arc::clone(&refusals));
        let listener = Listener::start("127.0.0.1:0", move |request: &Request| {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let counted = |left: u32| left.checked_sub(1);
            if !part.is_empty()
                && request.path().contains(&part)
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted)
                    .is_ok()
            {
                return Response::text(503, "busy");
            }
            // apt escapes a version's tilde.
            let path = request.path().replace("%7e", "~");
            let file = REPOSITORIES.join(path.trim_start_matches('/'));
            match fs::read(file) {
                Ok(bytes) => Response::new(200, "application/octet-stream", bytes),
                Err(_) => Response::text(404, "not here"),
            }
        });
        Self {
            listener: listener.unwrap(),
            refused,
            refusals,
        }
    }

    /// Answers the next `times` requests for what has `part` in its path with 503.
    fn refuse(&self, part: &str, times: u32) {
        part.clone_into(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        self.refusals.store(times, Ordering::SeqCst);
    }
}

/// A machine whose package manager is real.
struct Real {
    machine: Machine,
    mirror: Mirror,
}

impl Real {
    fn new(name: &str) -> Self {
        let mirror = Mirror::start();
        let mut machine = Machine::over(name, pages(), |folder| Some(overlay(folder)));
        machine.configure(|config| config["deadline_seconds"] = 40_000.into());
        machine.pace = 20;
        let address = mirror.listener.address().to_string();
        if name == AMAZON {
            be_amazon(&machine, &address);
        } else {
            be_ubuntu(&machine, &address);
            // No test can sign with AWS's key either.
            machine.rule(serde_json::json!({"run": "gpgv *"}));
        }
        Self { machine, mirror }
    }

    /// Runs a tool inside, as `bootstrap` would; its standard output.
    fn inside(&self, tool: &str, arguments: &[&str]) -> String {
        let tool = self.machine.tools().join(tool);
        let output = Command::new(tool)
            .args(arguments)
            .env("BOOTSTRAP_ROOT", self.machine.root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Name and version of every package that is installed, beyond those of the image.
    fn packages(&self) -> Vec<String> {
        let list = if self.machine.tools().join("rpm").exists() {
            self.inside(
                "rpm",
                &["-qa", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE}\n"],
            )
        } else {
            self.inside(
                "dpkg-query",
                &["--show", "--showformat", "${Package} ${Version}\n"],
            )
        };
        let image = ["gpg-pubkey", "system-release", "amazon-ssm-agent", "cron"];
        let mut found: Vec<String> = list
            .lines()
            .filter(|line| !image.contains(&line.split(' ').next().unwrap()))
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    }

    /// The script of docker's package that runs `before` or `after` it is unpacked waits there until it is killed.
    fn gate(&self, step: &str) -> Gate {
        let path = self.machine.path(&format!("/run/gate-{step}"));
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Gate(path)
    }

    /// Holds the lock as a package manager does, until the answer is dropped.
    fn lock(&self, path: &str) -> fs::File {
        let file = fs::File::options()
            .write(true)
            .open(self.machine.path(path))
            .unwrap();
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        file
    }

    /// Comes back when a tool has been called so.
    fn wait_for(&self, call: &str) {
        poll(call, || {
            self.machine
                .calls()
                .iter()
                .any(|called| called.contains(call))
                .then_some(())
        });
    }

    /// A run comes to this call while another holds the lock, waits, and ends well.
    fn waits(&self, lock: &str, call: &str) {
        self.machine.write(lock, "");
        let held = self.lock(lock);
        let phases = ["preflight", "nvidia", "docker"];
        let arguments: Vec<&str> = phases.iter().flat_map(|name| ["--phase", name]).collect();
        let run = self.machine.start(&arguments);
        self.wait_for(call);
        drop(held);
        run.wait().expect(0);
    }

    /// Cuts a run off while docker's script that comes `before` or `after` unpacking is at work; the next run makes up for it.
    fn is_mended(&self, step: &str) {
        let gate = self.gate(step);
        let run = self.machine.start(&[]);
        // As long as this is held the script waits.
        let waiting = gate.arrived();
        run.cut_off();
        drop(waiting);
        fs::remove_file(&gate.0).unwrap();
        assert!(!self.machine.path("/etc/docker-is-set-up").exists());
        self.machine.run(&[]).expect(0);
        assert!(self.machine.path("/etc/docker-is-set-up").exists());
    }
}

/// The agent's package and the toolkit's repository, which come from elsewhere.
fn pages() -> HashMap<String, Vec<u8>> {
    let read = |path: &str| fs::read(REPOSITORIES.join(path)).unwrap();
    let toolkit = "https://nvidia.github.io/libnvidia-container";
    let mut pages = HashMap::from([
        (format!("{toolkit}/gpgkey"), read("key.asc")),
        (
            "https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com/ubuntu/amd64/latest/\
             amazon-cloudwatch-agent.deb"
                .to_owned(),
            read("ubuntu-24.04/agent/amazon-cloudwatch-agent_1.300069.1_amd64.deb"),
        ),
        (
            "https://amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com/ubuntu/amd64/latest/\
             amazon-cloudwatch-agent.deb.sig"
                .to_owned(),
            b"a signature".to_vec(),
        ),
    ]);
    for entry in fs::read_dir(REPOSITORIES.join("ubuntu-24.04/nvidia")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        // apt asks for packages below `./`, as the index has it.
        for below in ["", "./"] {
            let url = format!("{toolkit}/stable/deb/amd64/{below}{name}");
            pages.insert(url, bytes.clone());
        }
    }
    pages
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The root of this machine, with what belongs to its packages and services taken out.
fn overlay(folder: &Path) -> Mounted {
    let mounted = overlay_of(Path::new("/"), folder);
    let root = folder.join("root");
    for path in [
        "etc/apt",
        "etc/bootstrap",
        "etc/cron.d",
        "etc/dnf",
        "etc/docker",
        "etc/dpkg",
        "etc/os-release",
        "etc/rpm",
        "etc/systemd/system",
        "etc/yum.repos.d",
        "lib/systemd/system",
        "opt",
        "run",
        "data",
        "usr/lib/systemd/system",
        "var/cache/apt",
        "var/cache/dnf",
        "var/lib/apt",
        "var/lib/bootstrap",
        "var/lib/dnf",
        "var/lib/dpkg",
        "var/lib/rpm",
        "var/log",
    ] {
        let path = root.join(path);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        let _ = fs::create_dir_all(&path);
    }
    fs::remove_dir(root.join("etc/os-release")).unwrap();
    mounted
}

/// An overlay over this root, where changes go to memory.
pub fn overlay_of(lower: &Path, folder: &Path) -> Mounted {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (layer, root) = (folder.join("layer"), folder.join("root"));
    fs::create_dir(&layer).unwrap();
    fs::create_dir(&root).unwrap();
    // Its size is what the root disk has free; nothing is reserved.
    run(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "size=64g",
            "tmpfs",
            &text(layer.clone()),
        ],
    );
    for part in ["upper", "work"] {
        fs::create_dir(layer.join(part)).unwrap();
    }
    let options = format!(
        "lowerdir={1},upperdir={0}/upper,workdir={0}/work",
        layer.display(),
        lower.display()
    );
    run(
        "mount",
        &[
            "-t",
            "overlay",
            "-o",
            &options,
            "overlay",
            &text(root.clone()),
        ],
    );
    let mounted = Mounted(root.clone());
    // Only the overlay needs it from now on.
    run("umount", &["--lazy", &text(layer)]);
    // What `bootstrap` names by a path of this machine is found inside too.
    let outside = root.join(text(root.clone()).trim_start_matches('/'));
    fs::create_dir_all(outside.parent().unwrap()).unwrap();
    let _ = fs::remove_dir(&outside);
    symlink("/", outside).unwrap();
    mounted
}

/// Has `bootstrap` find these tools, inside the machine.
pub fn enter(machine: &Machine, tools: &[&str]) {
    for tool in tools {
        let path = machine.tools().join(tool);
        let log = machine.tools().join("calls.log");
        let script = format!(
            "#!/bin/sh\n\
             PATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
             printf '%s\\n' \"{tool} $*\" | sed \"s|$BOOTSTRAP_ROOT|ROOT|g\" >>'{}'\n\
             exec unshare --mount --propagation private sh -c 'mount -t proc proc \"$0/proc\" &&\n\
             mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"' \"$BOOTSTRAP_ROOT\" {tool} \"$@\"\n",
            log.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn be_amazon(machine: &Machine, mirror: &str) {
    enter(machine, &["dnf", "rpm"]);
    machine.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n");
    machine.write("/etc/dnf/vars/mirror", mirror);
    // As Amazon Linux has it.
    machine.write(
        "/etc/dnf/dnf.conf",
        "[main]\ngpgcheck=1\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\n",
    );
    machine.write("/etc/dnf/plugins/versionlock.list", "");
    machine.write(
        "/etc/dnf/plugins/versionlock.conf",
        "[main]\nenabled=1\nlocklist=/etc/dnf/plugins/versionlock.list\n",
    );
    machine.write(
        "/etc/yum.repos.d/amazonlinux.repo",
        "[amazonlinux]\nname=Amazon Linux\nbaseurl=http://$mirror/amazon-linux-2023/system\ngpgcheck=1\n\
         gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-models\n",
    );
    machine.write(
        "/etc/pki/rpm-gpg/RPM-GPG-KEY-models",
        &fs::read_to_string(REPOSITORIES.join("key.asc")).unwrap(),
    );
    let image = ["system-release", "amazon-ssm-agent", "kernel6.18-6.18.8"];
    let rpms = fs::read_dir(REPOSITORIES.join("amazon-linux-2023/system")).unwrap();
    for rpm in rpms.flatten() {
        let name = rpm.file_name().into_string().unwrap();
        if image
            .iter()
            .any(|image| name.starts_with(&format!("{image}-")))
        {
            let inside = format!("/var/{name}");
            fs::copy(rpm.path(), machine.path(&inside)).unwrap();
            let mut install = Command::new(machine.tools().join("rpm"));
            install
                .args(["--install", "--nosignature", &inside])
                .env("BOOTSTRAP_ROOT", machine.root());
            // Another test's new process may still hold the tool as it was written.
            let installed = loop {
                match install.output() {
                    Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                    ended => break ended.unwrap(),
                }
            };
            assert!(
                installed.status.success(),
                "{}",
                String::from_utf8_lossy(&installed.stderr)
            );
        }
    }
    machine.forget_calls();
}

fn be_ubuntu(machine: &Machine, mirror: &str) {
    enter(
        machine,
        &["apt-get", "apt-cache", "apt-mark", "dpkg", "dpkg-query"],
    );
    for folder in ["info", "updates", "triggers", "parts"] {
        fs::create_dir_all(machine.path("/var/lib/dpkg").join(folder)).unwrap();
    }
    machine.write("/var/lib/dpkg/status", "");
    machine.write("/var/lib/dpkg/available", "");
    for folder in [
        "/var/cache/apt/archives/partial",
        "/var/lib/apt/lists/partial",
        "/etc/apt/apt.conf.d",
        "/etc/apt/preferences.d",
        "/etc/apt/trusted.gpg.d",
    ] {
        fs::create_dir_all(machine.path(folder)).unwrap();
    }
    machine.write(
        "/etc/apt/keyrings/models.asc",
        &fs::read_to_string(REPOSITORIES.join("key.asc")).unwrap(),
    );
    // No test can sign with NVIDIA's.
    machine.write(
        "/etc/apt/keyrings/nvidia-container-toolkit.asc",
        &fs::read_to_string(REPOSITORIES.join("key.asc")).unwrap(),
    );
    machine.write(
        "/etc/apt/sources.list",
        &format!(
            "deb [signed-by=/etc/apt/keyrings/models.asc] http://{mirror}/ubuntu-24.04/system ./\n"
        ),
    );
    machine.write(
        "/etc/apt/apt.conf.d/internet",
        &format!(
            "Acquire::https::CaInfo \"{}\";\n",
            machine.beside("internet.crt").display()
        ),
    );
    machine.write("/usr/lib/systemd/system/cron.service", "[Unit]\n");
}

/// What a whole run installs on Amazon Linux with the kernel 6.18: for the kernel that runs, of the branch 580, and
/// nothing that is only recommended. The headers are what the compiler came with.
const ON_AMAZON: &[&str] = &[
    "amazon-cloudwatch-agent 1.300069.1-1.amzn2023",
    "containerd 2.0.5-1.amzn2023.0.2",
    "cronie 1.5.7-1.amzn2023.0.3",
    "cronie-anacron 1.5.7-1.amzn2023.0.3",
    "dkms 3.4.1-1.amzn2023",
    "docker 25.0.14-1.amzn2023.0.1",
    "gcc 11.5.0-5.amzn2023.0.5",
    "glibc-devel 2.34-231.amzn2023.0.1",
    "kernel-headers 6.1.155-176.282.amzn2023",
    "kernel6.18 6.18.8-9.213.amzn2023",
    "kernel6.18-devel 6.18.8-9.213.amzn2023",
    "kernel6.18-modules-extra 6.18.8-9.213.amzn2023",
    "kmod-nvidia-open-dkms 580.159.03-1.amzn2023",
    "libnvidia-ml 580.159.03-1.amzn2023",
    "logrotate 3.20.1-2.amzn2023.0.3",
    "nvidia-container-toolkit 1.20.0-1",
    "nvidia-driver-cuda 580.159.03-1.amzn2023",
    "nvidia-persistenced 580.159.03-1.amzn2023",
    "nvidia-release 1.0-2.amzn2023",
    "python3-dnf-plugin-versionlock 4.3.0-13.amzn2023.0.5",
];

fn real_dnf_sets_up_a_node_with_the_right_packages() {
    let real = Real::new(AMAZON);
    real.machine.run(&[]).expect(0);
    assert_eq!(real.machine.phases("ok").len(), PHASES.len());
    assert_eq!(real.packages(), ON_AMAZON);
    // An update leaves kernel and driver as they are.
    real.inside("dnf", &["-y", "upgrade"]);
    assert_eq!(real.packages(), ON_AMAZON);
    real.machine.forget_calls();
    real.machine.run(&[]).expect(0);
    assert_eq!(real.machine.changes(), Vec::<String>::new());
}

/// Whatever the names, and whether or not another kernel's headers are there, as dkms alone brings them: they conflict
/// with the running kernel's.
fn real_dnf_installs_what_belongs_to_the_running_kernel() {
    for (name, version) in [
        ("kernel6.18", "6.18.8-9.213.amzn2023"),
        ("kernel6.12", "6.12.46-66.121.amzn2023"),
        ("kernel", "6.1.155-176.282.amzn2023"),
    ] {
        for is_there in [false, true] {
            let real = Real::new(AMAZON);
            let release = format!("{version}.x86_64\n");
            real.machine.write("/proc/sys/kernel/osrelease", &release);
            if is_there {
                let dnf = ["-y", "--setopt=install_weak_deps=False", "install"];
                let packages = ["nvidia-release", "dkms", "dnf-command(versionlock)"];
                real.inside("dnf", &[dnf, packages].concat());
                let unfinished = "/var/lib/bootstrap/driver-install-unfinished";
                real.machine.write(unfinished, "");
            }
            real.machine
                .run(&["--phase", "preflight", "--phase", "nvidia"])
                .expect(0);
            let packages = real.packages();
            let of_a_kernel = |package: &&String| {
                ["-devel ", "-modules-extra "]
                    .iter()
                    .any(|part| package.contains(part) && package.starts_with("kernel"))
            };
            let found: Vec<&String> = packages.iter().filter(of_a_kernel).collect();
            let wanted = ["devel", "modules-extra"].map(|part| format!("{name}-{part} {version}"));
            assert_eq!(found, wanted.iter().collect::<Vec<_>>(), "{is_there}");
        }
    }
}

/// An update past the lock brings another kernel, for which the module is not built.
fn real_dnf_brings_the_driver_back_after_another_kernel() {
    let real = Real::new(AMAZON);
    let machine = &real.machine;
    machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(0);
    machine.reboot(2);
    machine.write(
        "/proc/sys/kernel/osrelease",
        "6.18.20-20.229.amzn2023.x86_64\n",
    );
    machine.forget("module built");
    machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(0);
    assert_eq!(machine.phase("nvidia")["changed"], true);
    assert!(
        real.packages()
            .contains(&"kernel6.18-devel 6.18.20-20.229.amzn2023".to_owned())
    );
    let locks = machine.read("/etc/dnf/plugins/versionlock.list");
    assert!(
        locks.contains("kernel6.18-devel-0:6.18.20-20.229.amzn2023.*"),
        "{locks}"
    );
}

fn real_dnf_installs_another_branch_where_the_config_says_so() {
    let mut real = Real::new(AMAZON);
    real.machine
        .configure(|config| config["gpu_driver"] = 595.into());
    real.machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(0);
    let packages = real.packages();
    let found = packages.iter().filter(|package| package.contains("nvidia"));
    let found: Vec<_> = found.filter(|package| package.contains("595")).collect();
    assert_eq!(found.len(), 4, "{packages:#?}");

    real.machine
        .configure(|config| config["gpu_driver"] = 610.into());
    let machine = &real.machine;
    machine.reboot(2);
    machine.forget("module built");
    machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(1);
    expect_failure(
        machine,
        "nvidia",
        "cannot install dkms kernel6.18-devel-6.18.8-9.213.amzn2023.x86_64 kernel6.18-modules-extra-6.18.8-9.213.amzn2023.x86_64 kmod-nvidia-open-dkms-610* nvidia-driver-cuda-610* nvidia-persistenced-610*: Error: Unable to find a match: kmod-nvidia-open-dkms-610* nvidia-driver-cuda-610* nvidia-persistenced-610*",
        NOT_THERE,
    );
}

const NOT_THERE: &str = "use a newer AMI of the same system, since repositories keep packages for recent kernels only; or name a branch of the driver that they have in \"gpu_driver\" of the config";
const UNSIGNED: &str =
    "packages without a valid signature are never installed: check the repository's key";
const UNREACHABLE: &str = "check that the instance reaches its package mirrors (route, NAT, DNS, S3 endpoint), then run `bootstrap` again";

/// What is wrong with a machine, and the exact error.
struct Wrong {
    what: &'static str,
    spoil: fn(&Real),
    reason: &'static str,
    hint: &'static str,
}

#[track_caller]
fn expect_wrong(name: &str, wrong: &[Wrong]) {
    let mut others = Vec::new();
    for case in wrong {
        let real = Real::new(name);
        (case.spoil)(&real);
        real.machine
            .run(&["--phase", "preflight", "--phase", "nvidia"])
            .expect(1);
        let failed = real.machine.phase("nvidia");
        let mirror = real.mirror.listener.address().to_string();
        let said = |key: &str| {
            failed["error"][key]
                .as_str()
                .unwrap_or_default()
                .replace(&mirror, "MIRROR")
        };
        let mut said = (said("reason"), said("hint"));
        // Keys are made for each run of the tests.
        if let Some(key) = said.0.find("NO_PUBKEY ") {
            said.0.replace_range(key + 10..key + 26, "KEY");
        }
        if (said.0.as_str(), said.1.as_str()) != (case.reason, case.hint) {
            others.push((case.what, said));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

fn real_dnf_says_what_it_cannot_have() {
    expect_wrong(
        AMAZON,
        &[
            Wrong {
                what: "a kernel that the repositories no longer have",
                spoil: |real| {
                    real.machine
                        .write("/proc/sys/kernel/osrelease", "6.18.2-1.amzn2023.x86_64\n");
                },
                reason: "cannot install dkms kernel6.18-devel-6.18.2-1.amzn2023.x86_64 kernel6.18-modules-extra-6.18.2-1.amzn2023.x86_64 kmod-nvidia-open-dkms-580* nvidia-driver-cuda-580* nvidia-persistenced-580*: Error: Unable to find a match: kernel6.18-devel-6.18.2-1.amzn2023.x86_64 kernel6.18-modules-extra-6.18.2-1.amzn2023.x86_64",
                hint: NOT_THERE,
            },
            Wrong {
                what: "packages signed with a key that is not the repository's",
                spoil: |real| {
                    let other = fs::read_to_string(REPOSITORIES.join("other.asc")).unwrap();
                    real.machine
                        .write("/etc/pki/rpm-gpg/RPM-GPG-KEY-models", &other);
                },
                reason: "`dnf -y --setopt=install_weak_deps=False install nvidia-release` failed with exit code 1: Public key for nvidia-release-1.0-2.amzn2023.x86_64.rpm is not installed. Failing package is: nvidia-release-1.0-2.amzn2023.x86_64",
                hint: UNSIGNED,
            },
            Wrong {
                what: "an unsigned package",
                spoil: |real| {
                    let repository = real.machine.read("/etc/yum.repos.d/amazonlinux.repo");
                    real.machine.write(
                        "/etc/yum.repos.d/amazonlinux.repo",
                        &repository.replace("/system", "/unsigned"),
                    );
                },
                reason: "`dnf -y --setopt=install_weak_deps=False install nvidia-release` failed with exit code 1: Package nvidia-release-1.0-2.amzn2023.x86_64.rpm is not signed",
                hint: UNSIGNED,
            },
            Wrong {
                what: "a repository that is not there",
                spoil: |real| real.machine.write("/etc/dnf/vars/mirror", "127.0.0.1:9"),
                reason: "`dnf -y --setopt=install_weak_deps=False install nvidia-release` failed with exit code 1: Errors during downloading metadata for repository 'amazonlinux': - Curl error (7): Couldn't connect to server for http://127.0.0.1:9/amazon-linux-2023/system/repodata/repomd.xml [Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn't connect to server]",
                hint: UNREACHABLE,
            },
        ],
    );
}

fn real_dnf_waits_for_a_lock_and_a_mirror() {
    let real = Real::new(AMAZON);
    real.mirror.refuse("/system/docker-", 2);
    let waits = "dnf -y --setopt=install_weak_deps=False install nvidia-release";
    real.waits("/var/lib/rpm/.rpm.lock", waits);
    assert!(
        real.packages()
            .contains(&"docker 25.0.14-1.amzn2023.0.1".to_owned())
    );
}

fn real_dnf_cut_off_is_mended() {
    let real = Real::new(AMAZON);
    real.is_mended("after");
    assert_eq!(real.packages(), ON_AMAZON);
}

const ON_UBUNTU: &[&str] = &[
    "amazon-cloudwatch-agent 1.300069.1",
    "containerd 2.2.1-0ubuntu1",
    "docker.io 29.1.3-0ubuntu1",
    "libnvidia-compute-580-server 580.178.04-0ubuntu0.24.04.1",
    "libnvidia-decode-580-server 580.178.04-0ubuntu0.24.04.1",
    "libnvidia-encode-580-server 580.178.04-0ubuntu0.24.04.1",
    "linux-modules-nvidia-580-server-open-7.0.0-1018-aws 7.0.0-1018.18",
    "logrotate 3.21.0-2build1",
    "nvidia-compute-utils-580-server 580.178.04-0ubuntu0.24.04.1",
    "nvidia-container-toolkit 1.20.0-1",
    "nvidia-headless-no-dkms-580-server-open 580.178.04-0ubuntu0.24.04.1",
    "nvidia-kernel-common-580-server 580.178.04-0ubuntu0.24.04.1",
    "nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1",
];

fn real_apt_sets_up_a_node_with_the_right_packages() {
    let real = Real::new(UBUNTU);
    real.machine.run(&[]).expect(0);
    assert_eq!(real.machine.phases("ok").len(), PHASES.len());
    assert_eq!(real.packages(), ON_UBUNTU);
    real.machine.forget_calls();
    real.machine.run(&[]).expect(0);
    assert_eq!(real.machine.changes(), Vec::<String>::new());
}

fn real_apt_takes_dkms_where_the_kernel_has_no_modules() {
    let real = Real::new("real-ubuntu-22.04-gpu");
    real.machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(0);
    let packages = real.packages();
    assert!(
        packages.contains(&"nvidia-dkms-580-server-open 580.178.04-0ubuntu0.24.04.1".to_owned())
    );
    assert!(packages.contains(&"linux-headers-6.8.0-1008-aws 6.8.0-1008.8".to_owned()));
    assert!(
        !packages
            .iter()
            .any(|package| package.starts_with("linux-modules-nvidia"))
    );
}

/// The modules for this kernel are in the index, and what they depend on has gone.
fn real_apt_takes_dkms_where_modules_cannot_be_installed() {
    let real = Real::new(UBUNTU);
    real.machine
        .write("/proc/sys/kernel/osrelease", "6.14.0-1010-aws\n");
    let known = real.inside("apt-get", &["--quiet", "update"]);
    assert!(known.contains("Reading package lists"), "{known}");
    let modules = "linux-modules-nvidia-580-server-open-6.14.0-1010-aws";
    let policy = real.inside("apt-cache", &["policy", modules]);
    assert!(
        policy.contains("Candidate: 6.14.0-1010.10~24.04.1"),
        "{policy}"
    );
    real.machine
        .run(&["--phase", "preflight", "--phase", "nvidia"])
        .expect(0);
    let packages = real.packages();
    for package in [
        "linux-headers-6.14.0-1010-aws 6.14.0-1010.10~24.04.1",
        "nvidia-dkms-580-server-open 580.178.04-0ubuntu0.24.04.1",
        "nvidia-utils-580-server 580.178.04-0ubuntu0.24.04.1",
    ] {
        assert!(packages.contains(&package.to_owned()), "{packages:#?}");
    }
    assert!(!packages.iter().any(|package| package.starts_with(modules)));
    let log = real.machine.read("/var/log/bootstrap.log");
    let why = format!(
        "cannot install {modules} nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server libnvidia-encode-580-server: \
         The following packages have unmet dependencies: {modules} : Depends: nvidia-kernel-common-580-server (<= 580.82.07-1) \
         but 580.178.04-0ubuntu0.24.04.1 is to be installed"
    );
    assert!(log.contains(&why), "{log}");
}

fn real_apt_says_what_it_cannot_have() {
    expect_wrong(
        UBUNTU,
        &[
            Wrong {
                what: "a kernel that the repositories no longer have",
                spoil: |real| {
                    real.machine
                        .write("/proc/sys/kernel/osrelease", "6.5.0-1001-aws\n");
                },
                reason: "cannot install linux-modules-nvidia-580-server-open-6.5.0-1001-aws nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server libnvidia-encode-580-server: E: Unable to locate package linux-modules-nvidia-580-server-open-6.5.0-1001-aws; cannot install linux-headers-6.5.0-1001-aws nvidia-dkms-580-server-open nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server libnvidia-encode-580-server: E: Unable to locate package linux-headers-6.5.0-1001-aws",
                hint: NOT_THERE,
            },
            Wrong {
                what: "a repository signed with another key",
                spoil: |real| {
                    let other = fs::read_to_string(REPOSITORIES.join("other.asc")).unwrap();
                    real.machine.write("/etc/apt/keyrings/models.asc", &other);
                },
                reason: "`apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Update::Error-Mode=any update` failed with exit code 100: W: GPG error: http://MIRROR/ubuntu-24.04/system ./ InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY KEY",
                hint: "the repository is signed with a key that this machine does not trust: restore the repository's key",
            },
            Wrong {
                what: "a repository that is not signed",
                spoil: |real| {
                    let list = real.machine.read("/etc/apt/sources.list");
                    real.machine.write(
                        "/etc/apt/sources.list",
                        &list.replace("/system", "/unsigned"),
                    );
                },
                reason: "`apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Update::Error-Mode=any update` failed with exit code 100: E: The repository 'http://MIRROR/ubuntu-24.04/unsigned ./ Release' is not signed.",
                hint: UNSIGNED,
            },
            Wrong {
                what: "a repository that is not there",
                spoil: |real| {
                    let list = "deb [signed-by=/etc/apt/keyrings/models.asc] http://127.0.0.1:9/system ./\n";
                    real.machine.write("/etc/apt/sources.list", list);
                },
                reason: "`apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Update::Error-Mode=any update` failed with exit code 100: E: Failed to fetch http://127.0.0.1:9/system/./InRelease  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)",
                hint: UNREACHABLE,
            },
        ],
    );
}

fn real_apt_waits_for_a_lock_and_a_mirror() {
    let real = Real::new(UBUNTU);
    real.mirror.refuse("/system/docker.io", 2);
    let waits = "apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install --no-install-recommends linux-modules-nvidia";
    real.waits("/var/lib/dpkg/lock-frontend", waits);
    assert!(
        real.packages()
            .contains(&"docker.io 29.1.3-0ubuntu1".to_owned())
    );
}

fn real_apt_cut_off_is_mended() {
    for step in ["before", "after"] {
        let real = Real::new(UBUNTU);
        real.is_mended(step);
        assert_eq!(real.packages(), ON_UBUNTU);
    }
}
