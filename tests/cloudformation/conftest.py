"""What these tests share: the simulated AWS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "local"))

from aws.fixtures import aws, server  # noqa: F401, fixtures
