"""In what order CloudFormation makes what node.yaml names: whatever can fail does so before the node's half hour, whose
failure takes a new volume, and the wallet key on it, away again."""

from dataclasses import dataclass
from typing import Any

import pytest

import deployed
from aws import templates
from deployed import REPO
from made import SOFTWARE, aws_with_common  # noqa: F401, a fixture

TEMPLATE = templates.parse((REPO / "cloudformation/node.yaml").read_text())
# What takes part in the node's half hour.
LAST = {"Node", "Ready1", "Ready2"}
VARIANTS = {
    "default": {},
    "instance store": {"OnEbs": False, "NewVolume": False, "IsGp3": False},
    "existing volume": {"NewVolume": False},
    "no GPU": {"HasGpu": False},
    "second handle": {"WaitsOnFirst": False, "WaitsOnSecond": True},
    "everything else": dict.fromkeys(TEMPLATE["Conditions"], True) | {"WaitsOnSecond": False},
}
DEFAULTS = dict.fromkeys(TEMPLATE["Conditions"], False) | dict.fromkeys(
    ["HasGpu", "OnEbs", "NewVolume", "IsGp3", "WaitsOnFirst", "Rolling"], True
)


def taken(node: Any, holds: dict[str, bool]) -> Any:
    """A piece of the template with only those branches of each Fn::If that are taken: the others refer to nothing."""
    if isinstance(node, list):
        return [taken(one, holds) for one in node]
    if not isinstance(node, dict):
        return node
    if "Fn::If" in node:
        condition, yes, no = node["Fn::If"]
        return taken(yes if holds[condition] else no, holds)
    return {key: taken(value, holds) for key, value in node.items()}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def before(request) -> dict[str, set[str]]:
    """For each resource, all that is complete before it begins."""
    holds = DEFAULTS | request.param
    made = {
        name: taken(one, holds)
        for name, one in TEMPLATE["Resources"].items()
        if holds.get(one.get("Condition"), True)
    }
    direct = {name: templates.references(one) & made.keys() - {name} for name, one in made.items()}

    def all_before(name: str) -> set[str]:
        return direct[name].union(*map(all_before, direct[name]))

    return {name: all_before(name) for name in made}


def test_all_that_can_fail_is_there_before_the_node(before):
    assert before["Node"] == before.keys() - LAST


def test_nothing_waits_for_the_node(before):
    assert [name for name, earlier in before.items() if "Node" in earlier] == []


def test_the_wait_conditions_hour_begins_with_the_nodes(before):
    for ready in before.keys() & {"Ready1", "Ready2"}:
        assert before[ready] == before["Node"]


def test_a_dashboard_that_fails_leaves_no_node(aws_with_common):
    aws = aws_with_common
    aws.client("cloudwatch").put_dashboard(DashboardName="taken-us-east-1", DashboardBody='{"widgets": []}')
    deployed.create(aws, "taken", "node.yaml", **deployed.place(aws, "us-east-1a"), **SOFTWARE)
    cloudformation = aws.client("cloudformation")
    (stack,) = cloudformation.describe_stacks(StackName="taken")["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    begun = {event["LogicalResourceId"] for event in cloudformation.describe_stack_events(StackName="taken")["StackEvents"]}
    assert "Dashboard" in begun
    assert begun.isdisjoint(LAST)


@dataclass
class Region:
    aws: Any
    name: str

    def client(self, service: str) -> Any:
        return self.aws.client(service, self.name)


@pytest.mark.parametrize("kind", ["node", "fleet"])
def test_stacks_of_one_name_in_two_regions_have_dashboards_of_their_own(aws, kind):
    for region in (Region(aws, "us-east-1"), Region(aws, "eu-central-1")):
        deployed.common(region)
        if kind == "node":
            deployed.node(region, "twin", f"{region.name}a")
        else:
            deployed.fleet(region, "twin", "alpha", f"{region.name}a")
        (stack,) = region.client("cloudformation").describe_stacks(StackName="twin")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        region.client("cloudwatch").get_dashboard(DashboardName=f"twin-{region.name}")
