//! What the health check found, as JSON for programs and as a table for people.

use std::fmt::Write as _;

use serde::Serialize;

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Wrong; needs someone.
    Fail,
    /// Not as it should be, or not yet.
    Warn,
    /// As it should be.
    Pass,
    /// Means nothing here, or cannot be known.
    Skip,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name; part of the interface.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// The evidence.
    pub detail: String,
    /// What to do; present where the check failed or warns.
    pub hint: Option<String>,
}

/// All checks in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The node does its work.
    Healthy,
    /// Nothing fails; height or peers are still coming.
    Syncing,
    /// The node works, but something around it fails.
    Degraded,
    /// The node does not work, or its key is in danger.
    Unhealthy,
}

/// How many checks went how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Summary {
    pass: usize,
    fail: usize,
    warn: usize,
    skip: usize,
}

/// The whole health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All checks in one word.
    pub verdict: Verdict,
    /// Every check, in the order of setting up.
    pub checks: Vec<Check>,
    /// The node's wallet address, where known.
    pub address: Option<String>,
}

/// Checks whose failure means that the node itself does not work, or that its key is in danger.
const VITAL: &[&str] = &[
    "docker",
    "volume",
    "key",
    "container",
    "rpc",
    "gpu-driver",
    "gpu-container",
    "password",
];

/// Checks that warn while the network is still being joined.
const SYNC: &[&str] = &["height", "peers"];

impl Verdict {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Syncing => "syncing",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn of(checks: &[Check]) -> Self {
        let any = |status: Status, names: &[&str]| {
            checks
                .iter()
                .any(|check| check.status == status && names.contains(&check.name))
        };
        if any(Status::Fail, VITAL) {
            Self::Unhealthy
        } else if checks.iter().any(|check| check.status == Status::Fail) {
            Self::Degraded
        } else if any(Status::Warn, SYNC) {
            Self::Syncing
        } else {
            Self::Healthy
        }
    }
}

impl Report {
    /// The report of these checks.
    pub fn of(checks: Vec<Check>, address: Option<String>) -> Self {
        Self {
            verdict: Verdict::of(&checks),
            address,
            checks,
        }
    }

    fn summary(&self) -> Summary {
        let count = |status| {
            let same = self.checks.iter().filter(|check| check.status == status);
            same.count()
        };
        Summary {
            pass: count(Status::Pass),
            fail: count(Status::Fail),
            warn: count(Status::Warn),
            skip: count(Status::Skip),
        }
    }

    /// The verdict and what stands behind it, in one line.
    pub fn headline(&self) -> String {
        let Summary {
            pass,
            fail,
            warn,
            skip,
        } = self.summary();
        let mut line = format!(
            "{}: {pass} passed, {fail} failed, {warn} warned, {skip} skipped",
            self.verdict.word()
        );
        if let Some(address) = &self.address {
            let _ = write!(line, "; node {address}");
        }
        if let Some(worst) = self.by_severity().first()
            && matches!(worst.status, Status::Fail | Status::Warn)
        {
            let _ = write!(line, "; {}: {}", worst.name, worst.detail);
        }
        line
    }

