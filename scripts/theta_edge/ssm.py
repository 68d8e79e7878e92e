"""Asks a node itself: runs a command on it by SSM and waits for its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused, pause
from theta_edge.command import Failed

# SSM gives up a command that an instance does not take within these seconds; it allows no fewer than 30.
DELIVERY_SECONDS = 60
AT_WORK = ("Pending", "InProgress", "Delayed", "Cancelling")
UNDELIVERED = ("Pending", "Delayed", "DeliveryTimedOut", "Undeliverable", "Terminated")


@dataclass(frozen=True)
class Answer:
    """How a command ended (Success, Failed, or SSM's word for what else happened), and what it wrote."""

    ended: str
    code: int
    output: str
    errors: str

    @property
    def delivered(self) -> bool:
        return self.ended not in UNDELIVERED


def node_instance(aws: Aws, name: str) -> str:
    """The instance that is the node now; without one it says what to do."""
    stack = stacks.find(aws, name)
    if not stack:
        raise Failed(f"there is no stack {name} in {aws.region}: scripts/deploy creates it; --name or --region name another")
    if instance := stacks.instance(aws, stack):
        return instance
    group = stack.outputs.get("AutoScalingGroup")
    if not group:
        raise Failed(f"stack {name} ({stack.status}) is not a node's, or is still being created")
    raise Failed(
        f"stack {name} has no instance now. EC2 Auto Scaling says why:\n"
        f"  aws autoscaling describe-scaling-activities --region {aws.region} --auto-scaling-group-name {group} --max-items 5"
    )


def send(aws: Aws, instance: str, document: str, parameters: dict[str, list[str]], comment: str) -> str:
    """The command's id; nothing with --dry-run. Refused where SSM does not take it."""
    answer = aws.change(
        "ssm",
        "send_command",
        InstanceIds=[instance],
        DocumentName=document,
        Parameters=parameters,
        Comment=comment,
        TimeoutSeconds=DELIVERY_SECONDS,
    )
    return str(answer["Command"]["CommandId"]) if answer else ""


def await_answer(aws: Aws, instance: str, command: str, seconds: float) -> Answer:
    """Waits for a command that may run that long."""
    end = time.monotonic() + DELIVERY_SECONDS + seconds
    while True:
        answer = _look(aws, instance, command)
        # The end was never seen: SSM's own limits come first.
        if answer.ended not in AT_WORK or time.monotonic() > end:
            return answer
        pause()


def _look(aws: Aws, instance: str, command: str) -> Answer:
    try:
        found: dict[str, Any] = aws.read("ssm", "get_command_invocation", CommandId=command, InstanceId=instance)
    except Refused as refused:
        # Right after it was sent, SSM may not know it yet.
        if refused.code == "InvocationDoesNotExist":
            return Answer("InProgress", -1, "", "")
        raise Failed(f"command {command} cannot be followed: {refused}") from refused
    ended, details = found["Status"], found.get("StatusDetails", "")
    if ended not in ("Success", "Failed") and details:
        # They tell a command that timed out from one that was not delivered.
        ended = details.replace(" ", "")
    return Answer(
        ended,
        found.get("ResponseCode", -1),
        found.get("StandardOutputContent", ""),
        found.get("StandardErrorContent", ""),
    )


def unreachable(aws: Aws, instance: str, why: str = "") -> str:
    """What to do about an instance that SSM cannot reach."""
    return (
        f"SSM cannot reach {instance}{': ' + why if why else ''}. If it has just started, wait a minute. "
        "Otherwise look at its state and its console output:\n"
        f"  aws ec2 describe-instance-status --region {aws.region} --instance-ids {instance}\n"
        f"  aws ec2 get-console-output --region {aws.region} --instance-id {instance} --output text\n"
        "and check that it can reach the internet. To have its Auto Scaling group replace it, with the same volume and key:\n"
        f"  aws ec2 terminate-instances --region {aws.region} --instance-ids {instance}"
    )
