"""What IAM would decide: policy documents evaluated for one request, as far as ours go."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

Statement = dict[str, Any]


def statements(documents: Iterable[dict[str, Any]]) -> list[Statement]:
    return [statement for document in documents for statement in several(document["Statement"])]


def allowed(rules: list[Statement], action: str, resource: str, **context: str) -> bool:
    """Whether somebody with these statements may do it. A condition key's colon and slash are written as __ and ___."""
    known = {key.replace("___", "/").replace("__", ":"): value for key, value in context.items()}
    effects = {rule["Effect"] for rule in rules if fits(rule, action, resource, known)}
    return effects == {"Allow"}


def fits(rule: Statement, action: str, resource: str, context: dict[str, str]) -> bool:
    return (
        any(fnmatchcase(action.lower(), pattern.lower()) for pattern in several(rule["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in several(rule["Resource"]))
        and all(
            holds(operator, context.get(key), [str(value) for value in several(values)])
            for operator, wanted in rule.get("Condition", {}).items()
            for key, values in wanted.items()
        )
    )


def holds(operator: str, found: str | None, wanted: list[str]) -> bool:
    """Of a key with several values, each stands behind a comma."""
    if operator == "Null":
        return wanted == [str(found is None).lower()]
    if operator.startswith("ForAllValues:"):
        operator = operator.removeprefix("ForAllValues:")
        return found is None or all(holds(operator, one, wanted) for one in found.split(","))
    return found is not None and any(OPERATORS[operator](found, one) for one in wanted)


OPERATORS = {
    "Bool": lambda one, other: one == other.lower(),
    "NumericLessThan": lambda one, other: float(one) < float(other),
    "StringEquals": lambda one, other: one == other,
    "StringLike": fnmatchcase,
}


def several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
