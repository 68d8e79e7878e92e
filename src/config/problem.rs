//! One mistake in a config file, and how it is shown.

use std::fmt::Write as _;

/// One mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `$.volume.id`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Problem {
    pub(super) fn new(
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The problems as a numbered list for a person: one line each, then a line that says what to write.
pub fn render(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let Problem {
            path,
            message,
            hint,
        } = problem;
        let number = index + 1;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number}. {path}: {message}\n   help: {hint}");
    }
    text
}

/// The path of `key` in the object at `parent`; keys that are not plain words are quoted.
pub(super) fn path_of(parent: &str, key: &str) -> String {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        format!("{parent}.{key}")
    } else {
        format!("{parent}[{}]", quoted(key))
    }
}

/// The text with control characters escaped, cut after 80 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
