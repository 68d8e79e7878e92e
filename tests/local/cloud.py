#!/usr/bin/env python3
"""Deploys a node on the simulated AWS as a person would: both stacks, by the templates, through CloudFormation.

    cloud.py deploy STATE.json          a new stack with a new node
    cloud.py replace STATE.json         the stack goes on with another instance; with a tag, by an update to that image
    cloud.py release VOLUME INSTANCE    the instance, which is gone, has let go of the volume
    cloud.py destroy STACK              deletes the stack, and the volume that it kept

STATE.json names: stack, binary, assets, password ("" to leave it), tag (of the image, "" to leave it), zone ("" for the
first one), parameters (others of the node's template, KEY=VALUE with spaces between them), break ("hash" or "object":
what is wrong with the binary's parameters), late ("yes": the instance that is replaced keeps the volume until it is
released), wanted ("ready": user-data ends before it starts bootstrap), gpu ("true": an instance type with one), address
(the instance's) and out, a folder that gets instance-id, volume-id ("store" for an instance store), bucket and
instance.json, which is what the metadata service tells. AWS_ENDPOINT_URL says where the simulated AWS is.
"""

import base64
import hashlib
import json
import os
import pathlib
import sys
from typing import Any

from aws import connection

REGION = "us-east-1"
COMMON = "theta-edge-common"
TEMPLATES = pathlib.Path(__file__).parents[2] / "cloudformation"

State = dict[str, str]


def client(service: str):
    return connection.client(service, REGION)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parameters(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def find_stack(name: str) -> dict[str, Any] | None:
    """The stack with its outputs and parameters as dictionaries, if there is one."""
    stacks = client("cloudformation").describe_stacks()["Stacks"]
    stack = next((stack for stack in stacks if stack["StackName"] == name), None)
    if stack:
        stack["Outputs"] = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
        stack["Parameters"] = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    return stack


def finished(name: str, status: str) -> dict[str, Any]:
    stack = find_stack(name)
    if not stack or stack["StackStatus"] != status:
        events = client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        told = [one for one in reversed(events) if "ResourceStatusReason" in one]
        reasons = [f"{one['LogicalResourceId']}: {one['ResourceStatusReason']}" for one in told]
        sys.exit("\n".join([f"the stack {name} did not reach {status}:", *reasons]))
    return stack


def common_stack(password: str) -> dict[str, Any]:
    """What nodes share; made or updated where the password is new."""
    cloudformation = client("cloudformation")
    body = (TEMPLATES / "common.yaml").read_text()
    stack = find_stack(COMMON)
    if not stack:
        cloudformation.create_stack(
            StackName=COMMON, TemplateBody=body, Parameters=parameters({"WalletPassword": password})
        )
        return finished(COMMON, "CREATE_COMPLETE")
    secret = client("secretsmanager").get_secret_value(SecretId=stack["Outputs"]["SecretArn"])["SecretString"]
    if password in ("", secret):
        return stack
    cloudformation.update_stack(
        StackName=COMMON, TemplateBody=body, Parameters=parameters({"WalletPassword": password})
    )
    return finished(COMMON, "UPDATE_COMPLETE")


def publish(bucket: str, state: State) -> dict[str, str]:
    """Puts binary, assets and the node's template into the bucket, under their hashes as scripts/publish does."""
    binary, assets, template = (
        pathlib.Path(file).read_bytes() for file in (state["binary"], state["assets"], TEMPLATES / "node.yaml")
    )
    keys = {
        "binary": f"bin/{sha256(binary)}/bootstrap",
        "assets": f"assets/{sha256(assets)}/assets.tar.gz",
        "template": f"templates/{sha256(template)}/node.yaml",
    }
    for key, data in zip(keys.values(), (binary, assets, template), strict=True):
        client("s3").put_object(Bucket=bucket, Key=key, Body=data)
    return keys | {"binary-sha256": sha256(binary), "assets-sha256": sha256(assets)}


def software(published: dict[str, str]) -> dict[str, str]:
    """The parameters that say what a node runs."""
    return {
        "BinaryKey": published["binary"],
        "BinarySha256": published["binary-sha256"],
        "AssetsKey": published["assets"],
        "AssetsSha256": published["assets-sha256"],
    }


def deploy(state: State) -> None:
    name = state["stack"]
    if find_stack(name):
        destroy(name)
    bucket = common_stack(state["password"])["Outputs"]["Bucket"]
    published = publish(bucket, state)
    filters = [{"Name": "default-for-az", "Values": ["true"]}]
    if state["zone"]:
        filters.append({"Name": "availability-zone", "Values": [state["zone"]]})
    subnet = client("ec2").describe_subnets(Filters=filters)["Subnets"][0]
    values = {
        "VpcId": subnet["VpcId"],
        "SubnetId": subnet["SubnetId"],
        "AvailabilityZone": subnet["AvailabilityZone"],
        "InstanceType": "g4dn.xlarge" if state["gpu"] == "true" else "c6i.xlarge",
        "Gpu": state["gpu"],
        "VolumeSize": "8",
    } | software(published)
    values |= dict(word.split("=", 1) for word in state["parameters"].split())
    if state["tag"]:
        values["ImageTag"] = state["tag"]
    if state["break"] == "hash":
        values["BinarySha256"] = sha256(b"another binary")
    if state["break"] == "object":
        values["BinaryKey"] = f"bin/{sha256(b'another binary')}/bootstrap"
    client("cloudformation").create_stack(
        StackName=name,
        TemplateURL=f"https://{bucket}.s3.{REGION}.amazonaws.com/{published['template']}",
        Parameters=parameters(values),
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "Project", "Value": "AWS_THETA_EDGE"}],
    )
    write(state, finished(name, "CREATE_COMPLETE"), bucket)


