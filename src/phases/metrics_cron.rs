//! Phase `metrics-cron`: cron or a systemd timer starts the metrics tick every minute, and the logs of the node's
//! processes are rotated.

mod logs;

use std::sync::Arc;

use async_trait::async_trait;

use crate::config::Schedule;
use crate::edge::container::restore_gpu;
use crate::engine::{Applied, Phase, State};
use crate::error::Result;
use crate::health::TIMER;
use crate::host::Host;
use crate::host::files::Access;
use crate::node::Node;
use crate::paths::{
    CRON_TABLE, LOGROTATE, LOGROTATE_STATE, PROGRAM, RUN, STATE, TICK_TIMER, TICK_UNIT,
};

fn cron_table() -> String {
    format!(
        "\
# Written by bootstrap (phase metrics-cron).
MAILTO=\"\"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
17 * * * * root logrotate --state {LOGROTATE_STATE} {LOGROTATE}
* * * * * root {PROGRAM} metrics
"
    )
}

const TIMER_UNIT: &str = "\
# Written by bootstrap (phase metrics-cron).
[Unit]
Description=Edge node metrics, every minute

[Timer]
OnCalendar=minutely
AccuracySec=1s

[Install]
WantedBy=timers.target
";

/// Exit code 3 means that another tick is still running.
///
/// The tick reads, publishes, and writes its state, lock and log. The privileges that it drops itself (`rights`) are
/// not granted here either. The GPU's devices stay accessible, so there is no `PrivateDevices=` and no `ProtectClock=`;
/// the driver's libraries may need memory that is both writable and executable.
fn service_unit() -> String {
    format!(
        "\
# Written by bootstrap (phase metrics-cron).
[Unit]
Description=Edge node metrics

[Service]
Type=oneshot
ExecStart={PROGRAM} metrics
SuccessExitStatus=3
ExecStartPre=+/bin/mkdir -p -m 0711 {RUN}
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
LockPersonality=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=-{RUN} {STATE} /var/log
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
"
    )
}

