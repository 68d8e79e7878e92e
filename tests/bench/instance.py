"""The local instance on which most is measured, by scripts/launch-local."""

import json
import os
import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NAME = "bench"
LOCAL = REPOSITORY / "target/local"
HOME = LOCAL / "instances" / NAME
BINARY = REPOSITORY / "target/x86_64-unknown-linux-musl/release/bootstrap"


def launch(wait_for="done"):
    """Boots a new one; `ready` stops short of running `bootstrap`."""
    driver("--name", NAME, "--keep", "--wait-for", wait_for)
    tools = HOME / "root/opt/bench"
    guest = REPOSITORY / "target/bench/guest"
    subprocess.run(["cp", "-R", guest, tools], check=True)
    subprocess.run(["cp", "-R", f"{guest}/root/.", HOME / "root"], check=True)
    for file in ["measure.py", "metrics_with_aws_cli.sh", "node.yml", "s3_server.py"]:
        subprocess.run(["cp", REPOSITORY / "tests/bench" / file, tools], check=True)


def stop():
    """Stops it, and its AWS."""
    driver("--stop", "--all")


def driver(*arguments):
    """Runs scripts/launch-local; what it says matters where it fails."""
    done = subprocess.run(
        [REPOSITORY / "scripts/launch-local", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"scripts/launch-local {' '.join(arguments)} failed:\n{done.stdout}")


def as_caller(script, *arguments, **how):
    """Runs Bash with what scripts/needs.sh has: cargo is for whoever owns the checkout, not for root."""
    return subprocess.run(
        ["bash", "-euc", f". scripts/needs.sh; need_cargo; {script}", "bash", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"repo": str(REPOSITORY), "state": str(REPOSITORY / "target/bench")},
        check=True,
        text=True,
        **how,
    )


def run(*command, codes=(0,), given="", at=NAME):
    """Runs a command inside and gives what it prints."""
    done = subprocess.run(
        [REPOSITORY / "scripts/launch-local", "--enter", at, "--", *command],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(rounds, **commands):
    """Measures commands inside side by side; see measure.py."""
    wanted = json.dumps({"rounds": rounds, "commands": commands})
    found = run(
        "env",
        "PATH=/opt/bench:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
        "python3",
        "/opt/bench/measure.py",
        given=wanted,
    )
    return json.loads(found)


def behave(**how):
    """Has the edge node's stand-in behave like this; it looks every second."""
    run("sh", "-c", "cat >/data/edgelauncher/standin.json", given=json.dumps(how))
    peers = how.get("peers")
    ask = [
        "curl",
        "--silent",
        "--header",
        "Content-Type: application/json",
        "--data",
        '{"jsonrpc":"2.0","id":1,"method":"edgecore.GetPeers","params":[]}',
        "http://127.0.0.1:17888/rpc",
    ]
    while peers is not None and len(json.loads(run(*ask))["result"]["peers"] or []) != peers:
        pass


def requests():
    """What came to AWS so far."""
    with open(LOCAL / "cloud/requests.jsonl") as lines:
        return [json.loads(line) for line in lines]