def replace(state: State) -> None:
    name = state["stack"]
    bucket = common_stack(state["password"])["Outputs"]["Bucket"]
    stack = find_stack(name) or sys.exit(f"there is no stack {name}")
    old = instance_of(stack)
    if state["tag"]:
        # An upgrade in place may have come before: another kind of update, and assets that do not have what only the
        # local AWS needs.
        values = stack["Parameters"] | software(publish(bucket, state)) | {
            "ImageTag": state["tag"],
            "Updates": "rolling",
            # Each of the two wait handles works once.
            "WaitOn": {"first": "second", "second": "first"}[stack["Parameters"]["WaitOn"]],
        }
        client("cloudformation").update_stack(
            StackName=name, UsePreviousTemplate=True, Parameters=parameters(values), Capabilities=["CAPABILITY_IAM"]
        )
        stack = finished(name, "UPDATE_COMPLETE")
    else:
        client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=old, ShouldDecrementDesiredCapacity=False
        )
    if state["late"] == "yes":
        # moto takes a terminated instance's volumes away at once; EC2 when it has shut down.
        client("ec2").attach_volume(VolumeId=stack["Outputs"]["VolumeId"], InstanceId=old, Device="/dev/sdf")
    write(state, stack, bucket)


def group_of(stack: dict[str, Any]) -> dict[str, Any]:
    group = stack["Outputs"]["AutoScalingGroup"]
    return client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]


def instance_of(stack: dict[str, Any]) -> str:
    (instance,) = group_of(stack)["Instances"]
    return instance["InstanceId"]


def write(state: State, stack: dict[str, Any], bucket: str) -> None:
    """What the machine needs to know of the instance that Auto Scaling started."""
    ec2 = client("ec2")
    # moto calls the template's first version the instance's; the group knows which one it takes.
    template = group_of(stack)["LaunchTemplate"]
    (version,) = ec2.describe_launch_template_versions(
        LaunchTemplateId=template["LaunchTemplateId"], Versions=[template["Version"]]
    )["LaunchTemplateVersions"]
    data = version["LaunchTemplateData"]
    user_data = base64.b64decode(data["UserData"]).decode()
    if state["wanted"] == "ready":
        user_data = user_data.replace("exec /usr/local/bin/bootstrap\n", "exit\n")
    (reservation,) = ec2.describe_instances(InstanceIds=[instance_of(stack)])["Reservations"]
    (instance,) = reservation["Instances"]
    profile = data["IamInstanceProfile"]["Arn"].rsplit("/", 1)[1]
    (role,) = client("iam").get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
    told = {
        "instance-id": instance["InstanceId"],
        "instance-type": instance["InstanceType"],
        "region": REGION,
        "availability-zone": instance["Placement"]["AvailabilityZone"],
        "local-ipv4": state["address"],
        "role": role["RoleName"],
        "user-data": user_data,
    }
    if data["MetadataOptions"].get("InstanceMetadataTags") == "enabled":
        told["tags"] = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    out = pathlib.Path(state["out"])
    (out / "instance.json").write_text(json.dumps(told))
    (out / "volume-id").write_text(stack["Outputs"].get("VolumeId", "store"))
    (out / "instance-id").write_text(instance["InstanceId"])
    (out / "bucket").write_text(bucket)


def release(volume: str, instance: str) -> None:
    (found,) = client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"]
    if instance in [attachment["InstanceId"] for attachment in found["Attachments"]]:
        client("ec2").detach_volume(VolumeId=volume, InstanceId=instance)


def destroy(name: str) -> None:
    stack = find_stack(name) or sys.exit(f"there is no stack {name}")
    volume = stack["Outputs"].get("VolumeId")
    if volume:
        for attachment in client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]:
            release(volume, attachment["InstanceId"])
    client("cloudformation").delete_stack(StackName=name)
    if volume:
        client("ec2").delete_volume(VolumeId=volume)


def main() -> None:
    connection.endpoint = os.environ["AWS_ENDPOINT_URL"]
    match sys.argv[1:]:
        case ["deploy", file]:
            deploy(json.loads(pathlib.Path(file).read_text()))
        case ["replace", file]:
            replace(json.loads(pathlib.Path(file).read_text()))
        case ["release", volume, instance]:
            release(volume, instance)
        case ["destroy", stack]:
            destroy(stack)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
