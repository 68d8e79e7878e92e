"""scripts/upgrade where the instance stays: what is said before, what the node and the stack have afterwards, and how both go
back. What runs on the nodes is real; the nodes are folders."""

import base64
import json

import pytest

import deployed
from made import Node
from operate import REPO, would_run
from test_deploy import ADDRESS, NAME, NODE, parameters, stack
from test_upgrade import upgrade
from theta_edge import artifacts
from theta_edge import upgrade as upgrade_command
from upgraded_node import UpgradedNode

FLEET = "theta-edge-fleet"


@pytest.fixture
def binary(tmp_path, monkeypatch):
    """One that a node in miniature can run; what it says does not depend on where the node is."""
    monkeypatch.setattr(artifacts, "wrong_with", lambda _: "")
    file = tmp_path / "bootstrap"
    file.write_text('#!/bin/sh\nexec "$BOOTSTRAP_ROOT/bin/new" "$@"\n')
    return file


@pytest.fixture
def nodes(aws, tmp_path):
    """Those that SSM reaches, by instance."""
    aws.wait_data = NODE
    deployed.common(aws)
    there: dict[str, UpgradedNode] = {}

    def run_command(instance: str, script: str) -> tuple[int, str, str]:
        return there[instance].run_command(instance, script)

    aws.run_command = run_command

    def start(name: str) -> UpgradedNode:
        made = Node(aws, name)
        node = UpgradedNode(tmp_path / name)
        new = node.root / "bin/new"
        new.write_bytes(node.program("bootstrap", "new"))
        new.chmod(0o755)
        node.start(made.config)
        there[made.instance["InstanceId"]] = node
        return node

    return start


@pytest.fixture
def node(aws, nodes) -> UpgradedNode:
    deployed.node(aws)
    return nodes(NAME)


def test_the_instance_stays_and_a_later_one_would_be_the_same_node(aws, node, binary):
    before, instance = parameters(aws, NAME), deployed.instance(aws, NAME)
    ended = upgrade(aws, binary, "--yes", "--image-tag", "v2", "--rpc-cidr", "10.0.0.0/8")
    assert ended.returncode == 0, ended.stderr
    after = parameters(aws, NAME)
    changed = {key: value for key, value in after.items() if value != before[key]}
    assert changed == {
        "ImageTag": "v2",
        "RpcCidr": "10.0.0.0/8",
        "BinaryKey": changed["BinaryKey"],
        "BinarySha256": changed["BinarySha256"],
        "AssetsKey": changed["AssetsKey"],
        "AssetsSha256": changed["AssetsSha256"],
        "Updates": "in-place",
    }
    assert deployed.instance(aws, NAME) == instance
    assert node.runs == f"new v2 {after['AssetsSha256'][:4]}"
    # To the byte, the wait handle too.
    text = (node.root / "etc/bootstrap/config.json").read_text()
    assert text == Node(aws, NAME).config_text
    assert node.config["edge"]["rpc_bind"] == "0.0.0.0"
    for line in (
        "  instance           stays, and is upgraded in place\n",
        "  time               some minutes, during which the node is down while its container restarts\n",
        f"==> Upgrading {NAME} in place ({instance})",
        f"\nThe node {NAME} is upgraded.\n  address    {ADDRESS} (as before)\n  instance   {instance}\n",
    ):
        assert line in ended.stdout
    assert "AMI" not in ended.stdout


