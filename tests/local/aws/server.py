"""Starts the simulated AWS: in a thread of a test, or as a program.

    from aws.server import start
    aws = start()
    aws.client("cloudformation").create_stack(…)

    python -m aws.server --port 5000 [--run-command PROGRAM]

PROGRAM stands in for the SSM agent: it gets the instance's id as its argument and the script on standard input.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from threading import Thread

import requests
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from aws import admission, changes, commands, connection, corrections, imports, launches, pages, stacks
from aws.commands import RunCommand
from aws.resources import lifecycle, waiting


@dataclass
class Server:
    """A running server; its state is the process's, so there is one at a time."""

    http: BaseWSGIServer
    thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        connection.endpoint = self.url
        self.thread = Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.http.host}:{self.http.port}"

    @property
    def run_command(self) -> RunCommand:
        return commands.run_command

    @run_command.setter
    def run_command(self, run_command: RunCommand | None) -> None:
        commands.run_command = run_command or commands.nobody_there

    @property
    def wait_data(self) -> str:
        """What a wait condition made from now on gives as its Data."""
        return waiting.data

    @wait_data.setter
    def wait_data(self, data: str) -> None:
        waiting.data = data

    def client(self, service: str, region: str = "us-east-1"):
        return connection.client(service, region)

    def environment(self, region: str = "us-east-1") -> dict[str, str]:
        """What a program needs to take this server for AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": connection.KEY,
            "AWS_SECRET_ACCESS_KEY": connection.KEY,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def reset(self) -> None:
        launches.reset()
        lifecycle.policies.clear()
        requests.post(self.url + "/moto-api/reset", timeout=60, proxies={"http": ""}).raise_for_status()

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@cache
def install() -> None:
    """Once in a process: it is moto's own code that changes."""
    stacks.install()
    admission.install()
    commands.install()
    corrections.install()
    changes.install()
    imports.install()
    launches.install()
    pages.install()


def start(run_command: RunCommand | None = None, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Serves at this address, on any free port unless told which, until stopped."""
    install()
    application = DomainDispatcherApplication(create_backend_app)
    server = Server(
        make_server(host, port, application, threaded=True, request_handler=MotoRequestHandler)
    )
    server.run_command = run_command
    return server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m aws.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--run-command", metavar="PROGRAM")
    options = parser.parse_args()

    def run_command(instance: str, script: str) -> tuple[int, str, str]:
        ended = subprocess.run([options.run_command, instance], input=script, capture_output=True, text=True)
        return ended.returncode, ended.stdout, ended.stderr

    server = start(run_command if options.run_command else None, options.host, options.port)
    print(server.url, file=sys.stderr)
    server.thread.join()


if __name__ == "__main__":
    main()
