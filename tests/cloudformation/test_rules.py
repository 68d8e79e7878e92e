"""What the templates' rules and parameters let through: the exact refusal, or none. Nothing is made here but a handle,
in place of the templates' resources."""

import json
import re
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws import templates
from deployed import PASSWORD, REPO
from made import SOFTWARE, place

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf"
VOLUME, SNAPSHOT = "vol-0123456789abcdef0", "snap-0123456789abcdef0"
FLEET = {"Nodes": "alpha,beta", "NodeTemplateUrl": "https://example.org/node.yaml", "VerifyDocument": "verify"}


@cache
def parsed(name: str) -> dict[str, Any]:
    return templates.parse((REPO / "cloudformation" / name).read_text())


def abridged(name: str) -> str:
    whole = parsed(name)
    resources = {"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}
    return json.dumps({"Parameters": whole["Parameters"], "Rules": whole.get("Rules", {}), "Resources": resources})


@pytest.fixture(scope="module")
def refusal(server):
    """What CloudFormation says to a template and parameters, beside those that must be given; None if it takes them."""
    server.reset()
    somewhere = place(server)
    needed = {"common.yaml": {"WalletPassword": PASSWORD}, "node.yaml": somewhere | SOFTWARE}
    needed["fleet.yaml"] = needed["node.yaml"] | FLEET
    cloudformation = server.client("cloudformation")

    def refusal(name: str, given: dict[str, str]) -> str | None:
        try:
            cloudformation.create_stack(
                StackName="tried",
                TemplateBody=abridged(name),
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in (needed[name] | given).items()
                ],
            )
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationError"
            return error.response["Error"]["Message"]
        cloudformation.delete_stack(StackName="tried")
        return None

    return refusal


NO_GPU_TYPE = (
    "Gpu is true, but InstanceType has no supported NVIDIA GPU; take a g4dn, g5, g6, g6e or gr6, or set Gpu to false"
)
GPU_TYPE = "Gpu is false, but InstanceType has a GPU that you would pay for; set Gpu to true, or take a type without"
OTHER_ZONE = "SubnetId is not in AvailabilityZone; a volume can be attached in its own zone only"
TWO_SOURCES = "Give VolumeId or SnapshotId, not both"
NO_VOLUME = "With an instance store there is no volume; leave VolumeId and SnapshotId empty"
NO_SNAPSHOTS = "With an instance store there is no volume to make snapshots of; leave SnapshotDays at 0"
NOBODY = (
    "With manual Updates no new instance comes up that could signal a second wait condition; leave WaitOn at first"
)
NO_PASSWORD = "Give WalletPassword, or the SecretArn of an existing secret"
TWO_PASSWORDS = "Give WalletPassword or SecretArn, not both"


