"""scripts/publish: what lies in the bucket afterwards, and what it refuses to put there."""

import base64
import hashlib
import io
import os
import tarfile
from urllib.error import URLError

import pytest
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response

import deployed
from operate import REPO, program, run, would_run


@pytest.fixture
def bucket(aws) -> str:
    deployed.common(aws)
    return deployed.output(aws, "theta-edge-common", "Bucket")


def objects(aws, bucket: str) -> dict[str, bytes]:
    s3 = aws.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def versions(aws, bucket: str) -> int:
    return len(aws.client("s3").list_object_versions(Bucket=bucket)["Versions"])


def test_everything_lies_under_its_hash_and_the_parameters_say_where(aws, bucket, binary):
    ended = run(aws, "publish", "--binary", str(binary))
    assert ended.returncode == 0, ended.stderr
    held = objects(aws, bucket)
    for key, content in held.items():
        assert key.split("/")[1] == hashlib.sha256(content).hexdigest()
    key_of = {key.split("/")[2]: key for key in held}
    assert set(key_of) == {"bootstrap", "assets.tar.gz", "node.yaml", "fleet.yaml"}
    assert held[key_of["bootstrap"]] == binary.read_bytes()
    for template in ("node.yaml", "fleet.yaml"):
        assert held[key_of[template]] == (REPO / "cloudformation" / template).read_bytes()
    url = f"https://{bucket}.s3.us-east-1.amazonaws.com"
    assert ended.stdout.splitlines() == [
        f"BinaryKey={key_of['bootstrap']}",
        f"BinarySha256={key_of['bootstrap'].split('/')[1]}",
        f"AssetsKey={key_of['assets.tar.gz']}",
        f"AssetsSha256={key_of['assets.tar.gz'].split('/')[1]}",
        f"NodeTemplateUrl={url}/{key_of['node.yaml']}",
        f"FleetTemplateUrl={url}/{key_of['fleet.yaml']}",
    ]
    assert sorted(ended.stderr.splitlines()) == sorted(f"uploaded: s3://{bucket}/{key}" for key in held)


def test_the_archive_holds_the_assets_and_nothing_of_this_machine(aws, bucket, binary):
    run(aws, "publish", "--binary", str(binary))
    (archive,) = [content for key, content in objects(aws, bucket).items() if key.startswith("assets/")]
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
            assert member.mode == (0o755 if member.isdir() else 0o644)
            if member.isfile():
                assert tar.extractfile(member).read() == (REPO / "cloudformation/assets" / member.name).read_bytes()
        names = {member.name for member in tar if member.isfile()}
    assert names == {f"./{file.name}" for file in (REPO / "cloudformation/assets").iterdir()}


def test_what_is_there_already_is_left_alone(aws, bucket, binary):
    first = run(aws, "publish", "--binary", str(binary))
    before = versions(aws, bucket)
    second = run(aws, "publish", "--binary", str(binary))
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert second.stderr == first.stderr.replace("uploaded:", "already there:")
    assert versions(aws, bucket) == before


def test_a_dry_run_prints_the_uploads_and_makes_none(aws, bucket, binary):
    ended = run(aws, "publish", "--binary", str(binary), "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = would_run(ended.stdout)
    sha = hashlib.sha256(binary.read_bytes()).hexdigest()
    assert len(calls) == 4
    checksum = base64.b64encode(hashlib.sha256(binary.read_bytes()).digest()).decode()
    assert calls[0] == [
        "aws", "--region", "us-east-1", "s3api", "put-object", "--bucket", bucket, "--key", f"bin/{sha}/bootstrap",
        "--body", str(binary), "--checksum-sha256", checksum, "--expected-bucket-owner", "123456789012",
    ]  # fmt: skip
    assert objects(aws, bucket) == {}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "is missing: build it with scripts/build-release, or use --binary FILE"),
        (b"#!/bin/sh\n", "is not an x86_64 program"),
        (b"", "is not an x86_64 program"),
        (program()[:40], "is not an x86_64 program"),
        (program(machine=183), "is not an x86_64 program"),
        (program(interpreter=True), "is not static, so it would not run everywhere: build it with scripts/build-release"),
    ],
)
def test_what_would_not_run_on_every_instance_is_refused(aws, bucket, binary, content, wrong):
    if content is None:
        binary.unlink()
    else:
        binary.write_bytes(content)
    ended = run(aws, "publish", "--binary", str(binary))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"publish: {binary} {wrong}\n")
    assert objects(aws, bucket) == {}


