"""A stack's parameters against what the template allows: their constraints and its Rules."""

import re
from typing import Any

from botocore.exceptions import ClientError
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.parsing import ResourceMap
from moto.ssm import ssm_backends

from aws.templates import NAMED, named, string, truth


def check(resources: ResourceMap) -> None:
    """With CloudFormation's own words where they are known."""
    declared = resources._template.get("Parameters", {})
    given = resources.input_parameters
    if unknown := [name for name in given if name not in declared]:
        refuse(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    if missing := [name for name in declared if name not in given and "Default" not in declared[name]]:
        refuse(f"Parameters: [{', '.join(missing)}] must have values")
    for name, parameter in declared.items():
        value = str(given.get(name, parameter.get("Default")))
        check_one(name, parameter, value)
        if parameter.get("Type") in NAMED:
            check_existence(name, parameter["Type"], value, resources._region_name)


def check_existence(name: str, kind: str, value: str, region: str) -> None:
    try:
        named(kind, value, region)
    except ClientError:
        refuse(f"Parameter validation failed: parameter value {value} for parameter name {name} does not exist")


def check_one(name: str, parameter: dict[str, Any], value: str) -> None:
    def wrong(what: str) -> None:
        refuse(f"Parameter '{name}' " + parameter.get("ConstraintDescription", what))

    kind = parameter.get("Type", "String")
    items = value.split(",") if kind == "CommaDelimitedList" or kind.startswith("List<") else [value]
    allowed = parameter.get("AllowedValues")
    if allowed and not set(items) <= {string(one) for one in allowed}:
        wrong(f"must be one of AllowedValues: {[string(one) for one in allowed]}")
    pattern = parameter.get("AllowedPattern")
    if pattern and not all(re.fullmatch(pattern, item) for item in items):
        wrong(f"must match pattern {pattern}")
    if len(value) < int(parameter.get("MinLength", 0)):
        wrong(f"must contain at least {parameter['MinLength']} characters")
    if len(value) > int(parameter.get("MaxLength", len(value))):
        wrong(f"must contain at most {parameter['MaxLength']} characters")
    if kind == "Number":
        try:
            number = float(value)
        except ValueError:
            return wrong("must be a number")
        if number < float(parameter.get("MinValue", number)):
            wrong(f"must be a number not less than {parameter['MinValue']}")
        if number > float(parameter.get("MaxValue", number)):
            wrong(f"must be a number not greater than {parameter['MaxValue']}")


def check_rules(resources: ResourceMap) -> None:
    for name, rule in resources._template.get("Rules", {}).items():
        if not truth(rule.get("RuleCondition", True), resources):
            continue
        for assertion in rule["Assertions"]:
            if not truth(assertion["Assert"], resources):
                refuse(f"Template failed validation: Rule {name}: {assertion.get('AssertDescription', '')}")


def from_store(resources: ResourceMap, name: str, kind: str) -> Any:
    """The value of a parameter that names one of Systems Manager's."""
    found = ssm_backends[resources._account_id][resources._region_name].get_parameter(name)
    if found is None:
        refuse(f"Unable to fetch parameters [{name}] from parameter store for this account.")
    return found.value.split(",") if "List" in kind else found.value


def refuse(message: str) -> Any:
    raise ValidationError(message=message)
