//! CloudFormation's SignalResource. It has no field for a reason: that goes to the wait handle.

use aws_types::SdkConfig;

use super::Delivery;
use super::query::{Service, call};
use crate::error::{Error, Result};

const CLOUDFORMATION: Service = Service {
    name: "cloudformation",
    version: "2010-05-15",
    id: "CloudFormation",
};

/// Tells `stack` (its id) that `resource` is up, or failed. `unique_id` is the instance id (1 to 64 characters). The
/// stack's name would do, but IAM evaluates it as `arn:…:stack/NAME/*` (ecs-refarch-continuous-deployment#21), which a
/// policy for that one stack does not allow.
///
/// A stack that is gone or not in progress is not an error: nobody is waiting. That is the case whenever an Auto
/// Scaling group replaces an instance on its own. A resource that is not (yet) waiting, in a stack that is in progress,
/// is a transient error: what CloudFormation says before it has started the resource is not documented.
pub async fn signal_resource(
    aws: &SdkConfig,
    stack: &str,
    resource: &str,
    unique_id: &str,
    success: bool,
) -> Result<Delivery> {
    let parameters = [
        ("StackName", stack),
        ("LogicalResourceId", resource),
        ("UniqueId", unique_id),
        ("Status", if success { "SUCCESS" } else { "FAILURE" }),
    ];
    let Err(refusal) = call(aws, &CLOUDFORMATION, "SignalResource", &parameters).await? else {
        return Ok(Delivery::Accepted);
    };
    // The code is only ValidationError; the message was seen in aws-cloudformation-templates#34 and #126 ("Stack
    // arn:… is in CREATE_COMPLETE state and cannot be signaled").
    let message = refusal.message.as_str();
    let is_validation = refusal.code == "ValidationError";
    if is_validation
        && (message.contains("cannot be signaled") || message.contains("can not be signaled"))
    {
        return Ok(Delivery::NobodyWaits);
    }
    if is_validation && message.contains("does not exist") {
        if message.starts_with("Stack") {
            return Ok(Delivery::NobodyWaits);
        }
        return Err(Error::new(
            format!(
                "the stack {stack} has no resource {resource} to signal ({})",
                refusal.text()
            ),
            "set stack.resource in the config to the logical id of the resource that waits in the template",
        )
        .transient());
    }
    let error = refusal.into_error(
        &format!("SignalResource of {resource} in {stack}"),
        "cloudformation:SignalResource on the stack",
    );
    Err(error.transient_if(is_validation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tests::config;
    use standins::scripted::script;

    async fn refused(code: &str, message: &str) -> Result<Delivery> {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        let server = script(vec![(400, body.leak())]);
        signal_resource(&config(&server.url).await, "node", "Group", "i-1", true).await
    }

    #[tokio::test]
    async fn the_signal_names_stack_resource_and_instance() {
        let server = script(vec![(
            200,
            "<SignalResourceResponse><ResponseMetadata/></SignalResourceResponse>",
        )]);
        let answer =
            signal_resource(&config(&server.url).await, "node", "Group", "i-1", false).await;
        assert_eq!(answer.unwrap(), Delivery::Accepted);
        assert_eq!(
            server.received()[0].text(),
            "Action=SignalResource&Version=2010-05-15&StackName=node&LogicalResourceId=Group&UniqueId=i-1&Status=FAILURE"
        );
    }

    #[tokio::test]
    async fn a_stack_that_does_not_wait_is_no_error() {
        for message in [
            "Stack arn:aws:cloudformation:us-east-1:1:stack/node/x is in CREATE_COMPLETE state and cannot be signaled",
            "Stack [node] does not exist",
        ] {
            assert_eq!(
                refused("ValidationError", message).await.unwrap(),
                Delivery::NobodyWaits
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_resource_and_a_missing_permission_are_errors() {
        let error = refused(
            "ValidationError",
            "Resource Group does not exist for stack node",
        )
        .await
        .unwrap_err();
        assert_eq!(
            error.reason(),
            "the stack node has no resource Group to signal (ValidationError: Resource Group does not exist for stack node)"
        );
        let error = refused("AccessDenied", "not authorized").await.unwrap_err();
        assert_eq!(
            error.reason(),
            "SignalResource of Group in node was refused (AccessDenied: not authorized)"
        );
        assert_eq!(
            error.hint(),
            "allow cloudformation:SignalResource on the stack in the policy of the instance's role"
        );
    }
}
