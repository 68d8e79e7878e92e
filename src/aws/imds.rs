//! The instance metadata service, version 2 only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::http::Request;
use crate::log::printable;
use crate::retry::{Policy, retry};

/// Lifetime of a session token, in seconds: the longest that the service grants.
const TOKEN_SECONDS: &str = "21600";

/// The service may take a minute or more after boot to answer, and throttles per instance; cloud-init itself waits
/// 240 s for it (`DataSourceEc2.py`). About two and a half minutes in all; `preflight` tries three times.
const PATIENCE: Policy = Policy {
    attempts: 40,
    first_pause: Duration::from_millis(500),
    longest_pause: Duration::from_secs(5),
};

/// Every instance has an id, a zone and a type, but a service that is just starting may say otherwise, refuse, or
/// answer garbage for some seconds after boot (canonical/cloud-init#5577).
const ODD_ANSWERS: u32 = 6;

const HINT: &str = "check that the instance's metadata options have HttpEndpoint enabled and that no firewall, proxy or route keeps \
     root from 169.254.169.254";

/// Who this instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`
    pub instance_id: String,
    /// Region, e.g. `us-east-1`.
    pub region: String,
    /// Availability zone, e.g. `us-east-1a`.
    pub zone: String,
    /// Instance type, e.g. `g4dn.xlarge`.
    pub instance_type: String,
}

/// Client of the metadata service.
pub struct Imds {
    endpoint: String,
    policy: Policy,
    token: Arc<Mutex<Option<String>>>,
}

/// Without the token.
impl fmt::Debug for Imds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Imds({})", self.endpoint)
    }
}

impl Imds {
    /// The service at `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or at its fixed address.
    pub fn from_env() -> Self {
        let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .ok()
            .filter(|endpoint| !endpoint.is_empty())
            .unwrap_or_else(|| "http://169.254.169.254".into());
        Self::at(&endpoint, PATIENCE)
    }

    /// The service at `endpoint`, with `policy` for retries.
    pub fn at(endpoint: &str, policy: Policy) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            policy,
            token: Arc::default(),
        }
    }

    /// The same service and session, with `policy` for retries.
    pub fn asked_like(&self, policy: Policy) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            policy,
            token: Arc::clone(&self.token),
        }
    }

    /// A path under `/latest/`; absent (404) is `None`.
    pub async fn get(&self, path: &str) -> Result<Option<String>> {
        retry(self.policy, "metadata service", || async {
            match self.get_with_token(path).await? {
                Answer::Unauthorized => {
                    // The token has expired, or the instance was restored from hibernation: get one fresh token.
                    *self.token.lock().await = None;
                    match self.get_with_token(path).await? {
                        Answer::Unauthorized => Err(Error::new(
                            format!(
                                "the metadata service refuses its own fresh token for {path} (401)"
                            ),
                            HINT,
                        )),
                        answer => Ok(answer.into_value()),
                    }
                }
                answer => Ok(answer.into_value()),
            }
        })
        .await
    }

    /// The instance's id alone, even if nothing else can be found out.
    pub async fn instance_id(&self) -> Result<String> {
        self.valid("meta-data/instance-id", "instance id", is_instance_id)
            .await
    }

    /// The instance's region alone.
    pub async fn region(&self) -> Result<String> {
        self.valid("meta-data/placement/region", "region", is_region)
            .await
    }

    /// Who this instance is.
    pub async fn identity(&self) -> Result<Identity> {
        let instance_id = self.instance_id().await?;
        let region = self.region().await?;
        let zone = self
            .valid(
                "meta-data/placement/availability-zone",
                "availability zone",
                |zone| is_zone(zone, &region),
            )
            .await?;
        let instance_type = self
            .valid("meta-data/instance-type", "instance type", is_instance_type)
            .await?;
        Ok(Identity {
            instance_id,
            region,
            zone,
            instance_type,
        })
    }

    /// The Auto Scaling group that started the instance; `None` also if instance tags in metadata are off.
    pub async fn auto_scaling_group(&self) -> Result<Option<String>> {
        self.get("meta-data/tags/instance/aws:autoscaling:groupName")
            .await
    }

    async fn valid(
        &self,
        path: &str,
        what: &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut odd = 0;
        loop {
            let error = match self.get(path).await {
                Ok(Some(value)) if is_valid(&value) => return Ok(value),
                // `get` has already retried.
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => error,
                Ok(Some(value)) => {
                    let start: String = value.chars().take(60).collect();
                    Error::new(
                        format!(
                            "the metadata service's {what} is invalid: \"{}\"",
                            printable(&start)
                        ),
                        "something other than EC2 answers at the metadata address; look for a proxy or a wrong \
                         AWS_EC2_METADATA_SERVICE_ENDPOINT",
                    )
                }
                Ok(None) => Error::new(
                    format!("the metadata service has no {what} (404 for {path})"),
                    HINT,
                ),
            };
            odd += 1;
            if odd >= ODD_ANSWERS.min(self.policy.attempts) {
                return Err(error);
            }
            tracing::info!("{error}; asking again");
            crate::pace::pause(self.policy.pause(odd)).await;
        }
    }

    async fn get_with_token(&self, path: &str) -> Result<Answer> {
        let token = self.token().await?;
        let request = Request::get(format!("{}/latest/{path}", self.endpoint))
            .header("X-aws-ec2-metadata-token", token);
        let (status, body) = exchange(request, path).await?;
        match status {
            200 => Ok(Answer::Value(body)),
            401 => Ok(Answer::Unauthorized),
            404 => Ok(Answer::Absent),
            _ => Err(refused(status, path)),
        }
    }

    async fn token(&self) -> Result<String> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref() {
            return Ok(token.clone());
        }
        let request = Request::put(format!("{}/latest/api/token", self.endpoint), Vec::new())
            .header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        let (status, body) = exchange(request, "api/token").await?;
        if status != 200 {
            return Err(refused(status, "api/token"));
        }
        if body.is_empty() || !body.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new("the metadata service's token is invalid", HINT));
        }
        Ok(token.insert(body).clone())
    }
}

