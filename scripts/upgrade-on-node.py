"""Runs on a node, sent there by scripts/upgrade: brings the node to another version or other settings in place.

    upgrade-on-node.py compare SHA256 CONFIG   changes nothing: what a new instance with that binary and config (base64) would
                                               have otherwise
    upgrade-on-node.py prepare SHA256 URL      the binary, beside the one that runs
    upgrade-on-node.py apply SHA256 CONFIG     that binary and that config (base64), if the node is good with them; else
                                               what was there before

Prints one JSON object; a refusal goes to standard error and ends with exit code 1. What was there before lies in
/var/lib/bootstrap/previous from before the first change until the node was found good, so whatever ends this program,
one of the two is there whole, and running it again goes on from there.
"""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

# As in bootstrap itself: where a test keeps the machine's files.
ROOT = os.environ.get("BOOTSTRAP_ROOT", "")
BINARY = ROOT + "/usr/local/bin/bootstrap"
CONFIG = ROOT + "/etc/bootstrap/config.json"
ASSETS = ROOT + "/opt/bootstrap/assets"
KEPT = ROOT + "/var/lib/bootstrap/previous"
LOCK = ROOT + "/run/bootstrap/lock"
# Beside its place, so that it gets there by a rename.
NEW = BINARY + ".new"

# Of bootstrap's exit codes.
DONE, LOCKED, SYNCING = 0, 3, 5
PAUSE = float(os.environ.get("EDGE_POLL_SECONDS", "5"))
# Another run may take its time.
PATIENCE = 20 * 60
# What the role may fetch since a moment ago, S3 may not know at once.
TRIES = 6


class Refused(Exception):
    """What is wrong, and what to do."""


def run(*words, given=b""):
    try:
        return subprocess.run(words, input=given, capture_output=True)
    except OSError as error:
        raise Refused(f"{words[0]} cannot be run on the node: {error.strerror}")


def last_words(output):
    return " | ".join(output.decode(errors="replace").split("\n")[-4:]).strip(" |") or "it said nothing"


def bootstrap(*words):
    """A run of it, after any that is under way."""
    end = time.monotonic() + PATIENCE
    while True:
        ended = run(BINARY, *words)
        if ended.returncode != LOCKED or time.monotonic() > end:
            return ended
        time.sleep(PAUSE)


