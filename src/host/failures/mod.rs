//! What tools say when they fail: which line is the reason, which failures pass by themselves, what to do about them.
//!
//! One file per tool, as data: the tool's words as its versions print them, what they mean, and where they were seen.
//! Nothing else in the program judges a failure by words in a tool's messages.

mod accounts;
mod agent;
mod apt;
mod dnf;
pub mod docker;
mod e2fsprogs;
mod journal;
pub mod modprobe;
pub mod systemctl;
#[cfg(test)]
mod tests;
mod util_linux;

use super::command::Output;
use crate::error::Error;
use crate::log::printable;

/// How many lines are quoted if nothing is known about any of them.
const QUOTED_LINES: usize = 5;

/// What to do if nothing better is known.
const BY_HAND: &str = "run the command by hand as root to see its full output, fix what it reports, then run `bootstrap` again";

/// What is known about the messages of one tool.
#[derive(Debug)]
pub struct Tool {
    /// Its programs; `docker pull` is for that subcommand alone.
    programs: &'static [&'static str],
    /// Lines that are never the reason, as patterns: banners, progress, summaries, pointers to a manual.
    chatter: &'static [&'static str],
    /// Lines that are the reason, as patterns, if the tool marks it: a line after one can only continue it.
    marks: &'static [&'static str],
    /// How many of the last remaining lines are the reason if no fact fits.
    lines: usize,
    /// The first one that fits decides, so permanent failures come before those that may pass.
    facts: &'static [Fact],
    /// What a failure means if no fact fits.
    otherwise: Meaning,
    /// What to do about such a failure.
    hint: &'static str,
}

/// Words of a tool and what they mean.
#[derive(Debug)]
pub struct Fact {
    /// A line with one of these means it (patterns, case-insensitive).
    pub words: &'static [&'static str],
    /// Whether it passes by itself.
    pub meaning: Meaning,
    /// What to do.
    pub hint: &'static str,
    /// Where the words were seen: `owner/repository#issue`, or the program that has them in its source.
    pub source: &'static str,
}

/// Whether a failure passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Trying again can help.
    Passes,
    /// Someone has to do something first.
    Lasts,
}

/// A failure, as read from what a tool said.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line, or lines, that say why; safe to quote. Empty if the tool said nothing.
    pub reason: String,
    /// Whether trying again can help.
    pub passes: bool,
    /// What to do.
    pub hint: &'static str,
}

const TOOLS: &[&Tool] = &[
    &docker::PULL,
    &docker::DOCKER,
    &apt::APT,
    &dnf::DNF,
    &e2fsprogs::E2FSPROGS,
    &util_linux::MOUNT,
    &systemctl::SYSTEMCTL,
    &journal::DOCKERD,
    &modprobe::MODPROBE,
    &accounts::ACCOUNTS,
    &agent::AGENT,
    &docker::TOOLKIT,
];

/// What to do about a service if nothing in its journal is known.
pub const SEE_JOURNAL: &str = "see the service's journal";

/// A tool that nothing is known about.
const UNKNOWN: Tool = Tool {
    programs: &[],
    chatter: &[],
    marks: &[],
    lines: QUOTED_LINES,
    facts: &[],
    otherwise: Meaning::Lasts,
    hint: BY_HAND,
};

const MEMORY: &str =
    "see what takes the memory (`free -m`, `dmesg`), or use a larger instance type";
const DISK: &str = "see `dmesg` for a disk error; reboot, which checks the disk; if it stays so, replace the instance";
const GONE: &str = "the volume's device is gone: see whether it is still attached (`lsblk`), then run `bootstrap` again";
const ROOM: &str = "make room on the disk (`df -h`), or give the instance a larger one, then run `bootstrap` again";
const TLS: &str = "something between the instance and the server answers with a certificate of its own, or the machine's CA certificates are \
    missing (package ca-certificates) or old: see the proxy and the clock (`timedatectl`), then run `bootstrap` again";
