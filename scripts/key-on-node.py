"""Runs on a node, sent there by scripts/backup-key: gives the wallet key out encrypted, and takes one in.

    key-on-node.py backup CERTIFICATE              the key, encrypted to the certificate
    key-on-node.py prepare ADDRESS REPLACE         a certificate to encrypt the key of ADDRESS to
    key-on-node.py restore ADDRESS REPLACE PAIR KEY
                                                   puts that key in the place of the key of REPLACE (may be empty)

Prints one JSON object; a refusal goes to standard error and ends with exit code 1. The key in the clear is in pipes and
in memory only. At every instant the key folder holds at most one file, and the old key lies in it or in replaced-keys
on the same volume: whatever ends this program, running it again goes on from there.
"""

import base64
import fcntl
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass

# As in bootstrap itself: where a test keeps the machine's files.
ROOT = os.environ.get("BOOTSTRAP_ROOT", "")
RUN = ROOT + "/run/bootstrap"
PAIR = "key-pair-"
CONFIG = ROOT + "/etc/bootstrap/config.json"
WALLET = ROOT + "/var/lib/bootstrap/wallet.json"
SPEC = ROOT + "/opt/bootstrap/assets/edge.json"

# No wallet key is longer.
LONGEST = 64 * 1024
# The node may take this long, in seconds, until its RPC answers; bootstrap's own health check allows the same.
START_SECONDS = 15 * 60
PAUSE = 5


class Refused(Exception):
    """What is wrong, and what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*words, given=b""):
    try:
        return subprocess.run(words, input=given, capture_output=True)
    except FileNotFoundError:
        raise Refused(f"{words[0]} is not installed on the node: install it, then try again")


def openssl(*words, given=b""):
    ended = run("openssl", *words, given=given)
    if ended.returncode:
        raise Refused(f"openssl {words[0]} failed: {last_words(ended.stderr)}")
    return ended.stdout


def last_words(output):
    return " | ".join(output.decode(errors="replace").split("\n")[-4:]).strip(" |") or "it said nothing"


# What lies on the node.


@dataclass
class Key:
    name: str
    content: bytes
    address: str


def address_of(content, what):
    """The address that a key file says of itself."""
    try:
        digits = json.loads(content)["address"].lower().removeprefix("0x")
    except (ValueError, TypeError, KeyError, AttributeError):
        digits = ""
    if not re.fullmatch("[0-9a-f]{40}", digits):
        raise Refused(f"{what} is no wallet key: it names no address")
    return "0x" + digits


def read_json(path, mend):
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        raise Refused(f"{path} does not exist on the node: {mend}")


class Node:
    def __init__(self):
        config = read_json(CONFIG, "it is not set up by bootstrap")
        spec = read_json(SPEC, "run there: bootstrap --phase assets")
        network = config.get("edge", {}).get("network", "mainnet")
        self.mount = ROOT + config.get("volume", {}).get("mount", "/data").rstrip("/")
        self.folder = "/".join([self.mount, spec["data"]["source"].replace("{network}", network), spec["keys"]])
        self.aside = self.mount + "/replaced-keys"
        self.container, self.patience = spec["name"], spec["stop_seconds"]

    def checks(self, *options):
        """What bootstrap's health check finds, by the checks' names."""
        ended = run("bootstrap", "verify", "--json", *options)
        try:
            return {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
        except (ValueError, KeyError):
            raise Refused(f"bootstrap verify does not answer: {last_words(ended.stderr)}")

    def key(self):
        """The only file of the key folder, or None."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return None
        if not names:
            return None
        if len(names) > 1:
            raise Refused(
                f"{self.folder} holds several files: {', '.join(map(repr, names))}. Move all but the right key file to a "
                "safe place outside that folder, then try again"
            )
        path = f"{self.folder}/{names[0]}"
        # The container could have put a link there, or a pipe that nobody writes to.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Refused(f"{path} is no wallet key: it is no regular file")
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise Refused(f"{path} is no wallet key: it is longer than {LONGEST} bytes")
        return Key(names[0], content, address_of(content, path))

    def require_volume(self, checks):
        if checks["volume"]["status"] != "pass":
            raise Refused(f"the volume is not as it should be: {checks['volume']['detail']}. {checks['volume']['hint']}")
        self.require_no_link()
        if not os.path.isdir(self.folder):
            raise Refused(
                f"{self.folder} does not exist yet: the node makes it at its first start. Wait until scripts/verify says "
                "healthy or syncing"
            )

    def require_no_link(self):
        """Root must not follow a link that the container has made."""
        if os.path.realpath(self.folder) != os.path.realpath(self.mount) + self.folder[len(self.mount) :]:
            raise Refused(f"{self.folder} is reached through a link: see what is there")


def answering(checks):
    """The address that the node itself answers with, or None."""
    rpc = checks["rpc"]
    return rpc["detail"].split(",")[0] if rpc["status"] == "pass" else None


# Giving the key out.


