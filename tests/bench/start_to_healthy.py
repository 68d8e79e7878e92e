"""Where the seconds go from an instance's start to a healthy node, beside the old blueprint's order of the same steps."""

import datetime
import json

import instance
from chart import timeline

# The blueprint sleeps so long before it looks for its volume (its user-data script, line 119).
SLEEP = 60
# In the order of their start; the last one runs user-data, and so bootstrap.
STAGES = ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"]


def uptime():
    """The kernel's clock, and what time it is."""
    said = instance.run("sh", "-c", "cut -d ' ' -f 1 /proc/uptime; date +%s.%N")
    return [float(line) for line in said.split()]


def monotonic(name, *unit):
    """A time stamp of systemd's, in seconds of the kernel's clock."""
    return int(instance.run("systemctl", "show", "--value", "--property", f"{name}TimestampMonotonic", *unit)) / 1e6


def take(quick):
    """From and to when each step lasted, in seconds after the start."""
    up, now = uptime()
    began = monotonic("Userspace")

    def after(written):
        return datetime.datetime.fromisoformat(written).timestamp() - now + up - began

    status = json.loads(instance.run("/usr/local/bin/bootstrap", "status", "--json"))
    starts = [monotonic("ExecMainStart", f"{stage}.service") - began for stage in STAGES]
    ends = [monotonic("ExecMainExit", f"{stage}.service") - began for stage in STAGES[:-1]]
    steps = [["systemd, until cloud-init", 0, starts[0]]]
    steps += [[stage, start, end] for stage, start, end in zip(STAGES, starts, ends)]
    steps += [["user-data: fetching bootstrap", starts[-1], after(status["run"]["started"])]]
    ran = [phase for phase in status["phases"] if phase["started"]]
    steps += [[phase["name"], after(phase["started"]), after(phase["ended"])] for phase in ran]
    return {"steps": steps}


def healthy_after(steps):
    """Seconds until all is done."""
    return max(end for _, _, end in steps)


def rows(figures):
    """The table's rows."""
    steps = figures["steps"]
    healthy = healthy_after(steps)
    alone = sum(end - start for _, start, end in steps) + SLEEP
    return [
        (
            "from an instance's start to a healthy node",
            f"{healthy:.1f} s",
            f"the same steps one after another, and the old blueprint's fixed sleep: {alone:.1f} s",
            f"{alone / healthy:.1f} times faster",
            "no fixed sleep",
            None,
        )
    ]


def plots(figures):
    """The steps, one below the other."""
    steps = figures["steps"]
    healthy = healthy_after(steps)
    return {"start_to_healthy.svg": timeline(f"From the instance's start to a healthy node: {healthy:.1f} s", steps)}
