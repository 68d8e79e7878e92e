"""1,000 nodes that boot at once, beside one: simulated (tests/bench/fleet), with AWS's published request limits."""

import json
import os
import subprocess
import tempfile

import instance
from chart import Axis, chart

TEST = "a_fleet_that_boots_at_once_comes_up"
NODES = 1000


def program():
    """The program of tests."""
    built = instance.as_caller(
        "build_tests --profile fleet --package bootstrap --test fleet", stdout=subprocess.PIPE
    )
    return built.stdout.split()[-1]


def simulate(tests, nodes, pace):
    """What became of so many nodes, in seconds of the world."""
    with tempfile.TemporaryDirectory() as folder:
        plan = {"nodes": nodes, "pace": pace, "seed": 1}
        told = {"BOOTSTRAP_FLEET_PLAN": json.dumps(plan), "BOOTSTRAP_FLEET_FIGURES": f"{folder}/figures"}
        done = subprocess.run(
            [tests, "--exact", TEST],
            cwd=instance.REPOSITORY,
            env=os.environ | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{nodes} nodes could not be simulated:\n{done.stdout}")
        with open(f"{folder}/figures") as figures:
            return shortened(json.load(figures))


def shortened(found):
    """What is worth keeping."""
    kept = {name: found[name] for name in ["plan", "succeeded", "failures", "ticks", "bound"]}
    last = int(max(found["done"], default=0)) + 1
    kept["up"] = [[second, sum(at <= second for at in found["done"])] for second in range(0, last + 4, 4)]
    kept["last"] = round(max(found["done"], default=0), 1)
    kept["apis"] = {}
    for name, api in found["apis"].items():
        kept["apis"][name] = {
            "limit": found["limits"][name],
            "granted": api["granted"],
            "throttled": api["throttled"],
            "retries": sum(api["retries_in_second"]),
            "busiest": max(api["retries_in_second"], default=0),
        }
    return kept


def take(quick):
    """One node and all of them."""
    tests, pace = program(), 10 if quick else 5
    return {"alone": simulate(tests, 1, pace), "fleet": simulate(tests, NODES, pace)}


def calls(found):
    """Least and most granted calls of a node, all APIs together."""
    least, most = (sum(api["granted"][place] for api in found["apis"].values()) for place in (0, 2))
    return str(least) if least == most else f"{least} to {most}"


def rows(figures):
    """The table's rows."""
    alone, fleet = figures["alone"], figures["fleet"]
    nodes = fleet["plan"]["nodes"]
    seconds, api = fleet["bound"]
    # The ticks come a minute later, by the SDK's own rules.
    wave = max(one["busiest"] for name, one in fleet["apis"].items() if name != "PutMetricData")
    return [
        (
            f"{nodes:,} nodes that boot at once (simulated), of which come up",
            f"{fleet['succeeded']:,}",
            f"one node: {alone['succeeded']}",
            "",
            "all",
            fleet["succeeded"] == fleet["ticks"] == nodes and not fleet["failures"],
        ),
        (
            "AWS calls that each of them is granted",
            calls(fleet),
            f"one node: {calls(alone)}",
            "",
            "as one node",
            calls(fleet) == calls(alone),
        ),
        (
            "until the last is up",
            f"{fleet['last']:.0f} s",
            f"what EC2 grants ({api}): {seconds:.0f} s",
            f"{fleet['last'] / seconds:.2f} times as long",
            "1.25 times at most",
            fleet["last"] <= 1.25 * seconds,
        ),
        (
            "throttled nodes that ask again in the same second, at most",
            f"{wave:,}",
            "",
            "",
            "no waves: under a fourth",
            wave < nodes / 4,
        ),
    ]


def plots(figures):
    """Nodes that are up against time."""
    fleet = figures["fleet"]
    nodes, (seconds, api) = fleet["plan"]["nodes"], fleet["bound"]
    end = -(-int(fleet["last"] + 20) // 20) * 20
    across = Axis("seconds since all began at once", 0, end, list(range(0, end + 1, 40)))
    # Room for the names of the lines.
    up = Axis("nodes that are up", 0, nodes * 1.3, [nodes * part / 5 for part in range(6)])
    first = min(nodes, fleet["apis"][api]["limit"]["capacity"])
    granted = [(0, first), (seconds, nodes), (end, nodes)]
    series = {f"what EC2's limit of {api} lets through": granted, "nodes that are up": fleet["up"]}
    return {"fleet.svg": chart(f"{nodes:,} nodes booting at once", across, up, series)}


def more(figures):
    """What the page says beyond the table."""
    fleet = figures["fleet"]
    each = []
    for name, api in fleet["apis"].items():
        limit = api["limit"]
        each.append(
            f"`{name}` ({limit['capacity']:,g} at once, {limit['refill']:,g} a second) {api['granted'][1]:g} and "
            f"{api['throttled'][1]:.1f}"
        )
    return (
        f"Calls of each of the {fleet['plan']['nodes']:,} nodes, granted and throttled, by API and its limit: "
        + "; ".join(each)
        + "."
    )
