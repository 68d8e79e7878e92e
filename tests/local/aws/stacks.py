"""A stack's life as CloudFormation leads it: resources in order, events, only what changed is updated, roll-back."""

from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import OutputMap, ResourceMap

from aws import parameters, templates
from aws.extensions import expand
from aws.resource import Resource

# The deletion policies that keep a resource.
KEPT = ("Retain", "RetainExceptOnCreate")

moto_load = ResourceMap.load
moto_create_resource_map = Stack._create_resource_map
moto_create_stack = CloudFormationBackend.create_stack


def resource_map(stack: Stack) -> ResourceMap:
    stack.template_dict = expand(stack.template_dict, stack.parameters)
    resources = moto_create_resource_map(stack)
    resources.stack = stack
    return resources


def load(resources: ResourceMap) -> None:
    # A stack that a change set will create has no template yet.
    if not resources._template:
        return
    for definition in resources._resource_json_map.values():
        templates.resource_class(definition["Type"])
    parameters.check(resources)
    moto_load(resources)
    parameters.check_rules(resources)


def existing(resources: ResourceMap) -> list[str]:
    """Logical ids of the resources whose condition holds, each after those that it refers to."""
    definitions = resources._resource_json_map
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in definitions and name not in order and templates.holds(definitions[name], resources):
            for other in sorted(templates.references(definitions[name]) - {name}):
                visit(other)
            order[name] = None

    for name in definitions:
        visit(name)
    return list(order)


def tags_of(resources: ResourceMap, logical_id: str) -> dict[str, str]:
    return {
        **resources.stack.tags,
        "aws:cloudformation:stack-name": resources["AWS::StackName"],
        "aws:cloudformation:stack-id": resources.stack_id,
        "aws:cloudformation:logical-id": logical_id,
    }


def create(
    logical_id: str, definition: dict[str, Any], resources: ResourceMap, account_id: str, region_name: str
) -> Any:
    """One resource, or None where its condition is false."""
    if not templates.holds(definition, resources):
        return None
    kind = definition["Type"]
    model = templates.resource_class(kind)
    wanted = templates.resolve({"Properties": {}, **definition}, resources)
    properties = wanted["Properties"]
    name = properties.get(templates.name_property(kind) or "") or parsing.generate_resource_name(
        kind, resources["AWS::StackName"], logical_id
    )
    event(resources, logical_id, kind, "CREATE_IN_PROGRESS")
    resource = None
    try:
        if issubclass(model, Resource):
            resource = model(region_name, tags_of(resources, logical_id))
            resource.logical_resource_id = logical_id
            resource.update_policy = wanted.get("UpdatePolicy", {})
            resource.create(name, properties)
        else:
            known = {"LogicalId": logical_id, "StackId": resources.stack_id, "ResourceType": kind}
            resource = model.create_from_cloudformation_json(name, wanted, account_id, region_name, **known)
    except Exception as error:
        event(resources, logical_id, kind, "CREATE_FAILED", resource, reason_of(error))
        raise
    resource.cf_resource_type = kind
    resource.logical_resource_id = logical_id
    resource.made_of = wanted
    event(resources, logical_id, kind, "CREATE_COMPLETE", resource)
    return resource


def update_one(resources: ResourceMap, logical_id: str) -> None:
    resource = resources[logical_id]
    wanted = templates.resolve({"Properties": {}, **resources._resource_json_map[logical_id]}, resources)
    if wanted == resource.made_of:
        return
    kind = wanted["Type"]
    event(resources, logical_id, kind, "UPDATE_IN_PROGRESS", resource)
    try:
        if isinstance(resource, Resource):
            resource.stack_tags = tags_of(resources, logical_id)
            resource.update_policy = wanted.get("UpdatePolicy", {})
            if wanted["Properties"] != resource.made_of["Properties"]:
                resource.update(wanted["Properties"])
        else:
            resource = parsing.parse_and_update_resource(
                logical_id, wanted, resources, resources._account_id, resources._region_name
            )
            if resource is None:
                parameters.refuse(f"the simulated CloudFormation cannot update a {kind}")
            resources._parsed_resources[logical_id] = resource
    except Exception as error:
        event(resources, logical_id, kind, "UPDATE_FAILED", reason=reason_of(error))
        raise
    resource.made_of = wanted
    event(resources, logical_id, kind, "UPDATE_COMPLETE", resource)


