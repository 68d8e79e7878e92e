"""The simulated AWS itself, where others rely on it: what moto lacks and tests/local/aws adds."""

import json
import sys
from pathlib import Path
from threading import Event

import pytest
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).parent))

from aws.fixtures import aws, server  # noqa: F401, fixtures
from aws.server import Server

VOLUME = {
    "Type": "AWS::EC2::Volume",
    "Properties": {"AvailabilityZone": "us-east-1a", "Size": {"Ref": "Size"}, "VolumeType": "gp3"},
}
SIZE = {"Type": "Number", "Default": 8}


def template(resources: dict, **parts: dict) -> str:
    return json.dumps({"Resources": resources, **parts})


def given(**values: str) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def status(aws: Server, name: str) -> str:
    return aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]


def events(aws: Server, name: str) -> list[tuple[str, str]]:
    """What happened to the resources of a stack, oldest first."""
    found = aws.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return [(one["LogicalResourceId"], one["ResourceStatus"]) for one in reversed(found)]


def refused(code: str) -> pytest.RaisesExc:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def test_a_type_that_nobody_knows_makes_no_stack(aws):
    body = template({"Tub": {"Type": "AWS::EC2::Tub"}})
    with pytest.raises(ClientError, match=r"Unrecognized resource types: \[AWS::EC2::Tub\]"):
        aws.client("cloudformation").create_stack(StackName="s", TemplateBody=body)
    assert aws.client("cloudformation").describe_stacks()["Stacks"] == []


def test_an_update_touches_what_resolves_to_something_else(aws):
    cloudformation = aws.client("cloudformation")
    body = template(
        {
            "Volume": VOLUME,
            "Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": {"Fn::Sub": "/${AWS::StackName}"}}},
            "Twice": {"Type": "AWS::SNS::Topic", "Condition": "Large"},
        },
        Parameters={"Size": SIZE},
        Conditions={"Large": {"Fn::Equals": [{"Ref": "Size"}, "9"]}},
    )
    cloudformation.create_stack(StackName="s", TemplateBody=body)
    before = len(events(aws, "s"))
    cloudformation.update_stack(StackName="s", TemplateBody=body, Parameters=given(Size="9"))
    assert [one for one in events(aws, "s")[before:] if one[0] != "s"] == [
        ("Volume", "UPDATE_IN_PROGRESS"),
        ("Volume", "UPDATE_COMPLETE"),
        ("Twice", "CREATE_IN_PROGRESS"),
        ("Twice", "CREATE_COMPLETE"),
    ]
    (volume,) = aws.client("ec2").describe_volumes()["Volumes"]
    assert volume["Size"] == 9
    with pytest.raises(ClientError, match="No updates are to be performed"):
        cloudformation.update_stack(StackName="s", TemplateBody=body, Parameters=given(Size="9"))


def test_a_resource_that_fails_takes_its_stack_back(aws):
    policy = {"Type": "AWS::S3::BucketPolicy", "Properties": {"Bucket": "nowhere", "PolicyDocument": {}}}
    kept = {**VOLUME, "DeletionPolicy": "RetainExceptOnCreate"}
    body = template({"Volume": kept, "Policy": {**policy, "DependsOn": "Volume"}}, Parameters={"Size": SIZE})
    aws.client("cloudformation").create_stack(StackName="s", TemplateBody=body)
    assert status(aws, "s") == "ROLLBACK_COMPLETE"
    assert ("Policy", "CREATE_FAILED") in events(aws, "s")
    assert aws.client("ec2").describe_volumes()["Volumes"] == []


def test_an_update_that_fails_brings_the_stack_back(aws):
    cloudformation = aws.client("cloudformation")
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": {"Ref": "Days"}}}
    body = template(
        {"Group": group, "Volume": {**VOLUME, "DependsOn": "Group"}},
        Parameters={"Size": SIZE, "Days": {"Type": "Number", "Default": 30}},
    )
    cloudformation.create_stack(StackName="s", TemplateBody=body)
    # The volume would have to be another one, which is refused after the group was changed.
    elsewhere = body.replace("us-east-1a", "us-east-1b")
    cloudformation.update_stack(StackName="s", TemplateBody=elsewhere, Parameters=given(Days="60"))
    assert status(aws, "s") == "UPDATE_ROLLBACK_COMPLETE"
    happened = events(aws, "s")
    assert happened.index(("Group", "UPDATE_COMPLETE")) < happened.index(("Volume", "UPDATE_FAILED"))
    (group,) = aws.client("logs").describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 30
    (stack,) = cloudformation.describe_stacks(StackName="s")["Stacks"]
    assert {"ParameterKey": "Days", "ParameterValue": "30"} in stack["Parameters"]


def test_what_is_retained_outlives_the_stack(aws):
    cloudformation = aws.client("cloudformation")
    body = template({"Volume": {**VOLUME, "DeletionPolicy": "Retain"}}, Parameters={"Size": SIZE})
    made = cloudformation.create_stack(StackName="s", TemplateBody=body)
    cloudformation.delete_stack(StackName="s")
    assert ("Volume", "DELETE_SKIPPED") in events(aws, made["StackId"])
    assert len(aws.client("ec2").describe_volumes()["Volumes"]) == 1


