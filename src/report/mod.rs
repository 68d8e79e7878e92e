//! Views of the journal: text, JSON, SVG; and the live view of a run.

pub mod live;
pub mod svg;
pub mod text;

use jiff::Timestamp;

use crate::engine::Journal;
use crate::engine::journal::{Record, RunResult, Status};

/// A phase's place in the last run, in seconds from the run's start.
struct Row<'a> {
    record: &'a Record,
    /// Start and duration; `None` if it was not part of that run.
    at: Option<(f64, f64)>,
}

/// How long the last run took (or takes, at `now`), and each phase's place in it.
fn rows(journal: &Journal, now: Timestamp) -> (f64, Vec<Row<'_>>) {
    let Some(run) = &journal.run else {
        return (0.0, Vec::new());
    };
    let since = |start: Timestamp, end: Timestamp| end.duration_since(start).as_secs_f64().max(0.0);
    let now = run.ended.unwrap_or(now);
    let rows: Vec<_> = journal
        .phases
        .iter()
        .map(|record| Row {
            record,
            at: record
                .started
                .filter(|_| is_of_last_run(journal, record))
                .map(|started| {
                    let took = record.seconds.unwrap_or_else(|| since(started, now));
                    (since(run.started, started), took.max(0.0))
                }),
        })
        .collect();
    let ends = rows.iter().filter_map(|row| row.at).map(|(s, t)| s + t);
    let total = run.seconds.unwrap_or_else(|| since(run.started, now));
    (ends.fold(total, f64::max), rows)
}

/// Whether the record is from the last run: a run of some phases leaves the others' records alone.
fn is_of_last_run(journal: &Journal, record: &Record) -> bool {
    record.run.is_some() && record.run.as_ref() == journal.run.as_ref().map(|run| &run.id)
}

/// A status for people.
fn status(record: &Record) -> &'static str {
    match record.status {
        Status::Pending => "pending",
        Status::Running => "running",
        Status::Ok => "ok",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
        Status::NotApplicable => "not applicable",
    }
}

fn result(result: RunResult) -> &'static str {
    match result {
        RunResult::Ok => "ok",
        RunResult::Failed => "failed",
        RunResult::Running => "running",
        RunResult::Rebooting => "rebooting",
    }
}

/// At most `most` characters of `text`.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod sample {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::journal::{Failure, RunRecord};

    pub(super) fn time(seconds: f64) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        start + jiff::SignedDuration::from_secs_f64(seconds)
    }

    /// A phase of the run that started at `time(0.0)`.
    pub(super) fn phase(name: &str, status: Status, start: f64, seconds: f64) -> Record {
        let done = status != Status::Running;
        Record {
            status,
            started: Some(time(start)),
            ended: done.then(|| time(start + seconds)),
            seconds: done.then_some(seconds),
            run: Some("run-1".into()),
            ..Record::pending(name)
        }
    }

    pub(super) fn journal(result: RunResult, seconds: Option<f64>, phases: Vec<Record>) -> Journal {
        Journal {
            version: 1,
            run: Some(RunRecord {
                id: "run-1".into(),
                started: time(0.0),
                first_started: None,
                ended: seconds.map(time),
                seconds,
                result,
                boot_id: "boot-1".into(),
                binary_version: "0.1.0 (abc1234)".into(),
                reason: None,
            }),
            phases,
            reboots: BTreeMap::new(),
            earlier: Vec::new(),
        }
    }

    /// A failed run with a bit of everything.
    pub(super) fn failed() -> Journal {
        let mut journal = journal(
            RunResult::Failed,
            Some(125.4),
            vec![
                phase("preflight", Status::Ok, 0.0, 0.412),
                phase("nvidia", Status::NotApplicable, 0.5, 0.0),
                phase("docker", Status::Ok, 0.5, 80.0),
                phase("secret", Status::Failed, 0.5, 124.9),
                Record {
                    started: Some(time(-900.0)),
                    run: Some("run-0".into()),
                    ..phase("assets", Status::Ok, 0.0, 3.0)
                },
                Record {
                    detail: "needs secret, which failed".into(),
                    run: Some("run-1".into()),
                    status: Status::Skipped,
                    ..Record::pending("container")
                },
                Record {
                    run: Some("run-1".into()),
                    ..Record::pending("signal")
                },
            ],
        );
        let phases = &mut journal.phases;
        phases[0].detail = "Debian 12 on i-0abc".into();
        phases[1].detail = "gpu is false".into();
        phases[2].detail = "docker 20.10.24 is active".into();
        phases[2].changed = true;
        phases[2].attempts = 1;
        phases[3].detail = "no wallet password; applying".into();
        phases[3].attempts = 3;
        phases[3].error = Some(Failure {
            reason: "cannot read the secret wallet".into(),
            hint: "allow secretsmanager:GetSecretValue to the instance's role".into(),
            causes: vec!["service error".into(), "AccessDeniedException".into()],
        });
        journal
    }
}
