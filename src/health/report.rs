//! The result of the health check, as JSON for programs and as a table for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use schemars::JsonSchema;
use serde::Serialize;

use crate::paragraph::{WIDTH, paragraph};

/// The advice of a failed check that a whole run fixes.
pub(super) const RUN: &str = "run: sudo bootstrap";

/// The rest of the root cause, such as the end of a log, comes later: the remedy must be among the first five lines.
const CAUSE_LINES: usize = 2;

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Its name; part of the interface.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// The evidence.
    pub detail: String,
    /// What to do; present where the check failed or warns.
    pub hint: Option<String>,
    /// The check that fails and so keeps this one from being judged.
    #[serde(skip)]
    pub cause: Option<&'static str>,
}

/// All checks in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Summary {
    pass: usize,
    fail: usize,
    warn: usize,
    skip: usize,
}

/// What `verify --json` prints.
#[derive(Serialize, JsonSchema)]
pub struct Shape<'a> {
    /// All checks in one word.
    verdict: Verdict,
    /// Every check, in the order of setting up.
    checks: &'a [Check],
    /// How many checks went how.
    summary: Summary,
}

/// The whole health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All checks in one word.
    pub verdict: Verdict,
    /// Every check, in the order of setting up.
    pub checks: Vec<Check>,
    /// The node's wallet address, if known.
    pub address: Option<String>,
    /// What the owner needs for staking (the node's Summary), if the node reports it.
    pub staking: Option<String>,
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

