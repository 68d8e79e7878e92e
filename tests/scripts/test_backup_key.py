"""scripts/backup-key: the wallet key out of a node and back onto one, with real openssl, on a node in miniature; that
no key is ever lost, and that neither key nor passphrase can be seen by anyone."""

import base64
import json
import os
import pty
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import deployed
from fake_node import FakeNode, make_key
from operate import REPO, environment, run, would_run

PASSPHRASE = "canary pass'phrase \"8Kd2$HOME"
STRACE = shutil.which("strace")
needs_strace = pytest.mark.skipif(STRACE is None, reason="needs strace")


@pytest.fixture(scope="module")
def aws(server):
    """With a node's stack, made once: nothing here changes it."""
    server.reset()
    deployed.common(server)
    deployed.node(server)
    return server


@pytest.fixture
def node(aws, tmp_path) -> FakeNode:
    node = FakeNode(tmp_path / "node")
    aws.run_command = node.run_command
    return node


@pytest.fixture
def sent_now(aws):
    """The commands that SSM was given during the test."""
    before = {command["CommandId"] for command in deployed.sent(aws)}
    return lambda: [command for command in deployed.sent(aws) if command["CommandId"] not in before]


@pytest.fixture
def passphrase(tmp_path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return file


@pytest.fixture
def backup_key(aws, tmp_path, passphrase):
    """Runs the script with the passphrase, in a folder of its own."""

    def backup_key(*arguments: str) -> subprocess.CompletedProcess[str]:
        here = tmp_path / "here"
        here.mkdir(exist_ok=True)
        return run(aws, "backup-key", "--passphrase-file", str(passphrase), *arguments, cwd=here)

    return backup_key


@pytest.fixture
def backup(passphrase, tmp_path) -> tuple[str, bytes, Path]:
    """A backup of a node that is no more: its address, its key file and the backup."""
    address, content = make_key()
    file = tmp_path / "old.theta-key"
    enc(content, passphrase, "-salt", "-out", str(file))
    return address, content, file


def enc(given: bytes, passphrase: Path, *options: str) -> bytes:
    """The format of a backup is openssl's own, so that it can be read without the script."""
    words = "openssl enc -aes-256-cbc -md sha256 -pbkdf2 -iter 600000 -pass".split()
    return subprocess.run([*words, f"file:{passphrase}", *options], input=given, capture_output=True).stdout


def decrypt(file: Path, passphrase: Path) -> bytes:
    return enc(file.read_bytes(), passphrase, "-d")


def reason(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1
    return ended.stderr.removeprefix("backup-key: ").removesuffix("\n")


def only_key(node: FakeNode, address: str, content: bytes) -> None:
    assert node.keys == {address.removeprefix("0x"): content}
    assert (node.state["running"], node.state["address"]) == (True, address)
    file = node.folder / address.removeprefix("0x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (file.stat().st_uid, file.stat().st_gid) == (node.folder.stat().st_uid, node.folder.stat().st_gid)


# Backup.


def test_the_key_comes_into_an_encrypted_file(node, backup_key, passphrase, tmp_path):
    address, content = node.start()
    ended = backup_key()
    assert (ended.returncode, ended.stderr) == (0, "")
    (file,) = (tmp_path / "here").iterdir()
    assert file.name == f"{address}.theta-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert decrypt(file, passphrase) == content
    assert f"The wallet key of {address} is in {file.name}, encrypted with your passphrase." in ended.stdout
    assert "keep the passphrase and the wallet password" in ended.stdout
    assert "Never run one key on two machines." in ended.stdout
    # The node went on as if nothing had been.
    assert (node.calls, node.keys) == ([], {address.removeprefix("0x"): content})
    assert list((node.root / "run/bootstrap").iterdir()) == []


def test_the_file_is_never_overwritten(node, backup_key, tmp_path):
    address, _ = node.start()
    file = tmp_path / "here" / f"{address}.theta-key"
    file.parent.mkdir()
    file.write_text("precious")
    assert reason(backup_key("--to", str(file))) == f"{file} exists already: use --to with another name"
    assert reason(backup_key()) == f"{file.name} exists already: use --to with another name"
    assert [file.read_text() for file in file.parent.iterdir()] == ["precious"]


def test_a_name_of_another_case_is_the_same_key(node, backup_key, passphrase, tmp_path):
    address, content = make_key()
    node.add_key(content, address.upper().replace("0X", "0x"))
    node.set(running=True, address=address)
    assert backup_key().returncode == 0
    assert decrypt(tmp_path / "here" / f"{address}.theta-key", passphrase) == content


def test_a_node_that_does_not_answer_still_gives_its_key(node, backup_key, passphrase, tmp_path):
    address, content = node.start()
    node.set(answers=False)
    ended = backup_key()
    assert ended.returncode == 0
    assert ended.stderr == (
        "backup-key: the node does not answer now, so the address is the one in the key file; see scripts/verify\n"
    )
    assert decrypt(tmp_path / "here" / f"{address}.theta-key", passphrase) == content


def test_two_keys_are_refused(node, backup_key, tmp_path):
    address, content = node.start()
    node.add_key(content, "the same")
    assert reason(backup_key()) == (
        f"{node.folder} holds several files: '{address.removeprefix('0x')}', 'the same'. Move all but the right key file "
        "to a safe place outside that folder, then try again"
    )
    assert list((tmp_path / "here").iterdir()) == []


def test_no_key_is_said(node, backup_key):
    assert reason(backup_key()) == (
        f"{node.folder} holds no key. A new node makes one at its first start: wait until scripts/verify says healthy or "
        "syncing"
    )


def test_a_node_that_runs_as_another_address_is_refused(node, backup_key):
    address, _ = node.start()
    other, _ = make_key()
    node.set(address=other)
    assert reason(backup_key()) == (
        f"{node.folder} holds the key of {address}, but the node runs as {other}. Restart it and look again: docker restart "
        "edgelauncher, then bootstrap verify"
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"address": 7}', b'{"address": "0xab"}', b"\xff\x1b[2J"])
def test_what_is_no_key_is_refused(node, backup_key, content):
    node.add_key(content, "0" * 40)
    assert reason(backup_key()) == f"{node.folder}/{'0' * 40} is no wallet key: it names no address"


def test_a_link_is_not_followed(node, backup_key, tmp_path):
    address, content = make_key()
    (tmp_path / "elsewhere").write_bytes(content)
    (node.folder / address.removeprefix("0x")).symlink_to(tmp_path / "elsewhere")
    assert "Too many levels of symbolic links" in reason(backup_key())


def test_a_pipe_in_the_place_of_the_key_holds_up_nobody(node, backup_key):
    os.mkfifo(node.folder / ("0" * 40))
    assert reason(backup_key()) == f"{node.folder}/{'0' * 40} is no wallet key: it is no regular file"


def test_a_key_that_was_swapped_on_its_way_is_not_kept(aws, node, backup_key, tmp_path):
    """What comes back is encrypted to the right certificate, but is not the key of the address beside it."""
    address, _ = node.start()
    other, _ = make_key()

    def run_command(instance: str, script: str) -> tuple[int, str, str]:
        code, stdout, stderr = node.run_command(instance, script)
        return code, stdout.replace(address, other), stderr

    aws.run_command = run_command
    assert reason(backup_key()) == f"what came from the node is not the key of {other}: nothing was written. Try again"
    assert list((tmp_path / "here").iterdir()) == []


def test_a_short_passphrase_is_refused(node, backup_key, passphrase):
    node.start()
    passphrase.write_text("eleven char\n")
    assert reason(backup_key()) == "a passphrase has 12 characters or more; nothing was done"


def type_in(aws, folder: Path, *answers: str) -> tuple[int, str]:
    """Runs the script at a terminal and types the answers. Returns the exit code and what the terminal shows."""
    script = str(REPO / "scripts/backup-key")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(script, [script], environment(aws))
    shown, waiting = b"", list(answers)
    while True:
        try:
            new = os.read(terminal, 4096)
        except OSError:
            break
        if not new:
            break
        shown += new
        # Not before it is asked for: until then the terminal would show it.
        if waiting and re.search(rb"(Passphrase of the backup|The same again): $", shown):
            os.write(terminal, waiting.pop(0).encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_the_passphrase_is_asked_for_twice_and_not_shown(aws, node, passphrase, tmp_path):
    address, content = node.start()
    code, shown = type_in(aws, tmp_path, PASSPHRASE, PASSPHRASE)
    assert code == 0, shown
    assert "canary" not in shown
    assert decrypt(tmp_path / f"{address}.theta-key", passphrase) == content


def test_two_passphrases_that_differ_are_refused(aws, node, sent_now, tmp_path):
    node.start()
    code, shown = type_in(aws, tmp_path, PASSPHRASE, PASSPHRASE + "!")
    assert code == 1
    assert shown.endswith("backup-key: the two passphrases differ; nothing was done\r\n")
    assert sent_now() == []


# Restore.


def test_a_node_without_a_key_gets_it(node, backup, backup_key):
    address, content, file = backup
    ended = backup_key("--restore", str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"Node theta-edge-node runs with the key of {address}.\n" in ended.stdout
    assert "Never run one key on two machines" in ended.stdout
    only_key(node, address, content)
    copied = "bootstrap --phase wallet-backup"
    assert node.calls == ["docker stop -t 60 edgelauncher", "bootstrap --phase container", copied]
    assert [file.name for file in (node.root / "run/bootstrap").iterdir()] == ["lock"]


def test_a_node_that_has_the_key_is_left_alone(node, backup, backup_key):
    address, content, file = backup
    node.add_key(content, address.removeprefix("0x"))
    node.set(running=True, address=address)
    ended = backup_key("--restore", str(file))
    assert (ended.returncode, ended.stdout) == (
        0,
        f"Node theta-edge-node runs with the key of {address} already: there is nothing to do.\n",
    )
    assert node.calls == []


def test_another_key_is_refused_unless_it_is_named(node, backup, backup_key):
    _, _, file = backup
    other, content = node.start()
    third, _ = make_key()
    for options in ([], ["--replace", third]):
        assert reason(backup_key("--restore", str(file), *options)) == (
            f"the node has the key of {other} already. To put that one aside (it stays on the volume, in "
            f"{node.root}/data/replaced-keys), use --replace {other}"
        )
        assert (node.keys, node.calls) == ({other.removeprefix("0x"): content}, [])


def test_the_key_that_is_replaced_stays_on_the_volume(node, backup, backup_key):
    address, content, file = backup
    other, old = node.start()
    ended = backup_key("--restore", str(file), "--replace", other.upper().replace("0X", "0x"))
    assert (ended.returncode, ended.stderr) == (0, "")
    only_key(node, address, content)
    (kept,) = (node.root / "data/replaced-keys").iterdir()
    assert re.fullmatch(other + r"-\d{8}T\d{6}Z", kept.name)
    assert f"The key of {other} was moved aside on the node's volume, to {kept}.\n" in ended.stdout
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == {other.removeprefix("0x"): old}


@pytest.mark.parametrize("is_repaired", [False, True])
def test_a_start_that_fails_puts_the_old_key_back(node, backup, backup_key, is_repaired):
    address, _, file = backup
    other, old = node.start()
    node.set(refuses=[address], is_repaired=is_repaired)
    assert reason(backup_key("--restore", str(file), "--replace", other)).splitlines()[-1] == (
        f"the key of {address} was not taken: the container does not start: the wallet password does not open the key on "
        f"the volume (correct the secret). The key of {other} is back in its place, and the node runs with it again"
    )
    only_key(node, other, old)
    assert list((node.root / "data/replaced-keys").iterdir()) == []


def test_a_start_that_fails_without_an_old_key_says_what_is_there(node, backup, backup_key):
    address, content, file = backup
    node.set(refuses=[address])
    assert reason(backup_key("--restore", str(file))).splitlines()[-1] == (
        f"the key of {address} is in its place, but the container does not start: the wallet password does not open the key "
        "on the volume (correct the secret)"
    )
    assert node.keys == {address.removeprefix("0x"): content}


def test_a_key_that_the_password_does_not_open_is_given_back_before_anything_starts(node, backup, backup_key):
    address, _, file = backup
    other, old = node.start()
    node.set(unproven=[address])
    assert reason(backup_key("--restore", str(file), "--replace", other)).splitlines()[-1] == (
        f"the key of {address} was not taken: the wallet password does not open it (correct the secret). The key of {other} "
        "is back in its place, and the node runs with it again"
    )
    only_key(node, other, old)
    assert node.calls.count("bootstrap --phase container") == 1


def test_the_volume_must_be_there(node, backup, backup_key):
    _, _, file = backup
    node.set(volume="fail")
    assert reason(backup_key("--restore", str(file))) == (
        "the volume is not as it should be: volume detail. run: volume hint"
    )


def test_two_keys_on_the_node_are_refused(node, backup, backup_key):
    _, content, file = backup
    other, _ = node.start()
    node.add_key(content, "copy")
    before = node.keys
    assert "holds several files: " in reason(backup_key("--restore", str(file), "--replace", other))
    assert (node.keys, node.calls) == (before, [])


def test_a_key_that_is_not_on_the_volume_is_not_given_up(node, backup, backup_key):
    _, _, file = backup
    other, _ = make_key()
    node.set(running=True, address=other)
    assert reason(backup_key("--restore", str(file), "--replace", other)) == (
        f"the node runs as {other}, but its key is not on the volume: stopping it could be the end of that key. "
        "scripts/verify says what to do"
    )
    assert node.calls == []


def test_a_key_that_is_gone_from_the_volume_is_restored_while_the_node_still_runs_with_it(node, backup, backup_key):
    address, content, file = backup
    node.set(running=True, address=address)
    assert backup_key("--restore", str(file)).returncode == 0
    only_key(node, address, content)


def test_a_folder_that_is_a_link_is_refused(node, backup, backup_key, tmp_path):
    _, _, file = backup
    elsewhere = tmp_path / "elsewhere"
    node.folder.rename(elsewhere)
    node.folder.symlink_to(elsewhere)
    assert reason(backup_key("--restore", str(file))) == f"{node.folder} is reached through a link: see what is there"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("mv $PWD ../elsewhere; ln -s elsewhere $PWD", "is reached through a link: see what is there"),
        (
            "echo '{}' >another",
            "holds several files: ",
        ),
        (
            "for key in *; do sed s/version/Version/ $key >../new; mv ../new $key; done",
            "was changed while the container was being stopped, and is left as it is: look at it, then start the node with: "
            "bootstrap --phase container",
        ),
    ],
)
def test_what_the_container_does_in_its_last_moment_is_seen(node, backup, backup_key, change, told):
    _, _, file = backup
    other, _ = node.start()
    node.set(while_stopping=change)
    assert told in reason(backup_key("--restore", str(file), "--replace", other)).splitlines()[-1]
    assert not (node.root / "data/replaced-keys").exists()


def test_nothing_is_changed_while_bootstrap_is_at_work(node, backup, backup_key):
    _, _, file = backup
    other, old = node.start()
    with subprocess.Popen(
        ["flock", str(node.root / "run/bootstrap/lock"), "sh", "-c", "echo held; read -r line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert reason(backup_key("--restore", str(file), "--replace", other)) == (
            "bootstrap is at work on the node: wait until it is done (bootstrap status), then try again"
        )
        holder.communicate(b"\n")
    assert (node.keys, node.calls) == ({other.removeprefix("0x"): old}, [])


def test_a_wrong_passphrase_and_a_damaged_file_are_said(node, backup, backup_key, passphrase, sent_now):
    _, _, file = backup
    passphrase.write_text("another passphrase\n")
    assert reason(backup_key("--restore", str(file))) == f"the passphrase is wrong, or {file} is damaged"
    passphrase.write_text(PASSPHRASE + "\n")
    file.write_bytes(file.read_bytes()[:-16])
    assert reason(backup_key("--restore", str(file))) == f"the passphrase is wrong, or {file} is damaged"
    file.write_bytes(b"something else")
    assert reason(backup_key("--restore", str(file))) == f"{file} is not a backup written by scripts/backup-key"
    assert sent_now() == []


def test_what_was_prepared_is_of_use_once(node, backup, backup_key, sent_now):
    """Whoever sends the second command again, from SSM's history, changes nothing."""
    address, _, file = backup
    assert backup_key("--restore", str(file)).returncode == 0
    scripts = [command["Parameters"]["commands"][0] for command in sent_now()]
    (script,) = [script for script in scripts if script.startswith(f"exec python3 - restore {address} ")]
    code, _, stderr = node.run_command("", script)
    assert (code, stderr) == (1, "the node has forgotten what it prepared: begin again\n")


# Killed at any instant.


def on_node(node: FakeNode, *arguments: str) -> tuple[int, str, str]:
    """What the script has the node do, without the script."""
    program = (REPO / "scripts/key-on-node.py").read_text()
    words = " ".join(f"'{argument}'" for argument in arguments)
    return node.run_command("", f"exec python3 - {words} <<'END_OF_PROGRAM'\n{program}END_OF_PROGRAM\n")


def prepare(node: FakeNode, address: str, content: bytes, replace: str) -> list[str] | None:
    """The arguments of a restore that can be started now; None where there is nothing to do."""
    code, stdout, stderr = on_node(node, "prepare", address, replace)
    assert code == 0, stderr
    answer = json.loads(stdout)
    if not answer["ready"]:
        return None
    certificate = node.root / "certificate.pem"
    certificate.write_text(answer["certificate"])
    words = "openssl cms -encrypt -binary -aes-256-cbc -outform DER -recip".split()
    words += [str(certificate), "-keyopt", "rsa_padding_mode:oaep"]
    encrypted = subprocess.run(words, input=content, capture_output=True, check=True).stdout
    return ["restore", address, replace, answer["pair"], base64.b64encode(encrypted).decode()]


@needs_strace
@pytest.mark.parametrize(("opens", "instants"), [(True, 5), (False, 8)])
def test_killed_at_any_instant_no_key_is_lost_and_the_next_run_ends_it(tmp_path, opens, instants):
    """Before every change to a folder: of a restore that ends well, and of one whose old key is put back."""
    killed = 0
    for change in ("mkdir", "rename", "unlink", "rmdir"):
        for number in range(1, 100):
            node = FakeNode(tmp_path / f"{change}-{number}")
            other, old = node.start()
            address, content = make_key()
            node.set(refuses=[] if opens else [address])
            arguments = prepare(node, address, content, other)
            node.tracer = [STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={change}"]
            node.tracer += ["-e", f"inject={change}:signal=KILL:when={number}"]
            code, _, _ = on_node(node, *arguments)
            node.tracer = []
            keys = list(node.keys.values())
            assert len(keys) <= 1
            assert old in keys + node.aside
            if code >= 0:
                assert code == (0 if opens else 1)
                break
            killed += 1
            if opens:
                arguments = prepare(node, address, content, other)
                assert arguments is None or on_node(node, *arguments)[0] == 0
                only_key(node, address, content)
                assert node.aside == [old]
            else:
                again = on_node(node, "prepare", address, other)
                if again[0] == 0:
                    again = on_node(node, *prepare(node, address, content, other))
                assert again[0] == 1
                assert again[2].endswith(f"The key of {other} is back in its place, and the node runs with it again\n")
                only_key(node, other, old)
                assert node.aside == []
    assert killed >= instants


# What can be seen.


@needs_strace
def test_neither_passphrase_nor_key_is_in_any_argument_list_or_environment(
    aws, node, passphrase, sent_now, tmp_path
):
    """On the person's machine and on the node, from the backup to the restored key."""
    node.short_pairs.unlink()
    address, content = node.start()
    here, there = tmp_path / "here.trace", tmp_path / "there.trace"
    tracer = [STRACE, "-f", "--seccomp-bpf", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-A", "-o"]
    node.tracer = [*tracer, str(there)]
    script, file = str(REPO / "scripts/backup-key"), str(tmp_path / "the.theta-key")
    options = [script, "--passphrase-file", str(passphrase)]
    subprocess.run([*tracer, str(here), *options, "--to", file], env=environment(aws), check=True, capture_output=True)
    (node.folder / address.removeprefix("0x")).unlink()
    node.set(running=False, address=None)
    subprocess.run([*tracer, str(here), *options, "--restore", file], env=environment(aws), check=True, capture_output=True)
    only_key(node, address, content)

    crypto = json.loads(content)["crypto"]
    secrets = [crypto["ciphertext"], crypto["mac"], base64.b64encode(content)[:40].decode(), "canary"]
    for trace in (here, there):
        text = trace.read_text()
        # The traces are whole: every program of the two is in them.
        assert text.count('"openssl"') >= 2
        assert [secret for secret in secrets if secret in text] == []
    # Nor does SSM remember it.
    history = json.dumps(sent_now(), default=str)
    for command in sent_now():
        invocation = aws.client("ssm").get_command_invocation(
            CommandId=command["CommandId"], InstanceId=command["InstanceIds"][0]
        )
        history += json.dumps(invocation, default=str)
    assert address in history
    assert [secret for secret in secrets if secret in history] == []


@needs_strace
def test_the_key_in_the_clear_is_written_to_no_file_of_the_persons_machine(aws, node, passphrase, tmp_path):
    """Every write is seen; those that hold the key or the passphrase go into pipes."""
    _, content = node.start()
    trace = tmp_path / "trace"
    tracer = [STRACE, "-f", "--seccomp-bpf", "-qq", "-yy", "-x", "-s", "100000", "-e", "trace=write,writev,pwrite64,sendto", "-o", str(trace)]
    script, file = str(REPO / "scripts/backup-key"), str(tmp_path / "the.theta-key")
    options = ["--passphrase-file", str(passphrase)]
    subprocess.run([*tracer, script, *options, "--to", file], env=environment(aws), check=True, capture_output=True)
    ciphertext = json.loads(content)["crypto"]["ciphertext"]
    secret = [line for line in trace.read_text().splitlines() if ciphertext in line or "canary" in line]
    assert len(secret) >= 4
    for line in secret:
        assert re.match(r"\d+ +write\(\d+<pipe:\[\d+\]>, ", line), line


# The rest of the command line.


def test_a_dry_run_sends_nothing(node, backup, backup_key, sent_now):
    address, _, file = backup
    first = backup_key("--dry-run")
    second = backup_key("--dry-run", "--restore", str(file), "--replace", address)
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    assert sent_now() == []
    calls = would_run(first.stdout + second.stdout)
    # Not the whole program, which would fill screens.
    assert max(len(line) for line in (first.stdout + second.stdout).splitlines()) < 500
    scripts = [json.loads(call[10])["commands"][0].splitlines()[0] for call in calls]
    assert scripts == [
        "exec python3 - backup '<certificate>' <<'END_OF_PROGRAM'",
        f"exec python3 - prepare '<address>' {address} <<'END_OF_PROGRAM'",
        f"exec python3 - restore '<address>' {address} '<key pair>' '<key>' <<'END_OF_PROGRAM'",
    ]
    for call in calls:
        assert call[3:5] == ["ssm", "send-command"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--restore", "a", "--to", "b"], "--to and --restore exclude each other"),
        (["--replace", "0x" + "a" * 40], "--replace belongs to --restore"),
        (["--restore", "a", "--replace", "0xab"], "--replace takes an address, 0x and 40 hex digits, not 0xab"),
        (["--force"], "unknown option --force"),
        (["--to"], "--to needs a value"),
    ],
)
def test_wrong_usage(aws, arguments, problem):
    ended = run(aws, "backup-key", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"backup-key: {problem}; see --help\n")


def test_without_a_terminal_the_passphrase_comes_from_a_file(aws, node, sent_now):
    node.start()
    ended = run(aws, "backup-key")
    assert (ended.returncode, ended.stderr) == (
        2,
        "backup-key: there is no terminal to prompt for the passphrase: use --passphrase-file FILE; see --help\n",
    )
    assert sent_now() == []
