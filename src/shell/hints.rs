//! Checks every command in the program's messages: a shell must split it into the intended words, whatever the guest
//! has called its files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::tests::{HOSTILE, words};
use super::word;

/// Placeholders in commands that do not go through [`word`], and why nobody outside chooses their values.
const OURS: &[(&str, &str, &str)] = &[
    ("*", "tool", "a program's name from a table"),
    ("*", "make", "a program's name from a table"),
    ("*", "unit", "a unit's name from a table"),
    ("*", "kind", "ext4 or xfs"),
    ("*", "id", "a VolumeId, which is hex behind `vol-`"),
    ("engine/work.rs", "", "a phase's name from the table"),
    ("engine/work.rs", "name", "a phase's name from the table"),
    ("engine/run.rs", "name", "a phase's name from the table"),
    ("engine/run.rs", "command", "phases' names from the table"),
];

/// A string of the source, and the code that follows it.
struct Text {
    text: String,
    after: String,
}

#[test]
fn a_shell_makes_of_each_command_in_a_message_the_words_that_are_meant() {
    let (mut messages, mut commands, mut filled, mut trials) = (0, 0, 0, 0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let source = fs::read_to_string(&file).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for Text { text, after } in texts(source) {
            let told = commands_in(&text);
            messages += usize::from(!told.is_empty());
            for command in told {
                commands += 1;
                let holes = holes(command);
                for hole in &holes {
                    if !is_quoted(hole, source, &after) && !is_ours(&name, hole) {
                        wrong.push(format!("{name}: {{{hole}}} is not quoted in: {command}"));
                    }
                }
                filled += usize::from(!holes.is_empty());
                let Ok(meant) = shell(&fill(command, &holes, "x")) else {
                    wrong.push(format!("{name}: no shell can read: {command}"));
                    continue;
                };
                for hostile in HOSTILE
                    .iter()
                    .filter(|name| !name.is_empty() && !holes.is_empty())
                {
                    trials += 1;
                    let pasted = fill(command, &holes, &word(hostile));
                    if shell(&pasted) != Ok(meant) {
                        wrong.push(format!("{name}: {pasted} is not {meant} words"));
                    }
                }
            }
        }
    }
    // Not with `println!`, whose output a passing test does not show.
    writeln!(
        std::io::stdout(),
        "hints: {commands} commands of {messages} messages read by a shell, {filled} of them filled in with each of \
         {} hostile names ({trials} pastes), {} wrong",
        HOSTILE.len() - 1,
        wrong.len()
    )
    .unwrap();
    assert_eq!(wrong, [""; 0]);
    // Fails if the search no longer finds anything.
    assert!(commands > 120 && filled > 20, "{commands}, {filled}");
}

/// How many words a shell splits it into.
fn shell(command: &str) -> Result<usize, ()> {
    let made = std::panic::catch_unwind(|| words(command).len());
    made.map_err(drop)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs")
            && !name.contains("test")
            && name != "hints.rs"
        {
            found.push(path);
        }
    }
    found
}

/// The string literals in Rust source; comments and character literals are skipped.
fn texts(source: &str) -> Vec<Text> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let from = &rest[at..];
        if from.starts_with("//") {
            rest = from.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(after) = from.strip_prefix("'\"'") {
            rest = after;
        } else if let Some(begun) = from.strip_prefix('"') {
            let is_raw = rest[..at].ends_with(['r', '#']);
            let (text, after) = string(begun, is_raw);
            let lines = after.split_inclusive('\n').take(8).collect();
            found.push(Text { text, after: lines });
            rest = after;
        } else {
            rest = &from[1..];
        }
    }
    found
}

/// The string that begins here, and what comes after it.
fn string(source: &str, is_raw: bool) -> (String, &str) {
    let mut text = String::new();
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' if !is_raw => match characters.next() {
                Some('\n') => {
                    let rest = characters.as_str().trim_start();
                    characters = rest.chars();
                }
                Some(escaped) => text.push(escaped),
                None => break,
            },
            _ => text.push(character),
        }
    }
    (text, characters.as_str())
}

/// What is in backquotes, after `run:`, or a program's call in parentheses, and begins with a program and an argument
/// for it.
fn commands_in(text: &str) -> Vec<&str> {
    const PROGRAMS: &[&str] = &[
        "docker ",
        "aws ",
        "systemctl ",
        "ls ",
        "namei ",
        "chown ",
        "chmod ",
        "rm ",
    ];
    let quoted = text.split('`').skip(1).step_by(2);
    let bracketed = text.split('(').skip(1);
    let bracketed = bracketed.filter_map(|rest| Some(rest.split_once(')')?.0));
    let bracketed =
        bracketed.filter(|rest| PROGRAMS.iter().any(|program| rest.starts_with(program)));
    let told = text.match_indices("run: ").map(|(at, _)| &text[at + 5..]);
    let is_command = |text: &&str| {
        let mut words = text.split(' ');
        let program = words.next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._{}".contains(c);
        program.starts_with(|c: char| c.is_ascii_lowercase() || c == '{')
            && program.chars().all(plain)
            && words.next().is_some()
    };
    quoted
        .chain(told.chain(bracketed).map(until_it_ends))
        .filter(is_command)
        .collect()
}

/// The command without the rest of its sentence.
fn until_it_ends(text: &str) -> &str {
    let ends = [", ", "; ", " (", ". ", "`"].iter();
    let end = ends.filter_map(|end| text.find(end)).min();
    text[..end.unwrap_or(text.len())].trim_end_matches('.')
}

/// The names of the placeholders; empty for one without a name.
fn holes(command: &str) -> Vec<&str> {
    let opened = command.split('{').skip(1);
    opened
        .filter_map(|rest| Some(rest.split_once('}')?.0))
        .collect()
}

fn fill(command: &str, holes: &[&str], with: &str) -> String {
    let mut filled = command.to_owned();
    for hole in holes {
        filled = filled.replacen(&format!("{{{hole}}}"), with, 1);
    }
    filled
}

/// Whether the placeholder's value has gone through [`word`]: as an argument, or under its name in the same file.
fn is_quoted(hole: &str, source: &str, after: &str) -> bool {
    if hole.is_empty() {
        return after.contains("word(");
    }
    ["word(", "crate::shell::word("]
        .iter()
        .any(|quotes| source.contains(&format!("let {hole} = {quotes}")))
}

fn is_ours(file: &str, hole: &str) -> bool {
    OURS.iter()
        .any(|(place, name, _)| (*place == "*" || file == *place) && *name == hole)
}
