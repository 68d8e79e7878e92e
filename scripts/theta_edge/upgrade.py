"""Brings a node, or a fleet, to the current version or to other settings, and back if that fails."""

from __future__ import annotations

import hashlib
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from theta_edge import artifacts, capacity, common_stack, fleets, guards, settings, stacks, summary
from theta_edge.artifacts import Artifacts, Binary
from theta_edge.aws import Aws, Refused, pause
from theta_edge.checks import Checks
from theta_edge.command import COMMON_HELP, Common, Failed, Problems, confirm, options, say, warn
from theta_edge.launches import Launches
from theta_edge.settings import Settings
from theta_edge.stacks import Stack
from theta_edge.template import FLEET, NODE, Template
from theta_edge.terminal import printable

HELP = f"""\
Usage: scripts/upgrade [OPTION…]

Uploads the binary, the assets and the templates as they are here, and updates the node's stack with
them and with the options that are given; every other setting stays. The instance is replaced; the
new one attaches the same volume, so the node keeps its wallet key. If the new one does not become
healthy, CloudFormation goes back to the old version, and this ends with exit code 1. Before a node
gives its instance back, a new one is reserved; where EC2 has none, nothing is changed. Nothing that
would replace the volume is done.

Shows what will change, what that costs and how long it takes, and asks before it begins.

  --name NAME                 the stack (default: theta-edge-node); of a fleet, the nodes are replaced
                              one after another
{artifacts.HELP}\
  --nodes NAME,NAME…          the nodes of a fleet from now on; the volume of a removed one is kept
  --unreserved                give the instance back without having made sure of a new one
  --yes                       do not ask
{settings.HELP}{COMMON_HELP}
Without any option it takes the node to the version that lies here, with a new instance and, with
the image tag `latest`, to the newest image. What belongs to the volume stays for the node's whole
life: its zone, its file system, its keys. It can grow, but not shrink.
"""

# Another one would take the place of the volume, and so of the wallet key.
FOR_GOOD = ("VpcId", "SubnetId", "AvailabilityZone", "Filesystem", "VolumeId", "SnapshotId", "KmsKeyArn")

# What can be updated: after an operation that has ended or was rolled back, and of a fleet also after one that has kept
# what it could.
RESTING = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
KEPT = ("CREATE_FAILED", "UPDATE_FAILED")


@dataclass
class Wanted:
    """What the command line asks for."""

    name: str = "theta-edge-node"
    binary: Binary = field(default_factory=Binary)
    unreserved: bool = False
    yes: bool = False
    settings: Settings = field(default_factory=Settings)


def main(arguments: list[str]) -> int:
    shared, wanted = Common(), Wanted()
    for option, value in options(
        arguments,
        shared,
        ["--name", "--binary", "--binary-sha256", *settings.VALUED],
        ["--unreserved", "--yes", *settings.FLAGS],
    ):
        if option == "--name":
            wanted.name = value
        elif option == "--binary":
            wanted.binary.source = value
        elif option == "--binary-sha256":
            wanted.binary.sha256 = value
        elif option == "--unreserved":
            wanted.unreserved = True
        elif option == "--yes":
            wanted.yes = True
        else:
            wanted.settings.take(option, value)
    aws = Aws(shared)
    stack = _stack(aws, wanted.name)
    template = FLEET if stack.is_fleet else NODE
    wanted.settings.current = dict(stack.parameters)
    wanted.settings.settle(template)
    _check(aws, wanted, template, stack)
    common, made = _name_versions(aws, wanted, stack)
    _show(aws, wanted, stack, template)
    if not wanted.yes and not aws.dry_run:
        confirm("yes", f"{wanted.name} gets a new instance and is away for some minutes.")

    common_stack.update(aws, common, {})
    for line in artifacts.upload(aws, common.outputs["Bucket"], made):
        print(line, file=sys.stderr, flush=True)
    newest, launches = stacks.newest_event(aws, stack.id), Launches.after(aws, stack)
    reserve = _reserves(wanted, template)
    with capacity.held(aws, wanted.name, wanted.settings) if reserve else nullcontext():
        _update(aws, wanted, stack, template)
        rests = None if aws.dry_run else stacks.follow(aws, stack.id, newest, launches.look)
    if rests:
        guards.protect(aws, rests)
    if template is FLEET and (aws.dry_run or (rests and rests.status == "UPDATE_COMPLETE")):
        _replace_instances(aws, wanted.name, stack)
    if not aws.dry_run:
        _report(aws, wanted.name, stack, rests, newest)
    return 0


# Looking.