    /// The verdict in the first line, then what fails, because SSM cuts long output at its end.
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max();
        let width = width.unwrap_or_default();
        let mut text = format!("{}\n", self.headline());
        for check in self.by_severity() {
            let word = match check.status {
                Status::Pass => "pass",
                Status::Fail => "FAIL",
                Status::Warn => "warn",
                Status::Skip => "skip",
            };
            let _ = writeln!(text, "{word}  {:width$}  {}", check.name, check.detail);
            if let Some(hint) = &check.hint {
                let _ = writeln!(text, "      {:width$}  -> {hint}", "");
            }
        }
        text
    }

    /// The report as `verify --json` prints it.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Shape<'a> {
            verdict: Verdict,
            checks: &'a [Check],
            summary: Summary,
        }
        let shape = Shape {
            verdict: self.verdict,
            checks: &self.checks,
            summary: self.summary(),
        };
        serde_json::to_string_pretty(&shape).unwrap_or_default()
    }

    /// What fails, the vital first: that is what to mend first, and often why the rest fails.
    pub fn failing(&self) -> impl Iterator<Item = &Check> {
        let checks = self.by_severity().into_iter();
        checks.take_while(|check| check.status == Status::Fail)
    }

    fn by_severity(&self) -> Vec<&Check> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.sort_by_key(|check| {
            let is_minor = check.status == Status::Fail && !VITAL.contains(&check.name);
            (check.status, is_minor)
        });
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status, name: &'static str, detail: &str, hint: Option<&str>) -> Check {
        Check {
            name,
            status,
            detail: detail.into(),
            hint: hint.map(String::from),
        }
    }

    fn verdict(checks: &[Check]) -> Verdict {
        Report::of(checks.to_vec(), None).verdict
    }

    #[test]
    fn the_worst_check_decides() {
        let pass = check(Status::Pass, "os", "Debian 12", None);
        let skip = check(Status::Skip, "gpu-driver", "gpu is false", None);
        let warn = check(Status::Warn, "disk-root", "12 % free", Some("h"));
        let peers = check(Status::Warn, "peers", "none yet", Some("h"));
        let minor = check(Status::Fail, "cloudwatch-agent", "not active", Some("h"));
        let vital = check(Status::Fail, "rpc", "refused", Some("h"));
        for (checks, wanted) in [
            (vec![&pass, &skip], Verdict::Healthy),
            (vec![&pass, &warn], Verdict::Healthy),
            (vec![&pass, &warn, &peers], Verdict::Syncing),
            (vec![&peers, &minor], Verdict::Degraded),
            (vec![&peers, &minor, &vital], Verdict::Unhealthy),
            (vec![], Verdict::Healthy),
        ] {
            let checks: Vec<Check> = checks.into_iter().cloned().collect();
            assert_eq!(verdict(&checks), wanted);
        }
        for name in VITAL {
            let checks = [check(Status::Fail, name, "", Some(""))];
            assert_eq!(verdict(&checks), Verdict::Unhealthy, "{name}");
        }
        for name in SYNC {
            let checks = [check(Status::Fail, name, "", Some(""))];
            assert_eq!(verdict(&checks), Verdict::Degraded, "{name}");
        }
    }

    #[test]
    fn the_vital_failure_comes_first() {
        let report = Report::of(
            vec![
                check(Status::Pass, "os", "Debian 12", None),
                check(Status::Fail, "ssm-agent", "not active", None),
                check(Status::Warn, "disk-root", "12 % free", None),
                check(Status::Fail, "cloudwatch-agent", "not active", None),
                check(Status::Fail, "volume", "not mounted", None),
                check(Status::Fail, "rpc", "refused", None),
            ],
            None,
        );
        let names: Vec<_> = report.failing().map(|check| check.name).collect();
        assert_eq!(names, ["volume", "rpc", "ssm-agent", "cloudwatch-agent"]);
        assert_eq!(
            report.headline(),
            "unhealthy: 1 passed, 4 failed, 1 warned, 0 skipped; volume: not mounted"
        );
        let second = report.text().lines().nth(1).unwrap().to_owned();
        assert_eq!(second, "FAIL  volume            not mounted");
    }

    #[test]
    fn programs_and_people_get_the_same() {
        let report = Report::of(
            vec![
                check(Status::Pass, "os", "Debian 12", None),
                check(
                    Status::Fail,
                    "rpc",
                    "refused",
                    Some("run: docker logs edgelauncher"),
                ),
                check(Status::Skip, "gpu-driver", "gpu is false", None),
            ],
            Some("0xab".into()),
        );
        assert_eq!(
            report.text(),
            "unhealthy: 1 passed, 1 failed, 0 warned, 1 skipped; node 0xab; rpc: refused\n\
             FAIL  rpc         refused\n\
             \x20                 -> run: docker logs edgelauncher\n\
             pass  os          Debian 12\n\
             skip  gpu-driver  gpu is false\n"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&report.json()).unwrap(),
            serde_json::json!({
                "verdict": "unhealthy",
                "checks": [
                    {"name": "os", "status": "pass", "detail": "Debian 12", "hint": null},
                    {"name": "rpc", "status": "fail", "detail": "refused", "hint": "run: docker logs edgelauncher"},
                    {"name": "gpu-driver", "status": "skip", "detail": "gpu is false", "hint": null}
                ],
                "summary": {"pass": 1, "fail": 1, "warn": 0, "skip": 1}
            })
        );
    }
}
