#!/usr/bin/env python3
"""Pushes images with one static program to a registry, through its HTTP API.

    push_image.py HOST:PORT REPOSITORY PROGRAM

The tags: latest; v2, the same program in another image; broken, an image that ends at once; rooted, one that keeps its
jobs where only root can go, as the real one seems to.
"""

import gzip
import hashlib
import http.client
import io
import json
import pathlib
import sys
import tarfile

PROGRAM = "edge-node"
JOBS = "root/fedml-miniconda"
# What sets the images apart, each in its config.
TAGS = {
    "latest": {},
    "v2": {"Labels": {"version": "2"}},
    "broken": {"Env": ["PATH=/", "EDGE_STANDIN_BROKEN=this build of the image cannot start"]},
    "rooted": {"Env": ["PATH=/", f"EDGE_STANDIN_JOBS=/{JOBS}"]},
}


def layer(program, rooted):
    """An uncompressed tar with the program and the folders that it needs; root's own where it is `rooted`."""
    folders = [("etc", 0o755), ("tmp", 0o1777), ("edgelauncher", 0o755), ("edgelauncher/data", 0o755)]
    if rooted:
        folders += [("root", 0o700), (JOBS, 0o755)]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder, mode in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        files = {PROGRAM: pathlib.Path(program).read_bytes(), "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"}
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def call(registry, method, target, body=b"", kind="application/octet-stream"):
    connection = http.client.HTTPConnection(registry, timeout=60)
    connection.request(method, target, body, {"Content-Type": kind, "Content-Length": str(len(body))})
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        sys.exit(f"{method} {target}: {answer.status} {answer.reason}")
    return answer


def push_blob(registry, repository, data):
    location = call(registry, "POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
    target = location[location.index("/v2/"):]
    call(registry, "PUT", f"{target}{'&' if '?' in target else '?'}digest={digest(data)}", data)
    return {"size": len(data), "digest": digest(data)}


def push(registry, repository, tag, tar, settings):
    config = {
        "architecture": "amd64",
        "os": "linux",
        # Like the real image: an entrypoint, and no command.
        "config": {"Entrypoint": ["/" + PROGRAM], "Env": ["PATH=/:/usr/bin"], "WorkingDir": "/", **settings},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
    }
    docker = "application/vnd.docker."
    manifest = {
        "schemaVersion": 2,
        "mediaType": docker + "distribution.manifest.v2+json",
        "config": {
            "mediaType": docker + "container.image.v1+json",
            **push_blob(registry, repository, json.dumps(config).encode()),
        },
        "layers": [
            {
                "mediaType": docker + "image.rootfs.diff.tar.gzip",
                **push_blob(registry, repository, gzip.compress(tar, mtime=0)),
            }
        ],
    }
    body = json.dumps(manifest).encode()
    call(registry, "PUT", f"/v2/{repository}/manifests/{tag}", body, manifest["mediaType"])
    print(f"{repository}:{tag} {digest(body)}")


def main():
    registry, repository, program = sys.argv[1:]
    layers = {rooted: layer(program, rooted) for rooted in (False, True)}
    for tag, settings in TAGS.items():
        push(registry, repository, tag, layers[tag == "rooted"], settings)


if __name__ == "__main__":
    main()
