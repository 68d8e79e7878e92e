"""A first run on a fresh instance, as it is and with one phase at a time; how near it is to its critical path."""

import json
import re

import instance

PHASES = instance.REPOSITORY / "src/README.md"


def needs():
    """What each phase needs, by the table of phases in src/README.md."""
    lines = re.findall(r"^\| `([a-z-]+)` \| ([a-z, –-]+) \| ", PHASES.read_text(), re.MULTILINE)
    names = [name for name, _ in lines]
    return {name: names[:-1] if of == "all" else [] if of == "–" else of.split(", ") for name, of in lines}


def critical_path(phases):
    """The longest chain of phases that need each other, and its seconds."""
    seconds = {phase["name"]: phase["seconds"] for phase in phases}
    best = {}
    for name, of in needs().items():
        before = max((best[need] for need in of), default=(0, []))
        best[name] = (before[0] + seconds[name], [*before[1], name])
    return max(best.values())


def first_run(*options):
    """A fresh instance's journal after one run."""
    instance.launch("ready")
    try:
        instance.run("/usr/local/bin/bootstrap", *options)
        return json.loads(instance.run("/usr/local/bin/bootstrap", "status", "--json"))
    finally:
        instance.stop()


def take(quick):
    """Seconds of both runs, and of the critical path of the first."""
    together = first_run()
    alone = None if quick else first_run("--jobs", "1")
    seconds, path = critical_path(together["phases"])
    return {
        "wall": together["run"]["seconds"],
        "critical": seconds,
        "path": path,
        "phases": {phase["name"]: phase["seconds"] for phase in together["phases"]},
        "alone": alone and alone["run"]["seconds"],
    }


def rows(figures):
    """The table's rows."""
    wall, critical, alone = figures["wall"], figures["critical"], figures["alone"]
    found = [
        (
            "a cold run in the local instance",
            f"{wall:.1f} s",
            f"its critical path: {critical:.1f} s",
            f"{100 * (wall / critical - 1):.1f} % over it",
            "5 % at most",
            wall <= critical * 1.05,
        )
    ]
    if alone:
        found.append(
            (
                "the same",
                f"{wall:.1f} s",
                f"`--jobs 1`: {alone:.1f} s",
                f"{100 * (1 - wall / alone):.0f} % saved" if wall < 0.99 * alone else "nothing saved",
                "",
                None,
            )
        )
    return found


def more(figures):
    """What the page says beyond the table."""
    phases = "; ".join(f"`{name}` {seconds:.1f}" for name, seconds in figures["phases"].items())
    return f"The cold run's critical path is {', '.join(figures['path'])}. Its phases, in seconds: {phases}."
