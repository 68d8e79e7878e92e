//! systemd units, through systemctl.

use std::path::Path;
use std::time::Duration;

use super::Host;
use super::command::Output;
use super::failures::{self, systemctl::is_unit_absent};
use crate::error::{Error, Result};

/// Longer than systemd's own start timeout (90 s), so that systemd's verdict comes first.
const START: Duration = Duration::from_mins(5);

/// The reason may come before what systemd itself adds.
const JOURNAL_LINES: &str = "30";

/// Units that checks ask about, besides those that differ by system: asking about one fetches all.
const ASKED_FOR: [&str; 5] = [
    "bootstrap.service",
    "bootstrap-repair.timer",
    "docker.service",
    "amazon-cloudwatch-agent.service",
    "bootstrap-metrics.timer",
];

/// What systemd says about a unit.
struct Shown {
    state: String,
    enabled: bool,
}

impl Host {
    /// Whether the unit is active.
    pub async fn unit_active(&self, unit: &str) -> Result<bool> {
        let shown = self.shown(unit).await;
        if shown.is_some_and(|shown| is_active(&shown.state)) {
            return Ok(true);
        }
        let output = self
            .systemctl(&["is-active", unit])
            .looks()
            .output()
            .await?;
        match output.stdout.trim() {
            state if is_active(state) => Ok(true),
            // No output at all: systemd itself was not reached.
            "" if output.code != 0 => Err(output.failure()),
            _ => Ok(output.code == 0),
        }
    }

    /// systemd's name for the state of each of these units (`active`, `activating`, `failed`, …), fetched in one call.
    pub async fn unit_states(&self, units: &[&str]) -> Result<Vec<String>> {
        let shown = self.show(units).await?;
        Ok(shown.into_iter().map(|shown| shown.state).collect())
    }

    /// Whether the machine is shutting down.
    pub async fn is_shutting_down(&self) -> bool {
        let asked = self.systemctl(&["is-system-running"]).looks();
        let said = asked.output().await;
        said.is_ok_and(|said| said.stdout.trim() == "stopping")
    }

    /// Whether the unit is enabled (static, generated, alias and indirect units count: they need no enabling).
    pub async fn unit_enabled(&self, unit: &str) -> Result<bool> {
        if self.shown(unit).await.is_some_and(|shown| shown.enabled) {
            return Ok(true);
        }
        let output = self
            .systemctl(&["is-enabled", unit])
            .looks()
            .output()
            .await?;
        if output.stdout.trim().is_empty() && !is_unit_absent(&output.stderr) {
            return Err(output.failure());
        }
        Ok(is_enabled(output.stdout.trim()))
    }

    /// What systemd says about the unit, fetched for all units in one call, if answers are shared.
    ///
    /// Only a yes counts: what systemd knows of unit files can be out of date, since units are enabled without a reload
    /// (see [`Host::daemon_reload`]).
    async fn shown(&self, unit: &str) -> Option<Shown> {
        if !self.sharing.is_on() {
            return None;
        }
        let os = self.os().ok()?;
        let units: Vec<&str> = ASKED_FOR
            .iter()
            .chain(os.ssm_units)
            .chain([&os.cron.1])
            .copied()
            .collect();
        let place = units.iter().position(|known| *known == unit)?;
        self.show(&units).await.ok()?.into_iter().nth(place)
    }

    async fn show(&self, units: &[&str]) -> Result<Vec<Shown>> {
        let show = self.systemctl(&["show", "--property=ActiveState,UnitFileState"]);
        let output = show.args(units.iter().copied()).looks().output().await?;
        let shown: Vec<&str> = output.stdout.trim().split("\n\n").collect();
        if output.code != 0 || shown.len() != units.len() {
            return Err(output.failure());
        }
        let of = |text: &str| {
            let value = |name: &str| {
                let mut lines = text.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            };
            Shown {
                state: value("ActiveState").unwrap_or_default().to_owned(),
                enabled: value("UnitFileState").is_some_and(is_enabled),
            }
        };
        Ok(shown.into_iter().map(of).collect())
    }

    /// Whether the unit (with its suffix) has a file, so that it can be started at all.
    pub fn unit_exists(&self, unit: &str) -> bool {
        [
            "/etc/systemd/system",
            "/run/systemd/system",
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
        ]
        .iter()
        .any(|directory| self.path(directory).join(unit).exists())
    }

