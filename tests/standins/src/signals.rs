//! `CloudFormation`'s two ways to hear from an instance, and the record of what arrived.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::http::{Request, Response};

/// What `CloudFormation` would have received, oldest first.
#[derive(Debug, Default)]
pub struct Signals {
    received: Mutex<Vec<Value>>,
    file: Option<PathBuf>,
}

impl Signals {
    /// Also appends each signal as one JSON line to this file.
    pub fn to_file(file: PathBuf) -> Self {
        Self {
            file: Some(file),
            ..Self::default()
        }
    }

    /// `{"by": "wait-handle", "Status", "Reason", "UniqueId", "Data"}` or
    /// `{"by": "SignalResource", "Status", "UniqueId", "StackName", "LogicalResourceId"}`.
    pub fn received(&self) -> Vec<Value> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn record(&self, signal: Value) -> std::io::Result<()> {
        if let Some(file) = &self.file {
            let mut file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(file)?;
            file.write_all(format!("{signal}\n").as_bytes())?;
        }
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(signal);
        Ok(())
    }

    /// The PUT to a wait condition handle's presigned URL. The signature covers an empty
    /// Content-Type, so S3 refuses any other (`CloudFormation` guide, "wait conditions").
    pub fn wait_handle(&self, request: &Request) -> Response {
        if request.method != "PUT" {
            return s3_error(405, "MethodNotAllowed");
        }
        if request
            .header("content-type")
            .is_some_and(|v| !v.is_empty())
        {
            return s3_error(403, "SignatureDoesNotMatch");
        }
        // S3 takes any body; CloudFormation ignores what is no JSON, and then waits for ever.
        let Ok(Value::Object(mut signal)) = serde_json::from_slice(&request.body) else {
            return s3_error(400, "NotJson");
        };
        let complete = ["Status", "Reason", "UniqueId", "Data"]
            .iter()
            .all(|key| signal.get(*key).is_some_and(Value::is_string));
        let status = signal.get("Status").and_then(Value::as_str);
        if !complete || !matches!(status, Some("SUCCESS" | "FAILURE")) {
            return s3_error(400, "NotASignal");
        }
        signal.insert("by".into(), "wait-handle".into());
        match self.record(Value::Object(signal)) {
            Ok(()) => Response::new(200, "", ""),
            Err(error) => Response::text(500, error.to_string()),
        }
    }

    /// The Query API's `SignalResource`.
    pub fn signal_resource(&self, request: &Request) -> Response {
        let mut signal = json!({"by": "SignalResource"});
        for name in ["StackName", "LogicalResourceId", "UniqueId", "Status"] {
            let Some(value) = request.parameter(name).filter(|value| !value.is_empty()) else {
                return query_error(400, "ValidationError", &format!("{name} is missing"));
            };
            if let Some(signal) = signal.as_object_mut() {
                signal.insert(name.into(), value.into());
            }
        }
        match self.record(signal) {
            Ok(()) => Response::new(
                200,
                "text/xml",
                "<SignalResourceResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
                 <ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></SignalResourceResponse>",
            ),
            Err(error) => Response::text(500, error.to_string()),
        }
    }
}

/// S3's error document.
pub(crate) fn s3_error(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    Response::new(status, "application/xml", body)
}

/// The error document of the Query APIs other than EC2's.
pub(crate) fn query_error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error></ErrorResponse>"
    );
    Response::new(status, "text/xml", body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    fn put(content_type: &str, body: &str) -> Request {
        Request {
            method: "PUT".into(),
            headers: vec![("content-type".into(), content_type.into())],
            body: body.into(),
            ..Request::default()
        }
    }

    #[test]
    fn a_wait_handle_takes_only_a_complete_signal_without_content_type() {
        let signals = Signals::default();
        let good = r#"{"Status":"SUCCESS","Reason":"up","UniqueId":"i-1","Data":"{}"}"#;
        assert_eq!(
            signals.wait_handle(&put("application/json", good)).status,
            403
        );
        assert_eq!(signals.wait_handle(&put("", "SUCCESS")).status, 400);
        assert_eq!(
            signals
                .wait_handle(&put("", r#"{"Status":"SUCCESS"}"#))
                .status,
            400
        );
        assert!(signals.received().is_empty());
        assert_eq!(signals.wait_handle(&put("", good)).status, 200);
        assert_eq!(signals.received()[0]["Reason"], "up");
    }
}
