"""What a Command document of Systems Manager means: its shell script, with the parameters put in."""

import json
import re
from typing import Any

import yaml
from moto.ssm.exceptions import InvalidDocument, SSMException
from moto.ssm.models import SimpleSystemManagerBackend

SHELL = {
    "schemaVersion": "2.2",
    "parameters": {
        "commands": {"type": "StringList"},
        "workingDirectory": {"type": "String", "default": ""},
        "executionTimeout": {"type": "String", "default": "3600"},
    },
    "mainSteps": [
        {
            "action": "aws:runShellScript",
            "name": "aws:runShellScript",
            "inputs": {"runCommand": ["{{ commands }}"], "workingDirectory": "{{ workingDirectory }}"},
        }
    ],
}

Values = dict[str, str | list[str]]


def find(backend: SimpleSystemManagerBackend, name: str, version: str) -> dict[str, Any]:
    if name == "AWS-RunShellScript":
        return SHELL
    document = backend.get_document(name, "" if version == "$DEFAULT" else version, "", "")
    if document["DocumentType"] != "Command":
        raise InvalidDocument(f"{name} is no Command document")
    content = document["Content"]
    return yaml.safe_load(content) if isinstance(content, str) else content


def values(document: dict[str, Any], given: dict[str, list[str]]) -> Values:
    """The parameters' values, checked as SendCommand does."""
    declared = document.get("parameters", {})
    if unknown := set(given) - set(declared):
        raise refused(f"Document has no parameters {sorted(unknown)}")
    found: Values = {}
    for name, parameter in declared.items():
        if name not in given and "default" not in parameter:
            raise refused(f"Parameter {name} must have a value")
        several = parameter["type"] == "StringList"
        items = given.get(name)
        if items is None:
            items = parameter["default"] if several else [str(parameter["default"])]
        elif not several and len(items) != 1:
            raise refused(f"Parameter {name} takes one value")
        for item in items:
            if "allowedValues" in parameter and item not in map(str, parameter["allowedValues"]):
                raise refused(f"Parameter {name} must be one of {parameter['allowedValues']}")
            if "allowedPattern" in parameter and not re.search(parameter["allowedPattern"], item):
                raise refused(f"Parameter {name} must match {parameter['allowedPattern']}")
        found[name] = items if several else items[0]
    return found


def step(document: dict[str, Any], found: Values) -> tuple[str, str]:
    """The name of the document's one step and its script."""
    if document.get("schemaVersion") != "2.2":
        raise InvalidDocument("only documents of schema 2.2 run here")
    steps = [one for one in document["mainSteps"] if one["action"] == "aws:runShellScript"]
    if len(steps) != 1 or len(document["mainSteps"]) != 1:
        raise InvalidDocument("only documents with one step, aws:runShellScript, run here")
    (only,) = steps
    lines: list[str] = []
    for line in only["inputs"]["runCommand"]:
        whole = re.fullmatch(r"\{\{\s*(\w+)\s*\}\}", line)
        if whole and isinstance(found.get(whole.group(1)), list):
            lines.extend(found[whole.group(1)])
        else:
            lines.append(fill(line, found))
    directory = fill(only["inputs"].get("workingDirectory", ""), found)
    if directory:
        lines.insert(0, f"cd '{directory}' || exit 1")
    return only["name"], "\n".join(lines) + "\n"


def fill(text: str, found: Values) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in found:
            return match.group()
        return found[name] if isinstance(found[name], str) else json.dumps(found[name])

    return re.sub(r"\{\{\s*(\w+)\s*\}\}", value, text)


def refused(message: str) -> SSMException:
    return SSMException("InvalidParameters", message)
