"""The alarms of node.yaml: what each watches, when it goes off, and whom it tells."""

import pytest

import product
from made import aws_with_common, node  # noqa: F401, fixtures

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"
NO_GPU = {"Gpu": "false", "InstanceType": "c6i.xlarge"}
PUBLISHED_BY_EC2 = {"StatusCheckFailed"}

# Logical id: namespace, metric, statistic, comparison, threshold, minutes, what missing data means.
ALARMS = {
    "NodeDown": ("CWAgent", "edge_up", "Maximum", "LessThanThreshold", 1, 15, "missing"),
    "NotHealthy": ("CWAgent", "edge_healthy", "Maximum", "LessThanThreshold", 1, 30, "notBreaching"),
    "HeightStalled": ("CWAgent", "edge_height_age_seconds", "Minimum", "GreaterThanThreshold", 900, 3, "notBreaching"),
    "NoPeers": ("CWAgent", "edge_peers", "Maximum", "LessThanThreshold", 1, 15, "notBreaching"),
    "GpuLost": ("CWAgent", "edge_gpu_visible", "Maximum", "LessThanThreshold", 1, 5, "notBreaching"),
    "JobsFailing": (
        "CWAgent", "edge_jobs_failed_in_a_row", "Minimum", "GreaterThanOrEqualToThreshold", 3, 5, "notBreaching",
    ),
    "RepairsSpent": ("CWAgent", "edge_repairs", "Maximum", "GreaterThanOrEqualToThreshold", 3, 1, "notBreaching"),
    "DataDiskFull": ("CWAgent", "disk_used_percent", "Maximum", "GreaterThanThreshold", 90, 5, "notBreaching"),
    "RootDiskFull": ("CWAgent", "disk_used_percent", "Maximum", "GreaterThanThreshold", 90, 5, "notBreaching"),
    "InstanceImpaired": (
        "AWS/EC2", "StatusCheckFailed", "Maximum", "GreaterThanOrEqualToThreshold", 1, 5, "notBreaching",
    ),
}  # fmt: skip
PATHS = {"DataDiskFull": [{"Name": "path", "Value": "/data"}], "RootDiskFull": [{"Name": "path", "Value": "/"}]}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_its_metric_of_the_group(node, name):
    alarm = node().alarms[name]
    namespace, metric, statistic, comparison, threshold, minutes, missing = ALARMS[name]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (namespace, metric, statistic)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == (comparison, threshold)
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, minutes)
    assert alarm.get("DatapointsToAlarm", minutes) == minutes
    assert alarm["TreatMissingData"] == missing
    # A replaced instance stays on the same alarm.
    group = {"Name": "AutoScalingGroupName", "Value": node().outputs["AutoScalingGroup"]}
    assert alarm["Dimensions"] == [group, *PATHS.get(name, [])]
    assert metric in product.metrics() | PUBLISHED_BY_EC2


def test_a_restart_loop_is_three_restarts_in_a_quarter_of_an_hour(node):
    alarm = node().alarms["RestartLoop"]
    by_id = {metric["Id"]: metric for metric in alarm["Metrics"]}
    (shown,) = [metric for metric in alarm["Metrics"] if metric.get("ReturnData", True)]
    assert shown["Expression"] == "most - least"
    for name, statistic in (("most", "Maximum"), ("least", "Minimum")):
        assert by_id[name]["MetricStat"] == {
            "Metric": {
                "Namespace": "CWAgent",
                "MetricName": "edge_restarts",
                "Dimensions": [{"Name": "AutoScalingGroupName", "Value": node().outputs["AutoScalingGroup"]}],
            },
            "Period": 900,
            "Stat": statistic,
        }
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 3)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")
    assert "edge_restarts" in product.metrics()


def test_what_the_logs_cost_is_watched(node):
    alarm = node().alarms["LogsFlood"]
    group = {"Name": "LogGroupName", "Value": node().outputs["LogGroup"]}
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"]) == ("AWS/Logs", "IncomingBytes", [group])
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 50 << 20)
    assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (3600, 1, "notBreaching")


def test_those_are_all(node):
    assert set(node().alarms) == {*ALARMS, "RestartLoop", "LogsFlood"}


def test_only_a_gpu_can_be_lost(node):
    assert set(node().alarms) - set(node(**NO_GPU).alarms) == {"GpuLost"}


def test_alarms_and_their_end_are_told_to_the_topic(node):
    for name, alarm in node(AlarmTopicArn=TOPIC).alarms.items():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == ([TOPIC], [TOPIC])
        # A node that stops to publish is down. A new one has not begun to: an alarm starts without data, silently.
        assert alarm["InsufficientDataActions"] == ([TOPIC] if name == "NodeDown" else [])
        assert alarm["ActionsEnabled"]


def test_without_a_topic_nobody_is_told(node):
    for alarm in node().alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == alarm["InsufficientDataActions"] == []


def test_an_alarm_says_what_to_do(node):
    for name, alarm in node().alarms.items():
        problem, remedy = alarm["AlarmDescription"].split("; ")
        assert problem
        assert "scripts/" in remedy or name == "InstanceImpaired"
