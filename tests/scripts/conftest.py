"""What these tests share: the simulated AWS, and a binary to deploy. Tests of one module are imported by others."""

import sys
from pathlib import Path

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


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    file = tmp_path / "bootstrap"
    file.write_bytes(program())
    return file
