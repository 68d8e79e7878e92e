"""scripts/build-release, with a compiler in miniature that does to the binary what the real ones do: it writes the names
of the source files into it, as far as it is not told otherwise."""

import hashlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from deployed import REPO

TARGET = "x86_64-unknown-linux-musl"

# Logs what it is told. Builds a file of the sources and of the names of three source files. For `cyclonedx` it writes a
# bill of materials as the tool does, beside each Cargo.toml.
CARGO = r'''#!/usr/bin/env python3
import json, os, pathlib, sys

arguments = sys.argv[1:]
home = pathlib.Path(os.environ["HOME"])
with (home / "calls").open("a") as calls:
    calls.write(json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}) + "\n")

def told(name):
    return pathlib.Path(arguments[arguments.index(name) + 1])

def remapped(path):
    for pair in reversed(os.environ["CARGO_ENCODED_RUSTFLAGS"].split("\x1f")):
        old, new = pair.removeprefix("--remap-path-prefix=").rsplit("=", 1)
        if str(path).startswith(old + "/"):
            return new + str(path)[len(old):]
    return str(path)

if arguments[0] == "fetch":
    (home / ".cargo/registry/src/index-1/clap-4").mkdir(parents=True, exist_ok=True)
elif arguments[0] == "rustc":
    into, sources = told("--target-dir"), pathlib.Path.cwd()
    names = [sources / "src/main.rs", into / "out/generated.rs", home / ".cargo/registry/src/index-1/clap-4/lib.rs"]
    binary = into / "x86_64-unknown-linux-musl/release/bootstrap"
    binary.parent.mkdir(parents=True, exist_ok=True)
    text = [(sources / "src/main.rs").read_text(), os.environ["BOOTSTRAP_COMMIT"], *map(remapped, names)]
    if (home / "careless").exists():
        text.append(str(sources))
    binary.write_text("\n".join(text))
elif arguments[0] == "install":
    tool = told("--root") / "bin/cargo-cyclonedx"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\ncase $2 in --version) echo cargo-cyclonedx-cyclonedx 0.5.9 ;; *) exec cargo \"$@\" ;; esac\n")
    tool.chmod(0o755)
elif arguments[0] == "cyclonedx":
    def component(name, version, reference):
        return {"name": name, "version": version, "bom-ref": reference}
    folder = os.getcwd().replace(" ", "%20")
    me, library, other = f"path+file://{folder}#bootstrap@0.1.0", "registry#clap@4.0.0", "registry#moto@1.0.0"
    text = json.dumps({
        "metadata": {"component": component("bootstrap", "0.1.0", me)},
        "components": [component("clap", "4.0.0", library), component("moto", "1.0.0", other)],
        "dependencies": [{"ref": me, "dependsOn": [library, other]}, {"ref": library}, {"ref": other}],
    })
    pathlib.Path("bootstrap_bin.cdx.json").write_text(text)
    pathlib.Path("tests/standins/edge-node_bin.cdx.json").write_text(text)
elif arguments[0] == "tree":
    print("bootstrap v0.1.0 (/somewhere)\nclap v4.0.0\nclap v4.0.0 (*)")
'''

RUSTC = """#!/bin/sh
case $* in
--version) echo 'rustc 1.95.0 (59807616e 2026-04-14)' ;;
'--version --verbose') printf 'rustc 1.95.0\\ncommit-hash: 59807616\\nhost: x86_64-unknown-linux-gnu\\n' ;;
'--print sysroot') echo "$HOME/toolchain" ;;
esac
"""


class House:
    """A checkout with this script and little else, and a person with this cargo."""

    def __init__(self, place: Path) -> None:
        # A name that a careless script would take for several words.
        self.repo, self.home, self.bin = place / "the repo's", place / "home", place / "bin"
        for folder in ("src", "scripts", "tests/standins"):
            (self.repo / folder).mkdir(parents=True)
        (self.home / ".cargo/bin").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("build-release", "needs.sh"):
            shutil.copy(REPO / "scripts" / name, self.repo / "scripts")
        for name in ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "scripts/commit.rs", "tests/standins/Cargo.toml"):
            (self.repo / name).write_text("")
        (self.repo / "src/main.rs").write_text("fn main() {}")
        (self.repo / ".gitignore").write_text("/target\n")
        self.tool(self.home / ".cargo/bin/cargo", CARGO)
        self.tool(self.home / ".cargo/bin/rustc", RUSTC)
        self.linker = self.home / "toolchain/lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld"
        self.linker.mkdir(parents=True)
        self.tool(self.linker / "ld.lld", "#!/bin/sh\n")
        self.tool(self.bin / "musl-gcc", "#!/bin/sh\n")
        self.tool(self.bin / "dpkg-query", "#!/bin/sh\necho install ok installed\n")
        self.git("init", "--quiet")
        self.commit()

    def tool(self, file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        words = ["git", "-C", str(self.repo), *who, *arguments]
        return subprocess.run(words, env=self.environment(), check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "m")

    def environment(self, **more: str) -> dict[str, str]:
        date = "2026-03-01T12:00:00Z"
        path = f"{self.bin}:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.home), "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, **more}

    def build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = str(self.repo / "scripts/build-release")
        return subprocess.run([script, *arguments], env=self.environment(**environment), capture_output=True, text=True)

    def calls(self, command: str) -> list[dict]:
        file = self.home / "calls"
        calls = map(json.loads, file.read_text().splitlines() if file.exists() else [])
        return [call for call in calls if call["arguments"][0] == command]

    @property
    def release(self) -> Path:
        return self.repo / "target" / TARGET / "release"


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path)


