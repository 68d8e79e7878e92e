//! The instance metadata service, version 2 only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Request, Response};

/// The metadata service. What it tells is a tree of JSON, in which an object is a directory and a
/// string is a file; [`tree`] makes the usual one.
#[derive(Debug, Default)]
pub struct Imds {
    tokens: Mutex<HashMap<String, Instant>>,
}

/// The tree of one instance. `instance` gives `instance-id`, `region`, `availability-zone`,
/// `instance-type`, `local-ipv4`, `role`, `user-data` and `tags`; each has a default.
pub fn tree(instance: &Value) -> Value {
    let get = |name: &str, default: &str| {
        let value = instance.get(name).and_then(Value::as_str);
        value.unwrap_or(default).to_owned()
    };
    let id = get("instance-id", "i-0123456789abcdef0");
    let region = get("region", "us-east-1");
    let zone = get("availability-zone", &format!("{region}a"));
    let kind = get("instance-type", "c6i.xlarge");
    let address = get("local-ipv4", "10.77.0.2");
    let hostname = format!("ip-{}.ec2.internal", address.replace('.', "-"));
    let role = get("role", "node");
    let credentials = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z",
        "AccessKeyId": "ASIALOCALINSTANCE000",
        "SecretAccessKey": "local/instance+secret/key",
        "Token": "local-instance-session-token==",
    });
    let document = json!({
        "accountId": "123456789012",
        "architecture": "x86_64",
        "availabilityZone": zone,
        "imageId": "ami-0123456789abcdef0",
        "instanceId": id,
        "instanceType": kind,
        "pendingTime": "2026-01-01T00:00:00Z",
        "privateIp": address,
        "region": region,
        "version": "2017-09-30",
    });
    json!({
        "user-data": get("user-data", ""),
        "meta-data": {
            "ami-id": "ami-0123456789abcdef0",
            "hostname": hostname,
            "iam": {
                "info": json!({"Code": "Success", "InstanceProfileArn": format!("arn:aws:iam::123456789012:instance-profile/{role}")}).to_string(),
                "security-credentials": {role: credentials.to_string()},
            },
            "instance-id": id,
            "instance-life-cycle": "on-demand",
            "instance-type": kind,
            "local-hostname": hostname,
            "local-ipv4": address,
            "mac": "0e:00:00:00:00:01",
            "network": {"interfaces": {"macs": {"0e:00:00:00:00:01": {"local-ipv4s": address}}}},
            "placement": {"availability-zone": zone, "region": region},
            "services": {"domain": "amazonaws.com", "partition": "aws"},
            "tags": {"instance": instance.get("tags").unwrap_or(&json!({"Name": "local"}))},
        },
        "dynamic": {"instance-identity": {"document": document.to_string()}},
    })
}

impl Imds {
    /// Answers one request from a tree.
    pub fn answer(&self, request: &Request, tree: &Value) -> Response {
        // cloud-init asks for dated versions, everything else for "latest".
        let path = request.path().trim_start_matches('/');
        let (version, path) = path.split_once('/').unwrap_or((path, ""));
        if path == "api/token" {
            return self.token(request, version);
        }
        if request.method != "GET" {
            return Response::text(405, "");
        }
        let now = Instant::now();
        let known = request
            .header("x-aws-ec2-metadata-token")
            .and_then(|token| self.lock().get(token).copied());
        // cloud-init speaks version 2 only where the hardware calls itself EC2, and a container cannot.
        let agent = request.header("user-agent").unwrap_or_default();
        let cloud_init = agent.starts_with("Cloud-Init/") || agent.starts_with("python-requests/");
        if !cloud_init && known.is_none_or(|end| end < now) {
            return Response::text(401, "");
        }
        if version.is_empty() {
            return Response::text(200, "latest\n2021-03-23");
        }
        let found = path
            .split('/')
            .filter(|name| !name.is_empty())
            .try_fold(tree, |place, name| place.get(name));
        match found {
            Some(Value::String(text)) if !text.is_empty() => Response::text(200, text.as_str()),
            Some(Value::Object(entries)) => {
                let names: Vec<String> = entries
                    .iter()
                    .map(|(name, value)| match value {
                        Value::Object(_) => format!("{name}/"),
                        _ => name.clone(),
                    })
                    .collect();
                Response::text(200, names.join("\n"))
            }
            _ => Response::text(404, ""),
        }
    }

    /// No token that was given is good any more, as when all have expired.
    pub fn expire(&self) {
        self.lock().clear();
    }

    fn token(&self, request: &Request, version: &str) -> Response {
        let seconds = request
            .header("x-aws-ec2-metadata-token-ttl-seconds")
            .and_then(|seconds| seconds.parse().ok())
            .filter(|seconds| (1..=21_600).contains(seconds));
        match seconds {
            Some(seconds) if request.method == "PUT" && version == "latest" => {
                let mut tokens = self.lock();
                let token = format!("TOKEN{:04}==", tokens.len());
                tokens.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
                Response::text(200, token)
                    .with("X-aws-ec2-metadata-token-ttl-seconds", seconds.to_string())
            }
            _ => Response::text(400, ""),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(imds: &Imds, method: &str, target: &str, header: (&str, &str)) -> (u16, String) {
        let request = Request {
            method: method.into(),
            target: target.into(),
            headers: vec![(header.0.into(), header.1.into())],
            body: Vec::new(),
        };
        let answer = imds.answer(
            &request,
            &tree(&json!({"role": "edge", "tags": {"aws:autoscaling:groupName": "one"}})),
        );
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn nothing_is_told_without_a_token() {
        let imds = Imds::default();
        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
        assert_eq!(call(&imds, "GET", "/latest/meta-data/", ("", "")).0, 401);
        assert_eq!(call(&imds, "PUT", "/latest/api/token", ("", "")).0, 400);
        let (status, token) = call(&imds, "PUT", "/latest/api/token", ttl);
        assert_eq!(status, 200);
        let with = ("x-aws-ec2-metadata-token", token.as_str());
        let get = |path: &str| call(&imds, "GET", path, with);
        assert_eq!(
            get("/latest/meta-data/placement/"),
            (200, "availability-zone\nregion".into())
        );
        assert_eq!(
            get("/2021-03-23/meta-data/placement/region"),
            (200, "us-east-1".into())
        );
        assert_eq!(
            get("/latest/meta-data/iam/security-credentials/"),
            (200, "edge".into())
        );
        assert_eq!(
            get("/latest/meta-data/tags/instance/aws:autoscaling:groupName"),
            (200, "one".into())
        );
        assert_eq!(get("/latest/meta-data/spot"), (404, String::new()));
        assert_eq!(get("/latest/user-data"), (404, String::new()));
    }
}
