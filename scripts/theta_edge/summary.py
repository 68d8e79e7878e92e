"""What a person agrees to before anything is made or changed: what, for how much a month, for how long, and what of it
cannot be undone."""

from __future__ import annotations

import sys

from theta_edge.command import say
from theta_edge.settings import Settings
from theta_edge.terminal import wrapped

# US dollars in us-east-1, list prices that the AWS Pricing Calculator knows better; of 730 hours.
HOURS = 730
INSTANCES = {
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g6.xlarge": 0.8048,
    "c6i.xlarge": 0.17, "c6i.2xlarge": 0.34, "m6i.xlarge": 0.192, "m6i.2xlarge": 0.384, "m7i.xlarge": 0.2016, "m5.xlarge": 0.192,
}  # fmt: skip
GIB = {"gp3": 0.08, "io1": 0.125, "io2": 0.125}
IOPS = {"gp3": 0.005, "io1": 0.065, "io2": 0.065}
# A public address; metrics of the agent and of the node; alarms.
BESIDES = 3.65 + 27.90 + 1.40


def monthly(settings: Settings) -> tuple[float, bool]:
    """Of one node, without traffic; and whether the instance is in it."""
    value, kind = settings.value, settings.value["VolumeType"]
    number = {key: settings.number(key) or 0 for key in ("VolumeSize", "VolumeIops", "VolumeThroughput", "RootSize")}
    cost = number["RootSize"] * GIB["gp3"] + BESIDES
    if kind in GIB:
        cost += number["VolumeSize"] * GIB[kind]
        cost += max(number["VolumeIops"] - (3000 if kind == "gp3" else 0), 0) * IOPS[kind]
    if kind == "gp3":
        cost += max(number["VolumeThroughput"] - 125, 0) * 0.04
    hourly = INSTANCES.get(value["InstanceType"])
    return cost + (hourly or 0) * HOURS, hourly is not None


def costs(settings: Settings) -> str:
    """As a person reads it."""
    cost, whole = monthly(settings)
    count = len(settings.nodes) or 1
    each = f" ({cost:,.0f} for each of {count} nodes)" if count > 1 else ""
    snapshots = ", and 0.05 for each GiB of snapshots" if settings.number("SnapshotDays") else ""
    without = "" if whole else f", and the instance, whose price is not known here ({settings.value['InstanceType']})"
    if settings.value["Spot"] == "true":
        return f"at most {cost * count:,.0f} USD a month{each} in us-east-1, without tax and traffic{without}{snapshots}: spot costs less"
    return f"about {cost * count:,.0f} USD a month{each} in us-east-1, without tax and traffic{without}{snapshots}"


def show(title: str, name: str, settings: Settings, common: str | None, elsewhere: list[str], wallet: str) -> None:
    """Of a deployment. `common` is the common stack that is still to be made, `elsewhere` are other zones, `wallet` is one
    that the node gets from its copy."""
    value, given, nodes = settings.value, settings.given, settings.nodes
    lines = []
    if common:
        lines.append(("common stack", f"{common}: bucket, wallet password, SSM documents, alarm topic"))
    what = f"a fleet of {len(nodes)} nodes: {', '.join(nodes[:8])}{' …' if len(nodes) > 8 else ''}" if nodes else "one node"
    lines.append(("stack", f"{name}: {what}"))
    instead = f", or if it has no capacity, {', '.join(elsewhere)}" if elsewhere else ""
    kind = f"{value['InstanceType']}{' on spot' if value['Spot'] == 'true' else ''}"
    lines.append(("instance", f"{kind} in {given['AvailabilityZone']}{instead}"))
    if given.get("VolumeId"):
        volume = f"{given['VolumeId']}, an existing volume, with its wallet key"
    elif value["VolumeType"] == "instance-store":
        volume = "the instance store: empty after every stop and replacement, with the wallet key lost"
    else:
        key = f"the wallet key of {wallet}" if wallet else "a new wallet key"
        source = f" from {given['SnapshotId']}" if given.get("SnapshotId") else f", encrypted, with {key}"
        volume = f"{value['VolumeSize']} GiB {value['VolumeType']}{source}"
    lines.append(("volume", volume))
    lines.append(("cost", costs(settings)))
    gpu = value["Gpu"] == "true"
    lines.append(("time", "10 to 30 minutes, most of them for the NVIDIA driver" if gpu else "5 to 15 minutes"))
    if gpu:
        earnings = "nobody guarantees jobs, and this project has not measured what a node earns; EdgeCloud's GPU rental needs a different client"
        lines.append(("earnings", earnings))
    lines.append(("beware", "nobody from Theta, AWS or this project will ever ask for your wallet key or password"))
    lines.append(("permanent", "the zone, the filesystem and the wallet password; the volume outlives its stack"))
    say(title)
    for key, text in lines:
        print(wrapped(f"  {key:<13} ", text, sys.stdout))
