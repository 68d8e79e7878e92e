#!/usr/bin/env python3
"""Prints the UserData of cloudformation/node.yaml as CloudFormation would hand it to the instance.

    render.py TEMPLATE VALUES.json

VALUES.json maps what the script refers to (parameters, pseudo parameters, logical ids and
attributes) to values; a parameter's default is used where it has one.
"""

import json
import re
import sys

import yaml


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms: !Ref x becomes {"Ref": x}, !Sub x {"Fn::Sub": x} …"""


def short_form(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short_form)


def find(node, key):
    """All values of a key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from find(value, key)


def substitute(text, values):
    def value(match):
        name = match.group(1)
        if name.startswith("!"):
            return "${" + name[1:] + "}"
        if name not in values:
            sys.exit(f"render.py: UserData refers to {name}, which has no value")
        return str(values[name])

    return re.sub(r"\$\{([^}]*)\}", value, text)


def main():
    template_file, values_file = sys.argv[1:]
    with open(template_file, encoding="utf-8") as file:
        template = yaml.load(file, Loader)  # noqa: S506, a SafeLoader
    with open(values_file, encoding="utf-8") as file:
        given = json.load(file)
    values = {
        name: parameter["Default"]
        for name, parameter in template["Parameters"].items()
        if "Default" in parameter
    }
    values.update(given)
    (user_data,) = find(template["Resources"], "UserData")
    sub = user_data["Fn::Base64"]["Fn::Sub"]
    if isinstance(sub, list):
        sub, extra = sub
        for name, value in extra.items():
            values.setdefault(name, value)
    sys.stdout.write(substitute(sub, values))


if __name__ == "__main__":
    main()
