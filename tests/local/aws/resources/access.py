"""Roles of IAM and the instance profiles that carry them."""

import json

from aws.resource import Properties, Resource


class Role(Resource):
    type = "AWS::IAM::Role"
    name_property = "RoleName"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        others = ("Path", "Description", "MaxSessionDuration", "PermissionsBoundary")
        role = self.call(
            "iam",
            "CreateRole",
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
            Tags=self.tags(properties),
            **{key: properties[key] for key in others if key in properties},
        )["Role"]
        self.attributes = {"Arn": role["Arn"], "RoleId": role["RoleId"]}
        self.update(properties)

    def update(self, properties: Properties) -> None:
        trust = json.dumps(properties["AssumeRolePolicyDocument"])
        self.call("iam", "UpdateAssumeRolePolicy", RoleName=self.id, PolicyDocument=trust)
        self.clear()
        for policy in properties.get("Policies", []):
            document = json.dumps(policy["PolicyDocument"])
            self.call(
                "iam", "PutRolePolicy", RoleName=self.id, PolicyName=policy["PolicyName"], PolicyDocument=document
            )
        for arn in properties.get("ManagedPolicyArns", []):
            self.call("iam", "AttachRolePolicy", RoleName=self.id, PolicyArn=arn)

    def clear(self) -> None:
        for name in self.call("iam", "ListRolePolicies", RoleName=self.id)["PolicyNames"]:
            self.call("iam", "DeleteRolePolicy", RoleName=self.id, PolicyName=name)
        for policy in self.call("iam", "ListAttachedRolePolicies", RoleName=self.id)["AttachedPolicies"]:
            self.call("iam", "DetachRolePolicy", RoleName=self.id, PolicyArn=policy["PolicyArn"])

    def remove(self) -> None:
        self.clear()
        self.call("iam", "DeleteRole", RoleName=self.id)


class InstanceProfile(Resource):
    type = "AWS::IAM::InstanceProfile"
    name_property = "InstanceProfileName"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        path = properties.get("Path")
        made = self.call("iam", "CreateInstanceProfile", InstanceProfileName=name, Path=path)
        self.attributes = {"Arn": made["InstanceProfile"]["Arn"]}
        for role in properties["Roles"]:
            self.call("iam", "AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=role)

    def remove(self) -> None:
        profile = self.call("iam", "GetInstanceProfile", InstanceProfileName=self.id)["InstanceProfile"]
        for role in profile["Roles"]:
            self.call(
                "iam", "RemoveRoleFromInstanceProfile", InstanceProfileName=self.id, RoleName=role["RoleName"]
            )
        self.call("iam", "DeleteInstanceProfile", InstanceProfileName=self.id)
