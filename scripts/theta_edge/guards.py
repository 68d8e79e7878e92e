"""What keeps a volume, and the wallet key on it, when a stack is changed: CloudFormation says beforehand what it would do, and
is forbidden to replace or delete a volume; a stack is not deleted by mistake."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused, pause
from theta_edge.command import Failed, say, warn
from theta_edge.stacks import Stack

VOLUME = "AWS::EC2::Volume"
POLICY = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["Update:Replace", "Update:Delete"],
                "Resource": "*",
                "Condition": {"StringEquals": {"ResourceType": [VOLUME]}},
            },
        ]
    }
)


def protect(aws: Aws, stack: Stack) -> None:
    """A stack that an older version has made, and those of a fleet's nodes, which get no policy from the fleet."""
    try:
        if not stack.protected:
            aws.change(
                "cloudformation",
                "update_termination_protection",
                StackName=stack.name,
                EnableTerminationProtection=True,
            )
        for node in stacks.of_nodes(aws, stack):
            if aws.read("cloudformation", "get_stack_policy", StackName=node.id).get("StackPolicyBody") != POLICY:
                aws.change("cloudformation", "set_stack_policy", StackName=node.id, StackPolicyBody=POLICY)
    except Refused as refused:
        warn(f"{stack.name} is not protected against accidental deletion or replacement: {refused}")


def update(aws: Aws, stack: Stack, **call: Any) -> bool:
    """Updates a node's stack, unless that would replace or remove its volume; False where nothing changes."""
    name = f"upgrade-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    which: dict[str, Any] = {"StackName": stack.name, "ChangeSetName": name}
    try:
        aws.change("cloudformation", "create_change_set", **which, ChangeSetType="UPDATE", **call)
        changes = [] if aws.dry_run else _changes(aws, which)
        if changes is None:
            aws.change("cloudformation", "delete_change_set", **which)
            return False
        if threats := [threat for change in changes if (threat := _threat(change))]:
            aws.change("cloudformation", "delete_change_set", **which)
            raise Failed(
                f"{stack.name} was not changed, since CloudFormation would\n"
                + "\n".join(f"  - {threat}" for threat in threats)
                + "\nA node keeps its volume: leave out the option that would change that"
            )
        say(f"Updating {stack.name}")
        # Without a word about it, what fails might be left as it is.
        aws.change("cloudformation", "execute_change_set", **which, DisableRollback=False)
    except Refused as refused:
        raise Failed(f"{stack.name} was not updated: {refused}") from refused
    return True


def _changes(aws: Aws, which: dict[str, Any]) -> list[dict[str, Any]] | None:
    """None where there are none."""
    while True:
        found = aws.read("cloudformation", "describe_change_set", **which)
        status, reason = found["Status"], found.get("StatusReason", "")
        if status == "CREATE_COMPLETE":
            return list(aws.pages("cloudformation", "describe_change_set", "Changes", **which))
        if status == "FAILED":
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return None
            raise Failed(f"{which['StackName']} was not updated: CloudFormation cannot say what would change: {reason}")
        pause()


def _threat(change: dict[str, Any]) -> str:
    """What it would do to a volume; nothing where it keeps it."""
    resource = change.get("ResourceChange", {})
    if resource.get("ResourceType") != VOLUME:
        return ""
    volume = f"the volume {resource.get('PhysicalResourceId', '')} with its wallet key"
    if resource["Action"] == "Remove":
        return f"take {volume} out of the stack"
    if resource.get("Replacement") not in ("True", "Conditional"):
        return ""
    names = sorted({detail["Target"].get("Name", "") for detail in resource.get("Details", [])} - {""})
    return f"replace {volume}" + (f", because of {', '.join(names)}" if names else "")
