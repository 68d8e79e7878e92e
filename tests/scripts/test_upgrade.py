"""scripts/upgrade: what it changes, what it keeps, what it refuses, and what it says when CloudFormation goes back."""

import hashlib
import json
import re
import subprocess

import pytest
from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse

import deployed
from aws.resources import lifecycle
from aws.resources.waiting import WaitCondition
from operate import REPO, run, would_run
from test_deploy import ADDRESS, NAME, NODE, REASON, parameters, stack

EXECUTION = "4105a4fc-f944-11e6-9d32-0a1b2c3d495h"
OTHER = json.dumps({"i-2": json.dumps({"address": "0x" + "f" * 40, "instance": "i-2", "verdict": "healthy"})})


@pytest.fixture
def node(aws) -> str:
    aws.wait_data = NODE
    deployed.common(aws)
    return deployed.node(aws)


def upgrade(aws, binary, *options: str) -> subprocess.CompletedProcess[str]:
    return run(aws, "upgrade", "--binary", str(binary), *options)


def short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_only_what_was_asked_for_changes_and_the_wait_condition_flips(aws, node, binary):
    before, volume = parameters(aws, NAME), deployed.output(aws, NAME, "VolumeId")
    ended = upgrade(aws, binary, "--yes", "--replace", "--image-tag", "v1.3.1", "--parameter", "PerPeerMetrics=true")
    assert ended.returncode == 0, ended.stderr
    sha = hashlib.sha256(binary.read_bytes()).hexdigest()
    after = parameters(aws, NAME)
    changed = {key: value for key, value in after.items() if value != before[key]}
    assert changed == {
        "ImageTag": "v1.3.1",
        "PerPeerMetrics": "true",
        "BinaryKey": f"bin/{sha}/bootstrap",
        "BinarySha256": sha,
        "AssetsKey": changed["AssetsKey"],
        "AssetsSha256": changed["AssetsSha256"],
        "WaitOn": "second",
    }
    assert stack(aws, NAME)["StackStatus"] == "UPDATE_COMPLETE"
    assert deployed.output(aws, NAME, "VolumeId") == volume
    said, told = ended.stdout.split("\nThe node theta-edge-node is upgraded.\n")
    shown, followed = said.split("==> Updating theta-edge-node")
    shown, rest = shown.split("  cost   ")
    assert re.sub(r"[\d,]+ USD", "N USD", rest) == """\
            about N USD a month in us-east-1, without tax and traffic
  time               10 to 30 minutes, during which the node is down
  permanent          a volume that has grown does not shrink; everything else is rolled back on failure

"""
    assert shown == f"""
==> Changes to theta-edge-node
  template           stays
  ImageTag           latest -> v1.3.1
  PerPeerMetrics     false -> true
  BinaryKey          bin/{"0" * 64}/bootstrap -> bin/{sha}/bootstrap
  BinarySha256       {"0" * 64} -> {sha}
  AssetsKey          assets/{"0" * 64}/assets.tar.gz -> {changed["AssetsKey"]}
  AssetsSha256       {"0" * 64} -> {changed["AssetsSha256"]}
  WaitOn             first -> second
  instance           a new one, on the same volume, reserved before the old one is terminated: so --replace says
"""
    # The events of this update only.
    assert "Ready2" in followed and "SecurityGroup" not in followed
    instance = deployed.instance(aws, NAME)
    assert instance != node
    assert told == f"""\
  address    {ADDRESS} (as before)
  instance   {instance}
  volume     {volume}

Check it:        scripts/verify --name theta-edge-node
Read its logs:   scripts/logs --name theta-edge-node
"""

    ended = upgrade(aws, binary, "--dry-run", "--replace")
    assert "  WaitOn             second -> first\n" in ended.stdout


