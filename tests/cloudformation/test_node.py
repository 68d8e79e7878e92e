"""node.yaml: what its stack makes, as the services describe it. Role, user-data, alarms and dashboard have files of
their own."""

import re

import pytest

import deployed
import product
from aws import templates
from deployed import REPO
from made import aws_with_common, make_node, node  # noqa: F401, fixtures

TEMPLATE = templates.parse((REPO / "cloudformation/node.yaml").read_text())
KEY = "arn:aws:kms:us-east-1:123456789012:key/0e5f84f5-6d59-47da-932c-8177161cc957"


def tags(of: list[dict]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in of if not tag["Key"].startswith("aws:")}


# The volume.


def test_the_volume_is_encrypted_gp3_in_the_nodes_zone(node):
    volume = node().volume
    wanted = {"Encrypted": True, "VolumeType": "gp3", "Size": 256, "Iops": 3000, "Throughput": 125}
    assert {name: volume[name] for name in wanted} == wanted
    assert "SnapshotId" not in volume
    assert volume["AvailabilityZone"] == node().instance["Placement"]["AvailabilityZone"]
    assert tags(volume["Tags"]) == {"Name": f"{node().stack} data", "theta-edge:node": node().stack}
    assert node().config["volume"] == {"id": volume["VolumeId"], "origin": "new", "filesystem": "ext4"}
    assert node().outputs["VolumeId"] == volume["VolumeId"]


def test_gp3_can_be_larger_and_faster(node):
    volume = node(VolumeSize="500", VolumeIops="80000", VolumeThroughput="2000").volume
    assert (volume["Size"], volume["Iops"], volume["Throughput"]) == (500, 80000, 2000)


@pytest.mark.parametrize("kind", ["io1", "io2"])
def test_provisioned_iops_have_no_throughput(node, kind):
    made = node(VolumeType=kind, VolumeSize="400", VolumeIops="20000", Filesystem="xfs")
    assert (made.volume["VolumeType"], made.volume["Size"], made.volume["Iops"]) == (kind, 400, 20000)
    assert "Throughput" not in made.volume
    assert made.volume["Encrypted"]
    assert made.config["volume"]["filesystem"] == "xfs"


def test_a_customers_key_encrypts_the_volume(node):
    assert node(KmsKeyArn=KEY).volume["KmsKeyId"] == KEY
    assert node(SecretKmsKeyArn=KEY).volume["KmsKeyId"] != KEY


def test_a_snapshot_becomes_the_volume(node, aws_with_common):
    ec2 = aws_with_common.client("ec2")
    old = ec2.create_volume(AvailabilityZone="us-east-1a", Size=64, Encrypted=True)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=old)["SnapshotId"]
    made = node(SnapshotId=snapshot)
    assert made.volume["SnapshotId"] == snapshot
    assert made.config["volume"]["origin"] == "given"
    assert made.volume["Encrypted"]


def test_an_existing_volume_is_taken_as_it_is(node, aws_with_common):
    ec2 = aws_with_common.client("ec2")
    zone = node().volume["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=64, Encrypted=True)["VolumeId"]
    before = {one["VolumeId"] for one in ec2.describe_volumes()["Volumes"] if not one["Attachments"]}
    made = node(VolumeId=volume)
    assert {one["VolumeId"] for one in ec2.describe_volumes()["Volumes"] if not one["Attachments"]} == before
    assert "Volume" not in made.resources
    assert made.config["volume"]["id"] == made.outputs["VolumeId"] == volume
    assert made.config["volume"]["origin"] == "given"


def test_an_instance_store_needs_no_volume(node):
    made = node(VolumeType="instance-store")
    assert "Volume" not in made.resources
    assert "VolumeId" not in made.outputs
    assert made.config["volume"] == {"kind": "instance-store", "filesystem": "ext4"}


def test_the_volume_outlives_the_stack(aws_with_common):
    made = make_node(aws_with_common, "short-lived")
    volume, group = made.volume["VolumeId"], made.outputs["LogGroup"]
    aws_with_common.client("cloudformation").delete_stack(StackName="short-lived")
    (kept,) = aws_with_common.client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"]
    assert kept["Size"] == 256
    assert aws_with_common.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []


def test_no_replacement_deletes_the_volume():
    # Nobody simulates this one.
    volume = TEMPLATE["Resources"]["Volume"]
    assert volume["UpdateReplacePolicy"] == "Retain"
    assert volume["DeletionPolicy"] == "RetainExceptOnCreate"


# The instance and what launches it.


def test_containers_cannot_reach_the_roles_credentials(node):
    assert node().launch["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "InstanceMetadataTags": "enabled",
    }


def test_the_root_disk_is_encrypted_and_large_enough_for_images(node):
    (root,) = node().launch["BlockDeviceMappings"]
    assert root == {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 64, "VolumeType": "gp3", "Encrypted": True}}
    assert tags(node().launch["TagSpecifications"][0]["Tags"])["Name"] == f"{node().stack} root"


