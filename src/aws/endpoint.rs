//! AWS endpoints that the environment overrides: `AWS_ENDPOINT_URL`, or the same with a service's name appended.

use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use ureq::http::Uri;

use crate::error::{Error, Result};

const VARIABLE: &str = "AWS_ENDPOINT_URL";

/// Each service's own endpoint, for the SDK.
#[derive(Debug)]
pub(super) struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        (key.env() == VARIABLE)
            .then(|| of(key.service_id()))
            .flatten()
    }
}

/// The endpoint of the service with this id ("Secrets Manager"), if it has one of its own.
pub(super) fn of(service: &str) -> Option<String> {
    let service = service.to_uppercase().replace(' ', "_");
    value(&format!("{VARIABLE}_{service}"))
}

/// The endpoint of all services that have none of their own.
pub(super) fn of_all() -> Option<String> {
    value(VARIABLE)
}

fn value(name: &str) -> Option<String> {
    let is_ignored = std::env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .is_ok_and(|ignore| ignore.eq_ignore_ascii_case("true"));
    let url = std::env::var(name).ok().filter(|_| !is_ignored);
    url.filter(|url| !url.is_empty())
}

/// Rejects an endpoint that is not an address before any call: a client would only say that there is no answer.
pub fn check() -> Result<()> {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if !name.starts_with(VARIABLE) {
            continue;
        }
        if let Some(url) = value(&name).filter(|url| !is_address(url)) {
            return Err(Error::new(
                format!(
                    "{name} is no address of a service: {}",
                    crate::log::printable(&url)
                ),
                format!(
                    "give {name} a URL such as https://vpce-1-2.ec2.us-east-1.vpce.amazonaws.com, or unset it"
                ),
            ));
        }
    }
    Ok(())
}

fn is_address(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for (url, is_one) in [
            ("https://ec2.us-east-1.amazonaws.com", true),
            ("http://[fd00:ec2::1]:8080/", true),
            ("http://127.0.0.1:5000", true),
            ("vpce-1.ec2.us-east-1.vpce.amazonaws.com", false),
            ("ftp://x", false),
            ("not a url", false),
            ("https://", false),
        ] {
            assert_eq!(is_address(url), is_one, "{url}");
        }
    }
}
