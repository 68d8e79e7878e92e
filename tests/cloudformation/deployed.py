"""Stacks made straight from the templates, without the scripts that people use."""

import hashlib
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
    create(
        aws,
        name,
        "fleet.yaml",
        Nodes=nodes,
        NodeTemplateUrl=node_template(aws, (REPO / "cloudformation/node.yaml").read_text()),
        VerifyDocument=output(aws, "theta-edge-common", "VerifyDocument"),
        **place(aws, zone),
        **SOFTWARE,
    )


def create(aws, name: str, template: str, **parameters: str) -> None:
    text = (REPO / "cloudformation" / template).read_text()
    if template == "node.yaml":
        where = {"TemplateURL": node_template(aws, text, parameters.get("CommonStack", "theta-edge-common"))}
    else:
        where = {"TemplateBody": text}
    aws.client("cloudformation").create_stack(
        StackName=name,
        **where,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )


def node_template(aws, text: str, common: str = "theta-edge-common") -> str:
    """Where it is, as a call could not hold all of it."""
    bucket, key = output(aws, common, "Bucket"), f"templates/{hashlib.sha256(text.encode()).hexdigest()}/node.yaml"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())
    return f"https://{bucket}.s3.us-east-1.amazonaws.com/{key}"


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