@pytest.mark.parametrize(
    ("template", "given", "refused"),
    [
        ("common.yaml", {}, None),
        ("common.yaml", {"WalletPassword": "", "SecretArn": SECRET}, None),
        ("common.yaml", {"WalletPassword": ""}, ("OnePassword", NO_PASSWORD)),
        ("common.yaml", {"SecretArn": SECRET}, ("OnePassword", TWO_PASSWORDS)),
        ("node.yaml", {}, None),
        ("node.yaml", {"InstanceType": "g5.48xlarge"}, None),
        ("node.yaml", {"InstanceType": "g6.4xlarge"}, None),
        ("node.yaml", {"InstanceType": "g6e.xlarge"}, None),
        ("node.yaml", {"InstanceType": "gr6.8xlarge"}, None),
        ("node.yaml", {"InstanceType": "c6i.xlarge"}, ("GpuNeedsGpuType", NO_GPU_TYPE)),
        # AMD's GPUs, ARM's processors, and fractions of a GPU, which need another driver.
        ("node.yaml", {"InstanceType": "g4ad.xlarge"}, ("GpuNeedsGpuType", NO_GPU_TYPE)),
        ("node.yaml", {"InstanceType": "g5g.xlarge"}, ("GpuNeedsGpuType", NO_GPU_TYPE)),
        ("node.yaml", {"InstanceType": "g6f.xlarge"}, ("GpuNeedsGpuType", NO_GPU_TYPE)),
        ("node.yaml", {"Gpu": "false", "InstanceType": "c6i.xlarge"}, None),
        ("node.yaml", {"Gpu": "false", "InstanceType": "m7i-flex.xlarge"}, None),
        ("node.yaml", {"Gpu": "false"}, ("NoGpuNeedsNoGpuType", GPU_TYPE)),
        ("node.yaml", {"Gpu": "false", "InstanceType": "g6e.48xlarge"}, ("NoGpuNeedsNoGpuType", GPU_TYPE)),
        ("node.yaml", {"AvailabilityZone": "us-east-1f"}, ("SubnetInZone", OTHER_ZONE)),
        ("node.yaml", {"VolumeId": VOLUME}, None),
        ("node.yaml", {"SnapshotId": SNAPSHOT}, None),
        ("node.yaml", {"VolumeId": VOLUME, "SnapshotId": SNAPSHOT}, ("OneSourceOfTheVolume", TWO_SOURCES)),
        ("node.yaml", {"VolumeType": "instance-store"}, None),
        (
            "node.yaml",
            {"VolumeType": "instance-store", "VolumeId": VOLUME},
            ("NoVolumeBesideInstanceStore", NO_VOLUME),
        ),
        (
            "node.yaml",
            {"VolumeType": "instance-store", "SnapshotId": SNAPSHOT},
            ("NoVolumeBesideInstanceStore", NO_VOLUME),
        ),
        (
            "node.yaml",
            {"VolumeType": "instance-store", "SnapshotDays": "7"},
            ("NoVolumeBesideInstanceStore", NO_SNAPSHOTS),
        ),
        ("node.yaml", {"Updates": "manual"}, None),
        ("node.yaml", {"WaitOn": "second"}, None),
        ("node.yaml", {"Updates": "in-place", "WaitOn": "second"}, None),
        ("node.yaml", {"Updates": "manual", "WaitOn": "second"}, ("NobodyToWaitFor", NOBODY)),
        ("fleet.yaml", {}, None),
    ],
)
def test_a_rule(refusal, template, given, refused):
    wanted = refused and "Template failed validation: Rule {}: {}".format(*refused)
    assert refusal(template, given) == wanted


def test_the_two_rules_about_gpus_know_the_same_types():
    rules = parsed("node.yaml")["Rules"]
    (needs,), (needs_not,) = rules["GpuNeedsGpuType"]["Assertions"], rules["NoGpuNeedsNoGpuType"]["Assertions"]
    types = needs["Assert"]["Fn::Contains"][0]
    assert types == needs_not["Assert"]["Fn::Not"][0]["Fn::Contains"][0]
    assert len(types) == len(set(types))