def test_the_address_is_the_one_that_the_volume_has(aws, node, binary):
    """Restored since the stack was told of another."""
    restored = "0x" + "f" * 40
    tag = [{"Key": "theta-edge:wallet", "Value": restored}]
    aws.client("ec2").create_tags(Resources=[deployed.output(aws, NAME, "VolumeId")], Tags=tag)
    ended = upgrade(aws, binary, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert f"\n  address    {restored} (as before)\n" in ended.stdout


def test_what_the_node_does_not_take_is_undone_there_and_in_the_stack(aws, node, binary):
    before, runs, config = parameters(aws, NAME), node.runs, node.config
    template = aws.client("cloudformation").get_template(StackName=NAME)["TemplateBody"]
    ended = upgrade(aws, binary, "--yes", "--image-tag", "missing")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"\nupgrade: {NAME} was not upgraded:\n  {NAME}: image: there is no image missing. give another one\n"
        "The old version runs again on the same instance, with the same wallet key, and the stack is as it was; see "
        f"scripts/verify --name {NAME}\n"
    )
    assert parameters(aws, NAME) == before | {"Updates": "in-place"}
    assert aws.client("cloudformation").get_template(StackName=NAME)["TemplateBody"] == template
    assert (node.runs, node.config) == (runs, config)
    assert Node(aws, NAME).config == config


def test_a_node_that_cannot_be_reached_keeps_everything(aws, node, binary):
    before = stack(aws, NAME)
    aws.run_command = lambda instance, script: (1, "", "there is no python3\n")
    ended = upgrade(aws, binary, "--yes", "--image-tag", "v2")
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, "upgrade: there is no python3")
    assert stack(aws, NAME) == before


def test_where_neither_version_runs_it_says_so(aws, node, binary):
    node.set(registry={"latest": "sick"}, images={"latest": "sick"})
    ended = upgrade(aws, binary, "--yes")
    assert ended.returncode == 1
    reason = "image: the node does not answer. give another one"
    assert ended.stderr.endswith(
        f"\nupgrade: {NAME} is neither upgraded nor back at the old version: {reason}; and with what was there before: {reason}\n"
        f"The stack has the new version: once that is fixed, scripts/upgrade --name {NAME}; a new instance in its place: the "
        "same with --replace\n"
    )


OLDER = {
    "its template is from before upgrades in place": ("[rolling, in-place, manual]", "[rolling, manual]"),
    "the template describes the machine differently": ("HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 2"),
}


@pytest.mark.parametrize(("why", "change"), OLDER.items(), ids=OLDER)
def test_an_older_template_takes_a_new_instance(aws, nodes, binary, why, change):
    text = (REPO / "cloudformation/node.yaml").read_text()
    assert text.count(change[0]) == 1
    given = {**deployed.place(aws, "us-east-1a"), **deployed.SOFTWARE}
    aws.client("cloudformation").create_stack(
        StackName=NAME,
        TemplateURL=deployed.node_template(aws, text.replace(*change)),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    ended = upgrade(aws, binary, "--dry-run")
    assert f", reserved before the old one is terminated: {why}\n" in ended.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--instance-type", "g4dn.2xlarge"], "InstanceType belongs to the machine"),
        (["--parameter", "RootSize=100", "--security-updates"], "RootSize and SecurityUpdates belong to the machine"),
        (["--replace"], "so --replace says"),
    ],
)
def test_what_belongs_to_the_machine_takes_a_new_instance(aws, node, binary, options, why):
    ended = upgrade(aws, binary, "--dry-run", *options)
    assert ended.returncode == 0, ended.stderr
    assert f"  instance           a new one, on the same volume, reserved before the old one is terminated: {why}\n" in ended.stdout
    assert "  WaitOn             first -> second\n" in ended.stdout


def test_a_newer_ami_waits_for_the_next_instance(aws, node, binary, monkeypatch):
    running = Node(aws, NAME).instance["ImageId"]
    monkeypatch.setattr(upgrade_command, "_check", lambda *_: "ami-0123")
    ended = upgrade(aws, binary, "--dry-run")
    assert f"  AMI                {running} -> ami-0123 with the next instance; --replace uses it now\n" in ended.stdout
    assert "AMI" not in upgrade(aws, binary, "--dry-run", "--replace").stdout