fn units() -> [(&'static str, String); 2] {
    [
        (TICK_UNIT, service_unit()),
        (TICK_TIMER, TIMER_UNIT.to_owned()),
    ]
}

/// See the module.
pub(super) struct MetricsCron(pub Arc<Node>);

#[async_trait]
impl Phase for MetricsCron {
    async fn check(&self) -> Result<State> {
        let Node { host, config, .. } = &*self.0;
        let missing = match config.metrics.schedule {
            Schedule::Cron => cron_missing(host).await?,
            Schedule::SystemdTimer => timer_missing(host).await?,
        };
        let missing = match missing {
            Some(missing) => Some(missing),
            None => logs::missing(host, config).await?,
        };
        Ok(match missing {
            Some(missing) => State::Needed(missing),
            None => State::Done("a metrics tick is started every minute".into()),
        })
    }

    async fn apply(&self) -> Result<Applied> {
        let Node { host, config, .. } = &*self.0;
        logs::apply(host, config).await?;
        match config.metrics.schedule {
            Schedule::Cron => {
                remove_timer(host).await?;
                apply_cron(host).await?;
            }
            Schedule::SystemdTimer => {
                host.remove(CRON_TABLE)?;
                apply_timer(host).await?;
            }
        }
        // Installing a package, or changing a unit that systemd has loaded, makes it reload its units.
        if config.gpu {
            restore_gpu(host, config).await?;
        }
        Ok(Applied::Finished)
    }
}

/// The part that an image can have: cron, and log rotation.
pub(super) struct Installed(pub Arc<Node>);

#[async_trait]
impl Phase for Installed {
    async fn check(&self) -> Result<State> {
        let host = &self.0.host;
        Ok(if let Some(missing) = cron_down(host).await? {
            State::Needed(missing)
        } else if !host.package_installed(logs::PACKAGE).await? {
            State::Needed(format!("{} is not installed", logs::PACKAGE))
        } else {
            State::Done("cron runs, and logrotate is installed".into())
        })
    }

    async fn apply(&self) -> Result<Applied> {
        logs::install(&self.0.host).await?;
        start_cron(&self.0.host).await?;
        Ok(Applied::Finished)
    }
}

/// Whether cron itself is missing.
async fn cron_down(host: &Host) -> Result<Option<String>> {
    let (package, unit) = host.os()?.cron;
    Ok(if !host.package_installed(package).await? {
        Some(format!("{package} is not installed"))
    } else if !host.unit_enabled(unit).await? || !host.unit_active(unit).await? {
        Some(format!("{unit} does not run"))
    } else {
        None
    })
}

async fn start_cron(host: &Host) -> Result<()> {
    let (package, unit) = host.os()?.cron;
    if !host.package_installed(package).await? {
        host.install_packages(&[package]).await?;
    }
    if !host.unit_enabled(unit).await? || !host.unit_active(unit).await? {
        host.enable_and_start(unit).await?;
    }
    Ok(())
}

async fn cron_missing(host: &Host) -> Result<Option<String>> {
    Ok(if let Some(down) = cron_down(host).await? {
        Some(down)
    } else if host.read(CRON_TABLE)?.as_deref() != Some(cron_table().as_bytes()) {
        Some(format!("{CRON_TABLE} is not as desired"))
    } else if host.read(TICK_TIMER)?.is_some() {
        Some(format!("{TICK_TIMER} would start a second tick"))
    } else {
        None
    })
}

async fn apply_cron(host: &Host) -> Result<()> {
    start_cron(host).await?;
    host.write_if_changed(CRON_TABLE, cron_table().as_bytes(), Access::mode(0o644))?;
    Ok(())
}

async fn timer_missing(host: &Host) -> Result<Option<String>> {
    for (file, content) in units() {
        if host.read(file)?.as_deref() != Some(content.as_bytes()) {
            return Ok(Some(format!("{file} is not as desired")));
        }
    }
    Ok(
        if !host.unit_enabled(TIMER).await? || !host.unit_active(TIMER).await? {
            Some(format!("{TIMER} does not run"))
        } else if host.read(CRON_TABLE)?.is_some() {
            Some(format!("{CRON_TABLE} would start a second tick"))
        } else {
            None
        },
    )
}

async fn apply_timer(host: &Host) -> Result<()> {
    let mut known_changed = false;
    for (file, content) in units() {
        let known = host.read(file)?.is_some();
        let changed = host.write_if_changed(file, content.as_bytes(), Access::mode(0o644))?;
        known_changed |= known && changed;
    }
    // A unit that is new to systemd is loaded when it is started, without a reload.
    if known_changed {
        host.daemon_reload().await?;
    }
    host.enable_and_start(TIMER).await
}

async fn remove_timer(host: &Host) -> Result<()> {
    if host.read(TICK_TIMER)?.is_some() {
        host.command("systemctl")
            .args(["disable", "--no-reload", TIMER])
            .run()
            .await?;
        host.command("systemctl")
            .args(["stop", TIMER])
            .run()
            .await?;
    }
    host.remove(TICK_TIMER)?;
    host.remove(TICK_UNIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Tree;

    fn machine() -> Tree {
        let tree = Tree::new();
        tree.file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        tree.tool("dpkg-query", "echo installed");
        tree.tool(
            "systemctl",
            "case $1 in is-enabled) echo enabled;; is-active) echo active;; esac",
        );
        tree
    }

    fn reloads(tree: &Tree) -> usize {
        let calls = tree.calls();
        calls
            .iter()
            .filter(|call| call.contains("daemon-reload"))
            .count()
    }

    #[tokio::test]
    async fn cron_is_given_the_tick_once() {
        let tree = machine();
        let host = &tree.host;
        assert_eq!(
            cron_missing(host).await.unwrap().unwrap(),
            "/etc/cron.d/bootstrap-metrics is not as desired"
        );
        apply_cron(host).await.unwrap();
        assert_eq!(cron_missing(host).await.unwrap(), None);
        let table = host.read_text(CRON_TABLE).unwrap().unwrap();
        assert!(table.ends_with("\n* * * * * root /usr/local/bin/bootstrap metrics\n"));
        assert!(table.contains("\nMAILTO=\"\"\n"));
        assert_eq!(reloads(&tree), 0);
    }

    #[tokio::test]
    async fn a_timer_takes_over_from_cron_and_back_without_a_reload() {
        let tree = machine();
        let host = &tree.host;
        apply_timer(host).await.unwrap();
        assert_eq!(timer_missing(host).await.unwrap(), None);
        assert_eq!(reloads(&tree), 0, "the units are new to systemd");
        apply_cron(host).await.unwrap();
        assert_eq!(
            timer_missing(host).await.unwrap().unwrap(),
            "/etc/cron.d/bootstrap-metrics would start a second tick"
        );
        assert_eq!(
            cron_missing(host).await.unwrap().unwrap(),
            "/etc/systemd/system/bootstrap-metrics.timer would start a second tick"
        );
        remove_timer(host).await.unwrap();
        assert_eq!(cron_missing(host).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_changed_unit_is_read_again() {
        let tree = machine();
        tree.file(TICK_TIMER, "[Timer]\n");
        apply_timer(&tree.host).await.unwrap();
        assert_eq!(reloads(&tree), 1);
    }
}
