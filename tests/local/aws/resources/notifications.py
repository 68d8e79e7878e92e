"""Topics of SNS, their subscriptions and policies."""

import json

from aws.resource import Properties, Resource


class Topic(Resource):
    type = "AWS::SNS::Topic"
    name_property = "TopicName"

    def create(self, name: str, properties: Properties) -> None:
        attributes = {key: properties[key] for key in ("DisplayName", "KmsMasterKeyId") if key in properties}
        topic = self.call("sns", "CreateTopic", Name=name, Attributes=attributes, Tags=self.tags(properties))
        self.id = topic["TopicArn"]
        self.attributes = {"TopicArn": self.id, "TopicName": name}
        self.subscribe(properties)

    def update(self, properties: Properties) -> None:
        for subscription in self.call("sns", "ListSubscriptionsByTopic", TopicArn=self.id)["Subscriptions"]:
            self.call("sns", "Unsubscribe", SubscriptionArn=subscription["SubscriptionArn"])
        self.subscribe(properties)

    def subscribe(self, properties: Properties) -> None:
        for subscription in properties.get("Subscription", []):
            self.call("sns", "Subscribe", TopicArn=self.id, **subscription)

    def remove(self) -> None:
        self.call("sns", "DeleteTopic", TopicArn=self.id)


class TopicPolicy(Resource):
    type = "AWS::SNS::TopicPolicy"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        self.update(properties)

    def update(self, properties: Properties) -> None:
        policy = json.dumps(properties["PolicyDocument"])
        for topic in properties["Topics"]:
            self.call(
                "sns", "SetTopicAttributes", TopicArn=topic, AttributeName="Policy", AttributeValue=policy
            )