def test_another_image_brings_its_name_of_the_root_disk(node, aws_with_common):
    (image, *_) = aws_with_common.client("ec2").describe_images(Owners=["099720109477"])["Images"]
    aws_with_common.client("ssm").put_parameter(Name="/my/ubuntu", Type="String", Value=image["ImageId"])
    launch = node(ImageId="/my/ubuntu", RootDevice="/dev/sda1", RootSize="100").launch
    assert launch["ImageId"] == image["ImageId"]
    (root,) = launch["BlockDeviceMappings"]
    assert (root["DeviceName"], root["Ebs"]["VolumeSize"]) == ("/dev/sda1", 100)


def test_the_default_image_has_its_kernel_pinned(node, aws_with_common):
    parameter = TEMPLATE["Parameters"]["ImageId"]["Default"]
    assert re.fullmatch(r"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-[0-9.]+-x86_64", parameter)
    image = aws_with_common.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    assert node().launch["ImageId"] == node().instance["ImageId"] == image


def test_the_instance_is_of_the_type_and_watched_for_nothing(node):
    assert node().instance["InstanceType"] == "g4dn.xlarge"
    assert node(InstanceType="c6i.xlarge", Gpu="false").instance["InstanceType"] == "c6i.xlarge"
    assert node().launch["Monitoring"] == {"Enabled": False}


def test_an_instance_is_on_spot_only_where_that_is_wanted(node):
    assert "InstanceMarketOptions" not in node().launch
    assert node(Spot="true").launch["InstanceMarketOptions"] == {"MarketType": "spot"}
    # A dollar or two a month, for what the dashboard shows by five minutes.


def test_the_instance_has_the_nodes_role_and_security_group(node, aws_with_common):
    made = node()
    profile = aws_with_common.client("iam").get_instance_profile(InstanceProfileName=made.resources["InstanceProfile"])
    assert made.launch["IamInstanceProfile"] == {"Arn": profile["InstanceProfile"]["Arn"]}
    assert [role["RoleName"] for role in profile["InstanceProfile"]["Roles"]] == [made.resources["Role"]]
    assert made.launch["SecurityGroupIds"] == [made.resources["SecurityGroup"]]


def test_the_subnet_says_who_has_a_public_address_unless_told(node):
    assert "NetworkInterfaces" not in node().launch
    for told, wanted in (("true", True), ("false", False)):
        made = node(PublicAddress=told)
        assert made.launch["NetworkInterfaces"] == [
            {"DeviceIndex": 0, "AssociatePublicIpAddress": wanted, "Groups": [made.resources["SecurityGroup"]]}
        ]
        # EC2 takes them in one of the two places only.
        assert "SecurityGroupIds" not in made.launch


# The group of one.


def test_there_is_exactly_one_instance_in_the_subnet(node):
    made = node()
    assert (made.group["MinSize"], made.group["MaxSize"], made.group["DesiredCapacity"]) == (1, 1, 1)
    assert made.group["HealthCheckType"] == "EC2"
    assert made.group["VPCZoneIdentifier"] == made.instance["SubnetId"]
    assert made.group["LaunchTemplate"]["LaunchTemplateId"] == made.resources["LaunchTemplate"]
    assert made.outputs["AutoScalingGroup"] == made.resources["Node"]


