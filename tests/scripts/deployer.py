"""What IAM judges where an operator's command is at work: the actions and resources of its own calls, and those of
CloudFormation, which makes a stack's resources with the operator's credentials."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HANDLERS = Path(__file__).parents[1] / "cloudformation/iam/handlers.json"
HERE, ACCOUNT = "us-east-1:123456789012", "123456789012"

Request = dict[str, Any]

STACK = f"arn:aws:cloudformation:{HERE}:stack/{{stack}}/11111111-2222-3333-4444-555555555555"
OBJECT, BUCKET = "arn:aws:s3:::{Bucket}/{Key}", "arn:aws:s3:::{Bucket}"
OF_A_NODE = {"aws:ResourceTag/theta-edge:node": "theta-edge-node"}

# By call: action and resource, which is * where IAM knows none.
CALLS: dict[str, list[tuple[str, str]]] = {
    "autoscaling.DescribeAutoScalingGroups": [("autoscaling:DescribeAutoScalingGroups", "*")],
    "autoscaling.DescribeScalingActivities": [("autoscaling:DescribeScalingActivities", "*")],
    **{
        f"cloudformation.{call}": [(f"cloudformation:{call}", STACK)]
        for call in (
            "CreateChangeSet", "CreateStack", "DeleteChangeSet", "DeleteStack", "DescribeChangeSet", "DescribeStackEvents",
            "DescribeStacks", "ExecuteChangeSet", "GetStackPolicy", "GetTemplate", "ListStackResources", "SetStackPolicy",
            "UpdateStack", "UpdateTerminationProtection",
        )
    },
    "cloudformation.ListImports": [("cloudformation:ListImports", "*")],
    **{
        f"ec2.{call}": [(f"ec2:{call}", "*")]
        for call in (
            "DescribeImages", "DescribeInstanceTypeOfferings", "DescribeInstanceTypes", "DescribeInstances",
            "DescribeLaunchTemplateVersions",
            "DescribeSnapshots", "DescribeSubnets", "DescribeVolumes", "DescribeVpcs", "GetEbsDefaultKmsKeyId",
            "GetEbsEncryptionByDefault",
        )
    },
    "ec2.CreateCapacityReservation": [
        ("ec2:CreateCapacityReservation", f"arn:aws:ec2:{HERE}:capacity-reservation/cr-1"),
        ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:capacity-reservation/cr-1"),
    ],
    "ec2.CancelCapacityReservation": [("ec2:CancelCapacityReservation", f"arn:aws:ec2:{HERE}:capacity-reservation/cr-1")],
    "ec2.CreateSnapshot": [
        ("ec2:CreateSnapshot", f"arn:aws:ec2:{HERE}:volume/{{VolumeId}}"),
        ("ec2:CreateSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-1"),
        ("ec2:CreateTags", "arn:aws:ec2:us-east-1::snapshot/snap-1"),
    ],
    "ec2.DeleteSnapshot": [("ec2:DeleteSnapshot", "arn:aws:ec2:us-east-1::snapshot/{SnapshotId}")],
    "ec2.DeleteVolume": [("ec2:DeleteVolume", f"arn:aws:ec2:{HERE}:volume/{{VolumeId}}")],
    "kms.GetKeyPolicy": [("kms:GetKeyPolicy", "{KeyId}")],
    "kms.ListGrants": [("kms:ListGrants", "{KeyId}")],
    "logs.DescribeLogStreams": [("logs:DescribeLogStreams", f"arn:aws:logs:{HERE}:log-group:{{logGroupName}}")],
    "logs.FilterLogEvents": [("logs:FilterLogEvents", f"arn:aws:logs:{HERE}:log-group:{{logGroupName}}")],
    # A head is a read.
    # An address for the node, which reads with it in the caller's place.
    "s3.GetObject": [("s3:GetObject", OBJECT)],
    "s3.HeadObject": [("s3:GetObject", OBJECT)],
    "s3.ListObjectsV2": [("s3:ListBucket", BUCKET)],
    "s3.PutObject": [("s3:PutObject", OBJECT)],
    "s3.DeleteObject": [("s3:DeleteObject", OBJECT)],
    "s3.ListObjectVersions": [("s3:ListBucketVersions", BUCKET)],
    "s3.DeleteObjects": [("s3:DeleteObject", BUCKET + "/any"), ("s3:DeleteObjectVersion", BUCKET + "/any")],
    "secretsmanager.DescribeSecret": [("secretsmanager:DescribeSecret", "{SecretId}")],
    "secretsmanager.DeleteSecret": [("secretsmanager:DeleteSecret", "{SecretId}")],
    "service-quotas.GetServiceQuota": [
        ("servicequotas:GetServiceQuota", f"arn:aws:servicequotas:{HERE}:{{ServiceCode}}/{{QuotaCode}}")
    ],
    "ssm.GetParameters": [("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter{{parameter}}")],
    "ssm.SendCommand": [
        ("ssm:SendCommand", "{document}"),
        ("ssm:SendCommand", f"arn:aws:ec2:{HERE}:instance/{{instance}}"),
    ],
    "ssm.GetCommandInvocation": [("ssm:GetCommandInvocation", "*")],
    # With the role that the document names, which whoever starts it passes on.
    "ssm.StartAutomationExecution": [
        ("ssm:StartAutomationExecution", f"arn:aws:ssm:{HERE}:automation-definition/{{DocumentName}}:1"),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/theta-edge-fleet-ReplaceRole-1"),
    ],
    "ssm.GetAutomationExecution": [
        ("ssm:GetAutomationExecution", f"arn:aws:ssm:{HERE}:automation-execution/{{AutomationExecutionId}}")
    ],
    # Of the drill only; its help says so.
    "ec2.TerminateInstances": [],
    # Everybody may ask who they are.
    "sts.GetCallerIdentity": [],
}  # fmt: skip


def requests_of(call: str, given: dict[str, Any]) -> Iterator[Request]:
    stack = given.get("StackName", "")
    values = {
        **{key: value for key, value in given.items() if isinstance(value, str)},
        "stack": stack.split("/")[1] if stack.startswith("arn:") else stack,
        "parameter": (given.get("Names") or [""])[0],
        "instance": (given.get("InstanceIds") or [""])[0],
        # AWS's own documents have no account, which the simulator does not know.
        "document": f"arn:aws:ssm:{HERE}:document/{given.get('DocumentName', '')}",
    }
    for action, resource in CALLS[call]:
        yield request(action, resource.format(**values), "ssm.amazonaws.com")


def request(action: str, resource: str, passed_to: str = "ec2.amazonaws.com") -> Request:
    context: dict[str, str] = {}
    if action == "iam:PassRole":
        context = {"iam:PassedToService": passed_to}
    elif action == "ec2:DeleteVolume" or (action == "ssm:SendCommand" and ":instance/" in resource):
        context = OF_A_NODE
    return {"action": action, "resource": resource, "context": context}


# CloudFormation's calls. handlers.json has what AWS's schemas of the resource types declare that their handlers may call (as
# cfn-lint 1.58.0 has them; aws cloudformation describe-type --type RESOURCE --type-name TYPE gives those of the day); here is what each needs for the properties that our templates have, and below why it does not need the rest.

ROLE = f"arn:aws:iam::{ACCOUNT}:role/theta-edge-node-Role-1"
PROFILE = f"arn:aws:iam::{ACCOUNT}:instance-profile/theta-edge-node-InstanceProfile-1"
GROUP = f"arn:aws:autoscaling:{HERE}:autoScalingGroup:1:autoScalingGroupName/theta-edge-node"
ALARM, DASHBOARD = f"arn:aws:cloudwatch:{HERE}:alarm:theta-edge-node-NodeDown-1", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/theta-edge-node-us-east-1"
LOGS, DOCUMENT = f"arn:aws:logs:{HERE}:log-group:/theta-edge/theta-edge-node", f"arn:aws:ssm:{HERE}:document/theta-edge-common-VerifyDocument-1"
TOPIC, SECRET = f"arn:aws:sns:{HERE}:theta-edge-common-AlarmTopic-1", f"arn:aws:secretsmanager:{HERE}:secret:Secret-1"
INNER = f"arn:aws:cloudformation:{HERE}:stack/theta-edge-fleet-Nodea-1/1"
COMMON_BUCKET = "arn:aws:s3:::theta-edge-common-bucket-1"
VOLUME, GROUP_OF_RULES = f"arn:aws:ec2:{HERE}:volume/vol-1", f"arn:aws:ec2:{HERE}:security-group/sg-1"
LIFECYCLE = f"arn:aws:dlm:{HERE}:policy/policy-1"
SNAPSHOT_ROLE = f"arn:aws:iam::{ACCOUNT}:role/theta-edge-node-SnapshotRole-1"
RULE = f"arn:aws:events:{HERE}:rule/theta-edge-node-ReplaceUnhealthy-1"
REPLACE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/theta-edge-node-ReplaceRole-1"
TEMPLATE = f"arn:aws:ec2:{HERE}:launch-template/lt-1"


def on(resource: str, actions: str) -> dict[str, str]:
    return dict.fromkeys(actions.split(), resource)


NEEDED: dict[str, dict[str, str]] = {
    "AWS::AutoScaling::AutoScalingGroup": {
        **on(GROUP, "autoscaling:CreateAutoScalingGroup autoscaling:CreateOrUpdateTags autoscaling:DeleteAutoScalingGroup"),
        **on(GROUP, "autoscaling:DeleteNotificationConfiguration autoscaling:DeleteTags autoscaling:ResumeProcesses"),
        **on(GROUP, "autoscaling:PutNotificationConfiguration autoscaling:SuspendProcesses autoscaling:UpdateAutoScalingGroup"),
        **on("*", "autoscaling:Describe* ec2:Describe*"),
        "ec2:RunInstances": f"arn:aws:ec2:{HERE}:instance/*",
        "iam:PassRole": ROLE,
        "iam:CreateServiceLinkedRole": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
    },
    "AWS::CloudFormation::Stack": on(
        INNER,
        "cloudformation:CreateStack cloudformation:DeleteStack cloudformation:DescribeStacks cloudformation:GetStackPolicy "
        "cloudformation:GetTemplate cloudformation:SetStackPolicy cloudformation:UpdateStack "
        "cloudformation:UpdateTerminationProtection",
    ),
    "AWS::CloudWatch::Alarm": on(
        ALARM,
        "cloudwatch:DeleteAlarms cloudwatch:DescribeAlarms cloudwatch:ListTagsForResource cloudwatch:PutMetricAlarm "
        "cloudwatch:TagResource cloudwatch:UntagResource",
    ),
    "AWS::CloudWatch::Dashboard": on(
        DASHBOARD, "cloudwatch:DeleteDashboards cloudwatch:GetDashboard cloudwatch:PutDashboard"
    ),
    "AWS::DLM::LifecyclePolicy": {
        "dlm:CreateLifecyclePolicy": "*",
        **on(LIFECYCLE, "dlm:DeleteLifecyclePolicy dlm:GetLifecyclePolicy dlm:TagResource dlm:UntagResource"),
        **on(LIFECYCLE, "dlm:UpdateLifecyclePolicy"),
        "iam:PassRole": SNAPSHOT_ROLE,
    },
    "AWS::EC2::LaunchTemplate": {
        **on(TEMPLATE, "ec2:CreateLaunchTemplate ec2:CreateLaunchTemplateVersion ec2:CreateTags ec2:DeleteLaunchTemplate"),
        **on(TEMPLATE, "ec2:DeleteTags"),
        "ec2:DescribeLaunchTemplates": "*",
    },
    "AWS::EC2::SecurityGroup": {
        **on(GROUP_OF_RULES, "ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress ec2:CreateSecurityGroup"),
        **on(GROUP_OF_RULES, "ec2:CreateTags ec2:DeleteSecurityGroup ec2:DeleteTags ec2:RevokeSecurityGroupEgress"),
        **on(GROUP_OF_RULES, "ec2:RevokeSecurityGroupIngress ec2:UpdateSecurityGroupRuleDescriptionsEgress"),
        **on(GROUP_OF_RULES, "ec2:UpdateSecurityGroupRuleDescriptionsIngress"),
        **on("*", "ec2:DescribeInstances ec2:DescribeSecurityGroups"),
    },
    "AWS::EC2::Volume": {
        **on(VOLUME, "ec2:CreateTags ec2:CreateVolume ec2:DeleteTags ec2:DeleteVolume ec2:ModifyVolume"),
        **on("*", "ec2:DescribeTags ec2:DescribeVolumes ec2:DescribeVolumesModifications"),
        "ec2:DescribeVolumeAttribute": VOLUME,
    },
    "AWS::Events::Rule": {
        **on(RULE, "events:DeleteRule events:DescribeRule events:ListTargetsByRule events:PutRule events:PutTargets"),
        **on(RULE, "events:RemoveTargets events:TagResource events:UntagResource"),
        "iam:PassRole": REPLACE_ROLE,
    },
    "AWS::IAM::InstanceProfile": {
        **on(PROFILE, "iam:AddRoleToInstanceProfile iam:CreateInstanceProfile iam:DeleteInstanceProfile"),
        **on(PROFILE, "iam:GetInstanceProfile iam:RemoveRoleFromInstanceProfile"),
        "iam:PassRole": ROLE,
    },
    "AWS::IAM::Role": on(
        ROLE,
        "iam:AttachRolePolicy iam:CreateRole iam:DeleteRole iam:DeleteRolePermissionsBoundary iam:DeleteRolePolicy "
        "iam:DetachRolePolicy iam:GetRole iam:GetRolePolicy iam:ListAttachedRolePolicies iam:ListRolePolicies "
        "iam:PutRolePermissionsBoundary iam:PutRolePolicy iam:TagRole iam:UntagRole iam:UpdateAssumeRolePolicy",
    ),
    "AWS::Logs::LogGroup": {
        **on(LOGS, "logs:CreateLogGroup logs:DeleteLogGroup logs:DeleteRetentionPolicy logs:ListTagsForResource"),
        **on(LOGS, "logs:PutRetentionPolicy logs:TagResource logs:UntagResource"),
        **on("*", "logs:DescribeLogGroups logs:DescribeIndexPolicies"),
    },
    "AWS::S3::Bucket": on(
        COMMON_BUCKET,
        "s3:CreateBucket s3:DeleteBucket s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketLogging s3:GetBucketNotification "
        "s3:GetBucketObjectLockConfiguration s3:GetBucketOwnershipControls s3:GetBucketPublicAccessBlock s3:GetBucketTagging "
        "s3:GetBucketVersioning s3:GetBucketWebsite s3:GetEncryptionConfiguration s3:GetLifecycleConfiguration s3:ListBucket "
        "s3:PutBucketOwnershipControls s3:PutBucketPublicAccessBlock s3:PutBucketTagging s3:PutBucketVersioning "
        "s3:PutEncryptionConfiguration s3:PutLifecycleConfiguration",
    ),
    "AWS::S3::BucketPolicy": on(COMMON_BUCKET, "s3:DeleteBucketPolicy s3:GetBucketPolicy s3:PutBucketPolicy"),
    "AWS::SNS::Topic": {
        **on(TOPIC, "sns:CreateTopic sns:DeleteTopic sns:GetTopicAttributes sns:ListSubscriptionsByTopic"),
        **on(TOPIC, "sns:ListTagsForResource sns:SetTopicAttributes sns:Subscribe sns:TagResource sns:UntagResource"),
        "sns:Unsubscribe": "*",
    },
    "AWS::SNS::TopicPolicy": on(TOPIC, "sns:SetTopicAttributes"),
    "AWS::SSM::Document": on(
        DOCUMENT,
        "ssm:AddTagsToResource ssm:CreateDocument ssm:DeleteDocument ssm:DescribeDocument ssm:GetDocument "
        "ssm:ListTagsForResource ssm:RemoveTagsFromResource ssm:UpdateDocument ssm:UpdateDocumentDefaultVersion",
    ),
    "AWS::SecretsManager::Secret": on(
        SECRET,
        "secretsmanager:CreateSecret secretsmanager:DeleteSecret secretsmanager:DescribeSecret secretsmanager:TagResource "
        "secretsmanager:UntagResource secretsmanager:UpdateSecret",
    ),
}
# What CloudFormation itself asks, for no resource: the templates in the bucket, and the types of parameters.
BESIDES = {
    "s3:GetObject": "arn:aws:s3:::theta-edge-common-bucket-1/templates/1/node.yaml",
    # (The public ones have no account, which the simulator does not know.)
    "ssm:GetParameters": f"arn:aws:ssm:{HERE}:parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.12-x86_64",
    "ec2:DescribeVpcs": "*",
    "ec2:DescribeSubnets": "*",
    # An instance that is launched from a template with tags; and the role that a document gives to an automation.
    "ec2:CreateTags": f"arn:aws:ec2:{HERE}:instance/*",
}
# Prefixes of actions that the handlers call for properties which our templates lack.
NOT_NEEDED = {
    "load balancers, lifecycle hooks, fleets, traffic sources and metrics of groups": (
        "autoscaling:Attach", "autoscaling:Detach", "autoscaling:DeleteLifecycleHook", "autoscaling:PutLifecycleHook",
        "autoscaling:CancelInstanceRefresh", "autoscaling:StartInstanceRefresh", "autoscaling:DisableMetricsCollection",
        "autoscaling:EnableMetricsCollection", "elasticloadbalancing:", "managed-fleets:", "vpc-lattice:", "ec2:Get", "ssm:Get*",
    ),
    "an alarm that a group makes by a scaling policy, tags of dashboards": ("cloudwatch:",),
    "volumes that are copied, snapshots at deletion, I/O that resumes by itself": (
        "ec2:CopyVolumes", "ec2:CreateSnapshot", "ec2:DescribeSnapshots", "ec2:ModifyVolumeAttribute",
    ),
    "a customer's key, whose own policy must let the operator use it": ("kms:",),
    "descriptions of roles": ("iam:UpdateRole",),
    "a role that is passed to CloudFormation, S3 or SNS": ("iam:PassRole", "iam:GetRole"),
    "keys, deliveries, index and protection policies of log groups": (
        "firehose:", "logs:AssociateKmsKey", "logs:DisassociateKmsKey", "logs:CreateLogDelivery", "logs:Delete", "logs:Get",
        "logs:Put", "logs:DescribeResourcePolicies", "s3:REST",
    ),
    "tags of rules that are looked at": ("events:ListTagsForResource",),
    "what else a bucket can have": ("s3:", "s3tables:"),
    "data protection of topics": ("sns:GetDataProtectionPolicy", "sns:PutDataProtectionPolicy"),
    "documents with attachments": ("s3:GetObject",),
    "passwords that CloudFormation makes up or reads, replicas": (
        "secretsmanager:GetRandomPassword", "secretsmanager:GetSecretValue", "secretsmanager:RemoveRegions",
        "secretsmanager:Replicate",
    ),
}  # fmt: skip

PASSED_TO = {SNAPSHOT_ROLE: "dlm.amazonaws.com", REPLACE_ROLE: "events.amazonaws.com"}
# In place of a pattern.
EXAMPLES = {"autoscaling:Describe*": "autoscaling:DescribeAutoScalingGroups", "ec2:Describe*": "ec2:DescribeInstances"}


def handlers() -> dict[str, list[str]]:
    return json.loads(HANDLERS.read_text())


def cloudformations() -> list[Request]:
    needed = [pair for actions in NEEDED.values() for pair in actions.items()]
    return [
        request(EXAMPLES.get(action, action), resource, PASSED_TO.get(resource, "ec2.amazonaws.com"))
        for action, resource in [*needed, *BESIDES.items()]
    ]
