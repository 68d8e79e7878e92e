"""Runs one of our own programs on a node by SSM, and takes its answer: one JSON object."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theta_edge import command, ssm
from theta_edge.aws import Aws, Refused
from theta_edge.command import Failed


@dataclass(frozen=True)
class Program:
    aws: Aws
    file: Path

    def start(self, instance: str, seconds: int, comment: str, *arguments: str) -> str:
        """The command's id; nothing with --dry-run."""
        begin = f"exec python3 - {shlex.join(arguments)} <<'END_OF_PROGRAM'\n"
        parameters = {
            "commands": [begin + self.file.read_text(encoding="utf-8") + "END_OF_PROGRAM"],
            "executionTimeout": [str(seconds)],
        }
        if self.aws.dry_run:
            # The program itself would fill screens.
            parameters["commands"] = [begin + f"<scripts/{self.file.name}>\nEND_OF_PROGRAM"]
        try:
            return ssm.send(
                self.aws, instance, "AWS-RunShellScript", parameters, f"scripts/{command.running}: {comment}"
            )
        except Refused as refused:
            if refused.code == "InvalidInstanceId":
                raise Failed(ssm.unreachable(self.aws, instance)) from refused
            raise Failed(f"the command was refused: {refused}") from refused

    def await_answer(self, instance: str, sent: str, seconds: int) -> dict[str, Any]:
        answer = ssm.await_answer(self.aws, instance, sent, seconds)
        if not answer.delivered:
            raise Failed(ssm.unreachable(self.aws, instance, answer.ended))
        if answer.ended == "Failed":
            # The agent adds a line of its own.
            lines = [line for line in answer.errors.splitlines() if not line.startswith("failed to run commands")]
            raise Failed("\n".join(lines))
        if answer.ended != "Success":
            raise Failed(f"the command did not finish: {answer.ended}. Nothing is lost: run the same again")
        try:
            said: dict[str, Any] = json.loads(answer.output)
            return said
        except ValueError:
            raise Failed("the node's answer is not valid: see scripts/verify, then run the same again") from None

    def ask(self, instance: str, seconds: int, comment: str, *arguments: str) -> dict[str, Any]:
        """Its answer, or nothing with --dry-run."""
        sent = self.start(instance, seconds, comment, *arguments)
        return self.await_answer(instance, sent, seconds) if sent else {}
