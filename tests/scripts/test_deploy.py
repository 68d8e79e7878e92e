"""scripts/deploy: a node from nothing, what it checks before, what it says of a failure, and where the password goes."""

import base64
import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult
from moto.ec2 import ec2_backends
from moto.ec2.responses.settings import Settings as EbsSettings
from moto.servicequotas.models import ServiceQuotasBackend

import deployed
from aws import pages, templates
from aws.resources.waiting import WaitCondition
from operate import REPO, environment, run, would_run
from theta_edge.guards import POLICY

# With what a shell, JSON or a percent format would stumble over.
PASSWORD = "canary \"quoted\" $HOME `x` \\n %s é'"
ADDRESS = "0x2E833968E5bB786Ae419c4d13189fB081Cc43bab"
NODE = json.dumps({"i-1": json.dumps({"address": ADDRESS, "instance": "i-1", "verdict": "healthy"})})
COMMON, NAME = "theta-edge-common", "theta-edge-node"
PARAMETERS = templates.parse((REPO / "cloudformation/node.yaml").read_text())["Parameters"]
PATTERN = {key: rules.get("AllowedPattern") for key, rules in PARAMETERS.items()}


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return file


def deploy(aws, binary: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(aws, "deploy", "--yes", "--binary", str(binary), *options, **environment)


def stack(aws, name: str) -> dict:
    return aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]


def parameters(aws, name: str) -> dict[str, str]:
    return {item["ParameterKey"]: item["ParameterValue"] for item in stack(aws, name)["Parameters"]}


def stacks(aws) -> dict[str, str]:
    found = aws.client("cloudformation").describe_stacks()["Stacks"]
    return {item["StackName"]: item["StackStatus"] for item in found}


def given(call: list[str]) -> dict[str, str]:
    """The parameters that a printed call gives its stack."""
    items = json.loads(call[call.index("--parameters") + 1])
    return {item["ParameterKey"]: item["ParameterValue"] for item in items}


def secret(aws) -> str:
    arn = deployed.output(aws, COMMON, "SecretArn")
    return aws.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]


def volumes(aws) -> list[str]:
    """Data volumes, not the root disks of instances."""
    return [volume["VolumeId"] for volume in aws.client("ec2").describe_volumes()["Volumes"] if volume["Size"] > 64]


def data_volume(aws, **changes) -> str:
    wanted = {"AvailabilityZone": "us-east-1b", "Size": 256, "Encrypted": True} | changes
    return aws.client("ec2").create_volume(**wanted)["VolumeId"]


