"""The dashboard of node.yaml: every widget of the old blueprint by title and meaning, and nothing that a replaced
instance or a guessed disk would leave empty."""

import html
import json
import re

import pytest

import draw_dashboard
import product
from dashboards import COLUMNS, Widget, value, widgets
from made import Node, aws_with_common, node  # noqa: F401, fixtures

NO_GPU = {"Gpu": "false", "InstanceType": "c6i.xlarge"}
VARIANTS = {
    "default": {},
    "no GPU": NO_GPU,
    "instance store": {"VolumeType": "instance-store"},
    "existing volume": {"VolumeId": "vol-0123456789abcdef0"},
}
PUBLISHED = {
    "AWS/EC2": {"CPUUtilization", "NetworkIn", "NetworkOut", "NetworkPacketsIn", "NetworkPacketsOut", "StatusCheckFailed"},
    "AWS/EBS": {
        "VolumeReadBytes", "VolumeWriteBytes", "VolumeReadOps", "VolumeWriteOps", "VolumeTotalReadTime",
        "VolumeTotalWriteTime", "VolumeIdleTime", "VolumeQueueLength",
    },
}  # fmt: skip


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def any_node(request, node) -> Node:
    return node(**request.param)


def by_title(made: Node) -> dict[str, Widget]:
    found = widgets(made.dashboard)
    titles = {widget.title: widget for widget in found}
    assert len(titles) == len(found)
    return titles


# The blueprint's eleven.

ONE_METRIC = {
    "CPU utilization (%)": ("AWS/EC2", "CPUUtilization", "Average", 300),
    "Network in (bytes)": ("AWS/EC2", "NetworkIn", "Average", 300),
    "Network out (bytes)": ("AWS/EC2", "NetworkOut", "Average", 300),
    "Mem Used (%)": ("CWAgent", "mem_used_percent", "Average", 300),
    "CPU Usage IO wait (%)": ("CWAgent", "cpu_usage_iowait", "Average", 300),
    "Theta Client Block Height": ("CWAgent", "theta_current_block_height", "Maximum", 60),
    "Theta Client Peer Count": ("CWAgent", "edge_peers", "Maximum", 60),
}


@pytest.mark.parametrize("title", ONE_METRIC)
def test_a_widget_shows_its_metric(any_node, title):
    widget = by_title(any_node)[title]
    (line,) = widget.lines
    wanted = (line.namespace, line.metric, widget.properties["stat"], widget.properties["period"])
    assert wanted == ONE_METRIC[title]
    assert line.dimensions == {"AutoScalingGroupName": any_node.outputs["AutoScalingGroup"]}


@pytest.mark.parametrize("title", ["Theta Client Block Height", "Theta Client Peer Count"])
def test_height_and_peers_are_numbers_with_a_sparkline(node, title):
    properties = by_title(node())[title].properties
    assert (properties["view"], properties["sparkline"]) == ("singleValue", True)


@pytest.mark.parametrize(
    "title", ["CPU utilization (%)", "Network in (bytes)", "Network out (bytes)", "Volume Read/Write latency (ms/op)"]
)
def test_an_axis_begins_at_nothing(node, title):
    assert by_title(node())[title].properties["yAxis"] == {"left": {"min": 0}}


def test_the_disk_is_shown_by_its_mount(any_node):
    widget = by_title(any_node)["Disk Used (%)"]
    assert (widget.properties["view"], widget.properties["stat"]) == ("singleValue", "Average")
    assert widget.properties["period"] == 60
    group = any_node.outputs["AutoScalingGroup"]
    assert [(line.metric, line.dimensions, line.options["label"]) for line in widget.lines] == [
        ("disk_used_percent", {"AutoScalingGroupName": group, "path": path}, path) for path in ("/data", "/")
    ]


# Ten reads and four writes in the minute, of a mebibyte and half a mebibyte together, and a busy tenth of a second.
OPERATIONS = {"reads": 10, "writes": 4, "read bytes": 1048576, "write bytes": 524288}
EBS = {
    "VolumeReadOps": 10, "VolumeWriteOps": 4, "VolumeReadBytes": 1048576, "VolumeWriteBytes": 524288,
    "VolumeTotalReadTime": 0.1, "VolumeTotalWriteTime": 0.1,
}  # fmt: skip
AGENT = {
    "diskio_reads": 10, "diskio_writes": 4, "diskio_read_bytes": 1048576, "diskio_write_bytes": 524288,
    "diskio_read_time": 100, "diskio_write_time": 100,
}  # fmt: skip


