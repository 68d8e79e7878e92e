"""scripts/logs: what it shows of the log groups, in which order, and that nothing in a log can harm a terminal."""

import json
import signal
import subprocess
import time

import pytest

import deployed
from operate import REPO, environment, run

GROUP = "/theta-edge/theta-edge-node"
MINUTE = 60 * 1000


@pytest.fixture
def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def logs(aws):
    """CloudWatch Logs with the node's log group; the stack itself is gone, and its logs are still there."""
    client = aws.client("logs")
    client.create_log_group(logGroupName=GROUP)
    return client


def put(logs, stream: str, *events: tuple[int, str]) -> None:
    names = [s["logStreamName"] for s in logs.describe_log_streams(logGroupName=GROUP)["logStreams"]]
    if stream not in names:
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    entries = [{"timestamp": time, "message": message} for time, message in events]
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=entries)


def entry(message: str, **more: str) -> str:
    return json.dumps({"level": "info", "message": message, "time": "2026-03-01T12:00:00.123Z", **more})


def test_bootstraps_lines_are_readable_and_the_first_instance_comes_first(aws, logs, now):
    put(logs, "i-0zzz/bootstrap", (now - 50 * MINUTE, entry("old", phase="docker")))
    put(logs, "i-0aaa/bootstrap", (now - 10 * MINUTE, entry("failed", phase="secret", level="error")))
    put(logs, "i-0aaa/bootstrap", (now - 9 * MINUTE, entry("done")))
    put(logs, "i-0aaa/edge", (now, "of the edge node"))
    ended = run(aws, "logs")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "2026-03-01T12:00:00.123Z  INFO   docker            old",
        "2026-03-01T12:00:00.123Z  ERROR  secret            failed",
        "2026-03-01T12:00:00.123Z  INFO   bootstrap         done",
    ]
    assert ended.stderr == "\n==> i-0zzz\n\n==> i-0aaa\n"


def test_raw_lines_are_as_they_are(aws, logs, now):
    line = entry("old", phase="docker")
    put(logs, "i-0aaa/bootstrap", (now, line))
    assert run(aws, "logs", "--raw").stdout == line + "\n"


@pytest.mark.parametrize("log", ["cloud-init", "edge"])
def test_the_other_logs(aws, logs, now, log):
    for name in ("bootstrap", "cloud-init", "edge"):
        put(logs, f"i-0aaa/{name}", (now - MINUTE, f"{name} 1"), (now, f"{name} 2"))
    ended = run(aws, "logs", log)
    assert (ended.returncode, ended.stdout) == (0, f"{log} 1\n{log} 2\n")


def test_the_log_group_is_the_stacks(aws, now):
    deployed.common(aws)
    deployed.node(aws, "another-node")
    logs = aws.client("logs")
    logs.create_log_stream(logGroupName="/theta-edge/another-node", logStreamName="i-0aaa/edge")
    logs.put_log_events(
        logGroupName="/theta-edge/another-node",
        logStreamName="i-0aaa/edge",
        logEvents=[{"timestamp": now, "message": "hello"}],
    )
    assert run(aws, "logs", "--name", "another-node", "edge").stdout == "hello\n"


def test_how_far_to_look_back(aws, logs, now):
    put(logs, "i-0aaa/edge", (now - 90 * MINUTE, "before"), (now - 30 * MINUTE, "after"))
    assert run(aws, "logs", "edge", "--since", "1h").stdout == "after\n"
    assert run(aws, "logs", "edge", "--since", "2h").stdout == "before\nafter\n"
    ended = run(aws, "logs", "edge", "--since", "20m")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        0,
        "",
        "Nothing in the last 20m: --since 30d looks further back, --name and --region elsewhere.\n",
    )


def test_more_than_a_page(aws, logs, now):
    lines = [(now - 10 * MINUTE + number, f"line {number}") for number in range(10_100)]
    put(logs, "i-0aaa/edge", *lines[:9_000])
    put(logs, "i-0aaa/edge", *lines[9_000:])
    shown = run(aws, "logs", "edge").stdout.splitlines()
    assert shown == [text for _, text in lines]


@pytest.mark.parametrize("options", [[], ["--raw"]])
def test_nothing_in_a_log_can_give_the_terminal_orders(aws, logs, now, options):
    put(
        logs,
        "i-0aaa/bootstrap",
        (now, "\x1b]0;title\x07\x9b2J \u202egood\r"),
        (now + 1, json.dumps({"time": "now", "level": "info", "message": "two\nlines \x1b[2J", "phase": "\x08"})),
    )
    ended = run(aws, "logs", *options)
    assert ended.returncode == 0
    first, second = ended.stdout.splitlines()
    assert first == "\\x1b]0;title\\x07\\x9b2J \\u202egood\\r"
    assert set(second) <= {chr(code) for code in range(0x20, 0x7F)}
    assert "two\\nlines" in second


@pytest.mark.parametrize("line", ["[]", '{"time": 1}', '{"time": {}, "level": 2, "message": 3}', "null", "{", '"\\ud800"'])
def test_a_line_that_is_not_bootstraps_is_shown_as_it_is(aws, logs, now, line):
    put(logs, "i-0aaa/bootstrap", (now, line))
    assert run(aws, "logs").stdout == line + "\n"


def test_following_shows_each_line_once_as_it_comes(aws, logs, now):
    put(logs, "i-0aaa/bootstrap", (now - MINUTE, entry("first")))
    # Only against a test that would wait for ever.
    command = ["timeout", "120", str(REPO / "scripts/logs"), "--follow"]
    with subprocess.Popen(
        command, env=environment(aws), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as following:
        assert following.stdout.readline().endswith("first\n")
        # Later than what was shown, and delivered late; then of an instance that has come meanwhile.
        put(logs, "i-0aaa/bootstrap", (now, entry("second")))
        assert following.stdout.readline().endswith("second\n")
        put(logs, "i-0aaa/bootstrap", (now - 2000, entry("late")))
        assert following.stdout.readline().endswith("late\n")
        put(logs, "i-0bbb/bootstrap", (now, entry("third")))
        assert following.stdout.readline().endswith("third\n")
        following.send_signal(signal.SIGTERM)
        assert following.stdout.read() == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--since", "yesterday"], "--since takes a duration such as 30m, 2h or 7d, not yesterday"),
        (["syslog"], "there is no log syslog: use bootstrap, cloud-init or edge"),
        (["--folow"], "unknown option --folow"),
    ],
)
def test_wrong_usage(aws, arguments, problem):
    ended = run(aws, "logs", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"logs: {problem}; see --help\n")


def test_a_node_that_never_was(aws):
    ended = run(aws, "logs", "--name", "nobody")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "logs: the log group /theta-edge/nobody does not exist\n"
        "It is part of the node's stack: check that --name and --region name a node\n"
    )