@contextmanager
def lock():
    """bootstrap's own: a run of it sees all of one version."""
    end = time.monotonic() + PATIENCE
    with open(LOCK, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Refused("bootstrap is at work on the node: wait until it is done (bootstrap status), then try again")
                time.sleep(PAUSE)
        yield


# Files: whole under their names or not at all, and on the disk before anything rests on them.


def sha256(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return ""


def read(path):
    with open(path, "rb") as file:
        return file.read()


def sync(folder):
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def write(path, content, mode):
    handle, new = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(handle, mode)
        os.fsync(handle)
    os.rename(new, path)
    sync(os.path.dirname(path))


def copy_folder(source, to):
    shutil.copytree(source, to, symlinks=True)
    for folder, _, files in os.walk(to):
        for name in files:
            sync(f"{folder}/{name}")
        sync(folder)


# What was there before.


def image_of(config):
    """The edge image by its name, as bootstrap names it."""
    edge = config.get("edge", {})
    name = edge.get("image") or f"thetalabsorg/edgelauncher_{edge.get('network', 'mainnet')}"
    return f"{name}@{edge['digest']}" if edge.get("digest") else f"{name}:{edge.get('tag', 'latest')}"


def image_id(reference):
    """Nothing where it is not here, or Docker is not."""
    if not shutil.which("docker"):
        return ""
    return run("docker", "image", "inspect", "--format", "{{.Id}}", reference).stdout.decode().strip()


def keep():
    """What an earlier try has kept was good; what is there since then may not be."""
    if os.path.exists(KEPT):
        return
    new = KEPT + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new, mode=0o700)
    write(new + "/bootstrap", read(BINARY), 0o755)
    write(new + "/config.json", read(CONFIG), 0o600)
    reference = image_of(json.loads(read(CONFIG)))
    write(new + "/image", json.dumps([reference, image_id(reference)]).encode(), 0o600)
    # A node whose set-up has failed early has none.
    if os.path.exists(ASSETS):
        copy_folder(ASSETS, new + "/assets")
    sync(new)
    os.rename(new, KEPT)
    sync(os.path.dirname(KEPT))


def forget():
    # Under another name first: half of it must not pass for what was there.
    gone = KEPT + ".gone"
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(KEPT, gone)
    sync(os.path.dirname(KEPT))
    shutil.rmtree(gone)


def put_back():
    # The config first: the older binary may not know a newer one's keys.
    write(CONFIG, read(KEPT + "/config.json"), 0o600)
    if sha256(BINARY) != sha256(KEPT + "/bootstrap"):
        write(BINARY, read(KEPT + "/bootstrap"), 0o755)
    if os.path.exists(KEPT + "/assets") and sha256(ASSETS + "/.sha256") != sha256(KEPT + "/assets/.sha256"):
        beside = os.path.dirname(ASSETS)
        # bootstrap removes what is left under such names.
        work = tempfile.mkdtemp(prefix=".assets-", dir=beside)
        copy_folder(KEPT + "/assets", work + "/kept")
        if os.path.exists(ASSETS):
            os.rename(ASSETS, work + "/new")
        os.rename(work + "/kept", ASSETS)
        sync(beside)
        shutil.rmtree(work)
    reference, known = json.loads(read(KEPT + "/image"))
    # A tag may mean another image by now.
    if known and ":" in reference and "@" not in reference and image_id(reference) != known:
        run("docker", "tag", known, reference)


# The steps.


def with_own_handle(encoded):
    """The wait handle stays: nothing waits on another."""
    handle = json.loads(read(CONFIG)).get("stack", {}).get("wait_handle") or ""
    return base64.b64decode(encoded).decode().replace("$handle", handle)


def values(config, path=""):
    """Every value by its place, such as edge.tag."""
    if not isinstance(config, dict):
        return {path: config}
    found = {}
    for key, value in config.items():
        found.update(values(value, f"{path}.{key}" if path else key))
    return found


def compare(sha, encoded):
    here, there = values(json.loads(read(CONFIG))), values(json.loads(with_own_handle(encoded)))
    here["binary"], there["binary"] = sha256(BINARY), sha
    manifest = ASSETS + "/.sha256"
    here["assets"], there["assets"] = "", there.get("assets.sha256", "")
    if os.path.exists(manifest):
        here["assets"] = read(manifest).decode().split("\n")[0]
    drift = [(key, here.get(key), there.get(key)) for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    return {"drift": drift}


def prepare(sha, url):
    if sha256(BINARY) != sha and sha256(NEW) != sha:
        # The address says who has made it, so it is not among the words that others see.
        ended = run("curl", "-sSf", "-m", "600", "--retry", "3", "-o", NEW, "-K", "-", given=f'url = "{url}"\n'.encode())
        if ended.returncode or sha256(NEW) != sha:
            raise Refused(
                f"the new binary did not arrive: {last_words(ended.stderr)}. See that the node reaches S3 and has room in "
                "/usr/local/bin (df -h), then try again"
            )
    return {"ready": True}


def apply(sha, encoded):
    config = with_own_handle(encoded).encode()
    program = BINARY if sha256(BINARY) == sha else NEW
    if sha256(program) != sha:
        raise Refused("the new binary is not on the node any more: try again")
    os.chmod(program, 0o755)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(LOCK)) as file:
        file.write(config)
        file.flush()
        checked = run(program, "--config", file.name, "config", "check")
    if checked.returncode:
        raise Refused(f"the new binary does not take the new config: {last_words(checked.stdout + checked.stderr)}")
    with lock():
        # An earlier try was cut short at its end; where what it has made is good, that is what was there before this one.
        if os.path.exists(KEPT) and read(CONFIG) != read(KEPT + "/config.json") and not wrong():
            forget()
        keep()
        # The binary first: the older one may not know a newer config's keys.
        if program == NEW:
            os.rename(NEW, BINARY)
            sync(os.path.dirname(BINARY))
        write(CONFIG, config, 0o600)
    reason = converge(pull=True)
    if not reason:
        forget()
        return {"upgraded": True}
    with lock():
        put_back()
    if again := converge(pull=False):
        raise Refused(f"{reason}; and with what was there before: {again}")
    forget()
    return {"upgraded": False, "reason": reason}


def converge(pull):
    """Everything made true; why not, where that fails."""
    for _ in range(TRIES):
        ended = bootstrap("--phase", "assets")
        if ended.returncode == DONE:
            break
        time.sleep(PAUSE)
    if ended.returncode == DONE and pull and "@" not in image_of(json.loads(read(CONFIG))):
        # A tag may mean a newer image than the one that is here.
        ended = bootstrap("--phase", "image", "--force")
    if ended.returncode == DONE:
        # Its last phase waits until the node is good.
        ended = bootstrap()
    if ended.returncode == DONE:
        return wrong()
    return failed_phases() or last_words(ended.stdout + ended.stderr)


def failed_phases():
    try:
        phases = json.loads(run(BINARY, "status", "--json").stdout)["phases"]
        failed = [(phase["name"], phase["error"]) for phase in phases if phase["status"] == "failed"]
        return "; ".join(f"{name}: {error['reason']}. {error['hint']}" for name, error in failed)
    except (ValueError, KeyError, TypeError):
        return ""


def wrong():
    """What the node's health check finds."""
    ended = run(BINARY, "verify", "--json")
    if ended.returncode in (DONE, SYNCING):
        return ""
    try:
        failed = [check for check in json.loads(ended.stdout)["checks"] if check["status"] == "fail"]
        return "; ".join(f"{check['name']}: {check['detail']}. {check['hint']}" for check in failed)
    except (ValueError, KeyError):
        return f"bootstrap verify does not answer: {last_words(ended.stderr)}"


def main():
    steps = {"compare": compare, "prepare": prepare, "apply": apply}
    step, *arguments = sys.argv[1:]
    print(json.dumps(steps[step](*arguments)))


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
