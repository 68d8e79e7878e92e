"""scripts/destroy: what it says before, what it keeps, and what it deletes only by name."""

import re
import subprocess

import pytest
from moto.s3.exceptions import S3AccessDeniedError
from moto.s3.responses import S3Response

import deployed
from aws import pages
from operate import REPO, environment, run, would_run
from test_deploy import ADDRESS, COMMON, NAME, NODE, data_volume, stacks, volumes


@pytest.fixture
def node(aws) -> str:
    """A node's volume."""
    aws.wait_data = NODE
    deployed.common(aws)
    deployed.node(aws)
    return deployed.output(aws, NAME, "VolumeId")


def destroy(aws, *options: str, **more) -> subprocess.CompletedProcess[str]:
    return run(aws, "destroy", *options, **more)


def snapshots(aws) -> dict[str, dict]:
    """Those of the node, by id."""
    mine = [{"Name": "tag:theta-edge:node", "Values": [NAME]}]
    return {item["SnapshotId"]: item for item in aws.client("ec2").describe_snapshots(Filters=mine)["Snapshots"]}


def secret(aws) -> str:
    return deployed.output(aws, COMMON, "SecretArn")


def test_the_key_and_what_it_needs_are_kept(aws, node):
    arn = secret(aws)
    ended = destroy(aws, "--yes")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stacks(aws) == {COMMON: "CREATE_COMPLETE"}
    assert volumes(aws) == [node]
    assert secret(aws) == arn
    assert aws.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"] == deployed.PASSWORD

    explained, deleted = ended.stdout.split("\n==> Deleting the stack theta-edge-node\n")
    assert explained == f"""
==> Removing from us-east-1 (account 123456789012)
Kept:
  volume {node} (256 GiB) with the wallet key of {ADDRESS}; scripts/deploy --volume-id {node} uses it again
  secret {arn}, the wallet password
  the common stack theta-edge-common
Lost:
  the stack theta-edge-node: the instance with its root disk, the log group, the dashboard, the alarms
"""
    assert "Volume               DELETE_SKIPPED           AWS::EC2::Volume\n" in deleted
    # Only what belongs to the deletion.
    assert "CREATE_" not in deleted
    assert deleted.endswith(f"""
Kept, and paid for: {node} with the wallet key of {ADDRESS}
  use it again:   scripts/deploy --volume-id {node}
  delete it:      scripts/destroy --name theta-edge-node --delete-volume {node}
Done.
""")


