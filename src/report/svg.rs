//! The run as a picture: a Gantt chart like systemd-analyze's plot.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Row, is_of_last_run, result, rows, shortened, status};
use crate::engine::journal::{Journal, Record, RunResult, Status, lasting};

const WIDTH: f64 = 1180.0;
/// Where the time axis begins and ends; names are to the left of it, the last bar's label may be to the right.
const LEFT: f64 = 180.0;
const RIGHT: f64 = 1020.0;
const TOP: f64 = 112.0;
const ROW: f64 = 32.0;
const BAR: f64 = 18.0;

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;font-size:13px;fill:#1f2328}\
.title{font-size:19px;font-weight:600}.dim{fill:#656d76}.small{font-size:11px}.tick{text-anchor:middle}\
.name{font-weight:500;text-anchor:end}.on{paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}\
line{stroke:#d8dee4;stroke-width:1}";

/// A standalone SVG of the last run; phases still running end at `now`.
pub fn chart(journal: &Journal, now: Timestamp) -> String {
    let (total, rows) = rows(journal, now);
    let total = total.max(0.001);
    let x = |seconds: f64| LEFT + (seconds / total).clamp(0.0, 1.0) * (RIGHT - LEFT);
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let bottom = TOP + ROW * f64::from(count);
    let height = bottom + 74.0;

    let mut drawing = Drawing(String::new());
    drawing.rect((0.0, 0.0), (WIDTH, height), 0.0, "#ffffff");
    heading(&mut drawing, journal, total);
    for number in (0..count).step_by(2) {
        let y = TOP + ROW * f64::from(number);
        drawing.rect((16.0, y), (WIDTH - 32.0, ROW), 4.0, "#f6f8fa");
    }
    if journal.run.is_some() {
        axis(&mut drawing, total, bottom, x);
    }
    for (number, row) in (0u32..).zip(&rows) {
        phase(&mut drawing, journal, row, TOP + ROW * f64::from(number), x);
    }
    legend(&mut drawing, bottom + 46.0);
    let size = format!("width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\"");
    let namespace = "http://www.w3.org/2000/svg";
    format!(
        "<svg xmlns=\"{namespace}\" {size} role=\"img\">\n<style>{STYLE}</style>\n{}</svg>\n",
        drawing.0
    )
}

/// The elements of a picture, one on each line.
struct Drawing(String);

impl Drawing {
    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), round: f64, fill: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"{round}\" fill=\"{fill}\"/>"
        ));
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y}\">{text}</text>"
        ));
    }
}

fn heading(drawing: &mut Drawing, journal: &Journal, total: f64) {
    let (title, what, colour) = match &journal.run {
        None => ("No run yet".to_owned(), String::new(), "#8c959f"),
        Some(run) => {
            let (preposition, colour) = match run.result {
                RunResult::Ok => ("in", "#2da44e"),
                RunResult::Failed => ("after", "#cf222e"),
                RunResult::Running => ("for", "#0969da"),
                RunResult::Rebooting => ("after", "#0969da"),
            };
            let (is, lasted) = (result(run.result), lasting(total));
            (
                format!("bootstrap: {is} {preposition} {lasted}"),
                format!(
                    "run {} · {} · started {}",
                    run.id, run.binary_version, run.started
                ),
                colour,
            )
        }
    };
    drawing.rect((16.0, 20.0), (5.0, 46.0), 2.5, colour);
    drawing.text("title", (34.0, 40.0), &title);
    drawing.text("dim", (34.0, 62.0), &what);
    let why = journal.phases.iter().find_map(|record| {
        let error = record.error.as_ref()?;
        is_of_last_run(journal, record).then(|| format!("{} failed: {error}", record.name))
    });
    if let Some(why) = why {
        drawing.text("small", (34.0, 80.0), &shortened(&why, 170));
    }
}

fn axis(drawing: &mut Drawing, total: f64, bottom: f64, x: impl Fn(f64) -> f64) {
    const STEPS: [f64; 17] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0,
        3600.0, 7200.0,
    ];
    let step = STEPS.into_iter().find(|step| total / step <= 10.0);
    let step = step.unwrap_or(total / 10.0);
    for number in 0..=10u32 {
        let seconds = f64::from(number) * step;
        if seconds > total {
            break;
        }
        let label = match seconds {
            0.0 => "0".to_owned(),
            whole if step >= 1.0 && whole < 60.0 => format!("{whole} s"),
            _ => lasting(seconds),
        };
        let (at, top) = (x(seconds), TOP - 6.0);
        drawing.put(format_args!(
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>"
        ));
        drawing.text("dim small tick", (at, top - 6.0), &label);
    }
}

