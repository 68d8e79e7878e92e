"""What deny.toml wants of licenses, sources and banned crates, without cargo-deny, which takes minutes to build."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
RULES = tomllib.loads((REPO / "deny.toml").read_text())
ALLOWED = set(RULES["licenses"]["allow"])


@pytest.fixture(scope="module")
def crates() -> list[dict]:
    """Those that a build for these platforms takes."""
    platforms = [f"--filter-platform={target}" for target in RULES["graph"]["targets"]]
    command = ["bash", "-euc", '. scripts/needs.sh; cargo_as_caller cargo metadata --locked --format-version 1 "$@"']
    made = subprocess.run([*command, "test", *platforms], cwd=REPO, capture_output=True, text=True, check=True)
    found = json.loads(made.stdout)
    built = {node["id"] for node in found["resolve"]["nodes"]}
    return [crate for crate in found["packages"] if crate["id"] in built]


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether the license that an SPDX expression gives the choice of is one that is allowed."""
    python = re.sub(r"/|\bOR\b", " or ", expression.replace(" AND ", " and "))
    words = {"or", "and"}
    names = r"[\w.-]+(?: WITH [\w.-]+)?"
    return eval(re.sub(names, lambda one: one[0] if one[0] in words else str(one[0] in allowed), python))


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only/MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND Zlib", True),
        ("Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_expressions_are_understood(expression: str, good: bool) -> None:
    assert is_allowed(expression, ALLOWED) == good


def test_every_license_is_allowed(crates: list[dict]) -> None:
    assert [f"{one['name']}: {one['license']}" for one in crates if not is_allowed(one["license"], ALLOWED)] == []


def test_no_license_is_allowed_for_nothing(crates: list[dict]) -> None:
    licenses = {one["license"] for one in crates}
    idle = [one for one in ALLOWED if all(is_allowed(expression, ALLOWED - {one}) for expression in licenses)]
    assert idle == []


def test_every_crate_is_from_crates_io_or_here(crates: list[dict]) -> None:
    assert {one["source"] for one in crates} == {None, "registry+https://github.com/rust-lang/crates.io-index"}


def test_no_banned_crate_is_built(crates: list[dict]) -> None:
    assert {one["name"] for one in crates} & set(RULES["bans"]["deny"]) == set()