@pytest.mark.parametrize("value", ["7", "17", "nine"])
def test_parameters_are_held_to_their_constraints(aws, value):
    body = template({"Volume": VOLUME}, Parameters={"Size": {**SIZE, "MinValue": 8, "MaxValue": 16}})
    with pytest.raises(ClientError, match="Parameter 'Size' must be a number"):
        aws.client("cloudformation").create_stack(StackName="s", TemplateBody=body, Parameters=given(Size=value))


def instance(aws: Server, **tags: str) -> str:
    tags |= {"Name": "test"}
    tagged = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
    image = aws.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    started = aws.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tagged)
    return started["Instances"][0]["InstanceId"]


def document(aws: Server, line: str, **parameters: dict) -> None:
    step = {"name": "step", "action": "aws:runShellScript", "inputs": {"runCommand": [line]}}
    content = {"schemaVersion": "2.2", "parameters": parameters, "mainSteps": [step]}
    aws.client("ssm").create_document(Name="document", DocumentType="Command", Content=json.dumps(content))


def run(aws: Server, name: str, **request: object) -> list[dict]:
    """Sends a command, and its invocations once they have ended."""
    ssm = aws.client("ssm")
    sent = ssm.send_command(DocumentName=name, **request)["Command"]["CommandId"]
    while True:
        found = ssm.list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"]
        if all(one["Status"] not in ("Pending", "InProgress") for one in found):
            return [ssm.get_command_invocation(CommandId=sent, InstanceId=one["InstanceId"]) | one for one in found]


def test_a_command_runs_where_its_tags_say(aws):
    here, _ = instance(aws, node="a"), instance(aws, node="b")
    document(aws, "wait {{ Time }}", Time={"type": "String", "default": "0s", "allowedPattern": "^[0-9]+s$"})
    aws.run_command = lambda on, script: (0, f"{on}: {script}", "")
    (done,) = run(aws, "document", Targets=[{"Key": "tag:node", "Values": ["a"]}], Parameters={"Time": ["3s"]})
    assert (done["InstanceId"], done["Status"], done["ResponseCode"]) == (here, "Success", 0)
    assert (done["PluginName"], done["StandardOutputContent"]) == ("step", f"{here}: wait 3s\n")


def test_output_is_cut_and_a_failure_keeps_its_code(aws):
    here = instance(aws)
    aws.run_command = lambda on, script: (7, "o" * 30_000, "e" * 9_000)
    (done,) = run(aws, "AWS-RunShellScript", InstanceIds=[here], Parameters={"commands": ["one", "two"]})
    assert (done["Status"], done["ResponseCode"]) == ("Failed", 7)
    assert (len(done["StandardOutputContent"]), len(done["StandardErrorContent"])) == (24_000, 8_000)
    (plugin,) = done["CommandPlugins"]
    assert (len(plugin["Output"]), plugin["ResponseCode"]) == (2_500, 7)


def test_a_command_stops_after_too_many_errors(aws):
    ids = [instance(aws, fleet="f") for _ in range(3)]
    asked = []

    def fail(on: str, script: str) -> tuple[int, str, str]:
        asked.append(on)
        return 1, "", ""

    aws.run_command = fail
    target = [{"Key": "tag:fleet", "Values": ["f"]}]
    done = run(
        aws, "AWS-RunShellScript", Targets=target, Parameters={"commands": ["x"]}, MaxConcurrency="1", MaxErrors="1"
    )
    assert sorted(one["StatusDetails"] for one in done) == ["Failed", "Failed", "Terminated"]
    assert len(asked) == 2 and set(asked) < set(ids)


def test_a_command_is_in_progress_until_it_has_ended(aws):
    here, go = instance(aws), Event()
    aws.run_command = lambda on, script: (0, str(go.wait(60)), "")
    ssm = aws.client("ssm")
    shell = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["x"]}}
    sent = ssm.send_command(InstanceIds=[here], **shell)["Command"]
    assert sent["Status"] == "Pending"
    assert ssm.list_commands(CommandId=sent["CommandId"])["Commands"][0]["Status"] == "InProgress"
    go.set()
    while (now := ssm.list_commands(CommandId=sent["CommandId"])["Commands"][0])["Status"] == "InProgress":
        pass
    assert (now["Status"], now["CompletedCount"]) == ("Success", 1)


def test_commands_that_cannot_be_sent_are_refused(aws):
    ssm, here = aws.client("ssm"), instance(aws)
    document(aws, "{{ Phase }}", Phase={"type": "String", "allowedValues": ["user"]})
    with refused("InvalidDocument"):
        ssm.send_command(DocumentName="nowhere", InstanceIds=[here])
    with refused("InvalidParameters"):
        ssm.send_command(DocumentName="document", InstanceIds=[here])
    with refused("InvalidParameters"):
        ssm.send_command(DocumentName="document", InstanceIds=[here], Parameters={"Phase": ["all; reboot"]})
    with refused("InvalidInstanceId"):
        ssm.send_command(DocumentName="document", InstanceIds=["i-0123456789abcdef0"], Parameters={"Phase": ["user"]})
