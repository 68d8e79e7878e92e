"""The pictures of .github/screens: how they are drawn, and that the commands they show are there."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import screen

REPO = Path(__file__).resolve().parents[2]
SCRIPT = (REPO / "scripts/screens").read_text()
TAKEN = re.findall(r"^ *picture (\w+) '([^']+)'", SCRIPT, re.MULTILINE)
PICTURES = REPO / ".github/screens"


def draw(tmp_path: Path, *arguments: str, shell: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    picture = tmp_path / "screen.svg"
    command = [sys.executable, screen.__file__, str(picture), *arguments, "--", "bash", "-c", shell]
    return subprocess.run(command, capture_output=True, text=True), picture


def texts(picture: Path) -> dict[str, dict[str, str]]:
    """The attributes of each piece of text."""
    root = ElementTree.parse(picture).getroot()
    return {one.text or "": one.attrib for one in root.iter("{http://www.w3.org/2000/svg}text")}


def test_text_is_data_and_keeps_its_colours(tmp_path: Path) -> None:
    shell = r"""printf '\e[31;1mFAIL\e[0m </text><script>&"\e[2m faint\e[0m\e[7m turned \e[0m \e[38;5;208morange\e[0m\n'"""
    ended, picture = draw(tmp_path, "--as", "a <b> & c", shell=shell)
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = texts(picture)
    assert list(shown) == ["$", "a <b> & c", "FAIL", '</text><script>&"', "faint", "turned", "orange"]
    assert (shown["FAIL"]["fill"], shown["FAIL"]["font-weight"]) == (screen.COLOURS["red"], "bold")
    assert shown["faint"]["fill"] == screen.COLOURS["dim"]
    assert (shown["turned"]["fill"], shown["orange"]["fill"]) == (screen.GROUND, "#ff8700")


def test_a_line_that_is_too_long_goes_on_in_the_next(tmp_path: Path) -> None:
    _, picture = draw(tmp_path, shell=f"printf {'x' * 100}")
    assert list(texts(picture))[-2:] == ["x" * 80, "x" * 20]


def test_a_moment_is_drawn_and_answered(tmp_path: Path) -> None:
    shell = "printf 'Go on? '; read -r answer; clear; echo later; [ $answer = no ]"
    ended, picture = draw(tmp_path, "--when", r"Go on\?", "--type", "no\n", shell=shell)
    assert (ended.returncode, list(texts(picture))[-1]) == (0, "Go on?")


@pytest.mark.parametrize(
    ("arguments", "shell", "told"),
    [
        (["--as", "it"], "exit 3", "it ended with 3, not 0\n"),
        (["--as", "it", "--when", "never"], "echo once", "it never showed 'never'\n"),
    ],
)
def test_what_went_another_way_is_no_picture(tmp_path: Path, arguments: list[str], shell: str, told: str) -> None:
    ended, picture = draw(tmp_path, *arguments, shell=shell)
    assert (ended.returncode, ended.stderr) == (1, told)
    assert not picture.exists()


def test_each_picture_is_taken_and_shown() -> None:
    readme = (REPO / "README.md").read_text()
    shown = re.findall(r"\]\(\.github/screens/(\w+)\.svg\)", readme)
    assert sorted(name for name, _ in TAKEN) == sorted(shown) == sorted(file.stem for file in PICTURES.iterdir())


@pytest.mark.parametrize(("name", "typed"), TAKEN)
def test_what_a_picture_says_is_typed_exists(name: str, typed: str) -> None:
    """The picture is of this command; the program knows it, or the script is there."""
    assert list(texts(PICTURES / f"{name}.svg"))[1] == typed
    program, *arguments = typed.removeprefix("sudo ").split()
    if program.startswith("scripts/"):
        assert (REPO / program).exists()
        return
    assert program == "bootstrap"
    commands = (REPO / "src/cli.rs").read_text()
    for command in arguments[:1]:
        assert f"    {command.capitalize()}" in commands