    /// Whether someone has put an empty file, or a link to /dev/null, in the unit's place (systemctl mask).
    fn unit_masked(&self, unit: &str) -> bool {
        ["/etc/systemd/system", "/run/systemd/system"]
            .iter()
            .map(|directory| self.path(directory).join(unit))
            .any(|path| {
                let empty = std::fs::metadata(&path).is_ok_and(|file| file.len() == 0);
                let nothing =
                    std::fs::read_link(&path).is_ok_and(|to| to == Path::new("/dev/null"));
                empty || nothing
            })
    }

    /// Enables the unit and starts it; an error quotes the unit's last journal lines.
    pub async fn enable_and_start(&self, unit: &str) -> Result<()> {
        self.enable(unit).await?;
        self.start_unit(unit).await
    }

    /// Enables the unit without starting it, if it is not enabled yet.
    pub async fn enable(&self, unit: &str) -> Result<()> {
        if !self.unit_enabled(unit).await? {
            if self.unit_masked(unit) {
                return Err(Error::new(
                    format!("{unit} is masked: someone has seen to it that nothing starts it"),
                    format!("run: systemctl unmask {unit}; then run `bootstrap` again"),
                ));
            }
            // Enabling reloads systemd unless told not to; see `daemon_reload`.
            self.systemctl(&["enable", "--no-reload", unit])
                .run()
                .await?;
        }
        Ok(())
    }

    /// Starts the unit; an error quotes the unit's last journal lines.
    pub async fn start_unit(&self, unit: &str) -> Result<()> {
        self.change("start", unit).await
    }

    /// Restarts the unit; an error quotes the unit's last journal lines.
    pub async fn restart_unit(&self, unit: &str) -> Result<()> {
        self.change("restart", unit).await
    }

    /// Has systemd read its unit files again. Can cut running containers off their GPU
    /// (NVIDIA/nvidia-container-toolkit#48), so never after the container phase.
    pub async fn daemon_reload(&self) -> Result<()> {
        self.systemctl(&["daemon-reload"]).run().await.map(drop)
    }

    fn systemctl(&self, args: &[&str]) -> super::Command {
        self.command("systemctl").args(args)
    }

    async fn change(&self, verb: &str, unit: &str) -> Result<()> {
        let output = self
            .systemctl(&[verb, unit])
            .timeout(START)
            .output()
            .await?;
        if output.code == 0 {
            return Ok(());
        }
        let journal = self
            .command("journalctl")
            .args(["-u", unit, "-n", JOURNAL_LINES, "--no-pager", "-o", "cat"])
            .output()
            .await;
        Err(not_started(unit, &output, journal.ok().as_ref()))
    }
}

fn is_active(state: &str) -> bool {
    matches!(state, "active" | "reloading")
}

/// Static, generated, alias and indirect units need no enabling.
fn is_enabled(state: &str) -> bool {
    matches!(
        state,
        "enabled" | "static" | "generated" | "alias" | "indirect"
    )
}

fn not_started(unit: &str, output: &Output, journal: Option<&Output>) -> Error {
    let refused = failures::read(output);
    let journal = journal.map_or("", |journal| journal.stdout.as_str());
    let told = failures::read_as(failures::tool(unit, ""), journal, "");
    let known = told.hint != failures::SEE_JOURNAL;
    let lines = if told.reason.is_empty() {
        String::new()
    } else if known {
        format!("; its journal says: {}", told.reason)
    } else {
        format!("; its journal ends: {}", told.reason)
    };
    let hint = if known {
        told.hint.to_owned()
    } else if failures::is_known(output) {
        refused.hint.to_owned()
    } else {
        format!(
            "see `systemctl status {unit}` and `journalctl -u {unit}`, then run `bootstrap` again"
        )
    };
    Error::new(format!("{}{lines}", output.failure().reason()), hint).transient_if(refused.passes)
}

#[cfg(test)]
mod tests {
    use crate::host::testing::Tree;

    fn saying(word: &str, code: u8) -> Tree {
        let tree = Tree::new();
        tree.tool("systemctl", &format!("{word}; exit {code}"));
        tree
    }

    #[tokio::test]
    async fn active_is_what_systemd_calls_active() {
        for (word, code, active) in [
            ("active", 0, true),
            ("reloading", 0, true),
            ("inactive", 3, false),
            ("activating", 3, false),
            ("failed", 3, false),
            ("unknown", 4, false),
        ] {
            let tree = saying(&format!("echo {word}"), code);
            assert_eq!(tree.host.unit_active("x").await.unwrap(), active, "{word}");
        }
    }

