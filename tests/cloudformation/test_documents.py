"""The SSM documents of common.yaml, by what they have an instance run."""

import json

import pytest
from botocore.exceptions import ClientError

import deployed
import product

DOCUMENTS = ("VerifyDocument", "RerunDocument", "RestartDocument")


@pytest.fixture(scope="module")
def names(server) -> dict[str, str]:
    server.reset()
    deployed.common(server)
    return {document: deployed.output(server, "theta-edge-common", document) for document in DOCUMENTS}


@pytest.fixture(scope="module")
def run(server, names):
    """Sends one of the documents to an instance, and says what it is asked to run."""
    started = server.client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    instance = started["Instances"][0]["InstanceId"]
    ssm = server.client("ssm")

    def send(document: str, **parameters: str) -> str:
        asked = []
        server.run_command = lambda _, script: asked.append(script.strip()) or (0, "", "")
        command = ssm.send_command(
            DocumentName=names[document],
            InstanceIds=[instance],
            Parameters={name: [value] for name, value in parameters.items()},
        )["Command"]["CommandId"]
        ssm.get_waiter("command_executed").wait(
            CommandId=command, InstanceId=instance, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
        )
        (script,) = asked
        return script

    return send


@pytest.mark.parametrize(
    ("document", "parameters", "script"),
    [
        ("VerifyDocument", {}, "/usr/local/bin/bootstrap verify --wait 0s"),
        ("VerifyDocument", {"Wait": "15m"}, "/usr/local/bin/bootstrap verify --wait 15m"),
        ("RerunDocument", {"Phase": "volume"}, "/usr/local/bin/bootstrap --phase volume"),
        ("RerunDocument", {"Phase": "nvidia", "Force": "--force"}, "/usr/local/bin/bootstrap --phase nvidia --force"),
        ("RestartDocument", {}, "/usr/local/bin/bootstrap --phase container --force"),
    ],
)
def test_a_document_runs_bootstrap(run, document, parameters, script):
    assert run(document, **parameters) == script


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        ("VerifyDocument", {"Wait": "1m; reboot"}),
        ("VerifyDocument", {"Wait": "15"}),
        ("VerifyDocument", {"Wait": "15m\nreboot"}),
        ("RerunDocument", {"Phase": "volume; reboot"}),
        ("RerunDocument", {"Phase": "all"}),
        ("RerunDocument", {"Phase": "volume", "Force": "--force; reboot"}),
        ("RerunDocument", {}),
    ],
)
def test_a_document_runs_nothing_else(run, document, parameters):
    with pytest.raises(ClientError, match="InvalidParameters"):
        run(document, **parameters)


def content(server, name: str) -> dict:
    got = server.client("ssm").get_document(Name=name, DocumentFormat="JSON")
    assert got["DocumentType"] == "Command"
    return json.loads(got["Content"])


def test_every_phase_can_be_run_again(server, names):
    phases = product.phases()
    assert phases[0] == "preflight"
    assert content(server, names["RerunDocument"])["parameters"]["Phase"]["allowedValues"] == phases


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_waits_for_as_long_as_a_run_may_take(server, names, document):
    (step,) = content(server, names[document])["mainSteps"]
    assert int(step["inputs"]["timeoutSeconds"]) > product.deadline()
