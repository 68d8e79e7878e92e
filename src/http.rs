//! The small HTTP client, configured once: the metadata service, JSON-RPC, signed Query calls and the wait handle.
//!
//! One TLS stack (rustls with ring) that trusts what the machine trusts, no redirects, no connection reuse, every
//! request bounded in time and every answer in size. The AWS SDK has a client of its own.

pub mod roots;

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::TlsConfig;

use crate::error::Error;

/// No connection may take longer to open than this.
const CONNECT: Duration = Duration::from_secs(5);

/// A request. Dropping the future of `send` gives up waiting; the request itself ends at its timeout.
pub struct Request {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    timeout: Duration,
    limit: u64,
}

/// An answer of any status.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing listens there.
    Refused,
    /// No (complete) answer within the timeout.
    TimedOut,
    /// The name, the network, the TLS session or the connection failed.
    Broken,
    /// The other side has a certificate that this machine does not trust.
    Untrusted,
    /// The other side's certificate is not valid yet: the clock of a machine that has just booted may be behind.
    NotYetValid,
    /// The request cannot be sent, or the answer is not HTTP or too large: asking again does not help.
    Invalid,
}

/// There is no answer. The text never contains the URL, which may be a credential.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure.
    pub kind: Kind,
    text: String,
}

impl Failure {
    /// Whether asking again can help.
    pub fn is_transient(&self) -> bool {
        !matches!(self.kind, Kind::Untrusted | Kind::Invalid)
    }

    /// The failure as an error for a person, transient if asking again can help.
    pub fn told(self, reason: impl Into<String>, hint: impl Into<String>) -> Error {
        let passing = self.is_transient();
        Error::new(reason, hint).because(self).transient_if(passing)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl Response {
    /// The body as text, for a message: control characters escaped, bounded.
    pub fn quoted(&self) -> String {
        crate::log::printable(&String::from_utf8_lossy(&self.body))
    }
}

impl Request {
    fn new(method: &'static str, url: impl Into<String>, body: Option<Vec<u8>>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body,
            timeout: Duration::from_secs(10),
            limit: 1 << 20,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url, None)
    }

    /// A PUT of `body`.
    pub fn put(url: impl Into<String>, body: Vec<u8>) -> Self {
        Self::new("PUT", url, Some(body))
    }

    /// A POST of `body`.
    pub fn post(url: impl Into<String>, body: Vec<u8>) -> Self {
        Self::new("POST", url, Some(body))
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The whole exchange takes no longer than this. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// An answer with a longer body (bytes) is a failure. Default 1 MiB.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Sends it and reads the whole answer; every status is an answer.
    pub async fn send(self) -> Result<Response, Failure> {
        tokio::task::spawn_blocking(move || self.exchange())
            .await
            .unwrap_or_else(|error| {
                Err(Failure {
                    kind: Kind::Broken,
                    text: format!("the request was not completed: {error}"),
                })
            })
    }

    fn exchange(self) -> Result<Response, Failure> {
        let invalid = |text: &str| Failure {
            kind: Kind::Invalid,
            text: text.into(),
        };
        // The parser's own message can quote the URL.
        let uri: Uri = self
            .url
            .parse()
            .map_err(|_| invalid("the URL is not valid"))?;
        let proxy = crate::proxy::of(&uri);
        let mut request = ureq::http::Request::builder().method(self.method).uri(uri);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let limit = self.limit;
        let timeout = self.timeout;
        let run = || -> Result<Response, ureq::Error> {
            let response = match self.body {
                Some(body) => send(request.body(body)?, proxy, timeout),
                None => send(request.body(())?, proxy, timeout),
            }?;
            let status = response.status().as_u16();
            // ureq refuses a body of exactly its limit too.
            let body = response
                .into_body()
                .into_with_config()
                .limit(limit.saturating_add(1));
            Ok(Response {
                status,
                body: body.read_to_vec()?,
            })
        };
        run().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => {
                invalid(&format!("the answer is longer than {limit} bytes"))
            }
            error => explain(error, timeout),
        })
    }
}

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("bootstrap/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
});

fn send<B: ureq::AsSendBody>(
    request: ureq::http::Request<B>,
    proxy: Option<&str>,
    timeout: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let proxy = proxy.map(ureq::Proxy::new).transpose()?;
    let mut tls = TlsConfig::builder();
    // Only where it can be needed: most requests stay on this machine.
    if proxy.is_some() || request.uri().scheme_str() == Some("https") {
        tls = tls.root_certs(roots::of_ureq());
    }
    let config = AGENT
        .configure_request(request)
        .timeout_global(Some(timeout))
        .timeout_connect(Some(timeout.min(CONNECT)))
        .tls_config(tls.build())
        .proxy(proxy);
    AGENT.run(config.build())
}