fn phase(drawing: &mut Drawing, journal: &Journal, row: &Row<'_>, y: f64, x: impl Fn(f64) -> f64) {
    let record = row.record;
    let text_y = y + ROW / 2.0 + 4.5;
    let title = escaped(&tooltip(record));
    drawing.put(format_args!("<g><title>{title}</title>"));
    let name = shortened(&record.name, 20);
    drawing.text("name", (LEFT - 14.0, text_y), &name);
    match row.at {
        None => {
            let what = match (&record.error, record.detail.as_str()) {
                _ if !is_of_last_run(journal, record) => "not in this run".to_owned(),
                (Some(error), _) => format!("{}: {error}", status(record)),
                (None, "") => status(record).to_owned(),
                (None, detail) => format!("{}: {detail}", status(record)),
            };
            let what = shortened(&what, 120);
            drawing.text("dim small on", (LEFT + 6.0, text_y), &what);
        }
        Some((start, took)) => {
            let from = x(start);
            let width = (x(start + took) - from).max(3.0);
            let top = y + (ROW - BAR) / 2.0;
            drawing.rect((from, top), (width, BAR), 3.0, colour(record));
            drawing.text("small on", (from + width + 7.0, text_y), &lasting(took));
        }
    }
    drawing.put(format_args!("</g>"));
}

/// Everything known about a phase, one item per line.
fn tooltip(record: &Record) -> String {
    let mut text = format!("{}: {}", record.name, status(record));
    if record.attempts > 1 {
        let _ = write!(text, ", {} tries", record.attempts);
    }
    if !record.detail.is_empty() {
        let _ = write!(text, "\n{}", record.detail);
    }
    if let Some(error) = &record.error {
        let _ = write!(text, "\n{error}\nhelp: {}", error.hint);
    }
    text
}

const CHANGED: &str = "#2da44e";
const UNCHANGED: &str = "#94d3a2";
const FAILED: &str = "#cf222e";
const RUNNING: &str = "#218bff";
const WAITING: &str = "#d4a72c";
const NOTHING: &str = "#afb8c1";

fn colour(record: &Record) -> &'static str {
    match record.status {
        Status::Ok if record.changed => CHANGED,
        Status::Ok => UNCHANGED,
        Status::Failed => FAILED,
        Status::Running => RUNNING,
        Status::Pending => WAITING,
        Status::Skipped | Status::NotApplicable => NOTHING,
    }
}

fn legend(drawing: &mut Drawing, y: f64) {
    let mut x = LEFT;
    for (colour, label) in [
        (CHANGED, "changed"),
        (UNCHANGED, "nothing to do"),
        (FAILED, "failed"),
        (RUNNING, "running"),
        (WAITING, "waits for a reboot"),
        (NOTHING, "not applicable"),
    ] {
        drawing.rect((x, y - 10.0), (12.0, 12.0), 3.0, colour);
        drawing.text("dim small", (x + 18.0, y), label);
        x += 140.0;
    }
}

/// `text` as XML text; characters that XML does not allow are replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// The chart's text, after checking that its tags and entities are valid XML.
    fn text_of(svg: &str) -> String {
        let mut open = Vec::new();
        let mut text = String::new();
        let mut rest = svg;
        while let Some((before, tag)) = rest.split_once('<') {
            assert!(!before.contains('>'), "stray > in {before:?}");
            text += before;
            let (tag, after) = tag.split_once('>').unwrap();
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            let name = tag.trim_start_matches('/').split(' ').next().unwrap();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (_, true) => {}
                _ => open.push(name),
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty());
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            assert!(known.iter().any(|e| entity.starts_with(e)), "&{entity}");
        }
        let allowed = |c: char| c == '\n' || !c.is_control();
        assert!(text.chars().all(allowed) && !svg.contains("NaN") && !svg.contains("inf\""));
        text
    }

    #[test]
    fn a_chart_is_well_formed_whatever_the_texts() {
        let hostile = "</title><script>alert('1')</script> & \"\u{1b}[2J\u{0}\u{ffff}]]>";
        let mut journal = sample::failed();
        for record in &mut journal.phases {
            record.detail = hostile.into();
            record.name = hostile.into();
        }
        journal.run.as_mut().unwrap().binary_version = hostile.into();
        let svg = chart(&journal, sample::time(0.0));
        assert!(!svg.contains("<script"));
        let text = text_of(&svg);
        assert!(text.contains(
            "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;\u{fffd}[2J\u{fffd}\u{fffd}]]&gt;"
        ));
    }

    #[test]
    fn a_chart_is_drawn_for_anything() {
        let now = sample::time(1e9);
        assert!(text_of(&chart(&Journal::default(), now)).contains("No run yet"));
        let zero = vec![sample::phase("a", Status::Ok, 0.0, 0.0)];
        text_of(&chart(
            &sample::journal(RunResult::Ok, Some(0.0), zero),
            now,
        ));
        let phases = vec![
            sample::phase("a", Status::Running, 20.0, 0.0),
            sample::phase("b", Status::Ok, -3.0, 0.0),
        ];
        let running = sample::journal(RunResult::Running, None, phases);
        assert!(text_of(&chart(&running, sample::time(10.0))).contains("running for 20.0 s"));
        text_of(&chart(&running, now));
    }

    #[test]
    fn a_chart_tells_why_a_phase_failed() {
        let text = text_of(&chart(&sample::failed(), sample::time(0.0)));
        assert!(text.contains(
            "secret: failed, 3 tries\nno wallet password; applying\ncannot read the secret wallet: service error: \
             AccessDeniedException\nhelp: allow secretsmanager:GetSecretValue to the instance&#39;s role"
        ));
        assert!(text.contains("skipped: needs secret, which failed"));
        // Readable without a mouse, too.
        assert!(text.contains(
            "secret failed: cannot read the secret wallet: service error: AccessDeniedException"
        ));
    }
}
