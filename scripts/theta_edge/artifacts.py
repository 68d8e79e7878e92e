"""What a node is made from, and how it gets into the bucket of the common stack. Every key holds the SHA-256 of what lies
there, so nothing is ever overwritten: a node that runs, or that is rolled back, finds its own version again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import re
import ssl
import struct
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from theta_edge import template
from theta_edge.aws import Aws, Refused
from theta_edge.command import REPO, Failed

DEFAULT_BINARY = str(REPO / "target/x86_64-unknown-linux-musl/release/bootstrap")
ASSETS = REPO / "target/assets.tar.gz"
EARLIER = REPO / "target/earlier"
DOWNLOADED = REPO / "target/downloaded"

HELP = """\
  --binary FILE|URL           default: target/x86_64-unknown-linux-musl/release/bootstrap; an https address
                              needs --binary-sha256
  --binary-sha256 HEX         the SHA-256 that the binary must have
"""

# A release is smaller than 8.75 MB.
LARGEST = 64 * 1024 * 1024
X86_64, INTERPRETER = 62, 3


@dataclass
class Binary:
    """What --binary and --binary-sha256 name."""

    source: str = DEFAULT_BINARY
    sha256: str = ""

    @property
    def remote(self) -> bool:
        return "://" in self.source

    @property
    def file(self) -> Path:
        return DOWNLOADED / self.sha256 / "bootstrap" if self.remote else Path(self.source)

    def problem(self) -> str:
        """What is wrong with it, if anything is; it is fetched for that."""
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            return f"--binary-sha256 takes 64 hex digits, not {self.sha256!r}"
        if self.remote:
            if not self.source.startswith("https://"):
                return f"{self.source} is not an https address: the server could not be verified"
            if not self.sha256:
                return f"{self.source} is a download: give its SHA-256 with --binary-sha256"
            if wrong := self._fetch():
                return wrong
        if wrong := wrong_with(self.file):
            return f"{self.source} {wrong}"
        if self.sha256 and sha256(self.file.read_bytes()) != self.sha256:
            return f"{self.source} has the SHA-256 {sha256(self.file.read_bytes())}, not {self.sha256}: check where it comes from"
        return ""

    def _fetch(self) -> str:
        if self.file.exists() and sha256(self.file.read_bytes()) == self.sha256:
            return ""
        trust = ssl.create_default_context()
        try:
            with urllib.request.urlopen(self.source, timeout=60, context=trust) as answer:  # noqa: S310, it is https
                if not answer.geturl().startswith("https://"):
                    return f"{self.source} leads to {answer.geturl()}, which is not an https address"
                content = answer.read(LARGEST + 1)
        except (OSError, URLError, ValueError) as error:
            return f"{self.source} cannot be fetched: {getattr(error, 'reason', error)}"
        if sha256(content) != self.sha256:
            return f"{self.source} has the SHA-256 {sha256(content)}, not {self.sha256}: check where it comes from"
        write(self.file, content)
        return ""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(file: Path, content: bytes) -> None:
    """Whole or not at all, since two commands may be at work in one checkout."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.write_bytes(content)
    new.replace(file)


