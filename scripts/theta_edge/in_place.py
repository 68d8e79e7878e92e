"""Upgrades of a running instance: whether one is enough, and how it is done. The config that the node gets is that which
the user-data of its new launch template would write, so that a later instance is the same node."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from theta_edge import stacks
from theta_edge.artifacts import Artifacts
from theta_edge.aws import Aws, Refused
from theta_edge.command import REPO, Failed, say
from theta_edge.on_node import Program
from theta_edge.settings import Settings
from theta_edge.stacks import Stack
from theta_edge.template import NODE, block
from theta_edge.terminal import one_line

PROGRAM = REPO / "scripts/upgrade-on-node.py"
# Of the new binary; and of an image, a container that starts twice, and the health that is waited for each time.
PREPARE_SECONDS, APPLY_SECONDS = 900, 4 * 3600
COMPARE_SECONDS = 60

# What belongs to the machine, or to what is made once on it; the rest a running node takes over.
OF_THE_MACHINE = (
    "InstanceType", "Spot", "Gpu", "ImageId", "RootDevice", "RootSize", "SecurityUpdates", "Network", "PublicAddress",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A node's stack and the instance that is the node now."""

    stack: Stack
    instance: str


def targets(aws: Aws, stack: Stack) -> list[Target]:
    found = [Target(node, stacks.instance(aws, node)) for node in stacks.of_nodes(aws, stack)]
    return [one for one in found if one.instance]


def hindrance(aws: Aws, stack: Stack, settings: Settings, found: list[Target]) -> str:
    """Why it takes a new instance; nothing where it does not."""
    changed = [key for key in OF_THE_MACHINE if settings.value.get(key, "") != stack.parameters.get(key, settings.value.get(key, ""))]
    if changed:
        return f"{' and '.join(changed)} {'belong' if len(changed) > 1 else 'belongs'} to the machine"
    if not found:
        return "no instance is running"
    older = stacks.template(aws, found[0].stack)
    if not stack.is_fleet and not re.search(r"AllowedValues: .*\bin-place\b", block(older, "Parameters", "Updates")):
        return "its template is from before upgrades in place"
    if _machine(older) != _machine(NODE.text):
        return "the template describes the machine differently"
    return ""


def _machine(template: str) -> list[str]:
    """What a template says of the instance, but for what only tells it what to run."""
    lines: list[str] = []
    skipping = False
    for line in block(template, "Resources", "LaunchTemplate").splitlines():
        depth = len(line) - len(line.lstrip())
        if line.strip() == "UserData:":
            skipping, limit = True, depth
        elif skipping and line.strip() and depth <= limit:
            skipping = False
        if not skipping and line.strip() and not line.lstrip().startswith("#"):
            lines.append(line)
    return lines


def config_of(user_data: str) -> str:
    """The config as the user-data writes it, with its two variables: the instance's id, and the wait handle, which the node
    knows."""
    found = re.search(r"<<EOF [^\n]*\n(.*?\n)EOF\n", user_data, re.DOTALL)
    try:
        if found and isinstance(json.loads(found[1]), dict):
            return found[1]
    except ValueError:
        pass
    raise Failed("the launch template's user-data has no readable config: use --replace for a new instance")


def _config(aws: Aws, target: Target) -> str:
    stack = target.stack
    template = stacks.resource(aws, stack.id, "LaunchTemplate")
    try:
        (version,) = aws.read(
            "ec2", "describe_launch_template_versions", LaunchTemplateId=template, Versions=["$Latest"]
        )["LaunchTemplateVersions"]
    except (Refused, ValueError) as error:
        raise Failed(f"the launch template of {stack.name} cannot be read: {error}") from error
    config = config_of(base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode())
    return config.replace("$id", target.instance)


def drift(aws: Aws, found: list[Target]) -> Iterator[str]:
    """In what nodes differ from the instances that would take their places now. One that cannot be asked says nothing: the
    upgrade itself says why."""
    program, sent = Program(aws, PROGRAM), []
    for one in found if not aws.dry_run else []:
        with suppress(Failed):
            config = base64.b64encode(_config(aws, one).encode()).decode()
            sha = one.stack.parameters["BinarySha256"]
            sent.append((one, program.start(one.instance, COMPARE_SECONDS, "compare", "compare", sha, config)))
    for one, command in sent:
        with suppress(Failed):
            answer = program.await_answer(one.instance, command, COMPARE_SECONDS)
            said = [f"{key} {_short(here)}, not {_short(there)}" for key, here, there in answer.get("drift", [])]
            if said:
                yield f"{one.stack.name} has {'; '.join(said)}, which its next instance would have; this upgrade ends that"


def _short(value: object) -> str:
    """Hashes by their first digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", "nothing" if value in (None, "") else str(value))


def prepare(aws: Aws, found: list[Target], bucket: str, made: Artifacts) -> None:
    """Brings the new binary to the nodes, before anything changes."""
    sha, key = made.parameters["BinarySha256"], made.parameters["BinaryKey"]
    program = Program(aws, PROGRAM)
    say("Copying the new version to the node" if len(found) == 1 else "Copying the new version to the nodes")
    for group in _some(found):
        sent = []
        for one in group:
            # With --dry-run nothing was uploaded.
            url = "<address of the binary>" if aws.dry_run else aws.address_of(bucket, key)
            sent.append(program.start(one.instance, PREPARE_SECONDS, "prepare", "prepare", sha, url))
        for one, command in zip(group, sent):
            if command:
                program.await_answer(one.instance, command, PREPARE_SECONDS)


def apply(aws: Aws, found: list[Target], made: Artifacts) -> dict[str, str]:
    """Upgrades one after another, or as many at once as a tenth of them, and none after the first that does not come up.
    Why not, by the names of those that went back to what they had before."""
    sha, program = made.parameters["BinarySha256"], Program(aws, PROGRAM)
    undone: dict[str, str] = {}
    for group in _some(found):
        sent = []
        for one in group:
            say(f"Upgrading {one.stack.name} in place ({one.instance})")
            config = "<config>" if aws.dry_run else base64.b64encode(_config(aws, one).encode()).decode()
            sent.append(program.start(one.instance, APPLY_SECONDS, "apply", "apply", sha, config))
        for one, command in zip(group, sent):
            if command:
                try:
                    answer = program.await_answer(one.instance, command, APPLY_SECONDS)
                except Failed as failed:
                    raise Failed(f"{one.stack.name} is neither upgraded nor back at the old version: {failed}") from failed
                if not answer.get("upgraded"):
                    undone[one.stack.name] = one_line(str(answer.get("reason", "")))
        if undone:
            break
    return undone


def _some(found: list[Target]) -> Iterator[list[Target]]:
    size = max(1, len(found) // 10)
    for start in range(0, len(found), size):
        yield found[start : start + size]