HEX = "0123456789abcdef" * 4
POLICY = "arn:aws:iam::123456789012:policy/edge/boundary"
KEYS = (
    ["", f"arn:aws:kms:us-east-1:123456789012:key/{HEX[:8]}", "arn:aws-cn:kms:cn-north-1:123456789012:key/0a-1b"],
    ["alias/mine", "arn:aws:kms:us-east-1:123456789012:alias/mine"],
)
# By parameter: values that are taken, and values that are refused.
COMMON = {
    "WalletPassword": (["x" * 12, "x" * 128, "it's \"$HOME\" & `pass` \\wörd"], ["x" * 11, "x" * 129]),
    "SecretArn": ([], ["mine", "arn:aws:ssm:us-east-1:123456789012:parameter/x", SECRET + '"', SECRET + "\n"]),
    "AlarmEmail": (["me@example.org"], ["me", "me@", "@example.org", "me @example.org"]),
}
NODE = {
    "InstanceType": (["g5.xlarge"], ["g4dn", "", "G5.xlarge"]),
    "Spot": (["true", "false"], ["yes", ""]),
    "Gpu": (["true"], ["yes", "", "enabled"]),
    "RootDevice": (["/dev/sda1", "/dev/xvda"], ["/dev/nvme0n1", ""]),
    "RootSize": (["32", "1024"], ["31", "1025", "big"]),
    "SecurityUpdates": (["none", "security"], ["all", ""]),
    "Network": (["mainnet", "testnet", "privatenet2"], ["", "main-net", "Mainnet", "main net", "x" * 33]),
    "ImageTag": (["latest", "v1.3.1", "_x", "x" * 128], ["", ".x", "-x", "a b", "a:b", 'a"b', "x" * 129]),
    "ImageDigest": (["", "sha256:" + HEX], ["sha256:" + HEX[1:], HEX, "sha256:" + HEX.upper()]),
    "RunAs": (["auto", "user", "image"], ["root", ""]),
    "RpcCidr": (["", "172.31.0.0/16", "10.0.0.1/32"], ["172.31.0.0", "any", "::/0", "10.0.0.0/8,10.1.0.0/8"]),
    "VolumeType": (["gp3", "io1", "io2", "instance-store"], ["gp2", "st1", ""]),
    "VolumeSize": (["8", "65536"], ["7", "65537", "-1", ""]),
    "VolumeIops": (["100", "3000", "256000"], ["99", "256001"]),
    "VolumeThroughput": (["125", "2000"], ["124", "2001"]),
    "Filesystem": (["ext4", "xfs"], ["btrfs", ""]),
    "WalletBackup": (["true", "false"], ["yes", ""]),
    "ReplaceAfterHours": (["0", "24", "168"], ["-1", "169", "a day", ""]),
    "SnapshotDays": (["0", "7", "365"], ["-1", "366", "a week", ""]),
    "KmsKeyArn": KEYS,
    "SecretKmsKeyArn": KEYS,
    "PermissionsBoundaryArn": (["", POLICY], ["boundary", f"{POLICY},{POLICY}", POLICY.replace("policy/", "role/")]),
    "ManagedPolicyArns": (
        ["", POLICY, f"{POLICY},arn:aws:iam::aws:policy/job-function/ViewOnlyAccess"],
        ["ReadOnlyAccess", f"{POLICY},", f"{POLICY} {POLICY}"],
    ),
    "PublicAddress": (["subnet", "true", "false"], ["", "yes"]),
    "MetricsNamespace": (["CWAgent", "ThetaEdge/mine"], ["", "AWS/EC2", "/mine", 'a"b', "a b", "x" * 101]),
    "AlarmTopicArn": (["", "arn:aws:sns:us-east-1:123456789012:alarms"], ["alarms", "me@example.org"]),
    "LogRetentionDays": (["1", "30", "731"], ["0", "2", "forever"]),
    "PerPeerMetrics": (["true", "false"], ["yes", ""]),
    "MetricsSchedule": (["cron", "systemd-timer"], ["timer", ""]),
    "CommonStack": (["theta-edge-common", "x"], ["", "1x", "a_b", "x" * 129]),
    "BinaryKey": ([f"bin/{HEX}/bootstrap"], ["", "bin/a b", "bin/$(reboot)", "bin/'"]),
    "BinarySha256": ([HEX], ["", HEX[1:], HEX + "0", HEX.upper()]),
    "AssetsKey": ([f"assets/{HEX}/assets.tar.gz"], ["", "assets/a b", 'assets/"']),
    "AssetsSha256": ([HEX], ["", HEX[1:], HEX + "0"]),
    "SecretArn": (
        ["", SECRET, SECRET.replace("mine", "rds!db-1"), "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a/b+c=d.e@f-AbCdEf"],
        ["mine", SECRET.replace("aws", "sws", 1), SECRET + '"', SECRET + "$(reboot)", SECRET + "`", SECRET + "\\"],
    ),
}
# What fleet.yaml decides itself.
NODE_ONLY = {
    "VolumeId": (["", "vol-01234567", VOLUME], ["vol-", "vol-0123456", "vol-012345678G", SNAPSHOT]),
    "SnapshotId": (["", SNAPSHOT], ["snap-x", VOLUME]),
    "WalletAddress": (["", "0x" + HEX[:40]], [HEX[:40], "0x" + HEX[:39], "0x" + HEX[:40].upper(), "0x" + HEX[:41]]),
    "WaitOn": (["first", "second"], ["third", ""]),
    "Updates": (["rolling", "in-place", "manual"], ["never", ""]),
    "Fleet": (["", "my-fleet"], ["my_fleet", "1fleet"]),
}
FLEET_ONLY = {
    "Nodes": (["alpha", "alpha,beta2", "x" * 32], ["", "alpha,be-ta", "al pha", "x" * 33]),
    "MinimumHealthy": (["1", "100"], ["0", "some"]),
    "NodeTemplateUrl": (["https://b.s3.us-east-1.amazonaws.com/templates/x/node.yaml"], ["", "node.yaml", "http://x"]),
}
TABLE = {"common.yaml": COMMON, "node.yaml": NODE | NODE_ONLY, "fleet.yaml": FLEET_ONLY}


