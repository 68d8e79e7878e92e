"""What a node runs on: volumes, security groups, launch templates, Auto Scaling groups."""

from moto.cloudformation.exceptions import ValidationError

from aws import launches
from aws.resource import Properties, Resource


class Volume(Resource):
    type = "AWS::EC2::Volume"
    # CloudFormation would make another volume, without the wallet's key.
    fixed = ("AvailabilityZone", "Encrypted", "SnapshotId", "KmsKeyId")

    def create(self, name: str, properties: Properties) -> None:
        self.given = properties
        others = {key: value for key, value in properties.items() if key not in ("Tags", "AutoEnableIO")}
        tags = [{"ResourceType": "volume", "Tags": self.ec2_tags(properties)}]
        self.id = self.call("ec2", "CreateVolume", **others, TagSpecifications=tags)["VolumeId"]
        self.attributes = {"VolumeId": self.id}

    def update(self, properties: Properties) -> None:
        for fixed in self.fixed:
            # No template of ours may lead there.
            if properties.get(fixed) != self.given.get(fixed):
                raise ValidationError(message=f"{self.id} would be replaced, since {fixed} changed")
        changed = {
            key: properties[key]
            for key in ("Size", "VolumeType", "Iops", "Throughput")
            if key in properties and properties[key] != self.given.get(key)
        }
        if changed:
            self.call("ec2", "ModifyVolume", VolumeId=self.id, **changed)
        self.call("ec2", "CreateTags", Resources=[self.id], Tags=self.ec2_tags(properties))
        self.given = properties

    def remove(self) -> None:
        self.call("ec2", "DeleteVolume", VolumeId=self.id)


class SecurityGroup(Resource):
    type = "AWS::EC2::SecurityGroup"
    name_property = "GroupName"

    def create(self, name: str, properties: Properties) -> None:
        tags = [{"ResourceType": "security-group", "Tags": self.ec2_tags(properties)}]
        self.id = self.call(
            "ec2",
            "CreateSecurityGroup",
            GroupName=name,
            Description=properties["GroupDescription"],
            VpcId=properties.get("VpcId"),
            TagSpecifications=tags,
        )["GroupId"]
        self.attributes = {"GroupId": self.id, "VpcId": properties.get("VpcId", "")}
        self.update(properties)

    def update(self, properties: Properties) -> None:
        (group,) = self.call("ec2", "DescribeSecurityGroups", GroupIds=[self.id])["SecurityGroups"]
        if rules := group["IpPermissions"]:
            self.call("ec2", "RevokeSecurityGroupIngress", GroupId=self.id, IpPermissions=rules)
        if rules := [permission(rule) for rule in properties.get("SecurityGroupIngress", [])]:
            self.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=self.id, IpPermissions=rules)
        # Without rules of its own it keeps the one that lets everything out.
        if rules := [permission(rule) for rule in properties.get("SecurityGroupEgress", [])]:
            before = group["IpPermissionsEgress"]
            self.call("ec2", "RevokeSecurityGroupEgress", GroupId=self.id, IpPermissions=before)
            self.call("ec2", "AuthorizeSecurityGroupEgress", GroupId=self.id, IpPermissions=rules)

    def remove(self) -> None:
        self.call("ec2", "DeleteSecurityGroup", GroupId=self.id)


def permission(rule: Properties) -> Properties:
    """CloudFormation's rule as the API's."""
    api = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
    described = {"Description": rule["Description"]} if "Description" in rule else {}
    if "CidrIp" in rule:
        api["IpRanges"] = [{"CidrIp": rule["CidrIp"], **described}]
    if "CidrIpv6" in rule:
        api["Ipv6Ranges"] = [{"CidrIpv6": rule["CidrIpv6"], **described}]
    return api


class LaunchTemplate(Resource):
    type = "AWS::EC2::LaunchTemplate"
    name_property = "LaunchTemplateName"

    def create(self, name: str, properties: Properties) -> None:
        tags = self.ec2_tags({"Tags": []})
        made = self.call(
            "ec2",
            "CreateLaunchTemplate",
            LaunchTemplateName=name,
            LaunchTemplateData=properties["LaunchTemplateData"],
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
        )["LaunchTemplate"]
        self.id = made["LaunchTemplateId"]
        self.attributes = {"LaunchTemplateId": self.id}
        self.describe()

    def update(self, properties: Properties) -> None:
        data = properties["LaunchTemplateData"]
        self.call("ec2", "CreateLaunchTemplateVersion", LaunchTemplateId=self.id, LaunchTemplateData=data)
        self.describe()

    def describe(self) -> None:
        (now,) = self.call("ec2", "DescribeLaunchTemplates", LaunchTemplateIds=[self.id])["LaunchTemplates"]
        for number in ("LatestVersionNumber", "DefaultVersionNumber"):
            self.attributes[number] = str(now[number])

    def remove(self) -> None:
        self.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=self.id)


class AutoScalingGroup(Resource):
    type = "AWS::AutoScaling::AutoScalingGroup"
    name_property = "AutoScalingGroupName"

    def create(self, name: str, properties: Properties) -> None:
        self.launch(name, properties)
        self.id = name
        self.given = properties
        tags = self.group_tags(properties)
        self.call("autoscaling", "CreateAutoScalingGroup", **self.parameters(properties), Tags=tags)

    def update(self, properties: Properties) -> None:
        self.call("autoscaling", "UpdateAutoScalingGroup", **self.parameters(properties))
        self.call("autoscaling", "CreateOrUpdateTags", Tags=self.group_tags(properties))
        changed = any(properties.get(key) != self.given.get(key) for key in ("LaunchTemplate", "VPCZoneIdentifier"))
        self.given = properties
        if changed and "AutoScalingRollingUpdate" in self.update_policy:
            self.launch(self.id, properties)
            (group,) = self.call("autoscaling", "DescribeAutoScalingGroups", AutoScalingGroupNames=[self.id])[
                "AutoScalingGroups"
            ]
            for instance in group["Instances"]:
                self.call(
                    "autoscaling",
                    "TerminateInstanceInAutoScalingGroup",
                    InstanceId=instance["InstanceId"],
                    ShouldDecrementDesiredCapacity=False,
                )

    def launch(self, group: str, properties: Properties) -> None:
        subnets = self.call("ec2", "DescribeSubnets", SubnetIds=properties["VPCZoneIdentifier"])["Subnets"]
        stack = self.stack_tags["aws:cloudformation:stack-id"]
        launches.launch(stack, group, subnets[0]["AvailabilityZone"])

    def parameters(self, properties: Properties) -> Properties:
        # What is set by calls of their own is of no interest here.
        others = ("Tags", "VPCZoneIdentifier", "MetricsCollection", "NotificationConfigurations")
        parameters = {key: value for key, value in properties.items() if key not in others}
        subnets = ",".join(properties["VPCZoneIdentifier"])
        return {**parameters, "AutoScalingGroupName": self.id, "VPCZoneIdentifier": subnets}

    def group_tags(self, properties: Properties) -> list[Properties]:
        """The stack's tags reach the instances, too."""
        own = {tag["Key"]: tag.get("PropagateAtLaunch", False) for tag in properties.get("Tags", [])}
        return [
            {
                **tag,
                "PropagateAtLaunch": own.get(tag["Key"], True),
                "ResourceId": self.id,
                "ResourceType": "auto-scaling-group",
            }
            for tag in self.ec2_tags(properties)
        ]

    def remove(self) -> None:
        self.call("autoscaling", "DeleteAutoScalingGroup", AutoScalingGroupName=self.id, ForceDelete=True)
