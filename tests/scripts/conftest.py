"""What these tests share: the simulated AWS, and a binary to deploy. Tests of one module are imported by others."""

import sys
from pathlib import Path

import botocore.client
import botocore.loaders
import botocore.session
import pytest

REPO = Path(__file__).parents[2]
for place in ("tests/local", "tests/cloudformation", "scripts"):
    sys.path.insert(0, str(REPO / place))

from aws.fixtures import aws, server  # noqa: E402, F401, fixtures
from operate import program  # noqa: E402

# Every command makes clients of its own; what they read of botocore's files is read once.
loader = botocore.loaders.create_loader()
botocore.session.create_loader = lambda *_: loader

# And the class of a service's clients is made once.
make_class = botocore.client.ClientCreator._create_client_class
classes: dict[str, type] = {}


def client_class(creator: botocore.client.ClientCreator, service: str, model: botocore.model.ServiceModel) -> type:
    if service not in classes:
        classes[service] = make_class(creator, service, model)
    return classes[service]


botocore.client.ClientCreator._create_client_class = client_class


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    file = tmp_path / "bootstrap"
    file.write_bytes(program())
    return file