def update(resources: ResourceMap, template: dict[str, Any], given: dict[str, Any] | None = None) -> None:
    """Creates, updates and deletes what differs from the template as it now is."""
    before = [name for name in existing(resources) if name in resources._parsed_resources]
    for name in resources.resolved_parameters:
        del resources._parsed_resources[name]
    resources._template = template
    resources._resource_json_map = template["Resources"]
    resources.input_parameters = given or {}
    resources.resolved_parameters = {}
    resources.load()
    wanted = existing(resources)
    for name in wanted:
        if name in before:
            update_one(resources, name)
        else:
            _ = resources[name]
    for name in reversed(before):
        if name not in wanted:
            delete_one(resources, name)


def delete_one(resources: ResourceMap, logical_id: str, kept: tuple[str, ...] = KEPT) -> None:
    resource = resources._parsed_resources.pop(logical_id)
    definition = resource.made_of
    kind = definition["Type"]
    if definition.get("DeletionPolicy") in kept:
        event(resources, logical_id, kind, "DELETE_SKIPPED", resource)
        return
    event(resources, logical_id, kind, "DELETE_IN_PROGRESS", resource)
    try:
        if isinstance(resource, Resource):
            resource.remove()
        else:
            resources._delete_resource(resource, definition)
    except Exception as error:
        event(resources, logical_id, kind, "DELETE_FAILED", resource, reason_of(error))
        raise
    event(resources, logical_id, kind, "DELETE_COMPLETE", resource)


def delete(resources: ResourceMap, kept: tuple[str, ...] = KEPT) -> None:
    for name in reversed(existing(resources)):
        if name in resources._parsed_resources:
            delete_one(resources, name, kept)
    # Or moto would make them again when it is asked about the stack.
    resources._resource_json_map = {}
    resources.stack.output_map = OutputMap(resources, {}, resources.stack_id)


def create_stack(backend: CloudFormationBackend, name: str, *arguments: Any, **options: Any) -> Stack:
    """A template or parameters that are refused make no stack; one whose resources fail is rolled back."""
    try:
        return moto_create_stack(backend, name, *arguments, **options)
    except Exception as error:
        stack = next((stack for stack in backend.stacks.values() if stack.name == name), None)
        if stack is None or stack.status not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            raise
        stack._add_stack_event("ROLLBACK_IN_PROGRESS", resource_status_reason=reason_of(error))
        delete(stack.resource_map, ("Retain",))
        stack._add_stack_event("ROLLBACK_COMPLETE")
        stack.status = "ROLLBACK_COMPLETE"
        return stack


