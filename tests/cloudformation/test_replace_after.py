"""An instance without a healthy minute for too long: what replaces it, and that the node itself could not."""

import json

import pytest

import deployed
from made import aws_with_common, node  # noqa: F401, fixtures
from policies import statements
from test_iam import denied, judge, used

OURS = {"Unhealthy", "ReplaceUnhealthy", "ReplaceRole"}
GROUP = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/{}"
START, REFRESH = "ssm:StartAutomationExecution", "autoscaling:StartInstanceRefresh"


@pytest.fixture
def made(node):  # noqa: F811
    return node(ReplaceAfterHours="24")


@pytest.fixture
def document(made) -> str:
    return deployed.output(made.aws, "theta-edge-common", "ReplaceInstanceDocument")


@pytest.fixture
def rules(made):
    iam, role = made.aws.client("iam"), made.resources["ReplaceRole"]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return statements(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names)


def request(action: str, resource: str) -> dict:
    return {"action": action, "resource": resource, "context": {}}


def needed(made, document: str) -> list[dict]:
    definition = f"arn:aws:ssm:us-east-1:123456789012:automation-definition/{document}:1"
    return [request(START, definition), request(REFRESH, GROUP.format(made.stack))]


def test_nothing_of_it_is_there_unless_asked_for(node):  # noqa: F811
    assert OURS.isdisjoint(node().resources)


def test_so_many_hours_without_one_healthy_minute_end_in_an_alarm(made):
    alarm = made.alarms["Unhealthy"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("edge_healthy", "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (3600, 24)
    # An alarm that takes no data for the worst would go off before the node has been set up.
    assert alarm["TreatMissingData"] == "missing"
    assert alarm["Dimensions"] == [{"Name": "AutoScalingGroupName", "Value": made.outputs["AutoScalingGroup"]}]


def test_the_alarm_starts_the_automation_for_its_own_group(made, document):
    events = made.aws.client("events")
    rule = events.describe_rule(Name=made.resources["ReplaceUnhealthy"])
    assert json.loads(rule["EventPattern"]) == {
        "source": ["aws.cloudwatch"],
        "detail-type": ["CloudWatch Alarm State Change"],
        "resources": [made.alarms["Unhealthy"]["AlarmArn"]],
        "detail": {"state": {"value": ["ALARM"]}},
    }
    (target,) = events.list_targets_by_rule(Rule=made.resources["ReplaceUnhealthy"])["Targets"]
    assert target["Arn"] == f"arn:aws:ssm:us-east-1:123456789012:automation-definition/{document}:$DEFAULT"
    role = made.aws.client("iam").get_role(RoleName=made.resources["ReplaceRole"])["Role"]
    assert target["RoleArn"] == role["Arn"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "events.amazonaws.com"}
    # What it is given is what it takes.
    content = json.loads(made.aws.client("ssm").get_document(Name=document, DocumentFormat="JSON")["Content"])
    given = json.loads(target["Input"])
    assert given == {"AutoScalingGroupName": [made.outputs["AutoScalingGroup"]]}
    assert given.keys() == content["parameters"].keys()
    (step,) = content["mainSteps"]
    assert step["inputs"] == {
        "Service": "autoscaling",
        "Api": "StartInstanceRefresh",
        "AutoScalingGroupName": "{{ AutoScalingGroupName }}",
        "Preferences": {"MinHealthyPercentage": 0, "InstanceWarmup": 0},
    }


def test_the_role_has_what_that_needs_and_nothing_else(made, document, rules):
    assert denied(rules, needed(made, document)) == []
    assert [grant for grant, is_needed in used(rules, needed(made, document)).items() if not is_needed] == []


def test_the_role_replaces_no_other_nodes_instance(made, document, rules):
    assert judge([(rules, request(REFRESH, GROUP.format("another")))]) == ["ImplicitlyDenied"]
    other = needed(made, "another-document")[0]
    assert judge([(rules, other)]) == ["ImplicitlyDenied"]


def test_the_node_itself_can_do_none_of_it(made, document):
    assert judge([(made.permissions, one) for one in needed(made, document)]) == ["ImplicitlyDenied"] * 2