def test_binary_hash_and_bill_of_materials_lie_side_by_side(house):
    ended = house.build()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {file.name for file in house.release.iterdir()} == {"bootstrap", "bootstrap.sha256", "bootstrap.cdx.json"}
    digest = hashlib.sha256((house.release / "bootstrap").read_bytes()).hexdigest()
    assert (house.release / "bootstrap.sha256").read_text() == f"{digest}  bootstrap\n"
    assert ended.stdout.endswith(f"\n{digest}  bootstrap\n{house.release}/bootstrap\n")
    assert house.git("status", "--porcelain") == ""


def test_what_is_built_is_locked_and_says_its_commit_and_nobodys_folders(house):
    assert house.build("--binary-only").returncode == 0
    (call,) = house.calls("rustc")
    assert call["arguments"] == [
        *["rustc", "--quiet", "--release", "--locked", "--target", TARGET, "--target-dir", f"{house.repo}/target"],
        *["--bin", "bootstrap", "--", "-C", "link-arg=-fuse-ld=lld", "-C", f"link-arg=-B{house.linker}"],
        *["-C", "link-arg=-Wl,-z,pack-relative-relocs", "-C", "link-arg=-Wl,--icf=all"],
        *["-C", f"link-arg=-Wl,-Map={house.release}/bootstrap.map"],
    ]
    environment = call["environment"]
    commit = house.git("rev-parse", "--short=12", "HEAD")
    assert environment["BOOTSTRAP_COMMIT"] == commit
    assert environment["SOURCE_DATE_EPOCH"] == house.git("show", "--no-patch", "--format=%ct", "HEAD")
    assert environment["CARGO_INCREMENTAL"] == "0"
    assert (house.release / "bootstrap").read_text().splitlines() == [
        "fn main() {}",
        commit,
        "/bootstrap/src/main.rs",
        "/bootstrap/target/out/generated.rs",
        "/crates/clap-4/lib.rs",
    ]
    # The C compiler is told the same names, each flag quoted as the crate `cc` takes them apart.
    flags = environment["CFLAGS_" + TARGET.replace("-", "_")]
    assert environment["CC_SHELL_ESCAPED_FLAGS"] == "1"
    assert shlex.split(flags) == [
        f"-ffile-prefix-map={house.repo}=/bootstrap",
        f"-ffile-prefix-map={house.repo}/target=/bootstrap/target",
        f"-ffile-prefix-map={house.home}/.cargo/registry/src/index-1=/crates",
        f"-ffile-prefix-map={house.home}/toolchain/lib/rustlib/src/rust=/rustc/59807616",
    ]


def test_a_rust_without_its_own_linker_is_named(house):
    (house.linker / "ld.lld").unlink()
    ended = house.build("--binary-only")
    missing = f"this Rust lacks its linker {house.linker}/ld.lld: use rustup's (https://rustup.rs)"
    assert (ended.returncode, ended.stderr) == (1, f"build-release: {missing}\n")
    assert house.calls("rustc") == []


def test_nothing_from_outside_reaches_the_compilers(house):
    outside = {
        "RUSTFLAGS": "-g",
        "CARGO_ENCODED_RUSTFLAGS": "-g",
        "CARGO_BUILD_RUSTFLAGS": "-g",
        "CARGO_PROFILE_RELEASE_LTO": "off",
        f"CARGO_TARGET_{TARGET.upper().replace('-', '_')}_LINKER": "ld",
        "RUSTC_WRAPPER": "sccache",
        "CC": "clang",
        "CFLAGS": "-g",
        "CC_x86_64_unknown_linux_musl": "clang",
        "TARGET_CFLAGS": "-g",
    }
    assert house.build("--binary-only", CARGO_HTTP_TIMEOUT="9", **outside).returncode == 0
    (call,) = house.calls("rustc")
    left = {name for name in outside if call["environment"].get(name) == outside[name]}
    assert left == set()
    assert call["environment"]["CARGO_HTTP_TIMEOUT"] == "9"


