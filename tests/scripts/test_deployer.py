"""cloudformation/deployer-policy.json against what the commands call, and what CloudFormation calls for them: nothing is
denied, and nothing is granted in vain. What no test can see is whether AWS's own lists are complete."""

import json
import re

import pytest
from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse

import deployed
import operate
from deployer import NEEDED, NOT_NEEDED, cloudformations, handlers, requests_of
from operate import REPO, run
from policies import several
from test_iam import denied, judge, without
from test_upgrade import EXECUTION

POLICY = json.loads((REPO / "cloudformation/deployer-policy.json").read_text())["Statement"]
# A template with a transform needs it (CloudFormation, Controlling access with IAM, Macros); the simulator knows no transforms.
UNJUDGED = {"Loops": "cloudformation:CreateChangeSet"}
COMMON, NAME, FLEET = "theta-edge-common", "theta-edge-node", "theta-edge-fleet"


@pytest.fixture(scope="module")
def requests(server, tmp_path_factory) -> list[dict]:
    """Of a node's and a fleet's whole lives, and of CloudFormation."""
    server.reset()
    folder = tmp_path_factory.mktemp("deployer")
    binary, password = folder / "bootstrap", folder / "password"
    binary.write_bytes(operate.program())
    password.write_text("correct horse battery\n")
    operate.calls.clear()

    def command(name: str, *options: str) -> str:
        more = ["--binary", str(binary)] if name in ("deploy", "upgrade") else []
        return run(server, name, *more, *options).stdout

    with pytest.MonkeyPatch.context() as patch:
        execution = {"AutomationExecution": {"AutomationExecutionStatus": "Success"}}
        for call, answer in (("start", {"AutomationExecutionId": EXECUTION}), ("get", execution)):
            method = f"{call}_automation_execution"
            patch.setattr(SimpleSystemManagerResponse, method, lambda _, is_=answer: ActionResult(is_), raising=False)
        command("deploy", "--yes", "--password-file", str(password), "--alarm-email", "a@example.org")
        command("verify")
        client = server.client("logs")
        client.create_log_stream(logGroupName=f"/theta-edge/{NAME}", logStreamName="i-1/bootstrap")
        command("logs")
        command("backup-key", "--to", str(folder / "key"), "--passphrase-file", str(password))
        server.run_command = lambda instance, script: (0, '{"ready": true, "upgraded": true}', "")
        command("upgrade", "--yes")
        command("upgrade", "--yes", "--replace")
        key = server.client("kms").create_key()["KeyMetadata"]["Arn"]
        operate.calls += [("kms.GetKeyPolicy", {"KeyId": key}), ("kms.ListGrants", {"KeyId": key})]
        # An upgrade that is refused (test_guards).
        operate.calls.append(("cloudformation.DeleteChangeSet", {"StackName": NAME}))
        command("deploy", "--yes", "--nodes", "a")
        command("upgrade", "--yes", "--replace", "--name", FLEET, "--nodes", "a,b")
        command("destroy", "--yes", "--name", FLEET)
        volume, secret = deployed.output(server, NAME, "VolumeId"), deployed.output(server, COMMON, "SecretArn")
        command("destroy", "--yes", "--snapshot-volume", "--delete-volume", volume)
        found = server.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
        (snapshot,) = [one["SnapshotId"] for one in found if one["VolumeId"] == volume]
        told = command("destroy", "--yes", "--with-common", "--delete-snapshot", snapshot, "--delete-secret", secret)
    assert told.endswith("Done.\n")
    found = [one for call, given in operate.calls for one in requests_of(call, given)] + cloudformations()
    return [json.loads(one) for one in sorted({json.dumps(one, sort_keys=True) for one in found})]


def test_nothing_is_denied(requests):
    assert denied(POLICY, requests) == []


def test_nothing_is_granted_in_vain(requests):
    grants = [(number, action) for number, rule in enumerate(POLICY) for action in several(rule["Action"])]
    cases = []
    for number, action in grants:
        rule, pattern = POLICY[number], re.compile(action.replace("*", ".*"))
        left = [one for one in several(rule["Action"]) if one != action]
        rules = [*POLICY[:number], *([rule | {"Action": left}] if left else []), *POLICY[number + 1 :]]
        cases += [((number, action), rules, one) for one in requests if pattern.fullmatch(one["action"])]
    answers = judge([(rules, one) for _, rules, one in cases])
    needed = {grant for (grant, *_), answer in zip(cases, answers, strict=True) if answer != "Allowed"}
    idle = [f"{POLICY[number]['Sid']}: {action}" for number, action in grants if (number, action) not in needed]
    assert idle == [f"{sid}: {action}" for sid, action in UNJUDGED.items()]


def test_a_missing_action_and_one_too_many_are_named(requests):
    for action in ("cloudformation:ExecuteChangeSet", "iam:PassRole", "ec2:CreateCapacityReservation"):
        (number,) = [number for number, rule in enumerate(POLICY) if action in several(rule["Action"])]
        rules = POLICY
        for resource in several(POLICY[number]["Resource"]):
            rules = without(rules, (number, action, resource))
        found = denied(rules, [one for one in requests if one["action"] == action])
        assert found and all(line.startswith(f"{action} on ") for line in found)


def test_every_handler_of_every_type_is_accounted_for():
    for kind, actions in handlers().items():
        rest = [action for action in actions if action not in NEEDED[kind]]
        unknown = [one for one in rest if not one.startswith(tuple(p for ps in NOT_NEEDED.values() for p in ps))]
        assert unknown == [], kind
        assert NEEDED[kind].keys() <= set(actions), kind
    templates = "".join((REPO / "cloudformation" / name).read_text() for name in ("common.yaml", "node.yaml", "fleet.yaml"))
    # The others call nothing.
    kinds = set(re.findall(r"Type: (AWS::\w+::\w+)\n", templates))
    assert handlers().keys() == {kind for kind in kinds if "WaitCondition" not in kind}


def test_it_fits_into_one_managed_policy():
    text = (REPO / "cloudformation/deployer-policy.json").read_text()
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: 6,144 characters, white space not counted
    assert len("".join(text.split())) <= 6144
