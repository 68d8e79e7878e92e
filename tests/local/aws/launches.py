"""Launches that fail: a stack whose group gets no instance is at work until its wait condition hears of a failure."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudformation.exceptions import ValidationError
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

# By zone, what EC2 says instead of launching anything there. Once there are such zones, operations on stacks go on after
# the call that began them has been answered.
refusals: dict[str, str] = {}
activities: dict[str, list[dict[str, Any]]] = {}
# Of capacity, as long as nobody has cancelled them.
reservations: list[str] = []


@dataclass
class Waiting:
    heard: Event = field(default_factory=Event)
    report: dict[str, str] = field(default_factory=dict)


# By the stack's id.
waiting: dict[str, Waiting] = {}


def reset() -> None:
    refusals.clear()
    activities.clear()
    reservations.clear()
    waiting.clear()


@contextmanager
def allowed() -> Iterator[None]:
    """Everywhere: what was there before finds room again."""
    kept = dict(refusals)
    refusals.clear()
    yield
    refusals.update(kept)


def launch(stack: str, group: str, zone: str) -> None:
    """Where it is refused, waits for what the wait condition hears, and fails with that."""
    if not (words := refusals.get(zone)):
        return
    now = datetime.now(timezone.utc)
    activity = {"AutoScalingGroupName": group, "StartTime": now, "StatusCode": "Failed", "Cause": "", "Progress": 100}
    mine = waiting[stack] = Waiting()
    # A group tries again and again.
    for _ in range(2):
        activities.setdefault(group, []).insert(0, {**activity, "ActivityId": str(uuid4()), "StatusMessage": words})
    mine.heard.wait(30)
    report = mine.report or {"Reason": "nobody said anything", "UniqueId": "none"}
    raise ValidationError(
        message=f"WaitCondition received failed message: '{report['Reason']}' for uniqueId: {report['UniqueId']}"
    )


def hear(url: str, body: bytes) -> None:
    """What was sent to a wait handle's address."""
    path = unquote(url.split("?")[0])
    mine = next(one for stack, one in waiting.items() if stack in path)
    mine.report = json.loads(body)
    mine.heard.set()


def aside(work: Callable[[], Any], begun: Callable[[], Any]) -> Any:
    """Goes on with the work, and gives what has begun by it, or what came of it if it ends sooner."""
    if not refusals:
        return work()
    ended: list[Any] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            ended.append(work())
        except Exception as error:  # noqa: BLE001, it is the caller's
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        if (found := begun()) is not None:
            return found
        time.sleep(0.001)
    if failed:
        raise failed[0]
    return ended[0]


def describe_scaling_activities(response: AutoScalingResponse) -> ActionResult:
    group = response._get_param("AutoScalingGroupName")
    known = [one.name for one in response.autoscaling_backend.describe_auto_scaling_groups([group])]
    if not known and group not in activities:
        raise ValidationError(message=f"Group name not found - {group}")
    return ActionResult({"Activities": activities.get(group, [])})


def create_capacity_reservation(response: EC2Response) -> ActionResult:
    zone = response._get_param("AvailabilityZone")
    if words := refusals.get(zone):
        raise EC2ClientError("InsufficientInstanceCapacity", words)
    reservations.append(f"cr-{uuid4().hex[:17]}")
    return ActionResult({"CapacityReservation": {"CapacityReservationId": reservations[-1], "State": "active"}})


def cancel_capacity_reservation(response: EC2Response) -> ActionResult:
    reservations.remove(response._get_param("CapacityReservationId"))
    return ActionResult({"Return": True})


def install() -> None:
    EC2Response.create_capacity_reservation = create_capacity_reservation
    EC2Response.cancel_capacity_reservation = cancel_capacity_reservation
    AutoScalingResponse.describe_scaling_activities = describe_scaling_activities
