//! Debian's real driver packages: installed by the product's own phase from Debian's archive into a root made for it, the
//! modules built by DKMS for the real cloud kernel's headers. Only the GPU is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::Test;
use crate::machine::Machine;
use crate::packages::{enter, overlay_of};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("debians_driver_is_built_for_the_cloud_kernel", debians_driver_is_built_for_the_cloud_kernel),
];

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/debian-12");
const MAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages/debian-root");

/// What is needed of this machine and its network, and is not there.
pub fn missing() -> Option<String> {
    let checked = Command::new(MAKE).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    match checked.status.code() {
        Some(0) => None,
        Some(3) => Some(said.trim().to_owned()),
        _ => panic!("{MAKE}: {said}"),
    }
}

/// A bare Debian, made once and kept, with the packages that have been fetched so far.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let made = Command::new(MAKE).arg(FOLDER).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    Path::new(FOLDER).join("root")
});

const ARCHIVES: &str = "var/cache/apt/archives";

struct Debian {
    machine: Machine,
    kernel: String,
}

impl Debian {
    fn new() -> Self {
        let mounted = |folder: &Path| Some(overlay_of(&ROOT, folder));
        let mut machine = Machine::over(
            "real-debian-12-gpu",
            std::collections::HashMap::new(),
            mounted,
        );
        machine.configure(|config| config["deadline_seconds"] = 40_000.into());
        for file in ["/etc/hosts", "/etc/resolv.conf"] {
            machine.write(file, &fs::read_to_string(file).unwrap());
        }
        fs::remove_file(machine.tools().join("modprobe")).unwrap();
        enter(
            &machine,
            &[
                "apt-cache",
                "apt-get",
                "apt-mark",
                "dkms",
                "dpkg",
                "dpkg-divert",
                "dpkg-query",
                "modinfo",
                "modprobe",
            ],
        );
        let mut debian = Self {
            machine,
            kernel: String::new(),
        };
        debian.inside("apt-get", &["update"]);
        // The archive's newest.
        let depends = debian.inside("apt-cache", &["depends", "linux-headers-cloud-amd64"]);
        let (_, kernel) = depends.split_once("Depends: linux-headers-").unwrap();
        kernel.trim().clone_into(&mut debian.kernel);
        debian.machine.write(
            "/proc/sys/kernel/osrelease",
            &format!("{}\n", debian.kernel),
        );
        debian.put_modprobe();
        debian.put_dkms();
        debian.machine.forget_calls();
        debian
    }

    /// Finds the module for this kernel, as the real one, and then has no device to load it for.
    fn put_modprobe(&self) {
        let tools = self.machine.tools();
        fs::rename(tools.join("modprobe"), tools.join("real-modprobe")).unwrap();
        let script = format!(
            "#!/bin/sh\n'{}' --set-version {} --show-depends \"$@\" >/dev/null || exit\n\
             echo \"modprobe: ERROR: could not insert '$1': No such device\" >&2\nexit 1\n",
            tools.join("real-modprobe").display(),
            self.kernel
        );
        fs::write(tools.join("modprobe"), script).unwrap();
        fs::set_permissions(tools.join("modprobe"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Builds two of the driver's five modules: all are built alike, for minutes.
    fn put_dkms(&self) {
        let real = "/usr/sbin/dkms.real";
        let divert = ["--no-rename", "--divert", real, "--add", "/usr/sbin/dkms"];
        self.inside("dpkg-divert", &divert);
        // The fourth, nvidia-uvm, becomes the second; only once, since DKMS is called several times.
        let script = format!(
            "#!/bin/sh\ngrep -qs NV_KERNEL_MODULES /usr/src/nvidia-*/dkms.conf ||\n\
             sed -i -e '/\\[[124]\\]=/d' -e 's/\\[3\\]=/[1]=/' \
             -e \"s/ modules / modules NV_KERNEL_MODULES='nvidia nvidia-uvm' /\" /usr/src/nvidia-*/dkms.conf\n\
             exec {real} \"$@\"\n"
        );
        self.machine.write("/usr/sbin/dkms", &script);
        let dkms = self.machine.path("/usr/sbin/dkms");
        fs::set_permissions(dkms, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a tool inside, as `bootstrap` would; its standard output.
    fn inside(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(self.machine.tools().join(tool))
            .args(arguments)
            .env("BOOTSTRAP_ROOT", self.machine.root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Debian {
    /// The next one need not fetch what this one has.
    fn drop(&mut self) {
        for fetched in fs::read_dir(self.machine.path(ARCHIVES)).unwrap().flatten() {
            let kept = ROOT.join(ARCHIVES).join(fetched.file_name());
            if fetched.path().is_file() && !kept.exists() {
                let _ = fs::copy(fetched.path(), kept);
            }
        }
    }
}

fn debians_driver_is_built_for_the_cloud_kernel() {
    let debian = Debian::new();
    let (machine, kernel) = (&debian.machine, &debian.kernel);
    let phases = ["--phase", "preflight", "--phase", "nvidia"];
    machine.run(&phases).expect(4);
    let missing = "the NVIDIA driver is not loaded (`modprobe nvidia` failed with exit code 1: modprobe: ERROR: could not \
                   insert 'nvidia': No such device)";
    assert_eq!(
        machine.phase("nvidia")["detail"],
        format!("waits for a reboot: {missing}")
    );

    // All is installed, configured, and held; the modules are of this kernel and of the version that has been installed.
    assert_eq!(debian.inside("dpkg", &["--audit"]), "");
    let versions = debian.inside(
        "dpkg-query",
        &[
            "--show",
            "--showformat=${Version}\n",
            "nvidia-kernel-dkms",
            "nvidia-smi",
        ],
    );
    let version = versions.lines().next().unwrap();
    assert!(versions.lines().all(|other| other == version), "{versions}");
    let number = version.split('-').next().unwrap();
    let status = debian.inside("dkms", &["status", "-k", kernel]);
    assert_eq!(
        status,
        format!("nvidia-current/{number}, {kernel}, x86_64: installed\n")
    );
    for module in ["nvidia-current", "nvidia-current-uvm"] {
        let file = format!("/lib/modules/{kernel}/updates/dkms/{module}.ko");
        assert_eq!(
            debian.inside("modinfo", &["-F", "version", &file]).trim(),
            number
        );
        let magic = debian.inside("modinfo", &["-F", "vermagic", &file]);
        assert!(magic.starts_with(&format!("{kernel} ")), "{magic}");
    }
    let held = debian.inside("apt-mark", &["showhold"]);
    assert!(
        held.lines().any(|package| package == "nvidia-kernel-dkms"),
        "{held}"
    );
    // From where the machine has the rest.
    let added = machine.read("/etc/apt/sources.list.d/bootstrap-components.list");
    let sources = machine.read("/etc/apt/sources.list");
    let wanted: Vec<_> = sources
        .lines()
        .filter_map(|line| line.strip_suffix(" main"))
        .map(|line| format!("{line} contrib non-free non-free-firmware"))
        .collect();
    assert_eq!(added.lines().collect::<Vec<_>>(), wanted);

    machine.reboot(2);
    machine.run(&phases).expect(1);
    assert_eq!(
        machine.phase("nvidia")["error"]["reason"],
        format!("nvidia asked for a second reboot, and the first did not help: {missing}")
    );
}