def test_what_a_later_instance_would_not_have_is_shown_until_an_upgrade(aws, node, binary):
    config = node.config
    config["edge"]["tag"] = "by-hand"
    (node.root / "etc/bootstrap/config.json").write_text(json.dumps(config))
    (node.root / "opt/bootstrap/assets/.sha256").write_text("1" * 64 + "\nof a file\n")
    ours = artifacts.sha256((node.root / "usr/local/bin/bootstrap").read_bytes())[:12]
    first, second = (upgrade(aws, binary, "--yes") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (
        f"  drift              {NAME} has assets {'1' * 12}, not {'0' * 12}; binary {ours}, not {'0' * 12}; "
        "edge.tag by-hand, not latest, which its next instance would have; this upgrade ends that\n"
    ) in first.stdout
    assert "drift" not in second.stdout
    # It was asked for before anything changed, and changes nothing.
    commands = ["".join(one["Parameters"]["commands"]).split()[3] for one in deployed.sent(aws)]
    assert commands == ["compare", "prepare", "apply"] * 2


def test_a_node_that_cannot_be_asked_for_a_drift_says_why_later(aws, node, binary):
    (node.root / "etc/bootstrap/config.json").write_text("{")
    ended = upgrade(aws, binary, "--yes")
    assert ended.returncode == 1
    assert "drift" not in ended.stdout


def test_a_dry_run_prints_the_calls_in_their_order(aws, node, binary):
    ended = upgrade(aws, binary, "--dry-run", "--image-tag", "v2")
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = would_run(ended.stdout)[4:]
    assert [call[3:5] for call in calls] == [
        ["ssm", "send-command"],
        ["cloudformation", "create-change-set"],
        ["cloudformation", "execute-change-set"],
        ["ssm", "send-command"],
    ]
    begun = [json.loads(call[10])["commands"][0] for call in calls if call[3] == "ssm"]
    sha = artifacts.sha256(binary.read_bytes())
    assert begun == [
        f"exec python3 - {words} <<'END_OF_PROGRAM'\n<scripts/upgrade-on-node.py>\nEND_OF_PROGRAM"
        for words in (f"prepare {sha} '<address of the binary>'", f"apply {sha} '<config>'")
    ]
    assert node.runs == "old latest 0000"


def test_a_fleet_stops_at_the_first_that_does_not_come_up(aws, nodes, binary):
    deployed.fleet(aws, FLEET, "a,b,c")
    listed = aws.client("cloudformation").describe_stack_resources(StackName=FLEET)["StackResources"]
    names = {one["LogicalResourceId"]: one["PhysicalResourceId"].split("/")[1] for one in listed if "Node" in one["LogicalResourceId"]}
    a, b, c = (nodes(names[f"Node{name}"]) for name in "abc")
    b.set(registry={"v2": "sick"})
    ended = upgrade(aws, binary, "--yes", "--name", FLEET, "--image-tag", "v2")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"\nupgrade: not every node of {FLEET} was upgraded:\n"
        f"  {names['Nodeb']}: image: the node does not answer. give another one\n"
        "This one has the old version again, the nodes after it were not touched, and the stacks have the new one. Once that is "
        f"fixed: scripts/upgrade --name {FLEET}\n"
    )
    assets = parameters(aws, FLEET)["AssetsSha256"][:4]
    assert [node.runs for node in (a, b, c)] == [f"new v2 {assets}", "old latest 0000", "old latest 0000"]

    b.set(registry={})
    ended = upgrade(aws, binary, "--yes", "--name", FLEET)
    assert ended.returncode == 0, ended.stderr
    assert [node.runs for node in (a, b, c)] == [f"new v2 {assets}"] * 3
    assert ended.stdout.endswith(f"\nThe fleet {FLEET} is upgraded; see scripts/verify --all\n")


def test_what_ssm_remembers_holds_no_wait_handle(aws, node, binary):
    ended = upgrade(aws, binary, "--yes", "--image-tag", "v2")
    assert ended.returncode == 0, ended.stderr
    handle = node.config["stack"]["wait_handle"]
    for command in deployed.sent(aws):
        text = "".join(command["Parameters"]["commands"])
        words = text.splitlines()[0].split()
        decoded = base64.b64decode(words[-2]).decode() if "apply" in words else ""
        assert handle not in text + decoded
