"""scripts/deploy --restore: a node made again, in another zone or region, from the copy of its wallet key in the bucket; and
what is refused. What gives the key to the node is real; the node is a folder."""

import json
import shutil
import subprocess

import pytest

import deployed
from fake_node import FakeNode, make_key
from operate import run
from test_deploy import COMMON, NAME, PASSWORD, deploy, parameters, problems_of, stacks

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.fixture
def node(aws, tmp_path) -> FakeNode:
    """The new one, which has made a key of its own."""
    made = FakeNode(tmp_path / "node")
    address, _ = made.start()
    aws.wait_data = json.dumps({"i-1": json.dumps({"address": address, "instance": "i-1", "verdict": "healthy"})})
    aws.run_command = made.run_command
    return made


@pytest.fixture
def backup(aws) -> tuple[str, bytes]:
    """What an earlier node has left: address and key file."""
    deployed.common(aws)
    address, content = make_key()
    left(aws, address, content)
    return address, content


def left(aws, address: str, content: bytes, node: str = NAME) -> str:
    bucket = deployed.output(aws, COMMON, "Bucket")
    key = f"wallets/{node}/{address}/{address.removeprefix('0x')}"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    return f"s3://{bucket}/{key}"


def restore(aws, binary, *options: str, node: str = NAME) -> subprocess.CompletedProcess[str]:
    return deploy(aws, binary, "--restore", node, *options)


def test_a_lost_zone(aws, binary, node, backup):
    address, content = backup
    (fresh,) = node.keys
    ended = restore(aws, binary, "--zone", "us-east-1c")
    assert ended.returncode == 0, ended.stderr
    assert parameters(aws, NAME)["AvailabilityZone"] == "us-east-1c"
    assert parameters(aws, NAME)["WalletAddress"] == ""
    assert list(node.keys.values()) == [content]
    assert f"  volume        256 GiB gp3, encrypted, with the wallet key of {address}\n" in ended.stdout
    assert f"\nThe node {NAME} is up.\n  address    {address}\n" in ended.stdout
    # It had one of its own by then.
    assert f"The key of 0x{fresh} was moved aside on the node's volume, to " in ended.stdout
    assert len(node.aside) == 1


def test_a_node_that_has_found_the_key_by_itself_is_left_alone(aws, binary, tmp_path, backup):
    address, content = backup
    node = FakeNode(tmp_path / "node")
    node.add_key(content, address.removeprefix("0x"))
    node.set(running=True, address=address)
    aws.run_command = node.run_command
    ended = restore(aws, binary)
    assert ended.returncode == 0, ended.stderr
    assert f"Node {NAME} runs with the key of {address} already: there is nothing to do.\n" in ended.stdout
    assert node.calls == []


def test_a_lost_region(aws, binary, node, backup, tmp_path):
    address, content = backup
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    there = ["--region", "eu-west-1", "--from-region", "us-east-1", "--password-file", str(password)]
    ended = restore(aws, binary, *there)
    assert ended.returncode == 0, ended.stderr
    assert list(node.keys.values()) == [content]
    outputs = aws.client("cloudformation", "eu-west-1").describe_stacks(StackName=COMMON)["Stacks"][0]["Outputs"]
    (bucket,) = [one["OutputValue"] for one in outputs if one["OutputKey"] == "Bucket"]
    held = aws.client("s3", "eu-west-1").list_objects_v2(Bucket=bucket, Prefix="wallets/")["Contents"]
    assert [one["Key"] for one in held] == [f"wallets/{NAME}/{address}/{address.removeprefix('0x')}"]
    assert stacks(aws).keys() == {COMMON}


def test_a_key_that_the_node_does_not_take_can_be_given_later(aws, binary, node, backup):
    address, content = backup
    (fresh,) = node.keys
    node.set(refuses=[address])
    ended = restore(aws, binary)
    assert ended.returncode == 1
    name = left(aws, address, content)
    told = ended.stderr.split("\ndeploy: ")[1]
    assert told.startswith(f"{NAME} is up, but not with the key of {address}: ")
    assert f"\nthe key of {address} was not taken: " in told
    again = f"scripts/backup-key --name {NAME} --restore {name} --replace 0x{fresh}"
    assert told.endswith(f"\nOnce that is fixed:\n  {again}\n")
    node.set(refuses=[])
    ended = run(aws, "backup-key", *again.split()[1:])
    assert ended.returncode == 0, ended.stderr
    assert list(node.keys.values()) == [content]


