//! `bootstrap explain`: what every check and fault means, what causes it, what to do, how it was tested.

mod checks;
mod faults;

use std::fmt::Write as _;

use anstyle::Style;

use self::checks::{MEANINGS, Meaning};
use self::faults::Fault;
use crate::error::{Error, Result};
use crate::health::{checks_of, group, needs};
use crate::log::printable;
use crate::paragraph::paragraph;

const BOLD: Style = Style::new().bold();

/// How many faults are listed at once, at most.
const NAMED: usize = 12;

/// Everything that can be explained: the checks by name, the faults by theme.
pub fn index() -> String {
    let mut text = format!("{BOLD}Checks{BOLD:#} (and the phases of the same name)\n");
    for meaning in MEANINGS {
        let (first, _) = meaning
            .means
            .split_once(". ")
            .unwrap_or((meaning.means, ""));
        let first = first.trim_end_matches('.');
        paragraph(&mut text, &format!("  {:16}  ", meaning.name), first);
    }
    let _ = writeln!(text, "\n{BOLD}Faults{BOLD:#}, by theme");
    let all = faults::all();
    let mut themes: Vec<&str> = all.iter().map(|fault| fault.theme.as_str()).collect();
    themes.dedup();
    for theme in themes {
        let count = all.iter().filter(|fault| fault.theme == theme).count();
        let _ = writeln!(text, "  {theme} ({count})");
    }
    text + "\nNAME in bootstrap explain NAME is a check, a phase, a theme, or words from a\n\
            fault or from a message of bootstrap.\n"
}

/// The checks, for shell completion.
pub fn names() -> impl Iterator<Item = &'static str> {
    MEANINGS.iter().map(|meaning| meaning.name)
}

/// Explains `name`: a check, a phase, a theme, a fault, or words that occur in one fault only.
pub fn explain(name: &str) -> Result<String> {
    let wanted = slug(name);
    let named = |meaning: &&Meaning| meaning.name == wanted;
    let all = faults::all();
    if let Some(meaning) = MEANINGS.iter().find(named) {
        return Ok(of_check(meaning, &all));
    }
    let of_phase: Vec<String> = MEANINGS
        .iter()
        .filter(|meaning| checks_of(&wanted).contains(&meaning.name))
        .map(|meaning| of_check(meaning, &all))
        .collect();
    if !of_phase.is_empty() {
        return Ok(of_phase.join("\n"));
    }
    // It may be in several themes, each on another machine.
    let same = all.iter().filter(|fault| slug(&fault.name) == wanted);
    let same: Vec<String> = same.map(of_fault).collect();
    if !same.is_empty() {
        return Ok(same.join("\n"));
    }
    let themed: Vec<&Fault> = all
        .iter()
        .filter(|fault| slug(&fault.theme) == wanted)
        .collect();
    if let Some(first) = themed.first() {
        let mut text = format!("{BOLD}{}{BOLD:#}\n", first.theme);
        list(&mut text, &themed, usize::MAX);
        return Ok(text);
    }
    let begin = beginning(&wanted);
    match &having(&all, &wanted)[..] {
        _ if !begin.is_empty() => Err(unknown(name, &begin)),
        [] => Err(unknown(name, &nearest(&wanted))),
        [only] => Ok(of_fault(only)),
        several => Err(ambiguous(name, several)),
    }
}

/// The faults with all these words in their name or message.
fn having<'a>(all: &'a [Fault], wanted: &str) -> Vec<&'a Fault> {
    let words: Vec<&str> = wanted.split('-').filter(|word| !word.is_empty()).collect();
    let has = |fault: &&Fault| {
        let told = slug(&format!("{} {} {}", fault.name, fault.by, fault.says));
        !words.is_empty() && words.iter().all(|word| told.contains(word))
    };
    all.iter().filter(has).collect()
}

fn of_check(meaning: &Meaning, all: &[Fault]) -> String {
    let mut text = format!("{BOLD}{}{BOLD:#}", meaning.name);
    if let Some(group) = group(meaning.name) {
        let _ = write!(text, " (a check; group {group})");
    }
    text += "\n\n";
    paragraph(&mut text, "Means   ", meaning.means);
    paragraph(&mut text, "Causes  ", meaning.causes);
    paragraph(&mut text, "Remedy  ", meaning.remedy);
    if let needs @ [_, ..] = needs(meaning.name) {
        let needs = format!(
            "{}: if one of them fails, this check is skipped",
            needs.join(", ")
        );
        paragraph(&mut text, "Needs   ", &needs);
    }
    let is_reported =
        |fault: &&Fault| fault.by == meaning.name || checks_of(&fault.by).contains(&meaning.name);
    let mut tested: Vec<&Fault> = all.iter().filter(is_reported).collect();
    tested.sort_by_key(|fault| !fault.on_a_node);
    if tested.is_empty() {
        paragraph(
            &mut text,
            "Tested  ",
            "by a table of cases beside its code; no fault is injected for it.",
        );
    } else {
        let count = tested.len();
        let noun = if count == 1 {
            "fault that is"
        } else {
            "faults that are"
        };
        paragraph(
            &mut text,
            "Tested  ",
            &format!("by {count} {noun} injected into a machine:"),
        );
        list(&mut text, &tested, NAMED);
    }
    text
}