def test_a_dead_instance_is_replaced_with_the_same_volume(aws_with_common):
    made = make_node(aws_with_common, "mortal")
    dead, volume = made.instance["InstanceId"], made.config["volume"]
    aws_with_common.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=dead, ShouldDecrementDesiredCapacity=False
    )
    assert made.instance["InstanceId"] != dead
    assert tags(made.instance["Tags"])["theta-edge:node"] == "mortal"
    assert made.config["volume"] == volume


def test_tags_reach_the_instance(node):
    assert tags(node().instance["Tags"]) == {"Name": node().stack, "theta-edge:node": node().stack}
    assert all(tag["PropagateAtLaunch"] for tag in node().group["Tags"])
    assert tags(node(Fleet="my-fleet").instance["Tags"])["theta-edge:fleet"] == "my-fleet"


def test_the_group_tells_the_topic_what_only_it_hears_of():
    told = TEMPLATE["Resources"]["Node"]["Properties"]["NotificationConfigurations"]["Fn::If"]
    errors = ["autoscaling:EC2_INSTANCE_LAUNCH_ERROR", "autoscaling:EC2_INSTANCE_TERMINATE_ERROR"]
    topic = [{"TopicARN": {"Ref": "AlarmTopicArn"}, "NotificationTypes": errors}]
    assert told == ["Notifies", topic, {"Ref": "AWS::NoValue"}]


def test_creation_and_updates_wait_for_the_node():
    # Nobody simulates the waiting: CloudFormation must wait for longer than a run may take.
    node = TEMPLATE["Resources"]["Node"]
    assert node["CreationPolicy"] == {"ResourceSignal": {"Count": 1, "Timeout": "PT1H"}}
    (condition, rolling, otherwise) = node["UpdatePolicy"]["AutoScalingRollingUpdate"]["Fn::If"]
    assert (condition, otherwise) == ("Rolling", {"Ref": "AWS::NoValue"})
    # The volume can be in one place only, so the old instance goes first.
    assert (rolling["MinInstancesInService"], rolling["MaxBatchSize"]) == (0, 1)
    assert (rolling["WaitOnResourceSignals"], rolling["PauseTime"]) == (True, "PT1H")
    # Nothing else may replace the instance meanwhile; launching and terminating must go on.
    assert {"HealthCheck", "ReplaceUnhealthy"} <= set(rolling["SuspendProcesses"])
    assert set(rolling["SuspendProcesses"]).isdisjoint({"Launch", "Terminate", "AddToLoadBalancer"})
    for ready in ("Ready1", "Ready2"):
        assert TEMPLATE["Resources"][ready]["Properties"]["Timeout"] == "3600"
    assert product.deadline() < 3600


# Updates.


def update(made, **changes: str) -> str:
    """Updates its stack and says what became of that."""
    parameters = [
        {"ParameterKey": name, "ParameterValue": changes[name]}
        if name in changes
        else {"ParameterKey": name, "UsePreviousValue": True}
        for name in TEMPLATE["Parameters"]
    ]
    cloudformation = made.aws.client("cloudformation")
    cloudformation.update_stack(
        StackName=made.stack, UsePreviousTemplate=True, Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
    )
    return cloudformation.describe_stacks(StackName=made.stack)["Stacks"][0]["StackStatus"]


def test_an_update_that_waits_on_the_other_handle_replaces_the_instance(aws_with_common):
    made = make_node(aws_with_common, "flipped")
    instance, handle, volume = made.instance["InstanceId"], made.resources["WaitHandle1"], made.volume["VolumeId"]
    assert update(made, WaitOn="second") == "UPDATE_COMPLETE"
    assert [version["VersionNumber"] for version in made.launch_versions] == [2, 1]
    assert made.group["LaunchTemplate"]["Version"] == "2"
    assert made.instance["InstanceId"] != instance
    # A used handle would count the old signal.
    assert made.config["stack"]["wait_handle"] == made.resources["WaitHandle2"] != handle
    assert {"WaitHandle1", "Ready1"}.isdisjoint(made.resources)
    assert made.volume["VolumeId"] == made.config["volume"]["id"] == volume
    # And back: that is a fresh handle as well.
    assert update(made, WaitOn="first") == "UPDATE_COMPLETE"
    assert made.resources["WaitHandle1"] not in ("", handle)


