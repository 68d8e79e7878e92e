"""The common stack, and the wallet password in it. The password is in this process's memory and in TLS only: in no
argument, no environment, no file and no log."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Any

from theta_edge import stacks
from theta_edge.aws import Aws, Refused
from theta_edge.command import Failed, Problems, say
from theta_edge.stacks import Stack
from theta_edge.template import COMMON

SHORTEST, LONGEST = 12, 128


def _fits(password: str) -> bool:
    # `.` in the template's pattern is no line break.
    return SHORTEST <= len(password) <= LONGEST and "\n" not in password and "\r" not in password


def read_password(file: str, dry_run: bool, problems: Problems) -> str:
    """From the file, if one is named; notes what would keep the common stack from having one."""
    if file:
        try:
            password = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, ValueError):
            problems.add(f"the password file {file} cannot be read")
            return ""
        if not _fits(password):
            problems.add(f"the password in {file} has {len(password)} characters: it must have 12 to 128, in one line")
        return password
    if not sys.stdin.isatty() and not dry_run:
        problems.add(
            "there is no wallet password, and no terminal to ask for one: use --password-file FILE or --secret-arn ARN"
        )
    return ""


def ask_password() -> str:
    print("\nThe wallet password encrypts the wallet key; without it the key is lost, so keep a copy.", flush=True)
    try:
        while True:
            password = getpass("Wallet password (12 to 128 characters): ")
            if not _fits(password):
                print(f"That has {len(password)} characters.", flush=True)
            elif getpass("The same again: ") != password:
                print("The two differ.", flush=True)
            else:
                return password
    except EOFError:
        raise Failed("no password was given") from None


def create(aws: Aws, name: str, values: dict[str, str], password: str, tags: list[dict[str, str]]) -> None:
    call: dict[str, Any] = {
        "StackName": name,
        "TemplateBody": COMMON.text,
        "Tags": tags,
        "Parameters": stacks.parameters({**({"WalletPassword": password} if password else {}), **values}, []),
    }
    shown = {"TemplateBody": f"file://{COMMON.path}"}
    if "SecretArn" not in values:
        hidden = {"WalletPassword": "<the wallet password>", **values}
        shown["Parameters"] = stacks.parameters(hidden, [])  # type: ignore[assignment]
    say(f"Creating the common stack {name}")
    try:
        made = aws.change("cloudformation", "create_stack", shown, **call)
    except Refused as refused:
        raise Failed(f"the common stack {name} was not created: {refused}") from refused
    if aws.dry_run:
        return
    rests = stacks.follow(aws, made["StackId"])
    if not rests or rests.status != "CREATE_COMPLETE":
        raise Failed(
            f"the common stack {name} was not created ({rests.status if rests else 'deleted'}):\n"
            f"{stacks.failures(aws, made['StackId'])}\n"
            f"Before the next try: scripts/destroy --with-common --common {name}"
        )


def update(aws: Aws, stack: Stack, values: dict[str, str]) -> None:
    """Only where cloudformation/common.yaml or one of the values is new."""
    same = all(stack.parameters.get(key, "") == value for key, value in values.items())
    if same and stacks.template(aws, stack) == COMMON.text:
        return
    # What the new template no longer knows may not be named; what is new there has its default.
    kept = [key for key in COMMON.parameters if key in stack.parameters and key not in values]
    say(f"Updating the common stack {stack.name}")
    newest = stacks.newest_event(aws, stack.id)
    try:
        aws.change(
            "cloudformation",
            "update_stack",
            {"TemplateBody": f"file://{COMMON.path}"},
            StackName=stack.name,
            TemplateBody=COMMON.text,
            Parameters=stacks.parameters(values, kept),
        )
    except Refused as refused:
        # Only its comments or its layout were new.
        if "No updates are to be performed" in str(refused):
            return
        raise Failed(f"the common stack {stack.name} was not updated: {refused}") from refused
    if aws.dry_run:
        return
    rests = stacks.follow(aws, stack.id, newest)
    if not rests or rests.status != "UPDATE_COMPLETE":
        raise Failed(
            f"the common stack {stack.name} was not updated, and is as before ({rests.status if rests else 'deleted'}):\n"
            f"{stacks.failures(aws, stack.id, newest)}"
        )
