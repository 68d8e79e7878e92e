"""Which stacks import an export: ListImports, which moto lacks."""

from collections.abc import Iterator
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

from aws import templates


def find(node: Any) -> Iterator[Any]:
    """What Fn::ImportValue is given, at any depth."""
    if isinstance(node, dict):
        if "Fn::ImportValue" in node:
            yield node["Fn::ImportValue"]
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from find(value)


def imports(stack: Stack, export: str) -> bool:
    if stack.status.startswith("DELETE"):
        return False
    return export in (templates.resolve(name, stack.resource_map) for name in find(stack.template_dict))


def list_imports(response: CloudFormationResponse) -> ActionResult:
    export = response._get_param("ExportName")
    names = [stack.name for stack in response.cloudformation_backend.stacks.values() if imports(stack, export)]
    if not names:
        raise ValidationError(message=f"Export '{export}' is not imported by any stack.")
    return ActionResult({"Imports": names})


def install() -> None:
    CloudFormationResponse.list_imports = list_imports
