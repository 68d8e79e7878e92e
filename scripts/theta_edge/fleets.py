"""A fleet of which some nodes did not come up: the others stay, with their volumes and keys."""

from __future__ import annotations

from theta_edge import stacks
from theta_edge.aws import Aws
from theta_edge.stacks import Stack


def missing(aws: Aws, fleet: Stack) -> list[str]:
    """The nodes that never came up."""
    states = {one["LogicalResourceId"]: one["ResourceStatus"] for one in stacks.resources(aws, fleet.id)}
    return [name for name in fleet.nodes if states.get(f"Node{name}", "CREATE_FAILED") == "CREATE_FAILED"]


def what_to_do(aws: Aws, fleet: Stack) -> str:
    """A wait condition that has heard of a failure works no second time, so such a node is made anew."""
    absent = missing(aws, fleet)
    there = [name for name in fleet.nodes if name not in absent]
    if not there:
        return f"Before the next try:  scripts/destroy --name {fleet.name}"
    upgrade = f"scripts/upgrade --name {fleet.name}"
    if not absent:
        return f"Once that is fixed:  {upgrade}"
    return (
        f"{', '.join(there)} stay as they are. Leave out what failed; once it is fixed, add it again:\n"
        f"  {upgrade} --nodes {','.join(there)}\n  {upgrade} --nodes {','.join(fleet.nodes)}"
    )
