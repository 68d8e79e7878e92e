"""Change sets for updates, which say of each resource whether it stays, and termination protection; moto knows the one by
half and the other not at all."""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

from aws import stacks, templates
from aws.extensions import expand

moto_delete_stack = CloudFormationBackend.delete_stack


@dataclass
class ChangeSet:
    stack: Stack
    name: str
    template: str
    given: dict[str, Any]
    changes: list[dict[str, Any]]
    id: str = field(default_factory=lambda: f"arn:aws:cloudformation:us-east-1:123456789012:changeSet/{uuid4()}")


# Of one backend: it goes when that is emptied.
def of(response: CloudFormationResponse) -> dict[tuple[str, str], ChangeSet]:
    return response.cloudformation_backend.change_sets


def key(response: CloudFormationResponse) -> tuple[str, str]:
    return response._get_param("StackName"), response._get_param("ChangeSetName")


def create_change_set(response: CloudFormationResponse) -> ActionResult:
    backend, (stack_name, name) = response.cloudformation_backend, key(response)
    stack = backend.get_stack(stack_name)
    url, body = response._get_param("TemplateURL"), response._get_param("TemplateBody")
    text = body or (url and response._get_stack_from_s3_url(url)) or stack.template
    given = stacks.previous(backend, stack, response._get_param("Parameters", []))
    made = ChangeSet(stack, name, text, given, changes(stack, text, given))
    of(response)[stack_name, name] = made
    return ActionResult({"Id": made.id, "StackId": stack.stack_id})


def changes(stack: Stack, text: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    template = expand(templates.parse(text), given)
    now = stack.resource_map
    then = parsing.ResourceMap(
        stack.stack_id,
        stack.name,
        given,
        stack.tags,
        stack.region_name,
        stack.account_id,
        template,
        stack.cross_stack_resources,
    )
    then.load()
    made = {name: one for name, one in now._parsed_resources.items() if hasattr(one, "made_of")}
    # What refers to a resource that is there refers to the same one then.
    then._parsed_resources.update(made)
    wanted = stacks.existing(then)
    found = []
    for name, one in made.items():
        entry = {
            "LogicalResourceId": name,
            "PhysicalResourceId": one.physical_resource_id,
            "ResourceType": one.made_of["Type"],
        }
        if name not in wanted:
            found.append({**entry, "Action": "Remove"})
            continue
        properties, before = template["Resources"][name].get("Properties", {}), one.made_of["Properties"]
        changed = [key for key in {*properties, *before} if value_of(properties, key, then) != before.get(key)]
        if changed:
            fixed = set(getattr(one, "fixed", ())).intersection(changed)
            details = [{"Target": {"Attribute": "Properties", "Name": key}} for key in sorted(fixed or changed)]
            found.append({**entry, "Action": "Modify", "Replacement": "True" if fixed else "False", "Details": details})
    for name in wanted:
        if name not in made:
            kind = template["Resources"][name]["Type"]
            found.append({"LogicalResourceId": name, "ResourceType": kind, "Action": "Add"})
    return found


def value_of(properties: dict[str, Any], key: str, resources: parsing.ResourceMap) -> Any:
    """None where it is not given, or where it rests on something that is still to be made."""
    needed = templates.references(properties.get(key)) & set(resources._resource_json_map)
    if any(name not in resources._parsed_resources for name in needed):
        return None
    return templates.resolve(properties.get(key), resources) if key in properties else None


def describe_change_set(response: CloudFormationResponse) -> ActionResult:
    found = look_up(response)
    nothing = not stacks.differs(found.stack, found.template, found.given, found.stack.tags)
    return ActionResult(
        {
            "ChangeSetName": found.name,
            "ChangeSetId": found.id,
            "StackId": found.stack.stack_id,
            "StackName": found.stack.name,
            "Status": "FAILED" if nothing else "CREATE_COMPLETE",
            "StatusReason": "The submitted information didn't contain changes. Submit different information to create a "
            "change set."
            if nothing
            else None,
            "ExecutionStatus": "UNAVAILABLE" if nothing else "AVAILABLE",
            "Changes": found.changes,
            # As moto keeps them.
            "Parameters": found.given,
            "Tags": found.stack.tags,
        }
    )


def look_up(response: CloudFormationResponse) -> ChangeSet:
    if key(response) not in of(response):
        raise ValidationError(message=f"ChangeSet [{key(response)[1]}] does not exist")
    return of(response)[key(response)]


def execute_change_set(response: CloudFormationResponse) -> ActionResult:
    found = look_up(response)
    stacks.keeps.set(bool(response._get_bool_param("DisableRollback")))
    found.stack.update(found.template, None, found.given, None)
    del of(response)[key(response)]
    return ActionResult({})


def delete_change_set(response: CloudFormationResponse) -> ActionResult:
    of(response).pop(key(response), None)
    return ActionResult({})


def update_termination_protection(response: CloudFormationResponse) -> ActionResult:
    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    stack.enable_termination_protection = bool(response._get_bool_param("EnableTerminationProtection"))
    return ActionResult({"StackId": stack.stack_id})


def delete_stack(backend: CloudFormationBackend, name: str) -> None:
    for stack in backend.stacks.values():
        if name in (stack.name, stack.stack_id) and stack.enable_termination_protection:
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
    moto_delete_stack(backend, name)


def install() -> None:
    for action in (
        create_change_set,
        describe_change_set,
        execute_change_set,
        delete_change_set,
        update_termination_protection,
    ):
        setattr(CloudFormationResponse, action.__name__, action)
    CloudFormationBackend.delete_stack = delete_stack