enum Answer {
    Value(String),
    Absent,
    Unauthorized,
}

impl Answer {
    fn into_value(self) -> Option<String> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Unauthorized => None,
        }
    }
}

async fn exchange(request: Request, path: &str) -> Result<(u16, String)> {
    // The first try after boot often times out (boto/botocore#1791): many short tries beat a few long ones.
    let request = request.timeout(Duration::from_secs(2)).limit(64 * 1024);
    match request.send().await {
        Ok(answer) => Ok((
            answer.status,
            String::from_utf8_lossy(&answer.body).trim().into(),
        )),
        Err(failure) => Err(failure.told(
            format!("the metadata service does not answer ({path})"),
            HINT,
        )),
    }
}

/// Which statuses are transient: a timeout, throttling, and the service starting up (canonical/cloud-init#5577).
fn refused(status: u16, path: &str) -> Error {
    Error::new(
        format!("the metadata service answers {status} ({path})"),
        HINT,
    )
    .transient_if(matches!(status, 408 | 429 | 500..=599))
}

/// Whether it looks like `i-` and 8 or 17 hex digits.
pub fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|hex| {
        matches!(hex.len(), 8 | 17)
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `us-east-1`, `us-gov-west-1`, …
pub fn is_region(text: &str) -> bool {
    is_name(text)
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.ends_with(|last: char| last.is_ascii_digit())
        && text.matches('-').count() >= 2
}

/// `us-east-1a`, local zones such as `us-west-2-lax-1a`, wavelength zones such as `us-east-1-wl1-bos-wlz-1`.
fn is_zone(text: &str, region: &str) -> bool {
    is_name(text)
        && text.strip_prefix(region).is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '-')
                && !rest.ends_with('-')
        })
}

