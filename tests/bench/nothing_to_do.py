"""A run that has nothing to do, beside an Ansible playbook that describes the same state and changes nothing either."""

import instance
from start_and_plan import PLAYBOOK

# What a run may write: its journal and its log. The rest is written all the time: the node's own data, the tick's
# state, logs, and Ansible's own bytecode and temporary files.
WRITTEN = (
    "find / /data -xdev -newer /run/before ! -type d ! -path '/var/log/*' ! -path '/data/edgelauncher/*' "
    "! -path '/var/lib/bootstrap/journal.json' ! -path '/var/lib/bootstrap/metrics.json' "
    "! -path '/var/lib/docker/containers/*' ! -path '/var/lib/systemd/*' ! -path '/opt/bench/*'"
)


def take(quick):
    """CPU and wall seconds, and the files that a run wrote."""
    instance.run("touch", "/run/before")
    # A node has had one within the last minute; without, the health check waits for the next block.
    instance.run("/usr/local/bin/bootstrap", "metrics")
    instance.run("/usr/local/bin/bootstrap")
    written = instance.run("sh", "-c", WRITTEN).split()
    found = instance.measure(
        3 if quick else 9,
        bootstrap={"argv": ["/usr/local/bin/bootstrap"]},
        ansible={**PLAYBOOK, "rounds": 2 if quick else 5},
    )
    return {**found, "written": written}


def rows(figures):
    """The table's rows."""
    ours, theirs = figures["bootstrap"], figures["ansible"]
    ratio = theirs["wall"] / ours["wall"]
    return [
        (
            "a run that has nothing to do",
            f"{ours['wall'] * 1000:.0f} ms",
            f"ansible-core: {theirs['wall']:.1f} s",
            f"{ratio:.0f} times faster",
            "100 ms at most, 80 times faster",
            ours["wall"] <= 0.1 and ratio >= 80,
        ),
        (
            "the same, CPU",
            f"{ours['cpu'] * 1000:.0f} ms",
            f"{theirs['cpu']:.1f} s",
            f"{theirs['cpu'] / ours['cpu']:.0f} times less",
            "",
            None,
        ),
        (
            "files that it writes beside journal and log",
            str(len(figures["written"])),
            "",
            "",
            "0",
            not figures["written"],
        ),
    ]