def cases(which: int) -> list[Any]:
    return [
        pytest.param(template, name, value, id=f"{template[:-5]}-{name}-{value[:24]!r}")
        for template, parameters in TABLE.items()
        for name, values in parameters.items()
        for value in values[which]
    ]


@pytest.mark.parametrize(("template", "name", "value"), cases(0))
def test_a_value_is_taken(refusal, template, name, value):
    assert refusal(template, {name: value}) is None


@pytest.mark.parametrize(("template", "name", "value"), cases(1))
def test_a_value_is_refused_by_its_parameters_name(refusal, template, name, value):
    assert (refusal(template, {name: value}) or "").startswith(f"Parameter '{name}' ")


# EC2 says whether these exist.
EXISTING = {"VpcId", "SubnetId", "AvailabilityZone", "ImageId"}


@pytest.mark.parametrize("template", TABLE)
def test_every_parameter_is_in_the_table(template):
    # Those that a fleet hands on are declared as in node.yaml; see below.
    handed_on = set(NODE) if template == "fleet.yaml" else set()
    declared = set(parsed(template)["Parameters"]) - EXISTING - {"VerifyDocument"}
    assert declared == set(TABLE[template]) | handed_on


@pytest.mark.parametrize("template", TABLE)
def test_the_console_groups_every_parameter(template):
    whole = parsed(template)
    groups = whole["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(whole["Parameters"])


def test_the_defaults_are_the_blueprints():
    declared = parsed("node.yaml")["Parameters"]
    blueprint = {
        "ImageTag": "latest",
        "Network": "mainnet",
        "InstanceType": "g4dn.xlarge",
        "Gpu": "true",
        "VolumeType": "gp3",
        "VolumeSize": 256,
        "VolumeIops": 3000,
        "VolumeThroughput": 125,
    }
    assert {name: declared[name]["Default"] for name in blueprint} == blueprint


def test_fleet_and_node_declare_their_parameters_alike():
    node, fleet = (parsed(name)["Parameters"] for name in ("node.yaml", "fleet.yaml"))
    assert set(node) - set(fleet) == set(NODE_ONLY)
    # node.yaml looks the AMI up, and is handed the name to look for.
    assert node["ImageId"] == fleet["ImageId"] | {"Type": "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"}
    assert fleet["ImageId"]["Type"] == "String"
    alike = (set(node) & set(fleet)) - {"ImageId"}
    assert {name: fleet[name] for name in alike} == {name: node[name] for name in alike}


def test_the_password_is_not_echoed():
    assert parsed("common.yaml")["Parameters"]["WalletPassword"]["NoEcho"]


def test_the_template_and_the_binary_take_the_same_secrets():
    """What only one of them takes would fail on the node, half an hour later."""
    pattern = parsed("node.yaml")["Parameters"]["SecretArn"]["AllowedPattern"]
    prefix, name = re.search(r'\^\((arn:aws\S*:secret:)\)\?(\S+)\$"', (REPO / "src/config/mod.rs").read_text()).groups()
    assert pattern == f"({prefix}{name})?"
