"""scripts/upgrade-on-node.py: a node gets another version in place, or has what it had before; at every instant one of the
two is there whole."""

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from operate import REPO
from upgraded_node import HANDLE, UpgradedNode

PROGRAM = (REPO / "scripts/upgrade-on-node.py").read_text()
STRACE = shutil.which("strace")
# Calls of the kernel before which the program is killed: each change of a name, and each start of a tool; with
# UPGRADE_KILLS=all some 130 instants in all.
CHANGES: tuple[str, ...] = ("rename", "vfork")
if os.environ.get("UPGRADE_KILLS") == "all":
    CHANGES += ("chmod", "fchmod", "fsync", "mkdir", "rmdir", "sendfile", "unlink", "unlinkat", "write")
OLD = {
    "edge": {"network": "mainnet", "tag": "v1"},
    "assets": {"sha256": "a" * 64},
    "stack": {"name": "s", "wait_handle": HANDLE},
}


@pytest.fixture
def node(tmp_path: Path) -> UpgradedNode:
    made = UpgradedNode(tmp_path / "node")
    made.start(OLD)
    return made


def changed(**changes: dict) -> dict:
    """As CloudFormation's user-data has it, with a variable for the handle."""
    config = {key: value | changes.get(key, {}) for key, value in OLD.items()}
    config["stack"]["wait_handle"] = "$handle"
    return config | {key: value for key, value in changes.items() if key not in OLD}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def on_node(node: UpgradedNode, *arguments: str) -> tuple[int, str, str]:
    words = " ".join(f"'{word}'" for word in arguments)
    return node.run_command("i-1", f"exec python3 - {words} <<'END_OF_PROGRAM'\n{PROGRAM}END_OF_PROGRAM")


def bring(node: UpgradedNode, version: str, folder: Path) -> str:
    """The binary's SHA-256."""
    content = node.program("bootstrap", version)
    file = folder / f"bootstrap-{version}"
    file.write_bytes(content)
    code, out, err = on_node(node, "prepare", sha(content), f"file://{file}")
    assert (code, json.loads(out)) == (0, {"ready": True}), err
    return sha(content)


def apply(node: UpgradedNode, binary: str, config: dict) -> dict:
    code, out, err = on_node(node, "apply", binary, base64.b64encode(json.dumps(config).encode()).decode())
    assert code == 0, err
    return json.loads(out)


def compare(node: UpgradedNode, binary: str, config: dict) -> list:
    code, out, err = on_node(node, "compare", binary, base64.b64encode(json.dumps(config).encode()).decode())
    assert code == 0, err
    return json.loads(out)["drift"]


def calls(node: UpgradedNode) -> list[str]:
    return node.calls.read_text().splitlines()


def test_what_differs_is_told_and_stays(node):
    ours = sha((node.root / "usr/local/bin/bootstrap").read_bytes())
    assert compare(node, ours, changed()) == []
    assert compare(node, "b" * 64, changed(edge={"tag": "v2"}, assets={"sha256": "c" * 64}, backup={"on": True})) == [
        ["assets", "a" * 64, "c" * 64],
        ["assets.sha256", "a" * 64, "c" * 64],
        ["backup.on", None, True],
        ["binary", ours, "b" * 64],
        ["edge.tag", "v1", "v2"],
    ]
    shutil.rmtree(node.root / "opt/bootstrap/assets")
    assert compare(node, ours, changed()) == [["assets", "", "a" * 64]]
    assert node.config == OLD
    assert not node.calls.exists()


def test_another_tag_is_pulled_and_runs(node, tmp_path):
    binary = bring(node, "old", tmp_path)
    assert apply(node, binary, changed(edge={"tag": "v2"})) == {"upgraded": True}
    assert node.runs == "old v2 aaaa"
    assert node.config["stack"] == OLD["stack"]
    assert not node.kept
    assert calls(node) == ["old --phase assets", "old --phase image --force", "old"]


def test_a_tag_that_means_another_image_by_now_is_pulled_too(node, tmp_path):
    node.set(registry={"v1": "newer"})
    assert apply(node, bring(node, "old", tmp_path), changed()) == {"upgraded": True}
    assert node.runs == "old newer aaaa"


def test_a_digest_is_pulled_only_where_it_is_missing(node, tmp_path):
    assert apply(node, bring(node, "old", tmp_path), changed(edge={"digest": "sha256:1"})) == {"upgraded": True}
    assert node.runs == "old sha256:1 aaaa"
    assert "old --phase image --force" not in calls(node)