/// How a connection broke: rustls hides its errors in those of the stream.
fn broken(error: &std::io::Error) -> Kind {
    use rustls::CertificateError::{NotValidYet, NotValidYetContext};
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. })) => {
            Kind::NotYetValid
        }
        Some(rustls::Error::InvalidCertificate(_)) => Kind::Untrusted,
        _ => Kind::Broken,
    }
}

fn explain(error: ureq::Error, timeout: Duration) -> Failure {
    use std::io::ErrorKind as Io;
    let (kind, text) = match error {
        ureq::Error::Timeout(_) => (
            Kind::TimedOut,
            format!("no answer within {} s", timeout.as_secs_f32()),
        ),
        ureq::Error::Io(error) => match error.kind() {
            Io::ConnectionRefused => (Kind::Refused, "connection refused".into()),
            Io::TimedOut | Io::WouldBlock => (
                Kind::TimedOut,
                format!("no answer within {} s", timeout.as_secs_f32()),
            ),
            _ => (broken(&error), error.to_string()),
        },
        ureq::Error::HostNotFound => (Kind::Broken, "the host name was not found".into()),
        ureq::Error::BadUri(_) => (Kind::Invalid, "the URL is not valid".into()),
        ureq::Error::Http(_) | ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            (Kind::Invalid, error.to_string())
        }
        error => (Kind::Broken, error.to_string()),
    };
    Failure {
        kind,
        text: crate::log::printable(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standins::scripted::{Reply, serve};

    #[tokio::test]
    async fn every_status_is_an_answer_and_redirects_are_not_followed() {
        for status in [200, 302, 404, 503] {
            let server =
                serve(move |_| Reply::new(status, "body").header("Location", "http://127.0.0.1:1"));
            let answer = Request::get(&server.url).send().await.unwrap();
            assert_eq!(
                (answer.status, answer.body),
                (status, b"body".to_vec()),
                "{status}"
            );
        }
    }

    #[tokio::test]
    async fn refused_and_silent_servers_are_told_apart() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let failure = Request::get(format!("http://{address}"))
            .send()
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.to_string().as_str()),
            (Kind::Refused, "connection refused")
        );

        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let failure = Request::get(format!("http://{}", silent.local_addr().unwrap()))
            .timeout(Duration::from_millis(50))
            .send()
            .await
            .unwrap_err();
        assert_eq!(
            (failure.kind, failure.to_string().as_str()),
            (Kind::TimedOut, "no answer within 0.05 s")
        );
    }

    #[tokio::test]
    async fn an_answer_longer_than_the_limit_is_refused() {
        let server = serve(|_| Reply::new(200, "12345"));
        let failure = Request::get(&server.url).limit(4).send().await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.to_string().as_str()),
            (Kind::Invalid, "the answer is longer than 4 bytes")
        );
        assert_eq!(
            Request::get(&server.url)
                .limit(5)
                .send()
                .await
                .unwrap()
                .body
                .len(),
            5
        );
    }

    #[tokio::test]
    async fn a_cut_answer_and_garbage_are_failures() {
        let server = serve(|_| Reply::new(200, "12345").cut(3));
        let failure = Request::get(&server.url).send().await.unwrap_err();
        assert_eq!(failure.kind, Kind::Broken, "{failure}");

        let server = serve(|_| Reply::raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"));
        let failure = Request::get(&server.url).send().await.unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid, "{failure}");
    }

    #[test]
    fn a_certificate_from_the_future_is_asked_for_again() {
        use rustls::CertificateError::{NotValidYet, UnknownIssuer};
        for (error, kind, transient) in [
            (NotValidYet, Kind::NotYetValid, true),
            (UnknownIssuer, Kind::Untrusted, false),
        ] {
            let error = std::io::Error::other(rustls::Error::InvalidCertificate(error));
            let failure = explain(error.into(), Duration::ZERO);
            assert_eq!((failure.kind, failure.is_transient()), (kind, transient));
        }
    }

    #[tokio::test]
    async fn a_bad_url_is_not_quoted() {
        let failure = Request::get("http://host/a b?Signature=credential")
            .send()
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), "the URL is not valid");
    }
}
