"""The role of node.yaml: what a node may do, and that strangers' jobs on it would gain nothing else."""

import pytest

import deployed
from made import SOFTWARE, aws_with_common, make_node, node  # noqa: F401, fixtures
from policies import allowed, several

ACCOUNT = "us-east-1:123456789012"
SECRET_KEY = f"arn:aws:kms:{ACCOUNT}:key/11111111-6d59-47da-932c-8177161cc957"
KEY = f"arn:aws:kms:{ACCOUNT}:key/0e5f84f5-6d59-47da-932c-8177161cc957"

# What knows no resources in IAM. Each was weighed: it tells or changes nothing of other nodes' wallets, or is bound by
# a condition.
ANYWHERE = {
    "cloudwatch:PutMetricData",
    "ec2:DescribeTags",
    "ec2:DescribeVolumes",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
    "ssm:DescribeAssociation",
    "ssm:DescribeDocument",
    "ssm:GetDeployablePatchSnapshotForInstance",
    "ssm:GetDocument",
    "ssm:GetManifest",
    "ssm:ListAssociations",
    "ssm:ListInstanceAssociations",
    "ssm:PutComplianceItems",
    "ssm:PutConfigurePackageResult",
    "ssm:PutInventory",
    "ssm:UpdateAssociationStatus",
    "ssm:UpdateInstanceAssociationStatus",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}
