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


def take(quick):
    """Seconds of both builds."""
    shutil.rmtree(PLACE, ignore_errors=True)
    # The network is not what is measured.
    cargo("fetch", "--quiet", "--locked")
    cold = cargo("build", "--quiet", "--locked")
    again = []
    for _ in range(1 if quick else 3):
        (instance.REPOSITORY / "src/main.rs").touch()
        again.append(cargo("build", "--quiet", "--locked"))
    return {"cold": cold, "again": min(again)}


def rows(figures):
    """The table's rows."""
    return [
        ("`cargo build` of everything, for development", f"{figures['cold']:.0f} s", "", "", "", None),
        ("the same after a change", f"{figures['again']:.1f} s", "", "", "", None),
    ]
