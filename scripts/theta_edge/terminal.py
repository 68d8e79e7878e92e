"""What a terminal shows: as wide as it is, and in bold where it takes that. What came from elsewhere (nodes, stacks, wait
handles), where anyone could have put anything into it, gives it no orders: whatever could move the cursor, hide or reorder
text is written as an escape."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import textwrap
import unicodedata
from typing import TextIO

# What reorders or hides text has the same category as what is harmless, so it is named (CVE-2021-42574).
UNSEEN = set("\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


# No line is longer, however wide the terminal is.
WIDEST = 100


def heading(text: str, to: TextIO) -> str:
    """Begins a part of the output; in bold on a terminal, unless its owner wants no styles (https://no-color.org)."""
    plain = f"==> {printable(text)}"
    return f"\x1b[1m{plain}\x1b[0m" if to.isatty() and not os.environ.get("NO_COLOR") else plain


def wrapped(first: str, text: str, to: TextIO) -> str:
    """`first` and `text`, in lines no longer than the terminal's, the others below the text. A file or a pipe gets one line."""
    if not to.isatty():
        return first + text
    width = min(shutil.get_terminal_size().columns, WIDEST)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )


def printable(text: str, harmless: str = "\t\n") -> str:
    """The text with everything escaped that a terminal would act on."""
    return "".join(
        char.encode("unicode_escape").decode()
        if char not in harmless and (unicodedata.category(char) in ("Cc", "Cs") or char in UNSEEN)
        else char
        for char in text
    )


def one_line(text: str) -> str:
    """The same, for a place where a second line could pass for something else."""
    return printable(" ".join(text.split()), harmless="")


def word(name: str) -> str:
    """A name that came from elsewhere, for a command that a person pastes into a shell: one word, whatever is in it."""
    return shlex.quote(printable(name, harmless=""))


def address(text: object) -> str:
    """The address of a wallet key; nothing where it is none."""
    return text if isinstance(text, str) and re.fullmatch("0x[0-9a-fA-F]{40}", text) else ""


def readable(line: str) -> str:
    """One of bootstrap's JSON lines for people; any other line as it is."""
    try:
        entry = json.loads(line)
        time, level, message = entry["time"], entry["level"], entry["message"]
        phase = entry.get("phase") or "bootstrap"
        return f"{time:<24}  {level.upper():<5}  {phase:<16}  {message}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return line
