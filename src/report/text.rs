//! Text views: a run's summary, its timeline, a plan.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Row, is_of_last_run, result, rows, shortened, status};
use crate::engine::journal::{Journal, Past, Record, RunResult, Status, lasting};
use crate::engine::{Plan, Prospect};
use crate::paragraph::{WIDTH, paragraph};

/// Longest detail in a table, in characters.
const DETAIL: usize = 100;

/// Between two columns.
const GAP: &str = "  ";

/// The table of phases, what went wrong with them and what to do, and the totals.
pub fn summary(journal: &Journal) -> String {
    let mut lines = vec![["phase", "status", "time", ""].map(str::to_owned)];
    for record in &journal.phases {
        let changed = if record.changed { ", changed" } else { "" };
        lines.push([
            record.name.clone(),
            format!("{}{changed}", status(record)),
            record.seconds.map(lasting).unwrap_or_default(),
            String::new(),
        ]);
    }
    let columns = aligned(&lines, &[2]);
    let before = columns.iter().map(|cells| cells.join(GAP).chars().count());
    let room = WIDTH.saturating_sub(before.max().unwrap_or(0));
    for (record, line) in journal.phases.iter().zip(lines.iter_mut().skip(1)) {
        let this_run = record.status == Status::Pending || is_of_last_run(journal, record);
        let mut remark = String::new();
        if record.attempts > 1 {
            remark = format!(" ({} tries)", record.attempts);
        }
        if !this_run {
            remark += " (earlier run)";
        }
        let detail = shortened(
            &record.detail,
            room.saturating_sub(remark.chars().count() + 1),
        );
        format!("{detail}{remark}").trim().clone_into(&mut line[3]);
    }
    if let Some(head) = lines.first_mut() {
        head[3] = "detail".into();
    }
    let mut text = table(&lines, &[2]);
    for record in &journal.phases {
        let Some(error) = &record.error else { continue };
        let earlier = if is_of_last_run(journal, record) {
            ""
        } else {
            " in an earlier run"
        };
        let _ = writeln!(text, "\n{} failed{earlier}: {}", record.name, error.reason);
        for cause in &error.causes {
            let _ = writeln!(text, "  because: {cause}");
        }
        let _ = writeln!(text, "  help: {}", error.hint);
    }
    format!("{text}\n{}\n", totals(journal))
}

/// `12 phases: 11 ok, 1 failed; 4 changed; run failed after 2 min 5 s`.
pub fn totals(journal: &Journal) -> String {
    let count = |wanted: &dyn Fn(&Record) -> bool| {
        let phases = journal.phases.iter();
        phases.filter(|record| wanted(record)).count()
    };
    let mut counts = Vec::new();
    for (status, name) in [
        (Status::Ok, "ok"),
        (Status::NotApplicable, "not applicable"),
        (Status::Running, "running"),
        (Status::Failed, "failed"),
        (Status::Skipped, "skipped"),
        (Status::Pending, "pending"),
    ] {
        match count(&|record| record.status == status) {
            0 => {}
            some => counts.push(format!("{some} {name}")),
        }
    }
    let run = match &journal.run {
        None => "no run yet".to_owned(),
        Some(run) => match run.seconds {
            None => format!("run {}", result(run.result)),
            Some(seconds) if run.result == RunResult::Ok => {
                format!("run ok in {}", lasting(seconds))
            }
            Some(seconds) => format!("run {} after {}", result(run.result), lasting(seconds)),
        },
    };
    format!(
        "{} phases: {}; {} changed; {run}",
        journal.phases.len(),
        counts.join(", "),
        count(&|record| record.changed && is_of_last_run(journal, record)),
    )
}

/// When each phase of the last run was running: its start relative to the run's, its duration, and a bar, in lines of
/// `columns` characters. Phases still running end at `now`.
pub fn timeline(journal: &Journal, columns: usize, now: Timestamp) -> String {
    let (total, rows) = rows(journal, now);
    let Some(run) = &journal.run else {
        return "no run yet\n".to_owned();
    };
    let width = columns.saturating_sub(beside_the_bars(&rows));
    let mut lines = vec![[
        "phase".to_owned(),
        "start".to_owned(),
        "time".to_owned(),
        String::new(),
    ]];
    for row in rows {
        let not_ok = match row.record.status {
            Status::Ok => "",
            _ => status(row.record),
        };
        lines.push(match row.at {
            None => {
                let here = is_of_last_run(journal, row.record);
                let elsewhere = if here { not_ok } else { "not in this run" };
                let none = || "-".to_owned();
                [
                    row.record.name.clone(),
                    none(),
                    none(),
                    elsewhere.to_owned(),
                ]
            }
            Some((start, took)) => {
                let before = cells(start, total, width).min(width.saturating_sub(1));
                let bar = cells(took, total, width).clamp(1, width.max(before + 1) - before);
                [
                    row.record.name.clone(),
                    lasting(start),
                    lasting(took),
                    format!("{}{} {not_ok}", " ".repeat(before), "█".repeat(bar)),
                ]
            }
        });
    }
    let repaired = run.reason.as_ref();
    let repaired = repaired.map(|reason| format!("repaired: {reason}\n"));
    format!(
        "run {}: {}, {} (started {})\n{}\n{}",
        run.id,
        result(run.result),
        lasting(total),
        Timestamp::from_second(run.started.as_second()).unwrap_or(run.started),
        repaired.unwrap_or_default(),
        table(&lines, &[1, 2])
    )
}

