"""Runs an operator's command in this process, against the simulated AWS."""

import contextlib
import io
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from deployer import CALLS

REPO = Path(__file__).parents[2]


def environment(aws) -> dict[str, str]:
    return {
        # The Python that runs the tests has boto3.
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "EDGE_POLL_SECONDS": "0.02",
        **aws.environment(),
    }


# What the commands have called, as service.Operation, with its parameters.
calls: list[tuple[str, dict[str, Any]]] = []


def record(params: dict[str, Any], model: Any, **_: Any) -> None:
    call = f"{model.service_model.service_name}.{model.name}"
    # What an operator needs for it stands in the policy that an administrator gives them.
    assert call in CALLS, f"say in deployer.py which actions {call} needs"
    calls.append((call, params))


def run(aws, script: str, *arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """As a process of its own would, without a terminal; `more` are variables of its environment."""
    from theta_edge import command
    from theta_edge.aws import Aws

    client = Aws._client

    def recorded(self, service: str):
        made = client(self, service)
        # By name, so that a client that is there already is not recorded twice.
        made.meta.events.register("provide-client-params", record, unique_id="record")
        return made

    out, err = io.StringIO(), io.StringIO()
    with (
        open(os.devnull) as nothing,
        mock.patch.dict(os.environ, environment(aws) | more, clear=True),
        mock.patch.object(sys, "stdin", nothing),
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(Aws, "_client", recorded),
    ):
        code = command.run(script, list(arguments))
    return subprocess.CompletedProcess(script, code, out.getvalue(), err.getvalue())


def would_run(printed: str) -> list[list[str]]:
    """The calls that --dry-run has printed, as the words that a shell would make of them."""
    lines = [line.removeprefix("would run: ") for line in printed.splitlines() if line.startswith("would run: ")]
    return [shlex.split(line) for line in lines]


def program(machine: int = 62, interpreter: bool = False) -> bytes:
    """The beginning of an ELF program, which is all that anybody here looks at: x86_64 and static unless told."""
    kind = 3 if interpreter else 1
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", kind, 0, 0, 0, 0, 0, 0, 0)