/// Whether it looks like `g4dn.xlarge`.
pub fn is_instance_type(text: &str) -> bool {
    text.split_once('.')
        .is_some_and(|(family, size)| is_name(family) && is_name(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use standins::scripted::{Received, Reply, Server, serve};

    const QUICK: Policy = Policy::without_pause(3);

    fn service(mut get: impl FnMut(&Received) -> Reply + Send + 'static) -> Server {
        let mut tokens = 0;
        serve(move |request| match request.target.as_str() {
            "/latest/api/token" if request.method == "PUT" => {
                tokens += 1;
                Reply::new(200, format!("token-{tokens}"))
            }
            _ => get(request),
        })
    }

    fn calls(server: &Server) -> Vec<String> {
        let line = |request: Received| {
            let token = request
                .header("x-aws-ec2-metadata-token")
                .unwrap_or("-")
                .to_owned();
            format!("{} {} {token}", request.method, request.target)
        };
        server.received().into_iter().map(line).collect()
    }

    fn identity_with(path: &'static str, answer: &'static str) -> Server {
        service(move |request| {
            let known = request.target.trim_start_matches("/latest/meta-data/");
            if known == path {
                return Reply::new(200, answer);
            }
            Reply::new(
                200,
                match known {
                    "instance-id" => "i-0123456789abcdef0",
                    "placement/region" => "us-east-1",
                    "placement/availability-zone" => "us-east-1a",
                    "instance-type" => "g4dn.xlarge",
                    _ => "",
                },
            )
        })
    }

    #[tokio::test]
    async fn one_token_serves_the_whole_identity() {
        let server = identity_with("", "");
        let identity = Imds::at(&server.url, QUICK).identity().await.unwrap();
        assert_eq!(
            identity,
            Identity {
                instance_id: "i-0123456789abcdef0".into(),
                region: "us-east-1".into(),
                zone: "us-east-1a".into(),
                instance_type: "g4dn.xlarge".into(),
            }
        );
        let calls = calls(&server);
        assert_eq!(calls.len(), 5, "{calls:?}");
        assert_eq!(
            server.received()[0].header("x-aws-ec2-metadata-token-ttl-seconds"),
            Some("21600")
        );
        assert_eq!(server.received()[0].header("content-length"), Some("0"));
    }

    #[tokio::test]
    async fn an_expired_token_is_replaced_once() {
        let server = service(|request| match request.header("x-aws-ec2-metadata-token") {
            Some("token-2") => Reply::new(200, "value"),
            _ => Reply::new(401, ""),
        });
        let imds = Imds::at(&server.url, QUICK);
        assert_eq!(imds.get("x").await.unwrap().as_deref(), Some("value"));
        assert_eq!(
            calls(&server),
            [
                "PUT /latest/api/token -",
                "GET /latest/x token-1",
                "PUT /latest/api/token -",
                "GET /latest/x token-2"
            ]
        );
        let server = service(|_| Reply::new(401, ""));
        let error = Imds::at(&server.url, QUICK).get("x").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the metadata service refuses its own fresh token for x (401)"
        );
        assert_eq!(calls(&server).len(), 4);
    }

    #[tokio::test]
    async fn passing_trouble_is_waited_out_and_other_answers_are_final() {
        for (status, tries) in [
            (503, 3),
            (500, 3),
            (408, 3),
            (429, 3),
            (400, 1),
            (403, 1),
            (302, 1),
        ] {
            let mut gets = 0;
            let server = service(move |_| {
                gets += 1;
                if gets == 3 {
                    Reply::new(200, "late")
                } else {
                    Reply::new(status, "")
                }
            });
            let answer = Imds::at(&server.url, QUICK).get("x").await;
            assert_eq!(server.received().len() - 1, tries, "{status}");
            match answer {
                Ok(value) => assert_eq!(value.as_deref(), Some("late"), "{status}"),
                Err(error) => assert_eq!(
                    error.to_string(),
                    format!("the metadata service answers {status} (x)")
                ),
            }
        }
    }

    #[tokio::test]
    async fn a_service_that_is_off_is_told_after_bounded_tries() {
        let server = serve(|_| Reply::new(403, ""));
        let error = Imds::at(&server.url, QUICK).get("x").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the metadata service answers 403 (api/token)"
        );
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = Imds::at(&format!("http://{free}/"), QUICK)
            .get("x")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the metadata service does not answer (api/token): connection refused"
        );
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn absent_is_none() {
        let server = service(|_| Reply::new(404, "<html>"));
        let imds = Imds::at(&server.url, QUICK);
        assert_eq!(imds.auto_scaling_group().await.unwrap(), None);
        assert_eq!(
            imds.identity().await.unwrap_err().reason(),
            "the metadata service has no instance id (404 for meta-data/instance-id)"
        );
    }

    #[tokio::test]
    async fn garbage_is_never_taken_for_an_identity() {
        for (path, garbage, quoted) in [
            (
                "instance-id",
                "<html>\u{1b}[31m log in",
                "instance id is invalid: \"<html>\\u{1b}[31m log in\"",
            ),
            (
                "instance-id",
                "i-0123456789ABCDEF0",
                "instance id is invalid: \"i-0123456789ABCDEF0\"",
            ),
            (
                "placement/region",
                "evil.example/",
                "region is invalid: \"evil.example/\"",
            ),
            (
                "placement/availability-zone",
                "eu-west-1a",
                "availability zone is invalid: \"eu-west-1a\"",
            ),
            (
                "instance-type",
                "large",
                "instance type is invalid: \"large\"",
            ),
        ] {
            let server = identity_with(path, garbage);
            let error = Imds::at(&server.url, QUICK).identity().await.unwrap_err();
            assert_eq!(
                error.reason(),
                format!("the metadata service's {quoted}"),
                "{path}"
            );
        }
    }

    #[test]
    fn names_of_every_partition_are_accepted() {
        for region in [
            "us-east-1",
            "us-gov-west-1",
            "cn-north-1",
            "us-iso-east-1",
            "ap-southeast-7",
        ] {
            assert!(is_region(region), "{region}");
        }
        assert!(is_zone("us-west-2-lax-1a", "us-west-2"));
        assert!(is_zone("us-east-1-wl1-bos-wlz-1", "us-east-1"));
        assert!(is_zone("eusc-de-east-1a", "eusc-de-east-1"));
        assert!(!is_zone("us-west-2", "us-west-2"));
        assert!(!is_zone("us-west-2-", "us-west-2"));
        assert!(!is_zone("us-west-21a", "us-west-2"));
        assert!(is_instance_type("u7i-12tb.224xlarge"));
        assert!(is_instance_id("i-01234567"));
    }
}
