"""The drill on a real account: what no simulation can show, from the first deployment to the last deletion."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from theta_edge import artifacts, command, stacks, summary
from theta_edge.artifacts import Binary
from theta_edge.aws import Aws, Refused, wait_until
from theta_edge.command import COMMON_HELP, Common, Failed, WrongUsage, confirm, options, say, warn
from theta_edge.settings import Settings
from theta_edge.stacks import Stack
from theta_edge.template import NODE

HELP = f"""\
Usage: scripts/smoke [OPTION…]

Tests on a real account what no other test can: deploys a node without a GPU, verifies it, terminates
its instance, upgrades it, lets an upgrade fail, deploys a node of the same name in a second region,
and destroys all of it. It removes everything that it created, including volumes and wallet password,
even if it is interrupted. Ends with a table of the results.

  --name NAME                 the node's stack, in both regions (default: theta-edge-smoke)
  --second-region REGION      default: eu-west-1, or us-east-1 if that is the first
{artifacts.HELP}\
  --instance-type TYPE        default: m6i.xlarge
  --yes                       do not ask for confirmation
{COMMON_HELP}
Needs cloudformation/deployer-policy.json and ec2:TerminateInstances.
"""

# No image has it.
NO_DIGEST = "sha256:" + "0" * 64
REPLACED_SECONDS = 1200


@dataclass
class Wanted:
    """What the command line asks for."""

    name: str = "theta-edge-smoke"
    second_region: str = ""
    binary: Binary = field(default_factory=Binary)
    instance_type: str = "m6i.xlarge"
    yes: bool = False

    @property
    def common(self) -> str:
        return f"{self.name}-common"


@dataclass
class Step:
    what: str
    result: str
    seconds: float


@dataclass
class Drill:
    shared: Common
    wanted: Wanted
    steps: list[Step] = field(default_factory=list)
    # Where something may have been made.
    regions: list[str] = field(default_factory=list)

    def run(self, aws: Aws, name: str, *more: str) -> int:
        """One of the other commands, as a person would start it."""
        words = ["--region", aws.region, *(["--profile", self.shared.profile] if self.shared.profile else []), *more]
        say(f"scripts/{name} {' '.join(words)}")
        code = command.run(name, words)
        command.running = "smoke"
        return code

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """What fails in it ends the drill; it is told in the table."""
        began, result = time.monotonic(), "cut off"
        try:
            yield
            result = "as expected"
        except (Failed, Refused) as failed:
            result = f"failed: {failed}"
            raise Failed(f"{what}: {failed}") from failed
        finally:
            self.steps.append(Step(what, result, time.monotonic() - began))

    def must(self, code: int, *wanted: int) -> None:
        if code not in wanted:
            raise Failed(f"it ended with exit code {code}, not {' or '.join(map(str, wanted))}")

    # The steps.

    def whole(self, first: Aws, second: Aws) -> None:
        name = ["--name", self.wanted.name]
        with self.step("a node from nothing"):
            self._deploy(first)
        with self.step("its health, over SSM"):
            self._verify(first)
        with self.step("a terminated instance is replaced, on the same volume"):
            self._replace(first)
        upgrade = ["upgrade", *name, "--yes", *self._binary()]
        with self.step("an upgrade in place"):
            self.must(self.run(first, *upgrade, "--log-retention", "7"), 0)
            self._verify(first)
        with self.step("an upgrade in place that fails is undone"):
            self.must(self.run(first, *upgrade, "--image-digest", NO_DIGEST), 1)
            if self._stack(first).parameters["ImageDigest"]:
                raise Failed("the stack was not rolled back")
            self._verify(first)
        with self.step("an upgrade with a new instance"):
            self.must(self.run(first, *upgrade, "--replace"), 0)
            self._verify(first)
        with self.step("an upgrade with a new instance that fails is rolled back"):
            self.must(self.run(first, *upgrade, "--replace", "--image-digest", NO_DIGEST), 1)
            if self._stack(first).status != "UPDATE_ROLLBACK_COMPLETE":
                raise Failed(f"the stack is {self._stack(first).status}")
            self._verify(first)
        with self.step(f"the same name in a second region ({second.region})"):
            self._deploy(second)
            self._verify(second)

    def _binary(self) -> list[str]:
        sha256 = self.wanted.binary.sha256
        return ["--binary", self.wanted.binary.source, *(["--binary-sha256", sha256] if sha256 else [])]

    def _deploy(self, aws: Aws) -> None:
        self.regions.append(aws.region)
        # The password goes through a pipe: it is in no file, and nobody needs it afterwards.
        reading, writing = os.pipe()
        os.write(writing, secrets.token_urlsafe(32).encode())
        os.close(writing)
        try:
            code = self.run(
                aws, "deploy", "--yes", "--name", self.wanted.name, "--common", self.wanted.common, "--no-gpu",
                "--instance-type", self.wanted.instance_type, "--volume-size", "16",
                "--password-file", f"/dev/fd/{reading}", *self._binary(),
            )  # fmt: skip
        finally:
            os.close(reading)
        self.must(code, 0)

    def _verify(self, aws: Aws) -> None:
        # A node without peers is still syncing.
        self.must(self.run(aws, "verify", "--name", self.wanted.name, "--wait", "30m"), 0, 5)

    def _stack(self, aws: Aws) -> Stack:
        stack = stacks.find(aws, self.wanted.name)
        if not stack:
            raise Failed(f"the stack {self.wanted.name} is gone")
        return stack

    def _replace(self, aws: Aws) -> None:
        stack = self._stack(aws)
        old, volume = stacks.instance(aws, stack), stack.outputs.get("VolumeId", "")
        say(f"Terminating {old}")
        aws.change("ec2", "terminate_instances", InstanceIds=[old])

        def there() -> bool:
            return stacks.instance(aws, stack) not in ("", old)

        if not wait_until(REPLACED_SECONDS, there):
            raise Failed(f"the group has not launched another instance in {REPLACED_SECONDS // 60} minutes")
        self._verify(aws)
        if self._stack(aws).outputs.get("VolumeId", "") != volume:
            raise Failed(f"it is not on {volume}")

    # The end.

    def clean(self, aws: Aws) -> None:
        """Everything of these names. A stack that is being made is deleted as it is; one that is updated rests first."""
        wanted = self.wanted
        for name in (wanted.name, wanted.common):
            stack = stacks.find(aws, name)
            if stack and stack.status == "CREATE_IN_PROGRESS":
                stacks.delete(aws, stack)
            elif stack and stack.at_work:
                stacks.follow(aws, stack.id)
        common = stacks.find(aws, wanted.common)
        secret = common.outputs.get("SecretArn", "") if common else ""
        more = [word for volume in _volumes(aws, wanted.name) for word in ("--delete-volume", volume)]
        more += [*(["--with-common"] if common else []), *(["--delete-secret", secret] if secret else [])]
        if more or stacks.find(aws, wanted.name):
            self.must(self.run(aws, "destroy", "--yes", "--name", wanted.name, "--common", wanted.common, *more), 0)


def main(arguments: list[str]) -> int:
    shared, wanted = Common(), Wanted()
    valued = ["--name", "--second-region", "--binary", "--binary-sha256", "--instance-type"]
    for option, value in options(arguments, shared, valued, ["--yes"]):
        if option == "--binary":
            wanted.binary.source = value
        elif option == "--binary-sha256":
            wanted.binary.sha256 = value
        else:
            setattr(wanted, option[2:].replace("-", "_"), value or True)
    first = Aws(shared)
    wanted.second_region = wanted.second_region or ("us-east-1" if first.region == "eu-west-1" else "eu-west-1")
    if wanted.second_region == first.region:
        raise WrongUsage(f"--second-region is the first one: {first.region}")
    second = Aws(Common(shared.profile, wanted.second_region, shared.dry_run))
    _check(wanted, first, second)
    _show(wanted, first, second)
    if first.dry_run:
        return 0
    if not wanted.yes:
        confirm("yes", "This costs money.")
    drill = Drill(shared, wanted)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupted)
    failed = ""
    try:
        drill.whole(first, second)
    except Failed as error:
        failed = str(error)
    finally:
        left = _clean(drill, {aws.region: aws for aws in (first, second)})
        _table(drill)
    if failed or left:
        raise Failed("\n".join(filter(None, [failed, *left])))
    return 0


def _interrupted(*_: Any) -> NoReturn:
    raise KeyboardInterrupt("cut off")


def _check(wanted: Wanted, *regions: Aws) -> None:
    """Nothing of these names may be there: in the end all of it is deleted."""
    if wrong := wanted.binary.problem():
        raise Failed(f"nothing was made: {wrong}")
    for aws in regions:
        for name in (wanted.name, wanted.common):
            if stacks.find(aws, name):
                raise Failed(f"there is a stack {name} in {aws.region}, which would be deleted at the end: say another --name")
        # Kept when its stack was deleted, perhaps with the only copy of a wallet key.
        if kept := _volumes(aws, wanted.name):
            raise Failed(
                f"there is a volume of {wanted.name} in {aws.region} ({', '.join(kept)}), which would be deleted at the end: "
                "say another --name"
            )


def _volumes(aws: Aws, name: str) -> list[str]:
    filters = [{"Name": "tag:theta-edge:node", "Values": [name]}]
    return [one["VolumeId"] for one in aws.pages("ec2", "describe_volumes", "Volumes", Filters=filters)]


def _show(wanted: Wanted, first: Aws, second: Aws) -> None:
    settings = Settings(given={"InstanceType": wanted.instance_type, "VolumeSize": "16", "Gpu": "false"})
    settings.settle(NODE)
    monthly, _ = summary.monthly(settings)
    say(f"To be done (account {first.account})")
    for key, text in (
        ("regions", f"{first.region}, then {second.region}"),
        ("makes", f"{wanted.name} and {wanted.common} in both, of {wanted.instance_type}, without a GPU"),
        ("cost", f"about {max(1, round(2 * 2 * monthly / summary.HOURS)):,.0f} to 2 USD, for two nodes, two hours at most"),
        ("time", "one to two hours, most of them waiting for nodes"),
        ("removes", "everything at the end, even if it is interrupted: stacks, volumes, bucket, password"),
    ):
        print(f"  {key:<9} {text}")


def _clean(drill: Drill, regions: dict[str, Aws]) -> list[str]:
    """What could not be removed."""
    left: list[str] = []
    for region in drill.regions:
        what = f"everything of it is removed from {region}"

        def remove(region: str = region, what: str = what) -> None:
            with drill.step(what):
                drill.clean(regions[region])

        _last(remove, left)
    return left


def _last(remove: Callable[[], None], left: list[str]) -> None:
    try:
        remove()
    except (Failed, Refused) as failed:
        left.append(str(failed))
        warn(str(failed))


def _table(drill: Drill) -> None:
    print("\n| tried on real AWS | result | minutes |\n| --- | --- | --- |")
    for step in drill.steps:
        print(f"| {step.what} | {' '.join(step.result.split())} | {step.seconds / 60:.0f} |")
    sys.stdout.flush()
