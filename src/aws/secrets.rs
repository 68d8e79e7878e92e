//! Secrets Manager: the wallet password. Nothing here prints, logs or quotes it.

use aws_sdk_secretsmanager::Client;
use aws_types::SdkConfig;
use zeroize::Zeroize as _;

use super::refusal::{Refusal, Trouble, trouble};
use crate::error::{Error, Result};
use crate::secret::Secret;

// What to store instead, for each thing that can be wrong with the value.
const ONE_LINE: &str = "store the wallet password itself, one line of text, as the value of the secret (aws secretsmanager put-secret-value)";
const PLAIN: &str = "the console's \"key/value\" makes a JSON object of it: store the wallet password itself as plain text (\"Plaintext\" in \
    the console, or aws secretsmanager put-secret-value), then run: bootstrap --phase secret --phase container --force";
const NO_MARK: &str = "an editor has put it before the password, where nobody sees it: save the file as UTF-8 without BOM and store it again (aws \
    secretsmanager put-secret-value), then run: bootstrap --phase secret --phase container --force";
const TYPE_ANEW: &str = "it was copied along from a web page or an editor: type the password anew and store it again (aws secretsmanager \
    put-secret-value), then run: bootstrap --phase secret --phase container --force";

/// The wallet password that the secret `arn` (or name) holds, as text or as bytes.
///
/// One trailing newline is removed, since editors and `echo` leave one. A value that is empty, or has a NUL (no
/// environment variable can hold it) or another newline (very probably a mistake, and the key would be encrypted with
/// it), is an error.
pub async fn wallet_password(aws: &SdkConfig, arn: &str) -> Result<Secret> {
    of_stage(aws, arn, None).await
}

/// What the secret held before its value was last changed.
pub async fn previous_password(aws: &SdkConfig, arn: &str) -> Result<Secret> {
    of_stage(aws, arn, Some(PREVIOUS)).await
}

/// The staging label of a secret's previous value.
pub const PREVIOUS: &str = "AWSPREVIOUS";

async fn of_stage(aws: &SdkConfig, arn: &str, stage: Option<&str>) -> Result<Secret> {
    let answer = Client::new(aws)
        .get_secret_value()
        .secret_id(arn)
        .set_version_stage(stage.map(String::from))
        .send()
        .await;
    let mut answer = answer.map_err(|error| match trouble("reading the secret", &error) {
        Trouble::Refused(refusal) => refused(refusal, arn),
        Trouble::Silent(error) => error,
    })?;
    let bytes = match (answer.secret_string.take(), answer.secret_binary.take()) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(blob)) => blob.into_inner(),
        (None, None) => Vec::new(),
    };
    password(bytes, arn)
}

fn password(mut bytes: Vec<u8>, arn: &str) -> Result<Secret> {
    // The newline that editors write at the end of a file.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let (fault, hint) = if bytes.is_empty() {
        ("is empty", ONE_LINE)
    } else if has_byte_order_mark(&bytes) {
        ("begins with a byte order mark", NO_MARK)
    } else if has_invisible_end(&bytes) {
        (
            "begins or ends with a character that nobody sees",
            TYPE_ANEW,
        )
    } else if is_json(&bytes, b'{') || is_unquoted_object(&bytes) {
        ("is a JSON object", PLAIN)
    } else if is_json(&bytes, b'[') {
        ("is a JSON array", ONE_LINE)
    } else if bytes.contains(&0) {
        ("contains a NUL byte", ONE_LINE)
    } else if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        ("contains a line break", ONE_LINE)
    } else {
        return Ok(Secret::new(bytes));
    };
    bytes.zeroize();
    Err(Error::new(
        format!(
            "the wallet password {fault} ({})",
            crate::log::printable(arn)
        ),
        hint,
    ))
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

fn refused(refusal: Refusal, arn: &str) -> Error {
    let settles = refusal.may_settle();
    told(refusal, arn).settling_if(settles)
}