def shown(widget: Widget, measured: dict[str, float]) -> dict[str, float]:
    """What a widget of expressions shows, by label, when this was measured in a minute."""
    inputs = {line.options["id"]: measured[line.metric] for line in widget.lines if not line.expression}
    for line in widget.lines:
        assert line.visible == bool(line.expression)
        assert line.expression or line.options["stat"] == "Sum"
    return {
        line.options["label"]: value(line.expression, inputs, widget.properties["period"])
        for line in widget.lines
        if line.expression
    }


@pytest.mark.parametrize(("variant", "measured"), [("default", EBS), ("existing volume", EBS), ("instance store", AGENT)])
@pytest.mark.parametrize(
    ("title", "stat", "read", "write"),
    [
        ("Volume Read/Write (IO/sec)", "Sum", 10 / 60, 4 / 60),
        ("Volume Read/Write latency (ms/op)", "Sum", 10, 25),
        ("Volume Read/Write throughput (MiB/sec)", "Average", 1 / 60, 0.5 / 60),
    ],
)
def test_the_volume_is_measured(node, variant, measured, title, stat, read, write):
    made = node(**VARIANTS[variant])
    widget = by_title(made)[title]
    assert (widget.properties["stat"], widget.properties["period"]) == (stat, 60)
    assert shown(widget, measured) == pytest.approx({"read": read, "write": write})
    wanted = {"VolumeId": made.outputs["VolumeId"]} if measured is EBS else {
        "AutoScalingGroupName": made.outputs["AutoScalingGroup"]
    }
    assert all(line.dimensions == wanted for line in widget.lines if not line.expression)


def test_the_agent_adds_up_no_disk_twice():
    # The group's metric is the sum over what is named: the root disk, which is nvme0n1 on Nitro, partitions and loop
    # devices, which show the same blocks again, are not the node's data.
    disks = product.agent()["metrics"]["metrics_collected"]["diskio"]["resources"]
    assert disks == [f"nvme{number}n1" for number in range(1, 9)]


@pytest.mark.parametrize(("variant", "measured"), [("default", EBS), ("instance store", AGENT)])
def test_an_idle_volume_has_no_latency(node, variant, measured):
    widget = by_title(node(**VARIANTS[variant]))["Volume Read/Write latency (ms/op)"]
    assert shown(widget, dict.fromkeys(measured, 0)) == {"read": 0, "write": 0}


# What is new.


def test_health_is_shown(any_node):
    health = by_title(any_node)["Health (1 is good)"]
    assert [line.metric for line in health.lines] == [
        "edge_up", "edge_healthy", "edge_launcher_up", "edge_encoder_up", "edge_anycast_up",
    ]  # fmt: skip
    # A minute that was bad must not vanish in a larger period.
    assert (health.properties["stat"], health.properties["yAxis"]) == ("Minimum", {"left": {"min": 0, "max": 1}})
    assert [line.metric for line in by_title(any_node)["Seconds since the height moved"].lines] == [
        "edge_height_age_seconds"
    ]
    restarts = by_title(any_node)["Restarts, repairs in a day"]
    assert [line.metric for line in restarts.lines] == ["edge_restarts", "edge_repairs"]


def test_what_the_node_earns_is_shown(any_node):
    shown_by = by_title(any_node)
    for title, metrics in [
        ("Pending TFUEL", ["edge_pending_tfuel"]),
        ("Jobs of the last 24 hours", ["edge_jobs_done", "edge_jobs_failed"]),
    ]:
        assert [line.metric for line in shown_by[title].lines] == metrics
    for title, metric, seconds, label in [
        ("Hours since the last job", "edge_job_age_seconds", 5400, {"hours": 1.5}),
        ("Minutes since the last uptime vote", "edge_vote_age_seconds", 90, {"minutes": 1.5}),
    ]:
        expression, hidden = shown_by[title].lines
        assert (hidden.metric, hidden.visible) == (metric, False)
        inputs = {hidden.options["id"]: seconds}
        assert {expression.options["label"]: value(expression.expression, inputs, 300)} == label


def test_every_alarm_is_shown(any_node):
    arns = by_title(any_node)["Alarms"].properties["alarms"]
    assert sorted(arns) == sorted(alarm["AlarmArn"] for alarm in any_node.alarms.values())


GPU = {
    "GPU seen in the container": "edge_gpu_visible",
    "GPU utilization (%)": "nvidia_smi_utilization_gpu",
    "GPU memory used (MiB)": "nvidia_smi_memory_used",
    "GPU temperature (°C)": "nvidia_smi_temperature_gpu",
}


