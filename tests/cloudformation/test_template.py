"""scripts/template.py reads our templates without a YAML library: it must see what a library sees."""

import subprocess
import sys

import pytest

from aws import templates
from deployed import REPO

FILES = ["common.yaml", "node.yaml", "fleet.yaml"]


def tell(command: str, file: str, given: bytes = b"") -> list[str]:
    program = [sys.executable, REPO / "scripts/template.py", command, REPO / "cloudformation" / file]
    return subprocess.run(program, input=given, capture_output=True, check=True).stdout.decode().splitlines()


def declared(file: str) -> dict[str, dict]:
    return templates.parse((REPO / "cloudformation" / file).read_text())["Parameters"]


@pytest.mark.parametrize("file", FILES)
def test_keys_and_defaults_are_those_of_the_template(file):
    parameters = declared(file)
    assert tell("keys", file) == list(parameters)
    defaults = {key: str(rules["Default"]) for key, rules in parameters.items() if "Default" in rules}
    assert tell("defaults", file) == [f"{key}\t{value}" for key, value in defaults.items()]


@pytest.mark.parametrize("file", FILES)
def test_every_constraint_is_looked_at(file):
    """A value that fits none of them is refused by each parameter that has one."""
    constrained = {"AllowedValues", "AllowedPattern", "MinValue", "MaxValue"}
    wanted = {key for key, rules in declared(file).items() if constrained & rules.keys()}
    items = b"".join(f"{key}=\n".encode() + b"\0" for key in declared(file))
    assert {line.split()[0] for line in tell("check", file, items)} == wanted
    # And the defaults fit.
    assert tell("check", file, b"".join(line.replace("\t", "=").encode() + b"\0" for line in tell("defaults", file))) == []
