//! Text that a person pastes into a shell: every name and path in a command that is printed goes through here.

use crate::log::printable;

/// `word` quoted so that a shell takes it as one word, whatever is in it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A name that came from outside, for a command in a hint: safe to print, one word, and not an option.
pub fn word(name: &str) -> String {
    let shown = printable(name);
    // A file may be named `-rf`.
    let shown = if shown.starts_with('-') {
        format!("./{shown}")
    } else {
        shown
    };
    quote(&shown)
}

#[cfg(test)]
mod hints;

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]
    use super::*;

    /// What a guest may call its files.
    pub const HOSTILE: &[&str] = &[
        "k;echo PWNED;true",
        "$(echo PWNED)",
        "`echo PWNED`",
        "a b",
        "it's",
        "'; echo PWNED; '",
        "\"; echo PWNED; \"",
        "a\necho PWNED\n",
        "&& echo PWNED",
        "| tee /tmp/x",
        "> /tmp/x",
        "*",
        "~root",
        "#x",
        "!!",
        "\\",
        "-rf",
        "{a,b}",
        "a\u{1b}[2J",
        "\u{202e}b",
        "",
    ];

    /// The words that a shell splits a command into, without running it.
    pub fn words(command: &str) -> Vec<String> {
        let script = format!("set -f; printf '%s\\0' {command}");
        let shell = std::process::Command::new("bash")
            .args(["--norc", "-c", &script])
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(shell.status.success(), "{command}: {shell:?}");
        let text = String::from_utf8(shell.stdout).unwrap();
        text.trim_end_matches('\0')
            .split('\0')
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_shell_makes_one_word_of_each_name_and_runs_nothing() {
        for name in HOSTILE.iter().filter(|name| !name.is_empty()) {
            let shown = printable(name);
            let shown = if shown.starts_with('-') {
                format!("./{shown}")
            } else {
                shown
            };
            assert_eq!(
                words(&format!("look {} end", word(name))),
                ["look", &shown, "end"],
                "{name:?}"
            );
        }
        assert_eq!(quote(""), "''");
        assert_eq!(quote("/data/edge"), "/data/edge");
    }
}
