"""A node in miniature: a folder with the files of a node, and a `bootstrap`, a `docker` and an edge node that act on
them as the real ones would. Commands of SSM run in it with the real sh, python3 and openssl.

As a program it is those two tools: fake_node.py ROOT bootstrap|docker ARGUMENT…
"""

import fcntl
import json
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ASSETS = Path(__file__).parents[2] / "cloudformation/assets"
FOLDER = "data/edgelauncher/edgecore/key/encrypted"
# Seconds that a command of SSM may take: one that waits for what never comes must fail its test, not hold it up.
DEADLINE = 120
# The real openssl, but for the length of the pairs that it makes.
SHORT_PAIRS = """#!/bin/sh
for word; do
    shift
    [ "$word" != rsa:3072 ] || word=rsa:1024
    set -- "$@" "$word"
done
exec /usr/bin/openssl "$@"
"""


def make_key(address: str | None = None) -> tuple[str, bytes]:
    """An address and its key file, as a wallet writes it."""
    digits = (address or "0x" + secrets.token_hex(20)).removeprefix("0x")
    key = {
        "address": digits,
        "crypto": {
            "cipher": "aes-128-ctr",
            "ciphertext": secrets.token_hex(32),
            "cipherparams": {"iv": secrets.token_hex(16)},
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": secrets.token_hex(32)},
            "mac": secrets.token_hex(32),
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
    return "0x" + digits, json.dumps(key).encode()


@dataclass
class FakeNode:
    root: Path
    # Words before the shell that a command of SSM runs in.
    tracer: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("bin", "etc/bootstrap", "opt/bootstrap/assets", "run/bootstrap"):
            (self.root / folder).mkdir(parents=True)
        self.folder.mkdir(parents=True, mode=0o700)
        (self.root / "etc/bootstrap/config.json").write_text('{"edge": {"network": "mainnet"}}')
        shutil.copy(ASSETS / "edge.json", self.root / "opt/bootstrap/assets")
        for tool in ("bootstrap", "docker"):
            program = self.root / "bin" / tool
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{self.root}" {tool} "$@"\n')
            program.chmod(0o755)
        # What a pair of full length takes most of a test's time for; tests that see the whole path remove this.
        self.short_pairs.write_text(SHORT_PAIRS)
        self.short_pairs.chmod(0o755)
        quiet = {"refuses": [], "unproven": [], "is_repaired": False}
        self.set(running=False, answers=True, volume="pass", address=None, journal=None, **quiet)

    @property
    def short_pairs(self) -> Path:
        return self.root / "bin/openssl"

    # What the tests look at.

    @property
    def folder(self) -> Path:
        return self.root / FOLDER

    @property
    def keys(self) -> dict[str, bytes]:
        """The files of the key folder."""
        return {file.name: file.read_bytes() for file in self.folder.iterdir()}

    @property
    def aside(self) -> list[bytes]:
        """The keys that were put aside, whole files only."""
        files = sorted((self.root / "data/replaced-keys").glob("0x*/*"))
        return [file.read_bytes() for file in files]

    @property
    def state(self) -> dict:
        return json.loads((self.root / "state.json").read_text())

    @property
    def calls(self) -> list[str]:
        """The tools' calls that change something."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    # What the tests arrange.

    def set(self, **changes) -> None:
        """refuses: addresses whose node does not start; unproven: whose key the wallet password does not open. is_repaired: by its timer, where it is down."""
        file = self.root / "state.json"
        now = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(now | changes))

    def add_key(self, content: bytes, name: str) -> None:
        file = self.folder / name
        file.write_bytes(content)
        file.chmod(0o600)

    def start(self, address: str | None = None) -> tuple[str, bytes]:
        """Runs the node with a key of its own."""
        address, content = make_key(address)
        self.add_key(content, address.removeprefix("0x"))
        self.set(running=True, address=address)
        return address, content

    # What SSM does.

    def run_command(self, instance: str, script: str) -> tuple[int, str, str]:
        try:
            ended = subprocess.run(
                [*self.tracer, "sh"],
                input=script,
                capture_output=True,
                text=True,
                env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "BOOTSTRAP_ROOT": str(self.root), "HOME": "/root"},
                timeout=DEADLINE,
            )
        except subprocess.TimeoutExpired:
            return 1, "", f"it did not end within {DEADLINE} s\n"
        return ended.returncode, ended.stdout, ended.stderr

    # The tools.

    def bootstrap(self, *arguments: str) -> int:
        state = self.state
        if arguments in {("verify", "--json"), ("verify", "--json", "--prove-password")}:
            checks = self.checks(state) + self.proof(state) if "--prove-password" in arguments else self.checks(state)
            print(json.dumps({"verdict": "syncing", "checks": checks}))
            return 5
        if arguments == ("status", "--json"):
            print(json.dumps({"phases": [{"name": "container", "error": state["journal"]}]}))
            return 0
        self.note("bootstrap", *arguments)
        if arguments == ("--phase", "wallet-backup"):
            return 0
        assert arguments == ("--phase", "container"), arguments
        with (self.root / "run/bootstrap/lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 3
            code = self.start_container(state)
        if code and state["is_repaired"]:
            # The next repair begins at once, and takes a second.
            repair = ["flock", str(self.root / "run/bootstrap/lock"), "sh", "-c", "echo; exec sleep 1"]
            quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.Popen(repair, stdout=subprocess.PIPE, **quiet).stdout.readline()
        return code

    def start_container(self, state: dict) -> int:
        if state["running"]:
            return 0
        names = list(self.keys)
        if len(names) > 1:
            return self.fail("there are several files in the key folder", "move all but the right key file out")
        if not names:
            # As the edge node does: it makes itself a new key.
            self.start()
            return 0
        address = "0x" + json.loads(self.keys[names[0]])["address"]
        if address in state["refuses"]:
            return self.fail("the wallet password does not open the key on the volume", "correct the secret")
        self.set(running=True, address=address)
        return 0

    def fail(self, reason: str, hint: str) -> int:
        self.set(journal={"reason": reason, "hint": hint, "causes": []})
        return 1

    def checks(self, state: dict) -> list[dict]:
        up = state["running"] and state["answers"]
        return [
            {"name": "volume", "status": state["volume"], "detail": "volume detail", "hint": "run: volume hint"},
            {"name": "key", "status": "pass", "detail": "one key", "hint": None},
            {
                "name": "container",
                "status": "pass" if state["running"] else "fail",
                "detail": "running for 9 s, 0 restarts" if state["running"] else "exited, exit code 1",
                "hint": None,
            },
            {
                "name": "rpc",
                "status": "pass" if up else "fail",
                "detail": f"{state['address']}, mainnet, 1.0.0" if up else "connection refused",
                "hint": None,
            },
        ]

    def proof(self, state: dict) -> list[dict]:
        opens = not {f"0x{name}" for name in self.keys} & set(state["unproven"])
        wrong = {"status": "fail", "detail": "the wallet password does not open it", "hint": "correct the secret"}
        return [{"name": "secret", "status": "pass", "detail": "it opens it", "hint": None} | ({} if opens else wrong)]

    def docker(self, *arguments: str) -> int:
        if arguments == ("container", "inspect", "edgelauncher"):
            return 0
        assert arguments == ("stop", "-t", "60", "edgelauncher"), arguments
        self.note("docker", *arguments)
        self.set(running=False)
        if state := self.state.get("while_stopping"):
            # What the container's own program does in its last moment.
            subprocess.run(["sh", "-euc", state], cwd=self.folder, check=True)
        return 0

    def note(self, *words: str) -> None:
        with (self.root / "calls").open("a") as file:
            file.write(" ".join(words) + "\n")


def main() -> int:
    root, tool, *arguments = sys.argv[1:]
    node = object.__new__(FakeNode)
    node.root, node.tracer = Path(root), []
    return getattr(node, tool)(*arguments)


if __name__ == "__main__":
    sys.exit(main())
