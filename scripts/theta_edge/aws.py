"""Calls AWS, in process; with --dry-run what would change something is printed as a call of the AWS CLI instead."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

from theta_edge.command import Common, Failed
from theta_edge.environment import need_boto3
from theta_edge.terminal import one_line

# Services whose name in the AWS CLI is another.
CLI_NAMES = {"s3": "s3api"}


class Refused(Exception):
    """AWS said no, or could not be asked; in its own words."""

    def __init__(self, error: Exception) -> None:
        super().__init__(one_line(str(error)))
        response = getattr(error, "response", {})
        self.code: str = response.get("Error", {}).get("Code", "")
        self.status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


class Aws:
    """One account and region, as the caller's credentials see them."""

    def __init__(self, common: Common) -> None:
        need_boto3()
        import boto3
        import botocore.config
        import botocore.exceptions

        self._errors = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
        self._config = botocore.config.Config(retries={"mode": "standard", "max_attempts": 5})
        self._s3 = botocore.config.Config(signature_version="s3v4")
        self._clients: dict[str, Any] = {}
        self.dry_run, self.profile = common.dry_run, common.profile
        # The AWS CLI knows AWS_REGION; boto3 does not.
        region = common.region or os.environ.get("AWS_REGION") or None
        try:
            self._session = boto3.Session(profile_name=common.profile or None, region_name=region)
            self.region: str = self._session.region_name or ""
            if not self.region:
                raise Failed("no region is set: use --region REGION, or set AWS_REGION")
            caller = self.read("sts", "get_caller_identity")
            self.account: str = caller["Account"]
            self.partition: str = caller["Arn"].split(":")[1]
        except (Refused, *self._errors) as error:
            raise Failed(
                f"AWS does not know who is calling: {error}\n"
                "Sign in with 'aws configure', 'aws sso login' or --profile, and try 'aws sts get-caller-identity'"
            ) from error

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            # What S3 gets signed in the older way, it refuses for newer buckets.
            config = self._config.merge(self._s3) if service == "s3" else self._config
            self._clients[service] = self._session.client(service, region_name=self.region, config=config)
        return self._clients[service]

    def read(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """A call that changes nothing."""
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**parameters)
            return answer
        except self._errors as error:
            raise Refused(error) from error

    def address_of(self, bucket: str, key: str) -> str:
        """Where whoever knows it can fetch the object for an hour."""
        which = {"Bucket": bucket, "Key": key}
        try:
            return str(self._client("s3").generate_presigned_url("get_object", Params=which, ExpiresIn=3600))
        except self._errors as error:
            raise Refused(error) from error

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """The entries of all pages of an answer, as far as anyone wants them."""
        try:
            for page in self._client(service).get_paginator(operation).paginate(**parameters):
                yield from page.get(key, [])
        except self._errors as error:
            raise Refused(error) from error

    def change(self, service: str, operation: str, shown: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
        """A call that changes something. `shown` is printed in place of parameters that are secret or long."""
        if self.dry_run:
            words = ["aws", *(["--profile", self.profile] if self.profile else []), "--region", self.region]
            words += [CLI_NAMES.get(service, service), operation.replace("_", "-")]
            print("would run:", shlex.join(words + as_words({**parameters, **(shown or {})})), flush=True)
            return {}
        return self.read(service, operation, **parameters)


def as_words(parameters: dict[str, Any]) -> list[str]:
    """A call's parameters as the AWS CLI takes them."""
    from botocore import xform_name

    words = []
    for name, value in parameters.items():
        if isinstance(value, bool):
            words.append(("--" if value else "--no-") + xform_name(name, "-"))
            continue
        words.append("--" + xform_name(name, "-"))
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            words += value
        else:
            words.append(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
    return words


def pause() -> None:
    """Between two questions."""
    time.sleep(float(os.environ.get("EDGE_POLL_SECONDS", "5")))


def wait_until(seconds: float, true: Callable[[], bool]) -> bool:
    """Repeats the question until the answer is yes; False after that many seconds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            return False
        pause()
    return True
