"""Brings a node's wallet key into an encrypted file on this machine, and back onto a node.

The key in the clear is in memory and in pipes only, here and on the node. Between the two it is encrypted to a key pair
that is made for this one time and never leaves the receiver's memory, so that what SSM keeps of the commands is of no use
to anyone. What runs on the node is scripts/key-on-node.py.
"""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import Any

from theta_edge import ssm, wallets
from theta_edge.aws import Aws
from theta_edge.command import COMMON_HELP, REPO, Common, Failed, WrongUsage, options, warn
from theta_edge.on_node import Program
from theta_edge.terminal import address as address_in
from theta_edge.terminal import one_line
from theta_edge.wallets import Copy, address_of

HELP = f"""\
Usage: scripts/backup-key [OPTION…]
       scripts/backup-key --restore FILE [OPTION…]

Backup: writes the node's wallet key to a file here, encrypted with a passphrase.
Restore: puts that key onto a running node, and restarts the node with it. The node must have been deployed
with the same wallet password: the key can't be used without it.

  --name STACK                the node (default: theta-edge-node)
  --to FILE                   the backup (default: ADDRESS.theta-key); an existing file is never
                              overwritten
  --restore FILE              the backup to restore; or s3://BUCKET/wallets/STACK/ADDRESS/FILE, a node's
                              copy in the bucket, which needs no passphrase
  --replace ADDRESS           with --restore: move the key of this address aside; it stays on the volume
  --passphrase-file FILE      its first line is the passphrase (default: prompt for it)
{COMMON_HELP}
Never run one key on two machines: stop the old node before you restore its key on a new one.
"""

S3 = "s3://"
PROGRAM = REPO / "scripts/key-on-node.py"
# A wallet password has as many; whoever finds the file can try passphrases as fast as he likes.
SHORTEST = 12
BACKUP_SECONDS = 300
# Stopping the container, starting it, waiting for its RPC; and the same again for the old key.
RESTORE_SECONDS = 2400
CIPHER = "enc -aes-256-cbc -md sha256 -pbkdf2 -iter 600000 -pass".split()


# The key in the clear.


def need_openssl() -> None:
    if not shutil.which("openssl"):
        raise Failed("openssl is missing: install it, or run this in AWS CloudShell")


def _openssl(*words: str, given: bytes = b"", inherit: tuple[int, ...] = ()) -> bytes | None:
    """What openssl makes of it, or None where it fails."""
    ended = subprocess.run(["openssl", *words], input=given, capture_output=True, pass_fds=inherit)
    return None if ended.returncode else ended.stdout


def _with_passphrase(passphrase: str, given: bytes, *words: str) -> bytes | None:
    # A pipe holds that much without a reader.
    theirs, ours = os.pipe()
    try:
        os.write(ours, passphrase.encode() + b"\n")
        os.close(ours)
        return _openssl(*CIPHER, f"fd:{theirs}", *words, given=given, inherit=(theirs,))
    finally:
        os.close(theirs)


def _ask_passphrase(file: str, twice: bool) -> str:
    if file:
        try:
            passphrase = (Path(file).read_text(encoding="utf-8").splitlines() or [""])[0]
        except (OSError, ValueError):
            raise Failed(f"{file} cannot be read") from None
    else:
        if not sys.stdin.isatty():
            raise WrongUsage("there is no terminal to prompt for the passphrase: use --passphrase-file FILE")
        try:
            passphrase = getpass("Passphrase of the backup: ")
            if twice and getpass("The same again: ") != passphrase:
                raise Failed("the two passphrases differ; nothing was done")
        except EOFError:
            raise Failed("no passphrase was given; nothing was done") from None
    if len(passphrase) < SHORTEST:
        raise Failed(f"a passphrase has {SHORTEST} characters or more; nothing was done")
    return passphrase


@contextmanager
def _private_folder() -> Iterator[Path]:
    """In memory where the machine has such a place."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="backup-key.", dir=memory) as folder:
        yield Path(folder)


def _keep(temporary: Path, name: Path) -> bool:
    """Safely on the disk, then under its name, which nobody has meanwhile taken."""
    with temporary.open("rb") as file:
        os.fsync(file)
    try:
        os.link(temporary, name)
    except FileExistsError:
        return False
    except OSError:
        # A filesystem without links.
        temporary.rename(name)
    folder = os.open(name.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return True


# The node.


@dataclass(frozen=True)
class Node:
    aws: Aws
    instance: str

    def ask(self, seconds: int, comment: str, *arguments: str) -> dict[str, Any]:
        return Program(self.aws, PROGRAM).ask(self.instance, seconds, comment, *arguments)


def _backup(aws: Aws, name: str, to: str, passphrase_file: str) -> None:
    if to and os.path.lexists(to):
        raise Failed(f"{to} exists already: use --to with another name")
    node = Node(aws, ssm.node_instance(aws, name))
    if aws.dry_run:
        node.ask(BACKUP_SECONDS, "backup", "backup", "<certificate>")
        return
    passphrase = _ask_passphrase(passphrase_file, twice=True)
    with _private_folder() as private:
        pair, certificate = str(private / "key.pem"), str(private / "certificate.pem")
        request = "req -x509 -newkey rsa:3072 -nodes -days 1 -subj /CN=backup-key".split()
        if _openssl(*request, "-keyout", pair, "-out", certificate) is None:
            raise Failed("openssl failed to make a key pair: check that there is room in /dev/shm")
        encoded = base64.b64encode(Path(certificate).read_bytes()).decode()
        answer = node.ask(BACKUP_SECONDS, "backup", "backup", encoded)
        address = address_in(answer.get("address"))
        if not address:
            raise Failed("the node answered without an address")
        file = Path(to or f"{address}.theta-key")
        if os.path.lexists(file):
            raise Failed(f"{file} exists already: use --to with another name")
        try:
            sent = base64.b64decode(answer.get("key", ""))
        except (ValueError, TypeError):
            sent = b""
        key = _openssl(
            "cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", pair, "-recip", certificate, given=sent
        )
    if key is None or address_of(key) != address:
        raise Failed(f"what came from the node is not the key of {address}: nothing was written. Try again")
    _write(key, passphrase, file)
    if not answer.get("answers"):
        warn("the node does not answer now, so the address is the one in the key file; see scripts/verify")
    print(f"""\
