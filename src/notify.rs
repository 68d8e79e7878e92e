//! Tells CloudFormation how the node fared: success once it is up, a failure with its reason, and nothing after that.

use std::path::Path;
use std::time::Duration;

use aws_types::SdkConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aws::Delivery;
use crate::aws::cloudformation::signal_resource;
use crate::aws::imds::Imds;
use crate::aws::wait_handle::{self, Status};
use crate::config::Stack;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::directories::STATE;
use crate::host::files::Access;
use crate::node::Node;
use crate::owner::{self, Found};
use crate::paths::SIGNALLED;
use crate::retry::{Policy, retry};

/// Success must arrive, and the resource may not be waiting yet.
const DELIVERY: Policy = Policy {
    attempts: 6,
    first_pause: Duration::from_secs(3),
    longest_pause: Duration::from_secs(20),
};

/// A failure is reported fast: someone or something may be about to stop the machine.
const FAREWELL: Policy = Policy {
    attempts: 3,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(2),
};

/// Maximum length of a reason in front of a hint, in characters.
const REASON: usize = 600;

/// Time limit for the wait handle; if it does not answer, the remaining time is SignalResource's.
const HANDLE: Duration = Duration::from_secs(8);

/// CloudFormation polls a wait handle only now and then; if something else in the stack fails first, a wait condition
/// that it has not polled is cancelled, and the reason is lost.
const HEAD_START: Duration = Duration::from_secs(20);

/// Tells the stack that the node is up, with the data that the stack wants, and records that.
pub async fn success(node: &Node, stack: &Stack, data: &str) -> Result<()> {
    let instance = &node.identity().await?.instance_id;
    deliver_success(node.aws().await?, stack, instance, data, DELIVERY).await?;
    Record::of(stack, instance, false).write(&node.host)
}

/// Sends the failure of a run to the wait handle, with reason and hint, and to SignalResource, which takes neither.
///
/// Not sent if the stack has accepted a signal before: a later repair does not concern it; and after a failure it rolls
/// back, where a late success would count for the instance that replaces this one, so none is sent after that. Best
/// effort within 45 s; what happened is in the log.
pub async fn failure(node: &Node, reason: &str, hint: &str) {
    let Some(stack) = waiting(node) else { return };
    let instance = tokio::time::timeout(Duration::from_secs(5), node.instance_id()).await;
    let instance = instance.ok().and_then(Result::ok);
    if let Some(instance) = &instance
        && let Found::Config(error) = owner::compare(node, instance)
    {
        tracing::warn!("failure is not signalled: {error}");
        return;
    }
    if let (Some(instance), Some(record)) = (&instance, Record::read(&node.host))
        && record.is_for(&Record::of(stack, instance, true))
    {
        let word = if record.failed {
            "a failure"
        } else {
            "success"
        };
        tracing::info!(
            "failure is not signalled: the stack accepted {word} at {}",
            record.at
        );
        return;
    }
    // A handle takes any unique ID; without an ID of its own, the instance can still report why.
    let unique_id = instance.as_deref().unwrap_or("unknown-instance");
    // The handle takes 1,000 bytes, which must include what to do.
    let reason: String = reason.chars().take(REASON).collect();
    let told = async {
        let aws = match (&stack.resource, &instance) {
            (Some(_), Some(_)) => node.aws().await.ok(),
            _ => None,
        };
        let reason = format!("{reason}. {hint}");
        let head_start = crate::pace::of(HEAD_START);
        if deliver_failure(aws, stack, unique_id, &reason, head_start).await
            && let Some(instance) = &instance
            && let Err(error) = Record::of(stack, instance, true).write(&node.host)
        {
            tracing::warn!("{error}. {}", error.hint());
        }
    };
    if tokio::time::timeout(HEAD_START + Duration::from_secs(20), told)
        .await
        .is_err()
    {
        tracing::warn!("CloudFormation was not notified of the failure in time");
    }
}

/// Reports an unusable config file to its wait handle, if that can still be read; without a config, nobody else can be
/// reached.
pub async fn broken_config(file: &Path, mistakes: &str) {
    let Some(handle) = wait_handle_in(file) else {
        return;
    };
    let imds = Imds::from_env();
    let instance = tokio::time::timeout(Duration::from_secs(5), imds.get("meta-data/instance-id"));
    let instance = instance.await.ok().and_then(Result::ok).flatten();
    let unique_id = instance.as_deref().unwrap_or("unknown-instance");
    let put = wait_handle::put(FAREWELL, &handle, Status::Failure, mistakes, unique_id, "");
    if let Err(error) = put.await {
        tracing::warn!("CloudFormation was not notified of the failure: {error}");
    }
}

