//! Which proxy leads to a URL: one rule for the AWS SDK and for our own requests.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case, as curl reads them. This machine and the
//! metadata service are never reached through a proxy, whatever the environment says.

use std::sync::LazyLock;

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper_util::client::proxy::matcher::Matcher;
use ureq::http::Uri;

/// The machine itself, link-local addresses, and the metadata service's two addresses.
const NEVER: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32,fe80::/10";

/// What the environment says.
#[derive(Debug, Default)]
struct Proxies {
    http: Option<String>,
    https: Option<String>,
    no: String,
}

static PROXIES: LazyLock<Proxies> =
    LazyLock::new(|| Proxies::read(|name| std::env::var(name).ok()));

/// The proxy that leads to `uri`; `None` if the connection is direct.
pub fn of(uri: &Uri) -> Option<&'static str> {
    PROXIES.of(uri)
}

/// The same rule for the AWS SDK, whose endpoints are all `https`, except in tests.
pub fn of_sdk() -> ProxyConfig {
    let https = PROXIES.https.as_deref();
    https
        .and_then(|proxy| ProxyConfig::https(proxy).ok())
        .map_or_else(ProxyConfig::disabled, |proxy| proxy.no_proxy(&PROXIES.no))
}

impl Proxies {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            [name.to_owned(), name.to_lowercase()]
                .iter()
                .filter_map(|name| variable(name))
                .find(|value| !value.trim().is_empty())
        };
        let proxy = |name: &str| {
            let url = either(name).or_else(|| either("ALL_PROXY"))?;
            let url = url.trim();
            Some(if url.contains("://") {
                url.to_owned()
            } else {
                format!("http://{url}")
            })
        };
        let no = either("NO_PROXY").map_or_else(|| NEVER.into(), |own| format!("{own},{NEVER}"));
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            no,
        }
    }

    fn of(&self, uri: &Uri) -> Option<&str> {
        let proxy = if uri.scheme_str() == Some("https") {
            &self.https
        } else {
            &self.http
        };
        let proxy = proxy.as_deref()?;
        let matcher = Matcher::builder().all(proxy.to_owned()).no(self.no.clone());
        matcher.build().intercept(uri).map(|_| proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_says_what_goes_through_which_proxy() {
        let of = |variables: &[(&str, &str)], url: &str| {
            let proxies = Proxies::read(|name| {
                let known = variables.iter().find(|(known, _)| *known == name);
                known.map(|(_, value)| (*value).to_owned())
            });
            proxies.of(&url.parse().unwrap()).map(str::to_owned)
        };
        let both = [("HTTPS_PROXY", "http://p:1"), ("http_proxy", "q:2")];
        for (url, proxy) in [
            ("https://ec2.us-east-1.amazonaws.com/", Some("http://p:1")),
            ("http://mirror.example/x", Some("http://q:2")),
            ("http://169.254.169.254/latest/x", None),
            ("http://[fd00:ec2::254]/latest/x", None),
            ("http://127.0.0.1:5000/", None),
            ("http://localhost:17888/rpc", None),
            ("https://10.0.0.5/", Some("http://p:1")),
        ] {
            assert_eq!(of(&both, url).as_deref(), proxy, "{url}");
        }
        let mut except = both.to_vec();
        except.push(("no_proxy", "s3.us-east-1.amazonaws.com, 10.0.0.0/8"));
        assert_eq!(of(&except, "https://b.s3.us-east-1.amazonaws.com/"), None);
        assert_eq!(of(&except, "https://10.1.2.3/"), None);
        assert_eq!(
            of(&except, "https://ec2.us-east-1.amazonaws.com/").unwrap(),
            "http://p:1"
        );
        assert_eq!(
            of(&[("all_proxy", "http://a:1")], "https://x.example/").unwrap(),
            "http://a:1"
        );
        assert_eq!(of(&[("HTTPS_PROXY", "")], "https://x.example/"), None);
        assert_eq!(
            of(
                &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")],
                "https://x.example/"
            ),
            None
        );
    }
}
