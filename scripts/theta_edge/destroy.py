"""Removes a node, or a fleet, and keeps whatever its wallet key needs, unless told otherwise by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused, pause, wait_until
from theta_edge.command import COMMON_HELP, Common, Failed, Problems, confirm, options, say
from theta_edge.stacks import Stack
from theta_edge.terminal import one_line, word
from theta_edge.twins import wallet_of
from theta_edge.wallets import WALLETS, Copy

HELP = f"""\
Usage: scripts/destroy [OPTION…]

Deletes the node's stack. First says what is kept and what is lost, and asks for the stack's name.
The volume with the wallet key, its snapshots, the key's copy in the bucket and the wallet password
are kept; deploy --volume-id uses them again. To delete what a deleted stack has left behind, name
it again.

  --name NAME                 the stack (default: theta-edge-node)
  --snapshot-volume           take a final snapshot of the volume first, and wait for it
  --delete-volume VOLUME      delete this volume of the node too, and the wallet key on it
  --delete-snapshot SNAPSHOT  delete this snapshot of the node's volume too
  --delete-wallet ADDRESS     delete the copy of this wallet's key in the bucket too; the bucket keeps
                              it for 90 days as a noncurrent version
  --delete-secret ARN         delete this secret with the wallet password too; Secrets Manager can
                              restore it for 30 days
  --with-common               delete the common stack too, with its bucket, if no other node uses it
  --common NAME               default: theta-edge-common
  --yes                       do not ask for confirmation
{COMMON_HELP}
--delete-volume, --delete-snapshot and --delete-wallet may be given several times.
"""

TAG = "theta-edge:node"
# S3 takes a thousand; this many, printed by --dry-run, still fit into one argument.
AT_ONCE = 250


@dataclass
class Volume:
    id: str
    size: int
    # Of the instance that has it, and of the node that it was made for; nothing where there is none.
    attached: str
    tagged: str
    address: str
    in_use: bool

    @property
    def key(self) -> str:
        return "the wallet key" + (f" of {self.address}" if self.address else "")


@dataclass
class Wanted:
    """What the command line asks for."""

    name: str = "theta-edge-node"
    common: str = ""
    with_common: bool = False
    snapshot_volume: bool = False
    yes: bool = False
    volumes: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    wallets: list[str] = field(default_factory=list)
    secret: str = ""


@dataclass
class Node:
    """What belongs to the node, by what the stacks say or the tags; volumes in use come first."""

    aws: Aws
    wanted: Wanted
    stack: Stack | None = None
    # Its own stack, or those of a fleet's nodes.
    parts: list[Stack] = field(default_factory=list)
    common: Stack | None = None
    bucket: str = ""
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: list[str] = field(default_factory=list)
    # Of all nodes that use the bucket.
    wallets: list[Copy] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    # Looking.

    def read(self) -> None:
        name = self.wanted.name
        self.stack = stack = stacks.find(self.aws, name)
        own_common = ""
        if stack:
            if stack.at_work:
                raise Failed(f"the stack {name} is busy ({stack.status}): wait until that has ended")
            if fleet := stack.parameters.get("Fleet"):
                raise Failed(
                    f"{name} is a node of the fleet {fleet}: remove it with scripts/upgrade --name {fleet} --nodes …"
                )
            own_common = stack.parameters.get("CommonStack", "")
            self._add_secret(stack.parameters.get("SecretArn", ""))
            self.parts = stacks.of_nodes(self.aws, stack)
        if self.wanted.common and own_common and self.wanted.common != own_common:
            raise Failed(f"{name} uses the common stack {own_common}, not {self.wanted.common}")
        self.wanted.common = own_common or self.wanted.common or "theta-edge-common"
        self._find_volumes()
        self._read_common()

    def _find_volumes(self) -> None:
        for part in self.parts:
            # A stack that failed has no outputs; one that uses an existing volume has it as a parameter only.
            volume = part.parameters.get("VolumeId") or stacks.resource(self.aws, part.id, "Volume")
            if volume:
                for found in self._described(VolumeIds=[volume]):
                    self._add_volume(found, part.address, in_use=True)
        # Those that earlier nodes of the name have left.
        for owner in [self.wanted.name, *(part.name for part in self.parts)]:
            mine = [{"Name": f"tag:{TAG}", "Values": [owner]}]
            for found in self._described(Filters=mine):
                self._add_volume(found, "", in_use=False)
            self._add_snapshots(mine)
        for one in list(self.volumes):
            self._add_snapshots([{"Name": "volume-id", "Values": [one]}])

    def _described(self, **which: Any) -> list[dict[str, Any]]:
        try:
            return list(self.aws.pages("ec2", "describe_volumes", "Volumes", **which))
        except Refused as refused:
            # One that is gone already.
            if refused.code == "InvalidVolume.NotFound":
                return []
            raise Failed(f"the volumes of {self.wanted.name} cannot be read: {refused}") from refused

    def _add_volume(self, found: dict[str, Any], address: str, in_use: bool) -> None:
        attached = [one["InstanceId"] for one in found.get("Attachments", [])]
        tagged = [one_line(tag["Value"]) for tag in found.get("Tags", []) if tag["Key"] == TAG]
        self.volumes.setdefault(
            found["VolumeId"],
            Volume(
                found["VolumeId"],
                found["Size"],
                attached[0] if attached else "",
                tagged[0] if tagged else "",
                # Another than the stack reports, where one was restored since.
                wallet_of(found) or address,
                in_use,
            ),
        )

    def _add_snapshots(self, filters: list[dict[str, Any]]) -> None:
        try:
            found = self.aws.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
            self.snapshots += [one["SnapshotId"] for one in found if one["SnapshotId"] not in self.snapshots]
        except Refused as refused:
            raise Failed(f"the snapshots of {self.wanted.name} cannot be read: {refused}") from refused

    def _add_secret(self, secret: str) -> None:
        if secret and secret not in self.secrets:
            self.secrets.append(secret)

    def _read_common(self) -> None:
        self.common = stacks.find(self.aws, self.wanted.common)
        if self.common:
            self.bucket = stacks.resource(self.aws, self.common.id, "Bucket")
            self._add_secret(
                self.common.outputs.get("SecretArn") or stacks.resource(self.aws, self.common.id, "Secret")
            )
            self._find_wallets()

    def _find_wallets(self) -> None:
        if not self.bucket:
            return
        try:
            held = self.aws.pages("s3", "list_objects_v2", "Contents", Bucket=self.bucket, Prefix=f"{WALLETS}/")
            self.wallets = [Copy(self.bucket, one["Key"]) for one in held]
        except Refused as refused:
            if refused.code == "NoSuchBucket":
                return
            raise Failed(f"the copies of wallet keys in {self.bucket} cannot be read: {refused}") from refused

    @property
    def own_wallets(self) -> list[Copy]:
        owners = {self.wanted.name, *(part.name for part in self.parts)}
        return [copy for copy in self.wallets if copy.node in owners]

    def goes(self, copy: Copy) -> bool:
        return copy in self.own_wallets and copy.address != "" and copy.address.lower() in self.wanted.wallets

    def users_of_common(self) -> list[str]:
        """The other stacks that import what it exports."""
        users: set[str] = set()
        for export in (f"{self.wanted.common}-Bucket", f"{self.wanted.common}-SecretArn"):
            try:
                users |= set(self.aws.pages("cloudformation", "list_imports", "Imports", ExportName=export))
            except Refused as refused:
                if "not imported" not in str(refused) and "does not exist" not in str(refused):
                    raise Failed(f"who uses {export} cannot be read: {refused}") from refused
        return sorted(users - {part.name for part in self.parts})

    # Judging.

    def check(self) -> None:
        wanted, problems = self.wanted, Problems()
        wallets = dict.fromkeys(copy.address.lower() for copy in self.own_wallets if copy.address)
        volumes, snapshots, copies, secrets = (
            ", ".join(some) or "none" for some in (self.volumes, self.snapshots, wallets, self.secrets)
        )
        named = wanted.volumes or wanted.snapshots or wanted.wallets or wanted.secret
        if not (self.stack or wanted.with_common or named):
            problems.add(f"there is no stack {wanted.name} in {self.aws.region}")
        for one in wanted.volumes:
            volume = self.volumes.get(one)
            if not volume:
                problems.add(f"{one} is no volume of {wanted.name}, which has {volumes}")
            elif volume.attached and not volume.in_use:
                problems.add(f"{one} is attached to {volume.attached}, which does not belong to {wanted.name}: remove that node first")
        for one in wanted.snapshots:
            if one not in self.snapshots:
                problems.add(f"{one} is no snapshot of {wanted.name}, which has {snapshots}")
        for one in wanted.wallets:
            if one not in wallets:
                problems.add(f"there is no copy of the wallet key of {one} by {wanted.name}, but of {copies}")
        if wanted.with_common and (stay := [copy for copy in self.wallets if not self.goes(copy)]):
            problems.add(
                f"{self.bucket} holds copies of wallet keys, which are deleted by address only: "
                + ", ".join(_how_to_delete(copy) for copy in stay)
            )
        if wanted.snapshot_volume and not any(volume.in_use for volume in self.volumes.values()):
            problems.add(f"{wanted.name} has no volume to take a snapshot of")
        if wanted.with_common and not self.common:
            problems.add(f"there is no common stack {wanted.common} in {self.aws.region}")
        users = ""
        if self.common and (wanted.with_common or wanted.secret):
            users = ", ".join(self.users_of_common())
        if wanted.with_common and users:
            problems.add(f"{wanted.common} is used by {users} too: remove that first, or leave out --with-common")
        if wanted.secret and wanted.secret not in self.secrets:
            problems.add(f"{wanted.secret} is not the secret of {wanted.name}, which has {secrets}")
        if wanted.secret and users:
            problems.add(f"{users} would be left without a wallet password: leave out --delete-secret")
        problems.report()

    # Saying.

    def explain(self) -> None:
        wanted, kept, lost = self.wanted, [], []
        if self.stack:
            lost.append(
                f"the stack {wanted.name}: the instance with its root disk, the log group, the dashboard, the alarms"
            )
            if self.stack.protected:
                lost.append("its termination protection, which is turned off first")
            if self.stack.parameters.get("VolumeType") == "instance-store":
                lost.append("the instance store with the wallet key: save it first, with scripts/backup-key")
        for volume in self.volumes.values():
            if volume.id in wanted.volumes:
                lost.append(f"volume {volume.id} ({volume.size} GiB), and {volume.key} with it")
            else:
                kept.append(
                    f"volume {volume.id} ({volume.size} GiB) with {volume.key}; scripts/deploy --volume-id {volume.id} "
                    "uses it again"
                )
        for one in self.snapshots:
            (lost if one in wanted.snapshots else kept).append(f"snapshot {one}")
        for copy in self.own_wallets:
            (lost if self.goes(copy) else kept).append(
                f"the copy of the wallet key of {copy.address or 'an unknown wallet'}, {one_line(copy.name)}"
            )
        for one in self.secrets:
            if one == wanted.secret:
                lost.append(f"secret {one}, without which no wallet key can be read (can be restored for 30 days)")
            else:
                kept.append(f"secret {one}, the wallet password")
        if wanted.with_common:
            lost.append(f"the common stack {wanted.common}, with everything in the bucket {self.bucket}")
        elif self.common:
            kept.append(f"the common stack {wanted.common}")
        say(f"Removing from {self.aws.region} (account {self.aws.account})")
        for title, ones in (("Kept", kept), ("Lost", lost)):
            print(f"{title}:\n" + "\n".join(f"  {one}" for one in ones or ["nothing"]))
        if wanted.snapshot_volume:
            used = " ".join(volume.id for volume in self.volumes.values() if volume.in_use)
            print(f"A final snapshot of {used} is taken first.")

    def report(self, made: list[str]) -> None:
        print()
        for volume in self.volumes.values():
            if volume.id in self.wanted.volumes:
                continue
            # By its tag, this script finds it again.
            remove = (
                f"scripts/destroy --name {word(volume.tagged)} --delete-volume {volume.id}"
                if volume.tagged
                else f"aws ec2 delete-volume --region {self.aws.region} --volume-id {volume.id}"
            )
            print(f"Kept, and paid for: {volume.id} with {volume.key}")
            print(f"  use it again:   scripts/deploy --volume-id {volume.id}\n  delete it:      {remove}")
        for copy in self.own_wallets:
            if not self.goes(copy):
                print(f"Kept: the copy of the wallet key of {copy.address or 'an unknown wallet'}")
                print(f"  delete it:      {_how_to_delete(copy)}")
        for one in made:
            print(f"Made: {one}\n  use it again:   scripts/deploy --snapshot-id {one}")
        print("Done.")


def _how_to_delete(copy: Copy) -> str:
    if copy.address:
        return f"scripts/destroy --name {word(copy.node)} --delete-wallet {copy.address}"
    return f"aws s3 rm {word(copy.name)}"


# Doing.


def _change(aws: Aws, trouble: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    try:
        return aws.change(service, operation, **parameters)
    except Refused as refused:
        raise Failed(f"{trouble}: {refused}") from refused


def _snapshot(aws: Aws, name: str, volume: str) -> str:
    say(f"Taking a snapshot of {volume}")
    tags = [{"Key": "Name", "Value": name}, {"Key": TAG, "Value": name}, stacks.PROJECT]
    made = _change(
        aws,
        f"no snapshot of {volume} was taken, so nothing was deleted",
        "ec2",
        "create_snapshot",
        VolumeId=volume,
        Description=f"Last of {name}",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
    )
    if aws.dry_run:
        return ""
    snapshot, shown = str(made["SnapshotId"]), ""
    while True:
        try:
            state = aws.read("ec2", "describe_snapshots", SnapshotIds=[snapshot])["Snapshots"][0]
        except Refused as refused:
            raise Failed(f"the snapshot {snapshot} cannot be read, so nothing was deleted: {refused}") from refused
        if state.get("Progress") not in (None, shown):
            shown = state["Progress"]
            print(f"{snapshot}  {shown}", flush=True)
        if state["State"] == "completed":
            return snapshot
        if state["State"] != "pending":
            raise Failed(f"the snapshot {snapshot} is {state['State']}, so nothing was deleted")
        pause()


def _delete_volume(aws: Aws, volume: str) -> None:
    def free() -> bool:
        try:
            return bool(aws.read("ec2", "describe_volumes", VolumeIds=[volume])["Volumes"][0]["State"] == "available")
        except Refused as refused:
            raise Failed(f"the volume {volume} cannot be read: {refused}") from refused

    say(f"Deleting the volume {volume}")
    if not aws.dry_run and not wait_until(600, free):
        raise Failed(f"the volume {volume} is still attached: run this again later")
    _change(aws, f"the volume {volume} was not deleted", "ec2", "delete_volume", VolumeId=volume)


def _delete_wallet(aws: Aws, copy: Copy) -> None:
    say(f"Deleting the copy of the wallet key of {copy.address}")
    trouble = f"the copy of the wallet key of {copy.address} was not deleted"
    _change(aws, trouble, "s3", "delete_object", Bucket=copy.bucket, Key=copy.key)


def _empty(aws: Aws, bucket: str) -> None:
    """All versions of all objects: without that a bucket with versions cannot be deleted."""
    if not bucket:
        return
    say(f"Emptying the bucket {bucket}")
    try:
        held = [
            {"Key": one["Key"], "VersionId": one["VersionId"]}
            for kind in ("Versions", "DeleteMarkers")
            for one in aws.pages("s3", "list_object_versions", kind, Bucket=bucket)
        ]
    except Refused as refused:
        raise Failed(f"the bucket {bucket} cannot be read: {refused}") from refused
    for start in range(0, len(held), AT_ONCE):
        batch = {"Objects": held[start : start + AT_ONCE], "Quiet": True}
        trouble = f"the bucket {bucket} was not emptied"
        if failed := _change(aws, trouble, "s3", "delete_objects", Bucket=bucket, Delete=batch).get("Errors"):
            raise Failed(f"{trouble}: {one_line(failed[0].get('Message', ''))}")


def main(arguments: list[str]) -> int:
    shared, wanted = Common(), Wanted()
    valued = ["--name", "--common", "--delete-volume", "--delete-snapshot", "--delete-wallet", "--delete-secret"]
    for option, value in options(arguments, shared, valued, ["--yes", "--with-common", "--snapshot-volume"]):
        if option == "--delete-volume":
            wanted.volumes.append(value)
        elif option == "--delete-snapshot":
            wanted.snapshots.append(value)
        elif option == "--delete-wallet":
            wanted.wallets.append(value.lower())
        elif option == "--delete-secret":
            wanted.secret = value
        else:
            setattr(wanted, option[2:].replace("-", "_"), value or True)
    aws = Aws(shared)
    node = Node(aws, wanted)
    node.read()
    node.check()
    node.explain()
    if not wanted.yes and not aws.dry_run:
        confirm(wanted.name if node.stack or not wanted.with_common else wanted.common, "This cannot be undone.")

    made = []
    if wanted.snapshot_volume:
        made = [_snapshot(aws, wanted.name, volume.id) for volume in node.volumes.values() if volume.in_use]
    if node.stack:
        stacks.delete(aws, node.stack)
    for volume in wanted.volumes:
        _delete_volume(aws, volume)
    for snapshot in wanted.snapshots:
        say(f"Deleting the snapshot {snapshot}")
        _change(aws, f"the snapshot {snapshot} was not deleted", "ec2", "delete_snapshot", SnapshotId=snapshot)
    for copy in node.own_wallets:
        if node.goes(copy):
            _delete_wallet(aws, copy)
    if wanted.with_common and node.common:
        _empty(aws, node.bucket)
        stacks.delete(aws, node.common)
    if wanted.secret:
        say("Deleting the wallet password")
        _change(
            aws,
            f"the secret {wanted.secret} was not deleted",
            "secretsmanager",
            "delete_secret",
            SecretId=wanted.secret,
            RecoveryWindowInDays=30,
        )
    if not aws.dry_run:
        node.report(made)
    return 0