def test_a_dry_run_prints_every_call_and_makes_none(aws, node):
    arn, bucket = secret(aws), deployed.output(aws, COMMON, "Bucket")
    s3 = aws.client("s3")
    for body in (b"one", b"two"):
        s3.put_object(Bucket=bucket, Key="it's", Body=body)
    s3.delete_object(Bucket=bucket, Key="it's")
    held = s3.list_object_versions(Bucket=bucket, Prefix="it's")
    wanted = {item["VersionId"] for kind in ("Versions", "DeleteMarkers") for item in held[kind]}
    ended = destroy(
        aws, "--dry-run", "--snapshot-volume", "--delete-volume", node, "--with-common", "--delete-secret", arn
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = [call[3:] for call in would_run(ended.stdout)]
    emptying = calls.pop(3)
    assert calls == [
        ["ec2", "create-snapshot", "--volume-id", node, "--description", f"Last of {NAME}", "--tag-specifications"]
        + [
            f'[{{"ResourceType":"snapshot","Tags":[{{"Key":"Name","Value":"{NAME}"}},'
            f'{{"Key":"theta-edge:node","Value":"{NAME}"}},{{"Key":"Project","Value":"AWS_THETA_EDGE"}}]}}]'
        ],
        ["cloudformation", "delete-stack", "--stack-name", NAME],
        ["ec2", "delete-volume", "--volume-id", node],
        ["cloudformation", "delete-stack", "--stack-name", COMMON],
        ["secretsmanager", "delete-secret", "--secret-id", arn, "--recovery-window-in-days", "30"],
    ]
    assert emptying[:5] == ["s3api", "delete-objects", "--bucket", bucket, "--delete"]
    assert len(wanted) == 3 and all(f'{{"Key":"it\'s","VersionId":"{version}"}}' in emptying[5] for version in wanted)
    assert stacks(aws) == {COMMON: "CREATE_COMPLETE", NAME: "CREATE_COMPLETE"}
    assert volumes(aws) == [node] and snapshots(aws) == {}


def test_everything_goes_when_it_is_asked_for_by_name(aws, node):
    arn, bucket = secret(aws), deployed.output(aws, COMMON, "Bucket")
    s3 = aws.client("s3")
    # More than are deleted with one call.
    for number in range(300):
        s3.put_object(Bucket=bucket, Key=f"bin/{number}", Body=b"")
    s3.delete_object(Bucket=bucket, Key="bin/0")
    ended = destroy(
        aws, "--yes", "--snapshot-volume", "--delete-volume", node, "--with-common", "--delete-secret", arn
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    lost = ended.stdout.split("Lost:\n")[1].split("A final snapshot")[0]
    assert lost == f"""\
  the stack theta-edge-node: the instance with its root disk, the log group, the dashboard, the alarms
  volume {node} (256 GiB), and the wallet key of {ADDRESS} with it
  secret {arn}, without which no wallet key can be read (can be restored for 30 days)
  the common stack theta-edge-common, with everything in the bucket {bucket}
"""
    assert stacks(aws) == {} and volumes(aws) == []
    assert s3.list_buckets()["Buckets"] == []
    assert aws.client("secretsmanager").describe_secret(SecretId=arn)["DeletedDate"]
    ((made, snapshot),) = snapshots(aws).items()
    assert (snapshot["VolumeId"], snapshot["State"]) == (node, "completed")
    assert f"\nMade: {made}\n  use it again:   scripts/deploy --snapshot-id {made}\n" in ended.stdout

    # The volume is gone and with it the stack; the snapshot can still be named.
    ended = destroy(aws, "--yes", "--delete-snapshot", made)
    assert (ended.returncode, ended.stderr, snapshots(aws)) == (0, "", {})


def test_the_key_on_the_volume_is_the_one_that_its_tag_names(aws, node):
    restored = "0x" + "f" * 40
    tag = [{"Key": "theta-edge:wallet", "Value": restored}]
    aws.client("ec2").create_tags(Resources=[node], Tags=tag)
    ended = destroy(aws, "--delete-volume", node, "--dry-run")
    assert f"\n  volume {node} (256 GiB), and the wallet key of {restored} with it\n" in ended.stdout


def test_what_does_not_belong_to_the_node_is_not_deleted(aws, node):
    foreign = data_volume(aws)
    snapshot = aws.client("ec2").create_snapshot(VolumeId=foreign)["SnapshotId"]
    ended = destroy(
        aws, "--yes", "--delete-volume", foreign, "--delete-snapshot", snapshot, "--delete-secret", "arn:aws:other"
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "destroy: nothing was changed, because",
        f"  - {foreign} is no volume of {NAME}, which has {node}",
        f"  - {snapshot} is no snapshot of {NAME}, which has none",
        f"  - arn:aws:other is not the secret of {NAME}, which has {secret(aws)}",
    ]
    assert stacks(aws) == {COMMON: "CREATE_COMPLETE", NAME: "CREATE_COMPLETE"}


def test_the_common_stack_and_its_secret_stay_while_another_node_uses_them(aws, node):
    deployed.node(aws, "second")
    ended = destroy(aws, "--yes", "--with-common", "--delete-secret", secret(aws))
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "destroy: nothing was changed, because",
        f"  - {COMMON} is used by second too: remove that first, or leave out --with-common",
        "  - second would be left without a wallet password: leave out --delete-secret",
    ]
    assert stacks(aws).keys() == {COMMON, NAME, "second"}


def test_what_a_node_has_left_can_be_deleted_later_and_by_name_only(aws, node):
    assert destroy(aws, "--yes").returncode == 0
    ended = destroy(aws, "--yes")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "destroy: nothing was changed, because",
        "  - there is no stack theta-edge-node in us-east-1",
    ]
    assert volumes(aws) == [node]
    ended = destroy(aws, "--yes", "--delete-volume", node)
    assert (ended.returncode, ended.stderr, volumes(aws)) == (0, "", [])


