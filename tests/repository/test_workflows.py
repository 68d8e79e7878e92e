"""GitHub's workflows, as far as they can be judged here: that they are YAML, call what exists, and trust no tag."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPO / ".github/workflows").glob("*.yml"))


def read(workflow: Path) -> dict[Any, Any]:
    return yaml.safe_load(workflow.read_text())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows() -> None:
    assert [file.name for file in WORKFLOWS] == ["ci.yml", "nightly.yml", "release.yml"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_each_has_limits(workflow: Path) -> None:
    whole = read(workflow)
    # YAML 1.1 takes a bare "on" for true.
    assert set(whole) >= {"name", True, "permissions", "jobs"}
    assert whole["permissions"] == {"contents": "read"}
    for name, job in whole["jobs"].items():
        assert job["timeout-minutes"] <= 120, name


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_to_a_commit_whose_version_is_said(workflow: Path) -> None:
    uses = re.findall(r"^ *(?:- )?uses: (.*)$", workflow.read_text(), re.MULTILINE)
    assert len(uses) == sum("uses" in step for step in steps(workflow))
    for one in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_the_scripts_that_are_called_exist_and_know_their_options(workflow: Path) -> None:
    for step in steps(workflow):
        checked = subprocess.run(["bash", "-n"], input=step.get("run", ""), capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")
        for script, options in re.findall(r"(scripts/[\w-]+)((?: --[\w-]+)*)", step.get("run", "")):
            helped = subprocess.run([REPO / script, "--help"], capture_output=True, text=True, check=True).stdout
            for option in options.split():
                assert f" {option}" in helped, f"{script} {option}"


def test_every_push_and_every_night_run_the_suite() -> None:
    ran = {file.name: " ".join(step.get("run", "") for step in steps(file)) for file in WORKFLOWS}
    assert re.search(r"scripts/test --quick\b", ran["ci.yml"])
    assert re.search(r"scripts/test(?! --quick)", ran["nightly.yml"])
    assert re.search(r"scripts/build-release --check\b", ran["release.yml"])


def test_what_a_build_leaves_is_released() -> None:
    released = " ".join(step.get("run", "") for step in steps(REPO / ".github/workflows/release.yml"))
    for name in ("bootstrap", "bootstrap.sha256", "bootstrap.cdx.json"):
        assert re.search(rf"\s{re.escape(name)}\s", released), name