    #[tokio::test]
    async fn enabled_is_what_survives_a_reboot() {
        for (word, code, enabled) in [
            ("enabled", 0, true),
            ("static", 0, true),
            ("alias", 0, true),
            ("indirect", 0, true),
            ("generated", 0, true),
            ("enabled-runtime", 0, false),
            ("disabled", 1, false),
            ("masked", 1, false),
            ("not-found", 4, false),
        ] {
            let tree = saying(&format!("echo {word}"), code);
            assert_eq!(
                tree.host.unit_enabled("x").await.unwrap(),
                enabled,
                "{word}"
            );
        }
        let old = saying(
            "echo 'Failed to get unit file state for x: No such file or directory' >&2",
            1,
        );
        assert!(!old.host.unit_enabled("x").await.unwrap());
    }

    #[tokio::test]
    async fn all_units_are_asked_for_in_one_call() {
        let tree = Tree::new();
        tree.file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        // bootstrap, its repairs, docker, the agent, the tick's timer; then the SSM agent's and cron.
        tree.tool(
            "systemctl",
            r"[ $1 = is-enabled ] && echo enabled
            [ $1 = is-active ] && echo inactive && exit 3
            [ $1 = show ] || exit 0
            printf 'ActiveState=inactive\nUnitFileState=enabled\n\nActiveState=active\nUnitFileState=enabled\n'
            printf '\nActiveState=active\nUnitFileState=disabled\n'
            shift 5; for unit; do printf '\nActiveState=active\nUnitFileState=enabled\n'; done",
        );
        let host = &tree.host;
        host.share_looks();
        for (unit, active) in [
            ("docker.service", true),
            ("amazon-cloudwatch-agent.service", true),
            ("cron", true),
            ("bootstrap.service", false),
        ] {
            assert_eq!(host.unit_active(unit).await.unwrap(), active, "{unit}");
        }
        // What it calls disabled may have been enabled since.
        assert!(host.unit_enabled("docker.service").await.unwrap());
        let calls = tree.calls();
        assert!(calls[0].starts_with(
            "systemctl show --property=ActiveState,UnitFileState bootstrap.service bootstrap-repair.timer docker.service"
        ));
        assert_eq!(
            calls[1..],
            [
                "systemctl is-active bootstrap.service",
                "systemctl is-enabled docker.service"
            ]
        );
    }

    #[tokio::test]
    async fn a_systemd_that_does_not_answer_is_an_error() {
        let tree = saying("echo 'Failed to connect to bus' >&2", 1);
        let reason = "`systemctl is-active x` failed with exit code 1: Failed to connect to bus";
        assert_eq!(
            tree.host.unit_active("x").await.unwrap_err().reason(),
            reason
        );
        let reason = "`systemctl is-enabled x` failed with exit code 1: Failed to connect to bus";
        assert_eq!(
            tree.host.unit_enabled("x").await.unwrap_err().reason(),
            reason
        );
    }

    #[tokio::test]
    async fn enables_only_what_is_not_enabled_and_never_reloads() {
        let tree = saying("[ $1 = is-enabled ] && echo disabled", 0);
        tree.host.enable_and_start("docker.service").await.unwrap();
        assert_eq!(
            tree.calls(),
            [
                "systemctl is-enabled docker.service",
                "systemctl enable --no-reload docker.service",
                "systemctl start docker.service"
            ]
        );
        let tree = saying("echo enabled", 0);
        tree.host.enable("docker.service").await.unwrap();
        assert_eq!(tree.calls(), ["systemctl is-enabled docker.service"]);
    }

    #[tokio::test]
    async fn a_failed_start_quotes_the_journal() {
        let tree = saying("echo 'Job for docker.service failed.' >&2", 1);
        tree.tool("journalctl", "echo one; echo; echo two");
        let error = tree.host.restart_unit("docker.service").await.unwrap_err();
        assert_eq!(
            error.reason(),
            "`systemctl restart docker.service` failed with exit code 1: Job for docker.service failed.; \
             its journal ends: one / two"
        );
        assert_eq!(
            error.hint(),
            "see `systemctl status docker.service` and `journalctl -u docker.service`, then run `bootstrap` again"
        );
        assert_eq!(
            tree.calls()[1],
            "journalctl -u docker.service -n 30 --no-pager -o cat"
        );
    }
}
