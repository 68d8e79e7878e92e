#!/usr/bin/env python3
"""Tells the simulated AWS (moto) what a stack would have made, and takes it away again.

    cloud.py launch STATE.json   puts binary, assets, secret and volume in place, starts an instance,
                                 and writes what the metadata service tells about it
    cloud.py stop INSTANCE       terminates it, which lets go of its volume

STATE.json names: name, region, binary, assets, password, volume ("" for a new one), size (GiB),
run (false: user-data ends before it starts bootstrap), template and out (a folder, which gets instance-id, volume-id and instance.json).
"""

import hashlib
import json
import pathlib
import subprocess
import sys

import boto3

ENDPOINT = "http://127.0.0.1:5000"
BUCKET = "bootstrap-local"
SECRET = "bootstrap-local/password"


def client(service, region="us-east-1"):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=ENDPOINT,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def upload(s3, key, file):
    data = pathlib.Path(file).read_bytes()
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    return hashlib.sha256(data).hexdigest()


def secret_arn(password, region):
    manager = client("secretsmanager", region)
    try:
        return manager.create_secret(Name=SECRET, SecretString=password)["ARN"]
    except manager.exceptions.ResourceExistsException:
        return manager.put_secret_value(SecretId=SECRET, SecretString=password)["ARN"]


def launch(state):
    region = state["region"]
    zone = region + "a"
    out = pathlib.Path(state["out"])

    s3 = client("s3", region)
    s3.create_bucket(Bucket=BUCKET)
    binary = upload(s3, "bootstrap", state["binary"])
    assets = upload(s3, "assets.tar.gz", state["assets"])

    ec2 = client("ec2", region)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    instance = ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        InstanceType="c6i.xlarge",
        Placement={"AvailabilityZone": zone},
    )["Instances"][0]["InstanceId"]
    volume = state["volume"] or ec2.create_volume(
        AvailabilityZone=zone, Size=state["size"], Encrypted=True, VolumeType="gp3"
    )["VolumeId"]

    handle = (
        f"https://cloudformation-waitcondition-{region}.s3.{region}.amazonaws.com/"
        f"arn%3Aaws%3Acloudformation%3A{region}%3A123456789012%3Astack/{state['name']}/0/WaitHandle"
        "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=86399&X-Amz-SignedHeaders=host&X-Amz-Signature=local"
    )
    values = {
        "AWS::Region": region,
        "AWS::StackName": state["name"],
        "AWS::URLSuffix": "amazonaws.com",
        "Bucket": BUCKET,
        "BinaryKey": "bootstrap",
        "BinarySha256": binary,
        "AssetsKey": "assets.tar.gz",
        "AssetsSha256": assets,
        "SecretArn": secret_arn(state["password"], region),
        "Volume": volume,
        "WaitHandle": handle,
        "Gpu": "false",
    }
    values_file = out / "values.json"
    values_file.write_text(json.dumps(values))
    render = pathlib.Path(__file__).with_name("render.py")
    user_data = subprocess.run(
        [sys.executable, render, state["template"], values_file],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    if not state["run"]:
        user_data = user_data.replace("exec /usr/local/bin/bootstrap\n", "exit\n")

    (out / "instance.json").write_text(
        json.dumps(
            {
                "instance-id": instance,
                "region": region,
                "availability-zone": zone,
                "name": state["name"],
                "user-data": user_data,
            }
        )
    )
    (out / "volume-id").write_text(volume)
    (out / "instance-id").write_text(instance)


def stop(instance):
    ec2 = client("ec2")
    mine = [{"Name": "attachment.instance-id", "Values": [instance]}]
    for volume in ec2.describe_volumes(Filters=mine)["Volumes"]:
        ec2.detach_volume(VolumeId=volume["VolumeId"], InstanceId=instance)
    ec2.terminate_instances(InstanceIds=[instance])


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        launch(json.loads(pathlib.Path(sys.argv[2]).read_text()))
    else:
        stop(sys.argv[2])
