"""A stack of node.yaml, as the services describe what it made: a fixture, and what it gives."""

import base64
import json
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

import deployed
from policies import Statement, statements

HASH, OTHER_HASH = "0123456789abcdef" * 4, "fedcba9876543210" * 4
SOFTWARE = {
    "BinaryKey": f"bin/{HASH}/bootstrap",
    "BinarySha256": HASH,
    "AssetsKey": f"assets/{OTHER_HASH}/assets.tar.gz",
    "AssetsSha256": OTHER_HASH,
}


@dataclass
class Node:
    aws: Any
    stack: str

    @property
    def described(self) -> dict[str, Any]:
        (described,) = self.aws.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        return described

    @property
    def id(self) -> str:
        return self.described["StackId"]

    @property
    def outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.described["Outputs"]}

    @property
    def resources(self) -> dict[str, str]:
        """Physical ids by logical ids."""
        listed = self.aws.client("cloudformation").describe_stack_resources(StackName=self.stack)["StackResources"]
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed}

    @property
    def volume(self) -> dict[str, Any]:
        (volume,) = self.aws.client("ec2").describe_volumes(VolumeIds=[self.resources["Volume"]])["Volumes"]
        return volume

    @property
    def group(self) -> dict[str, Any]:
        (group,) = self.aws.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.outputs["AutoScalingGroup"]]
        )["AutoScalingGroups"]
        return group

    @property
    def instance(self) -> dict[str, Any]:
        (member,) = self.group["Instances"]
        found = self.aws.client("ec2").describe_instances(InstanceIds=[member["InstanceId"]])
        return found["Reservations"][0]["Instances"][0]

    @property
    def security_group(self) -> dict[str, Any]:
        groups = self.aws.client("ec2").describe_security_groups(GroupIds=[self.resources["SecurityGroup"]])
        return groups["SecurityGroups"][0]

    @property
    def launch_versions(self) -> list[dict[str, Any]]:
        """Of its launch template, the newest first."""
        versions = self.aws.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources["LaunchTemplate"]
        )["LaunchTemplateVersions"]
        return sorted(versions, key=lambda version: -version["VersionNumber"])

    @property
    def launch(self) -> dict[str, Any]:
        return self.launch_versions[0]["LaunchTemplateData"]

    @property
    def user_data(self) -> str:
        return base64.b64decode(self.launch["UserData"]).decode()

    @property
    def config(self) -> dict[str, Any]:
        """The config that user-data writes."""
        return json.loads(self.config_text)

    @property
    def config_text(self) -> str:
        """As the shell writes it, which puts the handle and the instance's id in."""
        (variables,) = re.findall(r"^handle=.*$", self.user_data, re.MULTILINE)
        (text,) = re.findall(r"<<EOF .*?\n(.*?\nEOF\n)", self.user_data, re.DOTALL)
        script = f"set -u\nid={self.instance['InstanceId']}\n{variables}\ncat <<EOF\n{text}"
        return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout

    @cached_property
    def permissions(self) -> list[Statement]:
        iam, role = self.aws.client("iam"), self.resources["Role"]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        return statements(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names)

    @cached_property
    def alarms(self) -> dict[str, dict[str, Any]]:
        """By logical id."""
        ids = {name: logical for logical, name in self.resources.items()}
        described = self.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return {ids[alarm["AlarmName"]]: alarm for alarm in described if alarm["AlarmName"] in ids}

    @cached_property
    def dashboard(self) -> dict[str, Any]:
        got = self.aws.client("cloudwatch").get_dashboard(DashboardName=self.resources["Dashboard"])
        return json.loads(got["DashboardBody"])


def place(aws) -> dict[str, str]:
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]
    return {name: subnet[name] for name in ("VpcId", "SubnetId", "AvailabilityZone")}


def make_node(aws, stack: str, **parameters: str) -> Node:
    deployed.create(aws, stack, "node.yaml", **(place(aws) | SOFTWARE | parameters))
    (described,) = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    return Node(aws, stack)


@pytest.fixture(scope="module")
def aws_with_common(server):
    server.reset()
    deployed.common(server)
    return server


@pytest.fixture(scope="module")
def node(aws_with_common):
    """Makes a node with some parameters, or gives the one that was made so before. For looking at, not for changing."""
    nodes: dict[frozenset, Node] = {}

    def variant(**parameters: str) -> Node:
        key = frozenset(parameters.items())
        if key not in nodes:
            nodes[key] = make_node(aws_with_common, f"node-{len(nodes)}", **parameters)
        return nodes[key]

    return variant
