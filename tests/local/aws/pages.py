"""Answers in pages, as CloudFormation gives them; moto gives everything at once."""

from collections.abc import Callable

from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

# Entries on a page, as in AWS: docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackEvents.html
size = 100

PAGED = {"describe_stack_events": "StackEvents", "list_stack_resources": "StackResourceSummaries"}


def paged(whole: Callable[[CloudFormationResponse], ActionResult], key: str):
    def page(response: CloudFormationResponse) -> ActionResult:
        entries = whole(response).result[key]
        start = int(response._get_param("NextToken") or 0)
        more = {"NextToken": str(start + size)} if start + size < len(entries) else {}
        return ActionResult({key: entries[start : start + size], **more})

    return page


def install() -> None:
    for operation, key in PAGED.items():
        setattr(CloudFormationResponse, operation, paged(getattr(CloudFormationResponse, operation), key))
