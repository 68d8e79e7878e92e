"""common.yaml: what its stack makes, as the services describe it."""

import json

import pytest
from botocore.exceptions import ClientError
from moto.cloudformation.exceptions import ValidationError

import deployed
from aws.resources.documents import Document
from deployed import PASSWORD
from policies import allowed, statements

STACK = "theta-edge-common"
OTHERS_SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:mine-AbCdEf"


@pytest.fixture
def common(aws):
    deployed.common(aws)
    return aws


@pytest.fixture
def bucket(common) -> str:
    return deployed.output(common, STACK, "Bucket")


def outputs(aws, stack: str = STACK) -> dict[str, str]:
    (described,) = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def test_the_bucket_is_encrypted_versioned_and_private(common, bucket):
    s3 = common.client("s3")
    (encryption,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    (ownership,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership == {"ObjectOwnership": "BucketOwnerEnforced"}


def test_the_bucket_forgets_what_was_replaced_and_half_uploaded(common, bucket):
    rules = common.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"]: rule["Status"] for rule in rules} == {"uploads": "Enabled", "replaced": "Enabled"}
    by_id = {rule["ID"]: rule for rule in rules}
    assert by_id["uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert by_id["replaced"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert not any("Expiration" in rule for rule in rules), "what nodes may still fetch never expires"


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"])
def test_the_bucket_is_reached_over_new_tls_only(common, bucket, action):
    policy = json.loads(common.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
    assert {statement["Principal"] for statement in policy["Statement"]} == {"*"}
    # Somebody whom IAM lets do anything.
    rules = statements([policy]) + [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    what = f"arn:aws:s3:::{bucket}" + ("" if action == "s3:ListBucket" else "/bin/x")
    assert allowed(rules, action, what, aws__SecureTransport="true", s3__TlsVersion="1.2")
    assert allowed(rules, action, what, aws__SecureTransport="true", s3__TlsVersion="1.3")
    assert not allowed(rules, action, what, aws__SecureTransport="true", s3__TlsVersion="1.1")
    assert not allowed(rules, action, what, aws__SecureTransport="false")


def test_the_secret_holds_the_password_and_nothing_shows_it(common):
    secret = common.client("secretsmanager").get_secret_value(SecretId=outputs(common)["SecretArn"])
    assert secret["SecretString"] == PASSWORD
    cloudformation = common.client("cloudformation")
    shown = [
        cloudformation.describe_stacks(StackName=STACK),
        cloudformation.describe_stack_events(StackName=STACK),
        cloudformation.describe_stack_resources(StackName=STACK),
    ]
    assert PASSWORD not in json.dumps(shown, default=str)


def test_the_secret_outlives_the_stack_and_does_not_block_the_next_one(common):
    first = outputs(common)["SecretArn"]
    common.client("cloudformation").delete_stack(StackName=STACK)
    secrets = common.client("secretsmanager")
    assert secrets.get_secret_value(SecretId=first)["SecretString"] == PASSWORD
    deployed.common(common)
    assert outputs(common)["SecretArn"] != first


def test_the_bucket_goes_with_the_stack(common, bucket):
    common.client("cloudformation").delete_stack(StackName=STACK)
    with pytest.raises(ClientError, match="Not Found"):
        common.client("s3").head_bucket(Bucket=bucket)


def test_an_existing_secret_takes_the_place_of_a_new_one(aws):
    deployed.create(aws, STACK, "common.yaml", SecretArn=OTHERS_SECRET)
    assert outputs(aws)["SecretArn"] == OTHERS_SECRET
    assert aws.client("secretsmanager").list_secrets()["SecretList"] == []


def test_nodes_import_what_they_share_by_the_name_of_the_stack(aws):
    for stack in (STACK, "another"):
        deployed.common(aws, stack)
    exports = {item["Name"]: item["Value"] for item in aws.client("cloudformation").list_exports()["Exports"]}
    assert exports == {
        f"{stack}-{key}": outputs(aws, stack)[key]
        for stack in (STACK, "another")
        for key in ("Bucket", "ReplaceInstanceDocument", "SecretArn")
    }


def test_alarms_go_to_the_address(aws):
    deployed.create(aws, STACK, "common.yaml", WalletPassword=PASSWORD, AlarmEmail="me@example.org")
    topic = outputs(aws)["AlarmTopicArn"]
    (subscription,) = aws.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "me@example.org")


def test_only_the_account_publishes_alarms_and_over_tls_only(aws):
    deployed.create(aws, STACK, "common.yaml", WalletPassword=PASSWORD, AlarmEmail="me@example.org")
    topic = outputs(aws)["AlarmTopicArn"]
    policy = json.loads(aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    by_sid = {statement["Sid"]: statement for statement in policy["Statement"]}
    alarms = by_sid["Alarms"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed([alarms], "sns:Publish", topic, aws__SourceAccount="123456789012")
    assert not allowed([alarms], "sns:Publish", topic, aws__SourceAccount="210987654321")
    assert by_sid["Account"]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    assert by_sid["OverTlsOnly"]["Principal"] == "*"
    published = [by_sid["Account"], by_sid["OverTlsOnly"]]
    assert allowed(published, "sns:Publish", topic, aws__SecureTransport="true")
    assert not allowed(published, "sns:Publish", topic, aws__SecureTransport="false")


def test_a_creation_that_fails_leaves_no_secret(aws, monkeypatch):
    def refuse(*_):
        raise ValidationError(message="no documents today")

    monkeypatch.setattr(Document, "create", refuse)
    deployed.create(aws, STACK, "common.yaml", WalletPassword=PASSWORD)
    cloudformation = aws.client("cloudformation")
    (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    begun = {event["LogicalResourceId"] for event in cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]}
    assert "Secret" in begun
    assert aws.client("secretsmanager").list_secrets()["SecretList"] == []


def test_without_an_address_there_is_no_topic(common):
    assert "AlarmTopicArn" not in outputs(common)
    assert common.client("sns").list_topics()["Topics"] == []
