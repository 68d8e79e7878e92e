//! The credentials that sign calls to AWS: the environment's, or those of the instance's role.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::imds::Imds;
use super::refusal::CREDENTIALS_HINT;
use crate::error::{Error, OrFail, Result};
use crate::log::printable;

/// The metadata service offers new credentials at least this long before the current ones expire (EC2 guide, "Retrieve
/// security credentials from instance metadata").
const RENEWAL: Duration = Duration::from_mins(5);

const ROLE: &str = "meta-data/iam/security-credentials";

/// Provides the SDK's credentials; caches those of the role until they are about to expire.
#[derive(Debug)]
pub(super) struct Provider {
    imds: Imds,
    of_role: Mutex<Option<Credentials>>,
}

impl Provider {
    pub(super) fn new(imds: Imds) -> Self {
        Self {
            imds,
            of_role: Mutex::new(None),
        }
    }

    async fn current(&self) -> Result<Credentials> {
        if let Some(own) = from_environment(|name| std::env::var(name).ok()) {
            return Ok(own);
        }
        let mut known = self.of_role.lock().await;
        if let Some(known) = known.as_ref().filter(|known| lasts(known, RENEWAL)) {
            return Ok(known.clone());
        }
        match (self.of_role().await, known.as_ref()) {
            (Ok(fresh), _) => Ok(known.insert(fresh).clone()),
            // The metadata service may be back before they expire.
            (Err(_), Some(old)) if lasts(old, Duration::ZERO) => Ok(old.clone()),
            (Err(error), _) => Err(error),
        }
    }

    async fn of_role(&self) -> Result<Credentials> {
        let absent = || Error::new("the instance has no role", CREDENTIALS_HINT);
        let roles = self.imds.get(&format!("{ROLE}/")).await?;
        let roles = roles.ok_or_else(absent)?;
        let role = roles.lines().next().filter(|name| is_role(name));
        let role = role.ok_or_else(absent)?;
        let document = self.imds.get(&format!("{ROLE}/{role}")).await?;
        read(&document.ok_or_else(absent)?)
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.current()
                .await
                .map_err(CredentialsError::provider_error)
        })
    }
}

fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    Some(Credentials::new(
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
        variable("AWS_SESSION_TOKEN"),
        None,
        "environment",
    ))
}

fn lasts(credentials: &Credentials, long: Duration) -> bool {
    let end = credentials.expiry();
    end.is_none_or(|end| end > SystemTime::now() + long)
}

/// Whether IAM accepts it as the name of a role.
fn is_role(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Document {
    code: String,
    message: String,
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: Option<Timestamp>,
}

fn read(document: &str) -> Result<Credentials> {
    let found: Document = serde_json::from_str(document)
        // serde_json quotes the offending value, which may be a key.
        .map_err(|_| anyhow::Error::msg("it is no JSON of credentials"))
        .or_fail(
            || "the metadata service's credentials cannot be read",
            CREDENTIALS_HINT,
        )?;
    if found.code != "Success" {
        return Err(Error::new(
            printable(&format!(
                "the instance's role gives no credentials ({}: {})",
                found.code, found.message
            )),
            CREDENTIALS_HINT,
        ));
    }
    Ok(Credentials::new(
        found.access_key_id,
        found.secret_access_key,
        Some(found.token),
        found.expiration.map(SystemTime::from),
        "the instance's role",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Policy;
    use standins::scripted::{Reply, Server, serve};

    const ONCE: Policy = Policy::without_pause(1);

    fn document(key: &str, minutes: i64) -> String {
        let end = Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
        format!(
            r#"{{"Code":"Success","AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{end}"}}"#
        )
    }

    /// A metadata service that serves these credentials for its role, one after the other; then it is gone.
    fn service(documents: Vec<String>) -> Server {
        let mut documents = documents.into_iter();
        serve(move |request| match request.target.as_str() {
            "/latest/api/token" => Reply::new(200, "token"),
            "/latest/meta-data/iam/security-credentials/" => Reply::new(200, "edge"),
            "/latest/meta-data/iam/security-credentials/edge" => match documents.next() {
                Some(document) => Reply::new(200, document),
                None => Reply::new(500, ""),
            },
            _ => Reply::new(404, ""),
        })
    }

    fn provider(server: &Server) -> Provider {
        Provider::new(Imds::at(&server.url, ONCE))
    }

    async fn keys(provider: &Provider, times: usize) -> Vec<String> {
        let mut keys = Vec::new();
        for _ in 0..times {
            let current = provider.current().await;
            keys.push(current.map_or_else(
                |error| error.to_string(),
                |found| found.access_key_id().to_owned(),
            ));
        }
        keys
    }

    #[tokio::test]
    async fn the_role_s_credentials_are_asked_for_once_until_they_are_about_to_end() {
        let server = service(vec![document("A", 60), document("B", 60)]);
        let provider = provider(&server);
        assert_eq!(keys(&provider, 3).await, ["A", "A", "A"]);
        let found = provider.provide_credentials().await.unwrap();
        assert_eq!(
            (found.secret_access_key(), found.session_token()),
            ("s", Some("t"))
        );
        assert_eq!(server.received().len(), 3, "token, role, credentials");
    }

    #[tokio::test]
    async fn credentials_that_are_about_to_end_are_renewed_or_used_up() {
        let server = service(vec![document("A", 4), document("B", 4)]);
        assert_eq!(keys(&provider(&server), 4).await, ["A", "B", "B", "B"]);
        let server = service(vec![document("A", -1)]);
        assert_eq!(
            keys(&provider(&server), 2).await,
            [
                "A",
                "the metadata service answers 500 (meta-data/iam/security-credentials/edge)"
            ]
        );
    }

    #[tokio::test]
    async fn what_is_no_credentials_is_told_and_never_quoted() {
        let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role","LastUpdated":"x"}"#;
        for (answer, reason) in [
            (
                failed,
                "the instance's role gives no credentials (AssumeRoleUnauthorizedAccess: EC2 cannot assume the role)",
            ),
            (
                r#"{"Code":"Success","SecretAccessKey":["CANARY"]}"#,
                "the metadata service's credentials cannot be read: it is no JSON of credentials",
            ),
            (
                "CANARY",
                "the metadata service's credentials cannot be read: it is no JSON of credentials",
            ),
        ] {
            let server = service(vec![answer.into()]);
            assert_eq!(keys(&provider(&server), 1).await, [reason]);
        }
        for roles in ["", "../../user-data", "a b"] {
            let server = serve(move |request| match request.target.as_str() {
                "/latest/api/token" => Reply::new(200, "token"),
                _ => Reply::new(200, roles),
            });
            assert_eq!(
                keys(&provider(&server), 1).await,
                ["the instance has no role"]
            );
        }
    }

    #[test]
    fn the_environment_s_credentials_need_both_keys() {
        let read = |known: &[(&str, &str)]| {
            let found = from_environment(|name| {
                let found = known.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            found.map(|found| {
                (
                    found.access_key_id().to_owned(),
                    found.session_token().map(str::to_owned),
                )
            })
        };
        let (id, key) = (("AWS_ACCESS_KEY_ID", "I"), ("AWS_SECRET_ACCESS_KEY", "K"));
        assert_eq!(read(&[id, key]), Some(("I".into(), None)));
        assert_eq!(
            read(&[id, key, ("AWS_SESSION_TOKEN", "T")]),
            Some(("I".into(), Some("T".into())))
        );
        assert_eq!(read(&[id]), None);
        assert_eq!(read(&[id, ("AWS_SECRET_ACCESS_KEY", "")]), None);
    }
}
