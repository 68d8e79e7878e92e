"""How long a developer waits for cargo: the first build of everything, and one after a change."""

import shutil
import time

import instance

PLACE = instance.REPOSITORY / "target/bench/build"


def cargo(*arguments):
    """Wall seconds of one cargo."""
    began = time.monotonic()
    instance.as_caller('cargo_as_caller "$@"', "env", f"CARGO_TARGET_DIR={PLACE}", "cargo", *arguments)
    return time.monotonic() - began


def build():
    """Wall seconds of one build for development."""
    return cargo("build", "--quiet", "--locked")


def take(quick):
    """Seconds of both builds; quickly only of the second."""
    cold, again = None, []
    # The network is not what is measured.
    cargo("fetch", "--quiet", "--locked")
    if not quick:
        shutil.rmtree(PLACE, ignore_errors=True)
        cold = build()
    elif not PLACE.exists():
        build()
    for _ in range(1 if quick else 3):
        (instance.REPOSITORY / "src/main.rs").touch()
        again.append(build())
    return {"cold": cold, "again": min(again)}


def rows(figures):
    """The table's rows."""
    found = [("a development build after a change", f"{figures['again']:.1f} s", "", "", "", None)]
    if figures["cold"]:
        found.insert(0, ("`cargo build` of everything, for development", f"{figures['cold']:.0f} s", "", "", "", None))
    return found
