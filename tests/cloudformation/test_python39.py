"""What runs on an operator's machine or on a node must run on Python 3.9, which Amazon Linux 2023 and CloudShell have."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deployed import REPO

TEMPLATES = [REPO / "cloudformation" / name for name in ("common.yaml", "node.yaml", "fleet.yaml")]


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


def run(program: str, *arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, REPO / "scripts" / program, *arguments], input=given, capture_output=True, text=True
    )


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.name)
def test_templates_are_read(template):
    ended = run("template.py", "defaults", template)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\t" in ended.stdout
    ended = run("template.py", "check", template, given="None=1\0")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "there is no parameter None\n", "")


def test_what_a_node_says_is_shown():
    ended = run("terminal.py", "text", given="a\x1b[2J\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a\\x1b[2J\n", "")


def test_the_program_that_goes_to_a_node_starts(tmp_path):
    ended = subprocess.run(
        [PYTHON, REPO / "scripts/key-on-node.py", "backup", "certificate"],
        env={"BOOTSTRAP_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        f"{tmp_path}/etc/bootstrap/config.json does not exist on the node: it is not set up by bootstrap\n",
    )