def update_stack(
    stack: Stack,
    template: str,
    role_arn: str | None = None,
    parameters: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    before = (stack.template, stack.parameters, stack.tags)
    after = (template, parameters or {}, stack.tags if tags is None else tags)
    if not differs(stack, *after):
        raise ValidationError(message="No updates are to be performed.")
    stack._add_stack_event("UPDATE_IN_PROGRESS", resource_status_reason="User Initiated")
    try:
        become(stack, *after)
        stack.status = "UPDATE_COMPLETE"
    except Exception as error:
        stack._add_stack_event("UPDATE_ROLLBACK_IN_PROGRESS", resource_status_reason=reason_of(error))
        become(stack, *before)
        stack.status = "UPDATE_ROLLBACK_COMPLETE"
    stack._add_stack_event(stack.status)


def differs(stack: Stack, template: str, given: dict[str, Any], tags: dict[str, str]) -> bool:
    """Whether there is something to update; a template or parameters that are refused change nothing."""
    parsed = expand(templates.parse(template), given)
    parsing.ResourceMap(
        stack.stack_id,
        stack.name,
        given,
        tags,
        stack.region_name,
        stack.account_id,
        parsed,
        stack.cross_stack_resources,
    ).load()
    now = (stack.template_dict, defaults(stack.template_dict) | stack.parameters, stack.tags)
    return (parsed, defaults(parsed) | given, tags) != now


def become(stack: Stack, template: str, given: dict[str, Any], tags: dict[str, str]) -> None:
    stack.template = template
    stack.template_dict = expand(templates.parse(template), given)
    stack.tags = tags
    stack.parameters = given
    stack.resource_map.update(stack.template_dict, given)
    stack.output_map = stack._create_output_map()
    stack.description = stack.template_dict.get("Description")
    backend = cloudformation_backends[stack.account_id][stack.region_name]
    backend.exports.update({export.name: export for export in stack.exports})


def apply(change_set: ChangeSet) -> None:
    stack = change_set.stack
    become(stack, change_set.template, change_set.parameters, change_set.tags or stack.tags)


def previous(backend: Any, instance: Any, incoming_params: list[dict[str, Any]]) -> dict[str, Any]:
    """Parameters of an update, with UsePreviousValue also for those that were left to their default."""
    known = defaults(instance.template_dict) | instance.parameters
    return {
        one["ParameterKey"]: known[one["ParameterKey"]] if one.get("UsePreviousValue") else one["ParameterValue"]
        for one in incoming_params
    }


def shown_parameters(stack: Stack) -> list[dict[str, Any]]:
    """As they were given, with what must not be echoed hidden."""
    declared = stack.template_dict.get("Parameters", {})
    return [
        {
            "ParameterKey": name,
            "ParameterValue": "****" if declared[name].get("NoEcho") else templates.string(value),
        }
        for name, value in (defaults(stack.template_dict) | stack.parameters).items()
    ]


def defaults(template: dict[str, Any]) -> dict[str, Any]:
    declared = template.get("Parameters", {})
    return {name: one["Default"] for name, one in declared.items() if "Default" in one}


def reason_of(error: Exception) -> str:
    return getattr(error, "message", None) or str(error)


def event(
    resources: ResourceMap, logical_id: str, kind: str, status: str, resource: Any = None, reason: str | None = None
) -> None:
    stack = resources.stack
    stack.events.append(
        Event(
            stack_id=stack.stack_id,
            stack_name=stack.name,
            logical_resource_id=logical_id,
            physical_resource_id=getattr(resource, "physical_resource_id", ""),
            resource_type=kind,
            resource_status=status,
            resource_status_reason=reason,
            resource_properties=None,
        )
    )


def install() -> None:
    """Puts all this in moto's place."""
    parsing.clean_json = templates.resolve
    parsing.resource_class_from_type = templates.resource_class
    parsing.parse_and_create_resource = create
    ResourceMap.load = load
    ResourceMap.load_conditions = templates.load_conditions
    ResourceMap.parse_ssm_parameter = parameters.from_store
    ResourceMap.resources = property(existing)
    ResourceMap.__len__ = lambda resources: len(existing(resources))
    ResourceMap.update = update
    ResourceMap.delete = delete
    OutputMap.exports = property(templates.exports)
    Stack.parse_template = staticmethod(templates.parse)
    Stack._create_resource_map = resource_map
    Stack.parameter_list = property(shown_parameters)
    Stack.update = update_stack
    ChangeSet._parse_template = lambda change_set: setattr(
        change_set, "template_dict", templates.parse(change_set.template)
    )
    ChangeSet.apply = apply
    CloudFormationBackend.create_stack = create_stack
    CloudFormationBackend._resolve_update_parameters = previous
