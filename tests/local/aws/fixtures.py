"""The simulated AWS as pytest's fixtures: one server, empty before each test."""

import logging
from collections.abc import Iterator

import pytest

from aws.server import Server, start


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # A line for each request would hide why a test failed.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = start()
    yield server
    server.stop()


@pytest.fixture
def aws(server: Server) -> Server:
    server.reset()
    server.run_command = None
    return server