def test_the_template_goes_along_and_so_does_the_common_one(aws, node, binary):
    cloudformation = aws.client("cloudformation")
    texts = {}
    for name, file in (("theta-edge-common", "common.yaml"), (NAME, "node.yaml")):
        current = (REPO / "cloudformation" / file).read_text()
        # A parameter that the newer template has no more, and one that the older one has not yet.
        older = current.replace("\nParameters:\n", "\nParameters:\n  Gone:\n    Type: String\n    Default: x\n")
        older = older.replace("  MetricsSchedule:\n    Type: String\n", "  Schedule:\n    Type: String\n")
        older = older.replace("${MetricsSchedule}", "${Schedule}")
        texts[name] = (older, current)
        kept = [
            {"ParameterKey": key, "UsePreviousValue": True}
            for key in parameters(aws, name)
            if key != "MetricsSchedule"
        ]  # fmt: skip
        cloudformation.update_stack(
            StackName=name, TemplateURL=deployed.node_template(aws, older), Parameters=kept, Capabilities=["CAPABILITY_IAM"]
        )  # fmt: skip
        assert stack(aws, name)["StackStatus"] == "UPDATE_COMPLETE"
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 0, ended.stderr
    old, new = texts[NAME]
    assert f"  template           {short(old)} -> {short(new)}\n" in ended.stdout
    for name, (_, new) in texts.items():
        assert cloudformation.get_template(StackName=name)["TemplateBody"] == new
    assert parameters(aws, NAME)["MetricsSchedule"] == "cron"
    assert "Gone" not in parameters(aws, NAME)


def test_a_dry_run_prints_the_call_and_makes_none(aws, node, binary):
    before = parameters(aws, NAME)
    ended = upgrade(aws, binary, "--dry-run", "--replace", "--image-digest", "sha256:" + "a" * 64)
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = would_run(ended.stdout)
    uploads, (reserve, call, execute) = calls[:4], calls[4:7]
    assert [upload[3:5] for upload in uploads] == [["s3api", "put-object"]] * 4
    assert reserve[3:7] == ["ec2", "create-capacity-reservation", "--instance-type", "g4dn.xlarge"]
    node_key = uploads[2][8]
    assert call[:7] == ["aws", "--region", "us-east-1", "cloudformation", "create-change-set", "--stack-name", NAME]
    bucket = deployed.output(aws, "theta-edge-common", "Bucket")
    assert call[7] == "--change-set-name" and call[9:11] == ["--change-set-type", "UPDATE"]
    assert call[11:14] == ["--template-url", f"https://{bucket}.s3.us-east-1.amazonaws.com/{node_key}", "--parameters"]
    assert call[15:] == ["--capabilities", "CAPABILITY_IAM"]
    assert execute[3:] == [
        "cloudformation", "execute-change-set", *call[5:9], "--no-disable-rollback",
    ]  # fmt: skip
    assert calls[7:] == []
    given = {item.pop("ParameterKey"): item for item in json.loads(call[14])}
    assert given.keys() == before.keys()
    new = {key for key, value in given.items() if value != {"UsePreviousValue": True}}
    assert new == {"ImageDigest", "BinaryKey", "BinarySha256", "AssetsKey", "AssetsSha256", "Updates", "WaitOn"}
    assert given["WaitOn"] == {"ParameterValue": "second"}
    assert parameters(aws, NAME) == before


def test_daily_snapshots_can_begin_and_end_later(aws, node, binary):
    for days, there in (("7", True), ("14", True), ("0", False)):
        ended = upgrade(aws, binary, "--yes", "--replace", "--snapshot-days", days)
        assert ended.returncode == 0, ended.stderr
        made = aws.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
        assert ("Snapshots" in [one["LogicalResourceId"] for one in made]) == there
        kept = [one["PolicyDetails"]["Schedules"][0]["RetainRule"]["Interval"] for one in lifecycle.policies.values()]
        assert kept == ([int(days)] if there else [])


def test_a_tag_takes_the_place_of_a_digest(aws, node, binary):
    given = {key: {"ParameterKey": key, "UsePreviousValue": True} for key in parameters(aws, NAME)}
    given["ImageDigest"] = {"ParameterKey": "ImageDigest", "ParameterValue": "sha256:" + "a" * 64}
    aws.client("cloudformation").update_stack(
        StackName=NAME, UsePreviousTemplate=True, Parameters=list(given.values()), Capabilities=["CAPABILITY_IAM"]
    )
    ended = upgrade(aws, binary, "--dry-run", "--image-tag", "v1.3.1")
    assert f"  ImageDigest        sha256:{'a' * 64} -> nothing\n" in ended.stdout


