"""Mistakes of moto in services that CloudFormation calls for us, and what it does too often."""

from functools import cache

from moto import backends
from moto.core.responses import ActionResult
from moto.ec2.models import amis
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses.settings import Settings
from moto.ec2.utils import parse_user_data
from moto.iam.access_control import PermissionResult
from moto.kms import models as kms
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.servicequotas.models import ServiceQuotasBackend
from moto.utilities.utils import load_resource

moto_create_version = LaunchTemplate.create_version
moto_get_checksum = S3Response._get_checksum


def create_version(template: LaunchTemplate, data: dict, description: str) -> LaunchTemplateVersion:
    """Only the first version's user-data is read as what it is."""
    if isinstance(data.get("UserData"), str):
        data["UserData"] = parse_user_data(data["UserData"])
    return moto_create_version(template, data, description)


def get_checksum(response: S3Response, headers: dict) -> tuple[str, str | None]:
    """A SHA-256 that the caller has given stays with the object."""
    given = response.headers.get("x-amz-checksum-sha256")
    return ("SHA256", given) if given else moto_get_checksum(response, headers)


def default_key(response: Settings) -> ActionResult:
    return ActionResult({"KmsKeyId": "alias/aws/ebs"})


def images(path: str) -> list[dict]:
    """Without the 1,200 of ECS: each has a snapshot, and whoever asks for a snapshot has moto look through them all."""
    return [] if "/ecs/" in path else load_resource(path)


def quota(backend: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict:
    """moto knows those of VPC only; this account may run some machines of each family."""
    return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": 256.0}


def install() -> None:
    modules = list(backends.list_of_moto_modules())
    # For each request, from the disk.
    backends.list_of_moto_modules = lambda: modules
    amis.load_resource = images
    # Nobody signs with a key of KMS here.
    kms.generate_private_key = cache(kms.generate_private_key)
    ServiceQuotasBackend.get_service_quota = quota
    LaunchTemplate.create_version = create_version
    S3Response._get_checksum = get_checksum
    # It has no such call.
    Settings.get_ebs_default_kms_key_id = default_key
    # A bucket's policy is taken without its conditions, so that one which refuses plain HTTP would refuse everybody.
    FakeBucket.get_permission = lambda bucket, action, resource: PermissionResult.NEUTRAL
