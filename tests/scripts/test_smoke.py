"""scripts/smoke against the simulated AWS: the whole drill, what it says before, and that nothing is left of it."""

import base64
import json

import pytest

import deployed
from aws.resources.waiting import WaitCondition
from operate import run
from test_deploy import NODE, stacks
from test_verify import HEALTHY
from theta_edge import smoke

STEPS = [
    "a node from nothing",
    "its health, over SSM",
    "a terminated instance is replaced, on the same volume",
    "an upgrade in place",
    "an upgrade in place that fails is undone",
    "an upgrade with a new instance",
    "an upgrade with a new instance that fails is rolled back",
    "the same name in a second region (eu-west-1)",
]
REMOVED = ["everything of it is removed from us-east-1", "everything of it is removed from eu-west-1"]


def answer(instance: str, script: str) -> tuple[int, str, str]:
    words = script.splitlines()[0].split()
    if "prepare" in words:
        return 0, '{"ready": true}', ""
    if "apply" in words:
        good = smoke.NO_DIGEST not in base64.b64decode(words[words.index("apply") + 2]).decode()
        return 0, json.dumps({"upgraded": good, "reason": "image: there is none"}), ""
    return 0, HEALTHY, ""


@pytest.fixture(autouse=True)
def nodes(aws, monkeypatch):
    """They are healthy, but for one whose image does not exist."""
    aws.wait_data = NODE
    aws.run_command = answer
    create = WaitCondition.create

    def wait(condition, name, properties):
        # The third one of the stack is that of the upgrade that fails.
        conditions.append(name)
        if len(conditions) == fails_at:
            raise ValueError("the image does not exist")
        create(condition, name, properties)

    conditions: list[str] = []
    fails_at = 3
    monkeypatch.setattr(WaitCondition, "create", wait)


def left(aws) -> dict:
    found = {}
    for region in ("us-east-1", "eu-west-1"):
        stacks_there = aws.client("cloudformation", region).describe_stacks()["Stacks"]
        volumes = aws.client("ec2", region).describe_volumes(Filters=[{"Name": "tag-key", "Values": ["theta-edge:node"]}])
        buckets = aws.client("s3", region).list_buckets()["Buckets"]
        found[region] = [one["StackName"] for one in stacks_there], volumes["Volumes"], buckets
    return found


NOTHING = {"us-east-1": ([], [], []), "eu-west-1": ([], [], [])}


def results(printed: str) -> list[tuple[str, str]]:
    _, table = printed.split("| tried on real AWS | result | minutes |\n| --- | --- | --- |\n")
    return [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table.splitlines()]


def smoke_test(aws, binary, *options: str):
    return run(aws, "smoke", "--binary", str(binary), *options)


def test_the_whole_drill_and_nothing_is_left(aws, binary):
    ended = smoke_test(aws, binary, "--yes")
    assert results(ended.stdout) == [(step, "as expected") for step in [*STEPS, *REMOVED]]
    assert ended.returncode == 0, ended.stderr
    assert left(aws) == NOTHING


def test_it_says_cost_and_time_first_and_asks(aws, binary):
    ended = smoke_test(aws, binary)
    assert ended.returncode == 2
    for line in (
        "  regions   us-east-1, then eu-west-1\n",
        "  time      one to two hours, most of them waiting for nodes\n",
        "  cost      about 1 to 2 USD, for two nodes, two hours at most\n",
    ):
        assert line in ended.stdout
    assert "there is no terminal for the confirmation: This costs money. Say --yes" in ended.stderr
    assert smoke_test(aws, binary, "--dry-run").returncode == 0
    assert left(aws) == NOTHING


@pytest.mark.parametrize("cut", [KeyboardInterrupt("cut off"), None], ids=["cut off", "failed"])
def test_whatever_ends_it_nothing_is_left(aws, binary, monkeypatch, cut):
    def replace(drill, first):
        if cut:
            raise cut
        raise smoke.Failed("the group has launched no other instance")

    monkeypatch.setattr(smoke.Drill, "_replace", replace)
    ended = smoke_test(aws, binary, "--yes")
    assert ended.returncode == (130 if cut else 1)
    result = "cut off" if cut else "failed: the group has launched no other instance"
    assert results(ended.stdout) == [
        *[(step, "as expected") for step in STEPS[:2]],
        (STEPS[2], result),
        (REMOVED[0], "as expected"),
    ]
    assert left(aws) == NOTHING


def test_what_is_there_already_is_never_touched(aws, binary):
    deployed.common(aws, "theta-edge-smoke-common")
    ended = smoke_test(aws, binary, "--yes")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        "smoke: there is a stack theta-edge-smoke-common in us-east-1, which would be deleted at the end: say another --name\n",
    )
    assert list(stacks(aws)) == ["theta-edge-smoke-common"]


def test_a_volume_that_was_kept_is_never_deleted(aws, binary):
    made = aws.client("ec2", "eu-west-1").create_volume(
        AvailabilityZone="eu-west-1a",
        Size=8,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "theta-edge:node", "Value": "old-node"}]}],
    )
    ended = smoke_test(aws, binary, "--yes", "--name", "old-node")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        f"smoke: there is a volume of old-node in eu-west-1 ({made['VolumeId']}), which would be deleted at the end: say another --name\n",
    )
    assert list(stacks(aws)) == []
    assert aws.client("ec2", "eu-west-1").describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
