"""Secrets of Secrets Manager."""

from aws.resource import Properties, Resource


class Secret(Resource):
    type = "AWS::SecretsManager::Secret"
    name_property = "Name"

    def create(self, name: str, properties: Properties) -> None:
        properties = {**properties, "Name": name, "Tags": self.tags(properties)}
        self.id = self.call("secretsmanager", "CreateSecret", **properties)["ARN"]
        self.attributes = {"Id": self.id}

    def update(self, properties: Properties) -> None:
        changed = {key: value for key, value in properties.items() if key not in ("Name", "Tags")}
        self.call("secretsmanager", "UpdateSecret", SecretId=self.id, **changed)

    def remove(self) -> None:
        self.call("secretsmanager", "DeleteSecret", SecretId=self.id)
