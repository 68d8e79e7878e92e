//! The live view of a run on a terminal: one line for each phase.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::journal::{Record, Status, lasting};
use crate::engine::{Event, Observer};

const WAITING: &str = "  {prefix:.dim} {wide_msg:.dim}";
const RUNNING: &str = "{spinner:.cyan} {prefix:.bold} {elapsed:>4} {wide_msg}";

/// Shows a run on standard output. Nothing else may be written there in the meantime (`log::Format::Silent`).
pub struct Live {
    screen: MultiProgress,
    lines: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Live {
    /// The view, if standard output is a terminal.
    pub fn for_terminal() -> Option<Self> {
        let terminal = std::io::stdout().is_terminal();
        terminal.then(|| Self::on_screen(ProgressDrawTarget::stdout()))
    }

    fn on_screen(target: ProgressDrawTarget) -> Self {
        Self {
            screen: MultiProgress::with_draw_target(target),
            lines: Mutex::default(),
        }
    }

    fn line(&self, name: &str) -> Option<ProgressBar> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(name).cloned()
    }

    fn begin(&self, names: &[&'static str]) {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let line = self.screen.add(ProgressBar::new_spinner());
            line.set_prefix(format!("{name:<width$}"));
            line.set_style(style(WAITING));
            line.set_message("waits for what it needs");
            line.tick();
            lines.insert((*name).to_owned(), line);
        }
    }
}

impl Observer for Live {
    fn on(&self, event: Event<'_>) {
        match event {
            Event::RunStarted(names) => self.begin(names),
            Event::Started(name) => {
                if let Some(line) = self.line(name) {
                    line.reset_elapsed();
                    line.set_style(style(RUNNING));
                    line.enable_steady_tick(Duration::from_millis(120));
                }
            }
            Event::Doing(name, what) => {
                if let Some(line) = self.line(name) {
                    line.set_message(what.to_owned());
                }
            }
            Event::AttemptFailed(name, attempt, reason) => {
                if let Some(line) = self.line(name) {
                    line.set_message(format!("try {attempt} failed: {reason}"));
                }
            }
            Event::Finished(record) => {
                if let Some(line) = self.line(&record.name) {
                    line.set_style(style(ended(record)));
                    line.finish_with_message(message(record));
                }
            }
            Event::RunFinished => {}
        }
    }
}

fn ended(record: &Record) -> &'static str {
    match record.status {
        Status::Ok if record.changed => "✔ {prefix:.green} {wide_msg}",
        Status::Ok => "✔ {prefix} {wide_msg}",
        Status::Failed => "✘ {prefix:.red.bold} {wide_msg}",
        Status::Pending | Status::Running => "… {prefix:.yellow} {wide_msg}",
        Status::Skipped | Status::NotApplicable => "– {prefix:.dim} {wide_msg:.dim}",
    }
}

fn message(record: &Record) -> String {
    match (&record.error, record.status, record.seconds) {
        (Some(error), ..) => error.to_string(),
        (None, Status::Ok, Some(seconds)) => format!("{} ({})", lasting(seconds), record.detail),
        _ => record.detail.clone(),
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and a test parses them all.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_a_line_that_follows_it() {
        let view = Live::on_screen(ProgressDrawTarget::hidden());
        view.on(Event::RunStarted(&["docker", "nvidia"]));
        let line = view.line("docker").unwrap();
        assert_eq!(line.prefix(), "docker");
        assert_eq!(line.message(), "waits for what it needs");
        view.on(Event::Started("docker"));
        view.on(Event::Doing("docker", "checking"));
        assert_eq!(line.message(), "checking");
        view.on(Event::AttemptFailed("docker", 1, "busy"));
        assert_eq!(line.message(), "try 1 failed: busy");
        view.on(Event::Finished(&Record {
            status: Status::Ok,
            changed: true,
            seconds: Some(12.34),
            detail: "docker 20.10.24 is active".into(),
            ..Record::pending("docker")
        }));
        assert!(line.is_finished());
        assert_eq!(line.message(), "12.3 s (docker 20.10.24 is active)");
        assert!(!view.line("nvidia").unwrap().is_finished());
        view.on(Event::Doing("unknown", "nothing"));
    }

    #[test]
    fn every_template_is_one() {
        let mut record = Record::pending("a");
        for status in [
            Status::Pending,
            Status::Running,
            Status::Ok,
            Status::Failed,
            Status::Skipped,
            Status::NotApplicable,
        ] {
            for changed in [false, true] {
                (record.status, record.changed) = (status, changed);
                ProgressStyle::with_template(ended(&record)).unwrap();
            }
        }
        for template in [WAITING, RUNNING] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