def backup(certificate):
    node = Node()
    key = node.key()
    if key is None:
        raise Refused(
            f"{node.folder} holds no key. A new node makes one at its first start: wait until scripts/verify says healthy "
            "or syncing"
        )
    answer = answering(node.checks())
    if answer not in (None, key.address):
        raise Refused(
            f"{node.folder} holds the key of {key.address}, but the node runs as {answer}. Restart it and look again: "
            f"docker restart {shlex.quote(node.container)}, then bootstrap verify"
        )
    with private_folder("key-backup-") as folder:
        write(folder + "/certificate.pem", base64.b64decode(certificate))
        encrypted = openssl(
            *"cms -encrypt -binary -aes-256-cbc -outform DER -recip".split(),
            folder + "/certificate.pem",
            *"-keyopt rsa_padding_mode:oaep".split(),
            given=key.content,
        )
    return {"address": key.address, "answers": answer is not None, "key": base64.b64encode(encrypted).decode()}


@contextmanager
def private_folder(prefix):
    """A folder in memory, for as long as it is needed."""
    folder = tempfile.mkdtemp(prefix=prefix, dir=RUN)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# Taking a key in.


def may_take(node, address, replace, checks):
    """Refuses where that would cost a key, or the volume is not there; else the node's key, if it has one."""
    node.require_volume(checks)
    key, answer = node.key(), answering(checks)
    if key is None and answer not in (None, address):
        raise Refused(
            f"the node runs as {answer}, but its key is not on the volume: stopping it could be the end of that key. "
            "scripts/verify says what to do"
        )
    if key is not None and key.address not in (address, replace):
        raise Refused(
            f"the node has the key of {key.address} already. To put that one aside (it stays on the volume, in "
            f"{node.aside}), use --replace {key.address}"
        )
    return key


def prepare(address, replace):
    node = Node()
    checks = node.checks()
    key = may_take(node, address, replace, checks)
    if key is not None and key.address == address:
        if answering(checks) != address:
            # A restore was cut short when the key was in its place already.
            start_or_put_back(node, address, kept_before(node, replace))
        return {"ready": False}
    for left in os.listdir(RUN):
        if left.startswith(PAIR):
            shutil.rmtree(f"{RUN}/{left}")
    pair = tempfile.mkdtemp(prefix=PAIR, dir=RUN)
    certificate = openssl(
        *"req -x509 -newkey rsa:3072 -nodes -days 1 -subj /CN=bootstrap -keyout".split(), pair + "/key.pem"
    )
    write(pair + "/certificate.pem", certificate)
    return {"ready": True, "pair": os.path.basename(pair), "certificate": certificate.decode()}


def restore(address, replace, pair, encrypted):
    node = Node()
    content = decrypt(pair, base64.b64decode(encrypted))
    if address_of(content, "what was sent") != address:
        raise Refused(f"what was sent is not the key of {address}")
    with lock():
        old = may_take(node, address, replace, node.checks())
        stop(node)
        # Until now the container could change the folder.
        node.require_no_link()
        if node.key() != old:
            raise Refused(
                f"{node.folder} was changed while the container was being stopped, and is left as it is: look at it, then "
                "start the node with: bootstrap --phase container"
            )
        # Without an old key in the folder, a restore may have been cut short after it was put aside.
        kept = put(node, old, address, content) or kept_before(node, replace)
    start_or_put_back(node, address, kept)
    return {"kept": kept}


def start_or_put_back(node, address, kept):
    """Starts the node with its new key; where that fails, with the old one that was kept."""
    problem = start(node, address)
    if not problem:
        return
    if kept is None:
        raise Refused(f"the key of {address} is in its place, but {problem}")
    # A repair that a node without a container gets may be at work.
    with lock(START_SECONDS):
        stop(node)
        node.require_no_link()
        old = put_back(node, kept, address)
    say(f"{problem}; the key of {old} is put back")
    again = start(node, old)
    raise Refused(
        f"the key of {address} was not taken: {problem}. The key of {old} is back in its place, "
        + (f"but {again}" if again else "and the node runs with it again")
    )


def decrypt(pair, encrypted):
    if not re.fullmatch(PAIR + "[a-z0-9_]+", pair) or not os.path.isdir(f"{RUN}/{pair}"):
        raise Refused("the node has forgotten what it prepared: begin again")
    try:
        return openssl(
            *"cms -decrypt -binary -inform DER -inkey".split(),
            f"{RUN}/{pair}/key.pem",
            "-recip",
            f"{RUN}/{pair}/certificate.pem",
            given=encrypted,
        )
    finally:
        shutil.rmtree(f"{RUN}/{pair}")


@contextmanager
def lock(seconds=0):
    """bootstrap's own lock, waited for so long: a run or a repair of it would start the container meanwhile."""
    end = time.monotonic() + seconds
    with open(RUN + "/lock", "a") as file:
        while not taken(file):
            if time.monotonic() >= end:
                raise Refused("bootstrap is at work on the node: wait until it is done (bootstrap status), then try again")
            time.sleep(1)
        yield


