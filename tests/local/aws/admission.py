"""What CloudFormation refuses about a request itself: templates that are too large, capabilities nobody agreed to."""

from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.cloudformation.responses import CloudFormationResponse

from aws import stacks, templates

# Of TemplateBody; from a bucket it may have a megabyte.
BODY = 51_200
# Properties that give IAM's resources a name of their own.
NAMES = {"RoleName", "UserName", "GroupName", "ManagedPolicyName", "InstanceProfileName"}


class InsufficientCapabilities(CloudFormationError):
    code = "InsufficientCapabilitiesException"


def checked(action: Callable[[CloudFormationResponse], Any]) -> Callable[[CloudFormationResponse], Any]:
    def check(response: CloudFormationResponse) -> Any:
        body, url = response._get_param("TemplateBody"), response._get_param("TemplateURL")
        if body and len(body.encode()) > BODY:
            raise ValidationError(
                message="1 validation error detected: Value at 'templateBody' failed to satisfy constraint: "
                f"Member must have length less than or equal to {BODY}"
            )
        text = body or (url and response._get_stack_from_s3_url(url))
        agreed = set(response._get_param("Capabilities", []))
        if text and (missing := needed(templates.parse(text)) - implied(agreed)):
            raise InsufficientCapabilities(f"Requires capabilities : [{', '.join(sorted(missing))}]")
        keep = response._get_param("OnFailure") == "DO_NOTHING" or response._get_bool_param("DisableRollback")
        stacks.keeps.set(bool(keep))
        return action(response)

    check.__name__ = action.__name__
    return check


def needed(template: dict[str, Any]) -> set[str]:
    capabilities = set()
    # What loops stand for is not IAM's in any template of ours.
    for resource in template["Resources"].values():
        kind = resource["Type"] if isinstance(resource, dict) else ""
        if kind.startswith("AWS::IAM::"):
            named = NAMES.intersection(resource.get("Properties", {}))
            capabilities.add("CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM")
    if template.get("Transform"):
        capabilities.add("CAPABILITY_AUTO_EXPAND")
    return capabilities


def implied(agreed: set[str]) -> set[str]:
    return agreed | ({"CAPABILITY_IAM"} if "CAPABILITY_NAMED_IAM" in agreed else set())


def install() -> None:
    for action in ("create_stack", "update_stack"):
        setattr(CloudFormationResponse, action, checked(getattr(CloudFormationResponse, action)))
