"""Daily snapshots of the volume: what Data Lifecycle Manager is told, and what its role may do, judged as IAM judges it."""

import pytest

from aws.resources import lifecycle
from made import aws_with_common, node  # noqa: F401, fixtures
from policies import statements
from test_iam import denied, judge, used

HERE, SNAPSHOT = "arn:aws:ec2:us-east-1:123456789012", "arn:aws:ec2:us-east-1::snapshot/snap-1"


@pytest.fixture
def made(node):  # noqa: F811
    return node(SnapshotDays="7")


@pytest.fixture
def rules(made):
    iam, role = made.aws.client("iam"), made.resources["SnapshotRole"]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return statements(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names)


def test_there_are_none_unless_asked_for(node):  # noqa: F811
    assert {"Snapshots", "SnapshotRole"}.isdisjoint(node().resources)


def test_every_day_there_is_one_that_is_kept_as_long_as_asked_and_carries_the_volumes_tags(made):
    policy = lifecycle.policies[made.resources["Snapshots"]]
    details = policy["PolicyDetails"]
    assert policy["State"] == "ENABLED"
    (target,), (schedule,) = details["TargetTags"], details["Schedules"]
    assert target in made.volume["Tags"] and target["Value"] == made.stack
    assert schedule["CreateRule"] == {"Interval": 24, "IntervalUnit": "HOURS", "Times": ["03:00"]}
    assert schedule["RetainRule"] == {"Interval": 7, "IntervalUnit": "DAYS"}
    # Whose wallet it is, is known from the snapshot alone.
    assert schedule["CopyTags"]
    role = made.aws.client("iam").get_role(RoleName=made.resources["SnapshotRole"])["Role"]
    assert policy["ExecutionRoleArn"] == role["Arn"]
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "dlm.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }
    ]


def requests(node: str) -> list[dict]:
    """What Data Lifecycle Manager calls for a volume (EBS User Guide, IAM service roles for Amazon Data Lifecycle Manager)."""
    tagged = {"aws:ResourceTag/theta-edge:node": node}
    asked = [
        ("ec2:DescribeVolumes", "*", {}),
        ("ec2:DescribeSnapshots", "*", {}),
        ("ec2:CreateSnapshot", f"{HERE}:volume/vol-1", tagged),
        ("ec2:CreateSnapshot", SNAPSHOT, {}),
        ("ec2:CreateTags", SNAPSHOT, {}),
        ("ec2:DeleteSnapshot", SNAPSHOT, tagged),
    ]
    return [{"action": action, "resource": resource, "context": context} for action, resource, context in asked]


def test_the_role_has_what_that_needs_and_nothing_else(made, rules):
    assert denied(rules, requests(made.stack)) == []
    assert [grant for grant, needed in used(rules, requests(made.stack)).items() if not needed] == []


def test_the_role_reaches_no_other_nodes_volume_or_snapshots(rules):
    of_another = [one for one in requests("another") if one["context"]]
    assert [one["action"] for one in of_another] == ["ec2:CreateSnapshot", "ec2:DeleteSnapshot"]
    assert judge([(rules, one) for one in of_another]) == ["ImplicitlyDenied"] * 2


def test_the_node_itself_can_neither_make_nor_delete_any(made):
    answers = judge([(made.permissions, one) for one in requests(made.stack)])
    assert answers == ["Allowed"] + ["ImplicitlyDenied"] * 5
