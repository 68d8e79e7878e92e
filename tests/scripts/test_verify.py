"""scripts/verify: which nodes it asks, what it shows of their answers, and its exit codes."""

import json

import pytest

import deployed
from aws import commands
from operate import run, would_run

HEALTHY = "healthy: 20 passed, 0 failed, 0 warned, 2 skipped; node 0xaa\npass  os  Amazon Linux 2023\n"
SYNCING = "syncing: 19 passed, 0 failed, 1 warned, 2 skipped; peers: none yet\nwarn  peers  none yet\n"
DEGRADED = "degraded: 19 passed, 1 failed, 0 warned, 2 skipped; metrics: no tick\nFAIL  metrics  no tick\n"
ORDER = ["healthy", "syncing", "degraded", "unhealthy"]
UNHEALTHY = "unhealthy: 9 passed, 1 failed, 0 warned, 12 skipped; rpc: refused\nFAIL  rpc  refused\n"


@pytest.fixture
def node(aws) -> str:
    deployed.common(aws)
    return deployed.node(aws)


def answer(aws, **by_instance) -> list[tuple[str, str]]:
    """Has instances answer: (exit code, standard output, standard error). Returns what they are asked."""
    asked = []

    def run_command(instance: str, script: str) -> tuple[int, str, str]:
        asked.append((instance, script.strip()))
        return by_instance[instance]

    aws.run_command = run_command
    return asked


@pytest.mark.parametrize(
    ("code", "text", "wanted"),
    [(0, HEALTHY, 0), (5, SYNCING, 5), (1, DEGRADED, 1), (1, UNHEALTHY, 1)],
)
def test_the_verdict_and_the_table_are_shown_and_decide(aws, node, code, text, wanted):
    asked = answer(aws, **{node: (code, text, "")})
    ended = run(aws, "verify")
    assert (ended.returncode, ended.stderr) == (wanted, "")
    assert ended.stdout == f"\n==> theta-edge-node ({node})\n{text}"
    assert asked == [(node, "/usr/local/bin/bootstrap verify --wait 0s")]


def test_the_node_may_be_waited_for(aws, node):
    asked = answer(aws, **{node: (0, HEALTHY, "")})
    assert run(aws, "verify", "--wait", "15m").returncode == 0
    assert asked == [(node, "/usr/local/bin/bootstrap verify --wait 15m")]


@pytest.mark.parametrize(
    ("first", "second", "wanted", "counted"),
    [
        ((0, HEALTHY), (0, HEALTHY), 0, "2 nodes: 2 healthy"),
        ((0, HEALTHY), (5, SYNCING), 5, "2 nodes: 1 healthy 1 syncing"),
        ((5, SYNCING), (1, DEGRADED), 1, "2 nodes: 1 syncing 1 degraded"),
        ((1, UNHEALTHY), (0, HEALTHY), 1, "2 nodes: 1 healthy 1 unhealthy"),
    ],
)
def test_all_nodes_are_asked_and_the_worst_decides(aws, node, first, second, wanted, counted):
    other = deployed.node(aws, "another-node")
    # Not a node: has no such tag.
    aws.client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    answer(aws, **{node: (*first, ""), other: (*second, "")})
    ended = run(aws, "verify", "--all")
    assert (ended.returncode, ended.stderr) == (wanted, "")
    said = {}
    for name, instance, (_, text) in (("theta-edge-node", node, first), ("another-node", other, second)):
        verdict, summary = text.splitlines()[0].split(": ", 1)
        said[name] = verdict, f"{verdict:<11}  {name:<15}  {instance}  {summary}"
    worst = max(said, key=lambda name: (ORDER.index(said[name][0]), name == "another-node"))
    lines = ended.stdout.splitlines()
    assert lines[0] == said.pop(worst)[1]
    assert lines[1] == said.popitem()[1][1]
    assert lines[2:4] == ["", counted]
    assert lines[4:] == ([f"The worst in full: scripts/verify --name {worst}"] if wanted == 1 else [])


def test_machines_get_the_same_as_json(aws, node):
    other = deployed.node(aws, "another-node")
    answer(aws, **{node: (1, UNHEALTHY, ""), other: (0, HEALTHY, "")})
    ended = run(aws, "verify", "--all", "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert json.loads(ended.stdout) == {
        "nodes": [
            {
                "name": "theta-edge-node",
                "instance": node,
                "verdict": "unhealthy",
                "summary": "9 passed, 1 failed, 0 warned, 12 skipped; rpc: refused",
            },
            {
                "name": "another-node",
                "instance": other,
                "verdict": "healthy",
                "summary": "20 passed, 0 failed, 0 warned, 2 skipped; node 0xaa",
            },
        ],
        "totals": {"unhealthy": 1, "healthy": 1},
    }


