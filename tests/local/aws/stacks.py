"""A stack's life as CloudFormation leads it: resources in order, events, only what changed is updated, roll-back."""

from contextvars import ContextVar
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import OutputMap, ResourceMap
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

from aws import launches, parameters, templates
from aws.extensions import expand
from aws.resource import Resource

# The deletion policies that keep a resource.
KEPT = ("Retain", "RetainExceptOnCreate")

# Whether the operation that is asked for keeps what was made when something else fails.
keeps: ContextVar[bool] = ContextVar("keeps", default=False)

moto_load = ResourceMap.load
moto_create_resource_map = Stack._create_resource_map
moto_create_stack = CloudFormationBackend.create_stack
moto_outputs = Stack.outputs


def resource_map(stack: Stack) -> ResourceMap:
    stack.template_dict = expand(stack.template_dict, stack.parameters)
    resources = moto_create_resource_map(stack)
    resources.stack = stack
    resources.failed = set()
    resources.working = {}
    stack.keeps = keeps.get()
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
    if logical_id in resources.failed:
        raise ValidationError(message=f"{logical_id} failed before")
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
            resource.keeps = resources.stack.keeps
            resource.cf_resource_type, resource.status = kind, "CREATE_IN_PROGRESS"
            resources.working[logical_id] = resource
            resource.create(name, properties)
        else:
            known = {"LogicalId": logical_id, "StackId": resources.stack_id, "ResourceType": kind}
            resource = model.create_from_cloudformation_json(name, wanted, account_id, region_name, **known)
    except Exception as error:
        event(resources, logical_id, kind, "CREATE_FAILED", resource, reason_of(error))
        resources.failed.add(logical_id)
        if resources.stack.keeps and getattr(resource, "id", ""):
            # It is there, but not as it should be.
            resource.made_of = {**wanted, "Properties": None}
            resource.status = "CREATE_FAILED"
            resources._parsed_resources[logical_id] = resource
        raise
    finally:
        resources.working.pop(logical_id, None)
    resource.cf_resource_type = kind
    resource.logical_resource_id = logical_id
    resource.made_of, resource.status = wanted, "CREATE_COMPLETE"
    event(resources, logical_id, kind, "CREATE_COMPLETE", resource)
    return resource


def update_one(resources: ResourceMap, logical_id: str) -> None:
    resource = resources[logical_id]
    wanted = templates.resolve({"Properties": {}, **resources._resource_json_map[logical_id]}, resources)
    if wanted == resource.made_of:
        return
    resource.status = "UPDATE_COMPLETE"
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
    wanted, trouble = existing(resources), []
    for name in wanted:
        if name in before:
            update_one(resources, name)
        elif resources.stack.keeps:
            trouble += make_apart(resources, name)
        else:
            _ = resources[name]
    for name in reversed(before):
        if name not in wanted:
            delete_one(resources, name)
    if trouble:
        raise trouble[0]


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
    keep = keeps.get()

    def stack() -> Stack | None:
        return next((stack for stack in backend.stacks.values() if stack.name == name), None)

    def begun() -> Stack | None:
        return found if (found := stack()) and found.status != "CREATE_PENDING" else None

    def make() -> Stack:
        """A template or parameters that are refused make no stack; one whose resources fail is rolled back, or kept."""
        keeps.set(keep)
        try:
            return moto_create_stack(backend, name, *arguments, **options)
        except Exception as error:
            made = stack()
            if made is None or made.status not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                raise
            if made.keeps:
                create_others(made.resource_map)
                made._add_stack_event("CREATE_FAILED", resource_status_reason=reason_of(error))
                made.status = "CREATE_FAILED"
                return made
            made._add_stack_event("ROLLBACK_IN_PROGRESS", resource_status_reason=reason_of(error))
            delete(made.resource_map, ("Retain",))
            made._add_stack_event("ROLLBACK_COMPLETE")
            made.status = "ROLLBACK_COMPLETE"
            return made

    if stack():
        # As moto refuses it.
        return make()
    return launches.aside(make, begun)


def create_others(resources: ResourceMap) -> None:
    """What does not rest on something that failed."""
    for name in existing(resources):
        make_apart(resources, name)


def make_apart(resources: ResourceMap, name: str) -> list[Exception]:
    """What failed, if it did; the operation goes on."""
    try:
        _ = resources[name]
    except Exception as error:  # noqa: BLE001, its event tells
        return [error]
    return []


def update_stack(
    stack: Stack,
    template: str,
    role_arn: str | None = None,
    parameters: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    before = (stack.template, stack.parameters, stack.tags)
    after = (template, parameters or {}, stack.tags if tags is None else tags)
    if not stack.status.endswith("_FAILED") and not differs(stack, *after):
        raise ValidationError(message="No updates are to be performed.")
    stack.keeps = keeps.get()
    stack.resource_map.failed = set()
    stack.status = "UPDATE_IN_PROGRESS"
    stack._add_stack_event("UPDATE_IN_PROGRESS", resource_status_reason="User Initiated")

    def work() -> None:
        ended = "UPDATE_COMPLETE"
        try:
            become(stack, *after)
        except Exception as error:
            if stack.keeps:
                ended = "UPDATE_FAILED"
            else:
                stack.status = "UPDATE_ROLLBACK_IN_PROGRESS"
                stack._add_stack_event(stack.status, resource_status_reason=reason_of(error))
                stack.resource_map.failed = set()
                with launches.allowed():
                    become(stack, *before)
                ended = "UPDATE_ROLLBACK_COMPLETE"
        stack._add_stack_event(ended)
        stack.status = ended

    launches.aside(work, lambda: stack)


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


def there(stack: Stack) -> list[Any]:
    """Its resources, as far as they are made; moto would make the others when it is asked for them."""
    resources = stack.resource_map
    made = [one for one in resources._parsed_resources.values() if hasattr(one, "made_of")]
    return made + [one for one in list(resources.working.values()) if one.id]


def list_stack_resources(response: CloudFormationResponse) -> ActionResult:
    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    return ActionResult(
        {
            "StackResourceSummaries": [
                {
                    "ResourceStatus": one.status,
                    "LogicalResourceId": one.logical_resource_id,
                    "LastUpdatedTimestamp": stack.creation_time,
                    "PhysicalResourceId": one.physical_resource_id,
                    "ResourceType": one.cf_resource_type,
                }
                for one in there(stack)
            ]
        }
    )


def shown_outputs(stack: Stack) -> Any:
    """None before it is made."""
    return moto_outputs.fget(stack) if stack.status.endswith("_COMPLETE") else []


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
    Stack.outputs = property(shown_outputs)
    Stack.stack_resources = property(there)
    CloudFormationResponse.list_stack_resources = list_stack_resources
    CloudFormationBackend.create_stack = create_stack
    CloudFormationBackend._resolve_update_parameters = previous
