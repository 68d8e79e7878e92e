"""What the JSON of a CloudWatch dashboard means: widgets, and the metrics and expressions that they show."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

COLUMNS = 24


@dataclass
class Line:
    """A metric, or an expression over others."""

    namespace: str
    metric: str
    dimensions: dict[str, str]
    options: dict[str, Any]

    @property
    def expression(self) -> str | None:
        return self.options.get("expression")

    @property
    def visible(self) -> bool:
        return self.options.get("visible", True)


@dataclass
class Widget:
    json: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.json["type"]

    @property
    def properties(self) -> dict[str, Any]:
        return self.json["properties"]

    @property
    def title(self) -> str:
        return self.properties["title"]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height, on a grid of 24 columns."""
        return tuple(self.json[side] for side in ("x", "y", "width", "height"))

    def cells(self) -> set[tuple[int, int]]:
        left, top, width, height = self.box
        return {(x, y) for x in range(left, left + width) for y in range(top, top + height)}

    @property
    def lines(self) -> list[Line]:
        return [line(one) for one in self.properties.get("metrics", [])]


def widgets(dashboard: dict[str, Any]) -> list[Widget]:
    return [Widget(one) for one in dashboard["widgets"]]


def line(metric: list[Any]) -> Line:
    options = metric[-1] if isinstance(metric[-1], dict) else {}
    words = metric[: len(metric) - bool(options)]
    if not words:
        return Line("", "", {}, options)
    namespace, name, *dimensions = words
    assert len(dimensions) % 2 == 0
    return Line(namespace, name, dict(zip(dimensions[::2], dimensions[1::2], strict=True)), options)


def value(expression: str, values: dict[str, float], period: int) -> float:
    """What CloudWatch would compute, with arithmetic, comparisons, IF and PERIOD."""
    tree = Lazy().visit(ast.parse(expression, mode="eval"))
    functions: dict[str, Callable] = {"PERIOD": lambda _: period}
    return eval(compile(ast.fix_missing_locations(tree), "expression", "eval"), {"__builtins__": {}}, functions | values)


class Lazy(ast.NodeTransformer):
    """IF is a function there, but does not compute what it does not take."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802, ast's name
        self.generic_visit(node)
        return ast.IfExp(*node.args) if isinstance(node.func, ast.Name) and node.func.id == "IF" else node
