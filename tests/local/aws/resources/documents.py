"""Documents of Systems Manager."""

import json

from aws.resource import Properties, Resource


class Document(Resource):
    type = "AWS::SSM::Document"
    name_property = "Name"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        others = {key: value for key, value in properties.items() if key not in ("UpdateMethod", "Content", "Tags")}
        self.call(
            "ssm",
            "CreateDocument",
            **{**others, "Name": name, "Content": text(properties), "Tags": self.tags(properties)},
        )

    def update(self, properties: Properties) -> None:
        updated = self.call(
            "ssm",
            "UpdateDocument",
            Name=self.id,
            Content=text(properties),
            DocumentFormat=properties.get("DocumentFormat"),
            DocumentVersion="$LATEST",
        )
        version = updated["DocumentDescription"]["DocumentVersion"]
        self.call("ssm", "UpdateDocumentDefaultVersion", Name=self.id, DocumentVersion=version)

    def remove(self) -> None:
        self.call("ssm", "DeleteDocument", Name=self.id)


def text(properties: Properties) -> str:
    content = properties["Content"]
    return content if isinstance(content, str) else json.dumps(content)