def test_the_bill_names_what_is_in_the_binary_and_no_folder(house):
    assert house.build().returncode == 0
    text = (house.release / "bootstrap.cdx.json").read_text()
    bill = json.loads(text)
    assert "repo" not in text
    digest = hashlib.sha256((house.release / "bootstrap").read_bytes()).hexdigest()
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert bill["metadata"]["component"]["bom-ref"] == "path+file:///bootstrap#bootstrap@0.1.0"
    assert [component["name"] for component in bill["components"]] == ["clap"]
    assert bill["dependencies"] == [
        {"ref": "path+file:///bootstrap#bootstrap@0.1.0", "dependsOn": ["registry#clap@4.0.0"]},
        {"ref": "registry#clap@4.0.0"},
    ]
    (call,) = house.calls("cyclonedx")
    assert call["arguments"][-3:] == ["--no-build-deps", "--target", TARGET]
    assert call["environment"]["SOURCE_DATE_EPOCH"] == house.git("show", "--no-patch", "--format=%ct", "HEAD")


def test_the_tool_for_the_bill_is_pinned_and_made_once(house):
    assert house.build().returncode == 0
    assert house.build().returncode == 0
    (call,) = house.calls("install")
    assert call["arguments"] == [
        *["install", "--quiet", "--locked", "--version", "0.5.9"],
        *["--root", f"{house.repo}/target/tools/cargo-cyclonedx", "cargo-cyclonedx"],
    ]


def test_the_bill_may_be_left_out(house):
    assert house.build("--binary-only").returncode == 0
    assert {file.name for file in house.release.iterdir()} == {"bootstrap", "bootstrap.sha256"}
    assert house.calls("install") == []


def test_a_second_build_elsewhere_gives_the_same_bytes(house):
    ended = house.build("--binary-only", "--check")
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second = house.calls("rustc")
    assert first["folder"] != second["folder"]
    assert first["arguments"][7] != second["arguments"][7]
    digest = hashlib.sha256((house.release / "bootstrap").read_bytes()).hexdigest()
    assert f"\n{digest}  first build\n{digest}  second build\nThe two builds are identical.\n" in ended.stdout
    assert not (house.repo / "target/reproduction").exists()


def test_a_difference_is_shown(house):
    (house.home / "careless").touch()
    ended = house.build("--binary-only", "--check")
    again = house.repo / "target/reproduction"
    second = again / "out" / TARGET / "release/bootstrap"
    assert ended.returncode == 1
    assert ended.stderr == f"build-release: the two builds differ; the second is kept: {second}\n"
    for file, which in ((house.release / "bootstrap", "first"), (second, "second")):
        assert f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {which} build\n" in ended.stdout
    assert f"Texts that only one of them has:\n< {house.repo}\n> {again}/sources\n" in ended.stdout


def test_sources_that_are_in_no_commit_are_said_so(house):
    (house.repo / "README.md").write_text("not a source")
    assert house.build("--binary-only").returncode == 0
    (house.repo / "src/main.rs").write_text("fn main() { loop {} }")
    assert house.build("--binary-only").returncode == 0
    commit = house.git("rev-parse", "--short=12", "HEAD")
    assert [call["environment"]["BOOTSTRAP_COMMIT"] for call in house.calls("rustc")] == [commit, f"{commit}-changed"]
    ended = house.build("--binary-only", "--check")
    assert (ended.returncode, ended.stderr) == (
        1,
        "build-release: these are not as committed, so there is nothing to compare with: commit them first\n M src/main.rs\n",
    )


def test_an_archive_without_git_can_be_built(house):
    shutil.rmtree(house.repo / ".git")
    assert house.build("--binary-only").returncode == 0
    (call,) = house.calls("rustc")
    assert (call["environment"]["BOOTSTRAP_COMMIT"], call["environment"]["SOURCE_DATE_EPOCH"]) == ("unknown", "0")
    ended = house.build("--binary-only", "--check")
    assert (ended.returncode, ended.stderr) == (
        1,
        "build-release: there is no git repository here, so there is no commit to build again\n",
    )


def test_a_dry_run_changes_nothing(house):
    ended = house.build("--dry-run", "--check", "--profile", "p", "--region", "r")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (house.calls("rustc"), house.calls("fetch"), (house.repo / "target").exists()) == ([], [], False)
    calls = [line for line in ended.stdout.splitlines() if line.startswith("would run: ")]
    assert sum(" cargo rustc --quiet --release --locked " in call for call in calls) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["--chek"], "unknown option --chek"), (["--region"], "--region needs a value")]
)
def test_wrong_usage(house, arguments, problem):
    ended = house.build(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"build-release: {problem}; see --help\n")
