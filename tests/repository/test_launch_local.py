"""What scripts/launch-local refuses, with a process in the place of the instance that runs: nothing may be lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_scripts import checkout  # noqa: F401, a fixture


class Running:
    """A checkout in which the instance "node" runs in QEMU, as far as the script can tell, and its AWS beside it."""

    def __init__(self, checkout: Path) -> None:
        self.script = checkout / "scripts/launch-local"
        self.state = checkout / "target/qemu"
        self.home, cloud = self.state / "instances/node", self.state / "cloud"
        (cloud / "volumes").mkdir(parents=True)
        self.home.mkdir(parents=True)
        # Its power button is nowhere, so only a signal would end it.
        sleeping = ["sleep", "infinity"]
        self.qemu = subprocess.Popen(sleeping, cwd=self.home)
        self.aws = subprocess.Popen(sleeping, env=os.environ | {"LOCAL_CLOUD": str(cloud)})
        kept = {"pid": self.qemu.pid, "stack": "node", "volume-id": "vol-1", "instance-id": "i-1", "disk.img": "data"}
        for name, text in kept.items():
            (self.home / name).write_text(f"{text}\n")
        (cloud / "volumes/vol-1").write_text(f"{self.home}/disk.img\n")
        (cloud / "processes").write_text(f"{self.aws.pid}\n")
        self.ready = cloud / "ready"
        self.ready.touch()
        self.tools = checkout / "tools"
        self.tools.mkdir()
        # No package is installed, and none can be.
        self.stand_in("dpkg-query", "exit 1")
        self.stand_in("dpkg", "exit 0")
        self.stand_in("apt-get", "echo no network >&2; exit 100")

    def stand_in(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def kept(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.state.rglob("*/**/*") if file.is_file()}

    def refuses(self, *arguments: str) -> str:
        """The reason, after nothing has changed."""
        before = self.kept()
        refused = subprocess.run(
            [self.script, "--qemu", *arguments],
            env=os.environ | {"PATH": f"{self.tools}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        assert refused.returncode == 1, refused.stdout
        assert (self.qemu.poll(), self.aws.poll()) == (None, None)
        assert self.kept() == before
        assert refused.stderr.startswith("launch-local: ")
        return refused.stderr.removeprefix("launch-local: ").strip()


@pytest.fixture
def running(checkout: Path) -> Iterator[Running]:  # noqa: F811, the fixture
    running = Running(checkout)
    yield running
    for process in (running.qemu, running.aws):
        process.kill()
        process.wait()


def test_a_second_instance_is_refused(running: Running) -> None:
    again = f"{running.script} --qemu"
    assert running.refuses() == (
        f"instance node is running; replace it: {again} --attach-existing, or stop it: {again} --stop node"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--name", "node"], "the running instance is called node too; give another --name"),
        (["--name", "Node"], "an instance's name is up to 12 lower-case letters and digits, not Node"),
        (["--name", "--all"], "an instance's name is up to 12 lower-case letters and digits, not --all"),
        (["--tag", "v3"], "--tag takes latest, v2 or broken, not v3"),
        (["--disk", "/nowhere"], "--disk is about a first launch, without --attach-existing"),
        (["--break", "hash"], "--break is about a first launch, without --attach-existing"),
        (["--wait-for", "ever"], "--wait-for takes done, failed or ready, not ever"),
    ],
)
def test_a_replacement_that_cannot_be_is_refused(arguments: list[str], reason: str, running: Running) -> None:
    assert running.refuses("--attach-existing", *arguments) == reason


def test_a_replacement_without_the_stack_is_refused(running: Running) -> None:
    running.ready.unlink()
    assert running.refuses("--attach-existing") == (
        "the AWS of instance node has ended, and its stack with it; "
        f"stop the instance: {running.script} --qemu --stop node"
    )


def test_a_replacement_that_cannot_be_prepared_leaves_the_instance(running: Running) -> None:
    reason = running.refuses("--attach-existing")
    if os.geteuid():
        assert reason.startswith("packages are missing: sudo apt-get install --no-install-recommends ")
    else:
        assert reason == f"apt-get failed; see {running.state}/prepare.log"


def test_a_disk_that_is_not_there_is_refused(running: Running) -> None:
    assert running.refuses("--cloud", "other", "--disk", "/nowhere") == "there is no disk /nowhere"


def test_an_instance_that_is_not_there_is_not_stopped(running: Running) -> None:
    assert running.refuses("--stop", "node2") == "there is no instance node2"
