"""Copies of wallet keys that nodes keep in the common stack's bucket, as WALLETS/STACK/ADDRESS/FILE."""

from __future__ import annotations

import json
from dataclasses import dataclass

from theta_edge import stacks
from theta_edge.aws import Aws, Refused
from theta_edge.command import Failed, Problems
from theta_edge.terminal import address

WALLETS = "wallets"
# No wallet key is longer.
LONGEST = 64 * 1024


@dataclass(frozen=True)
class Copy:
    bucket: str
    key: str

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def address(self) -> str:
        return address(self.key.split("/")[2]) if self.key.count("/") == 3 else ""

    @property
    def node(self) -> str:
        """The stack whose node has made it."""
        return self.key.split("/")[1]

    def of(self, bucket: str, node: str) -> Copy:
        """Where another node, or one in another region, would have it."""
        return Copy(bucket, "/".join([WALLETS, node, *self.key.split("/")[2:]]))


def address_of(key: bytes | None) -> str:
    """The address that a key file says of itself; nothing where it is no key."""
    try:
        digits = json.loads(key or b"")["address"].lower()
        return address("0x" + (digits[2:] if digits.startswith("0x") else digits))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""


def find(aws: Aws, common: str, node: str, wallet: str, problems: Problems) -> Copy | None:
    """The copy that this stack's node has made; of this wallet, where it has made several."""
    bucket = (stack.outputs.get("Bucket", "") if (stack := stacks.find(aws, common)) else "")
    if not bucket:
        problems.add(f"there is no common stack {common} in {aws.region}, and so no copy of a wallet key: use --from-region or --common")
        return None
    try:
        copies = of_node(aws, bucket, node)
    except Refused as refused:
        problems.add(f"the copies of wallet keys in {bucket} cannot be looked up: {refused}")
        return None
    wanted = [copy for copy in copies if wallet.lower() in ("", copy.address.lower())]
    if len(wanted) == 1:
        return wanted[0]
    if not copies:
        problems.add(f"there is no copy of a wallet key of {node} in s3://{bucket}/{WALLETS}/{node}/")
    elif not wanted:
        problems.add(f"{node} has no copy of the wallet key of {wallet}, only of {_listed(copies)}")
    else:
        problems.add(f"{node} has copies of several wallet keys: name one, as in --restore {node}/{copies[0].address} ({_listed(copies)})")
    return None


def of_node(aws: Aws, bucket: str, node: str) -> list[Copy]:
    """What this stack's node would choose from."""
    listed = aws.pages("s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=f"{WALLETS}/{node}/")
    return [copy for one in listed if (copy := Copy(bucket, one["Key"])).address]


def _listed(copies: list[Copy]) -> str:
    return ", ".join(copy.address for copy in copies)


def read(aws: Aws, copy: Copy) -> bytes:
    try:
        content: bytes = aws.read("s3", "get_object", Bucket=copy.bucket, Key=copy.key, ExpectedBucketOwner=aws.account)[
            "Body"
        ].read(LONGEST + 1)
    except Refused as refused:
        raise Failed(f"{copy.name} cannot be read: {refused}") from refused
    return content


def key_file(aws: Aws, copy: Copy) -> bytes:
    """What it holds, if that is the key that its name says."""
    content = read(aws, copy)
    if address_of(content).lower() != copy.address.lower():
        raise Failed(f"{copy.name} is not the key of {copy.address}: nothing was changed")
    return content


def put(aws: Aws, copy: Copy, content: bytes) -> None:
    """Where there is none yet: nothing that is there is ever overwritten."""
    try:
        aws.change(
            "s3",
            "put_object",
            shown={"Body": "<the encrypted key file>"},
            Bucket=copy.bucket,
            Key=copy.key,
            Body=content,
            IfNoneMatch="*",
            ExpectedBucketOwner=aws.account,
        )
    except Refused as refused:
        if refused.code != "PreconditionFailed":
            raise Failed(f"{copy.name} could not be written: {refused}") from refused
        if read(aws, copy) != content:
            raise Failed(
                f"{copy.name} is there already, and is another key file of the same address: look at both, and delete the one "
                "that is wrong"
            ) from refused
