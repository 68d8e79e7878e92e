"""How a command is run: its options, its exit codes, and how its errors reach a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from theta_edge.terminal import heading, printable

REPO = Path(__file__).resolve().parents[2]

COMMON_HELP = """\
  --profile PROFILE           a profile of your AWS configuration
  --region REGION             default: AWS_REGION, or else the profile's region
  --dry-run                   run the checks, and print the calls that would change something instead
                              of making them
  --help
"""


class Failed(Exception):
    """What went wrong, and what to do: exit code 1."""


class WrongUsage(Exception):
    """Of the command line: exit code 2."""


class HelpWanted(Exception):
    """--help."""


@dataclass
class Common:
    """What every command takes."""

    profile: str = ""
    region: str = ""
    dry_run: bool = False


@dataclass
class Problems:
    """What must be put right before anything may be changed; all of it is told together."""

    found: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def report(self) -> None:
        if self.found:
            raise Failed("nothing was changed, because\n" + "\n".join(f"  - {one}" for one in self.found))


def options(
    arguments: list[str], common: Common, valued: Collection[str], flags: Collection[str] = (), words: bool = False
) -> Iterator[tuple[str, str]]:
    """Each option with its value, and other words, where a command takes them, with the option ""; what every command
    takes goes into `common`."""
    rest = list(arguments)
    while rest:
        option, value = rest.pop(0), ""
        if option == "--help":
            raise HelpWanted
        if option in valued or option in ("--profile", "--region"):
            if not rest:
                raise WrongUsage(f"{option} needs a value")
            value = rest.pop(0)
        elif words and not option.startswith("-"):
            option, value = "", option
        elif option not in flags and option != "--dry-run":
            raise WrongUsage(f"unknown option {option}")
        if option == "--profile":
            common.profile = value
        elif option == "--region":
            common.region = value
        elif option == "--dry-run":
            common.dry_run = True
        else:
            yield option, value


def say(text: str) -> None:
    """A heading."""
    print(f"\n{heading(text, sys.stdout)}", flush=True)


def warn(text: str) -> None:
    # A terminal breaks the lines itself, so that a command in them can be pasted.
    print(f"{running}: {printable(text)}", file=sys.stderr, flush=True)


def confirm(word: str, question: str) -> None:
    """Goes on only if the person at the terminal types the word."""
    if not sys.stdin.isatty():
        raise WrongUsage(f"there is no terminal for the confirmation: {question} Say --yes")
    print(f"{question} Type {word} to continue: ", end="", flush=True)
    if sys.stdin.readline().rstrip("\n") != word:
        raise Failed("nothing was changed")


running = ""


def run(name: str, arguments: list[str]) -> int:
    """Runs a command, and says its exit code."""
    global running
    running = name
    module = import_module("theta_edge." + name.replace("-", "_"))
    try:
        code: int = module.main(arguments)
        sys.stdout.flush()
        return code
    except HelpWanted:
        print(module.HELP, end="")
        return 0
    except WrongUsage as error:
        warn(f"{error}; see --help")
        return 2
    except Failed as error:
        sys.stdout.flush()
        warn(str(error))
        return 1
    except KeyboardInterrupt as interrupt:
        print(file=sys.stderr)
        warn(str(interrupt) or "interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read this has seen enough; without this, Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
