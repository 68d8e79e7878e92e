"""The user-data of node.yaml, as CloudFormation hands it to the instance: a short, sound script that writes a config
which the binary takes. What the script does is tried on the local instance."""

import json
import subprocess
from pathlib import Path

import pytest

import product
from made import SOFTWARE, Node, aws_with_common, node  # noqa: F401, fixtures
from test_rules import NODE

SECRETS = NODE["SecretArn"]

# As long as the real ones.
HANDLE = "https://cloudformation-waitcondition-us-east-1.s3.us-east-1.amazonaws.com/".ljust(450, "x")
VARIANTS = {
    "default": {},
    "xfs": {"Filesystem": "xfs"},
    "existing volume": {"VolumeId": "vol-0123456789abcdef0"},
    "instance store": {"VolumeType": "instance-store", "Filesystem": "xfs"},
    "a wallet of several": {"WalletAddress": "0x" + "0a" * 20},
    "own secret": {"SecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf"},
    "tag": {"ImageTag": "v1.3.1", "Network": "testnet"},
    "digest": {"ImageDigest": "sha256:" + "0a" * 32},
    "as the image": {"RunAs": "image"},
    "open RPC ports": {"RpcCidr": "172.31.0.0/16"},
    "no GPU": {"Gpu": "false", "InstanceType": "c6i.xlarge"},
    "per peer": {"PerPeerMetrics": "true"},
    "systemd": {"MetricsSchedule": "systemd-timer"},
    "security updates": {"SecurityUpdates": "security"},
    "second handle": {"WaitOn": "second"},
    "fleet": {"Fleet": "fleet", "Updates": "manual"},
    "all at once": {
        "VolumeType": "io2",
        "SecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf",
        "ImageDigest": "sha256:" + "0a" * 32,
        "RpcCidr": "172.31.0.0/16",
        "PerPeerMetrics": "true",
        "MetricsSchedule": "systemd-timer",
        "SecurityUpdates": "security",
        "WaitOn": "second",
        "RunAs": "user",
        "WalletAddress": "0x" + "0a" * 20,
    },
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def any_node(request, node) -> Node:
    return node(**request.param)


def test_it_is_short(any_node):
    user_data = any_node.user_data.replace(any_node.config["stack"]["wait_handle"], HANDLE)
    assert user_data.startswith("#!/bin/bash\n")
    assert len(user_data.splitlines()) < 40
    assert len(user_data.encode()) <= 4096


def test_it_is_sound_bash(any_node, tmp_path):
    script = tmp_path / "user-data"
    script.write_text(any_node.user_data)
    subprocess.run(["bash", "-n", script], check=True)
    # SC2015: each `a && b || fail` is meant to fail where b does. SC2093: exec may fail, too.
    checked = subprocess.run(["shellcheck", "--exclude=SC2015,SC2093", script], stdout=subprocess.PIPE, text=True)
    assert checked.stdout == ""


def test_nothing_is_left_to_substitute(any_node):
    # What bash expands itself starts with a name in small letters, or is one of its own.
    left = [word for word in any_node.user_data.split("${")[1:] if word[0] not in "1@" and not word[0].islower()]
    assert left == []
    assert "!" not in [word[0] for word in any_node.user_data.split("${")[1:]]


def test_the_binary_takes_the_config(any_node, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(any_node.config_text)
    assert product.config_mistakes(config) == ""


def test_the_config_check_sees_mistakes(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"volume": {"id": "no-volume"}}')
    assert "volume" in product.config_mistakes(config)


def is_taken(arn: str, file: Path) -> bool:
    file.write_text(json.dumps({"secret": {"arn": arn}}))
    # What else the config lacks is said, too.
    mistakes = product.config_mistakes(file)
    assert "$.volume" in mistakes
    return "$.secret" not in mistakes


@pytest.mark.parametrize("arn", SECRETS[0][1:])
def test_the_binary_takes_a_secret_that_the_template_takes(arn, tmp_path):
    assert is_taken(arn, tmp_path / "config.json")


@pytest.mark.parametrize("arn", SECRETS[1])
def test_the_binary_refuses_a_secret_that_the_template_refuses(arn, tmp_path):
    # A config by hand may give the name, where no policy has to name the secret.
    assert is_taken(arn, tmp_path / "config.json") == (arn == "mine")


def test_the_config_says_what_the_stack_was_told(node):
    made = node(**VARIANTS["all at once"])
    assert made.config == {
        "instance": made.instance["InstanceId"],
        "region": "us-east-1",
        "gpu": True,
        "volume": {"id": made.resources["Volume"], "origin": "new", "filesystem": "ext4"},
        "secret": {"arn": VARIANTS["own secret"]["SecretArn"]},
        "stack": {"name": made.id, "resource": "Node", "wait_handle": made.resources["WaitHandle2"]},
        "assets": {
            "bucket": node().config["assets"]["bucket"],
            "key": SOFTWARE["AssetsKey"],
            "sha256": SOFTWARE["AssetsSha256"],
        },
        "wallet_backup": {
            "bucket": node().config["assets"]["bucket"],
            "prefix": f"wallets/{made.stack}",
            "address": VARIANTS["all at once"]["WalletAddress"],
        },
        "edge": {
            "network": "mainnet",
            "tag": "latest",
            "digest": VARIANTS["digest"]["ImageDigest"],
            "run_as": "user",
            "rpc_bind": "0.0.0.0",
        },
        "metrics": {"namespace": "CWAgent", "per_peer": True, "schedule": "systemd-timer"},
        "system": {"update": "security"},
    }


@pytest.mark.parametrize(
    ("variant", "where", "value"),
    [
        ("default", ("gpu",), True),
        ("no GPU", ("gpu",), False),
        ("xfs", ("volume", "filesystem"), "xfs"),
        ("existing volume", ("volume", "id"), "vol-0123456789abcdef0"),
        ("existing volume", ("volume", "origin"), "given"),
        ("instance store", ("volume",), {"kind": "instance-store", "filesystem": "xfs"}),
        ("a wallet of several", ("wallet_backup", "address"), "0x" + "0a" * 20),
        ("tag", ("edge", "tag"), "v1.3.1"),
        ("tag", ("edge", "network"), "testnet"),
        ("default", ("edge",), {"network": "mainnet", "tag": "latest", "run_as": "auto", "rpc_bind": "127.0.0.1"}),
        ("as the image", ("edge", "run_as"), "image"),
        ("default", ("metrics",), {"namespace": "CWAgent", "per_peer": False, "schedule": "cron"}),
        ("default", ("system",), {"update": "none"}),
    ],
)
def test_a_parameter_reaches_the_config(node, variant, where, value):
    found = node(**VARIANTS[variant]).config
    for key in where:
        found = found[key]
    assert found == value


@pytest.mark.parametrize("wait_on", ["first", "second"])
def test_failures_and_the_binary_use_the_handle_in_use(node, wait_on):
    made = node(WaitOn=wait_on)
    (name,) = [name for name in made.resources if name.startswith("WaitHandle")]
    handle = made.resources[name]
    assert name == {"first": "WaitHandle1", "second": "WaitHandle2"}[wait_on]
    assert made.config["stack"]["wait_handle"] == handle
    assert f"\nhandle='{handle}' " in made.user_data
    assert set(made.resources) & {"Ready1", "Ready2"} == {name.replace("WaitHandle", "Ready")}


def test_it_fetches_and_checks_the_binary(node):
    user_data = node().user_data
    assert SOFTWARE["BinaryKey"] in user_data
    assert f" sum={SOFTWARE['BinarySha256']}\n" in user_data
    assert "correct horse battery" not in user_data
    # Unattended upgrades may be at work at the first boot.
    assert "apt-get -qqy -o DPkg::Lock::Timeout=240 install awscli" in user_data