/// The wait handle that a config file names, even if something else in it is wrong.
pub fn wait_handle_in(file: &Path) -> Option<String> {
    let config: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let handle = config.pointer("/stack/wait_handle")?.as_str()?;
    (!handle.is_empty()).then(|| handle.to_owned())
}

/// The stack, if it has yet to be told something.
pub fn waiting(node: &Node) -> Option<&Stack> {
    let stack = node.config.stack.as_ref()?;
    (stack.resource.is_some() || stack.wait_handle.is_some()).then_some(stack)
}

/// The record of the signal that this stack has accepted from this instance.
pub async fn accepted(node: &Node, stack: &Stack) -> Result<Option<Record>> {
    let wanted = Record::of(stack, &node.identity().await?.instance_id, false);
    Ok(Record::read(&node.host).filter(|record| record.is_for(&wanted)))
}

/// SignalResource first: if it refuses, the handle can still take the failure and its reason, since a second
/// signal with the same unique ID would not count.
async fn deliver_success(
    aws: &SdkConfig,
    stack: &Stack,
    instance: &str,
    data: &str,
    policy: Policy,
) -> Result<()> {
    if let Some(resource) = &stack.resource {
        let delivery = retry(policy, "SignalResource", || {
            signal_resource(aws, &stack.name, resource, instance, true)
        })
        .await?;
        tell(
            &format!("success for {resource} in {}", stack.short_name()),
            delivery,
        );
    }
    if let Some(url) = &stack.wait_handle {
        let reason = "the node is up";
        let delivery =
            wait_handle::put(policy, url, Status::Success, reason, instance, data).await?;
        tell("success at the wait handle", delivery);
    }
    Ok(())
}

/// The handle first: it takes the reason, and FAILURE to SignalResource ends the stack operation without one. Returns
/// whether one of them has accepted it.
async fn deliver_failure(
    aws: Option<&SdkConfig>,
    stack: &Stack,
    unique_id: &str,
    reason: &str,
    head_start: Duration,
) -> bool {
    let mut told = false;
    if let Some(url) = &stack.wait_handle {
        let put = wait_handle::put(FAREWELL, url, Status::Failure, reason, unique_id, "");
        let put = tokio::time::timeout(HANDLE, put).await;
        let put = put
            .unwrap_or_else(|_| Err(Error::new("it did not answer in time", "check the network")));
        told = matches!(put, Ok(Delivery::Accepted));
        log_failure("failure at the wait handle", put);
    }
    if let (Some(aws), Some(resource)) = (aws, &stack.resource) {
        if told {
            tokio::time::sleep(head_start).await;
        }
        let signalled = signal_resource(aws, &stack.name, resource, unique_id, false).await;
        told |= matches!(signalled, Ok(Delivery::Accepted));
        log_failure(
            &format!("failure of {resource} in {}", stack.short_name()),
            signalled,
        );
    }
    told
}

fn log_failure(what: &str, result: Result<Delivery>) {
    match result {
        Ok(delivery) => tell(what, delivery),
        Err(error) => tracing::warn!("{what} was not accepted: {error}; {}", error.hint()),
    }
}

fn tell(what: &str, delivery: Delivery) {
    match delivery {
        Delivery::Accepted => tracing::info!("CloudFormation took {what}"),
        Delivery::NobodyWaits => tracing::info!("nobody waits for {what}"),
    }
}

/// A signal that CloudFormation has accepted, success or failure; written only then.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    stack: String,
    resource: Option<String>,
    /// Only its hash: the handle itself is a credential.
    wait_handle_sha256: Option<String>,
    instance: String,
    /// Time of the signal.
    pub at: String,
    /// Whether it was a failure.
    #[serde(default)]
    pub failed: bool,
}

impl Record {
    fn of(stack: &Stack, instance: &str, failed: bool) -> Self {
        Self {
            stack: stack.name.clone(),
            resource: stack.resource.clone(),
            wait_handle_sha256: stack.wait_handle.as_ref().map(|url| sha256(url.as_bytes())),
            instance: instance.into(),
            at: jiff::Timestamp::now().to_string(),
            failed,
        }
    }

    fn is_for(&self, wanted: &Self) -> bool {
        self.stack == wanted.stack
            && self.resource == wanted.resource
            && self.wait_handle_sha256 == wanted.wait_handle_sha256
            && self.instance == wanted.instance
    }

