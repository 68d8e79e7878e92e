"""Stacks made straight from the templates, without the scripts that people use."""

from pathlib import Path

REPO = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
SOFTWARE = {
    "BinaryKey": f"bin/{'0' * 64}/bootstrap",
    "BinarySha256": "0" * 64,
    "AssetsKey": f"assets/{'0' * 64}/assets.tar.gz",
    "AssetsSha256": "0" * 64,
}


def common(aws, name: str = "theta-edge-common") -> None:
    create(aws, name, "common.yaml", WalletPassword=PASSWORD)


def place(aws, zone: str) -> dict[str, str]:
    in_zone = [{"Name": "availability-zone", "Values": [zone]}]
    subnet = aws.client("ec2").describe_subnets(Filters=in_zone)["Subnets"][0]
    return {"VpcId": subnet["VpcId"], "SubnetId": subnet["SubnetId"], "AvailabilityZone": zone}


def node(aws, name: str = "theta-edge-node", zone: str = "us-east-1a", **parameters: str) -> str:
    """Makes the node's stack, and says its instance's id."""
    create(aws, name, "node.yaml", **place(aws, zone), **SOFTWARE, **parameters)
    return instance(aws, name)


def fleet(aws, name: str, nodes: str, zone: str = "us-east-1a") -> None:
    """Makes a fleet's stack, of node names with commas between them."""
    bucket, key = output(aws, "theta-edge-common", "Bucket"), "templates/node.yaml"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=(REPO / "cloudformation/node.yaml").read_bytes())
    create(
        aws,
        name,
        "fleet.yaml",
        Nodes=nodes,
        NodeTemplateUrl=f"https://{bucket}.s3.{zone[:-1]}.amazonaws.com/{key}",
        VerifyDocument=output(aws, "theta-edge-common", "VerifyDocument"),
        **place(aws, zone),
        **SOFTWARE,
    )


def create(aws, name: str, template: str, **parameters: str) -> None:
    aws.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=(REPO / "cloudformation" / template).read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )


def output(aws, stack: str, key: str) -> str:
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return next(item["OutputValue"] for item in described["Outputs"] if item["OutputKey"] == key)


def instance(aws, name: str) -> str:
    group = output(aws, name, "AutoScalingGroup")
    groups = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    (found,) = groups["AutoScalingGroups"][0]["Instances"]
    return found["InstanceId"]


def sent(aws) -> list[dict]:
    """The commands that SSM was given."""
    return aws.client("ssm").list_commands()["Commands"]
