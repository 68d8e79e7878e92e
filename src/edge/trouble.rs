//! What the container's log says if the node cannot start, with the remedy; the password is never quoted.

use serde_json::Value;
use zeroize::Zeroizing;

use super::entrypoint;
use crate::error::Error;
use crate::host::{Host, failures};
use crate::log::printable;
use crate::paths::PASSWORD;
use crate::wallet_password::{WalletPassword, faults};

/// How many lines of the log are quoted if none of them is known.
const QUOTED_LINES: usize = 5;

// With --force: a password that is there is not fetched again, nor a running container restarted.
const RESTORE: &str = "put the password with which the key was created back into the secret, then run: bootstrap --phase secret --phase container --force";
const FETCH: &str = "run: bootstrap --phase secret --phase container --force";
const CORRECT: &str = "correct the secret in Secrets Manager, then run: bootstrap --phase secret --phase container --force";

/// Known fatal messages of the edge node (keystore of thetatoken/theta-protocol-ledger) and of our own entrypoint,
/// what they mean, and what to do.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "could not decrypt key with given password",
        "the wallet password does not open the key on the volume",
        RESTORE,
    ),
    (
        "Multiple encrypted keys detected",
        "there are several files in the key folder",
        "move all but the right key file out of the key folder to a safe place, then run: bootstrap --phase container",
    ),
    (
        "Please enter the password to launch the Theta node",
        "the node got no password and asks for one",
        CORRECT,
    ),
    (
        "Please choose your password for the Theta Node",
        "the node got no password and asks for one",
        CORRECT,
    ),
    (
        entrypoint::MISSING,
        "the container found no wallet password",
        FETCH,
    ),
    (
        entrypoint::NOT_MOUNTED,
        entrypoint::NOT_MOUNTED,
        "run: bootstrap --phase volume --phase container",
    ),
];

/// The last known fatal line in the log, as an error with its remedy.
pub fn known(log: &str) -> Option<Error> {
    log.lines().rev().find_map(|line| {
        let known = KNOWN.iter().find(|(text, _, _)| line.contains(text));
        known
            .map(|(_, reason, hint)| Error::new(*reason, *hint))
            .or_else(|| unfit(line))
    })
}

/// What our own entrypoint says of a password file that was changed on the node; the secret's own value was checked when it
/// was fetched.
fn unfit(line: &str) -> Option<Error> {
    let (_, said) = line.split_once(entrypoint::UNFIT)?;
    let fault = faults().find(|fault| said.starts_with(fault))?;
    Some(Error::new(format!("{}{fault}", entrypoint::UNFIT), FETCH))
}

/// The last lines of the log, safe to quote: the password replaced, control characters escaped.
pub fn last_lines(log: &str, password: Option<&WalletPassword>) -> String {
    let log = redact(log, password);
    let tail = failures::last_lines(&log, QUOTED_LINES).join(" | ");
    if tail.is_empty() {
        "its log is empty".into()
    } else {
        format!("its log ends: {}", printable(&tail))
    }
}

/// One line of a log, made safe to quote in the same way.
pub fn quoted(line: &str, password: Option<&WalletPassword>) -> String {
    printable(&redact(line, password))
}

/// Replaces the password wherever it occurs in the text, in every form that a logger or a URL gives it.
pub fn redact(text: &str, password: Option<&WalletPassword>) -> String {
    let password = password.map(|password| String::from_utf8_lossy(password.expose()));
    let Some(password) = password.as_deref().map(str::trim).filter(|p| !p.is_empty()) else {
        return text.to_owned();
    };
    let mut text = text.to_owned();
    for form in forms(password) {
        text = text.replace(form.as_str(), "[redacted]");
    }
    text
}

/// The password as it is, and escaped: in JSON as Rust and as Go write it, in a Go string (`%q`, `%+q`), in JSON within
/// JSON, in a URL's path and query; the longest first, so that none leaves a part of another.
fn forms(password: &str) -> Vec<Zeroizing<String>> {
    let json = inside(&Value::from(password).to_string());
    // Go's encoding/json escapes HTML characters.
    let go: String = json
        .chars()
        .map(|c| escaped(c, |c| "<>&\u{2028}\u{2029}".contains(c)))
        .collect();
    let ascii = |text: &str| -> String {
        text.chars()
            .map(|c| escaped(c, |c| !c.is_ascii()))
            .collect()
    };
    let percent = |upper: bool, plus: bool| -> String {
        let byte = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            b' ' if plus => "+".into(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        };
        password.bytes().map(byte).collect()
    };
    let mut forms = vec![
        password.to_owned(),
        ascii(password),
        ascii(&json),
        ascii(&go),
        inside(&Value::from(json.as_str()).to_string()),
        inside(&Value::from(go.as_str()).to_string()),
        percent(true, false),
        percent(true, true),
        percent(false, false),
        percent(false, true),
        json,
        go,
    ];
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(Zeroizing::new).collect()
}

