"""What these tests share: the simulated AWS, what --dry-run has printed, what the scripts upload."""

import shlex
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "local"))

from aws.fixtures import aws, server  # noqa: F401, fixtures


def would_run(printed: str) -> list[list[str]]:
    """The calls that --dry-run has printed, as the words that a shell would make of them."""
    lines = [line.removeprefix("would run: ") for line in printed.splitlines() if line.startswith("would run: ")]
    return [shlex.split(line) for line in lines]


def program(machine: int = 62, interpreter: bool = False) -> bytes:
    """The beginning of an ELF program, which is all that anybody here looks at: x86_64 and static unless told."""
    kind = 3 if interpreter else 1
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", kind, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    file = tmp_path / "bootstrap"
    file.write_bytes(program())
    return file
