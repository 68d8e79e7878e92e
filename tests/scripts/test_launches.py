"""Launches that fail: told while they happen, the end of the wait, another zone, and what of a fleet stays."""

import urllib.request

import pytest
from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse

import deployed
from aws import launches
from aws.resources.waiting import WaitCondition
from operate import run
from test_upgrade import EXECUTION, upgrade
from test_deploy import NAME, NODE, REASON, deploy, parameters, stack, stacks, volumes

FLEET = "theta-edge-fleet"
# EC2's own words.
NONE_THERE = (
    "We currently do not have sufficient g4dn.xlarge capacity in the Availability Zone you requested (us-east-1a). Our system "
    "will be working on provisioning additional capacity. You can currently get g4dn.xlarge capacity by not specifying an "
    "Availability Zone in your request or choosing us-east-1c, us-east-1d. Launching EC2 instance failed."
)
REFUSED = "You are not authorized to perform this operation. Launching EC2 instance failed."


@pytest.fixture(autouse=True)
def handles(monkeypatch):
    """Whoever writes to a wait handle's address reaches the simulated CloudFormation."""

    class Answer:
        def close(self) -> None:
            pass

    def hear(request, timeout):
        # Any content type would break the address's signature.
        assert (request.get_method(), request.get_header("Content-type")) == ("PUT", "")
        launches.hear(request.full_url, request.data)
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", hear)


@pytest.fixture
def common(aws) -> None:
    aws.wait_data = NODE
    deployed.common(aws)


@pytest.fixture
def automation(monkeypatch) -> None:
    """Replaces the instances of fleets; moto lacks it."""
    execution = {"AutomationExecutionStatus": "Success"}
    for name, answer in (("start", {"AutomationExecutionId": EXECUTION}), ("get", {"AutomationExecution": execution})):
        call = f"{name}_automation_execution"
        monkeypatch.setattr(SimpleSystemManagerResponse, call, lambda _, is_=answer: ActionResult(is_), raising=False)


def told(words: str) -> str:
    return f"LAUNCH_FAILED            AWS::AutoScaling::AutoScalingGroup: {words}\n"


def test_without_capacity_the_next_zone_is_tried_the_one_that_ec2_names_first(aws, common, binary):
    launches.refusals["us-east-1a"] = NONE_THERE
    ended = deploy(aws, binary)
    assert ended.returncode == 0, ended.stderr
    assert told(NONE_THERE) in ended.stdout
    assert "deploy: us-east-1a has no capacity for g4dn.xlarge now\n" in ended.stderr
    assert parameters(aws, NAME)["AvailabilityZone"] == "us-east-1c"
    assert stack(aws, NAME)["StackStatus"] == "CREATE_COMPLETE"
    # That of the first try is gone with it.
    assert volumes(aws) == [deployed.output(aws, NAME, "VolumeId")]


def test_where_no_zone_has_capacity_the_last_words_are_told(aws, common, binary):
    for letter in "abcdf":
        launches.refusals[f"us-east-1{letter}"] = "InsufficientInstanceCapacity"
    ended = deploy(aws, binary)
    assert ended.returncode == 1
    assert ended.stdout.count(told("InsufficientInstanceCapacity")) >= 5
    assert (
        "deploy: theta-edge-node was not created (ROLLBACK_COMPLETE):\n  Node: WaitCondition received failed message: "
        "'no instance: InsufficientInstanceCapacity' for uniqueId: group\n"
    ) in ended.stderr
    assert volumes(aws) == []


def test_a_place_that_was_chosen_is_the_only_one(aws, common, binary):
    launches.refusals["us-east-1a"] = NONE_THERE
    ended = deploy(aws, binary, "--subnet", deployed.place(aws, "us-east-1a")["SubnetId"])
    assert ended.returncode == 1
    assert stacks(aws)[NAME] == "ROLLBACK_COMPLETE"


def test_a_launch_that_fails_otherwise_ends_the_wait_when_it_fails_again(aws, common, binary):
    launches.refusals["us-east-1a"] = REFUSED
    ended = deploy(aws, binary)
    assert ended.returncode == 1
    assert ended.stdout.count(told(REFUSED)) == 2
    assert f"'no instance: {REFUSED}' for uniqueId: group\n" in ended.stderr
    # Nor would another zone help.
    assert "has no capacity" not in ended.stderr