fn told(refusal: Refusal, arn: &str) -> Error {
    let name = crate::log::printable(arn);
    match refusal.code.as_str() {
        "ResourceNotFoundException" if refusal.message.contains("AWSCURRENT") => Error::new(
            format!("the secret {name} has no value"),
            "give it one: aws secretsmanager put-secret-value",
        ),
        "ResourceNotFoundException" => Error::new(
            format!("the secret {name} does not exist"),
            "set secret.arn in the config to the ARN of the secret with the wallet password, in this region",
        ),
        "InvalidRequestException" if refusal.message.contains("delet") => Error::new(
            format!("the secret {name} is scheduled for deletion"),
            "restore it before it is gone, since the wallet key cannot be opened without it: aws secretsmanager restore-secret",
        ),
        "DecryptionFailure" => Error::new(
            format!("the secret {name} cannot be decrypted ({})", refusal.text()),
            "check that its KMS key is enabled, and allow kms:Decrypt with it in the policy of the instance's role",
        ),
        _ if refusal.is_about_key() => refusal.key_error(&format!("reading the secret {name}")),
        _ if refusal.is_denied() => Error::new(
            format!("the secret {name} may not be read ({})", refusal.text()),
            refusal.denied_hint(
                "allow secretsmanager:GetSecretValue on it (and kms:Decrypt, if it has its own key) in the policy of the \
                 instance's role",
            ),
        ),
        _ => refusal.into_error(
            &format!("reading the secret {name}"),
            "secretsmanager:GetSecretValue",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::{Reply, script, serve};

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
                password(stored.into(), "x").unwrap().expose(),
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
            let error = password(stored.into(), "arn:x").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the wallet password {fault} (arn:x)")
            );
            assert!(!format!("{error:?}").contains("hun"));
        }
        assert_eq!(
            format!("{:?}", password("hunter2".into(), "x").unwrap()),
            "Secret(…)"
        );
    }

    #[tokio::test]
    async fn text_and_bytes_are_both_taken() {
        for body in [
            r#"{"Name":"s","SecretString":"hunter2\n"}"#,
            r#"{"Name":"s","SecretBinary":"aHVudGVyMg=="}"#,
        ] {
            let server = script(vec![(200, body)]);
            let secret = wallet_password(&config(&server.url).await, "arn:x")
                .await
                .unwrap();
            assert_eq!(secret.expose(), b"hunter2");
            assert_eq!(server.received()[0].text(), r#"{"SecretId":"arn:x"}"#);
        }
        let server = script(vec![(200, r#"{"Name":"s"}"#)]);
        let error = wallet_password(&config(&server.url).await, "arn:x")
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "the wallet password is empty (arn:x)");
    }

    #[tokio::test]
    async fn each_refusal_has_its_own_reason() {
        for (code, message, reason) in [
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
                "the secret arn:x does not exist",
            ),
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
                "the secret arn:x has no value",
            ),
            (
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
                "the secret arn:x is scheduled for deletion",
            ),
            (
                "AccessDeniedException",
                "not authorized",
                "the secret arn:x may not be read (AccessDeniedException: not authorized)",
            ),
            (
                "DecryptionFailure",
                "disabled",
                "the secret arn:x cannot be decrypted (DecryptionFailure: disabled)",
            ),
            (
                "InvalidParameterException",
                "bad",
                "reading the secret arn:x was refused (InvalidParameterException: bad)",
            ),
        ] {
            let server = serve(move |_| {
                Reply::new(
                    400,
                    format!(r#"{{"__type":"{code}","Message":"{message}"}}"#),
                )
            });
            let error = wallet_password(&config(&server.url).await, "arn:x")
                .await
                .unwrap_err();
            // A permission granted moments ago may not have propagated yet.
            let settles = code == "AccessDeniedException";
            assert_eq!((error.reason(), error.is_transient()), (reason, settles));
        }
    }

    #[tokio::test]
    async fn an_unreadable_answer_is_not_quoted() {
        let server = script(vec![(200, r#"{"SecretString":hunter2"#)]);
        let error = wallet_password(&config(&server.url).await, "arn:x")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading the secret arn:x got a response that does not come from AWS"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn throttling_passes() {
        let server = script(vec![
            (400, r#"{"__type":"ThrottlingException","message":"slow"}"#),
            (500, ""),
            (200, r#"{"SecretString":"p"}"#),
        ]);
        assert!(
            wallet_password(&config(&server.url).await, "arn:x")
                .await
                .is_ok()
        );
    }
}
