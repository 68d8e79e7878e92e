"""What scripts/bench runs: takes the figures, prints the table, keeps it."""

import argparse
import datetime
import importlib
import json
import pathlib
import platform
import subprocess
import sys
import time

import instance
import page

# In this order: first what needs a node whose only run is that of user-data, then what needs one at rest. Each module has
# `take(quick)`, which measures, and `rows(figures)`.
ROWS = [
    "start_to_healthy",
    "metrics_tick",
    "start_and_plan",
    "nothing_to_do",
    "fetch",
    "cold_run",
    "recovery",
    "password",
    "binary_size",
    "builds",
    "fleet",
]
# Those that look at a running node.
INSIDE = {"start_to_healthy", "metrics_tick", "start_and_plan", "nothing_to_do", "fetch"}


def processor():
    """The processor's name."""
    names = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine():
    """What the figures depend on."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    commit = subprocess.run(
        ["git", "-C", instance.REPOSITORY, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{processor()}, {len(list(pathlib.Path('/sys/devices/system/cpu').glob('cpu[0-9]*')))} CPUs",
        "system": f"{system}, Linux {platform.release().split('-')[0]}",
        "commit": commit.stdout.strip(),
    }


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=ROWS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", action="store_true")
    wanted = parser.parse_args()
    if wanted.page:
        page.write()
        return
    names = wanted.only or ROWS
    figures = page.kept()
    began = time.monotonic()
    inside = [name for name in names if name in INSIDE]
    try:
        if inside:
            print("Booting the local instance", file=sys.stderr)
            instance.launch()
        for name in names:
            print(f"Measuring: {name.replace('_', ' ')}", file=sys.stderr)
            if name not in INSIDE and inside:
                instance.stop()
                inside = []
            # As it comes back from the file.
            figures[name] = json.loads(
                json.dumps({"on": machine(), "taken": importlib.import_module(name).take(wanted.quick)})
            )
    finally:
        if inside:
            instance.stop()
    print(page.table({name: figures[name] for name in names}))
    print(f"\nTaken in {time.monotonic() - began:.0f} s.")
    if wanted.write:
        page.keep({name: figures[name] for name in ROWS if name in figures})
        page.write()


if __name__ == "__main__":
    main()