def test_a_volume_that_another_node_has_taken_over_is_not_waited_for(aws, node):
    assert destroy(aws, "--yes").returncode == 0
    ec2 = aws.client("ec2")
    zone = ec2.describe_volumes()["Volumes"][0]["AvailabilityZone"]
    place = {"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1, "Placement": {"AvailabilityZone": zone}}
    instance = ec2.run_instances(**place)["Instances"][0]["InstanceId"]
    ec2.attach_volume(VolumeId=node, InstanceId=instance, Device="/dev/sdf")
    ended = destroy(aws, "--yes", "--delete-volume", node)
    assert (ended.returncode, ended.stderr) == (
        1,
        "destroy: nothing was changed, because\n"
        f"  - {node} is attached to {instance}, which does not belong to theta-edge-node: remove that node first\n",
    )
    assert volumes(aws) == [node]


def test_a_volume_that_was_there_before_the_node_is_kept_too(aws):
    aws.wait_data = NODE
    deployed.common(aws)
    volume = data_volume(aws, AvailabilityZone="us-east-1a")
    deployed.node(aws, VolumeId=volume)
    ended = destroy(aws, "--yes")
    assert (ended.returncode, volumes(aws)) == (0, [volume])
    # It has no tag by which this script would find it again.
    assert ended.stdout.endswith(f"""
Kept, and paid for: {volume} with the wallet key of {ADDRESS}
  use it again:   scripts/deploy --volume-id {volume}
  delete it:      aws ec2 delete-volume --region us-east-1 --volume-id {volume}
Done.
""")


FILE = "2E833968E5bB786Ae419c4d13189fB081Cc43bab"
OTHER = "0x" + "66" * 20
WALLET = ADDRESS.lower()


def keep_copies(aws, *keys: str) -> str:
    """Has the nodes' copies of wallet keys be in the bucket, whose name it says."""
    bucket = deployed.output(aws, COMMON, "Bucket")
    for key in keys:
        aws.client("s3").put_object(Bucket=bucket, Key=f"wallets/{key}", Body=b"{}")
    return bucket


def copies(aws, bucket: str) -> list[str]:
    held = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix="wallets/").get("Contents", [])
    return [one["Key"].removeprefix("wallets/") for one in held]


def test_copies_of_the_wallet_key_go_by_their_address_only(aws, node, monkeypatch):
    # Also those that do not stand on the first page.
    monkeypatch.setattr(pages, "size", 1)
    mine, earlier, foreign = f"{NAME}/{WALLET}/{FILE}", f"{NAME}/{OTHER}/{OTHER[2:]}", f"{NAME}-2/{OTHER}/{OTHER[2:]}"
    bucket = keep_copies(aws, mine, earlier, foreign)
    ended = destroy(aws, "--yes", "--delete-wallet", f"0x{'77' * 20}")
    assert (ended.returncode, ended.stderr) == (
        1,
        "destroy: nothing was changed, because\n"
        f"  - there is no copy of the wallet key of 0x{'77' * 20} by {NAME}, but of {WALLET}, {OTHER}\n",
    )
    ended = destroy(aws, "--yes", "--delete-wallet", OTHER.upper().replace("0X", "0x"))
    assert (ended.returncode, ended.stderr) == (0, "")
    kept, lost = ended.stdout.split("Lost:\n")
    assert f"\n  the copy of the wallet key of {WALLET}, s3://{bucket}/wallets/{mine}\n" in kept
    assert f"\n  the copy of the wallet key of {OTHER}, s3://{bucket}/wallets/{earlier}\n" in lost
    assert foreign not in ended.stdout
    assert ended.stdout.endswith(f"""
Kept: the copy of the wallet key of {WALLET}
  delete it:      scripts/destroy --name {NAME} --delete-wallet {WALLET}
Done.
""")
    assert copies(aws, bucket) == [foreign, mine]

    # The stack is gone; its copy can still be named, and another node's cannot.
    ended = destroy(aws, "--yes", "--delete-wallet", WALLET)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert copies(aws, bucket) == [foreign]
    # The bucket keeps what was there.
    versions = aws.client("s3").list_object_versions(Bucket=bucket, Prefix=f"wallets/{mine}")["Versions"]
    assert len(versions) == 1


