"""The part of the transform AWS::LanguageExtensions that our templates use: Fn::ForEach."""

import re
from typing import Any


def expand(template: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The template with every loop written out."""
    if template.get("Transform") != "AWS::LanguageExtensions":
        return template
    defaults = {name: one.get("Default", "") for name, one in template.get("Parameters", {}).items()}
    lists = {name: [item for item in str(value).split(",") if item] for name, value in (defaults | given).items()}
    return unroll(template, lists)


def unroll(node: Any, lists: dict[str, list[str]]) -> Any:
    if isinstance(node, list):
        return [unroll(item, lists) for item in node]
    if not isinstance(node, dict):
        return node
    written: dict[str, Any] = {}
    for key, value in node.items():
        if not key.startswith("Fn::ForEach::"):
            written[key] = unroll(value, lists)
            continue
        name, collection, body = value
        items = lists[collection["Ref"]] if isinstance(collection, dict) else collection
        for item in items:
            written |= unroll(put_in(body, name, item), lists)
    return written


def put_in(node: Any, name: str, item: str) -> Any:
    """The loop's body with its variable replaced: ${Name}, &{Name} (letters and digits only) and Ref."""
    if isinstance(node, list):
        return [put_in(one, name, item) for one in node]
    if isinstance(node, dict):
        if node == {"Ref": name}:
            return item
        return {put_in(key, name, item): put_in(value, name, item) for key, value in node.items()}
    if isinstance(node, str):
        plain = re.sub(r"[^A-Za-z0-9]", "", item)
        return node.replace("${" + name + "}", item).replace("&{" + name + "}", plain)
    return node
