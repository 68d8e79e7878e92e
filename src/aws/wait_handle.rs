//! CloudFormation's wait condition handle: the only way to get a reason into the stack's events.

use std::time::Duration;

use serde::Serialize;

use super::Delivery;
use super::query::refusal;
use super::xml;
use crate::error::{Error, Result};
use crate::http::Request;
use crate::retry::{Policy, retry};

/// Longest data that CloudFormation accepts, in bytes.
const DATA: usize = 4096;

/// Longest reason sent, in bytes: more than the console shows.
const REASON: usize = 1000;

/// How a set-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The node is up.
    Success,
    /// The node is not up.
    Failure,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Signal<'a> {
    status: Status,
    reason: &'a str,
    unique_id: &'a str,
    data: &'a str,
}

/// Sends a signal to the handle. Reason and data are cut to what CloudFormation accepts.
///
/// `url` is presigned, so it is a credential: no error quotes more than its host. An expired one is not an error:
/// nobody is waiting any more.
pub async fn put(
    policy: Policy,
    url: &str,
    status: Status,
    reason: &str,
    unique_id: &str,
    data: &str,
) -> Result<Delivery> {
    let signal = Signal {
        status,
        reason: cut(reason, REASON),
        unique_id,
        data: cut(data, DATA),
    };
    let body = serde_json::to_vec(&signal).map_err(|error| {
        Error::new("the signal cannot be written", "report this as a bug").because(error)
    })?;
    let host = host(url);
    retry(policy, "wait handle", || async {
        attempt(url, &host, body.clone()).await
    })
    .await
}

async fn attempt(url: &str, host: &str, body: Vec<u8>) -> Result<Delivery> {
    // The handle is signed for an empty content type and for no other.
    let request = Request::put(url, body)
        .header("content-type", "")
        .timeout(Duration::from_secs(15));
    let response = request.send().await.map_err(|failure| {
        failure.told(
            format!("the wait handle at {host} does not answer"),
            format!("check stack.wait_handle in the config, and that the instance reaches {host} over HTTPS"),
        )
    })?;
    if response.status == 200 {
        return Ok(Delivery::Accepted);
    }
    let root = xml::parse(&String::from_utf8_lossy(&response.body));
    let refusal = refusal(response.status, root.as_ref(), &response);
    if matches!(response.status, 400 | 403) && refusal.text().to_lowercase().contains("expired") {
        return Ok(Delivery::NobodyWaits);
    }
    // S3 echoes what it signed in other elements of its answer, never in these two.
    let reason = match refusal.code.as_str() {
        "" => format!("the wait handle at {host} answers {}", response.status),
        code => format!(
            "the wait handle at {host} answers {} ({})",
            response.status,
            crate::log::printable(code)
        ),
    };
    let error = Error::new(
        reason,
        "check that stack.wait_handle in the config is the whole URL that the template's WaitConditionHandle gives",
    );
    Err(error.transient_if(refusal.is_transient()))
}

/// The part of the URL that is no credential.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    crate::log::printable(host)
}

/// At most `limit` bytes, cut on a character boundary.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use standins::scripted::{Server, script};

    const QUICK: Policy = Policy::without_pause(3);

    async fn put_to(server: &Server, reason: &str, data: &str) -> Result<Delivery> {
        let url = format!(
            "{}/arn%3Aaws/handle?Expires=1&Signature=CREDENTIAL",
            server.url
        );
        put(QUICK, &url, Status::Failure, reason, "i-1", data).await
    }

    #[tokio::test]
    async fn the_content_type_is_sent_empty() {
        let server = script(vec![(503, ""), (200, "")]);
        assert_eq!(
            put_to(&server, "no GPU", "{}").await.unwrap(),
            Delivery::Accepted
        );
        let requests = server.received();
        assert_eq!(requests.len(), 2);
        let request = &requests[1];
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("PUT", "/arn%3Aaws/handle?Expires=1&Signature=CREDENTIAL")
        );
        assert_eq!(request.header("content-type"), Some(""));
        assert_eq!(
            request.text(),
            r#"{"Status":"FAILURE","Reason":"no GPU","UniqueId":"i-1","Data":"{}"}"#
        );
    }

    #[tokio::test]
    async fn reason_and_data_are_cut_between_characters() {
        let server = script(vec![(200, "")]);
        put_to(&server, &"ü".repeat(501), &"€".repeat(2000))
            .await
            .unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&server.received()[0].body).unwrap();
        assert_eq!(sent["Reason"].as_str().unwrap().len(), 1000);
        assert_eq!(sent["Data"].as_str().unwrap().len(), 4095);
    }

    #[tokio::test]
    async fn an_expired_handle_means_that_nobody_waits() {
        let server = script(vec![(
            403,
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        )]);
        assert_eq!(
            put_to(&server, "", "").await.unwrap(),
            Delivery::NobodyWaits
        );
    }

    #[tokio::test]
    async fn no_error_quotes_the_credential() {
        let signature = "<Error><Code>SignatureDoesNotMatch</Code><Message>CREDENTIAL</Message><StringToSign>CREDENTIAL</StringToSign></Error>";
        for (status, body, tries, ending) in [
            (403, signature, 1, " answers 403 (SignatureDoesNotMatch)"),
            (404, "CREDENTIAL", 1, " answers 404"),
            (307, "", 1, " answers 307"),
            (500, "", 3, " answers 500"),
        ] {
            let server = script(vec![(status, body)]);
            let error = put_to(&server, "", "").await.unwrap_err();
            let host = server.url.trim_start_matches("http://");
            assert_eq!(
                error.to_string(),
                format!("the wait handle at {host}{ending}")
            );
            assert!(!format!("{error:?}").contains("CREDENTIAL"), "{error:?}");
            assert_eq!(server.received().len(), tries);
        }
        let error = put(
            QUICK,
            "https://user:CREDENTIAL@a b/?CREDENTIAL",
            Status::Success,
            "",
            "i-1",
            "",
        )
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the wait handle at a b does not answer: the URL is not valid"
        );
        assert!(!format!("{error:?}").contains("CREDENTIAL"), "{error:?}");
    }
}
