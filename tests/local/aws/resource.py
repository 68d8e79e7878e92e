"""What every type of resource here shares: how CloudFormation makes, updates, deletes and tags it."""

from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.core.common_models import CloudFormationModel

from aws import connection

Properties = dict[str, Any]


class Resource(CloudFormationModel):
    """A resource that CloudFormation makes by calling its service.

    A type names itself and the property that names a resource of it, and says how to create, update and delete one;
    `id` is what Ref gives, `attributes` what GetAtt gives.
    """

    type = ""
    name_property = ""

    def __init__(self, region: str, stack_tags: dict[str, str]) -> None:
        self.region = region
        self.stack_tags = stack_tags
        self.update_policy: Properties = {}
        # Whether the stack keeps what was made when something else fails.
        self.keeps = False
        self.id = ""
        self.attributes: dict[str, str] = {}

    def create(self, name: str, properties: Properties) -> None:
        """Sets id and attributes. `name` is given, or made of the stack's name, the logical id and something random."""
        raise NotImplementedError

    def update(self, properties: Properties) -> None:
        raise ValidationError(message=f"the simulated CloudFormation cannot update a {self.type}")

    def remove(self) -> None:
        """Deletes it."""

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return connection.call(service, self.region, operation, **parameters)

    def tags(self, properties: Properties) -> list[dict[str, str]]:
        """The stack's tags and its own, as most services take them. Only EC2 and Auto Scaling are told aws:… here."""
        return [{"Key": key, "Value": value} for key, value in self.tag_map(properties).items()]

    def tag_map(self, properties: Properties) -> dict[str, str]:
        own = {tag["Key"]: str(tag["Value"]) for tag in properties.get("Tags", [])}
        plain = {key: value for key, value in self.stack_tags.items() if not key.startswith("aws:")}
        return plain | own

    def ec2_tags(self, properties: Properties) -> list[dict[str, str]]:
        ours = {key: value for key, value in self.stack_tags.items() if key.startswith("aws:")}
        return [{"Key": key, "Value": value} for key, value in (self.tag_map(properties) | ours).items()]

    # What moto asks of its models.

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    @property
    def physical_resource_id(self) -> str:
        return self.id

    def get_cfn_attribute(self, name: str) -> str:
        if name not in self.attributes:
            raise ValidationError(
                message=f"Template error: resource {self.logical_resource_id} does not support attribute type {name} "
                "in Fn::GetAtt"
            )
        return self.attributes[name]

    def is_created(self) -> bool:
        return True
