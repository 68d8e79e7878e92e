"""Rules of EventBridge and their targets."""

import json

from aws.resource import Properties, Resource


class Rule(Resource):
    type = "AWS::Events::Rule"
    name_property = "Name"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        self.update(properties)

    def update(self, properties: Properties) -> None:
        pattern = json.dumps(properties["EventPattern"])
        made = self.call(
            "events", "PutRule", Name=self.id, EventPattern=pattern, Description=properties.get("Description", "")
        )
        self.attributes = {"Arn": made["RuleArn"]}
        self.clear()
        self.call("events", "PutTargets", Rule=self.id, Targets=properties["Targets"])

    def clear(self) -> None:
        targets = self.call("events", "ListTargetsByRule", Rule=self.id)["Targets"]
        if targets:
            self.call("events", "RemoveTargets", Rule=self.id, Ids=[target["Id"] for target in targets])

    def remove(self) -> None:
        self.clear()
        self.call("events", "DeleteRule", Name=self.id)
