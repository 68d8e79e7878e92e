"""A node in miniature that can be upgraded: a folder with the files of a node, and a `bootstrap` and a `docker` that act on
them as the real ones would. Commands of SSM run in it with the real sh, python3 and curl.

As a program it is those two tools: upgraded_node.py ROOT bootstrap|docker VERSION ARGUMENT…
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = {"bootstrap": "usr/local/bin/bootstrap", "docker": "bin/docker"}
HANDLE = "https://handle.example/1?signature=x"


@dataclass
class UpgradedNode:
    root: Path
    # Words before the shell that a command of SSM runs in.
    tracer: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("bin", "usr/local/bin", "etc/bootstrap", "opt/bootstrap/assets", "run/bootstrap", "var/lib/bootstrap"):
            (self.root / folder).mkdir(parents=True)
        for tool, path in TOOLS.items():
            (self.root / path).write_bytes(self.program(tool, "old"))
            (self.root / path).chmod(0o755)

    # What the tests arrange.

    def program(self, tool: str, version: str) -> bytes:
        return f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{self.root}" {tool} {version} "$@"\n'.encode()

    def start(self, config: dict) -> None:
        """With this config, and all that it names."""
        (self.root / "etc/bootstrap/config.json").write_text(json.dumps(config))
        self.set(images={}, registry={})
        assert self.run("") == 0
        self.calls.unlink()

    def set(self, **changes) -> None:
        """registry: the image's id by its tag, as pulled now; images: as it was pulled."""
        file = self.root / "state.json"
        now = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(now | changes))

    # What they look at.

    @property
    def calls(self) -> Path:
        return self.root / "calls"

    @property
    def state(self) -> dict:
        return json.loads((self.root / "state.json").read_text())

    @property
    def config(self) -> dict:
        return json.loads((self.root / "etc/bootstrap/config.json").read_text())

    @property
    def runs(self) -> str:
        """What the container was started from: the binary's version, image and assets."""
        return (self.root / "container").read_text()

    @property
    def kept(self) -> bool:
        return (self.root / "var/lib/bootstrap/previous").exists()

    # What SSM does.

    def run_command(self, instance: str, script: str) -> tuple[int, str, str]:
        ended = subprocess.run(
            [*self.tracer, "sh"],
            input=script,
            capture_output=True,
            text=True,
            env={
                "PATH": f"{self.root}/bin:{Path(sys.executable).parent}:/usr/bin:/bin",
                "BOOTSTRAP_ROOT": str(self.root),
                "HOME": "/root",
                "EDGE_POLL_SECONDS": "0.01",
                "NO_PROXY": "127.0.0.1",
            },
        )
        return ended.returncode, ended.stdout, ended.stderr

    def run(self, *arguments: str) -> int:
        words = [argument for argument in arguments if argument]
        return subprocess.run([self.root / TOOLS["bootstrap"], *words], check=False).returncode

    # The tools.

    def bootstrap(self, version: str, *arguments: str) -> int:
        if arguments[:1] == ("--config",):
            assert arguments[2:] == ("config", "check"), arguments
            json.loads(Path(arguments[1]).read_text())
            return 0
        if arguments == ("status", "--json"):
            error = self.state.get("error")
            print(json.dumps({"phases": [{"name": "image", "status": "failed" if error else "ok", "error": error}]}))
            return 0
        if arguments == ("verify", "--json"):
            good = self.good()
            check = {"name": "rpc", "status": "pass" if good else "fail", "detail": "it does not answer", "hint": "look"}
            print(json.dumps({"verdict": "syncing" if good else "unhealthy", "checks": [check]}))
            return 5 if good else 1
        with self.calls.open("a") as file:
            file.write(" ".join([version, *arguments]) + "\n")
        # A newer version knows a key that an older one does not.
        if "backup" in self.config and version == "old":
            return self.fail("the config has an unknown key")
        if arguments == ("--phase", "assets"):
            return self.unpack()
        force = arguments == ("--phase", "image", "--force")
        assert force or not arguments, arguments
        if (code := self.pull(force)) or force:
            return code
        self.unpack()
        image = self.state["images"][self.reference]
        (self.root / "container").write_text(f"{version} {image} {self.config['assets']['sha256'][:4]}")
        return 0 if self.good() else self.fail("the node does not answer")

    def good(self) -> bool:
        return "sick" not in self.runs

    @property
    def reference(self) -> str:
        edge = self.config["edge"]
        return edge.get("digest") or edge["tag"]

    def unpack(self) -> int:
        folder, wanted = self.root / "opt/bootstrap/assets", self.config["assets"]["sha256"]
        manifest = folder / ".sha256"
        if not manifest.exists() or manifest.read_text() != wanted:
            folder.mkdir(exist_ok=True)
            manifest.write_text(wanted)
        return 0

    def pull(self, force: bool) -> int:
        state = self.state
        if force or self.reference not in state["images"]:
            if self.reference == "missing":
                return self.fail("there is no image missing")
            found = state["registry"].get(self.reference, self.reference)
            self.set(images=state["images"] | {self.reference: found})
        self.set(error=None)
        return 0

    def fail(self, reason: str) -> int:
        self.set(error={"reason": reason, "hint": "give another one"})
        return 1

    def docker(self, _: str, *arguments: str) -> int:
        images = self.state["images"]
        if arguments[:2] == ("image", "inspect"):
            name = arguments[-1].split(":")[-1]
            print(images.get(name, ""))
            return 0 if name in images else 1
        tag, known, reference = arguments
        assert tag == "tag", arguments
        self.set(images=images | {reference.split(":")[-1]: known})
        return 0


def main() -> int:
    root, tool, *arguments = sys.argv[1:]
    node = object.__new__(UpgradedNode)
    node.root, node.tracer = Path(root), []
    return getattr(node, tool)(*arguments)


if __name__ == "__main__":
    sys.exit(main())