def taken(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop(node):
    if run("docker", "container", "inspect", node.container).returncode:
        return
    say(f"stopping {node.container}")
    ended = run("docker", "stop", "-t", str(node.patience), node.container)
    if ended.returncode:
        raise Refused(f"docker stop failed, and nothing was changed: {last_words(ended.stderr)}")


def start(node, address):
    """Starts the container and waits until the node answers with this address; else says what is wrong."""
    say(f"starting {node.container}")
    try:
        return what_hinders(node, address, time.monotonic() + START_SECONDS)
    except Refused as problem:
        return str(problem)


def what_hinders(node, address, end):
    secret = node.checks("--prove-password")["secret"]
    if secret["status"] == "fail":
        return f"{secret['detail']} ({secret['hint']})"
    # Not by force, which would fetch a newer image too: what is stopped is started anyway.
    ended = run("bootstrap", "--phase", "container")
    while ended.returncode == 3 and time.monotonic() < end:
        # Another run of bootstrap has come in between.
        time.sleep(PAUSE)
        ended = run("bootstrap", "--phase", "container")
    if ended.returncode:
        return f"the container does not start: {failure_of_phase() or last_words(ended.stderr)}"
    while True:
        checks = node.checks()
        answer = answering(checks)
        if answer == address:
            # A copy outside the volume, as of every key. What keeps it from being made is said by verify.
            run("bootstrap", "--phase", "wallet-backup")
            return None
        if answer is not None:
            return f"the node runs as {answer}"
        if checks["container"]["status"] == "fail":
            return f"the container does not run: {checks['container']['detail']}"
        if time.monotonic() > end:
            return f"its RPC does not answer: {checks['rpc']['detail']}"
        time.sleep(PAUSE)


def failure_of_phase():
    """Why the container phase failed, and what to do, by bootstrap's journal."""
    try:
        phases = json.loads(run("bootstrap", "status", "--json").stdout)["phases"]
        (error,) = [phase["error"] for phase in phases if phase["name"] == "container"]
        return f"{error['reason']} ({error['hint']})"
    except (ValueError, KeyError, TypeError):
        return None


def put(node, old, address, content):
    """The new key in the folder, the old one aside. Says where the old one lies now."""
    make_folder(node.aside)
    owner = os.stat(node.folder)
    # Never in the key folder, where a second file is fatal; on the same filesystem, to be renamed.
    staged = node.aside + "/.new"
    if os.path.lexists(staged):
        # From a restore that was cut short; whoever sent it has it still.
        os.unlink(staged)
    write(staged, content, owner)
    kept = None
    if old is not None:
        kept = f"{node.aside}/{old.address}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        make_folder(kept)
        move(f"{node.folder}/{old.name}", f"{kept}/{old.name}")
    remember(address)
    move(staged, new_name(node, address))
    return kept


def put_back(node, kept, address):
    """The old key in the folder again, in the place of the new one. Says the old one's address."""
    (name,) = os.listdir(kept)
    # Only what this program has put there itself, and whoever sent it has still.
    os.unlink(new_name(node, address))
    move(f"{kept}/{name}", f"{node.folder}/{name}")
    os.rmdir(kept)
    old = node.key().address
    remember(old)
    return old


def kept_before(node, address):
    """Where a key of this address lies aside, or None."""
    if not address or not os.path.isdir(node.aside):
        return None
    # The last by the time in the name.
    found = sorted(name for name in os.listdir(node.aside) if name.startswith(address + "-"))
    return f"{node.aside}/{found[-1]}" if found and os.listdir(f"{node.aside}/{found[-1]}") else None


def new_name(node, address):
    return f"{node.folder}/{address.removeprefix('0x')}"


def remember(address):
    """bootstrap takes any other wallet than the one that it remembers for a failure: only a restore changes that."""
    try:
        with open(WALLET, "rb") as file:
            wallet = json.load(file)
    except (FileNotFoundError, ValueError):
        return
    if wallet["address"] == address:
        return
    wallet = {"disk": wallet["disk"], "address": address, "restored": True}
    new = WALLET + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    write(new, json.dumps(wallet).encode())
    move(new, WALLET)


# Files that survive a power cut.


def write(path, content, owner=None):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(file, "wb") as stream:
        if owner is not None and os.geteuid() == 0:
            os.fchown(file, owner.st_uid, owner.st_gid)
        stream.write(content)
        stream.flush()
        os.fsync(file)
    sync(os.path.dirname(path))


def move(source, target):
    os.rename(source, target)
    # The new place first: a power cut between may leave two names for one file, never none.
    sync(os.path.dirname(target))
    sync(os.path.dirname(source))


def make_folder(path):
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Refused(f"{path} is no folder: move it away, then try again")
    sync(os.path.dirname(path))


def sync(folder):
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(file)
    os.close(file)


def main():
    os.umask(0o077)
    # The agent's own PATH may be short.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    actions = {"backup": backup, "prepare": prepare, "restore": restore}
    try:
        print(json.dumps(actions[sys.argv[1]](*sys.argv[2:])))
    except (Refused, OSError) as problem:
        sys.exit(str(problem))


main()
