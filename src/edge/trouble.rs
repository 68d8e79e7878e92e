//! What the container's log says when the node cannot start, told with its remedy; the password never quoted.

use serde_json::Value;

use super::{SECRET_FILE, entrypoint};
use crate::error::Error;
use crate::host::{Host, failures};
use crate::log::printable;
use crate::secret::Secret;

/// Lines of the log that are quoted where no known one is found.
const QUOTED_LINES: usize = 5;

// By force: a password that is there is not asked for again, and a container that is up not started again.
const RESTORE: &str = "put the password that the key was made with back into the secret, then run: bootstrap --phase secret --phase container --force";
const CORRECT: &str = "correct the secret in Secrets Manager, then run: bootstrap --phase secret --phase container --force";

/// Known fatal texts of the edge node (keystore of thetatoken/theta-protocol-ledger) and of our own entrypoint,
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
    (entrypoint::EMPTY, entrypoint::EMPTY, CORRECT),
    (
        entrypoint::MISSING,
        "the container found no wallet password",
        "run: bootstrap --phase secret --phase container --force",
    ),
    (
        entrypoint::NOT_MOUNTED,
        entrypoint::NOT_MOUNTED,
        "run: bootstrap --phase volume --phase container",
    ),
];

/// The known fatal line that came last in the log, as an error with its remedy.
pub fn known(log: &str) -> Option<Error> {
    log.lines().rev().find_map(|line| {
        let (_, reason, hint) = KNOWN.iter().find(|(text, _, _)| line.contains(text))?;
        Some(Error::new(*reason, *hint))
    })
}

/// The last lines of the log, fit to be quoted: the password replaced, control characters escaped.
pub fn last_lines(log: &str, password: Option<&Secret>) -> String {
    let log = redact(log, password);
    let tail = failures::last_lines(&log, QUOTED_LINES).join(" | ");
    if tail.is_empty() {
        "its log is empty".into()
    } else {
        format!("its log ends: {}", printable(&tail))
    }
}

/// Replaces the password wherever it stands in the text, also as a logger quotes it (`"` as `\"`).
fn redact(text: &str, password: Option<&Secret>) -> String {
    const REDACTED: &str = "[redacted]";
    let password = password.map(|password| String::from_utf8_lossy(password.expose()));
    match password.as_deref().map(str::trim) {
        Some(password) if !password.is_empty() => {
            let quoted = Value::from(password).to_string();
            text.replace(quoted.trim_matches('"'), REDACTED)
                .replace(password, REDACTED)
        }
        _ => text.to_owned(),
    }
}

/// The password as it lies in memory-backed storage, or `None` where it is not there.
pub fn password(host: &Host) -> Option<Secret> {
    host.read(SECRET_FILE).ok().flatten().map(Secret::new)
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
        let password = Secret::new(b"hunter2 x".to_vec());
        let log = "1\n2\n3\n\n4\n5 pw=hunter2 x\x1b[31m\n6\n";
        assert_eq!(
            last_lines(log, Some(&password)),
            "its log ends: 2 | 3 | 4 | 5 pw=[redacted]\\u{1b}[31m | 6"
        );
        let quotes = Secret::new(br#"a"b\c"#.to_vec());
        assert_eq!(
            last_lines(r#"msg="it is a\"b\\c" raw=a"b\c"#, Some(&quotes)),
            r#"its log ends: msg="it is [redacted]" raw=[redacted]"#
        );
        assert_eq!(last_lines(" \n", None), "its log is empty");
        let blank = Secret::new(b" ".to_vec());
        assert_eq!(last_lines("a b", Some(&blank)), "its log ends: a b");
    }
}