def test_what_would_cost_the_key_is_refused(aws, node, binary):
    now = parameters(aws, NAME)
    ended = upgrade(
        aws, binary, "--yes", "--volume-id", "vol-0123456789abcdef0", "--filesystem", "xfs", "--volume-size", "100",
        "--volume-type", "instance-store", "--subnet", "subnet-1", "--snapshot-id", "snap-0123456789abcdef0",
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    lost = "the node would lose its volume and its wallet key"
    assert ended.stderr.splitlines() == [
        "upgrade: nothing was changed, because",
        f"  - SubnetId cannot change from {now['SubnetId']} to subnet-1: {lost}",
        f"  - Filesystem cannot change from ext4 to xfs: {lost}",
        f"  - VolumeId cannot change from nothing to vol-0123456789abcdef0: {lost}",
        f"  - SnapshotId cannot change from nothing to snap-0123456789abcdef0: {lost}",
        "  - VolumeType cannot change from gp3 to instance-store: the node would lose its wallet key",
        "  - VolumeSize is 256, and a volume cannot shrink to 100",
    ]
    assert parameters(aws, NAME) == now


def test_another_instance_type_must_be_had_where_the_volume_is(aws, binary):
    deployed.common(aws)
    deployed.node(aws, zone="us-east-1e")
    ended = upgrade(aws, binary, "--yes", "--instance-type", "p4d.24xlarge")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == [
        "upgrade: nothing was changed, because",
        "  - the driver does not support the GPU of p4d.24xlarge: take a g4dn, g5, g6, g6e or gr6",
        "  - p4d.24xlarge is not offered in us-east-1e, where the volume is, "
        "but in us-east-1a, us-east-1b, us-east-1c, us-east-1d",
    ]


def test_a_failed_upgrade_tells_its_reason_and_that_the_old_version_is_back(aws, node, binary, monkeypatch):
    before, volume = parameters(aws, NAME), deployed.output(aws, NAME, "VolumeId")
    create = WaitCondition.create

    def fail(condition, name, properties):
        if condition.logical_resource_id == "Ready2":
            raise ValueError(REASON)
        create(condition, name, properties)

    monkeypatch.setattr(WaitCondition, "create", fail)
    ended = upgrade(aws, binary, "--yes", "--replace", "--image-tag", "broken")
    assert ended.returncode == 1
    assert f"CREATE_FAILED            AWS::CloudFormation::WaitCondition: {REASON}\n" in ended.stdout
    _, told = ended.stderr.split("\nupgrade: ")
    assert told == (
        f"theta-edge-node was not upgraded:\n  Ready2: {REASON}\n"
        "The old version runs again, with the same volume and the same wallet key; "
        "see scripts/verify --name theta-edge-node\n"
    )
    assert parameters(aws, NAME) == before
    assert stack(aws, NAME)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed.output(aws, NAME, "VolumeId") == volume
    # And from there it can be tried again.
    again = upgrade(aws, binary, "--dry-run", "--replace")
    assert again.returncode == 0 and "  WaitOn             first -> second\n" in again.stdout


def test_another_address_after_an_upgrade_is_no_success(aws, node, binary):
    aws.wait_data = OTHER
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"\nupgrade: theta-edge-node has another wallet key now: its address was {ADDRESS} and is 0x{'f' * 40}. Compare "
        "that with your backup, and see scripts/verify --name theta-edge-node\n"
    )