def test_a_wallet_that_lives_elsewhere_is_refused(aws, binary, backup):
    address, content = backup
    aws.wait_data = json.dumps({"i-1": json.dumps({"address": address})})
    deployed.node(aws)
    name = left(aws, address, content)
    twin = (
        f"{name} has the wallet key of {address}, which the stack {NAME} uses: one key must not run twice. Remove that node "
        "first (scripts/destroy), or use --take-over if it will never run again"
    )
    assert problems_of(restore(aws, binary, "--name", "second")) == [twin]
    assert restore(aws, binary, "--name", "second", "--take-over", "--dry-run").returncode == 0
    # In the region that it comes from as well.
    there = ["--region", "eu-west-1", "--from-region", "us-east-1", "--secret-arn", "", "--password-file", "/dev/null"]
    assert twin in problems_of(restore(aws, binary, *there))
    # It has another key now.
    tag = [{"Key": "theta-edge:wallet", "Value": "0x" + "f" * 40}]
    aws.client("ec2").create_tags(Resources=[deployed.output(aws, NAME, "VolumeId")], Tags=tag)
    assert restore(aws, binary, "--name", "second", "--dry-run").returncode == 0


def test_several_copies_none_and_one_that_is_no_key(aws, binary, backup):
    address, _ = backup
    other, content = make_key()
    bucket = deployed.output(aws, COMMON, "Bucket")
    assert problems_of(restore(aws, binary, node="none")) == [
        f"there is no copy of a wallet key of none in s3://{bucket}/wallets/none/"
    ]
    left(aws, other, content)
    both = ", ".join(sorted([address, other]))
    assert problems_of(restore(aws, binary)) == [
        f"{NAME} has copies of several wallet keys: name one, as in --restore {NAME}/{both.split(', ')[0]} ({both})"
    ]
    assert problems_of(restore(aws, binary, node=f"{NAME}/0x{'1' * 40}")) == [
        f"{NAME} has no copy of the wallet key of 0x{'1' * 40}, only of {both}"
    ]
    assert restore(aws, binary, "--dry-run", node=f"{NAME}/{other}").returncode == 0
    assert "ParameterKey=WalletAddress" not in restore(aws, binary, "--dry-run", "--name", "new", node=f"{NAME}/{other}").stdout
    name = left(aws, other, b"{}")
    ended = restore(aws, binary, node=f"{NAME}/{other}")
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"deploy: {name} is not the key of {other}: nothing was changed\n")
    assert NAME not in stacks(aws)


def test_of_several_copies_the_node_is_told_which_one_is_its_own(aws, binary, node, backup):
    address, content = backup
    other, another = make_key()
    left(aws, other, another)
    ended = restore(aws, binary, node=f"{NAME}/{address}")
    assert ended.returncode == 0, ended.stderr
    assert parameters(aws, NAME)["WalletAddress"] == address
    assert list(node.keys.values()) == [content]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--restore", NAME, "--volume-id", "vol-1"],
            "--restore makes one node, with a new volume: leave out --nodes, --volume-id and --snapshot-id",
        ),
        (["--from-region", "us-east-1"], "--from-region belongs to --restore"),
        (["--zone", "us-east-1a", "--subnet", "subnet-1"], "--zone and --subnet both say where: give one of them"),
    ],
)
def test_wrong_usage(aws, binary, options, told):
    ended = deploy(aws, binary, *options)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"deploy: {told}; see --help\n")


def test_a_zone_without_the_type_or_with_another_volume_is_named(aws, binary):
    deployed.common(aws)
    assert problems_of(deploy(aws, binary, "--zone", "us-east-1e")) == [
        "g4dn.xlarge is not offered in us-east-1e, which --zone names, but in us-east-1a, us-east-1b, us-east-1c, us-east-1d, "
        "us-east-1f"
    ]
    volume = aws.client("ec2").create_volume(AvailabilityZone="us-east-1b", Size=256, Encrypted=True)["VolumeId"]
    assert problems_of(deploy(aws, binary, "--zone", "us-east-1a", "--volume-id", volume)) == [
        f"{volume} is in us-east-1b, not in us-east-1a: a volume can be attached in its own zone only"
    ]
