"""Brings a node, or a fleet, to the current version or to other settings, and back if that fails."""

from __future__ import annotations

import hashlib
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from theta_edge import artifacts, capacity, common_stack, fleets, guards, in_place, settings, stacks, summary, twins
from theta_edge.artifacts import Artifacts, Binary
from theta_edge.aws import Aws, Refused, pause
from theta_edge.checks import Checks
from theta_edge.command import COMMON_HELP, Common, Failed, Problems, confirm, options, say, warn
from theta_edge.in_place import Target
from theta_edge.launches import Launches
from theta_edge.settings import Settings
from theta_edge.stacks import Stack
from theta_edge.template import FLEET, NODE, Template
from theta_edge.terminal import printable, wrapped

HELP = f"""\
Usage: scripts/upgrade [OPTION…]

Uploads the binary, the assets and the templates of this checkout, and updates the node's stack with
them and with the given options; every other setting stays. The running instance is upgraded in
place; if the node is not healthy afterwards, it and the stack are rolled back to the old version,
and the exit code is 1.

A change of the machine (its type, AMI, disk or network) needs a new instance. It attaches the same
volume, so the node keeps its wallet key. If it does not become healthy, CloudFormation rolls back to
the old version. A new instance is reserved before the old one is terminated; if EC2 has none, nothing
is changed. Nothing that would replace the volume is done.

First shows which of the two it will be and why, what will change, where a node that stays differs from
what its next instance would be, what that costs and how long it takes, and asks for confirmation.

  --name NAME                 the stack (default: theta-edge-node); a fleet's nodes are replaced one
                              after another, or a tenth of them at a time, until one fails
{artifacts.HELP}\
  --nodes NAME,NAME…          the nodes of a fleet from now on; the volume of a removed one is kept
  --replace                   use a new instance in any case, from the newest AMI
  --unreserved                terminate the instance without reserving a new one first
  --yes                       do not ask for confirmation
{settings.HELP}{COMMON_HELP}
Without options it upgrades the node to the version in this checkout and, with the image tag `latest`,
to the newest image. The volume's zone, filesystem and encryption key cannot be changed later; its
size can grow, but not shrink.
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
    replace: bool = False
    unreserved: bool = False
    yes: bool = False
    settings: Settings = field(default_factory=Settings)


def main(arguments: list[str]) -> int:
    shared, wanted = Common(), Wanted()
    for option, value in options(
        arguments,
        shared,
        ["--name", "--binary", "--binary-sha256", *settings.VALUED],
        ["--replace", "--unreserved", "--yes", *settings.FLAGS],
    ):
        if option == "--name":
            wanted.name = value
        elif option == "--binary":
            wanted.binary.source = value
        elif option == "--binary-sha256":
            wanted.binary.sha256 = value
        elif option == "--replace":
            wanted.replace = True
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
    ami = _check(aws, wanted, template, stack)
    nodes = in_place.targets(aws, stack)
    known = twins.address_of(aws, stack)
    # Why it takes a new instance, if it does.
    why = "so --replace says" if wanted.replace else in_place.hindrance(aws, stack, wanted.settings, nodes)
    common, made = _name_versions(aws, wanted, stack, bool(why))
    if why:
        _show(aws, wanted, stack, template, why, "", [])
    else:
        _show(aws, wanted, stack, template, why, _newer_ami(aws, nodes, ami), list(in_place.drift(aws, nodes)))
    if not wanted.yes and not aws.dry_run:
        how = "gets a new instance and is down for a few minutes" if why else "is down while its container restarts"
        confirm("yes", f"{wanted.name} {how}.")

    common_stack.update(aws, common, {})
    for line in artifacts.upload(aws, common.outputs["Bucket"], made):
        print(line, file=sys.stderr, flush=True)
    if why:
        _with_new_instances(aws, wanted, stack, template, known)
    else:
        _in_place(aws, wanted, stack, template, nodes, common, made, known)
    return 0


def _with_new_instances(aws: Aws, wanted: Wanted, stack: Stack, template: Template, known: str) -> None:
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
        _report(aws, stack, _require_updated(aws, wanted.name, stack, rests, newest), known)


def _in_place(
    aws: Aws,
    wanted: Wanted,
    stack: Stack,
    template: Template,
    nodes: list[Target],
    common: Stack,
    made: Artifacts,
    known: str,
) -> None:
    """The stack first, since the role must let the node have the new version; a new instance would then be the new version
    too. It goes back with the node."""
    before = stacks.template(aws, stack)
    in_place.prepare(aws, nodes, common.outputs["Bucket"], made)
    newest, launches = stacks.newest_event(aws, stack.id), Launches.after(aws, stack)
    changed = _update(aws, wanted, stack, template)
    rests = None if aws.dry_run else stacks.follow(aws, stack.id, newest, launches.look)
    if rests:
        guards.protect(aws, rests)
    if rests:
        if changed:
            _require_updated(aws, wanted.name, stack, rests, newest)
        # A removed one is gone, and one that was added has the new version.
        there = {node.instance for node in in_place.targets(aws, rests)}
        nodes = [node for node in nodes if node.instance in there]
    try:
        undone = in_place.apply(aws, nodes, made)
    except Failed as failed:
        raise Failed(
            f"{failed}\nThe stack has the new version: once that is fixed, scripts/upgrade --name {wanted.name}; a new "
            "instance in its place: the same with --replace"
        ) from failed
    if undone:
        _go_back(aws, wanted, stack, common, before, undone)
    if rests:
        _report(aws, stack, rests, known)


def _go_back(
    aws: Aws, wanted: Wanted, stack: Stack, common: Stack, before: str, undone: dict[str, str]
) -> None:
    """The stack to what its node has again."""
    reasons = "\n".join(f"  {name}: {reason}" for name, reason in undone.items())
    if stack.is_fleet:
        raise Failed(
            f"not every node of {wanted.name} was upgraded:\n{reasons}\n"
            f"{'These have' if len(undone) > 1 else 'This one has'} the old version again, the nodes after it were not touched, and the "
            f"stacks have the new one. Once that is fixed: scripts/upgrade --name {wanted.name}"
        )
    newest = stacks.newest_event(aws, stack.id)
    url = artifacts.earlier_template(aws, common.outputs["Bucket"], before)
    values = {**stack.parameters, "Updates": "in-place"}
    changed = guards.update(
        aws, stack, TemplateURL=url, Parameters=stacks.parameters(values, []), Capabilities=["CAPABILITY_IAM"]
    )
    rests = stacks.follow(aws, stack.id, newest)
    if changed and (not rests or rests.status != "UPDATE_COMPLETE"):
        raise Failed(
            f"{wanted.name} has the old version again, since with the new one\n{reasons}\nbut its stack has not "
            f"({rests.status if rests else 'deleted'}):\n{stacks.failures(aws, stack.id, newest)}"
        )
    raise Failed(
        f"{wanted.name} was not upgraded:\n{reasons}\nThe old version runs again on the same instance, with the same wallet key, "
        f"and the stack is as it was; see scripts/verify --name {wanted.name}"
    )


# Looking.


def _stack(aws: Aws, name: str) -> Stack:
    stack = stacks.find(aws, name)
    if not stack:
        raise Failed(f"there is no stack {name} in {aws.region}: scripts/deploy creates one, --name names another")
    status = stack.status
    if stack.at_work:
        raise Failed(f"the stack {name} is busy ({status}): wait until that has ended")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise Failed(
            f"the stack {name} is stuck in a rollback ({status}): see why in its events, then\n"
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


def _check(aws: Aws, wanted: Wanted, template: Template, stack: Stack) -> str:
    """The AMI that a new instance would have."""
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
    return checks.ami


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


def _newer_ami(aws: Aws, nodes: list[Target], ami: str) -> str:
    """What a running instance does not take over."""
    try:
        found = aws.read("ec2", "describe_instances", InstanceIds=[nodes[0].instance])["Reservations"]
        now = str(found[0]["Instances"][0]["ImageId"])
    except (Refused, IndexError):
        return ""
    return f"{now} -> {ami} with the next instance; --replace uses it now" if now != ami else ""


def _name_versions(aws: Aws, wanted: Wanted, stack: Stack, replaces: bool) -> tuple[Stack, Artifacts]:
    """The common stack, and what is to be uploaded; its names are in the settings then."""
    name = stack.parameters.get("CommonStack", "")
    common = stacks.find(aws, name) if name else None
    if not common or not common.outputs.get("Bucket"):
        raise Failed(f"there is no common stack {name} in {aws.region}, though {wanted.name} needs it")
    made = artifacts.name(aws, common.outputs["Bucket"], wanted.binary.file)
    wanted.settings.given.update(made.parameters)
    wanted.settings.given["Updates"] = "rolling" if replaces else "in-place"
    if replaces:
        # A wait condition works once: an update takes the one that is not in use.
        wanted.settings.given["WaitOn"] = "second" if stack.parameters.get("WaitOn") == "first" else "first"
    return common, made


def _reserves(wanted: Wanted, template: Template) -> bool:
    """Spot capacity cannot be reserved."""
    return template is NODE and not wanted.unreserved and wanted.settings.value["Spot"] != "true"


# Changing.


def _show(aws: Aws, wanted: Wanted, stack: Stack, template: Template, why: str, ami: str, drift: list[str]) -> None:
    def short(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    before, after = short(stacks.template(aws, stack)), short(template.text)
    lines = [("template", "stays" if before == after else f"{before} -> {after}")]
    for key in template.parameters:
        now, then = stack.parameters.get(key, ""), wanted.settings.given.get(key)
        if then is not None and (key not in stack.parameters or then != now):
            lines.append((key, f"{now or 'nothing'} -> {then or 'nothing'}"))
    if why:
        reserved = ", reserved before the old one is terminated" if _reserves(wanted, template) else ""
        lines.append(("instance", f"a new one, on the same volume{reserved}: {why}"))
    else:
        lines.append(("instance", "stays, and is upgraded in place"))
    if ami:
        lines.append(("AMI", ami))
    lines += [("drift", one) for one in drift]
    lines.append(("cost", summary.costs(wanted.settings)))
    each = " for each node" if template is FLEET else ""
    away = "10 to 30 minutes" if why else "some minutes"
    lines.append(("time", f"{away}{each}, during which the node is down" + ("" if why else " while its container restarts")))
    lines.append(("permanent", "a volume that has grown does not shrink; everything else is rolled back on failure"))
    say(f"Changes to {wanted.name}")
    for key, text in lines:
        print(wrapped(f"  {key:<18} ", printable(text), sys.stdout))


def _values(wanted: Wanted, template: Template) -> dict[str, str]:
    return {key: wanted.settings.given[key] for key in template.parameters if key in wanted.settings.given}


def _update(aws: Aws, wanted: Wanted, stack: Stack, template: Template) -> bool:
    """False where nothing changes."""
    given = wanted.settings.given
    url, capabilities = given["NodeTemplateUrl"], ["CAPABILITY_IAM"]
    if template is FLEET:
        url, capabilities = given["FleetTemplateUrl"], ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    # A new parameter has its default; one that the new template lacks may not be named.
    values = _values(wanted, template)
    kept = [key for key in template.parameters if key in stack.parameters and key not in given]
    call: dict[str, Any] = {
        "TemplateURL": url,
        "Parameters": stacks.parameters(values, kept),
        "Capabilities": capabilities,
    }
    if template is NODE:
        changed = guards.update(aws, stack, **call)
        if not changed:
            print("The stack already has these settings.")
        return changed
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
        print("The stack is up to date already.")
        return False
    return True


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


def _require_updated(aws: Aws, name: str, before: Stack, rests: Stack | None, newest: str) -> Stack:
    status = rests.status if rests else "deleted"
    if status == "UPDATE_ROLLBACK_COMPLETE":
        raise Failed(
            f"{name} was not upgraded:\n{stacks.failures(aws, before.id, newest)}\n"
            f"The old version runs again, with the same volume and the same wallet key; see scripts/verify --name {name}"
        )
    if rests and status in KEPT:
        raise Failed(
            f"{name} was only partly upgraded ({status}):\n{stacks.failures(aws, before.id, newest)}\n"
            + fleets.what_to_do(aws, rests)
        )
    if not rests or status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise Failed(
            f"{name} is neither upgraded nor back at the old version ({status}):\n"
            f"{stacks.failures(aws, before.id, newest)}\n"
            f"Once that is fixed: aws cloudformation continue-update-rollback --region {aws.region} --stack-name {name}"
        )
    return rests


def _report(aws: Aws, before: Stack, rests: Stack, known: str) -> None:
    """`known` is the address that the node had."""
    name = before.name
    if before.is_fleet:
        print(f"\nThe fleet {name} is upgraded; see scripts/verify --all")
        return
    # What the stack reports is as old as its last new instance.
    address = rests.address if rests.outputs.get("Node") != before.outputs.get("Node") else known
    if known and address and address.lower() != known.lower():
        raise Failed(
            f"{name} has another wallet key now: its address was {known} and is {address}. Compare that with "
            f"your backup, and see scripts/verify --name {name}"
        )
    print(f"""
The node {name} is upgraded.
  address    {address or f"not known yet: see scripts/verify --name {name}"}{" (as before)" if known and address else ""}
  instance   {stacks.instance(aws, rests)}
  volume     {rests.outputs.get("VolumeId") or "none"}

Check it:        scripts/verify --name {name}
Read its logs:   scripts/logs --name {name}""")