def test_one_failed_node_of_a_fleet_takes_no_other_with_it(aws, common, automation, binary, monkeypatch):
    create = WaitCondition.create

    def fail(condition, name, properties):
        if "Nodeb" in condition.stack_tags["aws:cloudformation:stack-name"]:
            raise ValueError(REASON)
        create(condition, name, properties)

    with monkeypatch.context() as patch:
        patch.setattr(WaitCondition, "create", fail)
        ended = deploy(aws, binary, "--nodes", "a,b,c")
    assert ended.returncode == 1
    said, node, ready, *rest = ended.stderr.split("\ndeploy: ")[1].splitlines()
    assert said == f"{FLEET} was only partly created (CREATE_FAILED):"
    assert node.startswith("  Nodeb: Embedded stack arn:aws:cloudformation:")
    assert ready == f"  Ready1: {REASON}"
    assert rest == [
        "a, c stay as they are. Leave out what failed; once it is fixed, add it again:",
        f"  scripts/upgrade --name {FLEET} --nodes a,c",
        f"  scripts/upgrade --name {FLEET} --nodes a,b,c",
    ]
    states = stacks(aws)
    up = sorted(name for name in states if "-Node" in name and states[name] == "CREATE_COMPLETE")
    assert [name[: len(FLEET) + 6] for name in up] == [f"{FLEET}-Nodea", f"{FLEET}-Nodec"]
    kept = {deployed.output(aws, name, "VolumeId") for name in up}
    assert kept < set(volumes(aws))

    # What it says to do works, and nothing else: the failed node's wait condition has had its word.
    ended = upgrade(aws, binary, "--yes", "--replace", "--name", FLEET)
    assert ended.stderr.startswith(f"upgrade: nothing was changed, because\n  - not every node of {FLEET} came up: a, c stay ")
    for line in rest[1:]:
        ended = upgrade(aws, binary, "--yes", "--replace", *line.split()[1:])
        assert ended.returncode == 0, ended.stderr
    states = stacks(aws)
    assert len([name for name in states if name.startswith(f"{FLEET}-Node") and states[name].endswith("_COMPLETE")]) == 3
    assert kept < {deployed.output(aws, name, "VolumeId") for name in states if name.startswith(f"{FLEET}-Node")}


def test_a_launch_that_fails_in_a_fleet_ends_that_node_only(aws, common, binary):
    launches.refusals["us-east-1a"] = NONE_THERE
    ended = deploy(aws, binary, "--nodes", "a,b")
    assert ended.returncode == 1
    assert ended.stdout.count(told(NONE_THERE)) >= 2
    assert f"Before the next try:  scripts/destroy --name {FLEET}\n" in ended.stderr
    ended = run(aws, "destroy", "--name", FLEET, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert list(stacks(aws)) == ["theta-edge-common"]


def test_an_upgrade_that_gets_no_instance_goes_back_at_once(aws, common, binary):
    deployed.node(aws)
    before, volume = parameters(aws, NAME), deployed.output(aws, NAME, "VolumeId")
    # Of an earlier launch nobody wants to hear.
    launches.activities[NAME] = [
        {"ActivityId": "old", "StatusCode": "Failed", "StatusMessage": "long ago", "StartTime": "2020-01-01T00:00:00Z"}
    ]
    launches.refusals["us-east-1a"] = NONE_THERE
    ended = upgrade(aws, binary, "--yes", "--unreserved", "--instance-type", "g4dn.2xlarge")
    assert ended.returncode == 1
    assert told(NONE_THERE) in ended.stdout and "long ago" not in ended.stdout
    assert ended.stderr.split("\nupgrade: ")[1].startswith(
        f"{NAME} was not upgraded:\n  Node: WaitCondition received failed message: 'no instance: {NONE_THERE}' for uniqueId: "
    )
    assert parameters(aws, NAME) == before and deployed.output(aws, NAME, "VolumeId") == volume