def test_in_a_fleet_an_update_leaves_the_instance(aws_with_common):
    made = make_node(aws_with_common, "led", Updates="manual", Fleet="fleet")
    instance = made.instance["InstanceId"]
    assert update(made, ImageTag="v2") == "UPDATE_COMPLETE"
    assert made.instance["InstanceId"] == instance
    assert made.group["LaunchTemplate"]["Version"] == "2"
    assert made.config["edge"]["tag"] == "v2"


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"VolumeSize": "300"}, ("Size", 300)),
        ({"VolumeIops": "4000"}, ("Iops", 4000)),
        ({"VolumeThroughput": "250"}, ("Throughput", 250)),
        ({"VolumeType": "io2"}, ("VolumeType", "io2")),
    ],
)
def test_a_changed_volume_is_the_same_volume(aws_with_common, change, seen):
    made = make_node(aws_with_common, "grown-" + seen[0].lower())
    volume, name = made.volume["VolumeId"], seen[0]
    assert update(made, WaitOn="second", **change) == "UPDATE_COMPLETE"
    assert (made.volume["VolumeId"], name, made.volume[name]) == (volume, *seen)


# Who may come in.


def test_nobody_comes_in_and_everything_may_go_out(node):
    group = node().security_group
    assert group["IpPermissions"] == []
    (out,) = group["IpPermissionsEgress"]
    assert (out["IpProtocol"], out["IpRanges"][0]["CidrIp"]) == ("-1", "0.0.0.0/0")
    assert group["VpcId"] == node().instance["VpcId"]
    assert node().config["edge"]["rpc_bind"] == "127.0.0.1"


def test_the_rpc_ports_open_for_one_network_and_are_bound_accordingly(node):
    made = node(RpcCidr="172.31.0.0/16")
    opened = [
        (rule["IpProtocol"], rule["FromPort"], rule["ToPort"], [one["CidrIp"] for one in rule["IpRanges"]])
        for rule in made.security_group["IpPermissions"]
    ]
    edge = templates.parse((REPO / "cloudformation/assets/edge.json").read_text())
    assert sorted(opened) == [("tcp", port, port, ["172.31.0.0/16"]) for port in edge["ports"]]
    assert made.config["edge"]["rpc_bind"] == "0.0.0.0"


# Logs.


def test_logs_go_to_a_group_of_the_nodes_own(node, aws_with_common):
    name = node().outputs["LogGroup"]
    assert name == f"/theta-edge/{node().stack}"
    (group,) = aws_with_common.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert group["retentionInDays"] == 30
    shipped = product.agent()["logs"]["logs_collected"]["files"]["collect_list"]
    assert {file["log_group_name"].replace("{stack}", node().stack) for file in shipped} == {name}


def test_logs_are_kept_as_long_as_asked(node, aws_with_common):
    name = node(LogRetentionDays="7").outputs["LogGroup"]
    (group,) = aws_with_common.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert group["retentionInDays"] == 7


# Several nodes.


def test_nodes_share_nothing_but_the_common_stack(node):
    one, other = node(), node(LogRetentionDays="7")
    shared = set(one.resources.values()) & set(other.resources.values())
    assert shared == set()


def test_a_common_stack_by_another_name(aws_with_common):
    deployed.common(aws_with_common, "second-prefix")
    made = make_node(aws_with_common, "of-second", CommonStack="second-prefix")
    assert made.config["assets"]["bucket"] == deployed.output(aws_with_common, "second-prefix", "Bucket")
    assert made.config["secret"]["arn"] == deployed.output(aws_with_common, "second-prefix", "SecretArn")
