//! What a container cannot show, in QEMU: a kernel that boots, NVMe disks with serials, a driver that wants a reboot. In
//! this order, on one node.

use serde_json::Value;

use crate::launch::{Instance, Launch, PASSWORD, Place, check, stop_all};
use crate::oncall::{commands, is_healthy, told};
use crate::shared::qemu_node;

/// The name of the disk with this serial, as the kernel has it now.
fn disk_with(instance: &Instance, serial: &str) -> String {
    let disks = instance.json("lsblk --json --nodeps --output NAME,SERIAL");
    let disks = disks["blockdevices"].as_array().unwrap();
    let found = disks.iter().find(|disk| disk["serial"] == serial);
    let disk = found.unwrap_or_else(|| panic!("no {serial} in {disks:?}"));
    disk["name"].as_str().unwrap().to_owned()
}

/// The detail of one of `verify`'s checks, which passes.
fn passed(verify: &Value, name: &str) -> String {
    let check = check(verify, name);
    assert_eq!(check["status"], "pass", "{check}");
    check["detail"].as_str().unwrap().to_owned()
}

pub fn a_driver_that_loads_only_after_a_reboot_gets_one_and_the_run_goes_on() {
    let (instance, output) = Launch::in_qemu("qemu").password(PASSWORD).fake_gpu().run();
    let size = |disk| std::fs::metadata(instance.file(disk)).unwrap().len();
    assert_eq!(
        size("store.img"),
        size("disk.img"),
        "alike but for the serial"
    );

    let status = instance.json("bootstrap status --json");
    assert_eq!(status["run"]["result"], "ok");
    let phases = status["phases"].as_array().unwrap();
    let nvidia = phases.iter().find(|phase| phase["name"] == "nvidia");
    let nvidia = nvidia.unwrap();
    assert_eq!(
        (&nvidia["status"], &nvidia["detail"]),
        (
            &Value::from("ok"),
            &Value::from("1 x Tesla T4, driver 535.261.03")
        )
    );
    let verify = instance.json("bootstrap verify --json");
    assert_eq!(verify["verdict"], "healthy");
    assert_eq!(
        passed(&verify, "gpu-driver"),
        "1 x Tesla T4, driver 535.261.03"
    );
    assert_eq!(passed(&verify, "gpu-container"), "GPU 0: Tesla T4");

    // One run ended for the reboot, one boot later the other went on; nobody was told before that.
    let reboots = instance.run("grep -c 'resumes after a reboot' /var/log/bootstrap.log");
    assert_eq!(reboots, "1", "{output}");
    let boots = instance.run("journalctl --list-boots --quiet | wc -l");
    assert_eq!(boots, "2");
    let mut told: Vec<_> = instance
        .signals()
        .iter()
        .map(|signal| format!("{} {}", signal["by"], signal["Status"]))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            r#""SignalResource" "SUCCESS""#,
            r#""wait-handle" "SUCCESS""#
        ]
    );

    let mut node = qemu_node();
    node.address = instance.address();
    node.goes_on_with(instance);
}

pub fn the_volume_is_found_under_another_name() {
    let node = qemu_node();
    let instance = node.instance();
    let serial = instance.volume().replace('-', "");
    let before = disk_with(instance, &serial);
    instance.restart();
    let after = disk_with(instance, &serial);
    assert_ne!(before, after, "the disks were named in the same order");

    let verify = instance.try_run("bootstrap verify --wait 5m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    let mounted = instance.run("findmnt --noheadings --output SOURCE /data");
    assert_eq!(mounted, format!("/dev/{after}"));
    assert_eq!(instance.address(), node.address);
}

/// A container has the clock of this machine.
pub fn a_clock_that_jumps_stops_nothing() {
    let node = qemu_node();
    let instance = node.instance();
    for jump in ["+2 hours", "-2 hours"] {
        instance.run(&format!("date --set \"$(date --date '{jump}')\""));
        is_healthy(instance, &node.address, jump);
    }
}

/// It is larger after the next start, since what stands in for the disk looks at its file then only. Nothing runs at that
/// start, so that it is the printed remedy which makes the node well.
pub fn a_full_volume_is_made_larger() {
    let node = qemu_node();
    let instance = node.instance();
    instance.run("fallocate --length $(($(df --output=avail --block-size=1 /data | tail -n 1) - (8 << 20))) /data/filler");
    let told = told(instance, "the volume is full");
    assert!(
        told.cause.starts_with("disk-data: /data: 0 % free ("),
        "{told:?}"
    );
    assert_eq!(
        (told.verdict.as_str(), told.remedy.as_str()),
        (
            "degraded",
            "make the EBS volume larger, then run: sudo bootstrap"
        )
    );
    let volume = std::fs::File::options()
        .write(true)
        .open(instance.file("disk.img"))
        .unwrap();
    volume
        .set_len(volume.metadata().unwrap().len() + (2 << 30))
        .unwrap();
    instance.run("systemctl disable bootstrap.service bootstrap-repair.timer");
    instance.restart();
    let command = commands(&told.remedy);
    instance.run(&format!("sudo() {{ \"$@\"; }}; {command}"));
    is_healthy(instance, &node.address, "a full volume");
    let verify = instance.json("bootstrap verify --json");
    passed(&verify, "disk-data");
}

/// As large as the volume was, blank, and before it on the bus or after it: in nothing but its serial another disk.
pub fn a_second_disk_is_never_touched() {
    let mut node = qemu_node();
    let instance = node.instance();
    let disk = std::fs::File::open(instance.file("store.img")).unwrap();
    disk_with(instance, "AWS00000000000000001");
    node.stop();
    stop_all(Place::Qemu);
    // Nothing was ever written into the file: it has no data at all, not even zeros.
    let data = rustix::fs::seek(&disk, rustix::fs::SeekFrom::Data(0));
    assert_eq!(data, Err(rustix::io::Errno::NXIO), "data lies at {data:?}");
}
