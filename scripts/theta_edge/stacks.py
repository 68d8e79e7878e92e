"""What CloudFormation's stacks tell: outputs, parameters, events, and the node that one has made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from theta_edge.aws import Aws, Refused, pause
from theta_edge.command import Failed, say
from theta_edge.terminal import address, one_line

# The tag that the costs of all nodes can be found by.
PROJECT = {"Key": "Project", "Value": "AWS_THETA_EDGE"}


@dataclass(frozen=True)
class Stack:
    name: str
    id: str
    status: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    # From being deleted.
    protected: bool

    @property
    def at_work(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")

    @property
    def left_over(self) -> bool:
        """From an operation that failed: it can only be removed."""
        return self.status.startswith("ROLLBACK_") or self.status in ("CREATE_FAILED", "DELETE_FAILED")

    @property
    def is_fleet(self) -> bool:
        return "Nodes" in self.parameters

    @property
    def nodes(self) -> list[str]:
        """The names of a fleet's nodes."""
        return [name for name in self.parameters.get("Nodes", "").split(",") if name]

    @property
    def address(self) -> str:
        """What the node reported when it was ready, if it did: one entry for each instance that signalled, whose value
        is what bootstrap sent, JSON of its own."""
        try:
            reports = [json.loads(data) for data in json.loads(self.outputs.get("Node") or "{}").values()]
            return next((known for report in reports if (known := address(report.get("address")))), "")
        except (ValueError, TypeError, AttributeError):
            return ""  # another version said something else


