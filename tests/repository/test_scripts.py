"""What every script that people run has in common, and what they share."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
COMMANDS = sorted(file.name for file in (REPO / "scripts").iterdir() if file.is_file() and os.access(file, os.X_OK))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts and what they read, where nothing was ever built."""
    place = tmp_path / "checkout"
    for folder in ("cloudformation", "scripts", "tests/local"):
        shutil.copytree(REPO / folder, place / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def files(place: Path) -> set[Path]:
    return set(place.rglob("*"))


def run(command: list[str | Path], **variables: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_printed_and_nothing_is_started(name: str, checkout: Path, tmp_path: Path) -> None:
    before = files(checkout)
    tools, called = tmp_path / "tools", tmp_path / "called"
    tools.mkdir()
    for tool in ("apt-get", "aws", "cargo", "pip", "rustc", "rustup", "systemd-nspawn"):
        (tools / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >>"{called}"\n')
        (tools / tool).chmod(0o755)
    # Cargo is first looked for in the home.
    helped = run([checkout / "scripts" / name, "--help"], PATH=f"{tools}:{os.environ['PATH']}", HOME=str(tmp_path))
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"Usage: scripts/{name}")
    assert "--help" in helped.stdout
    assert not called.exists(), called.read_text()
    assert files(checkout) == before


@pytest.mark.parametrize("name", ["bench", "faults", "fuzz", "launch-local", "screens", "test"])
def test_an_unknown_option_is_refused_and_nothing_is_started(name: str, checkout: Path) -> None:
    before = files(checkout)
    refused = run([checkout / "scripts" / name, "--nonsense"])
    assert refused.returncode == 2
    assert refused.stderr == f"{name}: unknown option --nonsense; see --help\n"
    assert files(checkout) == before


CRON = "Package: cron\nStatus: install ok half-configured\nVersion: 3\nArchitecture: all\n"


def interrupted(place: Path) -> Path:
    """What dpkg keeps, as it is where it was ended between two of its steps."""
    (place / "info").mkdir(parents=True)
    (place / "updates").mkdir()
    (place / "triggers").mkdir()
    for name in ("status", "available", "diversions", "statoverride"):
        (place / name).touch()
    (place / "updates/0000").write_text(CRON)
    return place


def unpacked(place: Path) -> Path:
    """The same where it was ended earlier, and knows."""
    interrupted(place)
    (place / "status").write_text(f"{CRON}Maintainer: nobody <nobody@localhost>\nDescription: none\n\n")
    (place / "updates/0000").unlink()
    return place


@pytest.mark.parametrize("left", [interrupted, unpacked])
def test_an_interrupted_package_manager_is_named(left, tmp_path: Path) -> None:
    script = f"repo={REPO} state={tmp_path}; . {REPO}/scripts/needs.sh; install_packages no-such-package"
    refused = run(["bash", "-euc", script, "test"], DPKG_ADMINDIR=str(left(tmp_path / "dpkg")))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "test: this machine's package manager was interrupted; let it end its work first: sudo dpkg --configure -a\n"
    )
    assert not (tmp_path / "prepare.log").exists(), "apt was called"
