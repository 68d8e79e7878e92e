"""What runs on an operator's machine or on a node must run on Python 3.9, which Amazon Linux 2023 and CloudShell have."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from operate import REPO, environment, would_run
from theta_edge.environment import BOTO3

def interpreter() -> str | None:
    """A real Python 3.9, where there is one: by its name, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [shutil.which("python3.9"), "/usr/bin/python3", *pyenv.glob("versions/3.9.*/bin/python3.9")]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.stdout == "(3, 9)\n":
            return str(candidate)
    return None


PYTHON = interpreter()
pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs Python 3.9")


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    """It, with boto3."""
    place = tmp_path_factory.mktemp("python39")
    subprocess.run([PYTHON, "-m", "venv", place], check=True)
    subprocess.run([place / "bin/pip", "install", "--quiet", BOTO3], check=True)
    return str(place / "bin/python3")


def test_deploy_checks_everything_and_prints_its_calls(aws, binary, python, tmp_path):
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    ended = subprocess.run(
        [python, REPO / "scripts/deploy", "--dry-run", "--binary", binary, "--password-file", password],
        env=environment(aws),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    # Nor is the person told of boto3's plans.
    assert "Deprecation" not in ended.stderr
    assert [call[3:5] for call in would_run(ended.stdout)] == [
        ["cloudformation", "create-stack"],
        *[["s3api", "put-object"]] * 4,
        ["cloudformation", "create-stack"],
    ]


@pytest.mark.parametrize("command", ["deploy", "upgrade", "destroy", "publish", "verify", "logs", "smoke"])
def test_every_command_starts(command):
    ended = subprocess.run([PYTHON, REPO / "scripts" / command, "--help"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Usage: scripts/{command} ")


@pytest.mark.parametrize(
    ("program", "arguments", "told"),
    [
        ("key", ["backup", "certificate"], "{}/etc/bootstrap/config.json does not exist on the node: it is not set up by bootstrap\n"),
        ("upgrade", ["apply", "0" * 64, ""], "[Errno 2] No such file or directory: '{}/etc/bootstrap/config.json'\n"),
    ],
)
def test_the_programs_that_go_to_a_node_start(tmp_path, program, arguments, told):
    ended = subprocess.run(
        [PYTHON, REPO / f"scripts/{program}-on-node.py", *arguments],
        env={"BOOTSTRAP_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (1, told.format(tmp_path))
