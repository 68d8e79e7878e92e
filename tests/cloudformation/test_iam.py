"""The role of node.yaml against the calls that a node makes, judged as IAM judges them: none is denied, and nothing is
granted that no call needs. calls.json names the calls, their resources and what IAM knows of them; those of bootstrap
itself are held to a whole run by tests/setup/whole_machines.rs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployed import REPO
from made import SOFTWARE, Node, aws_with_common, node  # noqa: F401, fixtures
from policies import several

FILE = Path(__file__).with_name("calls.json")
KNOWN = json.loads(FILE.read_text())
TOOLS = REPO / "target/tools/iam"
KEY = "arn:aws:kms:us-east-1:123456789012:key/0e5f84f5-6d59-47da-932c-8177161cc957"
SECRET_KEY = KEY.replace("0e5f", "5e5f")
VARIANTS = {
    "default": ({}, {"volume", "backup"}),
    "customer's keys": ({"KmsKeyArn": KEY, "SecretKmsKeyArn": SECRET_KEY}, {"volume", "backup", "volume key", "secret key"}),
    "one key for both": ({"KmsKeyArn": KEY, "SecretKmsKeyArn": KEY}, {"volume", "backup", "volume key", "secret key"}),
    "instance store": ({"VolumeType": "instance-store"}, {"backup"}),
    "no backup": ({"WalletBackup": "false"}, {"volume"}),
    "a namespace of its own": ({"MetricsNamespace": "ThetaEdge/mine"}, {"volume", "backup"}),
}

# A policy's statement, one of its actions and one of its resources.
Grant = tuple[int, str, str]
Request = dict[str, Any]


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request, node) -> tuple[Node, list[Request]]:  # noqa: F811
    """A node, and the calls that it makes."""
    parameters, where = request.param
    made = node(**parameters)
    calls = [call for call in KNOWN["calls"] if call.get("where") in {None, *where}]
    return made, [filled(call, made, parameters) for call in calls]


def filled(call: Request, made: Node, parameters: dict[str, str]) -> Request:
    config = made.config
    values = {
        "bucket": config["assets"]["bucket"],
        "binary": SOFTWARE["BinaryKey"],
        "assets": config["assets"]["key"],
        "secret": config["secret"]["arn"],
        "secret_key": parameters.get("SecretKmsKeyArn", ""),
        "volume": config["volume"].get("id", ""),
        "volume_key": parameters.get("KmsKeyArn", ""),
        "instance": made.instance["InstanceId"],
        "namespace": config["metrics"]["namespace"],
        "stack": made.stack,
        # What bootstrap says: were it the name, IAM would judge something else.
        "stack_id": config["stack"]["name"],
    }
    context = {
        key: value.format(**values) if isinstance(value, str) else value for key, value in call.get("context", {}).items()
    }
    return {"action": call["action"], "resource": call["resource"].format(**values), "context": context}


def judge(cases: list[tuple[list[dict], Request]]) -> list[str]:
    if not (TOOLS / "complete").exists():
        pytest.skip("needs nodejs and npm: the policy simulator, which scripts/test installs")
    asked = {
        "principal": "arn:aws:iam::123456789012:role/node",
        "account": "123456789012",
        "cases": [{"policies": [policy(rules)], "request": request} for rules, request in cases],
    }
    ended = subprocess.run(
        ["node", Path(__file__).parent / "iam/judge.cjs"],
        env=os.environ | {"NODE_PATH": str(TOOLS / "node_modules")},
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


def policy(rules: list[dict]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": rules}


def denied(rules: list[dict], requests: list[Request]) -> list[str]:
    answers = judge([(rules, request) for request in requests])
    return [
        f"{request['action']} on {request['resource']} with {request['context']}: {answer}"
        for request, answer in zip(requests, answers, strict=True)
        if answer != "Allowed"
    ]


def grants(rules: list[dict]) -> Iterator[Grant]:
    for number, rule in enumerate(rules):
        for action in several(rule["Action"]):
            for resource in several(rule["Resource"]):
                yield number, action, resource


def without(rules: list[dict], grant: Grant) -> list[dict]:
    """The same statements, but one no longer allows this action on this resource."""
    number, action, resource = grant
    rule = rules[number]
    others = [one for one in several(rule["Action"]) if one != action]
    elsewhere = [one for one in several(rule["Resource"]) if one != resource]
    left = [rule | {"Action": others}] if others else []
    left += [rule | {"Action": action, "Resource": elsewhere}] if elsewhere else []
    return rules[:number] + left + rules[number + 1 :]


def used(rules: list[dict], requests: list[Request]) -> dict[Grant, bool]:
    """Whether some request would be denied without it."""
    all_of_them = list(grants(rules))
    cases = [(without(rules, grant), request) for grant in all_of_them for request in requests]
    answers = iter(judge(cases))
    return {grant: any([next(answers) != "Allowed" for _ in requests]) for grant in all_of_them}


def reasons() -> dict[str, str]:
    return {action: reason for reason, actions in KNOWN["unrecorded"].items() for action in actions}


def test_every_call_is_allowed(variant):
    made, requests = variant
    assert denied(made.permissions, requests) == []


def test_without_any_one_action_a_call_is_denied(variant):
    made, requests = variant
    idle = {action for (_, action, _), needed in used(made.permissions, requests).items() if not needed}
    known = reasons().keys()
    assert idle - known == set(), f"granted, but no call needs it: remove it, or say why it stays in {FILE.name}"
    granted = {action for _, action, _ in grants(made.permissions)}
    assert granted & known - idle == set(), f"a call needs it: strike it from what {FILE.name} calls unrecorded"


def test_no_reason_is_left_of_what_is_not_granted(node):  # noqa: F811
    made = node(KmsKeyArn=KEY, SecretKmsKeyArn=SECRET_KEY)
    assert reasons().keys() - {action for _, action, _ in grants(made.permissions)} == set()


@pytest.mark.parametrize("call", KNOWN["denied"], ids=lambda call: call["why"])
def test_what_is_no_business_of_the_node_is_denied(node, call):  # noqa: F811
    made = node()
    assert judge([(made.permissions, filled(call, made, {}))]) == ["ImplicitlyDenied"]


# That the tests above see what they are for.


@pytest.mark.parametrize(
    "action", ["cloudformation:SignalResource", "ec2:AttachVolume", "secretsmanager:GetSecretValue", "s3:GetObject", "s3:PutObject"]
)
def test_a_missing_action_is_named(node, action):  # noqa: F811
    made = node()
    _, where = VARIANTS["default"]
    requests = [filled(call, made, {}) for call in KNOWN["calls"] if call.get("where") in {None, *where}]
    rules = [rule for rule in made.permissions if action not in several(rule["Action"])]
    found = denied(rules, requests)
    assert found
    assert all(line.startswith(f"{action} on ") and line.endswith("ImplicitlyDenied") for line in found)


def test_an_action_too_many_is_named(node):  # noqa: F811
    made = node()
    requests = [filled(call, made, {}) for call in KNOWN["calls"] if "where" not in call]
    extra = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    found = used([*made.permissions, extra], requests)
    assert not found[len(made.permissions), "s3:ListBucket", "*"]
    assert "s3:ListBucket" not in reasons()