/// The width of the columns before the bars, plus that of the text that may follow the longest bar.
fn beside_the_bars(rows: &[Row<'_>]) -> usize {
    let longest = |cell: &dyn Fn(&Row<'_>) -> String, head: &str| {
        let cells = rows.iter().map(|row| cell(row).chars().count());
        cells.max().unwrap_or(0).max(head.len())
    };
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), lasting);
    let name = longest(&|row| row.record.name.clone(), "phase");
    let start = longest(&|row| time(row.at.map(|(start, _)| start)), "start");
    let took = longest(&|row| time(row.at.map(|(_, took)| took)), "time");
    let behind = longest(
        &|row| match row.record.status {
            Status::Failed | Status::Running => format!(" {}", status(row.record)),
            _ => String::new(),
        },
        "",
    );
    name + start + took + 3 * GAP.len() + behind
}

/// The last runs, the latest first: what each was about, how it ended, what failed.
pub fn runs(runs: &[Past]) -> String {
    let mut lines = vec![["", "run", "result", "time", "phases", "failed"].map(str::to_owned)];
    for (number, past) in runs.iter().enumerate() {
        let names = past.phases.iter().map(|record| record.name.as_str());
        let about = match past.phases.len() {
            1..=2 => names.collect::<Vec<_>>().join(", "),
            many => many.to_string(),
        };
        let is_failed = |record: &&Record| record.error.is_some();
        let failed: Vec<_> = past
            .phases
            .iter()
            .filter(is_failed)
            .map(|record| record.name.as_str())
            .collect();
        lines.push([
            (number + 1).to_string(),
            past.run.id.clone(),
            ended(past, number > 0).to_owned(),
            past.run.seconds.map(lasting).unwrap_or_default(),
            about,
            failed.join(", "),
        ]);
    }
    table(&lines, &[0, 3])
}

/// How a run ended; if it is not the last and has not ended, it was killed.
fn ended(past: &Past, earlier: bool) -> &'static str {
    match past.run.result {
        RunResult::Running if earlier => "interrupted",
        other => result(other),
    }
}

/// If the last run was about some phases only: the run to look at for the rest.
pub fn wider(runs: &[Past]) -> Option<String> {
    let (last, earlier) = runs.split_first()?;
    let widest = earlier.iter().map(|past| past.phases.len()).max()?;
    let wide = earlier.iter().find(|past| past.phases.len() == widest)?;
    (widest > last.phases.len()).then(|| {
        format!(
            "This run was about {} of {widest} phases. The last run of all: bootstrap status {}",
            last.phases.len(),
            wide.run.id
        )
    })
}

/// What a run would do.
pub fn plan(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for phase in &plan.phases {
        let state = match phase.state {
            Prospect::Done => "done",
            Prospect::Needed => "needed",
            Prospect::NotApplicable => "not applicable",
            Prospect::Blocked => "blocked",
        };
        let detail = shortened(&phase.detail, DETAIL);
        lines.push([phase.name.to_owned(), state.to_owned(), detail]);
    }
    let changes = match plan.changes {
        0 => "a run would change nothing".to_owned(),
        1 => "a run would apply 1 phase".to_owned(),
        some => format!("a run would apply {some} phases"),
    };
    format!("{}\n{changes}\n", wrapped(&lines, &[]))
}

/// `seconds` as a number of character cells, where `width` cells are `total` seconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few hundred cells, never negative; a cast saturates"
)]
fn cells(seconds: f64, total: f64, width: usize) -> usize {
    (seconds / total.max(0.001) * width as f64).round() as usize
}

/// Columns separated by two blanks; those numbered in `right` are right-aligned.
fn table<const N: usize>(lines: &[[String; N]], right: &[usize]) -> String {
    let mut text = String::new();
    for cells in aligned(lines, right) {
        text += cells.join(GAP).trim_end();
        text.push('\n');
    }
    text
}

/// The same, with the last column's text wrapped.
fn wrapped<const N: usize>(lines: &[[String; N]], right: &[usize]) -> String {
    let mut text = String::new();
    for mut cells in aligned(lines, right) {
        let last = cells.pop().unwrap_or_default();
        match last.trim_end() {
            "" => {
                text += cells.join(GAP).trim_end();
                text.push('\n');
            }
            last => paragraph(&mut text, &(cells.join(GAP) + GAP), last),
        }
    }
    text
}

