#!/usr/bin/env python3
"""Draws cloudformation/dashboard.svg: the dashboard of node.yaml, as its stack makes it, with what each widget shows.

    target/tools/aws/bin/python tests/cloudformation/draw_dashboard.py
"""

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from dashboards import COLUMNS, Line, Widget, widgets

PICTURE = Path(__file__).parents[2] / "cloudformation/dashboard.svg"

# Pixels: of a cell of the grid, between boxes, of a line of text, and of a character in a title and in small type.
CELL, GAP, MARGIN, LEADING = (40, 30), 3, 10, 13
TITLE, SMALL = 7.2, 6.1
BY = {"AutoScalingGroupName": "group", "VolumeId": "volume"}
STYLE = """
    .ground { fill: #ffffff } .box { fill: #f6f8fa; stroke: #8c959f } .alarm { fill: #ffebe9; stroke: #cf222e }
    .log { fill: #ddf4ff; stroke: #0969da } text { fill: #1f2328 } .title { font-weight: 600 }
    .mono { font: 10px ui-monospace, monospace } .small { font-size: 10px; fill: #59636e }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117 } .box { fill: #161b22; stroke: #6e7681 } .alarm { fill: #3c1618; stroke: #f85149 }
      .log { fill: #0c2d6b; stroke: #58a6ff } text { fill: #e6edf3 } .small { fill: #9198a1 }
    }
"""


def draw(dashboard: dict, alarms: dict[str, str]) -> str:
    """The picture, with alarms called by the names that these ARNs have."""
    shown = widgets(dashboard)
    width = COLUMNS * CELL[0] + 2 * GAP
    height = max(top + rows for _, top, _, rows in (widget.box for widget in shown)) * CELL[1] + 2 * GAP
    label = "The dashboard of a node: " + ", ".join(widget.title for widget in shown)
    parts = [part for widget in shown for part in drawn(widget, alarms)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" '
            f'font-size="12" role="img" aria-label="{escape(label)}">',
            f"  <style>{STYLE}  </style>",
            f'  <rect class="ground" width="{width}" height="{height}" rx="6"/>',
            *(f"  {part}" for part in parts),
            "</svg>\n",
        ]
    )


def drawn(widget: Widget, alarms: dict[str, str]) -> Iterator[str]:
    left, top, width, height = (number * CELL[side % 2] for side, number in enumerate(widget.box))
    left, top, width, height = left + 2 * GAP, top + 2 * GAP, width - 2 * GAP, height - 2 * GAP
    kind = widget.kind if widget.kind in ("alarm", "log") else "box"
    yield f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="5"/>'
    room = width - 2 * MARGIN
    lines = [("title", line.strip()) for line in wrapped([widget.title], int(room / TITLE))]
    lines += [("mono", line) for line in wrapped(contents(widget, alarms), int(room / SMALL))]
    for number, (style, line) in enumerate(lines):
        lower = 4 if style == "mono" else 0
        yield text(style, left + MARGIN, top + 19 + number * LEADING + lower, line)
    if 19 + len(lines) * LEADING > height - 10:
        raise ValueError(f"the widget {widget.title} is too small for its {len(lines)} lines")
    yield text("small", left + MARGIN, top + height - 8, caption(widget))


def text(style: str, x: float, y: int, words: str) -> str:
    # A picture swallows leading blanks.
    x += SMALL * (len(words) - len(words.lstrip()))
    return f'<text class="{style}" x="{x:g}" y="{y}">{escape(words.lstrip(), quote=False)}</text>'


def wrapped(lines: list[str], characters: int) -> Iterator[str]:
    """Broken between words; what goes on is indented."""
    for line in lines:
        rest, *words = line.split(" ")
        for word in words:
            if len(rest) + 1 + len(word) > characters:
                yield rest
                rest = "  " + word
            else:
                rest += " " + word
        yield rest


def contents(widget: Widget, alarms: dict[str, str]) -> list[str]:
    properties = widget.properties
    if widget.kind == "alarm":
        return [", ".join(alarms[arn] for arn in properties["alarms"])]
    if widget.kind == "log":
        # Which log group it is, the node's name says.
        return properties["query"].split(" | ")[1:]
    computed = [f"{line.options['label']} = {line.expression}" for line in widget.lines if line.expression]
    return computed + [measured(line) for line in widget.lines if not line.expression]


def measured(line: Line) -> str:
    name = f"{line.options['id']} = " if "id" in line.options else ""
    return f"{name}{line.namespace} {line.metric} {line.dimensions.get('path', '')}".rstrip()


def caption(widget: Widget) -> str:
    if widget.kind == "alarm":
        return "the state of each"
    if widget.kind == "log":
        return "table, from the node's log group"
    properties = widget.properties
    (by,) = {BY[key] for line in widget.lines for key in line.dimensions if key != "path"}
    period = properties["period"]
    lasting = f"{period} s" if period < 120 else f"{period // 60} min"
    view = {"singleValue": "number"}.get(properties.get("view"), "graph")
    return f"{view}, {properties['stat'].lower()} of {lasting}, by {by}"


def current() -> str:
    """The picture of what the template makes now."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "local"))
    import deployed
    from aws.server import start
    from made import make_node

    server = start()
    try:
        deployed.common(server)
        return picture_of(make_node(server, "theta-edge-node"))
    finally:
        server.stop()


def picture_of(node) -> str:
    return draw(node.dashboard, {alarm["AlarmArn"]: name for name, alarm in node.alarms.items()})


if __name__ == "__main__":
    PICTURE.write_text(current())
