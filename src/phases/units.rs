//! The units that bring the machine to the desired state at every boot, and repair it in between.

use crate::error::Result;
use crate::host::Host;
use crate::host::files::Access;
use crate::paths;

/// Runs at every boot.
pub(super) const UNIT: &str = "bootstrap.service";
/// Starts the repairs.
pub(super) const REPAIRS: &str = "bootstrap-repair.timer";

/// Exits with 4 when a reboot is under way. Its time limit is the run's (`deadline_seconds`). The boot continues in
/// parallel: for a oneshot, multi-user.target would wait until it ends, and so would cloud-init's last stage.
/// After a boot, only this run can start the container, so it retries until the cause of a failure is gone; a wrong
/// config (2) waits for a person.
const RUN: &str = "\
[Unit]
Description=Bring this machine to the state of a Theta edge node
After=network-online.target docker.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program}
SuccessExitStatus=4
Restart=on-failure
RestartSec=5min
RestartPreventExitStatus=2
{rights}
[Install]
WantedBy=multi-user.target
";

/// Exits with 3 if a run is in progress. systemd's own messages about each start would fill the journal.
const REPAIR: &str = "\
[Unit]
Description=Repair what is down of the Theta edge node
After=bootstrap.service docker.service

[Service]
Type=oneshot
ExecStart={program} repair
SuccessExitStatus=3 4
SyslogLevel=notice
LogLevelMax=notice
{rights}";

/// Counted from [`RUN`], however long the boot takes to get there: a first look at the same time could take its lock.
const TIMER: &str = "\
[Unit]
Description=Repair what is down of the Theta edge node, every 20 s
After=bootstrap.service

[Timer]
OnActiveSec=20s
OnUnitInactiveSec=20s
AccuracySec=1s

[Install]
WantedBy=timers.target
";

/// Whatever a run starts has no more rights than the run itself, and that includes the scripts of any package, which
/// need, or may need, everything that is not dropped here. `ping` and the like, which have file capabilities, would not
/// even start without those. Rebooting is left to systemd. Also ruled out: a mount namespace, in which the volume would
/// be mounted for nobody else (Protect…, Private…); a device allow-list, since the volume's device appears later
/// (`ProtectClock=` implies one, too).
const RIGHTS: &str = "\
CapabilityBoundingSet=~CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_BLOCK_SUSPEND CAP_BPF CAP_CHECKPOINT_RESTORE CAP_IPC_LOCK
CapabilityBoundingSet=~CAP_IPC_OWNER CAP_LEASE CAP_LINUX_IMMUTABLE CAP_MAC_OVERRIDE CAP_NET_BROADCAST CAP_PERFMON
CapabilityBoundingSet=~CAP_SYSLOG CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_PACCT CAP_SYS_RAWIO CAP_SYS_TIME CAP_SYS_TTY_CONFIG
CapabilityBoundingSet=~CAP_WAKE_ALARM
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
";

/// The files and their contents.
fn files() -> [(&'static str, String); 3] {
    [
        (paths::UNIT, RUN),
        (paths::REPAIR_UNIT, REPAIR),
        (paths::REPAIR_TIMER, TIMER),
    ]
    .map(|(file, text)| {
        let text = text.replace("{rights}", RIGHTS);
        (file, text.replace("{program}", paths::PROGRAM))
    })
}

/// What is missing of them. A timer that somebody has stopped does not count: it keeps the node down until the next
/// boot.
pub(super) async fn missing(host: &Host) -> Result<Option<String>> {
    for (file, text) in files() {
        if host.read(file)?.as_deref() != Some(text.as_bytes()) {
            let name = file.rsplit('/').next().unwrap_or(file);
            return Ok(Some(format!("{name} is not installed")));
        }
    }
    for name in [UNIT, REPAIRS] {
        if !host.unit_enabled(name).await? {
            return Ok(Some(format!("{name} is not enabled")));
        }
    }
    Ok(None)
}

/// Installs and enables them, and starts the timer if it is new or changed. The service itself starts at the next boot:
/// a run is already in progress.
pub(super) async fn install(host: &Host) -> Result<()> {
    let mut news = Vec::new();
    for (file, text) in files() {
        if host.write_if_changed(file, text.as_bytes(), Access::mode(0o644))? {
            news.push(file);
        }
    }
    if !news.is_empty()
        && let Err(error) = host.daemon_reload().await
    {
        // So that the next attempt reloads, too.
        for file in news {
            host.remove(file)?;
        }
        return Err(error);
    }
    host.enable(UNIT).await?;
    if news.contains(&paths::REPAIR_TIMER) || !host.unit_enabled(REPAIRS).await? {
        // Started first: once it is enabled, it counts as done.
        host.start_unit(REPAIRS).await?;
        host.enable(REPAIRS).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
        let lines = text.lines();
        let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.collect()
    }

    #[test]
    fn the_boot_does_not_wait_for_the_end_of_a_run() {
        // systemd considers it started once it executes.
        assert_eq!(values(RUN, "Type"), ["exec"]);
        assert_eq!(values(RUN, "WantedBy"), ["multi-user.target"]);
        assert_eq!(values(RUN, "RemainAfterExit"), [""; 0]);
    }

    #[test]
    fn the_run_at_boot_has_the_lock_before_a_repair_looks() {
        assert_eq!(values(TIMER, "After"), [UNIT]);
        assert_eq!(values(REPAIR, "After"), [format!("{UNIT} docker.service")]);
        // A time since boot may coincide with the start of the run.
        assert_eq!(values(TIMER, "OnBootSec"), [""; 0]);
    }

    #[test]
    fn a_repair_may_do_what_a_run_may() {
        let rights = |file: usize| {
            let files = files();
            let (_, text) = &files[file];
            values(text, "CapabilityBoundingSet").join(" ")
        };
        assert_eq!(rights(0), rights(1));
        assert!(rights(0).contains("CAP_SYS_BOOT"));
    }
}
