//! What AWS says instead of doing what was asked, whichever client asked.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::error::Error;
use crate::log::printable;

/// What to check if there are no valid credentials.
pub(super) const CREDENTIALS_HINT: &str = "check that the instance has an instance profile with its role, and that its route and security group reach AWS";

/// What to check if calls do not arrive.
const NETWORK_HINT: &str =
    "check that the instance's route, DNS and security group reach AWS over HTTPS";

/// A service's "no".
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// The service's error code, e.g. `AccessDenied`; empty if it gave none.
    pub(super) code: String,
    /// The service's message.
    pub(super) message: String,
}

/// Why a call failed.
pub(super) enum Trouble {
    /// The service answered no.
    Refused(Refusal),
    /// There was no (readable) answer.
    Silent(Error),
}

impl Refusal {
    /// Whether the service is only throttling: too many calls at once, from this node or from others.
    pub(super) fn is_throttled(&self) -> bool {
        // As in the SDKs (smithy-rs, aws-runtime `THROTTLING_ERRORS`).
        const THROTTLED: [&str; 14] = [
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottledException",
            "RequestThrottled",
            "RequestLimitExceeded",
            "SlowDown",
            "TooManyRequestsException",
            "ProvisionedThroughputExceededException",
            "TransactionInProgressException",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "EC2ThrottledException",
        ];
        self.status == 429 || THROTTLED.contains(&self.code.as_str())
    }

    /// Whether it is transient: throttling, or a fault of the service.
    pub(super) fn is_transient(&self) -> bool {
        const PASSING: [&str; 13] = [
            "ServiceUnavailable",
            "Unavailable",
            "InternalError",
            "InternalFailure",
            // From EC2 and Secrets Manager, with status 400.
            "ServerInternal",
            "InternalServiceError",
            "InternalServiceErrorException",
            "RequestTimeout",
            "RequestTimeoutException",
            // From S3: a new bucket, or an object that others are changing at the same time.
            "TemporaryRedirect",
            "OperationAborted",
            "ConditionalRequestConflict",
            "ConcurrentModification",
        ];
        self.status >= 500
            || self.status == 408
            || self.is_throttled()
            || PASSING.contains(&self.code.as_str())
    }

    /// Whether the same call may be answered differently some seconds later: what was made moments ago (a role's
    /// policy, a volume) has propagated by then (IAM and EC2 guides, "eventual consistency"), or a clock that was wrong
    /// at boot has been set.
    pub(super) fn may_settle(&self) -> bool {
        self.is_denied()
            || self.is_about_clock()
            || self.is_about_credentials()
            || self.code.ends_with(".NotFound")
    }

    /// Whether it does not accept the credentials, or no longer: the metadata service may have new ones, and a new
    /// role's may not have propagated yet.
    fn is_about_credentials(&self) -> bool {
        const CREDENTIALS: [&str; 6] = [
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidToken",
            "UnrecognizedClientException",
        ];
        CREDENTIALS.contains(&self.code.as_str())
    }

    /// Whether the signature's time may differ from AWS's.
    fn is_about_clock(&self) -> bool {
        const CLOCK: [&str; 5] = [
            "RequestExpired",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "AuthFailure",
        ];
        CLOCK.contains(&self.code.as_str())
    }

    /// Whether the role lacks a permission.
    pub(super) fn is_denied(&self) -> bool {
        const DENIED: [&str; 4] = [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "Forbidden",
        ];
        DENIED.contains(&self.code.as_str()) || (self.status == 403 && self.code.is_empty())
    }

    /// What to do about a denial: AWS says so if something other than the role's own policy denies the call.
    pub(super) fn denied_hint(&self, otherwise: &str) -> String {
        const OTHERS: [(&str, &str); 5] = [
            (
                "vpc endpoint policy",
                "allow it in the policy of the VPC endpoint that the instance's calls go through; the role's own policy is not what \
                 denies it",
            ),
            (
                "service control policy",
                "a service control policy of the organization denies it: ask whoever manages the organization, or use another account",
            ),
            (
                "resource control policy",
                "a resource control policy of the organization denies it: ask whoever manages the organization, or use another account",
            ),
            (
                "permissions boundary",
                "allow it in the permissions boundary of the instance's role as well",
            ),
            (
                "explicit deny in a resource-based policy",
                "take the deny out of the policy of the bucket, secret or key itself; the role's own policy is not what denies it",
            ),
        ];
        let message = self.message.to_lowercase();
        let other = OTHERS.iter().find(|(words, _)| message.contains(words));
        other.map_or(otherwise, |(_, hint)| hint).into()
    }

