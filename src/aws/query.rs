//! The signed Query calls: EC2 and CloudFormation, for which an SDK crate would cost more than it is worth.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::SdkConfig;

use super::refusal::{CREDENTIALS_HINT, Refusal, Trouble};
use super::xml::{self, Element};
use crate::error::{Error, OrFail, Result};
use crate::http::{Request, Response};
use crate::pace;
use crate::paths::CONFIG;
use crate::retry::{Policy, retry};

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A service with a Query API.
pub(super) struct Service {
    /// As in its host name and in signatures.
    pub(super) name: &'static str,
    /// API version.
    pub(super) version: &'static str,
    /// As in the name of the environment variable with its endpoint.
    pub(super) id: &'static str,
}

/// Calls `action` with `parameters` and returns the root element of the response. Transient failures are retried as set
/// in `aws`; throttling is waited out for as long as the caller waits.
pub(super) async fn call(
    aws: &SdkConfig,
    service: &Service,
    action: &str,
    parameters: &[(&str, &str)],
) -> Result<std::result::Result<Element, Refusal>> {
    let url = endpoint(aws, service, super::endpoint::of(service.id))?;
    let body = form(service, action, parameters);
    let answer = retry(policy(aws), action, || async {
        let response = attempt(aws, service, action, &url, &body).await?;
        match read(action, &response) {
            Ok(root) => Ok(Ok(root)),
            Err(Trouble::Refused(refusal)) if refusal.is_transient() => {
                let busy = refusal.is_throttled();
                Err(refusal.into_error(action, action).throttled_if(busy))
            }
            Err(Trouble::Refused(refusal)) => Ok(Err(refusal)),
            Err(Trouble::Silent(error)) => Err(error),
        }
    });
    answer.await
}

/// The SDK's own retry settings, so that there is one place for them.
pub fn policy(aws: &SdkConfig) -> Policy {
    let config = aws
        .retry_config()
        .cloned()
        .unwrap_or_else(RetryConfig::standard);
    Policy {
        attempts: config.max_attempts(),
        first_pause: pace::in_the_world(config.initial_backoff()),
        longest_pause: pace::in_the_world(config.max_backoff()),
    }
}

async fn attempt(
    aws: &SdkConfig,
    service: &Service,
    action: &str,
    url: &str,
    body: &str,
) -> Result<Response> {
    let credentials = credentials(aws).await?;
    let region = region(aws)?;
    let mut request = Request::post(url, body.into())
        .header("content-type", CONTENT_TYPE)
        .timeout(Duration::from_secs(30));
    for (name, value) in authorization(credentials, region, service.name, url, body)? {
        request = request.header(name, value);
    }
    request.send().await.map_err(|failure| {
        let uri = url.parse().ok();
        let way = if uri.is_some_and(|uri| crate::proxy::of(&uri).is_some()) {
            "the proxy that HTTPS_PROXY names reaches"
        } else {
            "the instance's route, DNS and security group reach"
        };
        failure.told(
            format!("{action} got no answer from AWS"),
            format!("check that {way} {url} over HTTPS"),
        )
    })
}

async fn credentials(aws: &SdkConfig) -> Result<Credentials> {
    let provider = aws
        .credentials_provider()
        .ok_or_else(|| Error::new("there is no AWS credentials provider", CREDENTIALS_HINT))?;
    // A role attached moments ago can take a while to appear in the metadata service.
    provider.provide_credentials().await.map_err(|error| {
        Error::new("there are no AWS credentials", CREDENTIALS_HINT)
            .because(error)
            .transient()
    })
}

fn region(aws: &SdkConfig) -> Result<&str> {
    aws.region().map(AsRef::as_ref).ok_or_else(|| {
        Error::new(
            "the AWS region is not known",
            format!("set `region` in {CONFIG}"),
        )
    })
}

/// The service's own variable, `AWS_ENDPOINT_URL`, or the real host, in this order.
fn endpoint(aws: &SdkConfig, service: &Service, own: Option<String>) -> Result<String> {
    let named = own.or_else(|| aws.endpoint_url().map(Into::into));
    if let Some(url) = named {
        return Ok(format!("{}/", url.trim_end_matches('/')));
    }
    let region = region(aws)?;
    let domain = super::partition::domain(region);
    Ok(format!("https://{}.{region}.{domain}/", service.name))
}

fn form(service: &Service, action: &str, parameters: &[(&str, &str)]) -> String {
    let fixed = [("Action", action), ("Version", service.version)];
    let pairs: Vec<String> = fixed
        .iter()
        .chain(parameters)
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// Percent-encoding of everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn authorization(
    credentials: Credentials,
    region: &str,
    service: &str,
    url: &str,
    body: &str,
) -> Result<Vec<(&'static str, String)>> {
    const HINT: &str = "check the endpoint URL and the region";
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .or_fail(|| "the request cannot be signed", HINT)?
        .into();
    let headers = [("content-type", CONTENT_TYPE)].into_iter();
    let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body.as_bytes()))
        .or_fail(|| "the request cannot be signed", HINT)?;
    let (instructions, _) = sign(request, &parameters)
        .or_fail(|| "the request cannot be signed", HINT)?
        .into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers
        .into_iter()
        .map(|header| (header.name(), header.value().to_owned()))
        .collect())
}