/// Checks that warn while the node is still starting, or joining the network.
const SYNC: &[&str] = &["launcher", "encoder", "height", "peers"];

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
        if checks.iter().any(|check| is_vital(check, checks)) {
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

/// Whether the check fails and is vital, or keeps a vital one from being judged.
fn is_vital(check: &Check, all: &[Check]) -> bool {
    let keeps = |other: &Check| other.cause == Some(check.name) && VITAL.contains(&other.name);
    check.status == Status::Fail && (VITAL.contains(&check.name) || all.iter().any(keeps))
}

impl Report {
    /// The report of these checks.
    pub fn of(checks: Vec<Check>, address: Option<String>) -> Self {
        Self {
            verdict: Verdict::of(&checks),
            address,
            staking: None,
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

    /// The verdict and the counts behind it.
    fn headline(&self) -> String {
        let Summary {
            pass,
            fail,
            warn,
            skip,
        } = self.summary();
        let mut line = format!("{}: {pass} passed", self.verdict.word());
        for (count, word) in [(fail, "failed"), (warn, "warned"), (skip, "skipped")] {
            if count > 0 {
                let _ = write!(line, ", {count} {word}");
            }
        }
        line
    }

    /// The same and the worst check, in one line for the log.
    pub fn line(&self) -> String {
        match self.worst() {
            Some(worst) => format!("{}; {}: {}", self.headline(), worst.name, worst.detail),
            None => self.headline(),
        }
    }

    /// The verdict in the first line, since SSM truncates long output at the end; then the root cause and its fix; then
    /// what else is not well and, if `all`, the rest. `notes` come before the checks.
    pub fn text(&self, all: bool, notes: &[String]) -> String {
        let style = match self.verdict {
            Verdict::Healthy => AnsiColor::Green.on_default().bold(),
            Verdict::Syncing => AnsiColor::Yellow.on_default().bold(),
            Verdict::Degraded | Verdict::Unhealthy => AnsiColor::Red.on_default().bold(),
        };
        let word = self.verdict.word();
        let headline = self.headline();
        let rest = headline.strip_prefix(word).unwrap_or_default();
        let mut text = format!("{style}{word}{style:#}{rest}");
        if let Some(address) = &self.address {
            let node = format!("; node {address}");
            if headline.len() + node.len() <= WIDTH {
                text += &node;
            } else {
                let _ = write!(text, "\nNode:   {address}");
            }
        }
        text.push('\n');
        for note in notes {
            paragraph(&mut text, "", note);
        }
        let worst = self.worst();
        let mut is_whole = true;
        if let Some(worst) = worst {
            let mut cause = String::new();
            let what = format!("{}: {}", worst.name, worst.detail);
            paragraph(&mut cause, "Cause:  ", &what);
            is_whole = cut(&mut cause, CAUSE_LINES);
            text += &cause;
            match worst.hint.as_deref() {
                Some(RUN) => text += "Repair: sudo bootstrap\n",
                Some(hint) => paragraph(&mut text, "Help:   ", hint),
                None => {}
            }
        }
        let is_told = |check: &&Check| {
            let is_wrong = matches!(check.status, Status::Fail | Status::Warn);
            let is_above = is_whole && Some(check.name) == worst.map(|worst| worst.name);
            all || (is_wrong && !is_above)
        };
        let told: Vec<&Check> = self.by_severity().into_iter().filter(is_told).collect();
        if !told.is_empty() {
            text.push('\n');
        }
        for check in told {
            row(&mut text, check);
        }
        text
    }

    /// The report as `verify --json` prints it.
    pub fn json(&self) -> String {
        let shape = Shape {
            verdict: self.verdict,
            checks: &self.checks,
            summary: self.summary(),
        };
        serde_json::to_string_pretty(&shape).unwrap_or_default()
    }

    /// What fails, vital checks first: they are to be fixed first, and are often why the rest fails.
    pub fn failing(&self) -> impl Iterator<Item = &Check> {
        let checks = self.by_severity().into_iter();
        checks.take_while(|check| check.status == Status::Fail)
    }

    /// The first thing to fix; if nothing fails, the first warning.
    fn worst(&self) -> Option<&Check> {
        let worst = self.by_severity().into_iter().next();
        worst.filter(|check| matches!(check.status, Status::Fail | Status::Warn))
    }

    fn by_severity(&self) -> Vec<&Check> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        checks.sort_by_key(|check| {
            let is_minor = check.status == Status::Fail && !is_vital(check, &self.checks);
            (check.status, is_minor)
        });
        checks
    }
}

/// Shortens the text to that many lines, with an ellipsis for the rest; returns whether they were enough.
fn cut(text: &mut String, lines: usize) -> bool {
    let Some((end, _)) = text.match_indices('\n').nth(lines - 1) else {
        return true;
    };
    if end + 1 == text.len() {
        return true;
    }
    // Without the last word there is room for the ellipsis.
    let kept = text.get(..end).and_then(|kept| kept.rfind(' '));
    text.truncate(kept.unwrap_or(end));
    text.push_str(" …\n");
    false
}

/// One check, followed by what to do.
fn row(text: &mut String, check: &Check) {
    let (word, style) = match check.status {
        Status::Pass => ("pass", Style::new()),
        Status::Fail => ("FAIL", AnsiColor::Red.on_default()),
        Status::Warn => ("warn", AnsiColor::Yellow.on_default()),
        Status::Skip => ("skip", Style::new()),
    };
    let mut lines = String::new();
    paragraph(
        &mut lines,
        &format!("{word}  {:16}  ", check.name),
        &check.detail,
    );
    if let Some(hint) = &check.hint {
        paragraph(&mut lines, &format!("{:24}", ""), hint);
    }
    let rest = lines.strip_prefix(word).unwrap_or_default();
    let _ = write!(text, "{style}{word}{style:#}{rest}");
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
            cause: None,
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
            report.line(),
            "unhealthy: 1 passed, 4 failed, 1 warned; volume: not mounted"
        );
        // A check that keeps a vital one from being judged comes before others.
        let mut checks = report.checks.clone();
        checks.retain(|check| !VITAL.contains(&check.name));
        checks.push(check(Status::Fail, "secret", "empty", Some(RUN)));
        checks.push(Check {
            cause: Some("secret"),
            ..check(Status::Skip, "container", "because of secret", None)
        });
        let report = Report::of(checks, None);
        assert_eq!(report.verdict, Verdict::Unhealthy);
        assert_eq!(report.failing().next().unwrap().name, "secret");
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
        let text = anstream::adapter::strip_str(&report.text(true, &[])).to_string();
        assert_eq!(
            text,
            "unhealthy: 1 passed, 1 failed, 1 skipped; node 0xab\n\
             Cause:  rpc: refused\n\
             Help:   run: docker logs edgelauncher\n\
             \n\
             FAIL  rpc               refused\n\
             \x20                       run: docker logs edgelauncher\n\
             pass  os                Debian 12\n\
             skip  gpu-driver        gpu is false\n"
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

    #[test]
    fn a_long_cause_leaves_the_repair_among_the_first_five_lines() {
        let log = format!(
            "exited, exit code 1; its log ends: {}end",
            "line | ".repeat(40)
        );
        let address = "0x2e833968e5bb786ae419c4d13189fb081cc43bab";
        let container = check(Status::Fail, "container", &log, Some(RUN));
        let os = check(Status::Pass, "os", "Debian 12", None);
        let rpc = check(Status::Skip, "rpc", "because of container", None);
        let report = Report::of(vec![os, container, rpc], Some(address.into()));
        let text = anstream::adapter::strip_str(&report.text(false, &[])).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].starts_with("Cause:  container: exited, exit code 1;"),
            "{text}"
        );
        assert!(
            lines[3].ends_with(" …") && lines[3].chars().count() <= WIDTH,
            "{text}"
        );
        assert_eq!(lines[4], "Repair: sudo bootstrap");
        assert!(
            lines[5].is_empty() && lines[6].starts_with("FAIL  container"),
            "{text}"
        );
        assert!(
            text.trim_end().ends_with("run: sudo bootstrap") && text.contains("| end\n"),
            "{text}"
        );
    }

    #[test]
    fn people_read_the_cause_and_the_repair_first_in_80_columns() {
        let long = "vol-0123456789abcdef0 (/dev/nvme1n1) holds ext4 UUID=5ca1ab1e-0000-4000-8000-00000000da7a and \
                    is not mounted at /data";
        let report = Report::of(
            vec![
                check(Status::Pass, "os", "Debian 12", None),
                check(Status::Fail, "volume", long, Some(RUN)),
                check(
                    Status::Warn,
                    "disk-root",
                    "12 % free",
                    Some("see what fills it"),
                ),
            ],
            Some("0x2e833968e5bb786ae419c4d13189fb081cc43bab".into()),
        );
        let note = ["A run is in progress".to_owned()];
        let text = report.text(false, &note);
        assert!(text.contains("\u{1b}["));
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "unhealthy: 1 passed, 1 failed, 1 warned\n\
             Node:   0x2e833968e5bb786ae419c4d13189fb081cc43bab\n\
             A run is in progress\n\
             Cause:  volume: vol-0123456789abcdef0 (/dev/nvme1n1) holds ext4\n\
             \x20       UUID=5ca1ab1e-0000-4000-8000-00000000da7a and is not mounted at /data\n\
             Repair: sudo bootstrap\n\
             \n\
             warn  disk-root         12 % free\n\
             \x20                       see what fills it\n"
        );
    }
}
