"""What keeps the volume: change sets that are looked at, the stack's policy, its protection; and the instance, until another
one is sure."""

import json

import pytest
from botocore.exceptions import ClientError

import deployed
from aws import launches
from operate import REPO, run
from test_deploy import NAME, NODE, default_key, deploy, parameters, stack, stacks, volumes  # noqa: F401, a fixture
from test_upgrade import upgrade
from theta_edge.guards import POLICY

FLEET = "theta-edge-fleet"


@pytest.fixture(autouse=True)
def common(aws) -> None:
    aws.wait_data = NODE
    deployed.common(aws)


TEMPLATE = (REPO / "cloudformation/node.yaml").read_text()
OLDER = {
    "replace the volume {} with its wallet key, because of Encrypted": TEMPLATE.replace("Encrypted: true\n      Kms", "Encrypted: false\n      Kms"),
    "take the volume {} with its wallet key out of the stack": TEMPLATE.replace("\n  Volume:\n", "\n  Disk:\n").replace(
        "!Ref Volume,", "!Ref Disk,"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("threat", "older"), OLDER.items(), ids=["another volume", "none"])
def test_an_update_that_would_cost_the_volume_is_refused(aws, binary, threat, older):
    assert older != TEMPLATE
    given = {**deployed.place(aws, "us-east-1a"), **deployed.SOFTWARE}
    aws.client("cloudformation").create_stack(
        StackName=NAME,
        TemplateURL=deployed.node_template(aws, older),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    before, volume = stack(aws, NAME), deployed.output(aws, NAME, "VolumeId")
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"\nupgrade: {NAME} was not changed, since CloudFormation would\n  - {threat.format(volume)}\n"
        "A node keeps its volume: leave out the option that would change that\n"
    )
    assert stack(aws, NAME) == before
    assert launches.reservations == []


def test_a_stack_is_protected_and_destroy_says_that_it_turns_that_off(aws, binary):
    cloudformation = aws.client("cloudformation")
    ended = deploy(aws, binary)
    assert ended.returncode == 0, ended.stderr
    with pytest.raises(ClientError, match="cannot be deleted while TerminationProtection is enabled"):
        cloudformation.delete_stack(StackName=NAME)
    policy = json.loads(cloudformation.get_stack_policy(StackName=NAME)["StackPolicyBody"])
    (denied,) = [rule for rule in policy["Statement"] if rule["Effect"] == "Deny"]
    assert (denied["Action"], denied["Condition"]) == (
        ["Update:Replace", "Update:Delete"],
        {"StringEquals": {"ResourceType": ["AWS::EC2::Volume"]}},
    )
    ended = run(aws, "destroy", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "  its termination protection, which is turned off first\n" in ended.stdout
    assert NAME not in stacks(aws) and len(volumes(aws)) == 1


def test_an_upgrade_protects_what_was_made_without(aws, binary):
    deployed.node(aws)
    assert not stack(aws, NAME)["EnableTerminationProtection"]
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 0, ended.stderr
    assert stack(aws, NAME)["EnableTerminationProtection"]
    assert aws.client("cloudformation").get_stack_policy(StackName=NAME)["StackPolicyBody"] == POLICY


def test_each_node_of_a_fleet_has_the_policy(aws, binary):
    ended = deploy(aws, binary, "--nodes", "a,b")
    assert ended.returncode == 0, ended.stderr
    assert stack(aws, FLEET)["EnableTerminationProtection"]
    nodes = [name for name in stacks(aws) if name.startswith(f"{FLEET}-Node")]
    policies = [aws.client("cloudformation").get_stack_policy(StackName=name)["StackPolicyBody"] for name in nodes]
    assert policies == [POLICY] * 2


def test_an_instance_is_kept_until_another_one_is_sure(aws, binary, monkeypatch):
    instance, before = deployed.node(aws), parameters(aws, NAME)
    launches.refusals["us-east-1a"] = "There is no capacity."
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"\nupgrade: EC2 has no capacity for g4dn.xlarge in us-east-1a now, so {NAME} keeps its instance, and nothing was "
        "changed. Try again later, or with another --instance-type; --unreserved terminates the instance without reserving a new one\n"
    )
    assert (parameters(aws, NAME), deployed.instance(aws, NAME)) == (before, instance)

    launches.refusals.clear()
    held = []
    launch = launches.launch
    monkeypatch.setattr(launches, "launch", lambda *where: (held.append(list(launches.reservations)), launch(*where)))
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 0, ended.stderr
    # While the instance was launched, and no longer.
    assert len(held) == 1 and len(held[0]) == 1
    assert launches.reservations == []


def test_an_upgrade_also_looks_at_the_accounts_default_key(aws, binary, default_key):  # noqa: F811
    deployed.node(aws)
    ended = upgrade(aws, binary, "--yes", "--replace")
    assert ended.returncode == 1
    told = ended.stderr.splitlines()
    assert told[0] == "upgrade: nothing was changed, because"
    assert told[1].startswith(f"  - EBS in us-east-1 encrypts with {default_key} by default, and EC2 Auto Scaling may not use ")
    # The volume is there already, with its own key.
    assert told[2:] == []
