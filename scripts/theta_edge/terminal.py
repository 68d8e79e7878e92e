"""Shows on a terminal what came from elsewhere (nodes, stacks, wait handles), where anyone could have put anything into
it: whatever could move the cursor, hide or reorder text or give the terminal orders is written as an escape."""

from __future__ import annotations

import json
import re
import unicodedata

# What reorders or hides text has the same category as what is harmless, so it is named (CVE-2021-42574).
UNSEEN = set("\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")


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
