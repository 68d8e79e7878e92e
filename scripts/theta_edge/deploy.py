"""Makes an edge node on AWS from nothing, with one command; or a fleet of them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

from theta_edge import artifacts, backup_key, common_stack, fleets, guards, settings, stacks, summary, wallets
from theta_edge.artifacts import Binary
from theta_edge.aws import Aws, Refused
from theta_edge.checks import Checks
from theta_edge.command import COMMON_HELP, Common, Failed, Problems, WrongUsage, confirm, options, say, warn
from theta_edge.launches import Launches
from theta_edge.settings import Place, Settings
from theta_edge.stacks import Stack
from theta_edge.template import FLEET, NODE, Template
from theta_edge.terminal import word
from theta_edge.wallets import Copy

HELP = f"""\
Usage: scripts/deploy [OPTION…]

Creates one node: checks everything first, shows what it will create, what that costs and how long it
takes, and asks for confirmation. Then it creates the common stack (bucket, wallet password, SSM
documents) if there is none, uploads the binary, the assets and the templates, creates the node's
stack and follows it until the node is healthy. Nothing is changed unless all checks pass.

  --name NAME                 the stack (default: theta-edge-node)
  --common NAME               the common stack (default: theta-edge-common)
{artifacts.HELP}\
  --vpc VPC, --subnet SUBNET  default: the default VPC, and its first public subnet in a zone that has
                              the instance type; the next one if that zone has no capacity
  --zone ZONE                 use the first public subnet in this zone
  --volume-id VOLUME          take over this volume, with the wallet key on it
  --snapshot-id SNAPSHOT      make the volume from this snapshot, with the wallet key in it
  --restore NODE              recreate this node, in any zone or region, from the copy of its wallet key
                              in the common stack's bucket; NODE/ADDRESS if there are several
  --from-region REGION        the region of that copy (default: --region)
  --take-over                 use the volume, snapshot or copy even though an existing node has the
                              same wallet key; that node must never run again
  --alarm-email ADDRESS       receives the alarms of all nodes of the common stack
  --password-file FILE        holds the wallet password, 12 to 128 characters in one line
  --keep-failed               keep a node whose set-up failed, so that it can be inspected
  --tag KEY=VALUE             tag the stacks and, through them, all their resources; repeat for several
  --nodes NAME,NAME…          create a fleet: a node with its own volume and key for each name
                              (letters and digits); --name is then theta-edge-fleet by default
  --yes                       do not ask for confirmation
{settings.HELP}{COMMON_HELP}
The wallet password encrypts the wallet key; without it the key is lost, so keep a copy. You are
prompted for it, without echo, if there is no common stack yet and neither --password-file nor
--secret-arn is given. It is sent to Secrets Manager over TLS, and is in no argument list, no
environment, no shell history and no file. With --secret-arn it never passes through this machine:
a new common stack then names that secret; if the common stack exists already, only this node uses it.
"""


@dataclass
class Wanted:
    """What the command line asks for."""

    name: str = ""
    common: str = "theta-edge-common"
    binary: Binary = field(default_factory=Binary)
    alarm_email: str = ""
    password_file: str = ""
    zone: str = ""
    restore: str = ""
    from_region: str = ""
    take_over: bool = False
    keep_failed: bool = False
    yes: bool = False
    tags: list[dict[str, str]] = field(default_factory=lambda: [stacks.PROJECT])
    settings: Settings = field(default_factory=Settings)

    def tag(self, text: str) -> None:
        """Takes KEY=VALUE, by AWS's rules for tags."""
        found = re.fullmatch(r"([\w .:/=+@-]{1,128}?)=([\w .:/=+@-]{0,256})", text)
        if not found or found[1].lower().startswith("aws:"):
            raise WrongUsage(f"--tag takes KEY=VALUE, not {text}")
        if any(tag["Key"] == found[1] for tag in self.tags):
            raise WrongUsage(f"the tag {found[1]} is there already")
        self.tags = [*self.tags, {"Key": found[1], "Value": found[2]}]