VARIANTS = {
    "default": {},
    "customer's key and own secret": {
        "KmsKeyArn": KEY,
        "SecretKmsKeyArn": SECRET_KEY,
        "SecretArn": f"arn:aws:secretsmanager:{ACCOUNT}:secret:mine-AbCdEf",
    },
    "instance store": {"VolumeType": "instance-store"},
    "everything else": {"RpcCidr": "10.0.0.0/8", "Fleet": "fleet", "PerPeerMetrics": "true"},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def any_node(request, node):
    return node(**request.param)


def may(made, action: str, resource: str = "*", **context: str) -> bool:
    return allowed(made.permissions, action, resource, **context)


def test_only_ec2_takes_the_role(any_node):
    role = any_node.aws.client("iam").get_role(RoleName=any_node.resources["Role"])["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]


def test_every_statement_names_its_resources_or_is_known_to_have_none(any_node):
    for statement in any_node.permissions:
        assert statement["Effect"] == "Allow"
        assert statement.keys().isdisjoint({"NotAction", "NotResource", "Principal"})
        actions = set(several(statement["Action"]))
        assert not any("*" in action for action in actions if not action.startswith("kms:ReEncrypt"))
        if "*" in several(statement["Resource"]):
            assert actions <= ANYWHERE


def test_it_fetches_its_software_and_nothing_else(any_node):
    bucket = f"arn:aws:s3:::{any_node.config['assets']['bucket']}"
    for key in (SOFTWARE["BinaryKey"], SOFTWARE["AssetsKey"]):
        assert may(any_node, "s3:GetObject", f"{bucket}/{key}")
        assert not may(any_node, "s3:PutObject", f"{bucket}/{key}")
        assert not may(any_node, "s3:GetObject", f"arn:aws:s3:::another-bucket/{key}")
    assert not may(any_node, "s3:GetObject", f"{bucket}/bin/other/bootstrap")
    assert not may(any_node, "s3:ListBucket", bucket)


def test_it_keeps_a_copy_of_its_key_and_sees_no_other(any_node):
    bucket = f"arn:aws:s3:::{any_node.config['assets']['bucket']}"
    folder = f"wallets/{any_node.stack}"
    assert any_node.config["wallet_backup"] == {"bucket": any_node.config["assets"]["bucket"], "prefix": folder}
    new = {"s3__if-none-match": "*"}
    assert may(any_node, "s3:PutObject", f"{bucket}/{folder}/0xab/ab", **new)
    assert may(any_node, "s3:GetObject", f"{bucket}/{folder}/0xab/ab")
    for prefix in ("", "0xab/"):
        assert may(any_node, "s3:ListBucket", bucket, s3__prefix=f"{folder}/{prefix}")
    # Not over one that is there.
    assert not may(any_node, "s3:PutObject", f"{bucket}/{folder}/0xab/ab")
    for other in (folder, f"{folder}-2/0xab/ab", "wallets/0xab"):
        assert not may(any_node, "s3:PutObject", f"{bucket}/{other}", **new)
        assert not may(any_node, "s3:GetObject", f"{bucket}/{other}")
    for prefix in ("", "wallets/", f"{folder}-2/", folder):
        assert not may(any_node, "s3:ListBucket", bucket, s3__prefix=prefix)
    assert not may(any_node, "s3:ListBucketVersions", bucket, s3__prefix=f"{folder}/")
    for action in ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObjectVersion", "s3:PutObjectAcl"):
        assert not may(any_node, action, f"{bucket}/{folder}/0xab/ab")


def test_without_a_backup_it_writes_to_no_bucket(node):
    made = node(WalletBackup="false")
    assert "wallet_backup" not in made.config
    bucket = f"arn:aws:s3:::{made.config['assets']['bucket']}"
    key = f"{bucket}/wallets/{made.stack}/0xab/ab"
    assert not may(made, "s3:PutObject", key, **{"s3__if-none-match": "*"})
    assert not may(made, "s3:GetObject", key)
    assert not may(made, "s3:ListBucket", bucket, s3__prefix=f"wallets/{made.stack}/")


def test_it_reads_its_secret_and_no_other(any_node):
    secret = any_node.config["secret"]["arn"]
    assert may(any_node, "secretsmanager:GetSecretValue", secret)
    assert not may(any_node, "secretsmanager:GetSecretValue", secret[:-1])
    assert not may(any_node, "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{ACCOUNT}:secret:other-AbCdEf")
    assert not may(any_node, "secretsmanager:PutSecretValue", secret)


def test_a_secret_of_its_own_takes_the_place_of_the_common_one(node):
    made = node(**VARIANTS["customer's key and own secret"])
    assert made.config["secret"]["arn"].endswith(":mine-AbCdEf")
    common = deployed.output(made.aws, "theta-edge-common", "SecretArn")
    assert not may(made, "secretsmanager:GetSecretValue", common)


def test_it_signals_its_own_stack_only(any_node):
    # By its id: IAM judges a call that names the stack by stack/NAME/*.
    stack = any_node.config["stack"]["name"]
    assert stack == any_node.id
    assert may(any_node, "cloudformation:SignalResource", stack)
    assert not may(any_node, "cloudformation:SignalResource", stack.rsplit("/", 1)[0] + "/*")
    assert not may(any_node, "cloudformation:SignalResource", stack.replace(any_node.stack, "other"))
    assert not may(any_node, "cloudformation:DescribeStacks", stack)


def test_it_publishes_metrics_in_its_namespace_only(any_node):
    assert may(any_node, "cloudwatch:PutMetricData", cloudwatch__namespace="CWAgent")
    assert not may(any_node, "cloudwatch:PutMetricData", cloudwatch__namespace="AWS/EC2")
    assert not may(any_node, "cloudwatch:PutMetricData")


def test_a_namespace_of_its_own_is_the_only_one(node):
    made = node(MetricsNamespace="ThetaEdge/mine")
    assert made.config["metrics"]["namespace"] == "ThetaEdge/mine"
    assert may(made, "cloudwatch:PutMetricData", cloudwatch__namespace="ThetaEdge/mine")
    assert not may(made, "cloudwatch:PutMetricData", cloudwatch__namespace="CWAgent")
    watched = [alarm for alarm in made.alarms.values() if alarm.get("Namespace") not in ("AWS/EC2", "ThetaEdge/mine")]
    assert [alarm["AlarmName"] for alarm in watched if "Metrics" not in alarm] == []
    assert "CWAgent" not in str(made.dashboard) + str(made.alarms)


def test_an_accounts_boundary_and_policies_are_the_roles(aws_with_common):
    iam = aws_with_common.client("iam")
    everything = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    boundary, *more = (
        iam.create_policy(PolicyName=name, PolicyDocument=everything)["Policy"]["Arn"] for name in ("fence", "agent", "scan")
    )
    made = make_node(
        aws_with_common, "fenced", PermissionsBoundaryArn=boundary, ManagedPolicyArns=",".join(more)
    )
    role = made.resources["Role"]
    assert iam.get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert sorted(policy["PolicyArn"] for policy in attached) == sorted(more)


def test_without_them_it_has_its_own_policies_only(node):
    iam, role = node().aws.client("iam"), node().resources["Role"]
    assert "PermissionsBoundary" not in iam.get_role(RoleName=role)["Role"]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []


@pytest.mark.parametrize("action", ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"])
def test_it_writes_its_own_log_group_only(any_node, action):
    group = f"arn:aws:logs:{ACCOUNT}:log-group:/theta-edge/"
    for stream in ("", "i-1/bootstrap", "i-1/edge"):
        assert may(any_node, action, f"{group}{any_node.stack}:log-stream:{stream}")
        assert not may(any_node, action, f"{group}other:log-stream:{stream}")
    assert not may(any_node, "logs:DeleteLogStream", f"{group}{any_node.stack}:log-stream:i-1/bootstrap")


# AWS asks twice for an attachment: about the volume and about the instance.


def of_this_node(made) -> dict[str, str]:
    return {"aws__ResourceTag___theta-edge__node": made.stack}


@pytest.mark.parametrize("variant", ["default", "customer's key and own secret", "everything else"])
def test_it_attaches_its_volume_to_its_instances(node, variant):
    made = node(**VARIANTS[variant])
    volume, instance = made.config["volume"]["id"], made.instance["InstanceId"]
    tagged = {tag["Key"]: tag["Value"] for tag in made.instance["Tags"]}
    assert tagged["theta-edge:node"] == made.stack
    assert may(made, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:volume/{volume}")
    assert may(made, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:instance/{instance}", **of_this_node(made))
    assert may(made, "ec2:DescribeVolumes")
    assert not may(made, "ec2:DetachVolume", f"arn:aws:ec2:{ACCOUNT}:volume/{volume}")


@pytest.mark.parametrize("variant", ["default", "customer's key and own secret", "everything else"])
def test_it_tags_its_volume_with_what_the_volume_remembers(node, variant):
    made = node(**VARIANTS[variant])
    volume = f"arn:aws:ec2:{ACCOUNT}:volume/{made.config['volume']['id']}"
    for keys in ("theta-edge:filesystem", "theta-edge:wallet", "theta-edge:filesystem,theta-edge:wallet"):
        assert may(made, "ec2:CreateTags", volume, aws__TagKeys=keys)
        assert not may(made, "ec2:CreateTags", volume[:-1], aws__TagKeys=keys)
        assert not may(made, "ec2:CreateTags", f"arn:aws:ec2:{ACCOUNT}:instance/i-1", aws__TagKeys=keys)
        assert not may(made, "ec2:DeleteTags", volume, aws__TagKeys=keys)
    for keys in ("theta-edge:node", "theta-edge:filesystem,Name"):
        assert not may(made, "ec2:CreateTags", volume, aws__TagKeys=keys)
    assert not may(made, "ec2:CreateTags", volume)


def test_it_attaches_no_other_volume_and_to_no_other_instance(any_node):
    for other in ({}, {"aws__ResourceTag___theta-edge__node": "other"}):
        assert not may(any_node, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:instance/i-1", **other)
    other = f"arn:aws:ec2:{ACCOUNT}:volume/vol-0123456789abcdef0"
    assert not may(any_node, "ec2:AttachVolume", other, **of_this_node(any_node))


def test_an_existing_volume_is_the_one_it_attaches(node, aws_with_common):
    ec2 = aws_with_common.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
    made = node(VolumeId=volume)
    assert may(made, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:volume/{volume}")
    assert not may(made, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:volume/{node().config['volume']['id']}")


def test_without_a_volume_it_attaches_nothing(node):
    made = node(VolumeType="instance-store")
    assert not may(made, "ec2:AttachVolume", f"arn:aws:ec2:{ACCOUNT}:instance/i-1", **of_this_node(made))


KEY_USES = [
    ("secretsmanager", "kms:Decrypt", SECRET_KEY, KEY),
    ("ec2", "kms:CreateGrant", KEY, SECRET_KEY),
    ("ec2", "kms:Decrypt", KEY, SECRET_KEY),
    ("ec2", "kms:DescribeKey", KEY, SECRET_KEY),
    ("ec2", "kms:GenerateDataKeyWithoutPlaintext", KEY, SECRET_KEY),
    ("ec2", "kms:ReEncryptFrom", KEY, SECRET_KEY),
]


@pytest.mark.parametrize(("service", "action", "key", "other"), KEY_USES)
def test_a_customers_key_is_used_through_its_service_only(node, service, action, key, other):
    made = node(**VARIANTS["customer's key and own secret"])
    grant = {"kms__GrantIsForAWSResource": "true"} if action == "kms:CreateGrant" else {}
    through = {"kms__ViaService": f"{service}.us-east-1.amazonaws.com", **grant}
    assert may(made, action, key, **through)
    assert not may(made, action, key, **grant)
    assert not may(made, action, key, **grant, kms__ViaService="s3.us-east-1.amazonaws.com")
    assert not may(made, action, other, **through)
    assert not may(node(), action, key, **through)


def test_a_grant_is_ec2s_own_only(node):
    made = node(**VARIANTS["customer's key and own secret"])
    through = {"kms__ViaService": "ec2.us-east-1.amazonaws.com"}
    assert not may(made, "kms:CreateGrant", KEY, **through)
    assert not may(made, "kms:CreateGrant", KEY, **through, kms__GrantIsForAWSResource="false")


@pytest.mark.parametrize(
    "action",
    ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:SendCommand", "ssm:StartSession"],
)
def test_it_is_operated_but_operates_nobody(any_node, action):
    assert may(any_node, "ssm:UpdateInstanceInformation")
    assert may(any_node, "ssmmessages:OpenControlChannel")
    assert not may(any_node, action, f"arn:aws:ssm:{ACCOUNT}:parameter/any")
