"""What deny.toml wants of licenses, sources, banned crates and advisories, without cargo-deny, which takes minutes to build
and a network to ask. Every night cargo-deny itself asks for what became known since (.github/workflows/nightly.yml)."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from advisories import Advisory, known, meets

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


def test_no_crate_can_decrypt_a_wallet_key(crates: list[dict]) -> None:
    """The password is proven by the key file's MAC; what the file holds is encrypted with AES in counter mode."""
    assert {"aes", "ctr", "k256", "secp256k1"}.isdisjoint(one["name"] for one in crates)


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


@pytest.mark.parametrize(
    ("version", "requirement", "good"),
    [
        ("1.2.3", ">=1.2.3", True),
        ("1.2.2", ">= 1.2.3", False),
        ("1.10.0", "> 1.9.0", True),
        ("1.2", "<=1.2.0", True),
        ("1.2.3", "< 1.2.3", False),
        ("1.2.3", "=1.2.3", True),
        ("1.2.4", "=1.2.3", False),
        ("1.9.9", "^1.2.3", True),
        ("2.0.0", "^1.2.3", False),
        ("0.2.9", "^0.2.3", True),
        ("0.3.0", "^0.2.3", False),
        ("0.0.4", "^0.0.3", False),
        ("1.9.9", "1.2", True),
        ("0.8.5", ">=0.7.8, <0.8.0", False),
        ("0.7.9", ">=0.7.8, <0.8.0", True),
        ("1.0.0-rc.2", ">=1.0.0-rc.10", False),
        ("1.0.0-rc.2", ">=1.0.0", False),
        ("1.0.0", ">=1.0.0-rc.10", True),
        ("1.0.0+wasi", ">=1.0.0", True),
    ],
)
def test_requirements_are_understood(version: str, requirement: str, good: bool) -> None:
    assert meets(version, requirement) == good


def test_an_advisory_concerns_what_is_not_named_as_good() -> None:
    (one,) = [advisory for advisory in known() if advisory.id == "RUSTSEC-2021-0003"]
    assert one == Advisory("RUSTSEC-2021-0003", "smallvec", [">= 0.6.14, < 1.0.0", ">= 1.6.1", "< 0.6.3"])
    versions = ["0.6.2", "0.6.13", "0.6.14", "1.6.0", "1.6.1"]
    assert [version for version in versions if one.concerns("smallvec", version)] == ["0.6.13", "1.6.0"]
    assert not one.concerns("smallvec2", "1.6.0")


def test_no_advisory_concerns_a_crate_of_the_lockfile() -> None:
    locked = tomllib.loads((REPO / "Cargo.lock").read_text())["package"]
    advisories = known()
    found = [
        f"{one['name']} {one['version']}: https://rustsec.org/advisories/{advisory.id}"
        for one in locked
        for advisory in advisories
        if advisory.concerns(one["name"], one["version"])
    ]
    assert found == []
