"""Tells about the parameters of a CloudFormation template, so that the scripts hold no second list of them.

    template.py keys TEMPLATE        one a line
    template.py defaults TEMPLATE    KEY<tab>DEFAULT, one a line
    template.py check TEMPLATE       reads KEY=VALUE items, each ended by a NUL byte, and prints what is wrong with them

Reads only what our own templates look like: a person's machine has Python, but no YAML library.
"""

from __future__ import annotations

import json
import re
import sys


def scalar(text: str) -> str:
    return json.loads(text) if text.startswith('"') else text


def parameters(path: str) -> dict[str, dict[str, str]]:
    """Each parameter's attributes as they are written."""
    found: dict[str, dict[str, str]] = {}
    inside = False
    with open(path, encoding="utf-8") as file:
        for line in file:
            if re.match(r"\S", line):
                inside = line.startswith("Parameters:")
            elif inside and (name := re.fullmatch(r"  (\w+):\n", line)):
                found[name[1]] = attributes = {}
            elif inside and (attribute := re.fullmatch(r"    (\w+): (.+)\n", line)):
                attributes[attribute[1]] = attribute[2]
    return found


def problem(key: str, value: str, rules: dict[str, str]) -> str | None:
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


def main() -> None:
    command, path = sys.argv[1:]
    known = parameters(path)
    if command == "keys":
        print("\n".join(known))
    elif command == "defaults":
        for key, rules in known.items():
            if "Default" in rules:
                print(key, scalar(rules["Default"]), sep="\t")
    else:
        for item in sys.stdin.buffer.read().decode().split("\0")[:-1]:
            key, _, value = item.partition("=")
            wrong = problem(key, value, known[key]) if key in known else f"there is no parameter {key}"
            if wrong:
                print(wrong)


if __name__ == "__main__":
    main()