    /// One that cannot be read counts as none: at worst, the same is signalled again.
    fn read(host: &Host) -> Option<Self> {
        let bytes = host.read(SIGNALLED).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, host: &Host) -> Result<()> {
        STATE.make(host)?;
        let json = serde_json::to_vec(self).map_err(|error| {
            Error::new("the signal cannot be recorded", "report this as a bug").because(error)
        })?;
        host.write(SIGNALLED, &json, Access::mode(0o600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::{Reply, Server, script, serve};

    const QUICK: Policy = Policy::without_pause(3);

    fn stack(server: &Server) -> Stack {
        Stack {
            name: "node".into(),
            resource: Some("Group".into()),
            wait_handle: Some(format!("{}/handle?Signature=CREDENTIAL", server.url)),
        }
    }

    fn arrivals(server: &Server) -> Vec<String> {
        server
            .received()
            .iter()
            .map(|request| format!("{} {}", request.method, request.text()))
            .collect()
    }

    #[tokio::test]
    async fn success_goes_to_the_resource_and_then_to_the_handle() {
        let server = script(vec![(200, "<R/>")]);
        let aws = config(&server.url).await;
        deliver_success(&aws, &stack(&server), "i-1", "{}", QUICK)
            .await
            .unwrap();
        assert_eq!(
            arrivals(&server),
            [
                "POST Action=SignalResource&Version=2010-05-15&StackName=node&LogicalResourceId=Group&UniqueId=i-1&Status=SUCCESS",
                r#"PUT {"Status":"SUCCESS","Reason":"the node is up","UniqueId":"i-1","Data":"{}"}"#
            ]
        );
    }

    #[tokio::test]
    async fn nothing_reaches_the_handle_where_the_resource_refuses() {
        let server = script(vec![(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
        )]);
        let aws = config(&server.url).await;
        let error = deliver_success(&aws, &stack(&server), "i-1", "", QUICK)
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            "SignalResource of Group in node was refused (AccessDenied: no)"
        );
        assert_eq!(server.received().len(), 1);
    }

    #[tokio::test]
    async fn a_resource_that_does_not_wait_yet_is_tried_again() {
        let mut calls = 0;
        let server = serve(move |request| {
            calls += 1;
            if request.method == "POST" && calls < 3 {
                let body = "<ErrorResponse><Error><Code>ValidationError</Code><Message>Resource Group does not exist for stack node</Message></Error></ErrorResponse>";
                return Reply::new(400, body);
            }
            Reply::new(200, "<R/>")
        });
        let aws = config(&server.url).await;
        deliver_success(&aws, &stack(&server), "i-1", "", QUICK)
            .await
            .unwrap();
        assert_eq!(server.received().len(), 4);
    }

    #[tokio::test]
    async fn failure_goes_to_both_with_its_reason() {
        let server = script(vec![(200, "<R/>")]);
        let aws = config(&server.url).await;
        let stack = stack(&server);
        deliver_failure(Some(&aws), &stack, "i-1", "no GPU. Add one", Duration::ZERO).await;
        assert_eq!(
            arrivals(&server),
            [
                r#"PUT {"Status":"FAILURE","Reason":"no GPU. Add one","UniqueId":"i-1","Data":""}"#,
                "POST Action=SignalResource&Version=2010-05-15&StackName=node&LogicalResourceId=Group&UniqueId=i-1&Status=FAILURE"
            ]
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_handle_that_is_refused() {
        let server = script(vec![(403, ""), (200, "<R/>")]);
        let aws = config(&server.url).await;
        deliver_failure(Some(&aws), &stack(&server), "i-1", "", Duration::MAX).await;
        assert_eq!(arrivals(&server).len(), 2);
    }

    #[test]
    fn the_record_is_for_one_stack_handle_and_instance_and_holds_no_credential() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        assert_eq!(Record::read(&host), None);
        let server = script(vec![(200, "")]);
        let stack = stack(&server);
        Record::of(&stack, "i-1", false).write(&host).unwrap();
        let text = host.read_text(SIGNALLED).unwrap().unwrap();
        assert!(
            !text.contains("CREDENTIAL") && !text.contains("http"),
            "{text}"
        );
        let record = Record::read(&host).unwrap();
        assert!(record.is_for(&Record::of(&stack, "i-1", false)));
        assert!(!record.is_for(&Record::of(&stack, "i-2", false)));
        let mut other = stack.clone();
        other.wait_handle = Some("http://new".into());
        assert!(!record.is_for(&Record::of(&other, "i-1", false)));
        std::fs::write(host.path(SIGNALLED), "{\"stack\":").unwrap();
        assert_eq!(Record::read(&host), None);
    }
}
