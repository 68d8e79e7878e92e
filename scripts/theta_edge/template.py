"""The parameters and resources of our own CloudFormation templates, so that there is no second list of them.

Reads only what our templates look like: a person's machine has Python, but no YAML library.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from theta_edge.command import REPO


def scalar(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


@dataclass(frozen=True)
class Template:
    path: Path
    text: str
    # Each parameter's attributes as they are written.
    parameters: dict[str, dict[str, str]]
    resources: list[str]

    @property
    def defaults(self) -> dict[str, str]:
        return {key: scalar(rules["Default"]) for key, rules in self.parameters.items() if "Default" in rules}

    def problem(self, key: str, value: str) -> str | None:
        """What is wrong with a parameter's value, if anything is."""
        rules = self.parameters[key]
        if "AllowedValues" in rules:
            allowed = [scalar(item) for item in rules["AllowedValues"].strip("[]").split(", ")]
            if value not in allowed:
                return f"{key} is one of {', '.join(allowed)}, not {value!r}"
        if rules["Type"] == "Number":
            if not re.fullmatch(r"[0-9]+", value):
                return f"{key} is a number, not {value!r}"
            least, most = rules.get("MinValue"), rules.get("MaxValue")
            if least and most and not int(least) <= int(value) <= int(most):
                return f"{key} is a number from {least} to {most}, not {value}"
        if "AllowedPattern" in rules:
            pattern = scalar(rules["AllowedPattern"])
            for item in value.split(",") if rules["Type"] == "CommaDelimitedList" else [value]:
                if not re.fullmatch(pattern, item):
                    return f"{key} looks like {pattern}, and {item!r} does not"
        return None


def read(path: Path) -> Template:
    text, section = path.read_text(encoding="utf-8"), ""
    parameters: dict[str, dict[str, str]] = {}
    resources: list[str] = []
    attributes: dict[str, str] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w+):.*", line):
            section = heading[1]
        elif name := re.fullmatch(r"  (\w+):", line):
            attributes = {}
            if section == "Parameters":
                parameters[name[1]] = attributes
            elif section == "Resources":
                resources.append(name[1])
        elif attribute := re.fullmatch(r"    (\w+): (.+)", line):
            attributes[attribute[1]] = attribute[2]
    return Template(path, text, parameters, resources)


def block(text: str, section: str, name: str) -> str:
    """An entry of a section as it is written; empty where there is none."""
    found = re.search(rf"^{section}:\n(?:.*\n)*?(?=\S|\Z)", text, re.MULTILINE)
    inner = re.search(rf"^  {name}:\n(?:(?:    .*)?\n)*", found[0], re.MULTILINE) if found else None
    return inner[0] if inner else ""


NODE, FLEET, COMMON = (read(REPO / "cloudformation" / name) for name in ("node.yaml", "fleet.yaml", "common.yaml"))
