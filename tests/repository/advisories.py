#!/usr/bin/env python3
"""Which crates have a known vulnerability, or are unsound or given up, by a copy of RustSec's advisories that needs no network.

    advisories.py CLONE    writes advisories.json anew, from a clone of https://github.com/rustsec/advisory-db
"""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

COPY = Path(__file__).with_name("advisories.json")

# Numbers before letters, and both before the release itself.
Version = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
RELEASE = ((2, 0, ""),)


def version(text: str) -> Version:
    numbers, _, before = text.strip().partition("+")[0].partition("-")
    parts = [int(number) for number in numbers.split(".")] + [0, 0]
    words = before.split(".") if before else []
    early = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in words)
    return (parts[0], parts[1], parts[2], early or RELEASE)


def next_breaking(text: str) -> Version:
    """The first version that a caret before `text` leaves out."""
    numbers = [int(number) for number in text.strip().partition("-")[0].split(".")]
    place = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
    numbers = [*numbers[:place], numbers[place] + 1, 0, 0][:3]
    return version(".".join(map(str, numbers)) + "-0")


def meets(found: str, requirement: str) -> bool:
    """Whether a version meets all parts of a requirement, as Cargo reads it."""
    it = version(found)
    for part in requirement.split(","):
        sign, wanted = re.fullmatch(r"\s*(>=|<=|>|<|=|\^|)\s*([\w.+-]+)\s*", part).groups()
        bound = version(wanted)
        holds = {
            ">=": it >= bound,
            "<=": it <= bound,
            ">": it > bound,
            "<": it < bound,
            "=": it == bound,
            "^": bound <= it < next_breaking(wanted),
        }[sign or "^"]
        if not holds:
            return False
    return True


@dataclass(frozen=True)
class Advisory:
    id: str
    crate: str
    # The versions that are not concerned.
    good: list[str]

    def concerns(self, name: str, found: str) -> bool:
        return name == self.crate and not any(meets(found, requirement) for requirement in self.good)


def known() -> list[Advisory]:
    return [Advisory(*row) for row in json.loads(COPY.read_text())["advisories"]]


def read(text: str) -> Advisory | None:
    """One file of the database; None where it was taken back or is no more than a note."""
    whole = tomllib.loads(text.split("```toml", 1)[1].split("```", 1)[0])
    about, versions = whole["advisory"], whole["versions"]
    if "withdrawn" in about or about.get("informational") == "notice":
        return None
    return Advisory(about["id"], about["package"], [*versions["patched"], *versions.get("unaffected", [])])


def write(clone: str) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", clone, *arguments], capture_output=True, text=True, check=True).stdout

    commit, date = git("log", "-1", "--format=%H %cs").split()
    files = sorted(name for name in git("ls-tree", "-r", "--name-only", commit, "crates/").split() if "/RUSTSEC-" in name)
    found = [read(git("show", f"{commit}:{name}")) for name in files]
    rows = [json.dumps([one.id, one.crate, one.good]) for one in found if one]
    head = f'"source": "https://github.com/rustsec/advisory-db", "commit": "{commit}", "date": "{date}",'
    COPY.write_text(f'{{{head}\n"advisories": [\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    write(sys.argv[1])
