"""What watches: alarms and dashboards of CloudWatch, log groups of CloudWatch Logs."""

from moto.cloudformation.exceptions import ValidationError
from moto.cloudwatch import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID

from aws.resource import Properties, Resource


class Alarm(Resource):
    type = "AWS::CloudWatch::Alarm"
    name_property = "AlarmName"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        self.update(properties)
        (alarm,) = self.call("cloudwatch", "DescribeAlarms", AlarmNames=[name])["MetricAlarms"]
        self.attributes = {"Arn": alarm["AlarmArn"]}

    def update(self, properties: Properties) -> None:
        properties = {**properties, "AlarmName": self.id, "Tags": self.tags(properties)}
        self.call("cloudwatch", "PutMetricAlarm", **properties)

    def remove(self) -> None:
        self.call("cloudwatch", "DeleteAlarms", AlarmNames=[self.id])


class Dashboard(Resource):
    type = "AWS::CloudWatch::Dashboard"
    name_property = "DashboardName"

    def create(self, name: str, properties: Properties) -> None:
        # A name is the account's, in all regions (PutDashboard's page), and no stack takes over another's.
        if any(name in backend.dashboards for backend in cloudwatch_backends[DEFAULT_ACCOUNT_ID].values()):
            raise ValidationError(message=f"{self.type} with identifier {name} already exists.")
        self.id = name
        self.update(properties)

    def update(self, properties: Properties) -> None:
        self.call("cloudwatch", "PutDashboard", **{**properties, "DashboardName": self.id})

    def remove(self) -> None:
        self.call("cloudwatch", "DeleteDashboards", DashboardNames=[self.id])


class LogGroup(Resource):
    type = "AWS::Logs::LogGroup"
    name_property = "LogGroupName"

    def create(self, name: str, properties: Properties) -> None:
        self.id = name
        self.call("logs", "CreateLogGroup", logGroupName=name, tags=self.tag_map(properties))
        (group,) = self.call("logs", "DescribeLogGroups", logGroupNamePrefix=name)["logGroups"]
        self.attributes = {"Arn": group["arn"]}
        self.update(properties)

    def update(self, properties: Properties) -> None:
        if days := properties.get("RetentionInDays"):
            self.call("logs", "PutRetentionPolicy", logGroupName=self.id, retentionInDays=days)

    def remove(self) -> None:
        self.call("logs", "DeleteLogGroup", logGroupName=self.id)