def _parse(arguments: list[str], shared: Common) -> Wanted:
    wanted = Wanted()
    own = ["--name", "--common", "--binary", "--binary-sha256", "--alarm-email", "--password-file", "--zone"]
    own += ["--restore", "--from-region", "--tag"]
    for option, value in options(
        arguments, shared, [*own, *settings.VALUED], ["--take-over", "--keep-failed", "--yes", *settings.FLAGS]
    ):
        if option == "--binary":
            wanted.binary.source = value
        elif option == "--binary-sha256":
            wanted.binary.sha256 = value
        elif option == "--tag":
            wanted.tag(value)
        elif not wanted.settings.take(option, value):
            setattr(wanted, option[2:].replace("-", "_"), value if option in own else True)
    if wanted.password_file and wanted.settings.given.get("SecretArn"):
        raise WrongUsage("--password-file and --secret-arn are two places for one password: give one of them")
    given = wanted.settings.given
    if wanted.restore and (wanted.settings.nodes or given.get("VolumeId") or given.get("SnapshotId")):
        raise WrongUsage("--restore makes one node, with a new volume: leave out --nodes, --volume-id and --snapshot-id")
    if wanted.from_region and not wanted.restore:
        raise WrongUsage("--from-region belongs to --restore")
    if wanted.zone and given.get("SubnetId"):
        raise WrongUsage("--zone and --subnet both say where: give one of them")
    wanted.name = wanted.name or wanted.restore.split("/")[0] or ("theta-edge-fleet" if wanted.settings.nodes else "theta-edge-node")
    return wanted


def main(arguments: list[str]) -> int:
    shared = Common()
    wanted = _parse(arguments, shared)
    template = FLEET if wanted.settings.nodes else NODE
    wanted.settings.settle(template)
    aws = Aws(shared)
    source = Aws(Common(shared.profile, wanted.from_region, shared.dry_run)) if wanted.from_region else aws
    password, common, places, copy = _check(aws, wanted, template, source)
    key = wallets.key_file(source, copy) if copy else b""
    if not copy:
        _look_for_volumes(aws, wanted)
    summary.show(
        f"To be created in {aws.region} (account {aws.account})",
        wanted.name,
        wanted.settings,
        None if common else wanted.common,
        [place.zone for place in places],
        copy.address if copy else "",
    )
    if not wanted.yes and not aws.dry_run:
        confirm("yes", "Nothing has been created yet.")

    _bring_up_common(aws, wanted, common, password)
    del password
    _upload(aws, wanted)
    if copy:
        _put(aws, wanted, copy, key)
    while True:
        stack_id = _create(aws, wanted, template)
        if aws.dry_run:
            return 0
        launches = Launches(aws)
        rests = stacks.follow(aws, stack_id, look=launches.look)
        if rests and wanted.settings.nodes:
            guards.protect(aws, rests)
        if rests and rests.status == "CREATE_COMPLETE":
            break
        # The volume went with the stack's resources: no instance was there to write on it.
        if not (rests and rests.status == "ROLLBACK_COMPLETE" and launches.lacked_capacity and places):
            return _report_failure(aws, wanted, stack_id, rests)
        # EC2 says itself where there is some.
        place = min(places, key=lambda place: place.zone not in launches.words)
        places.remove(place)
        warn(f"{wanted.settings.given['AvailabilityZone']} has no capacity for {wanted.settings.value['InstanceType']} now")
        stacks.delete(aws, rests)
        wanted.settings.move(place)
    if copy:
        _give(aws, wanted, rests, copy, key)
    _report(aws, wanted, rests, copy.address if copy else rests.address)
    return 0


# Looking.


def _check(
    aws: Aws, wanted: Wanted, template: Template, source: Aws
) -> tuple[str, Stack | None, list[Place], Copy | None]:
    """Everything, before anything is changed. The wallet password, if it is known yet, the common stack, where else the
    node could be, and the copy of the wallet key that it gets, which is in the region of `source`."""
    problems = Problems()
    _check_stack(aws, wanted.name, problems)
    wanted.settings.check_values(template, problems)
    common = _check_common(aws, wanted.common, problems)
    if wrong := wanted.binary.problem():
        problems.add(wrong)
    wanted.settings.check_fleet(problems)
    checks = Checks(aws, wanted.settings, template, problems)
    checks.image()
    checks.machine()
    checks.volume()
    checks.sources(wanted.take_over)
    checks.daily_snapshots(wanted.name)
    checks.place(wanted.zone)
    copy = _find_copy(aws, wanted, source, checks, problems) if wanted.restore else None
    checks.quota(len(wanted.settings.nodes) or 1)
    checks.default_key(new_volumes=True)
    checks.secret()
    password = ""
    if not common and not wanted.settings.given.get("SecretArn"):
        password = common_stack.read_password(wanted.password_file, aws.dry_run, problems)
    elif wanted.password_file:
        problems.add(
            f"{wanted.common} has a wallet password already: leave out --password-file; a node can have its own with "
            "--secret-arn"
        )
    if not wanted.yes and not aws.dry_run and not sys.stdin.isatty():
        problems.add("there is no terminal for the confirmation: use --yes")
    problems.report()
    # A fleet keeps what comes up, and a failed node is kept to be looked at.
    alone = bool(wanted.settings.nodes or wanted.keep_failed or wanted.zone)
    return password, common, [] if alone else checks.other_places, copy


