"""A large archive from an S3 that is 20 ms away, beside s5cmd and the AWS CLI.

The product is run as `bootstrap --phase assets`, its checks of the machine included; what the archive holds is then
refused at once, so nothing is unpacked and the node's own assets stay as they are.
"""

import gzip
import hashlib
import json
import random
import subprocess
import tarfile

import instance

SIZE = 512_000_000
OBJECT = instance.HOME / "root/opt/bench/object"
ENDPOINT = "http://127.0.0.1:9000"
# What the one before has fetched goes, and memory for as much is at hand: a virtual machine whose free memory went back to
# its host would pay for getting it again, by chance with this command or the next.
ROOM = ["sh", "-c", f"head -c {SIZE * 6 // 5} /dev/zero >/opt/bench/fetched && rm /opt/bench/fetched"]
REFUSED = 'holds "link", which is not a plain file'


def archive():
    """Writes the object, which cannot be packed any smaller; its SHA-256."""
    with open(OBJECT, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=0, mtime=0) as packed, tarfile.open(
        fileobj=packed, mode="w|"
    ) as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(link)
        large = tarfile.TarInfo("large")
        large.size = SIZE
        tar.addfile(large, Noise())
    with open(OBJECT, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Noise:
    """Bytes by chance, the same each time."""

    def __init__(self):
        self.random = random.Random(1)

    def read(self, size):
        """So many bytes."""
        return self.random.randbytes(size)


def configure(sha256):
    """The node's own config, with this archive, and without a stack that would be told of the failure."""
    config = json.loads(instance.run("cat", "/etc/bootstrap/config.json"))
    del config["stack"]
    config["assets"] = {"bucket": "far", "key": "archive.tar.gz", "sha256": sha256}
    instance.run("sh", "-c", "cat >/run/bench.json", given=json.dumps(config))


def take(quick):
    """CPU, wall and memory of each."""
    configure(archive())
    server = subprocess.Popen(
        [
            instance.REPOSITORY / "scripts/launch-local",
            "--enter",
            instance.NAME,
            "--",
            "python3",
            "/opt/bench/s3_server.py",
            "/opt/bench/object",
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        instance.run(
            "curl",
            "--silent",
            "--head",
            "--retry",
            "50",
            "--retry-delay",
            "1",
            "--retry-connrefused",
            "--output",
            "/dev/null",
            ENDPOINT,
        )
        ours = [
            "env",
            f"AWS_ENDPOINT_URL_S3={ENDPOINT}",
            "/usr/local/bin/bootstrap",
            "--config",
            "/run/bench.json",
            "--phase",
            "assets",
        ]
        said = instance.run(*ours, codes=[1])
        if REFUSED not in said:
            raise SystemExit(f"the archive was not refused for what it holds:\n{said}")
        anonymous = ["--endpoint-url", ENDPOINT, "--no-sign-request"]
        source, to = "s3://far/archive.tar.gz", "/opt/bench/fetched"
        return {
            "size": OBJECT.stat().st_size,
            **instance.measure(
                5 if quick else 9,
                bootstrap={"before": ROOM, "argv": ours, "codes": [1]},
                s5cmd={
                    "before": ROOM,
                    "argv": ["/opt/bench/python/s5cmd/bin/s5cmd", *anonymous, "cp", source, to],
                },
                aws_cli={"before": ROOM, "argv": ["aws", *anonymous, "s3", "cp", source, to]},
            ),
        }
    finally:
        # The child ends with the instance's own process of that name.
        instance.run("pkill", "--full", "/opt/bench/s3_server.py", codes=[0, 1])
        server.wait(10)
        instance.run("rm", "-f", "/opt/bench/object", "/opt/bench/fetched")


def rows(figures):
    """The table's rows."""
    ours, theirs, cli = figures["bootstrap"], figures["s5cmd"], figures["aws_cli"]
    size = f"{figures['size'] / 1e6:.0f} MB"
    ratio = ours["wall"] / theirs["wall"]
    so = f"{1 / ratio:.1f} times faster" if ratio <= 1 else f"{ratio:.1f} times as long"
    return [
        (
            f"fetching {size} from an S3 that is 20 ms away, its SHA-256 checked",
            f"{ours['wall']:.2f} s",
            f"s5cmd, unchecked: {theirs['wall']:.2f} s",
            so,
            "no slower",
            ratio <= 1,
        ),
        (
            "the same",
            f"{ours['wall']:.2f} s",
            f"AWS CLI: {cli['wall']:.2f} s",
            f"{cli['wall'] / ours['wall']:.1f} times faster",
            "",
            None,
        ),
        (
            "its peak memory",
            f"{ours['peak']:.0f} MiB",
            f"s5cmd: {theirs['peak']:.0f} MiB; AWS CLI: {cli['peak']:.0f} MiB",
            "",
            "under 48 MB",
            ours["peak"] * 1.048576 < 48,
        ),
    ]
