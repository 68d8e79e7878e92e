"""Whether EC2 has an instance to give. Nothing but a reservation tells that beforehand, and then it also holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from theta_edge import stacks
from theta_edge.aws import Aws, Refused
from theta_edge.command import Failed, warn
from theta_edge.settings import Settings

# As long as an update can take, there and back.
HOURS = 2


@contextmanager
def held(aws: Aws, name: str, settings: Settings) -> Iterator[None]:
    """With an instance of the node's type in its zone reserved, or at least not known to be lacking. Any instance of that
    type uses the reservation, the node's old one and then its new one; unused, it costs what the instance costs."""
    kind, zone = settings.value["InstanceType"], settings.value["AvailabilityZone"]
    try:
        made = aws.change(
            "ec2",
            "create_capacity_reservation",
            InstanceType=kind,
            InstancePlatform="Linux/UNIX",
            AvailabilityZone=zone,
            InstanceCount=1,
            InstanceMatchCriteria="open",
            # Also where nobody is left to cancel it.
            EndDateType="limited",
            EndDate=(datetime.now(timezone.utc) + timedelta(hours=HOURS)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            TagSpecifications=[
                {"ResourceType": "capacity-reservation", "Tags": [{"Key": "Name", "Value": name}, stacks.PROJECT]}
            ],
        )
    except Refused as refused:
        if refused.code in ("InsufficientInstanceCapacity", "InsufficientCapacity"):
            raise Failed(
                f"EC2 has no capacity for {kind} in {zone} now, so {name} keeps its instance, and nothing was changed. "
                "Try again later, or with another --instance-type; --unreserved terminates the instance without reserving a new one"
            ) from refused
        warn(f"could not check whether EC2 has capacity for {kind} in {zone}: {refused}")
        made = {}
    reservation = made.get("CapacityReservation", {}).get("CapacityReservationId", "")
    try:
        yield
    finally:
        if reservation:
            _cancel(aws, reservation)


def _cancel(aws: Aws, reservation: str) -> None:
    try:
        aws.change("ec2", "cancel_capacity_reservation", CapacityReservationId=reservation)
    except Refused as refused:
        warn(f"the reservation {reservation} costs money until it ends, in {HOURS} hours at most; cancel it: {refused}")
