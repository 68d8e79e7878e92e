"""The types of resource that our templates use, made as CloudFormation makes them: by calls of their services."""

from aws.resources.access import InstanceProfile, Role
from aws.resources.compute import AutoScalingGroup, LaunchTemplate, SecurityGroup, Volume
from aws.resources.documents import Document
from aws.resources.events import Rule
from aws.resources.lifecycle import LifecyclePolicy
from aws.resources.monitoring import Alarm, Dashboard, LogGroup
from aws.resources.notifications import Topic, TopicPolicy
from aws.resources.secrets import Secret
from aws.resources.stacks import NestedStack
from aws.resources.storage import Bucket, BucketPolicy
from aws.resources.waiting import WaitCondition, WaitHandle

TYPES = {
    model.type: model
    for model in (
        Alarm,
        AutoScalingGroup,
        Bucket,
        BucketPolicy,
        Dashboard,
        Document,
        InstanceProfile,
        LaunchTemplate,
        LifecyclePolicy,
        LogGroup,
        NestedStack,
        Role,
        Rule,
        Secret,
        SecurityGroup,
        Topic,
        TopicPolicy,
        Volume,
        WaitCondition,
        WaitHandle,
    )
}