def test_a_new_binary_with_a_config_that_the_old_one_does_not_take(node, tmp_path):
    config = changed(assets={"sha256": "b" * 64}, backup={"on": True})
    assert apply(node, bring(node, "new", tmp_path), config) == {"upgraded": True}
    assert node.runs == "new v1 bbbb"
    assert list((node.root / "usr/local/bin").iterdir()) == [node.root / "usr/local/bin/bootstrap"]


FAILURES = {
    "no such image": ({"edge": {"tag": "missing"}}, "image: there is no image missing. give another one"),
    "an image that does not answer": ({"edge": {"tag": "sick"}}, "image: the node does not answer. give another one"),
}


@pytest.mark.parametrize(("changes", "reason"), FAILURES.values(), ids=FAILURES)
def test_what_fails_is_undone(node, tmp_path, changes, reason):
    before, config = node.runs, node.config
    answer = apply(node, bring(node, "new", tmp_path), changed(**changes, assets={"sha256": "b" * 64}, backup={}))
    assert answer == {"upgraded": False, "reason": reason}
    assert (node.runs, node.config) == (before, config)
    assert (node.root / "opt/bootstrap/assets/.sha256").read_text() == "a" * 64
    assert (node.root / "usr/local/bin/bootstrap").read_bytes() == node.program("bootstrap", "old")
    assert not node.kept


def test_a_tag_means_again_what_it_meant(node, tmp_path):
    node.set(registry={"v1": "sick"})
    answer = apply(node, bring(node, "old", tmp_path), changed())
    assert answer == {"upgraded": False, "reason": "image: the node does not answer. give another one"}
    assert node.runs == "old v1 aaaa"
    assert node.state["images"] == {"v1": "v1"}


def test_where_neither_runs_both_reasons_are_told_and_the_next_try_has_the_same_to_go_back_to(node, tmp_path):
    binary = bring(node, "old", tmp_path)
    node.set(images={"v1": "sick"})
    config = base64.b64encode(json.dumps(changed(edge={"tag": "missing"})).encode()).decode()
    code, out, err = on_node(node, "apply", binary, config)
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == (
        "image: there is no image missing. give another one; and with what was there before: "
        "image: the node does not answer. give another one"
    )
    assert node.kept and node.config == OLD
    assert apply(node, binary, changed(edge={"tag": "v2"})) == {"upgraded": True}
    assert not node.kept


def test_a_node_whose_set_up_has_failed_early_can_be_helped(node, tmp_path):
    shutil.rmtree(node.root / "opt/bootstrap/assets")
    (node.root / "bin/docker").unlink()
    binary = bring(node, "new", tmp_path)
    assert apply(node, binary, changed(edge={"tag": "sick"}))["upgraded"] is False
    assert apply(node, bring(node, "new", tmp_path), changed(edge={"tag": "v2"})) == {"upgraded": True}
    assert node.runs == "new v2 aaaa"


def test_what_does_not_arrive_changes_nothing(node, tmp_path):
    code, out, err = on_node(node, "prepare", "0" * 64, f"file://{tmp_path}/none")
    assert (code, out) == (1, "")
    assert err.startswith("the new binary did not arrive: curl: (37)")
    code, _, err = on_node(node, "apply", "0" * 64, base64.b64encode(b"{}").decode())
    assert (code, err.splitlines()[0]) == (1, "the new binary is not on the node any more: try again")
    assert (node.runs, node.config, node.kept) == ("old v1 aaaa", OLD, False)


@pytest.mark.skipif(not STRACE, reason="needs strace")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("tag", "good"), [("v2", True), ("sick", False)])
def test_killed_at_any_instant_one_of_the_two_is_there_whole_and_the_next_try_ends_it(tmp_path, tag, good, change):
    wanted = changed(edge={"tag": tag}, backup={}, assets={"sha256": "b" * 64})
    config = base64.b64encode(json.dumps(wanted).encode()).decode()
    number = 0
    while True:
        number += 1
        node = UpgradedNode(tmp_path / str(number))
        node.start(OLD)
        binary = bring(node, "new", tmp_path)
        node.tracer = [STRACE, "-qq", "-o", "/dev/null", "-e", f"trace={change}"]
        node.tracer += ["-e", f"inject={change}:signal=KILL:when={number}"]
        code, *_ = on_node(node, "apply", binary, config)
        node.tracer = []
        if code == 0:
            break
        # As bootstrap does at the next boot: whichever of the two is there, it is one that the binary takes.
        node.run("")
        assert node.runs in ("old v1 aaaa", "new v1 aaaa", f"new {tag} bbbb")
        bring(node, "new", tmp_path)
        assert apply(node, binary, wanted)["upgraded"] == good
        assert node.runs == (f"new {tag} bbbb" if good else "old v1 aaaa")
        assert not node.kept
        shutil.rmtree(node.root)
    assert number > 1, "it was killed"
