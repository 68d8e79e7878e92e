"""What the templates must agree with: the real binary, and what its sources and its assets say of themselves."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

from deployed import REPO

BUILDS = ("target/debug/bootstrap", "target/x86_64-unknown-linux-musl/release/bootstrap")


@cache
def binary() -> Path:
    """The newest build; a new one where there is none."""
    if not (built := [REPO / path for path in BUILDS if (REPO / path).exists()]):
        subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=REPO, check=True)
        return REPO / BUILDS[0]
    return max(built, key=lambda path: path.stat().st_mtime)


def config_mistakes(file: Path) -> str:
    """What `bootstrap config check` has to say; nothing where the config is right."""
    checked = subprocess.run([binary(), "--config", file, "config", "check"], capture_output=True, text=True)
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


@cache
def deadline() -> int:
    """Seconds that a run may take, as nobody sets it."""
    schema = subprocess.run([binary(), "config", "schema"], capture_output=True, text=True, check=True)
    return json.loads(schema.stdout)["properties"]["deadline_seconds"]["default"]


def phases() -> list[str]:
    table = (REPO / "src/phases/mod.rs").read_text()
    return re.findall(r'^\s+entry\("([a-z-]+)"', table, re.MULTILINE)


def metrics() -> set[str]:
    """Names that the node or its CloudWatch agent publishes, by group."""
    product = (REPO / "src/metrics.rs").read_text().split("#[cfg(test)]")[0]
    (values,) = re.findall(r"let values = \[(.*?)\];", product, re.DOTALL)
    own = set(re.findall(r'\(\s*"(\w+)",', values))
    assert "edge_up" in own
    collected = agent()["metrics"]["metrics_collected"]
    prefixes = {"nvidia_gpu": "nvidia_smi"}
    return own | {
        f"{prefixes.get(plugin, plugin)}_{name}" for plugin, what in collected.items() for name in what["measurement"]
    }


def agent() -> dict:
    return json.loads((REPO / "cloudformation/assets/amazon-cloudwatch-agent.json").read_text())