/// The cells, each padded to the width of its column.
fn aligned<const N: usize>(lines: &[[String; N]], right: &[usize]) -> Vec<Vec<String>> {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let align = |(column, (cell, &width)): (usize, (&String, &usize))| {
        if right.contains(&column) {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    };
    let line = |line: &[String; N]| line.iter().zip(&widths).enumerate().map(align).collect();
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::engine::Planned;

    #[test]
    fn a_summary_tells_what_went_wrong_and_what_to_do() {
        assert_eq!(
            summary(&sample::failed()),
            "\
phase      status                time  detail
preflight  ok                   0.4 s  Debian 12 on i-0abc
nvidia     not applicable       0.0 s  gpu is false
docker     ok, changed     1 min 20 s  docker 20.10.24 is active
secret     failed           2 min 5 s  no wallet password; applying (3 tries)
assets     ok                   3.0 s  (earlier run)
container  skipped                     needs secret, which failed
signal     pending

secret failed: cannot read the secret wallet
  because: service error
  because: AccessDeniedException
  help: allow secretsmanager:GetSecretValue to the instance's role

7 phases: 3 ok, 1 not applicable, 1 failed, 1 skipped, 1 pending; 1 changed; run failed after 2 min 5 s
"
        );
    }

    #[test]
    fn a_timeline_has_a_bar_for_each_phase_that_ran() {
        assert_eq!(
            timeline(&sample::failed(), 67, sample::time(999.0)),
            "\
run run-1: failed, 2 min 5 s (started 2026-03-01T12:00:00Z)

phase      start        time
preflight  0.0 s       0.4 s  █
nvidia     0.5 s       0.0 s  █ not applicable
docker     0.5 s  1 min 20 s  ███████████████████
secret     0.5 s   2 min 5 s  ██████████████████████████████ failed
assets         -           -  not in this run
container      -           -  skipped
signal         -           -  pending
"
        );
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_s() {
        let mut journal = sample::failed();
        for record in &mut journal.phases {
            record.detail = "registry.example/image:latest(sha256:f5d30e3e0a09)".repeat(3);
        }
        let now = sample::time(999.0);
        let text = timeline(&journal, WIDTH, now) + &table_of(&journal);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest > Some(70) && longest <= Some(WIDTH), "{text}");
    }

    /// The part of the summary before what went wrong.
    fn table_of(journal: &Journal) -> String {
        let summary = summary(journal);
        summary.split_once("\n\n").unwrap().0.to_owned()
    }

    #[test]
    fn a_timeline_is_drawn_for_anything() {
        let now = sample::time(10.0);
        assert_eq!(timeline(&Journal::default(), 40, now), "no run yet\n");
        let mut empty = sample::journal(RunResult::Running, None, Vec::new());
        assert_eq!(
            timeline(&empty, 0, now),
            "run run-1: running, 10.0 s (started 2026-03-01T12:00:00Z)\n\nphase  start  time\n"
        );
        empty.run.as_mut().unwrap().reason = Some("docker.service is failed".into());
        assert_eq!(
            timeline(&empty, 0, now).lines().nth(1),
            Some("repaired: docker.service is failed")
        );
        // A clock that went backwards, a phase that took no time, a bar at the very end.
        let phases = vec![
            sample::phase("a", Status::Running, 20.0, 0.0),
            sample::phase("b", Status::Ok, -3.0, 0.0),
            sample::phase("c", Status::Ok, 0.0, 5.0),
        ];
        let odd = sample::journal(RunResult::Running, None, phases);
        assert_eq!(
            timeline(&odd, 34, now),
            "\
run run-1: running, 20.0 s (started 2026-03-01T12:00:00Z)

phase   start   time
a      20.0 s  0.0 s     █ running
b       0.0 s  0.0 s  █
c       0.0 s  5.0 s  █
"
        );
        assert_eq!(
            totals(&odd),
            "3 phases: 2 ok, 1 running; 0 changed; run running"
        );
    }

    #[test]
    fn a_plan_lists_states_and_counts_changes() {
        let planned = |name, state, detail: &str| Planned {
            name,
            state,
            detail: detail.to_owned(),
        };
        let some = Plan {
            changes: 1,
            phases: vec![
                planned("preflight", Prospect::Done, "Debian 12"),
                planned("docker", Prospect::Needed, "docker is not installed"),
                planned("nvidia", Prospect::NotApplicable, ""),
                planned("volume", Prospect::Blocked, "no answer"),
            ],
        };
        assert_eq!(
            plan(&some),
            "\
preflight  done            Debian 12
docker     needed          docker is not installed
nvidia     not applicable
volume     blocked         no answer

a run would apply 1 phase
"
        );
    }
}
