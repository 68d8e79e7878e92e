"""fleet.yaml: one nested stack of node.yaml for each name, and what watches over all of them. Loops are written out by
two programs that know nothing of each other: cfn-lint, and the simulated CloudFormation that makes the stacks."""

import json
import re

import pytest

import deployed
import product
from aws import extensions, templates
from dashboards import COLUMNS, widgets
from deployed import REPO
from expansion import expand
from made import SOFTWARE, Node, aws_with_common, place  # noqa: F401, a fixture
from policies import allowed, statements
from test_iam import denied, used

FILE = REPO / "cloudformation/fleet.yaml"
TEMPLATE = templates.parse(FILE.read_text())
TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"


def nodes(names: str) -> dict[str, dict]:
    """The nested stacks of a fleet, by logical id."""
    resources = expand(FILE, Nodes=names)["Resources"]
    return {name: one for name, one in resources.items() if one["Type"] == "AWS::CloudFormation::Stack"}


# The list of names.


def test_each_name_is_a_stack_of_node_yaml():
    found = nodes("alpha,beta,gamma")
    assert list(found) == ["Nodealpha", "Nodebeta", "Nodegamma"]
    for stack in found.values():
        assert stack["Properties"]["TemplateURL"] == {"Ref": "NodeTemplateUrl"}


@pytest.mark.parametrize(
    "changed",
    ["alpha,beta,gamma,delta", "delta,alpha,beta,gamma", "gamma,alpha,beta", "alpha,gamma", "beta", "a,alpha,b,c"],
)
def test_no_change_of_the_list_touches_another_node(changed):
    before, after = nodes("alpha,beta,gamma"), nodes(changed)
    assert {f"Node{name}" for name in changed.split(",")} == set(after)
    for name in set(before) & set(after):
        assert after[name] == before[name]


def test_names_that_differ_have_ids_that_differ():
    # Within what the parameter allows, no two names become the same logical id.
    assert TEMPLATE["Parameters"]["Nodes"]["AllowedPattern"] == "[a-zA-Z0-9]{1,32}"
    assert len(nodes("a,A,1,a1,1a,Nodea")) == 6


@pytest.mark.parametrize("names", ["alpha", "alpha,beta", "b,a,c1"])
def test_both_write_the_loops_out_alike(names):
    by_linter, by_simulation = expand(FILE, Nodes=names), extensions.expand(TEMPLATE, {"Nodes": names})
    # The one notes the list as the default, and keeps the short form of GetAtt as it was.
    assert by_linter["Resources"] == by_simulation["Resources"]
    assert by_linter["Outputs"] == by_simulation["Outputs"]


def test_every_parameter_of_a_node_is_handed_on():
    declared = templates.parse((REPO / "cloudformation/node.yaml").read_text())["Parameters"]
    given = nodes("alpha")["Nodealpha"]["Properties"]["Parameters"]
    # Each node has its own volume and its own key, so none can be named for all; nothing waits twice on a handle.
    assert set(declared) - set(given) == {"VolumeId", "SnapshotId", "WalletAddress", "WaitOn"}
    assert set(given) <= set(declared)
    own = {"Fleet": {"Ref": "AWS::StackName"}, "Updates": "manual"}
    assert given == {name: {"Ref": name} for name in given} | own


# The fleet as it is made.


@pytest.fixture(scope="module")
def aws(aws_with_common):  # noqa: F811, hides the one that is emptied for each test
    bucket = deployed.output(aws_with_common, "theta-edge-common", "Bucket")
    node = (REPO / "cloudformation/node.yaml").read_text()
    aws_with_common.client("s3").put_object(Bucket=bucket, Key="templates/node.yaml", Body=node)
    return aws_with_common


def given(aws, names: str, **parameters: str) -> list[dict[str, str]]:
    bucket = deployed.output(aws, "theta-edge-common", "Bucket")
    verify = deployed.output(aws, "theta-edge-common", "VerifyDocument")
    url = f"https://{bucket}.s3.us-east-1.amazonaws.com/templates/node.yaml"
    all_of_them = place(aws) | SOFTWARE | {"NodeTemplateUrl": url, "VerifyDocument": verify, "Nodes": names} | parameters
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in all_of_them.items()]