const PROXY_LOGIN: &str = "the proxy on the way wants a name and a password: see which proxy is set (`env`, the package manager's config) and \
    give it both, then run `bootstrap` again";
const CLOCK: &str = "see whether the clock is right (`timedatectl`, `chronyc tracking`), put it right, then run `bootstrap` again";

/// A machine's clock can be wrong until its time service first synchronises it. Tools say so of signatures and
/// certificates, next to what could not be fetched because of it, so this is checked first.
const WRONG_CLOCK: Fact = Fact {
    words: &[
        "not valid yet",
        "not yet valid",
        "not yet activated",
        "is not valid until",
        "notvalidyet",
        "not live until",
        "has expired or is not yet valid",
    ],
    meaning: Meaning::Passes,
    hint: CLOCK,
    source: "jareware/chilipie-kiosk#190 (apt), GnuTLS, Go's crypto/x509, OpenSSL, rustls, Sequoia's sqv (apt 3)",
};

/// What any tool can say.
const COMMON: &[Fact] = &[
    Fact {
        words: &[
            "no space left on device",
            "disk quota exceeded",
            "enospc",
            "not enough space available on /run",
        ],
        meaning: Meaning::Lasts,
        hint: ROOM,
        source: "errno(3); \"on /run\": systemd 249 to 257",
    },
    Fact {
        words: &[
            "read-only file system",
            "structure needs cleaning",
            "input/output error",
        ],
        meaning: Meaning::Lasts,
        hint: DISK,
        source: "errno(3)",
    },
    Fact {
        words: &["cannot allocate memory", "out of memory"],
        meaning: Meaning::Passes,
        hint: MEMORY,
        source: "errno(3)",
    },
];

/// The exit code after SIGKILL, which the kernel sends when memory runs out.
const KILLED: i32 = 128 + 9;

/// Reads what a failed tool said.
pub fn read(output: &Output) -> Failure {
    let tool = tool(&output.program, &output.verb);
    let failure = read_as(tool, &output.stderr, &output.stdout);
    if output.code == KILLED && failure.hint == tool.hint {
        return Failure {
            passes: true,
            hint: MEMORY,
            ..failure
        };
    }
    failure
}

/// Whether a fact fits, so that its hint is better than the caller's.
pub fn is_known(output: &Output) -> bool {
    let tool = tool(&output.program, &output.verb);
    let lines = [&output.stderr, &output.stdout].map(|text| said(text));
    let mut lines = lines.into_iter().flatten();
    lines.any(|line| !tool.is_chatter(line) && tool.facts.iter().any(|fact| fact.fits(line)))
}

/// Reads text that was not obtained by running the tool.
pub fn read_as(tool: &Tool, stderr: &str, stdout: &str) -> Failure {
    let all: Vec<&str> = [stderr, stdout].into_iter().flat_map(said).collect();
    // A progress line ("Waiting for cache lock: …") or a warning decides only if nothing else is said.
    let mut lines = all.clone();
    lines.retain(|line| !tool.is_chatter(line));
    if lines.is_empty() {
        lines = all;
    }
    for fact in [&WRONG_CLOCK].into_iter().chain(tool.facts).chain(COMMON) {
        let mut from = lines.iter().skip_while(|line| !fact.fits(line));
        let Some(line) = from.next() else { continue };
        // "The following packages have unmet dependencies:" says nothing without the next line.
        let more = from.next().filter(|_| line.ends_with(':'));
        let reason = more.map_or_else(|| (*line).to_owned(), |more| format!("{line} {more}"));
        return Failure {
            reason: printable(&reason),
            passes: fact.meaning == Meaning::Passes,
            hint: fact.hint,
        };
    }
    let texts = [stderr, stdout];
    // A trace can be cut off before it says why.
    let trace = |text| printable(&last_lines(text, tool.lines).join(" / "));
    let reason = (texts.map(|text| tool.reason(text)).into_iter())
        .chain(texts.map(trace))
        .find(|said| !said.is_empty());
    Failure {
        reason: reason.unwrap_or_default(),
        passes: tool.otherwise == Meaning::Passes,
        hint: tool.hint,
    }
}

