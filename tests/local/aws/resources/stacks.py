"""Stacks inside stacks."""

import time

from botocore.exceptions import ClientError

from moto.cloudformation.exceptions import ValidationError

from aws.resource import Properties, Resource


class NestedStack(Resource):
    type = "AWS::CloudFormation::Stack"

    def create(self, name: str, properties: Properties) -> None:
        made = self.call(
            "cloudformation",
            "CreateStack",
            StackName=name,
            Capabilities=CAPABILITIES,
            DisableRollback=self.keeps,
            **self.parameters(properties),
        )
        self.id = made["StackId"]
        self.finish()

    def update(self, properties: Properties) -> None:
        try:
            parameters = self.parameters(properties)
            self.call("cloudformation", "UpdateStack", StackName=self.id, Capabilities=CAPABILITIES, **parameters)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
        self.finish()

    def parameters(self, properties: Properties) -> Properties:
        given = properties.get("Parameters", {}).items()
        return {
            "TemplateURL": properties["TemplateURL"],
            "Parameters": [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in given],
            "Tags": self.tags(properties),
        }

    def finish(self) -> None:
        while True:
            (stack,) = self.call("cloudformation", "DescribeStacks", StackName=self.id)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.01)
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise ValidationError(message=f"Embedded stack {self.id} was not successfully made: {stack['StackStatus']}")
        outputs = stack.get("Outputs", [])
        self.attributes = {f"Outputs.{output['OutputKey']}": output["OutputValue"] for output in outputs}

    def remove(self) -> None:
        self.call("cloudformation", "DeleteStack", StackName=self.id)


# The outer stack's caller has already agreed to what the inner ones make.
CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