def test_gpu_widgets_come_with_a_gpu_only(node):
    with_gpu, without = by_title(node()), by_title(node(**NO_GPU))
    assert set(with_gpu) - set(without) == set(GPU)
    assert set(without) < set(with_gpu)
    for title, metric in GPU.items():
        assert [line.metric for line in with_gpu[title].lines] == [metric]


def query(made: Node, title: str) -> str:
    source, rest = by_title(made)[title].properties["query"].split(" | ", 1)
    assert source == f"SOURCE '{made.outputs['LogGroup']}'"
    assert rest.startswith("filter @logStream like '/bootstrap'")
    return rest


@pytest.mark.parametrize(
    ("logged", "seconds"),
    [
        ("done in 0.4 s (the driver works)", 0.4),
        ("done in 59.9 s (mounted in 3 s)", 59.9),
        ("done in 2 min (took 3 min 4 s)", 120),
        ("done in 5 min 3 s (driver 580)", 303),
        ("done in 1 h (x)", 3600),
        ("done in 1 h 2 min (x)", 3720),
    ],
)
def test_the_phases_durations_are_read_as_the_binary_writes_them(node, logged, seconds):
    text = query(node(), "Slowest phases of the set-up (s)")
    assert "message like /^done in /" in text
    found = {"h": 0.0, "m": 0.0, "s": 0.0}
    for pattern in re.findall(r"parse message /(.*?)/ ", text):
        if match := re.search(pattern.replace("(?<", "(?P<"), logged):
            found |= {name: float(text) for name, text in match.groupdict().items()}
    (formula,) = re.findall(r"fields (.*?) as seconds", text)
    assert value(re.sub(r"coalesce\((\w), 0\)", r"\1", formula), found, 60) == seconds
    assert text.endswith("| stats max(seconds) as longest, latest(seconds) as last by phase | sort longest desc")


def test_errors_and_warnings_are_listed(node):
    text = query(node(), "What went wrong")
    assert "level in ['error', 'warn']" in text
    assert text.endswith("| fields @timestamp, phase, message | sort @timestamp desc | limit 20")


# The whole.


def test_nothing_overlaps_or_sticks_out(any_node):
    taken: set[tuple[int, int]] = set()
    for widget in widgets(any_node.dashboard):
        cells = widget.cells()
        assert cells, widget.title
        assert taken.isdisjoint(cells), widget.title
        assert all(0 <= x < COLUMNS and y >= 0 for x, y in cells), widget.title
        taken |= cells


def test_every_metric_is_published_with_its_dimensions(any_node):
    group = any_node.outputs["AutoScalingGroup"]
    published = PUBLISHED | {"CWAgent": product.metrics()}
    aggregated = product.agent()["metrics"]["aggregation_dimensions"]
    for widget in widgets(any_node.dashboard):
        for line in widget.lines:
            if line.expression:
                continue
            assert line.metric in published[line.namespace], widget.title
            if line.namespace == "AWS/EBS":
                assert line.dimensions == {"VolumeId": any_node.outputs["VolumeId"]}
            else:
                assert line.dimensions["AutoScalingGroupName"] == group
                assert list(line.dimensions) in aggregated
                assert line.dimensions.keys() == {"AutoScalingGroupName"} or line.metric.startswith("disk_")


def test_no_widget_knows_an_instance_or_a_device(any_node):
    text = json.dumps(any_node.dashboard)
    assert not re.search(r"InstanceId|\bi-[0-9a-f]{8,}|nvme|xvd|/dev/|device", text)


def test_every_metric_widget_names_its_region_and_period(any_node):
    for widget in widgets(any_node.dashboard):
        if widget.kind == "metric":
            assert (widget.properties["region"], widget.properties["period"] % 60) == ("us-east-1", 0)
            assert widget.properties["stat"] in {"Average", "Maximum", "Minimum", "Sum"}


def test_the_dashboard_is_called_after_stack_and_region_and_the_output_leads_there(node):
    made = node()
    name = f"{made.stack}-us-east-1"
    assert made.resources["Dashboard"] == name
    assert made.outputs["Dashboard"].endswith(f"region=us-east-1#dashboards/dashboard/{name}")


def test_the_picture_is_of_this_dashboard(node):
    drawn = draw_dashboard.picture_of(node())
    assert draw_dashboard.PICTURE.read_text() == drawn, "run tests/cloudformation/draw_dashboard.py"


def test_the_picture_shows_every_widget_and_metric(node):
    picture = draw_dashboard.PICTURE.read_text()
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", picture.split("</style>")[1])))
    for widget in widgets(node().dashboard):
        assert widget.title in words
        for line in widget.lines:
            assert (line.expression or f"{line.namespace} {line.metric}") in words