def _stack(aws: Aws, name: str) -> Stack:
    stack = stacks.find(aws, name)
    if not stack:
        raise Failed(f"there is no stack {name} in {aws.region}: scripts/deploy makes one, --name names another")
    status = stack.status
    if stack.at_work:
        raise Failed(f"the stack {name} is being worked on ({status}): wait until that has ended")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise Failed(
            f"the stack {name} is stuck on its way back ({status}): see why in its events, then\n"
            f"aws cloudformation continue-update-rollback --region {aws.region} --stack-name {name}"
        )
    if status not in RESTING and not (stack.is_fleet and status in KEPT):
        raise Failed(
            f"the stack {name} cannot be updated ({status}): remove it with scripts/destroy --name {name}, then deploy\n"
            "again; --volume-id keeps the wallet key"
        )
    if fleet := stack.parameters.get("Fleet"):
        raise Failed(f"{name} is a node of the fleet {fleet}: upgrade that, with --name {fleet}")
    return stack


def _check(aws: Aws, wanted: Wanted, template: Template, stack: Stack) -> None:
    problems = Problems()
    if stack.status in KEPT and set(fleets.missing(aws, stack)).intersection(wanted.settings.nodes):
        problems.add(f"not every node of {wanted.name} came up: {fleets.what_to_do(aws, stack)}")
    wanted.settings.check_values(template, problems)
    if wrong := wanted.binary.problem():
        problems.add(wrong)
    _check_kept(wanted, problems)
    wanted.settings.check_fleet(problems)
    checks = Checks(aws, wanted.settings, template, problems)
    checks.image()
    checks.machine()
    checks.zone()
    checks.volume()
    checks.daily_snapshots(stack.name)
    checks.default_key(new_volumes=bool(set(wanted.settings.nodes) - set(stack.nodes)))
    checks.secret()
    problems.report()


def _check_kept(wanted: Wanted, problems: Problems) -> None:
    """What would cost the node its wallet key."""
    given, current = wanted.settings.given, wanted.settings.current
    for key in FOR_GOOD:
        if given.get(key, current.get(key, "")) != current.get(key, ""):
            problems.add(
                f"{key} cannot change from {current.get(key) or 'nothing'} to {given[key] or 'nothing'}: the node would "
                "lose its volume and its wallet key"
            )
    now, then = current.get("VolumeType", ""), given.get("VolumeType", "")
    if then and then != now and "instance-store" in (now, then):
        problems.add(f"VolumeType cannot change from {now} to {then}: the node would lose its wallet key")
    size = wanted.settings.number("VolumeSize")
    if size is not None and size < int(current.get("VolumeSize", "0")):
        problems.add(f"VolumeSize is {current['VolumeSize']}, and a volume cannot shrink to {size}")
    if given.get("SecretArn", current.get("SecretArn")) != current.get("SecretArn"):
        warn("the wallet key stays encrypted with the old password: the other secret must hold the same one")
    if now == "instance-store":
        warn(
            f"{wanted.name} has its wallet key on an instance store, which the new instance does not get: save it with "
            "scripts/backup-key"
        )


def _name_versions(aws: Aws, wanted: Wanted, stack: Stack) -> tuple[Stack, Artifacts]:
    """The common stack, and what is to be uploaded; its names are in the settings then."""
    name = stack.parameters.get("CommonStack", "")
    common = stacks.find(aws, name) if name else None
    if not common or not common.outputs.get("Bucket"):
        raise Failed(f"there is no common stack {name} in {aws.region}, though {wanted.name} needs it")
    made = artifacts.name(aws, common.outputs["Bucket"], wanted.binary.file)
    wanted.settings.given.update(made.parameters)
    # A wait condition works once: an update takes the one that is not in use.
    wanted.settings.given["WaitOn"] = "second" if stack.parameters.get("WaitOn") == "first" else "first"
    return common, made


def _reserves(wanted: Wanted, template: Template) -> bool:
    """Spot capacity cannot be reserved."""
    return template is NODE and not wanted.unreserved and wanted.settings.value["Spot"] != "true"


# Changing.