def test_a_key_that_was_restored_since_the_node_was_made_is_its_own(aws, node, binary):
    restored = "0x" + "f" * 40
    tag = [{"Key": "theta-edge:wallet", "Value": restored}]
    aws.client("ec2").create_tags(Resources=[deployed.output(aws, NAME, "VolumeId")], Tags=tag)
    # The stack still knows the first one.
    aws.wait_data = OTHER
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 0, ended.stderr
    assert f"\n  address    {restored} (as before)\n" in ended.stdout
    aws.wait_data = NODE
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 1
    assert f" has another wallet key now: its address was {restored} and is {ADDRESS}. " in ended.stderr


def test_without_a_terminal_it_does_not_begin_unless_told(aws, node, binary):
    before = parameters(aws, NAME)
    for options, how in (
        ([], "is down while its container restarts"),
        (["--replace"], "gets a new instance and is down for a few minutes"),
    ):
        ended = upgrade(aws, binary, *options)
        assert (ended.returncode, ended.stderr) == (
            2,
            f"upgrade: there is no terminal for the confirmation: theta-edge-node {how}. Say --yes; see --help\n",
        )
    assert parameters(aws, NAME) == before


def test_without_a_stack_it_says_who_makes_one(aws, binary):
    ended = upgrade(aws, binary, "--name", "none")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        "upgrade: there is no stack none in us-east-1: scripts/deploy creates one, --name names another\n",
    )


def test_a_fleets_instances_are_replaced_one_after_another(aws, binary, monkeypatch):
    """The stacks are updated first; then an automation, which moto lacks, goes from instance to instance."""
    started, states = [], ["InProgress", "Success"]

    def start(response):
        started.append(json.loads(response.body))
        return ActionResult({"AutomationExecutionId": EXECUTION})

    def get(response):
        return ActionResult({"AutomationExecution": {"AutomationExecutionStatus": states.pop(0)}})

    monkeypatch.setattr(SimpleSystemManagerResponse, "start_automation_execution", start, raising=False)
    monkeypatch.setattr(SimpleSystemManagerResponse, "get_automation_execution", get, raising=False)
    deployed.common(aws)
    deployed.fleet(aws, "theta-edge-fleet", "a,b")
    ended = upgrade(aws, binary, "--yes", "--replace", "--name", "theta-edge-fleet", "--image-tag", "v2", "--nodes", "a,b,c")
    assert ended.returncode == 0, ended.stderr
    assert "  Nodes              a,b -> a,b,c\n" in ended.stdout
    assert started == [
        {
            "DocumentName": deployed.output(aws, "theta-edge-fleet", "ReplaceDocument"),
            "TargetParameterName": "InstanceId",
            "Targets": [{"Key": "tag:theta-edge:fleet", "Values": ["theta-edge-fleet"]}],
            "MaxConcurrency": "1",
            "MaxErrors": "0",
        }
    ]
    assert states == []
    assert ended.stdout.endswith("\nThe fleet theta-edge-fleet is upgraded; see scripts/verify --all\n")

    monkeypatch.setattr(
        SimpleSystemManagerResponse,
        "get_automation_execution",
        lambda _: ActionResult({"AutomationExecution": {"AutomationExecutionStatus": "Failed"}}),
    )
    ended = upgrade(aws, binary, "--yes", "--replace", "--name", "theta-edge-fleet")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "\nupgrade: not every instance was replaced (Failed): see\n"
        "aws ssm get-automation-execution --region us-east-1 --automation-execution-id " + EXECUTION + "\n"
    )


def test_a_node_of_a_fleet_is_upgraded_with_the_fleet(aws, binary):
    deployed.common(aws)
    deployed.node(aws, Fleet="theta-edge-fleet")
    ended = upgrade(aws, binary, "--yes")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        "upgrade: theta-edge-node is a node of the fleet theta-edge-fleet: upgrade that, with --name theta-edge-fleet\n",
    )


def test_spot_is_not_reserved(aws, node, binary):
    ended = upgrade(aws, binary, "--dry-run", "--spot")
    assert ended.returncode == 0, ended.stderr
    assert "  Spot               false -> true\n" in ended.stdout
    assert "  instance           a new one, on the same volume: Spot belongs to the machine\n" in ended.stdout
    assert not [call for call in would_run(ended.stdout) if "create-capacity-reservation" in call]