def test_the_worst_comes_first_and_no_node_writes_into_the_lines_of_others(aws, node):
    other = deployed.node(aws, "another-node")

    asked = answer(aws, **{node: (1, UNHEALTHY, ""), other: (0, "\x1b[2J\u200b\u061c\n", "")})
    ended = run(aws, "verify", "--all")
    first, second = ended.stdout.splitlines()[:2]
    assert first.startswith("unhealthy    theta-edge-node") and len(asked) == 2
    # Nor can a node write anything into the others' lines.
    assert second == f"healthy      another-node     {other}  \\x1b[2J\\u200b\\u061c"


def test_an_instance_that_ssm_does_not_know_is_said_with_what_to_do(aws, node):
    other = deployed.node(aws, "another-node")
    answer(aws, **{node: (0, HEALTHY, "")})
    # It was running when it was listed, as far as the group knows.
    aws.client("ec2").stop_instances(InstanceIds=[other])
    ended = run(aws, "verify", "--name", "another-node")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert f"SSM cannot reach {other}. If it has just started, wait a minute." in ended.stdout
    assert f"aws ec2 get-console-output --region us-east-1 --instance-id {other} --output text" in ended.stdout


def test_a_command_that_does_not_arrive_is_said_with_what_to_do(aws, node, monkeypatch):
    def not_delivered(invocation, script: str) -> None:
        invocation.status, invocation.details = "TimedOut", "DeliveryTimedOut"

    monkeypatch.setattr(commands.Invocation, "run", not_delivered)
    ended = run(aws, "verify")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert f"SSM cannot reach {node}: DeliveryTimedOut. If it has just started, wait a minute." in ended.stdout


def test_output_that_ssm_has_cut_is_said(aws, node):
    answer(aws, **{node: (1, UNHEALTHY + "x" * 30_000, "")})
    ended = run(aws, "verify")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[2] == UNHEALTHY.splitlines()[0]
    assert ended.stdout.endswith(
        f"\nSSM cuts long output. All of it: aws ssm start-session --region us-east-1 --target {node}, "
        "then: sudo bootstrap verify\n"
    )


def test_what_a_node_says_cannot_give_the_terminal_orders(aws, node):
    evil = "healthy: \x1b[2J\x1b]0;title\x07 \r \u202egood\u200b\u061c\u2028\u2029\tend\n"
    answer(aws, **{node: (0, evil, "")})
    ended = run(aws, "verify")
    assert ended.stdout.endswith("healthy: \\x1b[2J\\x1b]0;title\\x07 \\r \\u202egood\\u200b\\u061c\\u2028\\u2029\tend\n")


def test_a_verify_that_could_not_run_says_why(aws, node):
    answer(aws, **{node: (127, "", "sh: 1: /usr/local/bin/bootstrap: not found\n")})
    ended = run(aws, "verify")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "sh: 1: /usr/local/bin/bootstrap: not found\n" in ended.stdout
    assert ended.stdout.endswith("bootstrap verify ended with exit code 127\n")


def test_a_dry_run_asks_nobody(aws, node):
    asked = answer(aws)
    ended = run(aws, "verify", "--wait", "90s", "--dry-run")
    assert (ended.returncode, ended.stderr, asked, deployed.sent(aws)) == (0, "", [], [])
    document = deployed.output(aws, "theta-edge-common", "VerifyDocument")
    assert would_run(ended.stdout) == [
        [
            *["aws", "--region", "us-east-1", "ssm", "send-command", "--instance-ids", node],
            *["--document-name", document, "--parameters", '{"Wait":["90s"]}', "--comment", "scripts/verify"],
            *["--timeout-seconds", "60"],
        ]
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--wait", "soon"], "--wait takes a duration such as 90s or 10m, not soon"),
        (["--wait", "1s; reboot"], "--wait takes a duration such as 90s or 10m, not 1s; reboot"),
        (["--wait", "2h"], "--wait takes at most 50m, not 2h"),
        (["--all", "--name", "a"], "--all and --name exclude each other"),
        (["--name"], "--name needs a value"),
        (["--al"], "unknown option --al"),
    ],
)
def test_wrong_usage(aws, arguments, problem):
    ended = run(aws, "verify", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"verify: {problem}; see --help\n"


def test_what_is_not_there_is_named(aws):
    ended = run(aws, "verify")
    assert (ended.returncode, ended.stderr) == (
        1,
        "verify: there is no stack theta-edge-node in us-east-1: scripts/deploy creates it; --name or --region name another\n",
    )
    ended = run(aws, "verify", "--all")
    assert (ended.returncode, ended.stderr) == (
        1,
        "verify: no running instance in us-east-1 has the tag theta-edge:node: scripts/deploy creates a node\n",
    )


def test_a_group_without_an_instance_says_where_to_look(aws, node):
    group = deployed.output(aws, "theta-edge-node", "AutoScalingGroup")
    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group, MinSize=0, DesiredCapacity=0)
    ended = run(aws, "verify")
    assert (ended.returncode, ended.stderr) == (
        1,
        "verify: stack theta-edge-node has no instance now. EC2 Auto Scaling says why:\n"
        f"  aws autoscaling describe-scaling-activities --region us-east-1 --auto-scaling-group-name {group} --max-items 5\n",
    )