def find(aws: Aws, name: str) -> Stack | None:
    """A stack by its name or its id; the id finds it also when it is deleted."""
    try:
        found = aws.read("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
    except Refused as refused:
        if "does not exist" in str(refused):
            return None
        raise Failed(f"stack {name} cannot be read: {refused}") from refused
    return _stack(found)


def every(aws: Aws) -> Iterator[Stack]:
    """Of the region."""
    for found in aws.pages("cloudformation", "describe_stacks", "Stacks"):
        yield _stack(found)


def _stack(found: dict[str, Any]) -> Stack:
    return Stack(
        found["StackName"],
        found["StackId"],
        found["StackStatus"],
        {item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", [])},
        # The node's own report is among them.
        {item["OutputKey"]: one_line(item.get("OutputValue", "")) for item in found.get("Outputs", [])},
        found.get("EnableTerminationProtection", False),
    )


def template(aws: Aws, stack: Stack) -> str:
    try:
        body = aws.read("cloudformation", "get_template", StackName=stack.id, TemplateStage="Original")["TemplateBody"]
    except Refused as refused:
        raise Failed(f"the template of stack {stack.name} cannot be read: {refused}") from refused
    return body if isinstance(body, str) else json.dumps(body)


def resources(aws: Aws, stack_id: str) -> list[dict[str, str]]:
    try:
        return list(aws.pages("cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack_id))
    except Refused as refused:
        raise Failed(f"the resources of stack {stack_id} cannot be read: {refused}") from refused


def resource(aws: Aws, stack_id: str, logical_id: str) -> str:
    """The physical id of a resource, or nothing."""
    found = [one for one in resources(aws, stack_id) if one["LogicalResourceId"] == logical_id]
    return found[0].get("PhysicalResourceId", "") if found else ""


def instance(aws: Aws, stack: Stack) -> str:
    """The id of the instance that is the node now, or nothing."""
    group = stack.outputs.get("AutoScalingGroup")
    if not group:
        return ""
    try:
        groups = aws.read("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[group])
    except Refused as refused:
        raise Failed(f"the group of stack {stack.name} cannot be read: {refused}") from refused
    instances = [one for found in groups["AutoScalingGroups"] for one in found["Instances"]]
    return next((one["InstanceId"] for one in instances if one["LifecycleState"] == "InService"), "")


def parameters(values: dict[str, str], kept: list[str]) -> list[dict[str, Any]]:
    """As CloudFormation takes them: values, and the keys that keep theirs."""
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()] + [
        {"ParameterKey": key, "UsePreviousValue": True} for key in kept
    ]


def of_nodes(aws: Aws, stack: Stack) -> list[Stack]:
    """The node's own stack, or those of a fleet's nodes, as far as they exist."""
    if not stack.is_fleet:
        return [stack]
    inner = [one for one in resources(aws, stack.id) if one["ResourceType"] == "AWS::CloudFormation::Stack"]
    found = [find(aws, one["PhysicalResourceId"]) for one in inner if one.get("PhysicalResourceId")]
    return [one for one in found if one]


def delete(aws: Aws, stack: Stack) -> None:
    """And waits until it is gone."""
    say(f"Deleting the stack {stack.name}")
    newest = newest_event(aws, stack.id)
    try:
        if stack.protected:
            aws.change(
                "cloudformation",
                "update_termination_protection",
                StackName=stack.name,
                EnableTerminationProtection=False,
            )
        aws.change("cloudformation", "delete_stack", StackName=stack.name)
    except Refused as refused:
        raise Failed(f"the stack {stack.name} was not deleted: {refused}") from refused
    if aws.dry_run:
        return
    rests = follow(aws, stack.id, newest)
    if rests and rests.status != "DELETE_COMPLETE":
        raise Failed(
            f"the stack {stack.name} was not deleted ({rests.status}):\n{failures(aws, stack.id, newest)}\n"
            "Fix that and run this again"
        )


# Events.


def newest_event(aws: Aws, stack_id: str) -> str:
    """Before a change, to tell its events from older ones."""
    return next((event["EventId"] for event in _events(aws, stack_id)), "")


def _events(aws: Aws, stack_id: str) -> Iterator[dict[str, Any]]:
    try:
        yield from aws.pages("cloudformation", "describe_stack_events", "StackEvents", StackName=stack_id)
    except Refused as refused:
        raise Failed(f"the events of stack {stack_id} cannot be read: {refused}") from refused


def events_after(aws: Aws, stack_id: str, newest: str) -> list[dict[str, Any]]:
    """Oldest first. AWS gives the newest first, in pages: those of a large fleet fill many."""
    fresh = []
    for event in _events(aws, stack_id):
        if event["EventId"] == newest:
            break
        fresh.append(event)
    return fresh[::-1]


def follow(
    aws: Aws, stack_id: str, newest: str = "", look: Callable[[Stack], None] | None = None
) -> Stack | None:
    """Prints the events after the newest that is known, until the stack rests. By the stack's id, which outlives it.
    `look` is called with the stack before each pause."""
    try:
        while True:
            # The status first: every event before it is then there to be read.
            stack = find(aws, stack_id)
            for event in events_after(aws, stack_id, newest) if stack else []:
                newest = event["EventId"]
                status = event["ResourceStatus"]
                failed = status.endswith("_FAILED") or "ROLLBACK_IN_PROGRESS" in status
                tell(
                    event["Timestamp"],
                    event["LogicalResourceId"],
                    status,
                    event["ResourceType"],
                    event.get("ResourceStatusReason", "") if failed else "",
                )
            if not stack or not stack.at_work:
                return stack
            if look:
                look(stack)
            pause()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"no longer following, but AWS continues with {stack_id}") from None


def tell(time: datetime, name: str, status: str, kind: str, reason: str) -> None:
    """One line of what is followed."""
    reason = one_line(reason)
    print(f"{time:%H:%M:%S}  {one_line(name):<20} {status:<24} {kind}{': ' + reason if reason else ''}", flush=True)


def failures(aws: Aws, stack_id: str, newest: str = "") -> str:
    """What failed after that event, oldest first: "RESOURCE: reason" lines."""
    lines = []
    for event in events_after(aws, stack_id, newest):
        reason, physical = one_line(event.get("ResourceStatusReason", "")), event.get("PhysicalResourceId", "")
        # What was only cancelled because something else failed tells nothing.
        if not event["ResourceStatus"].endswith("_FAILED") or not reason or reason.endswith("cancelled"):
            continue
        # Nor does the stack itself, which counts what failed in it.
        if physical == event["StackId"]:
            continue
        lines.append(f"  {one_line(event['LogicalResourceId'])}: {reason}")
        # A stack within the stack (a node of a fleet) has the reason itself.
        if event["ResourceType"] == "AWS::CloudFormation::Stack" and physical:
            lines.append(failures(aws, physical))
    return "\n".join(line for line in lines if line)
