"""Where boto3 comes from: CloudShell has it; elsewhere a Python environment is made, once, in target/tools."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings

from theta_edge.command import REPO, Failed, warn

# The last that runs on Python 3.9.
BOTO3 = "boto3==1.42.97"
PLACE = REPO / "target/tools/operator"


def need_boto3() -> None:
    """Goes on with a Python that has boto3: this one, or the same command once more with the one in target/tools."""
    # To know the future of Python 3.9 helps nobody here.
    warnings.filterwarnings("ignore", message=".*Python 3.9.*")
    if importlib.util.find_spec("boto3"):
        return
    python, stamp = PLACE / "bin/python3", PLACE / "complete"
    # An environment names its own place, so one that was moved with its checkout is of no use.
    wanted = f"{PLACE}\n{BOTO3}\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        warn(f"Python has no boto3: creating an environment with {BOTO3} in {PLACE}")
        for words in (
            [sys.executable, "-m", "venv", "--clear", str(PLACE)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", BOTO3],
        ):
            ended = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sys.stderr)
            if ended.returncode:
                raise Failed(
                    f"'{' '.join(words)}' failed: install boto3 yourself (python3-boto3 on Debian and Amazon Linux), "
                    "or run this in AWS CloudShell"
                )
        stamp.write_text(wanted)
    sys.stderr.flush()
    os.execv(str(python), [str(python), *sys.argv])  # noqa: S606
