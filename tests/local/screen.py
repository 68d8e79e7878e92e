#!/usr/bin/env python3
"""Runs a command in a terminal of 80 columns, and draws what the terminal shows as an SVG.

    screen.py PICTURE [--as TEXT] [--when PATTERN [--type TEXT]] [--ends CODE] -- COMMAND…

--as says what a person would have typed; the command itself otherwise. Without --when it draws what is shown in the end; with
it, what is shown as soon as that matches the regular expression, and then types the text of --type. There is no picture of a
command that ends with another exit code than --ends says (default: 0).
"""

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import termios
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte

COLUMNS, ROWS = 80, 100

# Pixels: of a character, and of the margin.
WIDTH, HEIGHT, MARGIN = 8.4, 18, 12
GROUND, TEXT = "#0d1117", "#e6edf3"
COLOURS = {
    "default": TEXT, "dim": "#8b949e", "black": "#484f58", "red": "#ff7b72", "green": "#3fb950", "brown": "#d29922",
    "blue": "#58a6ff", "magenta": "#bc8cff", "cyan": "#39c5cf", "white": "#b1bac4", "brightblack": "#6e7681",
    "brightred": "#ffa198", "brightgreen": "#56d364", "brightbrown": "#e3b341", "brightblue": "#79c0ff",
    "brightmagenta": "#d2a8ff", "brightcyan": "#56d4dd", "brightwhite": "#f0f6fc",
}  # fmt: skip


class Screen(pyte.Screen):
    """Knows faint text too, as a colour."""

    def select_graphic_rendition(self, *attrs: int, private: bool = False) -> None:
        super().select_graphic_rendition(*attrs)
        if attrs == (2,):
            self.cursor.attrs = self.cursor.attrs._replace(fg="dim")
        elif attrs == (22,):
            self.cursor.attrs = self.cursor.attrs._replace(fg="default")


def colour(name: str) -> str:
    """One of the terminal's sixteen, or one of the others, which pyte gives as hex digits."""
    return COLOURS.get(name) or f"#{int(name, 16):06x}"


def drawn(screen: pyte.Screen, title: str) -> str:
    """The screen as an SVG, below the command."""
    lines = len(screen.display)
    while lines and not screen.display[lines - 1].strip():
        lines -= 1
    width, height = COLUMNS * WIDTH + 2 * MARGIN, (lines + 1) * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"',
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width:g}" height="{height:g}" rx="6" fill="{GROUND}"/>',
        words(0, 0, "$", f' fill="{COLOURS["green"]}"'),
        words(2, 0, title, f' fill="{TEXT}" font-weight="bold"'),
    ]
    for row in range(lines):
        parts += runs(row + 1, screen.buffer[row])
    return "\n".join([*parts, "</svg>\n"])


def runs(row: int, line: Any) -> Iterator[str]:
    """The pieces of a line that look alike."""
    cells = [(column, line[column]) for column in range(COLUMNS)]
    for _, group in groupby(cells, key=lambda cell: cell[1]._replace(data="")):
        piece = list(group)
        start, look = piece[0]
        # What is behind a wide character is empty.
        text = "".join(cell.data for _, cell in piece)
        front, ground = colour(look.fg), GROUND if look.bg == "default" else colour(look.bg)
        if look.reverse:
            front, ground = ground, front
        if ground != GROUND:
            x, y = MARGIN + start * WIDTH, MARGIN + row * HEIGHT
            yield f'<rect x="{x:g}" y="{y:g}" width="{len(piece) * WIDTH:g}" height="{HEIGHT}" fill="{ground}"/>'
        if text.strip():
            style = f' fill="{front}"'
            style += ' font-weight="bold"' if look.bold else ""
            style += ' font-style="italic"' if look.italics else ""
            style += ' text-decoration="underline"' if look.underscore else ""
            before = len(text) - len(text.lstrip())
            yield words(start + before, row, text.strip(), style)


def words(column: int, row: int, text: str, style: str) -> str:
    """Text in its place, as wide as it is there, whatever font there is."""
    x, y = MARGIN + column * WIDTH, MARGIN + (row + 1) * HEIGHT - 5
    return (
        f'<text x="{x:g}" y="{y:g}" textLength="{len(text) * WIDTH:g}" lengthAdjust="spacingAndGlyphs"{style} '
        f'xml:space="preserve">{escape(text)}</text>'
    )


def watch(command: list[str], title: str, when: str, typed: str) -> tuple[str, int]:
    """The picture, and the command's exit code; no picture where what it is to show never came."""
    screen = Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    picture = ""
    while output := read(terminal):
        stream.feed(output)
        if when and not picture and re.search(when, "\n".join(screen.display)):
            picture = drawn(screen, title)
            os.write(terminal, typed.encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return picture if when else drawn(screen, title), code


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    # Nobody has it open any more.
    except OSError:
        return b""


def main() -> int:
    options = argparse.ArgumentParser(usage=__doc__, add_help=False)
    options.add_argument("picture", type=Path)
    options.add_argument("--as", dest="title")
    options.add_argument("--when", default="")
    options.add_argument("--type", dest="typed", default="")
    options.add_argument("--ends", type=int, default=0)
    options.add_argument("command", nargs="+")
    wanted = options.parse_args()
    title = wanted.title or shlex.join(wanted.command)
    picture, code = watch(wanted.command, title, wanted.when, wanted.typed)
    if not picture:
        print(f"{title} never showed {wanted.when!r}", file=sys.stderr)
        return 1
    if code != wanted.ends:
        print(f"{title} ended with {code}, not {wanted.ends}", file=sys.stderr)
        return 1
    wanted.picture.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
