"""The table and plots of README.md beside this file: made from tests/bench/figures.json, so that they cannot drift from it."""

import importlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
README = HERE / "README.md"
FIGURES = HERE / "figures.json"
BEGIN = "<!-- from tests/bench/figures.json: scripts/bench --page -->\n"
END = "<!-- end of the figures -->\n"


def kept():
    """The figures of the last run that was kept, by the name of the module that took them."""
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def keep(figures):
    """Keeps figures."""
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def cell(value):
    """One cell."""
    return value.replace("|", "\\|")


def table(figures):
    """The table of all rows."""
    lines = ["| what | `bootstrap` | beside | so | to reach | reached |", "| --- | --- | --- | --- | --- | --- |"]
    for name, one in figures.items():
        for *texts, met in importlib.import_module(name).rows(one["taken"]):
            said = {True: "yes", False: "**no**", None: ""}[met]
            lines.append("| " + " | ".join(cell(text) for text in [*texts, said]) + " |")
    return "\n".join(lines)


def section(figures):
    """What stands between the markers of README.md."""
    machines = sorted({(one["on"]["date"], one["on"]["processor"], one["on"]["system"]) for one in figures.values()})
    taken = "; ".join(f"{date}, {processor}, {system}" for date, processor, system in machines)
    said = [f"Taken {taken}.", table(figures)]
    for name, one in figures.items():
        more = getattr(importlib.import_module(name), "more", None)
        said += [more(one["taken"])] if more else []
    return "\n" + "\n\n".join(said) + "\n\n"


def files(figures):
    """Every file that is made from the figures, with its text."""
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    made = {README: before + BEGIN + section(figures) + END + after}
    for name, one in figures.items():
        for file, svg in getattr(importlib.import_module(name), "plots", lambda _: {})(one["taken"]).items():
            made[HERE / file] = svg
    return made


def write():
    """Writes them."""
    for file, text in files(kept()).items():
        file.write_text(text)