def _show(aws: Aws, wanted: Wanted, stack: Stack, template: Template) -> None:
    def short(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    before, after = short(stacks.template(aws, stack)), short(template.text)
    lines = [("template", "stays" if before == after else f"{before} -> {after}")]
    for key in template.parameters:
        now, then = stack.parameters.get(key, ""), wanted.settings.given.get(key)
        if then is not None and (key not in stack.parameters or then != now):
            lines.append((key, f"{now or 'nothing'} -> {then or 'nothing'}"))
    reserved = _reserves(wanted, template)
    lines.append(("instance", "a new one, on the same volume" + (", reserved before the old one goes" if reserved else "")))
    lines.append(("cost", summary.costs(wanted.settings)))
    each = " for each node" if template is FLEET else ""
    lines.append(("time", f"10 to 30 minutes{each}, in which the node is away"))
    lines.append(("for good", "a volume that has grown does not shrink; the rest is rolled back where it fails"))
    say(f"What changes in {wanted.name}")
    for key, text in lines:
        print(f"  {key:<18} {printable(text)}")


def _update(aws: Aws, wanted: Wanted, stack: Stack, template: Template) -> None:
    given = wanted.settings.given
    url, capabilities = given["NodeTemplateUrl"], ["CAPABILITY_IAM"]
    if template is FLEET:
        url, capabilities = given["FleetTemplateUrl"], ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    # A new parameter has its default; one that the new template lacks may not be named.
    values = {key: given[key] for key in template.parameters if key in given}
    kept = [key for key in template.parameters if key in stack.parameters and key not in given]
    call: dict[str, Any] = {
        "TemplateURL": url,
        "Parameters": stacks.parameters(values, kept),
        "Capabilities": capabilities,
    }
    if template is NODE:
        if not guards.update(aws, stack, **call):
            print("The stack is so already.")
        return
    # No change set tells of what nested stacks would do, or of a list that grew (cfn-language-discussion#152, #146).
    # One failed node takes no other with it. CloudFormation replaces no resource then, so only where it matters.
    added = set(wanted.settings.nodes) - set(stack.nodes)
    keep: dict[str, Any] = {"DisableRollback": True} if added or stack.status in KEPT else {}
    say(f"Updating {wanted.name}")
    try:
        aws.change("cloudformation", "update_stack", StackName=wanted.name, **call, **keep)
    except Refused as refused:
        if "No updates are to be performed" not in str(refused):
            raise Failed(f"{wanted.name} was not updated: {refused}") from refused
        print("The stack is so already.")


def _replace_instances(aws: Aws, name: str, stack: Stack) -> None:
    """Updating a fleet's stacks replaces no instance; this does, one node after another."""
    document = stack.outputs.get("ReplaceDocument", "")
    say("Replacing the instances, one after another")
    try:
        started = aws.change(
            "ssm",
            "start_automation_execution",
            DocumentName=document,
            TargetParameterName="InstanceId",
            Targets=[{"Key": "tag:theta-edge:fleet", "Values": [name]}],
            MaxConcurrency="1",
            MaxErrors="0",
        )
    except Refused as refused:
        raise Failed(f"the instances are not replaced yet: start the document {document}: {refused}") from refused
    if aws.dry_run:
        return
    execution = started["AutomationExecutionId"]
    while True:
        try:
            answer = aws.read("ssm", "get_automation_execution", AutomationExecutionId=execution)
        except Refused as refused:
            raise Failed(f"the automation {execution} cannot be read: {refused}") from refused
        status = answer["AutomationExecution"]["AutomationExecutionStatus"]
        if status == "Success":
            return
        if status not in ("Pending", "InProgress", "Waiting"):
            raise Failed(
                f"not every instance was replaced ({status}): see\n"
                f"aws ssm get-automation-execution --region {aws.region} --automation-execution-id {execution}"
            )
        pause()


# Telling.


def _report(aws: Aws, name: str, before: Stack, rests: Stack | None, newest: str) -> None:
    status = rests.status if rests else "deleted"
    if status == "UPDATE_ROLLBACK_COMPLETE":
        raise Failed(
            f"{name} was not upgraded:\n{stacks.failures(aws, before.id, newest)}\n"
            f"The old version runs again, with the same volume and the same wallet key; see scripts/verify --name {name}"
        )
    if rests and status in KEPT:
        raise Failed(
            f"{name} was not upgraded whole ({status}):\n{stacks.failures(aws, before.id, newest)}\n"
            + fleets.what_to_do(aws, rests)
        )
    if not rests or status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise Failed(
            f"{name} is neither upgraded nor back at the old version ({status}):\n"
            f"{stacks.failures(aws, before.id, newest)}\n"
            f"When that is put right: aws cloudformation continue-update-rollback --region {aws.region} --stack-name {name}"
        )
    if before.is_fleet:
        print(f"\nThe fleet {name} is upgraded; see scripts/verify --all")
        return
    if before.address and rests.address and rests.address != before.address:
        raise Failed(
            f"{name} has another wallet key now: its address was {before.address} and is {rests.address}. Compare that with "
            f"your backup, and see scripts/verify --name {name}"
        )
    known = rests.address or f"not known yet: scripts/verify --name {name} tells it"
    print(f"""
The node {name} is upgraded.
  address    {known}{" (as before)" if rests.address and before.address else ""}
  instance   {stacks.instance(aws, rests)}
  volume     {rests.outputs.get("VolumeId") or "none"}

Check it:        scripts/verify --name {name}
Read its logs:   scripts/logs --name {name}""")
