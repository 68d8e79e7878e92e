"""Wait conditions and their handles. Nothing waits here: who listens to the handle's URL knows what became of a node."""

from urllib.parse import quote
from uuid import uuid4

from aws.resource import Properties, Resource


# What wait conditions say was sent to their handles: by instance id, what it gave as Data.
data = "{}"


class WaitHandle(Resource):
    type = "AWS::CloudFormation::WaitConditionHandle"

    def create(self, name: str, properties: Properties) -> None:
        stack = quote(self.stack_tags["aws:cloudformation:stack-id"], safe="/")
        host = f"cloudformation-waitcondition-{self.region}.s3.{self.region}.amazonaws.com"
        signature = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=86399&X-Amz-SignedHeaders=host&X-Amz-Signature="
        self.id = f"https://{host}/{stack}/{name}?{signature}{uuid4().hex}"


class WaitCondition(Resource):
    type = "AWS::CloudFormation::WaitCondition"

    def create(self, name: str, properties: Properties) -> None:
        self.id = f"{self.stack_tags['aws:cloudformation:stack-id']}/{name}"
        self.attributes = {"Data": data}

    def update(self, properties: Properties) -> None:
        # As CloudFormation, which takes a changed Handle but waits no second time.
        pass
