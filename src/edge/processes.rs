//! The node's processes besides the core: which of them answer, and the last log line of one that is silent.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::container::Container;
use super::earnings::JobList;
use super::rpc::{Client, Fault};
use super::spec::Spec;
use super::trouble;
use crate::config::Config;
use crate::host::Host;
use crate::wallet_password::WalletPassword;

/// Bytes at the end of a log that are searched, and how many of their last lines.
const END: u64 = 64 << 10;
const LINES: usize = 200;

/// What best tells how a process ended, the most telling first.
const TELLING: [&[&str]; 2] = [
    &["panic:", "fatal", "SIGSEGV", "SIGILL", "SIGABRT", "SIGBUS"],
    &["error", "exit status"],
];

/// The process that answers no RPC and shows only in the process list.
pub const ANYCAST: &str = "anycast";

/// A process that answers JSON-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// Starts the others.
    Launcher,
    /// Transcodes.
    Encoder,
}

impl Process {
    /// Its name, in `edge.json` as in checks.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Encoder => "encoder",
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A question to a process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Which process.
    pub process: Process,
    /// The RPC's method.
    pub method: String,
    /// Its parameters.
    pub params: Value,
    /// Where the answer has the TFUEL that is not yet paid out (a JSON pointer).
    #[serde(default)]
    pub pending_tfuel: Option<String>,
    /// Where it lists jobs.
    #[serde(default)]
    pub jobs: Option<JobList>,
}

/// A process's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which question it is the answer to.
    pub question: Question,
    /// The result, or why there is none.
    pub said: Result<Value, Fault>,
}

/// Asks all questions concurrently.
pub async fn ask(config: &Config, spec: &Spec) -> Vec<Answer> {
    let ask = |question: &Question| {
        let port = match question.process {
            Process::Launcher => spec.rpc.launcher,
            Process::Encoder => spec.rpc.encoder,
        };
        let (client, question) = (Client::at(config.edge.rpc_bind, port), question.clone());
        tokio::spawn(async move {
            let said = client.ask(&question.method, &question.params).await;
            Answer { question, said }
        })
    };
    let asked: Vec<_> = spec.questions.iter().map(ask).collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.extend(answer.await);
    }
    answers
}

/// Whether the process is alive: it answers something, even an error; or why it seems not to be. `None` if it is asked
/// nothing.
pub fn lives(process: Process, answers: &[Answer]) -> Option<Result<(), Fault>> {
    let mut fault = None;
    for answer in answers.iter().filter(|a| a.question.process == process) {
        match &answer.said {
            Ok(_) | Err(Fault::Error(_)) => return Some(Ok(())),
            Err(other) => fault = fault.or(Some(other)),
        }
    }
    fault.map(|fault| Err(fault.clone()))
}

/// Which of the processes that answer no RPC run in the container; `None` if that cannot be seen.
pub fn running(host: &Host, spec: &Spec, container: &Container) -> Option<BTreeSet<String>> {
    if spec.processes.is_empty() {
        return None;
    }
    let names = host.descendants(container.process()?)?;
    let runs = spec
        .processes
        .iter()
        .filter(|(_, name)| names.contains(*name));
    Some(runs.map(|(process, _)| process.clone()).collect())
}

/// Whether such a process runs. Its name in another image is unknown, and so is when it starts: only one that was seen
/// `before`, in the same run of the container, has ended.
pub fn runs(
    process: &str,
    now: Option<&BTreeSet<String>>,
    before: &BTreeSet<String>,
) -> Option<bool> {
    if now?.contains(process) {
        return Some(true);
    }
    before.contains(process).then_some(false)
}

/// The line of this process's own log that best tells how it ended; `None` if it has no such log, or an empty one.
pub fn last_word(
    host: &Host,
    config: &Config,
    spec: &Spec,
    process: &str,
    password: Option<&WalletPassword>,
) -> Option<String> {
    let name = spec.logs.get(process)?;
    let path = format!("{}/{name}", spec.data_folder(config));
    match host.end_of_foreign(&path, END) {
        Ok(end) => {
            let end = String::from_utf8_lossy(&end?).into_owned();
            let line = telling(&end)?;
            Some(format!("{name} says: {}", trouble::quoted(line, password)))
        }
        Err(error) => Some(error.reason().to_owned()),
    }
}

/// The last of the most telling lines.
fn telling(text: &str) -> Option<&str> {
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.take(LINES).collect();
    let says = |line: &str, words: &[&str]| {
        let lower = line.to_lowercase();
        words
            .iter()
            .any(|word| lower.contains(&word.to_lowercase()))
    };
    let mut ranks = TELLING.iter();
    let telling = ranks.find_map(|words| lines.iter().find(|line| says(line, words)));
    telling.or(lines.first()).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The process's answer to some question.
    pub(crate) fn answer(process: Process, said: Result<Value, Fault>) -> Answer {
        let question = Question {
            process,
            method: "m".into(),
            params: Value::Null,
            pending_tfuel: None,
            jobs: None,
        };
        Answer { question, said }
    }

    fn answers(said: &[Result<(), Fault>]) -> Vec<Answer> {
        let said = said.iter().cloned();
        said.map(|said| answer(Process::Launcher, said.map(|()| Value::Null)))
            .collect()
    }

    #[test]
    fn whoever_answers_at_all_lives() {
        let cannot = || Err(Fault::Error("no such method".into()));
        for (said, lives_then) in [
            (vec![Ok(())], Some(Ok(()))),
            (vec![Err(Fault::TimedOut), cannot()], Some(Ok(()))),
            (
                vec![Err(Fault::Refused), Err(Fault::TimedOut)],
                Some(Err(Fault::Refused)),
            ),
            (vec![], None),
        ] {
            assert_eq!(lives(Process::Launcher, &answers(&said)), lives_then);
            assert_eq!(lives(Process::Encoder, &answers(&said)), None);
        }
    }

    #[test]
    fn only_a_process_that_was_seen_has_ended() {
        let (none, all) = (BTreeSet::new(), BTreeSet::from([ANYCAST.to_owned()]));
        for (now, before, said) in [
            (Some(&all), &none, Some(true)),
            (Some(&none), &all, Some(false)),
            (Some(&none), &none, None),
            (None, &all, None),
        ] {
            assert_eq!(runs(ANYCAST, now, before), said);
        }
    }

    #[test]
    fn the_line_that_tells_most_is_found() {
        let crash = "[x] INFO started\npanic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\n\
                     \t/go/src/errors.go:17\nexit status 2\n";
        for (log, line) in [
            (crash, Some("panic: runtime error: index out of range [3]")),
            ("a\n[y] ERROR no disk\nbye\n\n", Some("[y] ERROR no disk")),
            ("a\nbye\n", Some("bye")),
            (" \n\n", None),
        ] {
            assert_eq!(telling(log), line);
        }
        let password = WalletPassword::new(b"a \"b".to_vec());
        assert_eq!(
            trouble::quoted("no: a \\\"b \u{1b}[2J", Some(&password)),
            "no: [redacted] \\u{1b}[2J"
        );
        let old = format!("panic: long ago\n{}", "fine\n".repeat(LINES));
        assert_eq!(telling(&old), Some("fine"));
    }
}
