"""Puts the binary, the assets and the templates into the bucket of the common stack, under their hashes."""

from __future__ import annotations

import sys

from theta_edge import artifacts, stacks
from theta_edge.artifacts import Binary
from theta_edge.aws import Aws
from theta_edge.command import COMMON_HELP, Common, Failed, options

HELP = f"""\
Usage: scripts/publish [OPTION…]

Uploads the binary, the archive of cloudformation/assets, node.yaml and fleet.yaml to the bucket of
the common stack, under keys with their SHA-256, unless they are there already. Prints the parameters
of the node's stack that name them. scripts/deploy and scripts/upgrade do this by themselves.

  --common NAME               the common stack (default: theta-edge-common)
{artifacts.HELP}{COMMON_HELP}"""


def main(arguments: list[str]) -> int:
    shared, common, binary = Common(), "theta-edge-common", Binary()
    for option, value in options(arguments, shared, ["--common", "--binary", "--binary-sha256"]):
        if option == "--common":
            common = value
        elif option == "--binary":
            binary.source = value
        else:
            binary.sha256 = value
    aws = Aws(shared)
    stack = stacks.find(aws, common)
    bucket = stack.outputs.get("Bucket") if stack else None
    if not bucket:
        raise Failed(f"there is no common stack {common} in {aws.region}: scripts/deploy creates it")
    if wrong := binary.problem():
        raise Failed(wrong)
    made = artifacts.name(aws, bucket, binary.file)
    for line in artifacts.upload(aws, bucket, made):
        print(line, file=sys.stderr)
    for key, value in made.parameters.items():
        print(f"{key}={value}")
    return 0