fn read(action: &str, response: &Response) -> std::result::Result<Element, Trouble> {
    let root = xml::parse(&String::from_utf8_lossy(&response.body));
    match (response.status, root) {
        (200, Some(root)) => Ok(root),
        (200, None) => {
            let error = Error::new(
                format!(
                    "{action} was answered with something that is not XML: {}",
                    start_of(response)
                ),
                "something other than AWS answers; look for a proxy or a wrong AWS_ENDPOINT_URL",
            );
            // A response that begins as XML was cut off.
            let is_cut = response.body.starts_with(b"<?xml");
            Err(Trouble::Silent(error.transient_if(is_cut)))
        }
        (status, root) => Err(Trouble::Refused(refusal(status, root.as_ref(), response))),
    }
}

/// EC2 answers `<Response><Errors><Error>…`, CloudFormation `<ErrorResponse><Error>…`, S3 `<Error>…`.
pub fn refusal(status: u16, root: Option<&Element>, response: &Response) -> Refusal {
    let error = root.and_then(|root| root.find("Error"));
    let field = |name| error.and_then(|error| error.text_of(name));
    Refusal {
        status,
        code: field("Code").unwrap_or_default().into(),
        message: match error {
            Some(_) => field("Message").unwrap_or_default().into(),
            None => start_of(response),
        },
    }
}

fn start_of(response: &Response) -> String {
    response.quoted().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::script;

    const EC2: Service = Service {
        name: "ec2",
        version: "2016-11-15",
        id: "None",
    };

    #[tokio::test]
    async fn a_call_is_a_signed_form() {
        let server = script(vec![(200, "<R><a>b</a></R>")]);
        let root = call(
            &config(&server.url).await,
            &EC2,
            "Do",
            &[("Id.1", "a b/ü&Version=1")],
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(root.text_of("a"), Some("b"));
        let request = &server.received()[0];
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/")
        );
        assert_eq!(
            request.text(),
            "Action=Do&Version=2016-11-15&Id.1=a%20b%2F%C3%BC%26Version%3D1"
        );
        let authorization = request.header("authorization").unwrap();
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{authorization}"
        );
        assert!(
            authorization.contains(
                "/us-east-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
            ),
            "{authorization}"
        );
        assert_eq!(request.header("x-amz-security-token"), Some("session"));
        assert_eq!(request.header("content-type"), Some(CONTENT_TYPE));
    }

    #[tokio::test]
    async fn passing_trouble_is_retried_and_the_rest_is_an_answer() {
        let throttled = "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow</Message></Error></Errors></Response>";
        // Throttled far more often than other failures are retried.
        let mut script_of_many = vec![(503, throttled); 20];
        script_of_many.extend([(503, "oops"), (400, throttled), (200, "<R/>")]);
        let server = script(script_of_many);
        assert!(
            call(&config(&server.url).await, &EC2, "Do", &[])
                .await
                .unwrap()
                .is_ok()
        );
        assert_eq!(server.received().len(), 23);

        let server = script(vec![(503, "oops")]);
        let error = call(&config(&server.url).await, &EC2, "Do", &[])
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "Do was refused (oops)");
        assert!(error.is_transient());
        assert_eq!(server.received().len(), 4);

        let denied = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no &amp; no</Message></Error></Errors></Response>";
        let server = script(vec![(403, denied)]);
        let refusal = call(&config(&server.url).await, &EC2, "Do", &[])
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(refusal.text(), "UnauthorizedOperation: no & no");
        assert!(refusal.is_denied());
        assert_eq!(server.received().len(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_xml_is_quoted() {
        let server = script(vec![(200, "<html>log in")]);
        let error = call(&config(&server.url).await, &EC2, "Do", &[])
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            "Do was answered with something that is not XML: <html>log in"
        );
    }

    #[tokio::test]
    async fn endpoints_come_from_the_environment_or_the_region() {
        let named = config("http://127.0.0.1:5000/").await;
        let own = Some("http://127.0.0.1:6000".to_owned());
        assert_eq!(
            endpoint(&named, &EC2, own).unwrap(),
            "http://127.0.0.1:6000/"
        );
        assert_eq!(
            endpoint(&named, &EC2, None).unwrap(),
            "http://127.0.0.1:5000/"
        );
        for (region, url) in [
            ("eu-west-1", "https://ec2.eu-west-1.amazonaws.com/"),
            ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/"),
            ("eusc-de-east-1", "https://ec2.eusc-de-east-1.amazonaws.eu/"),
        ] {
            let aws = SdkConfig::builder()
                .region(aws_sdk_s3::config::Region::new(region))
                .build();
            assert_eq!(endpoint(&aws, &EC2, None).unwrap(), url);
        }
    }
}
