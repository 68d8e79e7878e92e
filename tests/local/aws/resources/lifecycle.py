"""Policies of Data Lifecycle Manager, which moto does not know: they are kept, and nothing acts on them."""

from uuid import uuid4

from aws.resource import Properties, Resource

# By id, until the server is reset.
policies: dict[str, Properties] = {}


class LifecyclePolicy(Resource):
    type = "AWS::DLM::LifecyclePolicy"

    def create(self, name: str, properties: Properties) -> None:
        self.id = f"policy-{uuid4().hex[:17]}"
        self.update(properties)

    def update(self, properties: Properties) -> None:
        policies[self.id] = properties

    def remove(self) -> None:
        del policies[self.id]
