//! What a data volume holds is kept: foreign contents are refused, and a run may be killed anywhere.

use crate::launch::{Launch, PASSWORD, Place, disk, keepsake, sha256_of, stop_all};
use crate::wallet::asked_about_wallets;

pub fn foreign_contents_are_refused_and_unchanged() {
    let prepared = [
        ("xfs", "mkfs.xfs -q DISK", "xfs"),
        ("gpt", "sgdisk --new=1:0:0 DISK", "gpt"),
        ("lvm", "pvcreate --quiet --devicesfile= DISK", "LVM2_member"),
        ("btrfs", "mkfs.btrfs --quiet DISK", "btrfs"),
    ];
    for (name, make, found) in prepared {
        let disk = disk(name, make);
        let before = sha256_of(&disk);
        let (instance, _) = Launch::beside("foreign")
            .password(PASSWORD)
            .disk(&disk)
            .failing()
            .run();
        let status = instance.json("bootstrap status --json");
        assert_eq!(status["run"]["result"], "failed");
        let phases = status["phases"].as_array().unwrap();
        let volume = phases.iter().find(|phase| phase["name"] == "volume");
        let volume = volume.unwrap();
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
        stop_all(Place::Beside);
        assert_eq!(sha256_of(&disk), before, "{name}: the disk changed");
    }
}

/// Without a backup of the wallet, which costs a run nothing that it needs.
pub fn killed_in_each_phase_the_next_run_heals() {
    let keepsake = keepsake();
    let make = format!("mkfs.ext4 -q -d {} DISK", keepsake.display());
    let (instance, _) = Launch::beside("killed")
        .password(PASSWORD)
        .disk(&disk("kept", &make))
        .parameter("WalletBackup=false")
        .without_running()
        .run();
    for phase in [
        "preflight",
        "assets",
        "secret",
        "docker",
        "image",
        "user",
        "volume",
        "cloudwatch-agent",
        "container",
        "metrics-cron",
        "signal",
    ] {
        // A repair at work would keep the next run out.
        instance.try_run("systemctl stop bootstrap-repair.timer");
        let killed = (0..5).any(|_| instance.kill_in(phase));
        assert!(killed, "{phase} was always over before the kill");
    }
    let run = instance.try_run("bootstrap");
    assert_eq!(run.code, 0, "{}", run.output);
    let verify = instance.try_run("bootstrap verify --wait 3m");
    assert_eq!(verify.code, 0, "{}", verify.output);
    instance.run("cd /data && sha256sum --check --quiet SHA256SUMS");
    assert_eq!(asked_about_wallets(Place::Beside), 0);
    stop_all(Place::Beside);
}