/// What is between the quotation marks.
fn inside(quoted: &str) -> String {
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(quoted).to_owned()
}

/// The character, as `\uXXXX` in UTF-16 if `is_to_be` says so.
fn escaped(character: char, is_to_be: impl Fn(char) -> bool) -> String {
    if !is_to_be(character) {
        return character.to_string();
    }
    let mut units = [0; 2];
    character
        .encode_utf16(&mut units)
        .iter()
        .fold(String::new(), |text, unit| format!("{text}\\u{unit:04x}"))
}

/// The password in memory-backed storage, or `None` if it is not there; an empty file is no password.
pub fn password(host: &Host) -> Option<WalletPassword> {
    let bytes = host.read(PASSWORD).ok().flatten()?;
    (!bytes.is_empty()).then(|| WalletPassword::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_cause_that_came_last() {
        let log = "time=\"…\" level=info msg=\"Setup wallet...\"\n\
            Multiple encrypted keys detected under /edgelauncher/data\n\
            level=fatal msg=\"could not decrypt key with given password\"\nexit status 1\n";
        let error = known(log).unwrap();
        assert_eq!(
            error.reason(),
            "the wallet password does not open the key on the volume"
        );
        assert_eq!(error.hint(), RESTORE);
        assert!(known("dial tcp 127.0.0.1:17888: connection refused").is_none());
    }

    #[test]
    fn knows_what_our_own_entrypoint_says() {
        for (line, reason) in [
            (
                "bootstrap: the wallet password is empty (/run/x)",
                "the wallet password is empty",
            ),
            (
                "bootstrap: the wallet password contains a line break (/run/x)",
                "the wallet password contains a line break",
            ),
            (
                "bootstrap: there is no wallet password: cannot read /run/x",
                "the container found no wallet password",
            ),
            (
                "the data volume is not mounted: /data is on the root disk",
                "the data volume is not mounted",
            ),
        ] {
            assert_eq!(known(line).unwrap().reason(), reason);
        }
    }

    #[test]
    fn quotes_the_end_without_the_password() {
        let password = WalletPassword::new(b"hunter2 x".to_vec());
        let log = "1\n2\n3\n\n4\n5 pw=hunter2 x\x1b[31m\n6\n";
        assert_eq!(
            last_lines(log, Some(&password)),
            "its log ends: 2 | 3 | 4 | 5 pw=[redacted]\\u{1b}[31m | 6"
        );
        let quotes = WalletPassword::new(br#"a"b\c"#.to_vec());
        assert_eq!(
            last_lines(r#"msg="it is a\"b\\c" raw=a"b\c"#, Some(&quotes)),
            r#"its log ends: msg="it is [redacted]" raw=[redacted]"#
        );
        let hard = WalletPassword::new("<p&ss> \"é\"".as_bytes().to_vec());
        for said in [
            r#"<p&ss> "é""#,
            r#"<p&ss> \"é\""#,
            r#"\u003cp\u0026ss\u003e \"é\""#,
            r#"\u003cp\u0026ss\u003e \"\u00e9\""#,
            r#"<p&ss> \"\u00e9\""#,
            r#"\\u003cp\\u0026ss\\u003e \\\"é\\\""#,
            "%3Cp%26ss%3E%20%22%C3%A9%22",
            "%3cp%26ss%3e+%22%c3%a9%22",
        ] {
            assert_eq!(
                last_lines(&format!("a {said} z"), Some(&hard)),
                "its log ends: a [redacted] z",
                "{said}"
            );
        }
        assert_eq!(last_lines(" \n", None), "its log is empty");
        let blank = WalletPassword::new(b" ".to_vec());
        assert_eq!(last_lines("a b", Some(&blank)), "its log ends: a b");
    }
}
