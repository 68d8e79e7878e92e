"""How large the release binary is, and what each dependency takes of it."""

import collections
import re
import subprocess

import instance

MAP = instance.BINARY.with_suffix(".map")
# Whose code it is, by the crate in a symbol's name.
OWNERS = {
    "bootstrap": "bootstrap itself",
    "core": "Rust's standard library",
    "alloc": "Rust's standard library",
    "std": "Rust's standard library",
    "hashbrown": "Rust's standard library",
    "gimli": "Rust's standard library",
    "addr2line": "Rust's standard library",
    "rustc_demangle": "Rust's standard library",
    "crc_fast": "aws-sdk-s3: its checksums (crc-fast)",
    "rustls": "TLS (rustls, ring, webpki)",
    "ring": "TLS (rustls, ring, webpki)",
    "webpki": "TLS (rustls, ring, webpki)",
    "rustls_pki_types": "TLS (rustls, ring, webpki)",
    "rustls_native_certs": "TLS (rustls, ring, webpki)",
    "h2": "the SDK's HTTP (hyper, h2)",
    "hyper": "the SDK's HTTP (hyper, h2)",
    "hyper_util": "the SDK's HTTP (hyper, h2)",
    "http": "the SDK's HTTP (hyper, h2)",
    "http_body_util": "the SDK's HTTP (hyper, h2)",
    "hyper_rustls": "the SDK's HTTP (hyper, h2)",
    "clap_builder": "clap",
    "clap_complete": "clap",
    "clap_mangen": "clap",
    "ureq": "ureq",
    "ureq_proto": "ureq",
    "tracing_core": "tracing",
    "tracing_subscriber": "tracing",
    "serde_core": "serde_json",
}


# How rustc writes in a symbol's name what a symbol may not hold.
WRITTEN = {"$LT$": "<", "$GT$": ">", "$RF$": "&", "$BP$": "*", "$u20$": " ", "..": "::"}


def owner(name):
    """The dependency that a symbol belongs to."""
    for written, meant in WRITTEN.items():
        name = name.replace(written, meant)
    if name.startswith(("ecp_nistz", "ring_core", "aes_", "chacha20_", "sha256_", "sha512_", "gcm_", "bn_")):
        return OWNERS["ring"]
    crate = re.search(r"(?<![A-Za-z0-9_:])_?([a-z][a-z0-9_]*)::", name)
    if not crate:
        return "what has no crate in its name"
    crate = crate.group(1)
    if crate in OWNERS:
        return OWNERS[crate]
    if crate.startswith("aws_sdk_"):
        return crate.replace("_", "-")
    if crate.startswith("aws_"):
        return "the SDK's runtime (aws-smithy-…, aws-sigv4)"
    return crate.replace("_", "-")


def costs():
    """Bytes by dependency, from the linker's map: two addresses, size, alignment, a symbol's name behind blanks."""
    symbol = re.compile(r"^ *[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+) +\d+ {17}(\S.*)$")
    found = collections.Counter()
    with open(MAP) as lines:
        for line in lines:
            one = symbol.match(line)
            if one:
                found[owner(one.group(2))] += int(one.group(1), 16)
    return found


def take(quick):
    """Bytes of the binary, of its sections, and by dependency."""
    sections = {}
    listed = subprocess.run(
        ["readelf", "--sections", "--wide", instance.BINARY], check=True, capture_output=True, text=True
    )
    for line in listed.stdout.splitlines():
        part = re.match(r"\s*\[ *\d+\] (\.\S+)\s+(\S+)\s+\S+\s+\S+\s+(\S+)", line)
        if part and part.group(2) != "NOBITS":
            sections[part.group(1)] = int(part.group(3), 16)
    found = costs()
    most = dict(found.most_common(20))
    most["the rest"] = sum(found.values()) - sum(most.values())
    return {
        "bytes": instance.BINARY.stat().st_size,
        "aws_cli": sum(file.stat().st_size for part in AWS_CLI for file in part.rglob("*") if file.is_file()),
        "sections": sections,
        "dependencies": most,
    }


# What the AWS CLI is of, unpacked, as scripts/bench gets it from PyPI.
AWS_CLI = [instance.REPOSITORY / "target/bench/guest/python" / part for part in ["awscli", "botocore", "s3transfer"]]
# Bytes, as measured before this project began.
IGNITION = 19_700_000


def rows(figures):
    """The table's rows."""
    size = figures["bytes"]
    return [
        (
            "the release binary",
            f"{size / 1e6:.2f} MB",
            f"ignition 2.14: {IGNITION / 1e6:.1f} MB",
            f"{IGNITION / size:.1f} times smaller",
            "8.75 MB at most",
            size <= 8_750_000,
        ),
        (
            "the same",
            f"{size / 1e6:.2f} MB",
            f"the AWS CLI: {figures['aws_cli'] / 1e6:.0f} MB",
            f"{figures['aws_cli'] / size:.0f} times smaller",
            "",
            None,
        ),
    ]


def more(figures):
    """What the page says beyond the table."""

    def listed(sizes, least):
        ordered = sorted(sizes.items(), key=lambda pair: -pair[1])
        return [f"{name} {size / 1000:,.0f}" for name, size in ordered if size >= least]

    lines = [
        "What takes how much of the binary, in kB, by the names of its functions and data:",
        "",
        "; ".join(listed(figures["dependencies"], 1)) + ".",
        "",
        "Its sections, in kB: " + "; ".join(listed(figures["sections"], 1000)) + ".",
    ]
    return "\n".join(lines)
