"""Buckets of S3 and their policies."""

import json

from aws.resource import Properties, Resource


class Bucket(Resource):
    type = "AWS::S3::Bucket"
    name_property = "BucketName"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name.lower()
        elsewhere = {"LocationConstraint": self.region} if self.region != "us-east-1" else None
        self.call("s3", "CreateBucket", Bucket=self.id, CreateBucketConfiguration=elsewhere)
        domain = f"{self.id}.s3.{self.region}.amazonaws.com"
        self.attributes = {
            "Arn": f"arn:aws:s3:::{self.id}",
            "DomainName": f"{self.id}.s3.amazonaws.com",
            "RegionalDomainName": domain,
        }
        self.update(properties)

    def update(self, properties: Properties) -> None:
        self.put("Versioning", VersioningConfiguration=properties.get("VersioningConfiguration"))
        self.put("OwnershipControls", OwnershipControls=properties.get("OwnershipControls"))
        encryption = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration")
        encrypted = encryption and {"Rules": [default(one) for one in encryption]}
        self.put("Encryption", ServerSideEncryptionConfiguration=encrypted)
        lifecycle = properties.get("LifecycleConfiguration", {}).get("Rules")
        rules = lifecycle and {"Rules": [rule(one) for one in lifecycle]}
        self.put("LifecycleConfiguration", LifecycleConfiguration=rules)
        if block := properties.get("PublicAccessBlockConfiguration"):
            self.call("s3", "PutPublicAccessBlock", Bucket=self.id, PublicAccessBlockConfiguration=block)
        if tags := self.tags(properties):
            self.put("Tagging", Tagging={"TagSet": tags})

    def put(self, what: str, **setting: Properties | None) -> None:
        if any(setting.values()):
            self.call("s3", f"PutBucket{what}", Bucket=self.id, **setting)

    def remove(self) -> None:
        self.call("s3", "DeleteBucket", Bucket=self.id)


def default(encryption: Properties) -> Properties:
    """CloudFormation's name for a bucket's default encryption to the API's."""
    names = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}
    return {names.get(name, name): value for name, value in encryption.items()}


def rule(lifecycle: Properties) -> Properties:
    """CloudFormation's names in a lifecycle rule to the API's."""
    api = {"ID": lifecycle.get("Id"), "Filter": {"Prefix": lifecycle.get("Prefix", "")}}
    if days := lifecycle.get("ExpirationInDays"):
        api["Expiration"] = {"Days": days}
    same = ("Status", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    return api | {name: lifecycle[name] for name in same if name in lifecycle}


class BucketPolicy(Resource):
    type = "AWS::S3::BucketPolicy"

    def create(self, name: str, properties: Properties) -> None:
        self.id = properties["Bucket"]
        self.update(properties)

    def update(self, properties: Properties) -> None:
        self.call("s3", "PutBucketPolicy", Bucket=self.id, Policy=json.dumps(properties["PolicyDocument"]))

    def remove(self) -> None:
        self.call("s3", "DeleteBucketPolicy", Bucket=self.id)
