"""scripts/publish: what lies in the bucket afterwards, and what it refuses to put there."""

import hashlib
import io
import tarfile

import pytest

import deployed
from conftest import program, would_run
from deployed import REPO


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
    ended = deployed.run(aws, "publish", "--binary", str(binary))
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
    deployed.run(aws, "publish", "--binary", str(binary))
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
    first = deployed.run(aws, "publish", "--binary", str(binary))
    before = versions(aws, bucket)
    second = deployed.run(aws, "publish", "--binary", str(binary))
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert second.stderr == first.stderr.replace("uploaded:", "already there:")
    assert versions(aws, bucket) == before


def test_a_dry_run_prints_the_uploads_and_makes_none(aws, bucket, binary):
    ended = deployed.run(aws, "publish", "--binary", str(binary), "--dry-run")
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = would_run(ended.stdout)
    sha = hashlib.sha256(binary.read_bytes()).hexdigest()
    assert len(calls) == 4
    assert calls[0] == [
        "aws", "--region", "us-east-1", "s3api", "put-object",
        "--bucket", bucket, "--key", f"bin/{sha}/bootstrap", "--body", str(binary),
    ]  # fmt: skip
    assert objects(aws, bucket) == {}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "is missing: make it with scripts/build-release, or say --binary FILE"),
        (b"#!/bin/sh\n", "is no x86_64 program"),
        (b"", "is no x86_64 program"),
        (program()[:40], "is no x86_64 program"),
        (program(machine=183), "is no x86_64 program"),
        (program(interpreter=True), "is not static, so it would not run everywhere: make it with scripts/build-release"),
    ],
)
def test_what_would_not_run_on_every_instance_is_refused(aws, bucket, binary, content, wrong):
    if content is None:
        binary.unlink()
    else:
        binary.write_bytes(content)
    ended = deployed.run(aws, "publish", "--binary", str(binary))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"publish: {binary} {wrong}\n")
    assert objects(aws, bucket) == {}


def test_without_the_common_stack_it_says_who_makes_it(aws, binary):
    ended = deployed.run(aws, "publish", "--binary", str(binary), "--common", "other")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "publish: there is no common stack other in us-east-1: scripts/deploy makes it\n"


def test_another_kind_of_tar_is_refused(aws, tmp_path, monkeypatch):
    tar = tmp_path / "tar"
    tar.write_text("#!/bin/sh\necho 'bsdtar 3.5.3 - libarchive 3.7.4'\n")
    tar.chmod(0o755)
    environment = deployed.environment(aws)
    monkeypatch.setattr(deployed, "environment", lambda _: environment | {"PATH": f"{tmp_path}:{environment['PATH']}"})
    ended = deployed.run(aws, "publish")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "publish: needs GNU tar and sha256sum: install GNU tar and coreutils, or run this in AWS CloudShell\n"
    )
