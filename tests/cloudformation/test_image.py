"""image.yaml, as it is written: the simulated CloudFormation knows nothing of Image Builder. What its components run, and
what its roles may do."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws import templates

import product
from deployed import REPO
from policies import allowed, statements

TEMPLATE = templates.parse((REPO / "cloudformation/image.yaml").read_text())
NODE = templates.parse((REPO / "cloudformation/node.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
BINARY = b"#!/bin/sh\necho \"$0 $*\"\n"
GIVEN = {
    "VpcId": "vpc-1",
    "SubnetId": "subnet-1",
    "BinaryKey": "software/1/bootstrap",
    "BinarySha256": hashlib.sha256(BINARY).hexdigest(),
}
PSEUDO = {"AWS::StackName": "golden", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
EVERYTHING = {"ImageTag": "v2", "ImageDigest": "sha256:" + "a" * 64, "Network": "testnet"}
NOTHING = {"Gpu": "false", "SecurityUpdates": "none"}


def made(node: Any, parameters: dict[str, str]) -> Any:
    """What CloudFormation makes of a part of the template, as far as that needs nothing of what it has made."""
    values = {name: str(one["Default"]) for name, one in TEMPLATE["Parameters"].items() if "Default" in one}
    values |= GIVEN | parameters | PSEUDO

    def holds(condition: Any) -> bool:
        (kind, operands), *_ = (TEMPLATE["Conditions"][condition] if isinstance(condition, str) else condition).items()
        return not holds(operands[0]) if kind == "Fn::Not" else resolve(operands[0], values) == operands[1]

    def resolve(node: Any, names: dict[str, str]) -> Any:
        if isinstance(node, list):
            return [resolve(one, names) for one in node]
        if not isinstance(node, dict):
            return node
        ((kind, value),) = node.items() if len(node) == 1 else [("", None)]
        if kind == "Ref":
            return names.get(value, value)
        if kind == "Fn::If":
            return resolve(value[1] if holds(value[0]) else value[2], names)
        if kind == "Fn::ImportValue":
            return resolve(value, names)
        if kind == "Fn::GetAtt":
            return ".".join(value)
        if kind == "Fn::Sub":
            text, own = (value, {}) if isinstance(value, str) else value
            own = {name: resolve(one, names) for name, one in own.items()}
            return re.sub(r"\$\{([^!][^}]*)\}", lambda found: {**names, **own}[found[1]], text)
        return {key: resolve(one, names) for key, one in node.items()}

    return resolve(node, values)


def step(component: str, name: str, **parameters: str) -> dict[str, Any]:
    document = yaml.safe_load(made(RESOURCES[component]["Properties"]["Data"], parameters))
    (found,) = [step for phase in document["phases"] for step in phase["steps"] if step["name"] == name]
    return found


def script(component: str, **parameters: str) -> str:
    (text,) = step(component, component, **parameters)["inputs"]["commands"]
    return text


@pytest.mark.parametrize("parameters", [{}, EVERYTHING, NOTHING], ids=["defaults", "everything", "nothing"])
@pytest.mark.parametrize("component", ["Prepare", "Check"])
def test_the_scripts_are_sound_and_the_binary_takes_what_they_say(component, parameters, tmp_path):
    text = script(component, **parameters)
    checked = subprocess.run(["shellcheck", "--shell=bash", "-"], input=text, stdout=subprocess.PIPE, text=True)
    assert checked.stdout == ""
    (words,) = re.findall(r"^/usr/local/bin/bootstrap (.*)$", text, re.MULTILINE)
    assert ("--gpu" in words) == (parameters != NOTHING)
    assert ("--security-updates" in words) == (component == "Prepare" and parameters != NOTHING)
    config = tmp_path / "config.json"
    config.write_text("{}")
    environment = {"BOOTSTRAP_ROOT": str(tmp_path), "BOOTSTRAP_CONFIG": str(config)}
    ended = subprocess.run([product.binary(), *words.split()], env=environment, capture_output=True, text=True)
    # It has understood all of it before it sees that.
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (2, f"error: this machine is a node: it has {config}")


def run(tmp_path: Path, text: str, binary: bytes) -> subprocess.CompletedProcess[str]:
    """The script on a machine that is a folder."""
    for name in ("bin", "usr/local/bin"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "usr/local/bin/.bootstrap.new").write_bytes(binary)
    (tmp_path / "bin/cloud-init").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "bin/cloud-init").chmod(0o755)
    text = re.sub(r"(?<![\w.])/(?=usr/local|etc/|var/)", f"{tmp_path}/", text)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return subprocess.run(["bash", "-c", text], env={"PATH": path}, capture_output=True, text=True)


def test_the_binary_of_the_stack_prepares_the_machine(tmp_path):
    assert step("Prepare", "Fetch")["inputs"] == [
        {"source": "s3://theta-edge-common-Bucket/software/1/bootstrap", "destination": "/usr/local/bin/.bootstrap.new"}
    ]
    ended = run(tmp_path, script("Prepare"), BINARY)
    words = f"{tmp_path}/usr/local/bin/bootstrap prepare --gpu --network mainnet --tag latest --security-updates\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, words, "")


def test_another_binary_is_not_run(tmp_path):
    ended = run(tmp_path, script("Prepare"), BINARY + b"#")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "the binary is not what the stack says\n")


LEFT = ("etc/bootstrap/config.json", "var/lib/bootstrap/journal.json", "etc/systemd/system/bootstrap.service")


@pytest.mark.parametrize("left", [*LEFT, ""])
def test_an_image_that_is_somebody_does_not_pass(left, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("1\n")
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/bootstrap").write_bytes(BINARY)
    (tmp_path / "usr/local/bin/bootstrap").chmod(0o755)
    if left:
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).touch()
    ended = run(tmp_path, script("Check"), BINARY)
    said = f"the image has {tmp_path}/{left}\n" if left else ""
    assert (ended.returncode, ended.stderr) == (1 if left else 0, said)
    assert ended.stdout.endswith("bootstrap prepare --check --gpu --network mainnet --tag latest\n")


def test_a_machine_without_an_id_does_not_pass(tmp_path):
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/bootstrap").write_bytes(BINARY)
    (tmp_path / "usr/local/bin/bootstrap").chmod(0o755)
    ended = run(tmp_path, script("Check"), BINARY)
    assert (ended.returncode, ended.stderr) == (1, "the instance has no machine-id\n")


def rules(role: str) -> list[dict[str, Any]]:
    policies = made(RESOURCES[role]["Properties"]["Policies"], {})
    return statements(policy["PolicyDocument"] for policy in policies)


def test_the_instances_may_fetch_the_binary_and_nothing_else_of_ours():
    role, bucket = rules("BuildRole"), "arn:aws:s3:::theta-edge-common-Bucket"
    assert allowed(role, "s3:GetObject", f"{bucket}/software/1/bootstrap")
    assert not allowed(role, "s3:GetObject", f"{bucket}/wallets/node/0x1/key")
    assert not allowed(role, "s3:PutObject", f"{bucket}/software/1/bootstrap")
    for action in ("secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:PutParameter", "ec2:RunInstances", "iam:PassRole"):
        assert not allowed(role, action, "*")


def test_the_newest_image_is_named_by_one_parameter_that_a_node_takes():
    name = made(TEMPLATE["Outputs"]["ImageParameter"]["Value"], {})
    (distribution,) = made(RESOURCES["Distribution"]["Properties"]["Distributions"], {})
    assert distribution["SsmParameterConfigurations"] == [{"ParameterName": name, "DataType": "aws:ec2:image"}]
    role = rules("PipelineRole")
    assert allowed(role, "ssm:PutParameter", f"arn:aws:ssm:us-east-1:123456789012:parameter{name}")
    assert not allowed(role, "ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/another")
    base = TEMPLATE["Parameters"]["BaseImage"]["Default"]
    assert made(RESOURCES["Recipe"]["Properties"]["ParentImage"], {}) == f"ssm:{base}"
    assert allowed(role, "ssm:GetParameter", f"arn:aws:ssm:us-east-1::parameter{base}")
    assert NODE["Parameters"]["ImageId"]["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert NODE["Parameters"]["ImageId"]["Default"] == base


def test_image_builder_may_pass_on_the_instances_role_only_and_touches_its_own_instances_only():
    role, instance = rules("PipelineRole"), "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
    assert allowed(role, "iam:PassRole", "BuildRole.Arn", iam__PassedToService="ec2.amazonaws.com")
    assert not allowed(role, "iam:PassRole", "arn:aws:iam::123456789012:role/admin", iam__PassedToService="ec2.amazonaws.com")
    own = {"aws__ResourceTag___CreatedBy": "EC2 Image Builder"}
    assert allowed(role, "ec2:TerminateInstances", instance, **own)
    assert not allowed(role, "ec2:TerminateInstances", instance)


@pytest.mark.parametrize("name", ["Network", "ImageTag", "ImageDigest", "RootDevice", "Gpu", "CommonStack", "BinarySha256"])
def test_what_a_nodes_stack_takes_an_images_takes(name):
    of = {key: [side["Parameters"][name].get(key) for side in (NODE, TEMPLATE)] for key in ("AllowedPattern", "AllowedValues", "Default")}
    assert all(node == image for node, image in of.values()), json.dumps(of)