def create(aws, stack: str, names: str, **parameters: str) -> dict[str, str]:
    """Makes a fleet, and says its outputs."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=FILE.read_text(),
        Parameters=given(aws, names, **parameters),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    (made,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    assert made["StackStatus"] == "CREATE_COMPLETE", [event.get("ResourceStatusReason") for event in events]
    return {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}


def members(aws, stack: str) -> dict[str, Node]:
    listed = aws.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    nested = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in listed
        if one["ResourceType"] == "AWS::CloudFormation::Stack"
    }
    described = aws.client("cloudformation").describe_stacks()["Stacks"]
    names = {one["StackId"]: one["StackName"] for one in described}
    return {logical: Node(aws, names[physical]) for logical, physical in nested.items()}


@pytest.fixture(scope="module")
def fleet(aws) -> dict[str, str]:
    return create(aws, "fleet", "alpha,beta", AlarmTopicArn=TOPIC)


def test_each_node_has_a_volume_and_a_group_of_its_own(aws, fleet):
    alpha, beta = members(aws, "fleet").values()
    assert alpha.volume["VolumeId"] != beta.volume["VolumeId"]
    assert set(alpha.resources.values()).isdisjoint(beta.resources.values())
    for node in (alpha, beta):
        assert (node.group["MinSize"], node.group["MaxSize"]) == (1, 1)
        tags = {tag["Key"]: tag["Value"] for tag in node.instance["Tags"]}
        assert (tags["theta-edge:fleet"], tags["theta-edge:node"]) == ("fleet", node.stack)
        assert node.stack.startswith("fleet-Node")


def test_adding_and_removing_nodes_leaves_the_others_alone(aws):
    create(aws, "changing", "alpha,beta")
    before = {name: (node.instance["InstanceId"], node.volume["VolumeId"]) for name, node in members(aws, "changing").items()}
    lost = members(aws, "changing")["Nodealpha"].volume["VolumeId"]
    aws.client("cloudformation").update_stack(
        StackName="changing",
        UsePreviousTemplate=True,
        Parameters=given(aws, "gamma,beta"),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    after = {name: (node.instance["InstanceId"], node.volume["VolumeId"]) for name, node in members(aws, "changing").items()}
    assert set(after) == {"Nodebeta", "Nodegamma"}
    assert after["Nodebeta"] == before["Nodebeta"]
    # The key of the removed one is kept.
    assert aws.client("ec2").describe_volumes(VolumeIds=[lost])["Volumes"]


def test_an_update_replaces_no_instance_by_itself(aws):
    create(aws, "patient", "alpha")
    (before,) = [node.instance["InstanceId"] for node in members(aws, "patient").values()]
    aws.client("cloudformation").update_stack(
        StackName="patient",
        UsePreviousTemplate=True,
        Parameters=given(aws, "alpha", ImageTag="v2"),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    (node,) = members(aws, "patient").values()
    assert node.instance["InstanceId"] == before
    # ReplaceDocument does it, by what the launch template says now.
    assert node.config["edge"]["tag"] == "v2"


# What replaces instances, one after another.


def steps(aws, fleet) -> list[dict]:
    got = aws.client("ssm").get_document(Name=fleet["ReplaceDocument"], DocumentFormat="JSON")
    assert got["DocumentType"] == "Automation"
    content = json.loads(got["Content"])
    assert (content["schemaVersion"], list(content["parameters"])) == ("0.3", ["InstanceId"])
    return content["mainSteps"]


def test_replacing_waits_for_a_healthy_node_before_the_next(aws, fleet):
    *others, last = steps(aws, fleet)
    assert [step["action"] for step in others[:2]] == ["aws:executeAwsApi"] * 2
    # Whatever the refresh ends with ends the waiting; anything but success ends the replacement.
    waits, asserts = others[2:4]
    assert set(waits["inputs"]["DesiredValues"]) == {
        "Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed",
    }  # fmt: skip
    assert (asserts["action"], asserts["inputs"]["DesiredValues"]) == ("aws:assertAwsResourceProperty", ["Successful"])
    assert asserts["inputs"]["PropertySelector"] == waits["inputs"]["PropertySelector"]
    # The group may still list the old instance.
    (found,) = [step for step in others if step["inputs"].get("Api") == "DescribeInstances"]
    assert {"Name": "instance-state-name", "Values": ["running"]} in found["inputs"]["Filters"]
    assert last["action"] == "aws:runCommand"
    verify = deployed.output(aws, "theta-edge-common", "VerifyDocument")
    assert (last["inputs"]["DocumentName"], last["inputs"]["InstanceIds"]) == (verify, ["{{ instance.Id }}"])
    (wait,) = last["inputs"]["Parameters"]["Wait"]
    assert wait.endswith("m")
    assert product.deadline() <= int(wait[:-1]) * 60 <= 3600
    # A step that fails ends it, so that the fleet's rate control stops.
    assert not any(step.get("onFailure", "Abort") != "Abort" or step.get("isCritical") is False for step in [*others, last])


def test_replacing_lets_the_old_instance_go_first(aws, fleet):
    (refresh,) = [step for step in steps(aws, fleet) if step["inputs"].get("Api") == "StartInstanceRefresh"]
    assert refresh["inputs"]["AutoScalingGroupName"] == "{{ group.Name }}"
    assert refresh["inputs"]["Preferences"]["MinHealthyPercentage"] == 0
    assert refresh["inputs"]["Preferences"]["SkipMatching"] is True


def test_a_tag_stands_for_instances_only(aws, fleet):
    described = aws.client("ssm").describe_document(Name=fleet["ReplaceDocument"])["Document"]
    assert described["TargetType"] == "/AWS::EC2::Instance"


@pytest.fixture(scope="module")
def replaces(aws, fleet):
    """Whether ReplaceDocument may do something."""
    content = json.loads(aws.client("ssm").get_document(Name=fleet["ReplaceDocument"], DocumentFormat="JSON")["Content"])
    iam = aws.client("iam")
    name = content["assumeRole"].split("/")[-1]
    (trust,) = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ssm.amazonaws.com"}
    rules = statements([iam.get_role_policy(RoleName=name, PolicyName="replace")["PolicyDocument"]])

    def replaces(action: str, resource: str = "*", **context: str) -> bool:
        return allowed(rules, action, resource, **context)

    replaces.rules = rules
    return replaces


def test_replacing_has_a_role_of_its_own_for_its_fleet_only(aws, fleet, replaces):
    apis = {
        f"{step['inputs']['Service']}:{step['inputs']['Api']}" for step in steps(aws, fleet) if "Api" in step["inputs"]
    }
    group = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/x"
    instance = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
    own, other = ({"aws__ResourceTag___theta-edge__fleet": name} for name in ("fleet", "other"))
    for api in apis - {"autoscaling:StartInstanceRefresh"}:
        assert replaces(api)
    assert replaces("autoscaling:StartInstanceRefresh", group, **own)
    assert not replaces("autoscaling:StartInstanceRefresh", group, **other)
    assert replaces("ssm:SendCommand", instance, **own)
    assert not replaces("ssm:SendCommand", instance, **other)
    for step in steps(aws, fleet):
        if document := step["inputs"].get("DocumentName"):
            owner = "" if document.startswith("AWS-") else "123456789012"
            assert replaces("ssm:SendCommand", f"arn:aws:ssm:us-east-1:{owner}:document/{document}")
    assert not replaces("ssm:SendCommand", "arn:aws:ssm:us-east-1:123456789012:document/other")


def test_that_role_has_what_the_steps_call_and_nothing_else(aws, fleet, replaces):
    """By the policy simulator, both ways."""
    of_the_fleet, requests = {"aws:ResourceTag/theta-edge:fleet": "fleet"}, []
    for step in steps(aws, fleet):
        inputs = step["inputs"]
        if inputs.get("Api") == "StartInstanceRefresh":
            group = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/x"
            requests.append(("autoscaling:StartInstanceRefresh", group, of_the_fleet))
        elif "Api" in inputs:
            requests.append((f"{inputs['Service']}:{inputs['Api']}", "*", {}))
        else:
            # The simulator knows no documents of AWS's own, which have no account.
            if not inputs["DocumentName"].startswith("AWS-"):
                document = f"arn:aws:ssm:us-east-1:123456789012:document/{inputs['DocumentName']}"
                requests.append(("ssm:SendCommand", document, {}))
            requests.append(("ssm:SendCommand", "arn:aws:ec2:us-east-1:123456789012:instance/i-1", of_the_fleet))
            # docs.aws.amazon.com/systems-manager/latest/userguide/automation-action-runcommand.html
            asks = ("ssm:DescribeInstanceInformation", "ssm:ListCommandInvocations", "ssm:ListCommands")
            requests += [(action, "*", {}) for action in asks]
    asked = [{"action": action, "resource": resource, "context": context} for action, resource, context in requests]
    assert denied(replaces.rules, asked) == []
    idle = [resource for (_, _, resource), needed in used(replaces.rules, asked).items() if not needed]
    assert idle == ["arn:aws:ssm:us-east-1::document/AWS-RunShellScript"]


def test_the_largest_fleet_is_within_what_one_operation_may_touch():
    node = templates.parse((REPO / "cloudformation/node.yaml").read_text())
    description = TEMPLATE["Parameters"]["Nodes"]["Description"]
    most, each = map(int, re.search(r"(\d+) at most: .* 2,500 resources, and a node has up to (\d+)", description).groups())
    # Its stack counts, too.
    assert len(node["Resources"]) + 1 <= each
    assert most * each + len(TEMPLATE["Resources"]) <= 2500


def test_a_step_refers_to_what_an_earlier_one_found(aws, fleet):
    known = {"InstanceId"}
    for step in steps(aws, fleet):
        for part in json.dumps(step["inputs"]).split("{{ ")[1:]:
            assert part.split(" }}")[0] in known
        known |= {f"{step['name']}.{output['Name']}" for output in step.get("outputs", [])}


# What watches over all.


def test_too_few_healthy_nodes_are_an_alarm(aws, fleet):
    (alarm,) = [
        one for one in aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="fleet-TooFewHealthy")["MetricAlarms"]
    ]
    (metric,) = alarm["Metrics"]
    assert metric["Expression"] == 'SELECT SUM(edge_healthy) FROM SCHEMA("CWAgent", AutoScalingGroupName)'
    assert metric["Period"] == 60
    assert "edge_healthy" in product.metrics()
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (15, "missing")
    assert alarm["AlarmActions"] == alarm["OKActions"] == alarm["InsufficientDataActions"] == [TOPIC]


def test_the_alarm_needs_as_many_as_asked_and_tells_nobody_unless_asked(aws):
    create(aws, "strict", "alpha", MinimumHealthy="3")
    (alarm,) = aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="strict-TooFewHealthy")["MetricAlarms"]
    assert alarm["Threshold"] == 3
    assert alarm["AlarmActions"] == alarm["OKActions"] == []


def test_one_dashboard_shows_every_node(aws, fleet):
    body = json.loads(aws.client("cloudwatch").get_dashboard(DashboardName="fleet-us-east-1")["DashboardBody"])
    assert fleet["Dashboard"].endswith("#dashboards/dashboard/fleet-us-east-1")
    taken: set[tuple[int, int]] = set()
    shown = set()
    for widget in widgets(body):
        assert taken.isdisjoint(widget.cells()), widget.title
        assert all(0 <= x < COLUMNS for x, _ in widget.cells()), widget.title
        taken |= widget.cells()
        for line in widget.lines:
            assert "AutoScalingGroupName" in line.expression
            # Its groups' names begin with the fleet's.
            assert line.expression.startswith("SELECT ") or " fleet'," in line.expression
            shown |= {name for name in product.metrics() if name in line.expression}
    assert shown == {"edge_healthy", "theta_current_block_height", "edge_peers", "nvidia_smi_utilization_gpu"}
