"""Mistakes of moto in services that CloudFormation calls for us."""

from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.utils import parse_user_data
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

moto_create_version = LaunchTemplate.create_version


def create_version(template: LaunchTemplate, data: dict, description: str) -> LaunchTemplateVersion:
    """Only the first version's user-data is read as what it is."""
    if isinstance(data.get("UserData"), str):
        data["UserData"] = parse_user_data(data["UserData"])
    return moto_create_version(template, data, description)


def install() -> None:
    LaunchTemplate.create_version = create_version
    # A bucket's policy is taken without its conditions, so that one which refuses plain HTTP would refuse everybody.
    FakeBucket.get_permission = lambda bucket, action, resource: PermissionResult.NEUTRAL