def test_the_bucket_stays_while_a_copy_of_any_wallet_key_is_in_it(aws, node):
    bucket = keep_copies(aws, f"{NAME}/{WALLET}/{FILE}", f"$(id)/{OTHER}/a", "loose")
    ended = destroy(aws, "--yes", "--with-common", "--delete-wallet", WALLET)
    assert (ended.returncode, ended.stderr) == (
        1,
        "destroy: nothing was changed, because\n"
        f"  - {bucket} holds copies of wallet keys, which are deleted by address only: "
        f"scripts/destroy --name '$(id)' --delete-wallet {OTHER}, aws s3 rm s3://{bucket}/wallets/loose\n",
    )
    assert len(copies(aws, bucket)) == 3 and stacks(aws).keys() == {COMMON, NAME}
    aws.client("s3").delete_object(Bucket=bucket, Key="wallets/loose")
    assert destroy(aws, "--yes", "--name", "$(id)", "--delete-wallet", OTHER).returncode == 0
    ended = destroy(aws, "--yes", "--with-common", "--delete-wallet", WALLET)
    assert (ended.returncode, ended.stderr, stacks(aws)) == (0, "", {})


def test_a_bucket_that_does_not_tell_lets_nothing_be_deleted(aws, node, monkeypatch):
    def denied(*_):
        raise S3AccessDeniedError

    bucket = deployed.output(aws, COMMON, "Bucket")
    with monkeypatch.context() as patch:
        patch.setattr(S3Response, "list_objects_v2", denied)
        ended = destroy(aws, "--yes")
    assert (ended.returncode, ended.stderr) == (
        1, f"destroy: the copies of wallet keys in {bucket} cannot be read: "
        "An error occurred (AccessDenied) when calling the ListObjectsV2 operation: Access Denied\n"
    )  # fmt: skip
    assert stacks(aws).keys() == {COMMON, NAME}
    # One that somebody has deleted holds none.
    s3 = aws.client("s3")
    for version in s3.list_object_versions(Bucket=bucket)["Versions"]:
        s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=bucket)
    assert destroy(aws, "--yes").returncode == 0


def test_it_asks_for_the_stacks_name(aws, node):
    ended = destroy(aws)
    assert (ended.returncode, ended.stderr) == (
        2,
        "destroy: there is no terminal for the confirmation: This cannot be undone. Say --yes; see --help\n",
    )
    # A terminal of its own, in which the script finds the answer.
    for answer, wanted in (("yes", 1), (NAME, 0)):
        ended = subprocess.run(
            ["script", "--quiet", "--return", "--command", str(REPO / "scripts/destroy"), "/dev/null"],
            input=answer + "\n",
            env=environment(aws),
            capture_output=True,
            text=True,
        )
        assert ended.returncode == wanted, ended.stdout
        assert "This cannot be undone. Type theta-edge-node to continue: " in ended.stdout
        assert ("destroy: nothing was changed" in ended.stdout) == bool(wanted)
        assert (NAME in stacks(aws)) == bool(wanted)


def test_a_node_of_a_fleet_is_removed_with_the_fleets_list(aws):
    deployed.common(aws)
    deployed.node(aws, Fleet="theta-edge-fleet")
    ended = destroy(aws, "--yes")
    assert (ended.returncode, ended.stderr) == (
        1,
        "destroy: theta-edge-node is a node of the fleet theta-edge-fleet: "
        "remove it with scripts/upgrade --name theta-edge-fleet --nodes …\n",
    )


def test_the_volumes_of_a_fleets_nodes_are_kept_and_found_again(aws, monkeypatch):
    # Also of those that do not stand on the first page.
    monkeypatch.setattr(pages, "size", 1)
    aws.wait_data = NODE
    deployed.common(aws)
    deployed.fleet(aws, "theta-edge-fleet", "a,b")
    held = set(volumes(aws))
    names = {name for name in stacks(aws) if name.startswith("theta-edge-fleet-Node")}
    ended = destroy(aws, "--yes", "--name", "theta-edge-fleet", "--with-common")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stacks(aws) == {} and set(volumes(aws)) == held and len(held) == 2
    said = dict(re.findall(r"delete it:      scripts/destroy --name (\S+) --delete-volume (\S+)\n", ended.stdout))
    assert (said.keys(), set(said.values())) == (names, held)
    name, volume = said.popitem()
    assert destroy(aws, "--yes", "--name", name, "--delete-volume", volume).returncode == 0
    assert volumes(aws) == list(said.values())
