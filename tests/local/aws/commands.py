"""Systems Manager's Run Command, in place of moto's, which runs nothing."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from threading import Thread
from typing import Any
from uuid import uuid4

from moto.core.responses import ActionResult
from moto.ec2 import ec2_backends
from moto.ssm.exceptions import SSMException
from moto.ssm.models import SimpleSystemManagerBackend
from moto.ssm.responses import SimpleSystemManagerResponse

from aws import documents

# Runs a script on an instance: its exit code, standard output and standard error.
RunCommand = Callable[[str, str], tuple[int, str, str]]

REQUEST = (
    "Comment",
    "DocumentName",
    "DocumentVersion",
    "InstanceIds",
    "MaxConcurrency",
    "MaxErrors",
    "Parameters",
    "Targets",
    "TimeoutSeconds",
)

# What the agent keeps of a script's output, and what the list of invocations shows of it.
STDOUT, STDERR, LISTED = 24_000, 8_000, 2_500


def nobody_there(instance: str, script: str) -> tuple[int, str, str]:
    return 1, "", f"nothing runs commands on {instance} here: start the server with run_command\n"


run_command: RunCommand = nobody_there


@dataclass
class Invocation:
    """A command on one instance."""

    instance: str
    plugin: str
    status: str = "Pending"
    details: str = "Pending"
    code: int = -1
    stdout: str = ""
    stderr: str = ""
    started: datetime | None = None
    ended: datetime | None = None

    def run(self, script: str) -> None:
        self.started, self.status, self.details = now(), "InProgress", "InProgress"
        try:
            code, stdout, stderr = run_command(self.instance, script)
        except Exception as error:  # noqa: BLE001, whatever the hook raises is the command's failure
            code, stdout, stderr = 1, "", f"{error}\n"
        if code != 0:
            stderr += f"failed to run commands: exit status {code}"
        self.ended, self.stdout, self.stderr = now(), stdout[:STDOUT], stderr[:STDERR]
        self.code = code
        self.status = self.details = "Success" if code == 0 else "Failed"

    def listed(self) -> str:
        output = self.stdout + (f"\n----------ERROR-------\n{self.stderr}" if self.stderr else "")
        mark = "\n---Output truncated---"
        return output if len(output) <= LISTED else output[: LISTED - len(mark)] + mark


@dataclass
class Command:
    document: str
    script: str
    invocations: list[Invocation]
    request: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid4()))
    requested: datetime = field(default_factory=lambda: now())

    def start(self) -> None:
        Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """With rate control: so many at once, and no more after so many errors."""
        total = len(self.invocations)
        errors = share(self.request.get("MaxErrors", "0"), total)

        def one(invocation: Invocation) -> None:
            if self.failed() > errors:
                invocation.status, invocation.details = "Failed", "Terminated"
            else:
                invocation.run(self.script)

        with ThreadPoolExecutor(max(1, share(self.request.get("MaxConcurrency", "50"), total))) as pool:
            list(pool.map(one, self.invocations))

    def failed(self) -> int:
        return sum(invocation.details == "Failed" for invocation in self.invocations)

    def completed(self) -> int:
        return sum(invocation.status not in ("Pending", "InProgress") for invocation in self.invocations)

    def status(self) -> str:
        if self.completed() < len(self.invocations):
            return "InProgress"
        return "Failed" if self.failed() else "Success"

    def shown(self) -> dict[str, Any]:
        status = self.status()
        asked = ("Comment", "MaxConcurrency", "MaxErrors", "Parameters", "Targets", "TimeoutSeconds", "DocumentVersion")
        return {
            "MaxConcurrency": "50",
            "MaxErrors": "0",
            "Targets": [],
            **{name: self.request[name] for name in asked if name in self.request},
            "CommandId": self.id,
            "DocumentName": self.document,
            "InstanceIds": self.request.get("InstanceIds", []),
            "RequestedDateTime": self.requested,
            "ExpiresAfter": self.requested + timedelta(seconds=self.request.get("TimeoutSeconds", 3600)),
            "Status": status,
            "StatusDetails": status,
            "TargetCount": len(self.invocations),
            "CompletedCount": self.completed(),
            "ErrorCount": self.failed(),
            "DeliveryTimedOutCount": 0,
        }

    def shown_invocation(self, invocation: Invocation) -> dict[str, Any]:
        def when(time: datetime | None) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if time else ""

        elapsed = (invocation.ended or now()) - invocation.started if invocation.started else None
        return {
            "CommandId": self.id,
            "InstanceId": invocation.instance,
            "Comment": self.request.get("Comment", ""),
            "DocumentName": self.document,
            "DocumentVersion": self.request.get("DocumentVersion", "$DEFAULT"),
            "PluginName": invocation.plugin,
            "ResponseCode": invocation.code,
            "ExecutionStartDateTime": when(invocation.started),
            "ExecutionElapsedTime": f"PT{elapsed.total_seconds():.3f}S" if elapsed else "",
            "ExecutionEndDateTime": when(invocation.ended),
            "Status": invocation.status,
            "StatusDetails": invocation.details,
            "StandardOutputContent": invocation.stdout,
            "StandardOutputUrl": "",
            "StandardErrorContent": invocation.stderr,
            "StandardErrorUrl": "",
        }

    def listed_invocation(self, invocation: Invocation, details: bool) -> dict[str, Any]:
        plugin = {
            "Name": invocation.plugin,
            "Status": invocation.status,
            "StatusDetails": invocation.details,
            "ResponseCode": invocation.code,
            "ResponseStartDateTime": invocation.started,
            "ResponseFinishDateTime": invocation.ended,
            "Output": invocation.listed(),
        }
        return {
            "CommandId": self.id,
            "InstanceId": invocation.instance,
            "Comment": self.request.get("Comment", ""),
            "DocumentName": self.document,
            "RequestedDateTime": self.requested,
            "Status": invocation.status,
            "StatusDetails": invocation.details,
            "CommandPlugins": [plugin] if details else [],
        }


def now() -> datetime:
    return datetime.now(timezone.utc)


def share(amount: str, total: int) -> int:
    """A number, or so many percent of all."""
    return total * int(amount[:-1]) // 100 if amount.endswith("%") else int(amount)


def send_command(response: SimpleSystemManagerResponse) -> ActionResult:
    backend = response.ssm_backend
    request = {name: value for name in REQUEST if (value := response._get_param(name)) not in (None, "", [])}
    name = request.get("DocumentName", "")
    document = documents.find(backend, name, request.get("DocumentVersion", "$DEFAULT"))
    plugin, script = documents.step(document, documents.values(document, request.get("Parameters", {})))
    running = instances(backend)
    ids = request.get("InstanceIds", [])
    if not ids and not request.get("Targets"):
        raise SSMException("InvalidInstanceId", "Instances or targets must be named")
    if absent := [one for one in ids if one not in running]:
        account = backend.account_id
        raise SSMException("InvalidInstanceId", f"Instances {absent} not in a valid state for account {account}")
    if request.get("Targets"):
        ids = [one for one, tags in running.items() if fits(one, tags, request["Targets"])]
    command = Command(name, script, [Invocation(one, plugin) for one in ids], request)
    # The answer is AWS's: sent, and nothing known yet of what came of it.
    answer = {**command.shown(), "Status": "Pending", "StatusDetails": "Pending"}
    backend._commands.append(command)
    command.start()
    return ActionResult({"Command": answer})


def instances(backend: SimpleSystemManagerBackend) -> dict[str, dict[str, str]]:
    """Ids of the running instances, with their tags."""
    ec2 = ec2_backends[backend.account_id][backend.region_name]
    everyone = [instance for reservation in ec2.all_reservations() for instance in reservation.instances]
    return {
        instance.id: {tag["key"]: tag["value"] for tag in instance.get_tags()}
        for instance in everyone
        if instance.state == "running"
    }


def fits(instance: str, tags: dict[str, str], targets: Iterable[dict[str, Any]]) -> bool:
    for target in targets:
        key, wanted = target["Key"], target["Values"]
        if key.lower() == "instanceids":
            found = instance in wanted
        elif key.startswith("tag:"):
            found = tags.get(key.removeprefix("tag:")) in wanted
        elif key == "tag-key":
            found = not set(wanted).isdisjoint(tags)
        else:
            raise SSMException("InvalidTarget", f"targets by {key} are not known here")
        if not found:
            return False
    return True


def get_command_invocation(response: SimpleSystemManagerResponse) -> ActionResult:
    instance, plugin = response._get_param("InstanceId"), response._get_param("PluginName")
    for command in of(response.ssm_backend, response._get_param("CommandId")):
        for invocation in command.invocations:
            if invocation.instance == instance and plugin in (None, invocation.plugin):
                return ActionResult(command.shown_invocation(invocation))
    raise SSMException("InvocationDoesNotExist", "")


def list_commands(response: SimpleSystemManagerResponse) -> ActionResult:
    instance = response._get_param("InstanceId")
    commands = [
        command
        for command in of(response.ssm_backend, response._get_param("CommandId"))
        if instance is None or instance in [invocation.instance for invocation in command.invocations]
    ]
    return ActionResult({"Commands": [command.shown() for command in commands]})


def list_command_invocations(response: SimpleSystemManagerResponse) -> ActionResult:
    instance, details = response._get_param("InstanceId"), response._get_bool_param("Details", False)
    found = [
        command.listed_invocation(invocation, details)
        for command in of(response.ssm_backend, response._get_param("CommandId"))
        for invocation in command.invocations
        if instance in (None, invocation.instance)
    ]
    return ActionResult({"CommandInvocations": found})


def of(backend: SimpleSystemManagerBackend, command_id: str | None) -> list[Command]:
    return [command for command in backend._commands if command_id in (None, command.id)]


def install() -> None:
    """Puts all this in moto's place."""
    for action in (send_command, get_command_invocation, list_commands, list_command_invocations):
        setattr(SimpleSystemManagerResponse, action.__name__, action)