    /// Whether a KMS key is the cause, whatever service was called: `CustomerKeyHasBeenRevoked` (EC2), `KMS.Disabled…`
    /// (S3), `DecryptionFailure` (Secrets Manager), or an `AccessDenied` that names a `kms:` action.
    pub(super) fn is_about_key(&self) -> bool {
        let (code, message) = (self.code.to_lowercase(), self.message.to_lowercase());
        code.contains("kms")
            || code.contains("customerkey")
            || code == "decryptionfailure"
            || message.contains("kms:")
            || message.contains("kms key")
            || message.contains("kms master key")
    }

    /// The failure to do `what` because of a KMS key.
    pub(super) fn key_error(&self, what: &str) -> Error {
        Error::new(
            format!("{what} was refused ({})", self.text()),
            "see the KMS key that encrypts it: it must be enabled, and its own policy and that of the instance's role must allow \
             kms:Decrypt with it (for a volume kms:CreateGrant too)",
        )
    }

    /// The code and the message, safe to print.
    pub fn text(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => format!("HTTP status {}", self.status),
            (code, "") => printable(code),
            ("", message) => printable(message),
            (code, message) => printable(&format!("{code}: {message}")),
        }
    }

    /// The failure to do `what`, for any reason that the caller does not handle itself.
    pub(super) fn into_error(self, what: &str, permission: &str) -> Error {
        if self.status == 200 && self.code.is_empty() {
            return Error::new(
                format!("{what} got a response that does not come from AWS"),
                "something other than AWS answers; look for a proxy or a wrong AWS_ENDPOINT_URL",
            );
        }
        let reason = format!("{what} was refused ({})", self.text());
        if self.is_transient() {
            return Error::new(
                reason,
                "AWS is busy or has an outage; try again in a few minutes",
            )
            .transient();
        }
        if self.is_about_key() {
            return self.key_error(what);
        }
        if self.is_denied() {
            return Error::new(
                reason,
                self.denied_hint(&format!(
                    "allow {permission} in the policy of the instance's role"
                )),
            );
        }
        let hint = match self.code.as_str() {
            _ if self.is_about_clock() => {
                "check the instance's clock (`timedatectl`) and its credentials"
            }
            _ if self.is_about_credentials() => CREDENTIALS_HINT,
            _ if self.status == 407 => {
                "the proxy that HTTPS_PROXY names wants a name and a password: write both into its address"
            }
            "AccountProblem"
            | "AllAccessDisabled"
            | "NotSignedUp"
            | "OptInRequired"
            | "Blocked"
            | "PendingVerification" => {
                "AWS keeps this account from using the service: see the account's mails and the console, or ask AWS Support"
            }
            "InvalidObjectState" => {
                "the object is archived: restore it (`aws s3api restore-object`), or upload it anew"
            }
            _ => "correct what AWS reports here, then run `bootstrap` again",
        };
        Error::new(reason, hint)
    }
}

/// Classifies an SDK's error. Never quotes a request or a response, which can hold secrets.
pub(super) fn trouble<E>(what: &str, error: &SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(context) => Trouble::Refused(Refusal {
            status: context.raw().status().as_u16(),
            code: context.err().code().unwrap_or_default().into(),
            message: context.err().message().unwrap_or_default().into(),
        }),
        SdkError::ResponseError(context) => Trouble::Refused(Refusal {
            status: context.raw().status().as_u16(),
            code: String::new(),
            message: String::new(),
        }),
        _ => {
            let hint = if is_network(error) {
                NETWORK_HINT
            } else {
                CREDENTIALS_HINT
            };
            Trouble::Silent(
                Error::new(format!("{what} got no answer from AWS"), hint)
                    .because(anyhow::Error::msg(chain(error)))
                    .transient(),
            )
        }
    }
}

/// Whether the call got as far as the network, so that there were credentials.
fn is_network<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_io() || failure.is_timeout(),
        _ => false,
    }
}

/// The causes in one line, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    printable(&text)
}