def test_without_the_common_stack_it_says_who_makes_it(aws, binary):
    ended = run(aws, "publish", "--binary", str(binary), "--common", "other")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "publish: there is no common stack other in us-east-1: scripts/deploy creates it\n"


def test_what_somebody_else_has_put_there_is_not_believed(aws, bucket, binary):
    """Whoever may write to the bucket could lay a template there that the next deployment runs with IAM's rights."""
    first = run(aws, "publish", "--binary", str(binary))
    node = next(key for key in objects(aws, bucket) if key.endswith("/node.yaml"))
    planted = hashlib.sha256(b"Resources: {}").digest()
    aws.client("s3").put_object(
        Bucket=bucket, Key=node, Body=b"Resources: {}", ChecksumSHA256=base64.b64encode(planted).decode()
    )
    ended = run(aws, "publish", "--binary", str(binary))
    assert (first.returncode, ended.returncode, ended.stdout) == (0, 1, "")
    assert ended.stderr == (
        f"publish: s3://{bucket}/{node} is not what its name says: somebody else has written it. See who may write to the "
        f"bucket, then delete it: aws s3api delete-object --region us-east-1 --bucket {bucket} --key {node}\n"
    )
    # What was put there without a checksum could be anything, too: it is replaced.
    key = s3_backends["123456789012"]["aws"].buckets[bucket].keys[node]
    key.checksum_algorithm = None
    ended = run(aws, "publish", "--binary", str(binary))
    assert ended.returncode == 0, ended.stderr
    assert f"uploaded: s3://{bucket}/{node}\n" in ended.stderr
    assert objects(aws, bucket)[node] == (REPO / "cloudformation/node.yaml").read_bytes()


def test_the_bucket_must_be_of_this_account(aws, bucket, binary, monkeypatch):
    owners = []
    head_object = S3Response.head_object

    def head(response, *rest, **more):
        owners.append(response.headers.get("x-amz-expected-bucket-owner"))
        return head_object(response, *rest, **more)

    monkeypatch.setattr(S3Response, "head_object", head)
    assert run(aws, "publish", "--binary", str(binary)).returncode == 0
    assert owners == ["123456789012"] * 4


@pytest.fixture
def mirror(monkeypatch):
    """An https server of releases: content by address. Returns what was asked for."""
    held, asked = {}, []

    def urlopen(address, **_):
        asked.append(address)
        if address not in held:
            raise URLError("connection refused")
        answer = io.BytesIO(held[address])
        answer.geturl = lambda: address
        return answer

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return held, asked


def test_a_binary_can_come_from_an_https_address(aws, bucket, mirror):
    held, asked = mirror
    address, content = "https://example.org/releases/bootstrap", program() + os.urandom(8)
    held[address] = content
    sha = hashlib.sha256(content).hexdigest()
    options = ["--binary", address, "--binary-sha256", sha]
    ended = run(aws, "publish", *options)
    assert ended.returncode == 0, ended.stderr
    assert objects(aws, bucket)[f"bin/{sha}/bootstrap"] == content
    # It is fetched once.
    assert run(aws, "publish", *options).returncode == 0
    assert asked == [address]


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["http://example.org/b"], "http://example.org/b is not an https address: the server could not be verified"),
        (["https://example.org/b"], "https://example.org/b is a download: give its SHA-256 with --binary-sha256"),
        (
            ["https://example.org/none", "--binary-sha256", "0" * 64],
            "https://example.org/none cannot be fetched: connection refused",
        ),
        (
            ["https://example.org/other", "--binary-sha256", "0" * 64],
            f"https://example.org/other has the SHA-256 {hashlib.sha256(b'other').hexdigest()}, not {'0' * 64}: "
            "check where it comes from",
        ),
        (["/bin/true", "--binary-sha256", "beef"], "--binary-sha256 takes 64 hex digits, not 'beef'"),
    ],
)
def test_a_binary_from_elsewhere_is_checked_first(aws, bucket, mirror, options, wrong):
    mirror[0]["https://example.org/other"] = b"other"
    ended = run(aws, "publish", "--binary", *options)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"publish: {wrong}\n")
    assert objects(aws, bucket) == {}


def test_a_file_must_be_what_was_named(aws, bucket, binary):
    ended = run(aws, "publish", "--binary", str(binary), "--binary-sha256", "0" * 64)
    sha = hashlib.sha256(binary.read_bytes()).hexdigest()
    assert (ended.returncode, ended.stderr) == (
        1,
        f"publish: {binary} has the SHA-256 {sha}, not {'0' * 64}: check where it comes from\n",
    )
