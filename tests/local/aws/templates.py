"""What a template means where moto differs from CloudFormation: short forms, Fn::Sub, conditions, what is absent."""

import re
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

import yaml
from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError

from aws import connection
from aws.resources import TYPES

# What moto's own reading of the rest is left to.
moto_clean_json = parsing.clean_json


# libyaml's parser: the one in Python took a sixth of the time of tests that make stacks.
class Loader(yaml.CSafeLoader):
    """Reads CloudFormation's short forms: !Ref x becomes {"Ref": x}, !Sub x {"Fn::Sub": x} …"""


def short_form(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short_form)
# "2012-10-17" is a policy's version, whether or not its author put it in quotes.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str) -> dict[str, Any]:
    # Made into stacks again and again; moto changes what it is given.
    return deepcopy(parse_once(text))


@lru_cache(maxsize=16)
def parse_once(text: str) -> dict[str, Any]:
    try:
        return yaml.load(text, Loader)  # noqa: S506, a safe one
    except yaml.YAMLError as error:
        raise ValidationError(message=f"Template format error: YAML not well-formed. {error}") from None


def resource_class(kind: str) -> type:
    if kind in TYPES:
        return TYPES[kind]
    model = parsing.CustomModel if kind.startswith("Custom::") else parsing.get_model_map().get(kind)
    if not model:
        raise ValidationError(message=f"Template format error: Unrecognized resource types: [{kind}]")
    return model


def name_property(kind: str) -> str | None:
    return TYPES[kind].name_property if kind in TYPES else parsing.get_name_type_map().get(kind)


def resolve(node: Any, resources: parsing.ResourceMap) -> Any:
    """A piece of a template with its functions replaced by their values."""
    if isinstance(node, list):
        values = [resolve(item, resources) for item in node]
        # AWS::NoValue
        return [value for value in values if value is not None]
    if isinstance(node, dict):
        if "Fn::Sub" in node:
            return substitute(node["Fn::Sub"], resources)
        if "Fn::Length" in node:
            return len(resolve(node["Fn::Length"], resources))
        if "Fn::ValueOfAll" in node:
            return values_of_all(*node["Fn::ValueOfAll"], resources)
        if isinstance(name := node.get("Ref"), str) and name != "AWS::NoValue":
            must_exist(name, resources)
        if isinstance(attribute := node.get("Fn::GetAtt"), list):
            must_exist(attribute[0], resources)
    return moto_clean_json(node, resources)


def must_exist(name: str, resources: parsing.ResourceMap) -> None:
    try:
        found = resources[name]
    except KeyError:
        found = None
    if found is None:
        raise ValidationError(
            message=f"Template format error: Unresolved resource dependencies [{name}] in the template"
        )


def substitute(argument: str | list[Any], resources: parsing.ResourceMap) -> str:
    text, values = argument if isinstance(argument, list) else (argument, {})

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name.startswith("!"):
            return "${" + name[1:] + "}"
        name = name.strip()
        if name in values:
            return str(resolve(values[name], resources))
        function = {"Fn::GetAtt": name.split(".", 1)} if "." in name else {"Ref": name}
        return str(resolve(function, resources))

    return re.sub(r"\$\{([^}]*)\}", value, text)


def references(node: Any) -> set[str]:
    """Every name that a piece of a template refers to."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    found = set().union(*map(references, node.values()))
    if isinstance(name := node.get("Ref"), str):
        found.add(name)
    if isinstance(attribute := node.get("Fn::GetAtt"), list):
        found.add(attribute[0])
    if "Fn::Sub" in node:
        text = node["Fn::Sub"][0] if isinstance(node["Fn::Sub"], list) else node["Fn::Sub"]
        found.update(name.split(".")[0].strip() for name in re.findall(r"\$\{([^!}][^}]*)\}", text))
    depends = node.get("DependsOn", [])
    return found.union([depends] if isinstance(depends, str) else depends)


def exports(outputs: parsing.OutputMap) -> list[parsing.Export]:
    """Of the outputs that exist."""
    resources = outputs._resource_map
    return [
        parsing.Export(
            outputs._stack_id, resolve(output["Export"]["Name"], resources), resolve(output["Value"], resources)
        )
        for output in (outputs._output_json_map or {}).values()
        if output.get("Export") and holds(output, resources)
    ]


def truth(node: Any, resources: parsing.ResourceMap) -> bool:
    """A condition, or an assertion of a rule."""
    if isinstance(node, bool):
        return node
    ((function, arguments),) = node.items()
    match function:
        case "Condition":
            return resources.lazy_condition_map[arguments]
        case "Fn::Equals":
            one, other = (string(resolve(argument, resources)) for argument in arguments)
            return one == other
        case "Fn::Not":
            return not truth(arguments[0], resources)
        case "Fn::And":
            return all(truth(one, resources) for one in arguments)
        case "Fn::Or":
            return any(truth(one, resources) for one in arguments)
        case "Fn::Contains":
            several, one = (resolve(argument, resources) for argument in arguments)
            return string(one) in map(string, several)
        case "Fn::EachMemberEquals":
            several, one = (resolve(argument, resources) for argument in arguments)
            return all(string(each) == string(one) for each in several)
    raise ValidationError(message=f"the simulated CloudFormation does not know {function} in a condition")


def load_conditions(resources: parsing.ResourceMap) -> None:
    """Each is worked out when it is asked for: conditions refer to each other."""
    conditions = resources._template.get("Conditions", {})
    resources.lazy_condition_map = parsing.LazyDict(
        {name: partial(truth, condition, resources) for name, condition in conditions.items()}
    )


# How EC2 is asked about what a parameter of such a type names.
NAMED = {
    "AWS::EC2::Subnet::Id": ("DescribeSubnets", "SubnetIds", "Subnets"),
    "AWS::EC2::VPC::Id": ("DescribeVpcs", "VpcIds", "Vpcs"),
}


def named(kind: str, one: str, region: str) -> dict[str, Any]:
    operation, argument, answer = NAMED[kind]
    return connection.call("ec2", region, operation, **{argument: [one]})[answer][0]


def values_of_all(kind: str, attribute: str, resources: parsing.ResourceMap) -> list[str]:
    """An attribute of everything that parameters of this type name, as rules may ask for it."""
    declared = resources._template["Parameters"]
    values = [resources.resolved_parameters[name] for name, one in declared.items() if one["Type"] == kind]
    return [named(kind, value, resources._region_name)[attribute] for value in values]


def string(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def holds(part: dict[str, Any], resources: parsing.ResourceMap) -> bool:
    """Whether the condition of a resource or an output is true."""
    return "Condition" not in part or resources.lazy_condition_map[part["Condition"]]
