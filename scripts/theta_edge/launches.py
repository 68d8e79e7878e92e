"""What Auto Scaling groups say of their launches. Where no instance can be had, only they know why: CloudFormation waits an
hour for a signal, and then says no more than that none came."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused
from theta_edge.command import warn
from theta_edge.stacks import Stack
from theta_edge.terminal import one_line

# As EC2 says it of its own machines and of spot.
NO_CAPACITY = re.compile("InsufficientInstanceCapacity|UnfulfillableCapacity|sufficient .*capacity|no Spot capacity")
# A role that was just made may be unknown to the first launch.
TRIES = 2
# Groups of a fleet that are asked in one round.
AT_ONCE = 10


@dataclass
class Launches:
    """Of the groups of a stack that is being worked on. A launch that fails ends the operation, with the group's words."""

    aws: Aws
    # What the groups had said before.
    known: set[str] = field(default_factory=set)
    # By stack: what failed.
    failed: dict[str, list[str]] = field(default_factory=dict)
    # The stacks whose wait condition was told.
    ended: set[str] = field(default_factory=set)
    asked: int = 0

    @classmethod
    def after(cls, aws: Aws, stack: Stack) -> Launches:
        """Those that come after what was known of the stack's groups until now."""
        launches = cls(aws)
        launches.known = {
            one["ActivityId"] for node in stacks.of_nodes(aws, stack) for one in launches._activities(node.name)
        }
        return launches

    @property
    def lacked_capacity(self) -> bool:
        return any(NO_CAPACITY.search(words) for failed in self.failed.values() for words in failed)

    @property
    def words(self) -> str:
        return "; ".join(failed[-1] for failed in self.failed.values())

    def look(self, stack: Stack) -> None:
        """What is new; while a stack is on its way back nothing is left to end."""
        nodes = stacks.of_nodes(self.aws, stack)
        first = self.asked % max(len(nodes), 1)
        self.asked += AT_ONCE
        for node in (nodes[first:] + nodes[:first])[:AT_ONCE]:
            # A group has its stack's name.
            for activity in reversed(self._activities(node.name)):
                self._take(node, activity)

    def _activities(self, group: str) -> list[dict[str, Any]]:
        """The newest first; none where there is no group yet."""
        try:
            found = self.aws.read(
                "autoscaling", "describe_scaling_activities", AutoScalingGroupName=group, MaxRecords=20
            )
        except Refused as refused:
            if refused.code != "ValidationError":
                warn(f"the launches of the group {group} cannot be read: {refused}")
            return []
        return list(found["Activities"])

    def _take(self, node: Stack, activity: dict[str, Any]) -> None:
        if activity["StatusCode"] != "Failed" or activity["ActivityId"] in self.known:
            return
        self.known.add(activity["ActivityId"])
        words = one_line(activity.get("StatusMessage") or activity.get("Description", ""))
        failed = self.failed.setdefault(node.name, [])
        failed.append(words)
        stacks.tell(activity["StartTime"], node.name, "LAUNCH_FAILED", "AWS::AutoScaling::AutoScalingGroup", words)
        at_work = node.status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS") and node.name not in self.ended
        if at_work and (len(failed) >= TRIES or NO_CAPACITY.search(words)):
            self._end(node, words)

    def _end(self, node: Stack, words: str) -> None:
        """As a node would report its own failure: CloudFormation then goes back, or keeps what it shall keep."""
        number = 2 if node.parameters.get("WaitOn") == "second" else 1
        handle = stacks.resource(self.aws, node.id, f"WaitHandle{number}")
        if not handle.startswith("https://"):
            return
        self.ended.add(node.name)
        report = {"Status": "FAILURE", "Reason": f"no instance: {words[:900]}", "UniqueId": "group", "Data": ""}
        # The address is signed for a request without a content type.
        request = urllib.request.Request(  # noqa: S310, it is https
            handle, json.dumps(report).encode(), {"Content-Type": ""}, method="PUT"
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
        except OSError as error:
            warn(f"CloudFormation could not be signalled, and will wait for up to an hour: {error}")
