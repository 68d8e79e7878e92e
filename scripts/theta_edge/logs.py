"""Shows a node's logs from CloudWatch Logs, where they stay when an instance is replaced."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field

from theta_edge import stacks
from theta_edge.aws import Aws, Refused, pause
from theta_edge.command import COMMON_HELP, Common, Failed, WrongUsage, options
from theta_edge.terminal import heading, printable, readable

HELP = f"""\
Usage: scripts/logs [OPTION…] [bootstrap|cloud-init|edge]

Shows the log of bootstrap (the default), cloud-init's output at the first boot, or what the edge node's
container and the processes in it write (edge), from every instance that the node ever had, oldest first.

  --name STACK                the node (default: theta-edge-node)
  --since DURATION            how far to look back, such as 30m, 2h or 7d (default: 1d)
  --follow                    keep showing new lines
  --raw                       bootstrap's JSON lines as they are
{COMMON_HELP}"""

LOGS = ("bootstrap", "cloud-init", "edge")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# CloudWatch Logs may deliver an event this much later than a younger one, in milliseconds.
LATE = 5 * 60 * 1000


def seconds(duration: str, digits: int, units: str) -> int | None:
    found = re.fullmatch(f"([0-9]{{1,{digits}}})([{units}])", duration)
    return int(found[1]) * SECONDS[found[2]] if found else None


@dataclass
class Stream:
    """What was shown of an instance's log since `start`, and is left out when it comes again: times by event."""

    start: int
    shown: dict[str, int] = field(default_factory=dict)


@dataclass
class Reader:
    aws: Aws
    group: str
    log: str
    since: int
    raw: bool
    streams: dict[str, Stream] = field(default_factory=dict)
    last: str = ""

    def names(self) -> list[str]:
        """The streams of that log, INSTANCE/LOG, the oldest first."""
        try:
            found = list(self.aws.pages("logs", "describe_log_streams", "logStreams", logGroupName=self.group))
        except Refused as refused:
            missing = refused.code == "ResourceNotFoundException"
            why = "does not exist" if missing else f"cannot be read: {refused}"
            raise Failed(
                f"the log group {self.group} {why}\n"
                "It is part of the node's stack: check that --name and --region name a node"
            ) from refused
        mine = [one for one in found if one["logStreamName"].endswith(f"/{self.log}")]
        return [one["logStreamName"] for one in sorted(mine, key=lambda one: one.get("creationTime", 0))]

    def show_new(self) -> None:
        """What each stream has got since it was last looked at."""
        for name in self.names():
            stream = self.streams.setdefault(name, Stream(self.since))
            try:
                events = list(
                    self.aws.pages(
                        "logs",
                        "filter_log_events",
                        "events",
                        logGroupName=self.group,
                        logStreamNames=[name],
                        startTime=max(stream.start, self.since),
                    )
                )
            except Refused as refused:
                raise Failed(f"the stream {name} of {self.group} cannot be read: {refused}") from refused
            # Sorting keeps the order of those that have the same time.
            fresh = sorted(
                (event for event in events if event["eventId"] not in stream.shown),
                key=lambda event: int(event["timestamp"]),
            )
            if fresh and self.last != name:
                # Beside the log, which may go into a file.
                sys.stdout.flush()
                print(f"\n{heading(name.split('/')[0], sys.stderr)}", file=sys.stderr, flush=True)
                self.last = name
            for event in fresh:
                stream.shown[event["eventId"]] = event["timestamp"]
                message = event["message"].rstrip("\n")
                print(printable(message if self.raw else readable(message), harmless="\t"))
            sys.stdout.flush()
            if stream.shown:
                stream.start = max(stream.shown.values()) - LATE
                stream.shown = {event: at for event, at in stream.shown.items() if at >= stream.start}


def main(arguments: list[str]) -> int:
    shared, name, since, log = Common(), "theta-edge-node", "1d", "bootstrap"
    follow = raw = False
    for option, value in options(arguments, shared, ["--name", "--since"], ["--follow", "--raw"], words=True):
        if option == "--name":
            name = value
        elif option == "--since":
            since = value
        elif option == "--follow":
            follow = True
        elif option == "--raw":
            raw = True
        elif value in LOGS:
            log = value
        else:
            raise WrongUsage(f"there is no log {value}: use bootstrap, cloud-init or edge")
    back = seconds(since, 5, "smhd")
    if back is None:
        raise WrongUsage(f"--since takes a duration such as 30m, 2h or 7d, not {since}")
    aws = Aws(shared)
    stack = stacks.find(aws, name)
    # A stack that is still being made has no outputs yet.
    group = (stack.outputs.get("LogGroup") if stack else None) or f"/theta-edge/{name}"
    reader = Reader(aws, group, log, int((time.time() - back) * 1000), raw)
    reader.show_new()
    while follow:
        pause()
        reader.show_new()
    if not reader.last:
        print(
            f"Nothing in the last {since}: --since 30d looks further back, --name and --region elsewhere.", file=sys.stderr
        )
    return 0