The wallet key of {address} is in {file}, encrypted with your passphrase.
It was read back and compared. Keep another copy elsewhere, and keep the passphrase and the wallet password:
without either of them the key is lost. Never run one key on two machines.

Restore it: scripts/backup-key --restore {shlex.quote(str(file))} --name STACK""")


def _write(key: bytes, passphrase: str, file: Path) -> None:
    """Under another name until all of it is certain."""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(_with_passphrase(passphrase, key, "-salt") or b"")
        if _with_passphrase(passphrase, temporary.read_bytes(), "-d") != key:
            raise Failed(f"{file} could not be read back as it was written: nothing is kept. Is the disk full?")
        if not _keep(temporary, file):
            raise Failed(f"{file} could not be written: a file of that name has appeared meanwhile")
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _restore(aws: Aws, name: str, file: str, replace: str, passphrase_file: str) -> None:
    copy = Copy(*file[len(S3) :].split("/", 1)) if file.startswith(S3) and "/" in file[len(S3) :] else None
    held = wallets.read(aws, copy) if copy else _held(file)
    node = Node(aws, ssm.node_instance(aws, name))
    if aws.dry_run:
        node.ask(RESTORE_SECONDS, "prepare to restore", "prepare", "<address>", replace)
        node.ask(RESTORE_SECONDS, "restore", "restore", "<address>", replace, "<key pair>", "<key>")
        return
    if copy:
        key: bytes | None = held
    else:
        key = _with_passphrase(_ask_passphrase(passphrase_file, twice=False), held, "-d")
    if key is None or not address_of(key):
        raise Failed(f"{file} is no key file" if copy else f"the passphrase is wrong, or {file} is damaged")
    if not give(node, name, key, replace):
        return
    print("Never run one key on two machines: no other node may have this one.")
    print(f"Check it: scripts/verify --name {name}")


def _held(file: str) -> bytes:
    try:
        held = Path(file).read_bytes()
    except OSError:
        raise Failed(f"{file} cannot be read") from None
    if not held.startswith(b"Salted__"):
        raise Failed(f"{file} is not a backup written by scripts/backup-key")
    return held


def give(node: Node, name: str, key: bytes, replace: str) -> bool:
    """Starts the node with this key, unless it has it: then it says no. That of `replace` may be put aside for it."""
    address = address_of(key)
    ready = node.ask(RESTORE_SECONDS, "prepare to restore", "prepare", address, replace)
    if not ready.get("ready"):
        print(f"Node {name} runs with the key of {address} already: there is nothing to do.")
        return False
    with _private_folder() as private:
        certificate = private / "certificate.pem"
        certificate.write_text(str(ready.get("certificate")))
        words = "cms -encrypt -binary -aes-256-cbc -outform DER -recip".split()
        encrypted = _openssl(*words, str(certificate), "-keyopt", "rsa_padding_mode:oaep", given=key)
    if encrypted is None:
        raise Failed("the key could not be encrypted to the node; nothing was changed")
    print(
        f"Restoring {address} on {name} ({node.instance}): its container is stopped and started. This can take ten minutes.",
        flush=True,
    )
    sent = base64.b64encode(encrypted).decode()
    answer = node.ask(RESTORE_SECONDS, "restore", "restore", address, replace, str(ready.get("pair")), sent)
    print(f"Node {name} runs with the key of {address}.")
    if kept := answer.get("kept"):
        print(f"The key of {replace} was moved aside on the node's volume, to {one_line(str(kept))}.")
    return True


def main(arguments: list[str]) -> int:
    shared = Common()
    given = {"--name": "theta-edge-node", "--to": "", "--restore": "", "--replace": "", "--passphrase-file": ""}
    given.update(options(arguments, shared, list(given)))
    to, file, replace = given["--to"], given["--restore"], given["--replace"].lower()
    if file and to:
        raise WrongUsage("--to and --restore exclude each other")
    if replace and not file:
        raise WrongUsage("--replace belongs to --restore")
    if replace and not address_in(replace):
        raise WrongUsage(f"--replace takes an address, 0x and 40 hex digits, not {replace}")
    need_openssl()
    aws = Aws(shared)
    if file:
        _restore(aws, given["--name"], file, replace, given["--passphrase-file"])
    else:
        _backup(aws, given["--name"], to, given["--passphrase-file"])
    return 0
