"""Runs commands in turn and tells what the kernel says of each: runs inside the instance, as `measure.py <JSON`.

Takes {"rounds": N, "commands": {NAME: {"argv": […], "before": […], "codes": [0], "rounds": N}}}; prints, by name, the
least CPU and wall seconds of the rounds and the largest peak memory (MiB) of any of its processes. What comes before
is not measured. In turn, so that a machine that grows slower does so for all of them; the least, since other people's
work only ever adds.
"""

import json
import os
import subprocess
import sys
import time

# `time` starts small: the peak of a process forked from here would be no less than Python's own.
TIME = "/opt/bench/time"
PEAK = "/run/bench-peak"


def once(command):
    """CPU and wall seconds, peak MiB of one run."""
    if "before" in command:
        subprocess.run(command["before"], check=True)
    quiet = [
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, PEAK + ".stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    argv = [TIME, "--quiet", "--format", "%M", "--output", PEAK, *command["argv"]]
    began = time.monotonic()
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    wall = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    if code not in command.get("codes", [0]):
        with open(PEAK + ".stderr") as said:
            sys.exit(f"{command['argv']} ended with {code}: {said.read()[-2000:]}")
    with open(PEAK) as peak:
        return {"cpu": used.ru_utime + used.ru_stime, "wall": wall, "peak": int(peak.read()) / 1024}


def main():
    wanted = json.load(sys.stdin)
    taken = {name: [] for name in wanted["commands"]}
    for number in range(wanted["rounds"]):
        for name, command in wanted["commands"].items():
            if number < command.get("rounds", wanted["rounds"]):
                taken[name].append(once(command))
    best = {}
    for name, runs in taken.items():
        best[name] = {
            "cpu": min(run["cpu"] for run in runs),
            "wall": min(run["wall"] for run in runs),
            "peak": max(run["peak"] for run in runs),
            "runs": len(runs),
        }
    json.dump(best, sys.stdout)


main()
