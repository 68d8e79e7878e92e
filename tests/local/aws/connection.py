"""How this package itself calls the AWS that it simulates: CloudFormation makes resources by calling their services."""

from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.model import ListShape, MapShape, Shape, StructureShape

# Of nobody: signatures are not checked.
KEY = "local"
endpoint = ""


@lru_cache
def _client(service: str, region: str, url: str):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        # A slow machine is no reason to make a resource twice.
        config=Config(retries={"total_max_attempts": 1}, read_timeout=300, proxies={}, s3={"addressing_style": "path"}),
    )


def client(service: str, region: str):
    return _client(service, region, endpoint)


def call(service: str, region: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """Calls an operation by its API name. None is left out; strings become the numbers that the API takes."""
    to = client(service, region)
    shape = to.meta.service_model.operation_model(operation).input_shape
    given = {name: value for name, value in parameters.items() if value is not None}
    method = next(method for method, name in to.meta.method_to_api_mapping.items() if name == operation)
    return getattr(to, method)(**fit(given, shape))


def fit(value: Any, shape: Shape) -> Any:
    """Templates hold numbers as strings and strings as numbers; the API is strict. Unknown names stay, to be refused."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = shape.members
        return {name: fit(item, members[name]) if name in members else item for name, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [fit(item, shape.member) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {name: fit(item, shape.value) for name, item in value.items()}
    match shape.type_name:
        case "integer" | "long" if isinstance(value, str):
            return int(value)
        case "float" | "double" if isinstance(value, str):
            return float(value)
        case "boolean" if value in ("true", "false"):
            return value == "true"
        case "string" if isinstance(value, bool):
            return str(value).lower()
        case "string" if isinstance(value, int | float):
            return str(value)
    return value
