"""theta_edge.template reads our templates without a YAML library: it must see what a library sees."""

import pytest

from aws import templates
from operate import REPO
from theta_edge import template

FILES = ["common.yaml", "node.yaml", "fleet.yaml"]


def declared(file: str) -> dict[str, dict]:
    return templates.parse((REPO / "cloudformation" / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_keys_defaults_and_resources_are_those_of_the_template(file):
    read, known = template.read(REPO / "cloudformation" / file), declared(file)
    assert list(read.parameters) == list(known["Parameters"])
    assert read.defaults == {
        key: str(rules["Default"]) for key, rules in known["Parameters"].items() if "Default" in rules
    }
    # What a fleet makes of its list of nodes stands there once.
    assert [name for name in read.resources if name in known["Resources"]] == [
        name for name in known["Resources"] if not name.startswith("Fn::")
    ]


@pytest.mark.parametrize("file", FILES)
def test_every_constraint_is_looked_at(file):
    """A value that fits none of them is refused by each parameter that has one."""
    read, known = template.read(REPO / "cloudformation" / file), declared(file)["Parameters"]
    constrained = {"AllowedValues", "AllowedPattern", "MinValue", "MaxValue"}
    wanted = {key for key, rules in known.items() if constrained & rules.keys()}
    assert {key for key in known if (read.problem(key, "\0") or "").startswith(key)} == wanted
    # And the defaults fit.
    assert [read.problem(key, value) for key, value in read.defaults.items() if read.problem(key, value)] == []
