//! Secrets Manager: the wallet password. Nothing here prints, logs or quotes it.

use aws_sdk_secretsmanager::Client;
use aws_types::SdkConfig;

use super::refusal::{Refusal, Trouble, trouble};
use crate::error::{Error, Result};
use crate::wallet_password::WalletPassword;

/// The wallet password that the secret `arn` (or name) holds, as text or as bytes.
pub async fn wallet_password(aws: &SdkConfig, arn: &str) -> Result<WalletPassword> {
    of_stage(aws, arn, None).await
}

/// What the secret held before its value was last changed.
pub async fn previous_password(aws: &SdkConfig, arn: &str) -> Result<WalletPassword> {
    of_stage(aws, arn, Some(PREVIOUS)).await
}

/// The staging label of a secret's previous value.
pub const PREVIOUS: &str = "AWSPREVIOUS";

async fn of_stage(aws: &SdkConfig, arn: &str, stage: Option<&str>) -> Result<WalletPassword> {
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
    WalletPassword::of_secret(bytes).map_err(|unfit| {
        let name = crate::log::printable(arn);
        Error::new(
            format!("the wallet password {} ({name})", unfit.fault),
            unfit.hint,
        )
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