/// What is known about the tool: about its subcommand, else about the whole program.
pub fn tool(program: &str, verb: &str) -> &'static Tool {
    let whole = format!("{program} {verb}");
    let known = |name: &str| TOOLS.iter().find(|tool| tool.programs.contains(&name));
    let unit = program.ends_with(".service").then_some(&&journal::SERVICE);
    known(&whole)
        .or_else(|| known(program))
        .or(unit)
        .map_or(&UNKNOWN, |tool| *tool)
}

/// The lines that say something: no blank lines, no stack traces.
fn said(text: &str) -> impl Iterator<Item = &str> {
    let mut is_in_trace = false;
    let lines = text.lines().filter(move |line| {
        // Python gives the reason after the indented lines of its trace, Go before its trace.
        let begins = line.starts_with("Traceback (most recent call last):");
        is_in_trace = begins || (is_in_trace && line.starts_with(' '));
        !is_in_trace
    });
    let is_go_s = |line: &&str| line.starts_with("goroutine ") && line.ends_with("]:");
    lines
        .take_while(move |line| !is_go_s(line))
        .map(str::trim)
        .filter(|line| !line.is_empty())
}

/// The last non-empty lines of a text, at most `count`.
pub fn last_lines(text: &str, count: usize) -> Vec<&str> {
    last(
        text.lines().map(str::trim).filter(|line| !line.is_empty()),
        count,
    )
}

fn last<'a>(lines: impl Iterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.collect();
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

impl Tool {
    fn is_chatter(&self, line: &str) -> bool {
        self.chatter.iter().any(|pattern| like(pattern, line))
    }

    /// The last lines that say something: marked ones, else any but chatter, else chatter.
    fn reason(&self, text: &str) -> String {
        let all: Vec<&str> = said(text).collect();
        let mut says = all.clone();
        // The usage text comes after the reason.
        if let Some(usage) = says.iter().position(|line| line.starts_with("Usage:")) {
            says.truncate(usage);
        }
        says.retain(|line| !self.is_chatter(line));
        let mut marked = says.clone();
        marked.retain(|line| self.marks.iter().any(|pattern| like(pattern, line)));
        let found = [marked, says, all]
            .into_iter()
            .find(|lines| !lines.is_empty());
        printable(&last(found.unwrap_or_default().into_iter(), self.lines).join(" / "))
    }
}

impl Fact {
    fn fits(&self, line: &str) -> bool {
        self.words.iter().any(|words| contains(words, line))
    }
}

impl Failure {
    /// The failure of this command as an error.
    pub fn into_error(self, command: &str, code: i32) -> Error {
        let colon = if self.reason.is_empty() { "" } else { ": " };
        let reason = format!(
            "`{command}` failed with exit code {code}{colon}{}",
            self.reason
        );
        Error::new(reason, self.hint).transient_if(self.passes)
    }
}

fn contains(words: &str, line: &str) -> bool {
    like(&format!("*{words}*"), line)
}

/// Whether the line matches the pattern, in which each `*` stands for any text; case is ignored.
pub fn like(pattern: &str, line: &str) -> bool {
    let (pattern, line) = (pattern.to_lowercase(), line.to_lowercase());
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    // Without a `*`, the whole line must equal the pattern.
    let Some(end) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(end)
}

/// Everything that is known, for those who list it.
pub fn facts() -> impl Iterator<Item = (&'static str, &'static Fact)> {
    let of_tools = TOOLS.iter().flat_map(|tool| {
        let name = tool.programs.first().copied().unwrap_or_default();
        tool.facts.iter().map(move |fact| (name, fact))
    });
    let of_any = [&WRONG_CLOCK].into_iter().chain(COMMON);
    of_tools.chain(of_any.map(|fact| ("any tool", fact)))
}