def test_one_command_makes_a_node_and_no_process_or_file_gets_the_password(aws, binary, password, tmp_path):
    aws.wait_data = NODE
    home, scratch, trace = tmp_path / "home", tmp_path / "tmp", tmp_path / "trace"
    home.mkdir()
    scratch.mkdir()
    ended = subprocess.run(
        ["strace", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", str(trace)]
        + [str(REPO / "scripts/deploy"), "--yes", "--binary", str(binary), "--password-file", str(password)],
        env=environment(aws) | {"HOME": str(home), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr

    assert secret(aws) == PASSWORD
    executed = trace.read_bytes()
    assert executed.count(b"execve(") >= 1
    assert b"canary" not in executed and b"anary" not in (ended.stdout + ended.stderr).encode()
    password.unlink()
    left = [file for place in (tmp_path, REPO / "target/assets.tar.gz") for file in [place, *place.rglob("*")]]
    assert [file for file in left if file.is_file() and b"canary" in file.read_bytes()] == []
    assert list(scratch.iterdir()) == []

    assert stacks(aws) == {COMMON: "CREATE_COMPLETE", NAME: "CREATE_COMPLETE"}
    project = {"Key": "Project", "Value": "AWS_THETA_EDGE"}
    assert project in stack(aws, COMMON)["Tags"] and project in stack(aws, NAME)["Tags"]
    zone, subnet = parameters(aws, NAME)["AvailabilityZone"], parameters(aws, NAME)["SubnetId"]
    (chosen,) = aws.client("ec2").describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert (chosen["AvailabilityZone"], chosen["DefaultForAz"]) == (zone, True)

    volume, instance = deployed.output(aws, NAME, "VolumeId"), deployed.instance(aws, NAME)
    assert re.findall(r"^\d\d:\d\d:\d\d  Volume +CREATE_COMPLETE +AWS::EC2::Volume$", ended.stdout, re.MULTILINE)
    _, told = ended.stdout.split("\n\nThe node theta-edge-node is up.\n")
    assert told == f"""\
  address    {ADDRESS}
  instance   {instance}
  volume     {volume}
  dashboard  {deployed.output(aws, NAME, "Dashboard")}

Check it:        scripts/verify --name theta-edge-node
Read its logs:   scripts/logs --name theta-edge-node
Save its key:    scripts/backup-key --name theta-edge-node
Enter it:        aws ssm start-session --region us-east-1 --target {instance}
Change it:       scripts/upgrade --name theta-edge-node
Remove it:       scripts/destroy --name theta-edge-node
"""


def test_every_option_reaches_its_parameter(aws, binary, password):
    volume = data_volume(aws)
    ended = deploy(
        aws, binary, "--dry-run", "--password-file", str(password), "--instance-type", "m5.xlarge", "--no-gpu",
        "--network", "testnet", "--image-tag", "v1.3.1", "--volume-id", volume, "--filesystem", "xfs",
        "--rpc-cidr", "172.31.0.0/16", "--root-device", "/dev/xvda", "--per-peer-metrics", "--log-retention", "7",
        "--security-updates", "--parameter", "RootSize=100", "--name", "another",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    call = would_run(ended.stdout)[-1]
    assert call[call.index("--stack-name") + 1] == "another"
    wanted = {
        "InstanceType": "m5.xlarge", "Gpu": "false", "Network": "testnet", "ImageTag": "v1.3.1", "ImageDigest": "",
        "VolumeId": volume, "Filesystem": "xfs", "RpcCidr": "172.31.0.0/16", "RootDevice": "/dev/xvda",
        "PerPeerMetrics": "true", "LogRetentionDays": "7", "SecurityUpdates": "security", "RootSize": "100",
        # The volume's own zone.
        "AvailabilityZone": "us-east-1b",
    }  # fmt: skip
    assert given(call).items() >= wanted.items()


def test_a_dry_run_prints_every_call_and_makes_none(aws, binary, password):
    ended = deploy(aws, binary, "--dry-run", "--password-file", str(password), "--alarm-email", "a@example.org")
    assert ended.returncode == 0, ended.stderr
    assert stacks(aws) == {}
    assert aws.client("s3").list_buckets()["Buckets"] == []
    assert "canary" not in ended.stdout + ended.stderr

    common, binary_call, assets, node, fleet, last = would_run(ended.stdout)
    start = ["aws", "--region", "us-east-1"]
    assert common == [
        *start, "cloudformation", "create-stack", "--stack-name", COMMON,
        "--template-body", f"file://{REPO}/cloudformation/common.yaml",
        "--tags", '[{"Key":"Project","Value":"AWS_THETA_EDGE"}]', "--parameters",
        '[{"ParameterKey":"WalletPassword","ParameterValue":"<the wallet password>"},'
        '{"ParameterKey":"AlarmEmail","ParameterValue":"a@example.org"}]',
    ]  # fmt: skip
    key = {}
    for call, file in [
        (binary_call, binary),
        (assets, REPO / "target/assets.tar.gz"),
        (node, REPO / "cloudformation/node.yaml"),
        (fleet, REPO / "cloudformation/fleet.yaml"),
    ]:
        key[file.name] = call[8]
        put = ["s3api", "put-object", "--bucket", f"<Bucket of {COMMON}>", "--key", call[8], "--body", str(file)]
        checksum = base64.b64encode(hashlib.sha256(file.read_bytes()).digest()).decode()
        assert call == start + put + ["--checksum-sha256", checksum, "--expected-bucket-owner", "123456789012"]
    ec2 = aws.client("ec2")
    place = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"][0]
    wanted = {
        "VpcId": place["VpcId"],
        "SubnetId": place["SubnetId"],
        "AvailabilityZone": "us-east-1a",
        "AlarmTopicArn": f"<AlarmTopicArn of {COMMON}>",
        "CommonStack": COMMON,
        "BinaryKey": key["bootstrap"],
        "BinarySha256": key["bootstrap"].split("/")[1],
        "AssetsKey": key["assets.tar.gz"],
        "AssetsSha256": key["assets.tar.gz"].split("/")[1],
    }
    as_json = [{"ParameterKey": name, "ParameterValue": value} for name, value in wanted.items()]
    assert last == [
        *start, "cloudformation", "create-stack", "--stack-name", NAME,
        "--template-url", f"https://<Bucket of {COMMON}>.s3.us-east-1.amazonaws.com/{key['node.yaml']}",
        "--parameters", json.dumps(as_json, separators=(",", ":")), "--capabilities", "CAPABILITY_IAM",
        "--tags", '[{"Key":"Project","Value":"AWS_THETA_EDGE"}]',
        "--enable-termination-protection", "--stack-policy-body", POLICY,
    ]  # fmt: skip


def test_a_second_node_uses_the_common_stack_and_the_first_is_left_alone(aws, binary):
    deployed.common(aws)
    deployed.node(aws)
    assert problems_of(deploy(aws, binary)) == [
        "the stack theta-edge-node exists already (CREATE_COMPLETE): change it with scripts/upgrade --name "
        "theta-edge-node, or give another node another --name"
    ]
    ended = deploy(aws, binary, "--name", "second", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    *uploads, last = would_run(ended.stdout)
    assert [call[3:5] for call in uploads] == [["s3api", "put-object"]] * 4
    assert last[3:7] == ["cloudformation", "create-stack", "--stack-name", "second"]
    assert given(last).items() >= {"CommonStack": COMMON}.items()
    assert "SecretArn" not in given(last)


def test_the_common_stack_is_brought_up_to_date_and_keeps_its_password(aws, binary):
    template = (REPO / "cloudformation/common.yaml").read_text()
    older = template.replace("What the Theta Edge Nodes of one account and region share", "An older version")
    aws.client("cloudformation").create_stack(
        StackName=COMMON,
        TemplateBody=older,
        Parameters=[{"ParameterKey": "WalletPassword", "ParameterValue": PASSWORD}],
    )
    ended = deploy(aws, binary, "--alarm-email", "a@example.org")
    assert ended.returncode == 0, ended.stderr
    assert stacks(aws) == {COMMON: "UPDATE_COMPLETE", NAME: "CREATE_COMPLETE"}
    assert parameters(aws, COMMON) == {"WalletPassword": "****", "SecretArn": "", "AlarmEmail": "a@example.org"}
    assert secret(aws) == PASSWORD
    topic = deployed.output(aws, COMMON, "AlarmTopicArn")
    assert parameters(aws, NAME)["AlarmTopicArn"] == topic


def test_with_a_secret_of_the_users_no_password_is_asked_for(aws, binary):
    arn = aws.client("secretsmanager").create_secret(Name="mine", SecretString=PASSWORD)["ARN"]
    ended = deploy(aws, binary, "--secret-arn", arn, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    common, *_, node = would_run(ended.stdout)
    assert given(common) == {"SecretArn": arn, "AlarmEmail": ""}
    assert "SecretArn" not in given(node)

    # Where the common stack has its own already, the secret is that node's alone.
    deployed.common(aws)
    ended = deploy(aws, binary, "--secret-arn", arn, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert given(would_run(ended.stdout)[-1])["SecretArn"] == arn


def test_the_password_is_asked_for_twice_and_not_shown(aws, binary):
    terminal, theirs = pty.openpty()
    running = subprocess.Popen(
        [str(REPO / "scripts/deploy"), "--binary", str(binary)],
        env=environment(aws),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    password = f" {PASSWORD} "
    answers = ["yes", "too short", password, PASSWORD, password, password]
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
            if seen.endswith((b"to continue: ", b"characters): ", b"again: ")):
                os.write(terminal, answers.pop(0).encode() + b"\n")
    except OSError:
        # The terminal goes with the script.
        pass
    assert running.wait() == 0, seen.decode()
    text = seen.decode().replace("\r\n", "\n")
    _, dialogue = text.split("without it the key is lost, so keep a copy.\n")
    assert dialogue.startswith(
        "Wallet password (12 to 128 characters): \nThat has 9 characters.\n"
        "Wallet password (12 to 128 characters): \nThe same again: \nThe two differ.\n"
        "Wallet password (12 to 128 characters): \nThe same again: \n\n"
    )
    assert "canary" not in text and "too short" not in text
    assert secret(aws) == password


# What is wrong, and what is said of it. All of one run's mistakes come together.
MISTAKES = {
    "values": (
        ["--image-tag", "a b", "--image-digest", "sha256:12", "--network", "Main", "--log-retention", "8"]
        + ["--volume-type", "st1", "--volume-size", "big", "--rpc-cidr", "10.0.0.1/8", "--root-device", "sda"],
        [
            f"ImageDigest looks like {PATTERN['ImageDigest']}, and 'sha256:12' does not",
            f"ImageTag looks like {PATTERN['ImageTag']}, and 'a b' does not",
            "LogRetentionDays is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, not '8'",
            f"Network looks like {PATTERN['Network']}, and 'Main' does not",
            "RootDevice is one of /dev/xvda, /dev/sda1, not 'sda'",
            "VolumeSize is a number, not 'big'",
            "VolumeType is one of gp3, io1, io2, instance-store, not 'st1'",
            "RpcCidr 10.0.0.1/8 is not a network: give its first address, such as 172.31.0.0/16",
        ],
    ),
    "no GPU, and a gp3 too small for its IOPS": (
        ["--instance-type", "m5.xlarge", "--volume-size", "8", "--volume-iops", "5000", "--volume-throughput", "1000"],
        [
            "m5.xlarge has no NVIDIA GPU: take another --instance-type (g4dn.xlarge), or use --no-gpu",
            "VolumeIops is from 3000 to 4000 for a gp3 volume of 8 GiB (500 per GiB), not 5000",
        ],
    ),
    "no AMI, and a gp3 too fast": (
        ["--image-id", "/aws/service/none", "--volume-iops", "80001", "--volume-throughput", "2001"],
        [
            "VolumeThroughput is a number from 125 to 2000, not 2001",
            "the SSM parameter /aws/service/none names no AMI in us-east-1: there is none of that name",
            "VolumeIops is from 3000 to 80000 for gp3, not 80001",
            "VolumeThroughput is from 125 to 2000 for gp3, not 2001",
        ],
    ),
    "an idle GPU, and more throughput than IOPS": (
        ["--no-gpu", "--volume-throughput", "751"],
        [
            "g4dn.xlarge has a GPU that you would pay for and not use: use --gpu, "
            "or take another --instance-type (m7i.xlarge)",
            "VolumeThroughput is from 125 to 750 for gp3 with 3000 IOPS (a quarter of them), not 751",
        ],
    ),
    "another architecture, and an io1 too small": (
        ["--instance-type", "m6g.xlarge", "--no-gpu"]
        + ["--volume-type", "io1", "--volume-size", "10", "--volume-iops", "501", "--volume-throughput", "125"],
        [
            "m6g.xlarge is not an x86_64 machine, and the edge node's image is for x86_64 only",
            "VolumeIops is from 100 to 500 for an io1 volume of 10 GiB (50 per GiB), not 501",
            "only gp3 has a VolumeThroughput, and VolumeType is io1",
        ],
    ),
    "a GPU without a driver, and an io2 too small": (
        ["--instance-type", "p4d.24xlarge", "--volume-type", "io2", "--volume-size", "8", "--volume-iops", "8001"],
        [
            "the driver does not support the GPU of p4d.24xlarge: take a g4dn, g5, g6, g6e or gr6",
            "VolumeIops is from 100 to 8000 for an io2 volume of 8 GiB (1000 per GiB), not 8001",
        ],
    ),
    "no instance store, and two volumes beside it": (
        ["--instance-type", "m5.xlarge", "--no-gpu", "--volume-type", "instance-store"]
        + ["--volume-id", "vol-0123456789abcdef0", "--snapshot-id", "snap-0123456789abcdef0"],
        [
            "m5.xlarge has no instance store: take another --instance-type, or --volume-type gp3",
            "a volume and a snapshot cannot both be used: use --volume-id or --snapshot-id",
            "with an instance store there is no volume: leave out --volume-id and --snapshot-id, "
            "or --volume-type instance-store",
            "the volume vol-0123456789abcdef0 cannot be looked up: An error occurred (InvalidVolume.NotFound)",
            "the snapshot snap-0123456789abcdef0 cannot be looked up: An error occurred (InvalidSnapshot.NotFound)",
        ],
    ),
}


def problems_of(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What has to be put right, each as it is listed; without the warnings before."""
    assert (ended.returncode, ended.stdout) == (1, "")
    said = ended.stderr.splitlines()
    listed = said[said.index("deploy: nothing was changed, because") + 1 :]
    assert all(line.startswith("  - ") for line in listed)
    # AWS's own words end with a sentence that moto has made up.
    return [line.removeprefix("  - ").split(" when calling the ")[0] for line in listed]


@pytest.mark.parametrize(("options", "problems"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_all_at_once_and_nothing_is_changed(aws, binary, password, options, problems):
    ended = deploy(aws, binary, "--password-file", str(password), *options)
    assert problems_of(ended) == problems
    assert stacks(aws) == {} and volumes(aws) == []


def test_an_existing_volume_must_be_free_encrypted_and_where_the_instance_can_be(aws, binary, password):
    ec2 = aws.client("ec2")
    instance = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    plain = data_volume(aws, Encrypted=False)
    ec2.attach_volume(VolumeId=plain, InstanceId=instance, Device="/dev/sdf")
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1e"]}])["Subnets"]
    place, other = subnet["SubnetId"], ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ended = deploy(
        aws, binary, "--password-file", str(password), "--volume-id", plain, "--subnet", place, "--vpc", other
    )  # fmt: skip
    assert problems_of(ended) == [
        f"{plain} is not encrypted: make a snapshot of it, copy that with --encrypted, and use --snapshot-id",
        f"{plain} is attached to {instance}: a wallet key must not run twice: remove that node first",
        f"{place} is in {subnet['VpcId']}, not in {other}",
        f"g4dn.xlarge is not offered in us-east-1e, where {place} is, "
        "but in us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f",
        f"{plain} is in us-east-1b, and {place} in us-east-1e: a volume can be attached in its own zone only",
    ]


def test_without_a_place_or_quota_or_room_for_the_snapshot_it_says_what_to_do(aws, binary, password, monkeypatch):
    ec2 = aws.client("ec2")
    # Of these all but the last count for the quota.
    for kind in ("g4dn.xlarge", "g4dn.xlarge", "g4dn.2xlarge", "m5.xlarge"):
        ec2.run_instances(ImageId="ami-12c6146b", InstanceType=kind, MinCount=1, MaxCount=1)
    snapshot = ec2.create_snapshot(VolumeId=data_volume(aws, Size=300))["SnapshotId"]
    private = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    quota(monkeypatch, {"L-DB2E81BA": 7.0})
    ended = deploy(aws, binary, "--password-file", str(password), "--snapshot-id", snapshot, "--vpc", private)
    assert problems_of(ended) == [
        f"the snapshot {snapshot} needs a volume of 300 GiB, not 256: use --volume-size 300",
        f"{private} has no public subnet in a zone that offers g4dn.xlarge: make one, or use --subnet; "
        "g4dn.xlarge is offered in us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f",
        "us-east-1 allows 7 vCPUs of G and VT instances, 16 are in use, and 4 are needed: request more with "
        "'aws service-quotas request-service-quota-increase --region us-east-1 --service-code ec2 "
        "--quota-code L-DB2E81BA --desired-value 20'",
    ]


def test_a_snapshot_of_a_wallet_that_a_node_still_has_is_refused(aws, binary, password):
    def tags(**values: str) -> list[dict]:
        return [{"Key": f"theta-edge:{key}", "Value": value} for key, value in values.items()]

    def made(*options: str) -> subprocess.CompletedProcess:
        return deploy(aws, binary, "--password-file", str(password), "--snapshot-id", snapshot, "--dry-run", *options)

    def twin(volume: str, user: str) -> str:
        return (
            f"{snapshot} has the wallet key of {volume}, which {user} uses: one key must not run twice. Remove that node first "
            "(scripts/destroy), or use --take-over if it will never run again"
        )

    ec2 = aws.client("ec2")
    source = data_volume(aws)
    ec2.create_tags(Resources=[source], Tags=tags(wallet="0x0f18bfe0dacbd35b83554dfbb5c686b11e34aaef", node="gone"))
    snapshot = ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    # Its volume is nobody's: its stack does not exist.
    assert made().returncode == 0, made().stderr

    # A volume that was made from another copy has the same wallet, and waits for its stack's next instance.
    other = data_volume(aws)
    ec2.create_tags(Resources=[other], Tags=tags(wallet="0x0f18bfe0dacbd35b83554dfbb5c686b11e34aaef", node="alive"))
    aws.client("cloudformation").create_stack(
        StackName="alive", TemplateBody=json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    )
    assert problems_of(made()) == [twin(other, "the stack alive")]

    instance = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.attach_volume(VolumeId=source, InstanceId=instance, Device="/dev/sdf")
    assert problems_of(made()) == [twin(source, instance), twin(other, "the stack alive")]
    assert made("--take-over").returncode == 0

    # Of a volume that is gone nobody knows anything, and nobody has its key.
    ec2.detach_volume(VolumeId=source, InstanceId=instance, Device="/dev/sdf")
    ec2.delete_volume(VolumeId=source)
    ec2.delete_tags(Resources=[other], Tags=[{"Key": "theta-edge:wallet"}])
    assert made().returncode == 0


def test_a_wallet_that_a_stack_in_service_has_is_refused_wherever_it_comes_from(aws, binary):
    aws.wait_data = NODE
    deployed.common(aws)
    deployed.node(aws, "alive")
    deployed.node(aws, "another", VolumeType="instance-store")
    ec2 = aws.client("ec2")

    def made(source: str, which: str, *options: str) -> subprocess.CompletedProcess:
        return deploy(aws, binary, source, which, "--dry-run", *options)

    def twin(copy: str, has: str) -> str:
        return (
            f"{copy} {has}: one key must not run twice. Remove that node first (scripts/destroy), or use --take-over if it will "
            "never run again"
        )

    # Between two instances nothing has it attached.
    volume = deployed.output(aws, "alive", "VolumeId")
    assert problems_of(made("--volume-id", volume)) == [twin(volume, "is the volume of the stack alive")]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    uses = f"has the wallet key of {volume}, which the stack alive uses"
    assert problems_of(made("--snapshot-id", snapshot)) == [twin(snapshot, uses)]
    assert made("--snapshot-id", snapshot, "--take-over").returncode == 0

    # Whatever its own volume is, a node has said which wallet it runs.
    copy = data_volume(aws)
    assert made("--volume-id", copy).returncode == 0
    ec2.create_tags(Resources=[copy], Tags=[{"Key": "theta-edge:wallet", "Value": ADDRESS.lower()}])
    assert problems_of(made("--volume-id", copy)) == [
        twin(copy, f"has the wallet key of {ADDRESS}, which the stack {name} uses") for name in ("alive", "another")
    ]
    for name in ("alive", "another"):
        aws.client("cloudformation").delete_stack(StackName=name)
    assert made("--volume-id", copy).returncode == 0
    assert made("--volume-id", volume).returncode == 0


def test_daily_snapshots_need_a_volume_that_carries_the_nodes_name(aws, binary, password):
    def asked(*options: str) -> subprocess.CompletedProcess:
        return deploy(
            aws, binary, "--password-file", str(password), "--snapshot-days", "7", "--dry-run", *options
        )

    ended = asked()
    assert ended.returncode == 0, ended.stderr
    assert given(would_run(ended.stdout)[-1])["SnapshotDays"] == "7"
    assert "without tax and traffic, and 0.05 for each GiB of snapshots\n" in ended.stdout

    volume = data_volume(aws)
    told = (
        f"snapshots are made of the volume that has the tag theta-edge:node of {NAME}, which {volume} has not: give it that "
        f"with 'aws ec2 create-tags --region us-east-1 --resources {volume} --tags Key=theta-edge:node,Value={NAME}'"
    )
    assert problems_of(asked("--volume-id", volume)) == [told]
    aws.client("ec2").create_tags(Resources=[volume], Tags=[{"Key": "theta-edge:node", "Value": NAME}])
    assert asked("--volume-id", volume).returncode == 0

    ended = asked("--instance-type", "g4dn.xlarge", "--volume-type", "instance-store")
    assert problems_of(ended) == [
        "an instance store has no volume to take snapshots of: leave out --snapshot-days"
    ]


def test_on_spot_another_quota_counts_and_the_price_is_a_limit(aws, binary, password, monkeypatch):
    quota(monkeypatch, {"L-3819A6DF": 3.0, "L-DB2E81BA": 4.0})
    # On demand, so that it does not count.
    aws.client("ec2").run_instances(ImageId="ami-12c6146b", InstanceType="g4dn.xlarge", MinCount=1, MaxCount=1)
    assert problems_of(deploy(aws, binary, "--password-file", str(password), "--spot")) == [
        "us-east-1 allows 3 vCPUs of G and VT instances, 0 are in use, and 4 are needed: request more with "
        "'aws service-quotas request-service-quota-increase --region us-east-1 --service-code ec2 "
        "--quota-code L-3819A6DF --desired-value 4'",
    ]
    quota(monkeypatch, {"L-3819A6DF": 4.0})
    ended = deploy(aws, binary, "--password-file", str(password), "--spot", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "  instance      g4dn.xlarge on spot in us-east-1a, or" in ended.stdout
    assert "  cost          at most 443 USD a month in us-east-1, without tax and traffic: spot costs less\n" in ended.stdout
    assert given(would_run(ended.stdout)[-1])["Spot"] == "true"


def quota(monkeypatch, values: dict[str, float]) -> None:
    """What the account's quotas are."""

    def get_service_quota(backend, service_code: str, quota_code: str) -> dict:
        return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": values[quota_code]}

    monkeypatch.setattr(ServiceQuotasBackend, "get_service_quota", get_service_quota)


def test_without_a_default_vpc_it_says_how_to_make_one(aws, binary, password):
    ec2 = aws.client("ec2")
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert problems_of(deploy(aws, binary, "--password-file", str(password))) == [
        "there is no default VPC in us-east-1: make one with 'aws ec2 create-default-vpc --region us-east-1', "
        "or use --vpc or --subnet"
    ]


def test_the_password_is_checked_before_anything_is_made(aws, binary, tmp_path):
    short = tmp_path / "short"
    short.write_text("eleven char\n")
    ended = deploy(aws, binary, "--password-file", str(short))
    assert problems_of(ended) == [
        f"the password in {short} has 11 characters: it must have 12 to 128, in one line",
    ]
    assert problems_of(deploy(aws, binary)) == [
        "there is no wallet password, and no terminal to ask for one: use --password-file FILE or --secret-arn ARN"
    ]
    assert problems_of(deploy(aws, binary, "--password-file", str(tmp_path / "none"))) == [
        f"the password file {tmp_path}/none cannot be read"
    ]
    assert stacks(aws) == {}

    deployed.common(aws)
    assert problems_of(deploy(aws, binary, "--password-file", str(short))) == [
        "theta-edge-common has a wallet password already: leave out --password-file; "
        "a node can have its own with --secret-arn"
    ]


def test_a_secret_must_be_there_and_readable_for_the_node(aws, binary):
    manager = aws.client("secretsmanager")
    manager.create_secret(Name="mine", SecretString=PASSWORD, KmsKeyId="1234")
    assert problems_of(deploy(aws, binary, "--secret-arn", "mine")) == [
        f"SecretArn looks like {PATTERN['SecretArn']}, and 'mine' does not",
        "the secret is encrypted with the key 1234, so the node could not read it: use --parameter SecretKmsKeyArn=ARN",
    ]


REASON = "WaitCondition received failed message: 'the wallet password is wrong. correct the secret' for uniqueId: i-1"


def fail(monkeypatch) -> None:
    """Has every node report a failure."""

    def create(condition, name, properties):
        raise ValueError(REASON)

    monkeypatch.setattr(WaitCondition, "create", create)


def test_a_call_that_aws_refuses_is_the_end(aws, binary, monkeypatch):
    deployed.common(aws)

    def create_stack(response):
        raise ValidationError(message="Limit for stack has been exceeded")

    monkeypatch.setattr(CloudFormationResponse, "create_stack", create_stack)
    ended = deploy(aws, binary)
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "\ndeploy: the stack theta-edge-node was not created: An error occurred (ValidationError) when calling the CreateStack "
        "operation: Limit for stack has been exceeded\n"
    )
    assert stacks(aws).keys() == {COMMON}


def test_a_failed_node_is_told_with_its_reason_and_what_to_do(aws, binary, monkeypatch):
    deployed.common(aws)
    fail(monkeypatch)
    ended = deploy(aws, binary)
    assert ended.returncode == 1
    assert f"CREATE_FAILED            AWS::CloudFormation::WaitCondition: {REASON}\n" in ended.stdout
    _, told = ended.stderr.split("\ndeploy: ")
    assert told == f"""\
theta-edge-node was not created (ROLLBACK_COMPLETE):
  Ready1: {REASON}

To inspect a failed node, deploy with --keep-failed.
Before the next try:  scripts/destroy --name theta-edge-node
"""
    assert problems_of(deploy(aws, binary)) == [
        "the stack theta-edge-node is left from a deployment that failed (ROLLBACK_COMPLETE): remove it with "
        "scripts/destroy --name theta-edge-node, then deploy again"
    ]


def test_a_reason_that_is_not_on_the_first_page_is_told(aws, binary, monkeypatch):
    """A large fleet has more events than one page holds."""
    deployed.common(aws)
    fail(monkeypatch)
    monkeypatch.setattr(pages, "size", 2)
    ended = deploy(aws, binary)
    assert ended.returncode == 1
    assert f"  Ready1: {REASON}\n" in ended.stderr
    # Nor is any event lost while it is followed.
    assert "CREATE_COMPLETE          AWS::EC2::SecurityGroup\n" in ended.stdout


def test_what_a_stack_tells_gives_the_terminal_no_orders(aws, binary, monkeypatch):
    """Whoever knows a wait handle's address can send it anything."""
    evil = "\x9b2J\x9b8mhidden\u202e\u200b\u061c\u2028\r\nThe node is up."
    deployed.common(aws)

    def create(condition, name, properties):
        raise ValueError(evil)

    with monkeypatch.context() as patch:
        patch.setattr(WaitCondition, "create", create)
        ended = deploy(aws, binary, "--name", "first")
    told = "Ready1: \\x9b2J\\x9b8mhidden\\u202e\\u200b\\u061c The node is up."
    assert told in ended.stderr
    assert told.removeprefix("Ready1") in ended.stdout
    # Nor does anything pass for an address that is none.
    aws.wait_data = json.dumps({"i-1": json.dumps({"address": "0x\x1b[2J" + "a" * 36})})
    ended = deploy(aws, binary)
    assert ended.returncode == 0, ended.stderr
    assert "  address    not known yet: see scripts/verify --name theta-edge-node\n" in ended.stdout


def test_a_failed_node_can_be_kept(aws, binary):
    deployed.common(aws)
    ended = deploy(aws, binary, "--dry-run", "--keep-failed")
    call = would_run(ended.stdout)[-1]
    assert call[call.index("--on-failure") + 1] == "DO_NOTHING"


def test_a_volume_that_an_earlier_node_left_is_pointed_out(aws, binary):
    deployed.common(aws)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "theta-edge:node", "Value": NAME}]}]
    left = data_volume(aws, TagSpecifications=tags)
    warning = (
        f"deploy: an earlier theta-edge-node has left {left} with its wallet key: --volume-id uses it again; "
        "this node gets a new key"
    )
    assert warning in deploy(aws, binary, "--dry-run").stderr.splitlines()
    assert warning not in deploy(aws, binary, "--dry-run", "--volume-id", left).stderr.splitlines()


def test_a_fleet_is_made_from_one_list(aws, binary):
    deployed.common(aws)
    ended = deploy(aws, binary, "--nodes", "a,b", "--parameter", "MinimumHealthy=2", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    node, call = would_run(ended.stdout)[2], would_run(ended.stdout)[-1]
    bucket = deployed.output(aws, COMMON, "Bucket")
    assert call[call.index("--stack-name") + 1] == "theta-edge-fleet"
    assert "/fleet.yaml" in call[call.index("--template-url") + 1]
    assert call[call.index("--capabilities") + 1 :][:2] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    wanted = {
        "Nodes": "a,b",
        "MinimumHealthy": "2",
        "NodeTemplateUrl": f"https://{bucket}.s3.us-east-1.amazonaws.com/{node[node.index('--key') + 1]}",
        "VerifyDocument": deployed.output(aws, COMMON, "VerifyDocument"),
    }
    assert given(call).items() >= wanted.items()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fast"], "unknown option --fast"),
        (["now"], "unknown option now"),
        ([""], "unknown option "),
        (["$(exit 7)"], "unknown option $(exit 7)"),
        (["--name"], "--name needs a value"),
        (["--region"], "--region needs a value"),
        (["--volume-size"], "--volume-size needs a value"),
        (["--parameter", "Gpu"], "--parameter takes KEY=VALUE, not Gpu"),
        (["--parameter", "=1"], "--parameter takes KEY=VALUE, not =1"),
        (["--tag", "Team"], "--tag takes KEY=VALUE, not Team"),
        (["--tag", "aws:team=1"], "--tag takes KEY=VALUE, not aws:team=1"),
        (["--tag", "Project=mine"], "the tag Project is there already"),
        (["--parameter", "Gpus=1"], "cloudformation/node.yaml has no parameter Gpus"),
        (["--parameter", "WaitOn=second"], "WaitOn is set by deploy itself"),
        (["--nodes", "a,b", "--volume-id", "vol-1"], "cloudformation/fleet.yaml has no parameter VolumeId"),
        (
            ["--password-file", "f", "--secret-arn", "a"],
            "--password-file and --secret-arn are two places for one password: give one of them",
        ),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(aws, binary, options, told):
    ended = deploy(aws, binary, *options)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"deploy: {told}; see --help\n")


def test_without_a_region_or_credentials_it_says_what_to_do(aws, binary):
    nowhere = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
    for variables, told in [
        (nowhere, "deploy: no region is set: use --region REGION, or set AWS_REGION\n"),
        (
            {"AWS_ACCESS_KEY_ID": ""},
            "deploy: AWS does not know who is calling: Unable to locate credentials\n"
            "Sign in with 'aws configure', 'aws sso login' or --profile, and try 'aws sts get-caller-identity'\n",
        ),
        (
            {"AWS_PROFILE": "none"},
            "deploy: AWS does not know who is calling: The config profile (none) could not be found\n"
            "Sign in with 'aws configure', 'aws sso login' or --profile, and try 'aws sts get-caller-identity'\n",
        ),
    ]:
        ended = deploy(aws, binary, **variables)
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", told)


def test_a_bad_name_hides_no_other_mistake(aws, binary, password):
    ended = deploy(aws, binary, "--password-file", str(password), "--name", "my node", "--log-retention", "8")
    assert problems_of(ended) == [
        "a stack's name has letters, digits and hyphens, and begins with a letter: not 'my node'",
        "LogRetentionDays is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, not '8'",
    ]


def test_what_will_be_made_is_shown_and_nobody_agrees_without_a_terminal(aws, binary, password):
    ended = deploy(aws, binary, "--password-file", str(password), "--dry-run")
    assert ended.stdout.startswith(f"""
==> To be created in us-east-1 (account 123456789012)
  common stack  {COMMON}: bucket, wallet password, SSM documents, alarm topic
  stack         {NAME}: one node
  instance      g4dn.xlarge in us-east-1a, or if it has no capacity, us-east-1b, us-east-1c, us-east-1d, us-east-1f
  volume        256 GiB gp3, encrypted, with a new wallet key
  cost          about 443 USD a month in us-east-1, without tax and traffic
  time          10 to 30 minutes, most of them for the NVIDIA driver
  earnings      nobody guarantees jobs, and this project has not measured what a node earns; EdgeCloud's GPU rental needs a different client
  beware        nobody from Theta, AWS or this project will ever ask for your wallet key or password
  permanent     the zone, the filesystem and the wallet password; the volume outlives its stack
""")
    ended = run(aws, "deploy", "--binary", str(binary), "--password-file", str(password))
    assert problems_of(ended) == ["there is no terminal for the confirmation: use --yes"]
    assert stacks(aws) == {}


def test_a_type_with_too_little_memory_is_pointed_out(aws, binary):
    deployed.common(aws)
    ended = deploy(aws, binary, "--no-gpu", "--instance-type", "c6i.xlarge", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "deploy: c6i.xlarge has 4 vCPUs and 8192 MiB of memory; an edge node needs 4 and 16384\n" in ended.stderr
    assert "wants" not in deploy(aws, binary, "--no-gpu", "--instance-type", "m6i.xlarge", "--dry-run").stderr


def test_the_type_that_the_readme_names_for_a_node_without_a_gpu_has_its_price(aws, binary, password):
    without_gpu = ("--no-gpu", "--instance-type", "m6i.xlarge")
    assert f"`{' '.join(without_gpu)}`" in (REPO / "README.md").read_text()
    ended = deploy(aws, binary, "--password-file", str(password), *without_gpu, "--dry-run")
    assert "  cost          about 199 USD a month in us-east-1, without tax and traffic\n" in ended.stdout


def test_a_fleet_is_as_large_as_cloudformation_allows(aws, binary):
    deployed.common(aws)
    names = [f"n{number}" for number in range(200)]
    (problem, *_) = problems_of(deploy(aws, binary, "--nodes", ",".join(names)))
    most = int(re.fullmatch(r"a fleet has at most (\d+) nodes, not 200: CloudFormation works on 2500 .*", problem)[1])
    # Each node is a stack of its own, beside what is in it.
    made = len(templates.parse((REPO / "cloudformation/node.yaml").read_text())["Resources"]) + 1
    assert most * made <= 2500 < (most + 2) * made
    told = problems_of(deploy(aws, binary, "--nodes", ",".join(names[: most + 1])))
    assert told[0].startswith(f"a fleet has at most {most} nodes, not {most + 1}: ")


@pytest.fixture
def image(aws, monkeypatch):
    """Makes an AMI and the SSM parameter /my/image that names it."""

    def make(architecture: str = "x86_64") -> str:
        name = aws.client("ec2").register_image(Name="mine", RootDeviceName="/dev/sda1")["ImageId"]
        made = ec2_backends["123456789012"]["us-east-1"].amis[name]
        made.architecture, made.root_device_name = architecture, "/dev/sda1"
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 100}}
        monkeypatch.setattr(type(made), "block_device_mappings", [disk])
        aws.client("ssm").put_parameter(Name="/my/image", Value=name, Type="String")
        return name

    return make


def test_tags_reach_both_stacks(aws, binary, password):
    tags = ["--tag", "Team=edge nodes", "--tag", "cost:centre=42="]
    ended = deploy(aws, binary, "--yes", "--password-file", str(password), *tags)
    assert ended.returncode == 0, ended.stderr
    wanted = [
        {"Key": "Project", "Value": "AWS_THETA_EDGE"},
        {"Key": "Team", "Value": "edge nodes"},
        {"Key": "cost:centre", "Value": "42="},
    ]
    for name in (COMMON, NAME):
        assert [tag for tag in stack(aws, name)["Tags"] if tag in wanted] == wanted


def test_what_the_ami_says_of_its_root_disk_is_taken(aws, binary, image):
    deployed.common(aws)
    image()
    ended = deploy(aws, binary, "--image-id", "/my/image", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert given(would_run(ended.stdout)[-1]).items() >= {"RootDevice": "/dev/sda1", "RootSize": "100"}.items()


def test_an_ami_that_does_not_fit_is_named(aws, binary, image):
    deployed.common(aws)
    name = image("arm64")
    options = ["--image-id", "/my/image", "--root-device", "/dev/xvda", "--parameter", "RootSize=64"]
    assert problems_of(deploy(aws, binary, *options)) == [
        f"the AMI {name} is for arm64, and the edge node's image is for x86_64 only",
        f"the AMI {name} calls its root disk /dev/sda1, not /dev/xvda: leave out --root-device",
        f"the AMI {name} needs a root disk of 100 GiB, not 64: use --parameter RootSize=100",
    ]


@pytest.fixture
def default_key(aws, monkeypatch) -> str:
    """A customer key that encrypts the account's EBS volumes by default."""
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    monkeypatch.setattr(EbsSettings, "get_ebs_default_kms_key_id", lambda _: ActionResult({"KmsKeyId": key}))
    return key


def test_a_default_key_that_auto_scaling_may_not_use_is_told(aws, binary, default_key):
    deployed.common(aws)
    role = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    grant, parameter = problems_of(deploy(aws, binary))
    assert grant.startswith(
        f"EBS in us-east-1 encrypts with {default_key} by default, and EC2 Auto Scaling may not use that key, so no "
        f"instance would start. Allow it: aws kms create-grant --region us-east-1 --key-id {default_key} "
        f"--grantee-principal {role} --operations Encrypt Decrypt "
    )
    assert parameter == (
        f"EBS in us-east-1 encrypts with {default_key} by default, and the node could not attach a volume with it: "
        f"use --parameter KmsKeyArn={default_key}"
    )
    # The remedies help.
    operations = grant.split("--operations ")[1].split()
    aws.client("kms").create_grant(KeyId=default_key, GranteePrincipal=role, Operations=operations)
    ended = deploy(aws, binary, "--parameter", f"KmsKeyArn={default_key}", "--dry-run")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("script", ["deploy", "upgrade", "destroy", "publish", "verify", "logs", "smoke"])
def test_help_is_there_without_aws(script):
    ended = subprocess.run(
        [REPO / "scripts" / script, "--help"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Usage: scripts/{script} [OPTION…]")
    for option in ("--profile", "--region", "--dry-run", "--help"):
        assert f"\n  {option}" in ended.stdout


def test_the_picture_in_the_readme_is_what_it_shows(aws, binary, tmp_path):
    deployed.common(aws)
    taken = tmp_path / "deploy.svg"
    command = [sys.executable, str(REPO / "tests/local/screen.py"), str(taken), "--as", "scripts/deploy", "--when", "Type yes"]
    command += ["--type", "no\n", "--ends", "1", "--", str(REPO / "scripts/deploy"), "--binary", str(binary)]
    ended = subprocess.run(command, env=environment(aws), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert taken.read_text() == (REPO / ".github/screens/deploy.svg").read_text(), "scripts/screens takes it again"
