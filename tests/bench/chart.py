"""Line charts and timelines as SVG, for light and dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 320, 70, 20, 40, 50
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"]


class Axis:
    """One axis, linear, with its ticks."""

    def __init__(self, label, least, most, ticks):
        self.label, self.least, self.most, self.ticks = label, least, most, ticks

    def place(self, value):
        """0 at the start of the axis, 1 at its end."""
        return (value - self.least) / (self.most - self.least)


class Logarithmic(Axis):
    """An axis of powers of ten."""

    def __init__(self, label, least, most):
        super().__init__(label, least, most, [10.0**power for power in range(least, most + 1)])

    def place(self, value):
        return (math.log10(value) - self.least) / (self.most - self.least)


def opening(title, left, height):
    """How each picture begins."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]


def chart(title, across, up, series):
    """`series` gives, by name, points (x, y); `across` and `up` are axes."""
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x = lambda value: LEFT + across.place(value) * inner_width
    y = lambda value: HEIGHT - BOTTOM - up.place(value) * inner_height
    parts = [
        *opening(title, LEFT, HEIGHT),
        f'<text x="{LEFT + inner_width / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across.label)}</text>',
        f'<text transform="translate(16 {TOP + inner_height / 2:.0f}) rotate(-90)" text-anchor="middle">',
        f"{escape(up.label)}</text>",
    ]
    for tick in across.ticks:
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:,g}</text>')
    for tick in up.ticks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(across_value):.1f},{y(up_value):.1f}" for across_value, up_value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 12:
            parts += [f'<circle cx="{x(a):.1f}" cy="{y(u):.1f}" r="3" fill="{colour}"/>' for a, u in points]
        parts.append(
            f'<text x="{WIDTH - RIGHT - 4}" y="{TOP + 14 + 18 * number}" text-anchor="end" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def timeline(title, steps):
    """`steps` are (name, start, end), in seconds; each has a line of its own."""
    row, left, top = 24, 210, 36
    most = max(end for _, _, end in steps)
    step = next(step for step in [1, 2, 5, 10, 20, 60, 120, 300, 600] if most / step <= 10)
    x = lambda seconds: left + seconds / most * (WIDTH - left - 60)
    bottom = top + row * len(steps)
    parts = opening(title, 16, bottom + 30)
    for tick in range(0, int(most) + 1, step):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick} s</text>')
    for number, (name, start, end) in enumerate(steps):
        y = top + row * number
        parts += [
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{x(start):.1f}" y="{y + 4}" width="{max(x(end) - x(start), 1):.1f}" height="16" fill="{COLOURS[0]}"/>',
            f'<text x="{x(end) + 5:.1f}" y="{y + 16}">{end - start:.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
