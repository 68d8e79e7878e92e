//! The wallet password: what can be one, and a type that cannot be printed by accident.

use zeroize::Zeroizing;

// What to store instead, for each thing that can be wrong with the value.
const ONE_LINE: &str = "store the wallet password itself, one line of text, as the value of the secret (aws secretsmanager put-secret-value)";
const PLAIN: &str = "the console's \"key/value\" makes a JSON object of it: store the wallet password itself as plain text (\"Plaintext\" in \
    the console, or aws secretsmanager put-secret-value), then run: bootstrap --phase secret --phase container --force";
const NO_MARK: &str = "an editor has put it before the password, where nobody sees it: save the file as UTF-8 without BOM and store it again (aws \
    secretsmanager put-secret-value), then run: bootstrap --phase secret --phase container --force";
const TYPE_ANEW: &str = "it was copied along from a web page or an editor: type the password anew and store it again (aws secretsmanager \
    put-secret-value), then run: bootstrap --phase secret --phase container --force";

/// The longest one, in bytes: what Secrets Manager can store.
pub const LONGEST: usize = 65_536;

/// The wallet password. Its bytes never appear in `Debug` or `Display`.
pub struct WalletPassword(Zeroizing<Vec<u8>>);

/// Why something cannot be the wallet password. It does not quote it.
#[derive(Debug)]
pub struct Unfit {
    /// As in "the wallet password is empty".
    pub fault: &'static str,
    /// What to store instead.
    pub hint: &'static str,
}

impl WalletPassword {
    /// These bytes, whatever they are.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What a secret holds, without the newline that editors and `echo` leave at its end.
    pub fn of_secret(mut bytes: Vec<u8>) -> Result<Self, Unfit> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self::new(bytes).fit()
    }

    /// Refuses what no environment variable can hold, and what is very probably a mistake: the key would be encrypted
    /// with it.
    pub fn fit(self) -> Result<Self, Unfit> {
        let bytes = self.expose();
        let (fault, hint) = if bytes.is_empty() {
            ("is empty", ONE_LINE)
        } else if bytes.len() > LONGEST {
            ("is longer than 65,536 bytes", ONE_LINE)
        } else if has_byte_order_mark(bytes) {
            ("begins with a byte order mark", NO_MARK)
        } else if has_invisible_end(bytes) {
            (
                "begins or ends with a character that nobody sees",
                TYPE_ANEW,
            )
        } else if is_json(bytes, b'{') || is_unquoted_object(bytes) {
            ("is a JSON object", PLAIN)
        } else if is_json(bytes, b'[') {
            ("is a JSON array", ONE_LINE)
        } else if bytes.contains(&0) {
            ("contains a NUL byte", ONE_LINE)
        } else if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            ("contains a line break", ONE_LINE)
        } else {
            return Ok(self);
        };
        Err(Unfit { fault, hint })
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for WalletPassword {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("WalletPassword(…)")
    }
}

/// That of UTF-8, or of UTF-16 as a Windows editor may write it.
fn has_byte_order_mark(bytes: &[u8]) -> bool {
    [&b"\xEF\xBB\xBF"[..], b"\xFF\xFE", b"\xFE\xFF"]
        .iter()
        .any(|mark| bytes.starts_with(mark))
}

/// A no-break space, a zero-width space, a direction mark: nothing that anyone types.
fn has_invisible_end(bytes: &[u8]) -> bool {
    let is_unseen = |c: char| matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.starts_with(is_unseen) || text.ends_with(is_unseen))
}

/// Whether it is JSON that begins with this byte: Secrets Manager's console makes an object from keys and values.
/// Parsed without keeping a copy.
fn is_json(bytes: &[u8], begin: u8) -> bool {
    let text = bytes.trim_ascii();
    text.first() == Some(&begin) && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// `{name:value}` and `{'name': 'value'}`: JSON whose quotes a shell removed (aws/aws-cli#1682), or a Python dict.
fn is_unquoted_object(bytes: &[u8]) -> bool {
    let inner = bytes.trim_ascii().strip_prefix(b"{");
    let inner = inner.and_then(|rest| rest.strip_suffix(b"}"));
    let colon = inner.and_then(|inner| Some((inner, inner.iter().position(|b| *b == b':')?)));
    let name = colon.and_then(|(inner, colon)| inner.get(..colon));
    name.is_some_and(|name| {
        let name = name.trim_ascii();
        let quoted = name
            .strip_prefix(b"'")
            .and_then(|name| name.strip_suffix(b"'"));
        let name = quoted.unwrap_or(name);
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        for (stored, wanted) in [
            ("pass word ", "pass word "),
            ("p\n", "p"),
            ("ü€", "ü€"),
            ("{hunter", "{hunter"),
            ("{\"a\"}", "{\"a\"}"),
        ] {
            assert_eq!(
                WalletPassword::of_secret(stored.into()).unwrap().expose(),
                wanted.as_bytes()
            );
        }
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_without_being_quoted() {
        for (stored, fault) in [
            ("", "is empty"),
            ("\n", "is empty"),
            ("hunter\n\n", "contains a line break"),
            ("hunter\r\n\r\n", "contains a line break"),
            ("hunter\r", "contains a line break"),
            ("hun\nter", "contains a line break"),
            ("hun\0ter", "contains a NUL byte"),
            (r#"{"edgeNodePassword":"hunter2"}"#, "is a JSON object"),
            ("{\n  \"password\": \"hunter2\"\n}\n", "is a JSON object"),
            ("\u{feff}hunter2", "begins with a byte order mark"),
            (r#" ["hunter2"]"#, "is a JSON array"),
            (
                "\u{200b}hunter2",
                "begins or ends with a character that nobody sees",
            ),
            (
                "hunter2\u{a0}\n",
                "begins or ends with a character that nobody sees",
            ),
        ] {
            let unfit = WalletPassword::of_secret(stored.into()).unwrap_err();
            assert_eq!(unfit.fault, fault);
            assert!(!format!("{unfit:?}").contains("hun"));
        }
        assert_eq!(
            format!("{:?}", WalletPassword::new("hunter2".into())),
            "WalletPassword(…)"
        );
    }
}