def _find_copy(aws: Aws, wanted: Wanted, source: Aws, checks: Checks, problems: Problems) -> Copy | None:
    backup_key.need_openssl()
    node, _, wallet = wanted.restore.partition("/")
    copy = wallets.find(source, wanted.common, node, wallet, problems)
    if copy and not wanted.take_over:
        for where in dict.fromkeys((source, aws)):
            checks.no_twin(copy.name, [], {copy.address}, where)
    return copy


def _is_name(name: str, problems: Problems) -> bool:
    if re.fullmatch("[a-zA-Z][-a-zA-Z0-9]{0,127}", name):
        return True
    problems.add(f"a stack's name has letters, digits and hyphens, and begins with a letter: not {name!r}")
    return False


def _check_stack(aws: Aws, name: str, problems: Problems) -> None:
    stack = stacks.find(aws, name) if _is_name(name, problems) else None
    if not stack:
        return
    if stack.at_work and stack.status != "REVIEW_IN_PROGRESS":
        problems.add(f"the stack {name} is busy ({stack.status}): wait until that has ended")
    elif stack.left_over and not stack.is_fleet:
        problems.add(
            f"the stack {name} is left from a deployment that failed ({stack.status}): remove it with scripts/destroy "
            f"--name {name}, then deploy again"
        )
    else:
        problems.add(
            f"the stack {name} exists already ({stack.status}): change it with scripts/upgrade --name {name}, or give "
            "another node another --name"
        )


def _check_common(aws: Aws, name: str, problems: Problems) -> Stack | None:
    stack = stacks.find(aws, name) if _is_name(name, problems) else None
    if stack and stack.at_work:
        problems.add(f"the common stack {name} is busy ({stack.status}): wait until that has ended")
    elif stack and stack.left_over:
        problems.add(
            f"the common stack {name} is left from a deployment that failed ({stack.status}): remove it with "
            f"scripts/destroy --with-common --common {name}"
        )
    return stack


def _look_for_volumes(aws: Aws, wanted: Wanted) -> None:
    """An earlier node of this name has left its volume, and with it its wallet key."""
    given = wanted.settings.given
    if given.get("VolumeId") or given.get("SnapshotId") or wanted.settings.nodes:
        return
    filters = [{"Name": "tag:theta-edge:node", "Values": [wanted.name]}, {"Name": "status", "Values": ["available"]}]
    try:
        left = [one["VolumeId"] for one in aws.pages("ec2", "describe_volumes", "Volumes", Filters=filters)]
    except Refused:
        return
    if left:
        warn(
            f"an earlier {wanted.name} has left {', '.join(left)} with its wallet key: --volume-id uses it again; "
            "this node gets a new key"
        )


# Making.


def _bring_up_common(aws: Aws, wanted: Wanted, common: Stack | None, password: str) -> None:
    if common:
        common_stack.update(aws, common, {"AlarmEmail": wanted.alarm_email} if wanted.alarm_email else {})
        return
    values = {"AlarmEmail": wanted.alarm_email}
    if secret := wanted.settings.given.pop("SecretArn", ""):
        values = {"SecretArn": secret, **values}
    elif not password and not aws.dry_run:
        password = common_stack.ask_password()
    common_stack.create(aws, wanted.common, values, password, wanted.tags)


def _upload(aws: Aws, wanted: Wanted) -> None:
    """What the node is made from; its names are in the settings then."""
    common, given = stacks.find(aws, wanted.common), wanted.settings.given

    def output(key: str) -> str:
        # Where a dry run has not made the stack, the output has a placeholder.
        found = common.outputs.get(key, "") if common else ""
        return found or (f"<{key} of {wanted.common}>" if aws.dry_run else "")

    bucket = output("Bucket")
    say("Uploading the binary, the assets and the templates")
    made = artifacts.name(aws, bucket, wanted.binary.file)
    for line in artifacts.upload(aws, bucket, made):
        print(line, file=sys.stderr, flush=True)
    given.update(made.parameters)
    if not given.get("AlarmTopicArn"):
        known = common.outputs.get("AlarmTopicArn", "") if common else ""
        given["AlarmTopicArn"] = output("AlarmTopicArn") if wanted.alarm_email else known
    given["CommonStack"] = wanted.common
    if wanted.settings.nodes:
        given["VerifyDocument"] = output("VerifyDocument")


def _put(aws: Aws, wanted: Wanted, copy: Copy, key: bytes) -> None:
    """Where the node will look for it, and its address, where others lie beside it."""
    own = copy.of(_bucket(aws, wanted), wanted.name)
    wallets.put(aws, own, key)
    try:
        if any(other != own for other in wallets.of_node(aws, own.bucket, wanted.name)):
            wanted.settings.given.setdefault("WalletAddress", copy.address.lower())
    except Refused as refused:
        if not aws.dry_run:
            raise Failed(f"the copies of wallet keys in {own.bucket} cannot be looked up: {refused}") from refused


