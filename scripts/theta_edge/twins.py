"""Whose a wallet key is: two nodes must not run one key. A copy of it (a snapshot, a backup) is nobody's as long as no
instance has a volume with the key, and no stack would give one to its next instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused
from theta_edge.stacks import Stack
from theta_edge.terminal import address

# By which a volume's node, and its wallet, are known.
NODE_TAG, WALLET_TAG = "theta-edge:node", "theta-edge:wallet"


@dataclass(frozen=True)
class Use:
    """What holds the key (a volume, or an address where only a stack's word is known), and who uses that."""

    what: str
    user: str


def wallet_of(tagged: dict[str, Any]) -> str:
    """What a volume or a snapshot says of its wallet; nothing where it says nothing."""
    found = [tag["Value"] for tag in tagged.get("Tags", []) if tag["Key"] == WALLET_TAG]
    return address(found[0]) if found else ""


def address_of(aws: Aws, stack: Stack) -> str:
    """The wallet that the stack's node has, which can be another than it had when it was made: its volume's word, or else
    what the stack was told."""
    try:
        volume = aws.read("ec2", "describe_volumes", VolumeIds=[stack.outputs["VolumeId"]])["Volumes"][0]
    except (KeyError, IndexError, Refused):
        return stack.address
    return wallet_of(volume) or stack.address


def uses(aws: Aws, volumes: list[dict[str, Any]], wallets: set[str]) -> Iterator[Use]:
    """Of the key that these volumes and wallets are known to have. Refused where that cannot be looked up."""
    wallets = {wallet for wallet in wallets | {wallet_of(volume) for volume in volumes} if wallet}
    found = {volume["VolumeId"]: volume for volume in volumes}
    for spelling in sorted(wallets | {wallet.lower() for wallet in wallets}):
        filters = [{"Name": f"tag:{WALLET_TAG}", "Values": [spelling]}]
        found.update({one["VolumeId"]: one for one in aws.pages("ec2", "describe_volumes", "Volumes", Filters=filters)})
    there = [stack for stack in stacks.every(aws) if not stack.left_over]
    named = set()
    for name, volume in found.items():
        for user in _users_of(volume, there):
            named.add(user)
            yield Use(name, user)
    # On an instance store, or on a volume whose tags are gone.
    known = {wallet.lower() for wallet in wallets}
    for stack in there:
        if (
            stack.address.lower() in known
            and f"the stack {stack.name}" not in named
            # It may have been given another key since.
            and address_of(aws, stack).lower() in known
        ):
            yield Use(stack.address, f"the stack {stack.name}")


def _users_of(volume: dict[str, Any], there: list[Stack]) -> Iterator[str]:
    """The instance that has it, or the stacks whose next instance will have it."""
    attached = [one["InstanceId"] for one in volume.get("Attachments", [])]
    if attached:
        yield str(attached[0])
        return
    tagged = [tag["Value"] for tag in volume.get("Tags", []) if tag["Key"] == NODE_TAG]
    for stack in there:
        named = stack.parameters.get("VolumeId") or stack.outputs.get("VolumeId")
        if volume["VolumeId"] == named or (not named and stack.name in tagged):
            yield f"the stack {stack.name}"
