"""Whether AWS can give what the settings ask for. Every check notes what must be put right and goes on."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from theta_edge import twins
from theta_edge.aws import Aws, Refused
from theta_edge.command import Problems, warn
from theta_edge.settings import Place, Settings
from theta_edge.template import NODE, Template
from theta_edge.twins import NODE_TAG

# By the instance types' names: quotas count the vCPUs of all running instances of some families together, those on demand
# and those on spot.
QUOTAS = [
    ("g|vt", "L-DB2E81BA", "L-3819A6DF", "G and VT"),
    ("p[0-9]", "L-417A185B", "L-7212CCBC", "P"),
    ("[acdhimrtz][0-9]", "L-1216C47A", "L-34B43A08", "standard"),
]

# docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
SERVICE_ROLE = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
GRANTED = "Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey GenerateDataKeyWithoutPlaintext DescribeKey CreateGrant"


class Checks:
    def __init__(self, aws: Aws, settings: Settings, template: Template, problems: Problems) -> None:
        self.aws, self.settings, self.template, self.problem = aws, settings, template, problems.add
        self.value = settings.value
        self.type = settings.value["InstanceType"]
        # What later checks need from earlier ones.
        self.vcpus: int | None = None
        self.ami = self.zone_of_volume = ""
        # Where the node could be as well; nowhere if the place was chosen by somebody, or by where a volume is.
        self.other_places: list[Place] = []

    def _first(self, key: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """The first of what EC2 describes."""
        found: dict[str, Any] = self.aws.read("ec2", operation, **parameters)[key][0]
        return found

    # The machine.

    def image(self) -> None:
        """That the AMI is there and fits; what it says of its root disk is taken over unless something else was set."""
        parameter = self.value["ImageId"]
        try:
            answer = self.aws.read("ssm", "get_parameters", Names=[parameter])
            found = answer["Parameters"][0]["Value"] if answer["Parameters"] else "there is none of that name"
        except Refused as refused:
            found = str(refused)
        if not re.fullmatch("ami-[0-9a-f]+", found):
            self.problem(f"the SSM parameter {parameter} names no AMI in {self.aws.region}: {found}")
            return
        self.ami = found
        try:
            image = self._first("Images", "describe_images", ImageIds=[found])
        except (Refused, IndexError) as error:
            self.problem(f"the AMI {found} of {parameter} cannot be looked up: {error or 'there is none'}")
            return
        if image["Architecture"] != "x86_64":
            self.problem(f"the AMI {found} is for {image['Architecture']}, and the edge node's image is for x86_64 only")
        root = image.get("RootDeviceName", "")
        if "RootDevice" not in self.settings.given and not self.template.problem("RootDevice", root):
            if root != self.value["RootDevice"]:
                self.settings.set("RootDevice", root)
        # What no template would take has been noted before.
        elif self.value["RootDevice"] != root and not self.template.problem("RootDevice", self.value["RootDevice"]):
            self.problem(
                f"the AMI {found} calls its root disk {root}, not {self.value['RootDevice']}: "
                f"{'leave out --root-device' if 'RootDevice' in self.settings.given else 'take another --image-id'}"
            )
        disks = image.get("BlockDeviceMappings", [])
        least = next((disk["Ebs"].get("VolumeSize", 0) for disk in disks if disk.get("DeviceName") == root), 0)
        if (size := self.settings.number("RootSize")) is None or size >= least:
            return
        if "RootSize" in self.settings.given:
            self.problem(f"the AMI {found} needs a root disk of {least} GiB, not {size}: use --parameter RootSize={least}")
        else:
            self.settings.set("RootSize", str(least))

    def machine(self) -> None:
        try:
            facts = self._first("InstanceTypes", "describe_instance_types", InstanceTypes=[self.type])
        except Refused as refused:
            self.problem(f"the instance type {self.type} is not available in {self.aws.region}: {refused}")
            return
        self.vcpus = vcpus = facts["VCpuInfo"]["DefaultVCpus"]
        memory = facts["MemoryInfo"]["SizeInMiB"]
        if "x86_64" not in facts["ProcessorInfo"]["SupportedArchitectures"]:
            self.problem(f"{self.type} is not an x86_64 machine, and the edge node's image is for x86_64 only")
        if vcpus < 4 or memory < 16384:
            warn(f"{self.type} has {vcpus} vCPUs and {memory} MiB of memory; an edge node needs 4 and 16384")
        gpus = facts.get("GpuInfo", {}).get("Gpus", [])
        nvidia = bool(gpus) and gpus[0].get("Manufacturer") == "NVIDIA"
        if self.value["Gpu"] == "true" and not nvidia:
            self.problem(f"{self.type} has no NVIDIA GPU: take another --instance-type (g4dn.xlarge), or use --no-gpu")
        # The template lists the types whose GPU the driver supports.
        elif self.value["Gpu"] == "true" and not re.search(rf"[\[ ]{re.escape(self.type)}[],]", NODE.text):
            self.problem(f"the driver does not support the GPU of {self.type}: take a g4dn, g5, g6, g6e or gr6")
        elif self.value["Gpu"] == "false" and nvidia:
            self.problem(
                f"{self.type} has a GPU that you would pay for and not use: use --gpu, or take another --instance-type "
                "(m7i.xlarge)"
            )
        if self.value["VolumeType"] == "instance-store" and not facts.get("InstanceStorageSupported"):
            self.problem(f"{self.type} has no instance store: take another --instance-type, or --volume-type gp3")

    # The volume.

    def volume(self) -> None:
        """Size and speed of a new one."""
        kind = self.value["VolumeType"]
        numbers = [self.settings.number(key) for key in ("VolumeSize", "VolumeIops", "VolumeThroughput")]
        # A volume that is there already has its own.
        if None in numbers or self.value.get("VolumeId"):
            return
        size, iops, rate = (number or 0 for number in numbers)

        def in_range(name: str, value: int, least: int, most: int, what: str) -> None:
            if not least <= value <= most:
                self.problem(f"{name} is from {least} to {most} for {what}, not {value}")

        if kind == "gp3":
            in_range("VolumeIops", iops, 3000, 80_000, "gp3")
            # 3000 come with any size.
            if iops > 3000:
                in_range("VolumeIops", iops, 3000, 500 * size, f"a gp3 volume of {size} GiB (500 per GiB)")
            in_range("VolumeThroughput", rate, 125, 2_000, "gp3")
            in_range("VolumeThroughput", rate, 125, iops // 4, f"gp3 with {iops} IOPS (a quarter of them)")
        elif kind == "io1":
            in_range("VolumeIops", iops, 100, 64000, "io1")
            in_range("VolumeIops", iops, 100, 50 * size, f"an io1 volume of {size} GiB (50 per GiB)")
        elif kind == "io2":
            in_range("VolumeIops", iops, 100, 256000, "io2")
            in_range("VolumeIops", iops, 100, 1000 * size, f"an io2 volume of {size} GiB (1000 per GiB)")
            if iops > 64000:
                warn("an io2 volume gives more than 64000 IOPS to Nitro instances only")
        if kind != "gp3" and self.settings.given.get("VolumeThroughput"):
            self.problem(f"only gp3 has a VolumeThroughput, and VolumeType is {kind}")

    def sources(self, take_over: bool = False) -> None:
        """The volume or the snapshot that is to be used; with `take_over` also where another node has its wallet."""
        volume, snapshot = self.settings.given.get("VolumeId"), self.settings.given.get("SnapshotId")
        if volume and snapshot:
            self.problem("a volume and a snapshot cannot both be used: use --volume-id or --snapshot-id")
        if self.value["VolumeType"] == "instance-store" and (volume or snapshot):
            self.problem(
                "with an instance store there is no volume: leave out --volume-id and --snapshot-id, or --volume-type "
                "instance-store"
            )
        if volume:
            self._existing_volume(volume, take_over)
        if snapshot:
            self._snapshot(snapshot, take_over)

    def _existing_volume(self, volume: str, take_over: bool) -> None:
        try:
            facts = self._first("Volumes", "describe_volumes", VolumeIds=[volume])
        except Refused as refused:
            self.problem(f"the volume {volume} cannot be looked up: {refused}")
            return
        self.zone_of_volume = facts["AvailabilityZone"]
        if not facts["Encrypted"]:
            self.problem(
                f"{volume} is not encrypted: make a snapshot of it, copy that with --encrypted, and use --snapshot-id"
            )
        if facts["State"] == "in-use":
            instance = facts["Attachments"][0]["InstanceId"]
            self.problem(
                f"{volume} is attached to {instance}: a wallet key must not run twice: remove that node first"
            )
        elif facts["State"] != "available":
            self.problem(f"{volume} is {facts['State']}")
        elif not take_over:
            self.no_twin(volume, [facts], set())

    def daily_snapshots(self, node: str) -> None:
        """That they would be made: Data Lifecycle Manager finds the volume by its tag, which one of our own has."""
        if not self.settings.number("SnapshotDays"):
            return
        if self.value["VolumeType"] == "instance-store":
            self.problem("an instance store has no volume to take snapshots of: leave out --snapshot-days")
        volume = self.value.get("VolumeId")
        if not volume:
            return
        try:
            tags = self._first("Volumes", "describe_volumes", VolumeIds=[volume]).get("Tags", [])
        except Refused:
            return  # sources() says so
        if {"Key": NODE_TAG, "Value": node} not in tags:
            self.problem(
                f"snapshots are made of the volume that has the tag {NODE_TAG} of {node}, which {volume} has not: give it that "
                f"with 'aws ec2 create-tags --region {self.aws.region} --resources {volume} --tags Key={NODE_TAG},Value={node}'"
            )

    def _snapshot(self, snapshot: str, take_over: bool) -> None:
        try:
            facts = self._first("Snapshots", "describe_snapshots", SnapshotIds=[snapshot])
        except Refused as refused:
            self.problem(f"the snapshot {snapshot} cannot be looked up: {refused}")
            return
        if facts["State"] != "completed":
            self.problem(f"the snapshot {snapshot} is {facts['State']}: wait until it is completed")
        least, size = facts["VolumeSize"], self.settings.number("VolumeSize")
        if size is not None and size < least:
            self.problem(
                f"the snapshot {snapshot} needs a volume of {least} GiB, not {size}: use --volume-size {least}"
            )
        if not take_over:
            try:
                # A copy from another region names a volume that does not exist here.
                filters = [{"Name": "volume-id", "Values": [facts["VolumeId"]]}]
                source = list(self.aws.pages("ec2", "describe_volumes", "Volumes", Filters=filters))
            except Refused as refused:
                self.problem(f"the volume of {snapshot} cannot be looked up: {refused}")
                return
            self.no_twin(snapshot, source, {twins.wallet_of(facts)})

    def no_twin(
        self, copy: str, volumes: list[dict[str, Any]], wallets: set[str], where: Aws | None = None
    ) -> None:
        """Two nodes must not run one key, so nobody may use what else has it."""
        try:
            for use in twins.uses(where or self.aws, volumes, wallets):
                has = f"is the volume of {use.user}" if use.what == copy else (
                    f"has the wallet key of {use.what}, which {use.user} uses"
                )
                self.problem(
                    f"{copy} {has}: one key must not run twice. Remove that node first (scripts/destroy), or use --take-over "
                    "if it will never run again"
                )
        except Refused as refused:
            self.problem(f"whether another node has the wallet of {copy} cannot be looked up: {refused}")

    # The key that encrypts disks where nobody names one: of the root disk in any case.

    def default_key(self, new_volumes: bool) -> None:
        region = self.aws.region
        try:
            key = self.aws.read("ec2", "get_ebs_default_kms_key_id")["KmsKeyId"]
            by_default = self.aws.read("ec2", "get_ebs_encryption_by_default")["EbsEncryptionByDefault"]
        except Refused as refused:
            warn(f"which key encrypts EBS volumes by default was not checked: {refused}")
            return
        if key.endswith("alias/aws/ebs"):
            return
        what = f"EBS in {region} encrypts with {key} by default" + (", every volume" if by_default else "")
        if self._service_role_may_use(key) is False:
            self.problem(
                f"{what}, and EC2 Auto Scaling may not use that key, so no instance would start. Allow it: "
                f"aws kms create-grant --region {region} --key-id {key} "
                f"--grantee-principal arn:{self.aws.partition}:iam::{self.aws.account}:{SERVICE_ROLE} --operations {GRANTED}"
            )
        if not new_volumes or self.value["VolumeType"] == "instance-store" or self.value.get("VolumeId"):
            return
        if not self._volume_key():
            self.problem(
                f"{what}, and the node could not attach a volume with it: use --parameter KmsKeyArn={key}"
            )

    def _volume_key(self) -> str:
        return self.value.get("KmsKeyArn", "")

    def _service_role_may_use(self, key: str) -> bool | None:
        """By the key's policy or a grant; None where that cannot be known."""
        try:
            policy = json.loads(self.aws.read("kms", "get_key_policy", KeyId=key, PolicyName="default")["Policy"])
            principals = json.dumps([one.get("Principal") for one in policy["Statement"] if one["Effect"] == "Allow"])
            grants = self.aws.pages("kms", "list_grants", "Grants", KeyId=key)
            return (
                SERVICE_ROLE in principals
                or '{"AWS": "*"}' in principals
                or any(SERVICE_ROLE in grant.get("GranteePrincipal", "") for grant in grants)
            )
        except (Refused, ValueError, KeyError) as error:
            warn(f"whether EC2 Auto Scaling may use the key {key} was not checked: {error}")
            return None

    # The place.

    def _zones(self) -> list[str] | None:
        """Those that offer the instance type."""
        try:
            offered = self.aws.pages(
                "ec2",
                "describe_instance_type_offerings",
                "InstanceTypeOfferings",
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": [self.type]}],
            )
            return sorted(one["Location"] for one in offered)
        except Refused as refused:
            self.problem(f"where {self.type} is offered cannot be looked up: {refused}")
            return None

    def _listed(self, zones: list[str]) -> str:
        return ", ".join(zones) or f"no zone of {self.aws.region}"

    def _offer(self, zones: list[str], zone: str, why: str) -> None:
        if zone not in zones:
            self.problem(f"{self.type} is not offered in {zone}, {why}, but in {self._listed(zones)}")

    def zone(self) -> None:
        """Whether the zone that was chosen before has the instance type."""
        zones = self._zones()
        if zones is not None:
            self._offer(zones, self.value["AvailabilityZone"], "where the volume is")

    def place(self, wanted: str = "") -> None:
        """VPC, subnet and zone: what was not set is chosen; the zone is `wanted` where one is."""
        zones = self._zones()
        if zones is None:
            return
        if wanted:
            self._offer(zones, wanted, "which --zone names")
        elsewhere = self.zone_of_volume not in ("", wanted or self.zone_of_volume)
        if elsewhere:
            self.problem(
                f"{self.settings.given['VolumeId']} is in {self.zone_of_volume}, not in {wanted}: a volume can be attached in its "
                "own zone only"
            )
        if elsewhere or (wanted and wanted not in zones):
            return
        if subnet := self.settings.given.get("SubnetId"):
            self._subnet(subnet, zones)
            return
        vpc = self.settings.given.get("VpcId") or self._default_vpc()
        if not vpc:
            return
        try:
            found = list(
                self.aws.pages("ec2", "describe_subnets", "Subnets", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
            )
        except Refused as refused:
            self.problem(f"the subnets of {vpc} cannot be looked up: {refused}")
            return
        public = sorted((one["AvailabilityZone"], one["SubnetId"]) for one in found if one["MapPublicIpOnLaunch"])
        # One of each zone.
        first = dict(reversed(public))
        places = [
            Place(zone, first[zone])
            for zone in sorted(first)
            if zone in zones and self.zone_of_volume in ("", zone) and wanted in ("", zone)
        ]
        if places:
            self.settings.move(places[0])
            self.other_places = places[1:]
            return
        self.problem(
            f"{vpc} has no public subnet in {self.zone_of_volume or wanted or f'a zone that offers {self.type}'}: "
            f"make one, or use --subnet; {self.type} is offered in {self._listed(zones)}"
        )

    def _default_vpc(self) -> str:
        region = self.aws.region
        try:
            found = self.aws.read("ec2", "describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        except Refused as refused:
            self.problem(f"the VPCs cannot be looked up: {refused}")
            return ""
        if not found:
            self.problem(
                f"there is no default VPC in {region}: make one with 'aws ec2 create-default-vpc --region {region}', "
                "or use --vpc or --subnet"
            )
            return ""
        self.settings.set("VpcId", found[0]["VpcId"])
        return self.settings.given["VpcId"]

    def _subnet(self, subnet: str, zones: list[str]) -> None:
        try:
            facts = self._first("Subnets", "describe_subnets", SubnetIds=[subnet])
        except Refused as refused:
            self.problem(f"the subnet {subnet} cannot be looked up: {refused}")
            return
        vpc, zone = facts["VpcId"], facts["AvailabilityZone"]
        if self.settings.given.get("VpcId", vpc) != vpc:
            self.problem(f"{subnet} is in {vpc}, not in {self.settings.given['VpcId']}")
        self.settings.set("VpcId", vpc)
        self.settings.set("AvailabilityZone", zone)
        self._offer(zones, zone, f"where {subnet} is")
        if self.zone_of_volume not in ("", zone):
            self.problem(
                f"{self.settings.given['VolumeId']} is in {self.zone_of_volume}, and {subnet} in {zone}: "
                "a volume can be attached in its own zone only"
            )
        if not facts["MapPublicIpOnLaunch"]:
            warn(f"{subnet} assigns no public addresses: without a NAT gateway the node has no internet access")

    # What the account allows.

    def quota(self, count: int) -> None:
        """Whether that many may run; needs machine()."""
        ours = [one for one in QUOTAS if re.match(one[0], self.type)]
        if self.vcpus is None or not ours:
            return
        families, on_demand, on_spot, name = ours[0]
        spot = self.value["Spot"] == "true"
        code = on_spot if spot else on_demand
        try:
            quota = self.aws.read("service-quotas", "get_service_quota", ServiceCode="ec2", QuotaCode=code)
            running = Counter(
                instance["InstanceType"]
                for reservation in self.aws.pages(
                    "ec2",
                    "describe_instances",
                    "Reservations",
                    Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
                )
                for instance in reservation["Instances"]
                if (instance.get("InstanceLifecycle") == "spot") == spot and re.match(families, instance["InstanceType"])
            )
            kinds = (
                list(self.aws.pages("ec2", "describe_instance_types", "InstanceTypes", InstanceTypes=sorted(running)))
                if running
                else []
            )
        except Refused as refused:
            warn(f"the quota for vCPUs of {name} instances was not checked: {refused}")
            return
        used = sum(kind["VCpuInfo"]["DefaultVCpus"] * running[kind["InstanceType"]] for kind in kinds)
        allowed, needed = int(quota["Quota"]["Value"]), count * self.vcpus
        if used + needed > allowed:
            self.problem(
                f"{self.aws.region} allows {allowed} vCPUs of {name} instances, {used} are in use, and {needed} are needed: "
                f"request more with 'aws service-quotas request-service-quota-increase --region {self.aws.region} "
                f"--service-code ec2 --quota-code {code} --desired-value {used + needed}'"
            )

    def secret(self) -> None:
        """The secret with the wallet password."""
        secret = self.settings.given.get("SecretArn")
        if not secret:
            return
        try:
            key = self.aws.read("secretsmanager", "describe_secret", SecretId=secret).get("KmsKeyId") or ""
        except Refused as refused:
            self.problem(f"the secret {secret} cannot be looked up: {refused}")
            return
        if key and not key.endswith("alias/aws/secretsmanager") and not self.value.get("SecretKmsKeyArn"):
            self.problem(
                f"the secret is encrypted with the key {key}, so the node could not read it: use --parameter SecretKmsKeyArn=ARN"
            )