def wrong_with(binary: Path) -> str:
    """Why it would not run on every instance."""
    try:
        with binary.open("rb") as file:
            head = file.read(64)
            if head[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", head, 18)[0] != X86_64:
                return "is not an x86_64 program"
            start, size, count = struct.unpack_from("<Q", head, 32) + struct.unpack_from("<HH", head, 54)
            file.seek(start)
            headers = file.read(size * count)
            kinds = [struct.unpack_from("<I", headers, size * number)[0] for number in range(count)]
    except FileNotFoundError:
        return "is missing: build it with scripts/build-release, or use --binary FILE"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except struct.error:
        return "is not an x86_64 program"
    if INTERPRETER in kinds:
        return "is not static, so it would not run everywhere: build it with scripts/build-release"
    return ""


def assets_archive(folder: Path = REPO / "cloudformation/assets") -> bytes:
    """Of cloudformation/assets, or another folder: the same bytes everywhere and every time, and so the same key."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in [folder, *sorted(folder.rglob("*"))]:
            entry = tarfile.TarInfo(f"./{file.relative_to(folder)}" if file != folder else ".")
            entry.mode = 0o755 if file.is_dir() or os.access(file, os.X_OK) else 0o644
            if file.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                content = file.read_bytes()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    compressed = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=compressed, mtime=0) as stream:
        stream.write(packed.getvalue())
    return compressed.getvalue()


@dataclass
class Artifacts:
    """Keys, and the file for each; the parameters of a node's stack that name them."""

    files: dict[str, Path]
    parameters: dict[str, str]


def name(aws: Aws, bucket: str, binary: Path) -> Artifacts:
    # It stays, so that the calls which --dry-run prints can be made by hand.
    write(ASSETS, assets_archive())
    binary_sha, assets_sha = sha256(binary.read_bytes()), sha256(ASSETS.read_bytes())
    files = {f"bin/{binary_sha}/bootstrap": binary, f"assets/{assets_sha}/assets.tar.gz": ASSETS}
    parameters = {
        "BinaryKey": f"bin/{binary_sha}/bootstrap",
        "BinarySha256": binary_sha,
        "AssetsKey": f"assets/{assets_sha}/assets.tar.gz",
        "AssetsSha256": assets_sha,
    }
    for parameter, one in ("NodeTemplateUrl", template.NODE), ("FleetTemplateUrl", template.FLEET):
        key = f"templates/{sha256(one.path.read_bytes())}/{one.path.name}"
        files[key] = one.path
        parameters[parameter] = _url(aws, bucket, key)
    return Artifacts(files, parameters)


def _url(aws: Aws, bucket: str, key: str) -> str:
    suffix = "amazonaws.com.cn" if aws.region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}.s3.{aws.region}.{suffix}/{key}"


def earlier_template(aws: Aws, bucket: str, text: str) -> str:
    """Where node.yaml is as a stack has it; it is put there where it came another way."""
    file = EARLIER / sha256(text.encode()) / template.NODE.path.name
    write(file, text.encode())
    key = f"templates/{sha256(text.encode())}/{file.name}"
    upload(aws, bucket, Artifacts({key: file}, {}))
    return _url(aws, bucket, key)


def upload(aws: Aws, bucket: str, artifacts: Artifacts) -> list[str]:
    """Uploads what is not there yet, and says what it did. A name proves nothing: whoever may write to the bucket could
    have put anything there. S3 itself keeps the checksum, and answers only where the bucket is this account's."""
    said = []
    for key, file in artifacts.files.items():
        content = file.read_bytes()
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        # A bucket that is still to be made (with --dry-run) has a placeholder for a name, and holds nothing.
        if not bucket.startswith("<") and _is_there(aws, bucket, key, checksum):
            said.append(f"already there: s3://{bucket}/{key}")
            continue
        try:
            aws.change(
                "s3",
                "put_object",
                shown={"Body": str(file)},
                Bucket=bucket,
                Key=key,
                Body=content,
                ChecksumSHA256=checksum,
                ExpectedBucketOwner=aws.account,
            )
        except Refused as refused:
            raise Failed(f"{file} could not be uploaded to s3://{bucket}/{key}: {refused}") from refused
        if not aws.dry_run:
            said.append(f"uploaded: s3://{bucket}/{key}")
    return said


def _is_there(aws: Aws, bucket: str, key: str, checksum: str) -> bool:
    try:
        head = aws.read(
            "s3", "head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED", ExpectedBucketOwner=aws.account
        )
    except Refused as refused:
        if refused.status == 404:
            return False
        raise Failed(
            f"s3://{bucket}/{key} cannot be read, or the bucket does not belong to account {aws.account}: {refused}"
        ) from refused
    held = head.get("ChecksumSHA256")
    if held in (None, checksum):
        # Without a checksum nobody knows what it is: it is uploaded once more.
        return held is not None
    raise Failed(
        f"s3://{bucket}/{key} is not what its name says: somebody else has written it. See who may write to the bucket, "
        f"then delete it: aws s3api delete-object --region {aws.region} --bucket {bucket} --key {key}"
    )
