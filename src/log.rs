//! The log: JSON lines in a file for machines, one clear line per event for people.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::{Event, Id, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Longest quotation of outside text, in characters.
const QUOTED: usize = 2_000;

/// The log file is moved to `….1` when it has grown past this many bytes, so that both together stay bounded.
const FILE_LIMIT: u64 = 10 * 1024 * 1024;

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// The same JSON lines as in the file.
    Json,
}

/// Where events are shown, besides the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error: standard output belongs to the command's answer.
    Error,
    /// Nowhere: a live view draws there, or nobody asked.
    Nowhere,
}

/// Outside text made safe to quote in one line: control characters escaped, long text cut on a character boundary.
pub fn printable(text: &str) -> String {
    let mut safe = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == QUOTED {
            safe.push('…');
            break;
        }
        if character.is_control() || is_unseen(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Invisible characters that end a line, hide text or reorder what a terminal shows ("Trojan Source",
/// CVE-2021-42574): most of Unicode's category Cf, the line and paragraph separators, and blank fillers.
fn is_unseen(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Sends events to `stream` as `format`, down to the level `shown`, and, if it can be opened, to `file`, down to the
/// level `kept`. Debug events are details, such as every command run.
pub fn start(stream: Stream, format: Format, shown: Level, file: &Path, kept: Level) {
    let opened = open(file);
    if let (Err(error), true) = (&opened, stream != Stream::Nowhere) {
        let _ = writeln!(io::stderr(), "cannot log to {}: {error}", file.display());
    }
    let log = Log {
        stream,
        format,
        shown,
        file: opened.ok().map(Mutex::new),
        kept,
    };
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log));
}

/// Opens a log for appending; one that has grown too large is moved aside first.
pub fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if path
        .metadata()
        .is_ok_and(|metadata| metadata.len() > FILE_LIMIT)
    {
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        std::fs::rename(path, PathBuf::from(old))?;
    }
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

struct Log {
    stream: Stream,
    format: Format,
    shown: Level,
    file: Option<Mutex<File>>,
    kept: Level,
}

/// The phase that a span belongs to.
struct PhaseName(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // The AWS SDK's own events name headers and bodies; only what this program says is logged.
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.name) {
            span.extensions_mut().insert(PhaseName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let phase = context.event_scope(event).and_then(|scope| {
            scope
                .into_iter()
                .find_map(|span| span.extensions().get::<PhaseName>().map(|p| p.0.clone()))
        });
        let level = *event.metadata().level();
        let json = json_line(level, phase.as_deref(), &fields.message);
        if let Some(file) = &self.file
            && level <= self.kept
            && let Ok(mut file) = file.lock()
        {
            // A full disk must not stop the set-up; standard output still has the line.
            let _ = file.write_all(json.as_bytes());
        }
        if level > self.shown {
            return;
        }
        let line = match self.format {
            Format::Json => json,
            Format::Text => text_line(level, phase.as_deref(), &fields.message),
        };
        let _ = match self.stream {
            Stream::Output => io::stdout().lock().write_all(line.as_bytes()),
            Stream::Error => io::stderr().lock().write_all(line.as_bytes()),
            Stream::Nowhere => Ok(()),
        };
    }
}

fn json_line(level: Level, phase: Option<&str>, message: &str) -> String {
    let mut line = serde_json::json!({
        "time": now().to_string(),
        "level": level.as_str().to_lowercase(),
        "message": message,
    });
    if let (Some(object), Some(phase)) = (line.as_object_mut(), phase) {
        object.insert("phase".into(), phase.into());
    }
    format!("{line}\n")
}

fn text_line(level: Level, phase: Option<&str>, message: &str) -> String {
    let time = now().strftime("%H:%M:%SZ").to_string();
    let mark = match level {
        Level::ERROR => "ERROR ",
        Level::WARN => "WARN  ",
        _ => "",
    };
    let phase = phase.unwrap_or("bootstrap");
    format!("{time} {phase:<16} {mark}{}\n", printable(message))
}

fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now)
}

#[derive(Default)]
struct Fields {
    message: String,
    name: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            "name" => self.name = Some(format!("{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "name" => self.name = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_escapes_what_could_steer_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mred\nnext\r\0"),
            "a\\u{1b}[31mred\\nnext\\r\\u{0}"
        );
        assert_eq!(printable("user\u{202e}txt"), "user\\u{202e}txt");
        for unseen in [
            '\u{61c}',
            '\u{200b}',
            '\u{2028}',
            '\u{2029}',
            '\u{2066}',
            '\u{feff}',
            '\u{9b}',
            '\u{e0041}',
        ] {
            let shown = printable(&format!("main{unseen}net"));
            assert_eq!(shown, format!("main{}net", unseen.escape_default()));
            assert!(shown.is_ascii());
        }
        assert_eq!(printable("  grüße  "), "grüße");
    }

    #[test]
    fn printable_cuts_long_text_between_characters() {
        let cut = printable(&"é".repeat(QUOTED + 1));
        assert_eq!(cut.chars().count(), QUOTED + 1);
        assert!(cut.ends_with("é…"));
    }

    #[test]
    fn a_json_line_is_one_line_and_names_the_phase() {
        let line = json_line(Level::WARN, Some("docker"), "a\nb");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["phase"], "docker");
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "a\nb");
    }

    #[test]
    fn a_large_log_is_moved_aside_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bootstrap.log");
        File::create(&path)
            .unwrap()
            .set_len(FILE_LIMIT + 1)
            .unwrap();
        open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert_eq!(
            dir.path().join("bootstrap.log.1").metadata().unwrap().len(),
            FILE_LIMIT + 1
        );

        let link = dir.path().join("link.log");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(
            open(&link).unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
    }
}
