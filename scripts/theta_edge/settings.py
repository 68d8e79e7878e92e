"""What a person sets about a node, as the parameters of cloudformation/node.yaml or fleet.yaml."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from theta_edge import command
from theta_edge.command import REPO, Problems, WrongUsage, warn
from theta_edge.template import FLEET, NODE, Template

HELP = """\
  --instance-type TYPE        default: g4dn.xlarge
  --spot, --on-demand         spot: EC2 sets the price, at most the on-demand price, and may take the
                              instance back with two minutes' notice (default: --on-demand)
  --gpu, --no-gpu             whether the node offers an NVIDIA GPU (default: --gpu)
  --network NETWORK           default: mainnet
  --image-tag TAG             tag of the edge node's image (default: latest)
  --image-digest sha256:…     pins the exact image; overrides the tag
  --volume-type TYPE          gp3 (default), io1, io2; or instance-store, which is empty after every
                              stop and replacement, and the wallet key is gone with it
  --volume-size GIB           default: 256
  --volume-iops IOPS          default: 3000
  --volume-throughput MIB     per second, gp3 only (default: 125)
  --filesystem FILESYSTEM     ext4 (default) or xfs
  --snapshot-days DAYS        keep daily snapshots of the volume for so long (default: 0, none)
  --rpc-cidr CIDR             who may use the node's RPC ports (default: nobody)
  --image-id PARAMETER        the SSM parameter that names the AMI (default: Amazon Linux 2023);
                              cloudformation/README.md names one with the NVIDIA driver
  --root-device DEVICE        the AMI's name for its root disk (default: what the AMI says)
  --secret-arn ARN            the secret with the wallet password
  --per-peer-metrics          publish a metric for each peer; each one is billed
  --log-retention DAYS        default: 30
  --security-updates          a new instance installs security updates first
  --parameter KEY=VALUE       any other parameter of cloudformation/node.yaml
"""

VALUED = {
    "--instance-type": "InstanceType", "--network": "Network", "--image-tag": "ImageTag",
    "--image-digest": "ImageDigest", "--volume-type": "VolumeType", "--volume-size": "VolumeSize",
    "--volume-iops": "VolumeIops", "--volume-throughput": "VolumeThroughput", "--volume-id": "VolumeId",
    "--snapshot-id": "SnapshotId", "--snapshot-days": "SnapshotDays", "--filesystem": "Filesystem",
    "--rpc-cidr": "RpcCidr", "--image-id": "ImageId", "--root-device": "RootDevice", "--vpc": "VpcId",
    "--subnet": "SubnetId", "--secret-arn": "SecretArn", "--log-retention": "LogRetentionDays", "--nodes": "Nodes", "--parameter": "",
}  # fmt: skip
FLAGS = {
    "--spot": ("Spot", "true"),
    "--on-demand": ("Spot", "false"),
    "--gpu": ("Gpu", "true"),
    "--no-gpu": ("Gpu", "false"),
    "--per-peer-metrics": ("PerPeerMetrics", "true"),
    "--security-updates": ("SecurityUpdates", "security"),
}
# What the commands themselves set.
OURS = re.compile("CommonStack|Binary.*|Assets.*|NodeTemplateUrl|VerifyDocument|AvailabilityZone|WaitOn|Updates|Fleet")

# CloudFormation's limit for one operation on a stack with nested ones:
# docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
RESOURCES_AT_ONCE = 2500


@dataclass(frozen=True)
class Place:
    """Where a node can be: a zone, for good, and a subnet of it."""

    zone: str
    subnet: str


@dataclass
class Settings:
    """By parameter: what is asked for, what the stack has, and what will hold."""

    given: dict[str, str] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    value: dict[str, str] = field(default_factory=dict)

    def take(self, option: str, value: str) -> bool:
        """Whether it was an option about the node."""
        if option in FLAGS:
            key, fixed = FLAGS[option]
            self.given[key] = fixed
        elif option == "--parameter":
            if not re.match("[A-Za-z0-9]+=", value):
                raise WrongUsage(f"--parameter takes KEY=VALUE, not {value}")
            key, _, value = value.partition("=")
            if OURS.fullmatch(key):
                raise WrongUsage(f"{key} is set by {command.running} itself")
            self.given[key] = value
        elif option in VALUED:
            self.given[VALUED[option]] = value
        else:
            return False
        return True

    @property
    def nodes(self) -> list[str]:
        """The names of a fleet's nodes; none where it is no fleet."""
        names = self.given.get("Nodes", self.current.get("Nodes", ""))
        return names.split(",") if names else []

    def settle(self, template: Template) -> None:
        # An earlier digest would win over the tag that is asked for now.
        if "ImageTag" in self.given:
            self.given.setdefault("ImageDigest", "")
        for key in self.given:
            if key not in template.parameters:
                raise WrongUsage(f"{template.path.relative_to(REPO)} has no parameter {key}")
        self.value = {**template.defaults, **self.current, **self.given}

    def set(self, key: str, value: str) -> None:
        """What nobody asked for, but AWS says."""
        self.given[key] = self.value[key] = value

    def move(self, place: Place) -> None:
        self.set("AvailabilityZone", place.zone)
        self.set("SubnetId", place.subnet)

    def number(self, key: str) -> int | None:
        """None where it is none, which check_values has noted."""
        value = self.value.get(key, "")
        return int(value) if re.fullmatch("[0-9]+", value) else None

    def check_values(self, template: Template, problems: Problems) -> None:
        for key, value in sorted(self.given.items()):
            if wrong := template.problem(key, value):
                problems.add(wrong)
        if network := self.given.get("RpcCidr"):
            try:
                ipaddress.ip_network(network)
            except ValueError:
                problems.add(f"RpcCidr {network} is not a network: give its first address, such as 172.31.0.0/16")
            if network.endswith("/0"):
                warn("the RPC ports have no authentication, and the whole internet can reach them")

    def check_fleet(self, problems: Problems) -> None:
        most = (RESOURCES_AT_ONCE - len(FLEET.resources)) // (len(NODE.resources) + 1)
        if len(self.nodes) > most:
            problems.add(
                f"a fleet has at most {most} nodes, not {len(self.nodes)}: CloudFormation works on {RESOURCES_AT_ONCE} "
                "resources at a time. Create several fleets, each with its own --name"
            )