fn of_fault(fault: &Fault) -> String {
    let mut text = format!(
        "{BOLD}{}{BOLD:#} (a fault; {})\n\n",
        fault.name, fault.theme
    );
    if fault.says.is_empty() {
        paragraph(
            &mut text,
            "Remedy  ",
            "none is needed: a run recovers from it by itself.",
        );
        paragraph(
            &mut text,
            "Tested  ",
            "by injecting it into a machine: the run ends as it should, and no file of \
                                          the data volume is lost.",
        );
        return text;
    }
    let by = if fault.by.is_empty() {
        String::new()
    } else {
        format!("{}: ", fault.by)
    };
    paragraph(&mut text, "Says    ", &format!("{by}{}", fault.says));
    paragraph(&mut text, "Remedy  ", &fault.remedy);
    paragraph(
        &mut text,
        "Tested  ",
        "by injecting it into a machine: exit code, reason and hint are compared; then the \
                                      remedy is applied, the next run succeeds, and no file of the data volume is lost.",
    );
    if MEANINGS.iter().any(|meaning| meaning.name == fault.by) || !checks_of(&fault.by).is_empty() {
        paragraph(
            &mut text,
            "See     ",
            &format!("bootstrap explain {}", fault.by),
        );
    }
    text
}

fn list(text: &mut String, faults: &[&Fault], most: usize) {
    for fault in faults.iter().take(most) {
        paragraph(text, "        - ", &fault.name);
    }
    if faults.len() > most {
        let _ = writeln!(text, "        - and {} more", faults.len() - most);
    }
}

/// Suggests similar names.
fn unknown(name: &str, near: &[&str]) -> Error {
    let hint = if near.is_empty() {
        "bootstrap explain lists what can be explained".to_owned()
    } else {
        let near = near.join(" or ");
        format!("did you mean {near}? bootstrap explain lists them all")
    };
    let name = printable(name);
    Error::new(
        format!("nothing that can be explained is named '{name}'"),
        hint,
    )
}

fn ambiguous(name: &str, found: &[&Fault]) -> Error {
    let names = found
        .iter()
        .take(NAMED)
        .map(|fault| format!("'{}'", fault.name));
    let names = names.collect::<Vec<_>>().join(", ");
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Error::new(
        format!("'{}' is in {} faults", printable(name), found.len()),
        format!("name one of them: {names}{more}"),
    )
}

/// The checks whose names start like this.
fn beginning(wanted: &str) -> Vec<&'static str> {
    let names = names();
    names
        .filter(|name| !wanted.is_empty() && name.starts_with(wanted))
        .collect()
}

/// The check with the most similar name.
fn nearest(wanted: &str) -> Vec<&'static str> {
    let nearest = names()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .min();
    let nearest = nearest.filter(|(distance, name)| *distance <= name.len() / 2);
    nearest.into_iter().map(|(_, name)| name).collect()
}

/// Lower-case words with hyphens in between.
fn slug(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health;

    #[test]
    fn every_check_is_explained_in_the_order_of_reports() {
        let explained: Vec<_> = MEANINGS.iter().map(|meaning| meaning.name).collect();
        let wanted: Vec<_> = health::names().chain(["signal"]).collect();
        assert_eq!(explained, wanted);
    }

    #[test]
    fn every_fault_is_explained_by_its_name_and_by_what_is_said() {
        let all = faults::all();
        assert!(all.len() > 150, "{}", all.len());
        for fault in &all {
            let text = explain(&fault.name).unwrap();
            assert!(text.contains(&fault.theme), "{text}");
            if !fault.says.is_empty() {
                let found = having(&all, &slug(&fault.says));
                assert!(found.contains(&fault), "{fault:?}");
            }
            let known = fault.by.is_empty() || explain(&fault.by).is_ok();
            assert!(known, "{fault:?}");
        }
    }

    #[test]
    fn a_phase_is_explained_by_its_checks() {
        let text = explain("preflight").unwrap();
        assert!(
            text.contains("os\u{1b}") && text.contains("boot-service\u{1b}"),
            "{text}"
        );
        assert!(explain("metrics-cron").unwrap().contains("every minute"));
    }

    #[test]
    fn what_is_unknown_is_reported_with_what_comes_near() {
        let none = "nothing that can be explained is named";
        let all = "bootstrap explain lists them all";
        for (name, reason, hint) in [
            (
                "dokcer",
                format!("{none} 'dokcer'"),
                format!("did you mean docker? {all}"),
            ),
            (
                "gpu",
                format!("{none} 'gpu'"),
                format!("did you mean gpu-driver or gpu-container? {all}"),
            ),
            (
                "S3 throttles",
                "'S3 throttles' is in ".into(),
                "name one of them: '".into(),
            ),
            (
                "xyzzy\u{1b}[2J",
                format!("{none} 'xyzzy\\u{{1b}}[2J'"),
                "bootstrap explain lists what can be explained".into(),
            ),
        ] {
            let error = explain(name).unwrap_err();
            assert!(error.reason().starts_with(&reason), "{error}");
            assert!(error.hint().starts_with(&hint), "{}", error.hint());
        }
    }

    #[test]
    fn nothing_is_wider_than_a_terminal() {
        let mut texts = vec![index()];
        texts.extend(
            MEANINGS
                .iter()
                .map(|meaning| explain(meaning.name).unwrap()),
        );
        for text in texts {
            let text = anstream::adapter::strip_str(&text).to_string();
            for line in text.lines() {
                let is_word = line.trim_start().split(' ').count() < 2;
                assert!(line.chars().count() <= 80 || is_word, "{line}");
            }
        }
    }
}
