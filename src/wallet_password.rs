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

/// A fault, how it shows, and what to store instead.
type Rule = (&'static str, fn(&[u8]) -> bool, &'static str);

/// What cannot be a wallet password: what no environment variable can hold, and what is very probably a mistake, since the
/// key would be encrypted with it.
const RULES: [Rule; 8] = [
    ("is empty", <[u8]>::is_empty, ONE_LINE),
    ("is longer than 65,536 bytes", is_too_long, ONE_LINE),
    (
        "begins with a byte order mark",
        has_byte_order_mark,
        NO_MARK,
    ),
    (
        "begins or ends with a character that nobody sees",
        has_invisible_end,
        TYPE_ANEW,
    ),
    ("is a JSON object", is_json_object, PLAIN),
    ("is a JSON array", is_json_array, ONE_LINE),
    ("contains a NUL byte", has_nul, ONE_LINE),
    ("contains a line break", has_line_break, ONE_LINE),
];

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

    /// Refuses what cannot be one.
    pub fn fit(self) -> Result<Self, Unfit> {
        let bytes = self.expose();
        match RULES.iter().find(|(_, shows, _)| shows(bytes)) {
            Some((fault, _, hint)) => Err(Unfit { fault, hint }),
            None => Ok(self),
        }
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

/// The faults that [`Unfit`] can name.
pub fn faults() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(fault, _, _)| *fault)
}

fn is_too_long(bytes: &[u8]) -> bool {
    bytes.len() > LONGEST
}

fn has_nul(bytes: &[u8]) -> bool {
    bytes.contains(&0)
}

fn has_line_break(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
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

/// Secrets Manager's console makes an object from keys and values.
fn is_json_object(bytes: &[u8]) -> bool {
    is_json(bytes, b'{') || is_unquoted_object(bytes)
}

fn is_json_array(bytes: &[u8]) -> bool {
    is_json(bytes, b'[')
}

/// Whether it is JSON that begins with this byte. Parsed without keeping a copy.
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