def _bucket(aws: Aws, wanted: Wanted) -> str:
    common = stacks.find(aws, wanted.common)
    return common.outputs.get("Bucket", "") if common else f"<Bucket of {wanted.common}>"


def _give(aws: Aws, wanted: Wanted, stack: Stack, copy: Copy, key: bytes) -> None:
    """The node may have found the key by itself; else it has made one, which it puts aside."""
    node = backup_key.Node(aws, stacks.instance(aws, stack))
    try:
        backup_key.give(node, wanted.name, key, stack.address.lower())
    except Failed as failed:
        again = copy.of(_bucket(aws, wanted), wanted.name).name
        raise Failed(
            f"{wanted.name} is up, but not with the key of {copy.address}: {failed}\nOnce that is fixed:\n"
            f"  scripts/backup-key --name {wanted.name} --restore {word(again)} --replace {stack.address or 'ADDRESS'}"
        ) from failed


def _create(aws: Aws, wanted: Wanted, template: Template) -> str:
    """The id of the stack that is made; nothing with --dry-run."""
    given = wanted.settings.given
    url, capabilities = given["NodeTemplateUrl"], ["CAPABILITY_IAM"]
    if wanted.settings.nodes:
        url, capabilities = given["FleetTemplateUrl"], ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    values = {key: given[key] for key in template.parameters if key in given}
    # One failed node of a fleet takes no other with it, nor a volume whose key may be the only copy.
    keep = wanted.keep_failed or wanted.settings.nodes
    failure: dict[str, Any] = {"OnFailure": "DO_NOTHING"} if keep else {}
    # A fleet's stack has no volume; those of its nodes get the policy when they are there.
    guard: dict[str, Any] = {} if wanted.settings.nodes else {"StackPolicyBody": guards.POLICY}
    say(f"Creating {wanted.name}: {wanted.settings.value['InstanceType']} in {given['AvailabilityZone']}")
    try:
        made_stack = aws.change(
            "cloudformation",
            "create_stack",
            StackName=wanted.name,
            TemplateURL=url,
            Parameters=stacks.parameters(values, []),
            Capabilities=capabilities,
            Tags=wanted.tags,
            EnableTerminationProtection=True,
            **guard,
            **failure,
        )
    except Refused as refused:
        raise Failed(f"the stack {wanted.name} was not created: {refused}") from refused
    return str(made_stack.get("StackId", ""))


# Telling.


def _report_failure(aws: Aws, wanted: Wanted, stack_id: str, rests: Stack | None) -> int:
    if rests and wanted.settings.nodes:
        raise Failed(
            f"{wanted.name} was only partly created ({rests.status}):\n{stacks.failures(aws, stack_id)}\n"
            + fleets.what_to_do(aws, rests)
        )
    said = [
        f"{wanted.name} was not created ({rests.status if rests else 'deleted'}):\n{stacks.failures(aws, stack_id)}\n"
    ]
    if volume := stacks.resource(aws, stack_id, "Volume"):
        try:
            aws.read("ec2", "describe_volumes", VolumeIds=[volume])
            said.append(f"The volume {volume} was made, and is kept: --volume-id {volume} uses it again.\n")
        except Refused:
            pass  # it went with the stack
    if wanted.keep_failed:
        said.append(f"It is left as it is. What happened:  scripts/logs --name {wanted.name}")
    else:
        said.append("To inspect a failed node, deploy with --keep-failed.")
    raise Failed("\n".join(said) + f"\nBefore the next try:  scripts/destroy --name {wanted.name}")


def _report(aws: Aws, wanted: Wanted, stack: Stack, address: str) -> None:
    name, nodes = wanted.name, wanted.settings.nodes
    dashboard = stack.outputs.get("Dashboard", "")
    if nodes:
        print(f"""
The fleet {name} is up: {", ".join(nodes)}.
  dashboard  {dashboard}

Check it:        scripts/verify --all
Change it:       scripts/upgrade --name {name}
Add a node:      scripts/upgrade --name {name} --nodes {",".join(nodes)},another""")
        return
    instance = stacks.instance(aws, stack)
    volume = stack.outputs.get("VolumeId") or "none: the wallet key is on the instance store, which is empty after a stop"
    print(f"""
The node {name} is up.
  address    {address or f"not known yet: see scripts/verify --name {name}"}
  instance   {instance}
  volume     {volume}
  dashboard  {dashboard}

Check it:        scripts/verify --name {name}
Read its logs:   scripts/logs --name {name}
Save its key:    scripts/backup-key --name {name}
Enter it:        aws ssm start-session --region {aws.region} --target {instance}
Change it:       scripts/upgrade --name {name}
Remove it:       scripts/destroy --name {name}""")
