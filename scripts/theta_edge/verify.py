"""Asks nodes for their health: runs `bootstrap verify` on them by SSM."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from theta_edge import ssm, stacks
from theta_edge.aws import Aws, Refused
from theta_edge.command import COMMON_HELP, Common, Failed, WrongUsage, options, say
from theta_edge.logs import seconds
from theta_edge.terminal import one_line, printable, word

HELP = f"""\
Usage: scripts/verify [OPTION…]

Prints a node's verdict, what is wrong and what fixes it; with --all, one line per node, the worst first.

  --name STACK                the node (default: theta-edge-node)
  --all                       every running node of this account and region
  --wait DURATION             keep checking until the node is healthy, for at most this long, such as
                              90s or 10m
  --json                      for machines: {{"nodes": [{{name, instance, verdict, summary}}], "totals": {{…}}}}
  --common STACK              the common stack (default: the node's own; with --all: theta-edge-common)
{COMMON_HELP}
Exit codes: 0 all are healthy · 5 the worst is syncing · 1 one is worse, or cannot be reached · 2 wrong usage
"""

TAG = "theta-edge:node"
VERDICTS = ("unreachable", "unhealthy", "degraded", "syncing", "healthy")
# SSM keeps no more of what a command writes.
LONGEST = 24_000


@dataclass
class Report:
    """What is known of a node: the verdict, a line that says why, and all that there is to say."""

    name: str
    instance: str
    verdict: str = "unreachable"
    summary: str = ""
    text: str = ""


def main(arguments: list[str]) -> int:
    shared, name, wait, common = Common(), "", "0s", ""
    everyone = as_json = False
    for option, value in options(arguments, shared, ["--name", "--wait", "--common"], ["--all", "--json"]):
        if option == "--name":
            name = value
        elif option == "--wait":
            wait = value
        elif option == "--common":
            common = value
        elif option == "--all":
            everyone = True
        else:
            as_json = True
    if everyone and name:
        raise WrongUsage("--all and --name exclude each other")
    limit = seconds(wait, 4, "smh")
    if limit is None:
        raise WrongUsage(f"--wait takes a duration such as 90s or 10m, not {wait}")
    # The document's own limit is an hour.
    if limit > 3000:
        raise WrongUsage(f"--wait takes at most 50m, not {wait}")

    aws = Aws(shared)
    name = name or "theta-edge-node"
    reports = _all_nodes(aws) if everyone else [Report(name, ssm.node_instance(aws, name))]
    document = _document(aws, common, "" if everyone else name)
    # All at once, so that they work side by side.
    commands = [_ask(aws, report, document, wait) for report in reports]
    if aws.dry_run:
        return 0
    for number, (report, command) in enumerate(zip(reports, commands), 1):
        if len(reports) > 1 and sys.stderr.isatty():
            print(f"\r{number} of {len(reports)} nodes …", end="", file=sys.stderr, flush=True)
        if command:
            # The checks themselves take up to two minutes where nothing answers.
            _take(aws, report, command, limit + 120)
    if len(reports) > 1 and sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    reports.sort(key=lambda report: (VERDICTS.index(report.verdict), report.name))
    totals = {verdict: count for verdict in VERDICTS if (count := sum(one.verdict == verdict for one in reports))}
    if as_json:
        nodes = [
            {"name": one.name, "instance": one.instance, "verdict": one.verdict, "summary": one.summary}
            for one in reports
        ]
        print(json.dumps({"nodes": nodes, "totals": totals}, indent=2))
    elif everyone:
        _table(reports, totals)
    else:
        say(f"{reports[0].name} ({reports[0].instance})")
        print(printable(reports[0].text), end="")
    worst = reports[0].verdict
    return {"healthy": 0, "syncing": 5}.get(worst, 1)


def _table(reports: list[Report], totals: dict[str, int]) -> None:
    width = max(len(one.name) for one in reports)
    for one in reports:
        print(f"{one.verdict:<11}  {one.name:<{width}}  {one.instance}  {one.summary}".rstrip())
    # Those that are well come first in a sentence.
    counts = " ".join(f"{totals[verdict]} {verdict}" for verdict in reversed(VERDICTS) if verdict in totals)
    print(f"\n{len(reports)} node{'s' if len(reports) > 1 else ''}: {counts}")
    if reports[0].verdict not in ("healthy", "syncing"):
        print(f"The worst in full: scripts/verify --name {word(reports[0].name)}")


def _all_nodes(aws: Aws) -> list[Report]:
    filters = [{"Name": "tag-key", "Values": [TAG]}, {"Name": "instance-state-name", "Values": ["running"]}]
    try:
        reservations = list(aws.pages("ec2", "describe_instances", "Reservations", Filters=filters))
    except Refused as refused:
        raise Failed(f"the instances cannot be listed: {refused}") from refused
    reports = [
        Report(one_line(next(tag["Value"] for tag in one["Tags"] if tag["Key"] == TAG)), one["InstanceId"])
        for reservation in reservations
        for one in reservation["Instances"]
    ]
    if not reports:
        raise Failed(f"no running instance in {aws.region} has the tag {TAG}: scripts/deploy creates a node")
    return sorted(reports, key=lambda report: report.name)


def _document(aws: Aws, common: str, name: str) -> str:
    """Of the common stack that the node names, or of the one that is asked for."""
    node = stacks.find(aws, name) if name and not common else None
    common = common or (node.parameters.get("CommonStack") if node else None) or "theta-edge-common"
    stack = stacks.find(aws, common)
    document = stack.outputs.get("VerifyDocument") if stack else None
    if not document:
        raise Failed(
            f"stack {common} in {aws.region} has no document for this: scripts/deploy creates it; --common names another stack"
        )
    return document


def _ask(aws: Aws, report: Report, document: str, wait: str) -> str:
    try:
        return ssm.send(aws, report.instance, document, {"Wait": [wait]}, "scripts/verify")
    except Refused as refused:
        if refused.code == "InvalidInstanceId":
            report.summary, report.text = "SSM cannot reach it", ssm.unreachable(aws, report.instance) + "\n"
        else:
            report.summary = f"the command was refused: {refused}"
            report.text = report.summary + "\n"
        return ""


def _take(aws: Aws, report: Report, command: str, limit: float) -> None:
    answer = ssm.await_answer(aws, report.instance, command, limit)
    if not answer.delivered:
        report.summary = f"SSM cannot reach it: {answer.ended}"
        report.text = ssm.unreachable(aws, report.instance, answer.ended) + "\n"
        return
    if (answer.ended, answer.code) == ("Success", 0):
        report.verdict = "healthy"
    elif (answer.ended, answer.code) == ("Failed", 5):
        report.verdict = "syncing"
    else:
        # The exit code is the same, but people have two words.
        report.verdict = "degraded" if _line_of(answer.output, "degraded") else "unhealthy"
    report.text = answer.output or answer.errors
    report.summary = one_line(_line_of(answer.output, report.verdict) or (report.text.splitlines() or [""])[0])
    if len(answer.output) >= LONGEST or "output truncated" in answer.output.lower():
        report.text += (
            f"\n\nSSM cuts long output. All of it: aws ssm start-session --region {aws.region} "
            f"--target {report.instance}, then: sudo bootstrap verify\n"
        )
    if answer.ended not in ("Success", "Failed"):
        report.text += f"the command did not finish: {answer.ended}\n"
    elif answer.code not in (0, 1, 5):
        report.text += f"bootstrap verify ended with exit code {answer.code}\n"


def _line_of(output: str, verdict: str) -> str:
    """What follows the verdict on its line."""
    start = verdict + ":"
    return next((line[len(start) :] for line in output.splitlines() if line.startswith(start)), "")
