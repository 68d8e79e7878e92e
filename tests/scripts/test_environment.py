"""Where boto3 comes from on a machine that has none."""

import subprocess

import pytest

from theta_edge import environment
from theta_edge.command import Failed


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One without boto3. Returns what was run, and the exit code that it will end with."""
    ran, codes = [], [0]
    place = tmp_path / "operator"

    def run(words, **_):
        ran.append(words[1:])
        place.mkdir(exist_ok=True)
        return subprocess.CompletedProcess(words, codes[0])

    def execv(python, words):
        ran.append([python, words[0]])

    monkeypatch.setattr(environment, "PLACE", place)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment.os, "execv", execv)
    return ran, codes


def test_an_environment_is_made_once_and_the_command_goes_on_in_it(machine, tmp_path):
    ran, _ = machine
    python = str(tmp_path / "operator/bin/python3")
    environment.need_boto3()
    venv, pip, again = ran
    assert venv == ["-m", "venv", "--clear", str(tmp_path / "operator")]
    assert pip[-1] == environment.BOTO3
    assert again == [python, python]
    ran.clear()
    environment.need_boto3()
    assert ran == [[python, python]]


def test_what_cannot_be_installed_is_said_with_what_to_do(machine, tmp_path):
    ran, codes = machine
    codes[0] = 1
    with pytest.raises(Failed, match="failed: install boto3 yourself .* or run this in AWS CloudShell"):
        environment.need_boto3()
    assert not (tmp_path / "operator/complete").exists()
