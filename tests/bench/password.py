"""The proof that the wallet password opens the key: `verify --prove-password` on a directory tree, beside `verify` without."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

import instance

HERE = pathlib.Path(__file__).resolve().parent
# With the parameters of geth's and the ledger's keys (scrypt, n=262144, r=8, p=1). It encrypts nothing.
KEY = HERE / "wallet-key.json"
PASSWORD = "a password of the benchmark"
CONFIG = {
    "region": "us-east-1",
    "volume": {"id": "vol-0123456789abcdef0"},
    "assets": {"bucket": "bench", "key": "assets.tar.gz", "sha256": "0" * 64},
    "secret": {"arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:bench-AbCdEf"},
    # Of whoever measures: the phase wants the password to be the node's user's.
    "user": {"name": "bench", "uid": os.getuid() or 1002, "gid": os.getgid() or 1002},
}


def tree(root):
    """A machine with a password in memory and a key on its volume; nothing else."""
    key = json.loads(KEY.read_text())["address"]
    files = {
        "etc/bootstrap/config.json": json.dumps(CONFIG),
        "opt/bootstrap/assets/edge.json": (instance.REPOSITORY / "cloudformation/assets/edge.json").read_text(),
        f"data/edgelauncher/edgecore/key/encrypted/{key}": KEY.read_text(),
        "run/bootstrap/secrets/wallet-password": PASSWORD,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    owner = (CONFIG["user"]["uid"], CONFIG["user"]["gid"])
    secret = root / "run/bootstrap/secrets/wallet-password"
    secret.chmod(0o400)
    os.chown(secret, *owner)
    secret.parent.chmod(0o700)
    os.chown(secret.parent, *owner)


def once(root, *options):
    """Wall and CPU seconds, peak MiB of one `verify`."""
    # Nobody answers for AWS, the metadata service or Docker, and none of them is waited for.
    nowhere = "http://127.0.0.1:1"
    environment = {
        "BOOTSTRAP_ROOT": str(root),
        "BOOTSTRAP_CONFIG": str(root / "etc/bootstrap/config.json"),
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": nowhere,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "PATH": str(root),
        "BOOTSTRAP_PACE": "1000",
    }
    began = time.monotonic()
    argv = [instance.BINARY, "verify", "--only", "container", "--json", *options]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        said = process.stdout.read()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    wall = time.monotonic() - began
    checks = {check["name"]: check["detail"] for check in json.loads(said)["checks"]}
    proven = "it opens" in checks["secret"]
    if proven != ("--prove-password" in options):
        raise SystemExit(f"the password was not tried as wanted: {checks['secret']}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}


def take(quick):
    """Seconds and MiB with and without the proof: the least time, the largest memory of some runs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        root = pathlib.Path(folder)
        tree(root)
        taken = {}
        for _ in range(2 if quick else 5):
            for name, options in [("with", ["--prove-password"]), ("without", [])]:
                found = once(root, *options)
                before = taken.get(name, found)
                taken[name] = {
                    "wall": min(found["wall"], before["wall"]),
                    "cpu": min(found["cpu"], before["cpu"]),
                    "peak": max(found["peak"], before["peak"]),
                }
    return taken


def rows(figures):
    """The table's rows."""
    proof, bare = figures["with"], figures["without"]
    return [
        (
            "the wallet password is proven against its key (scrypt, n=262144, r=8, p=1), CPU",
            f"{proof['cpu'] - bare['cpu']:.2f} s",
            "",
            "",
            "under 2 s",
            proof["cpu"] - bare["cpu"] < 2,
        ),
        (
            "peak memory of the process that does it",
            f"{proof['peak']:.0f} MiB",
            f"`verify` without: {bare['peak']:.0f} MiB",
            f"{proof['peak'] - bare['peak']:.0f} MiB more",
            "256 MiB and what `verify` needs",
            proof["peak"] < 256 + bare["peak"] + 4,
        ),
    ]
