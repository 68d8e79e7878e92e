#!/usr/bin/env python3
"""Runs checkov over templates, and holds their suppressions to account: each has a reason, and each is needed.

suppressions.py TEMPLATE…, with the Python of an environment that has cfn-lint and checkov.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cfnlint.api import lint

from expansion import expand

REGIONS = ["us-east-1", "eu-central-1"]
# Any will do.
NODES = {"fleet.yaml": {"Nodes": "alpha,beta"}}


def checkov(templates: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What it has passed, failed and skipped. It cannot read loops, so it gets them written out."""
    with tempfile.TemporaryDirectory() as folder:
        for name, template in templates.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(template, indent=1))
        ended = subprocess.run(
            ["checkov", "--framework", "cloudformation", "--skip-download", "--compact", "--soft-fail"]
            + ["--directory", folder, "--output", "json"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    report = json.loads(ended.stdout)
    if report["summary"]["parsing_errors"]:
        raise ValueError(f"checkov cannot read {report['results']['parsing_errors']}")
    return report["results"]


def place(finding: dict[str, Any]) -> tuple[str, str, str]:
    """Template, logical id and check."""
    name = Path(finding["file_path"]).name.removesuffix(".json")
    return name, finding["resource"].split(".")[-1], finding["check_id"]


def checkov_problems(templates: dict[str, dict[str, Any]]) -> Iterator[str]:
    results = checkov(templates)
    for finding in results["failed_checks"]:
        yield "{}: {}: {} ".format(*place(finding)) + finding["check_name"]
    skipped = {place(finding) for finding in results["skipped_checks"]}
    for name, template in templates.items():
        for resource, definition in template["Resources"].items():
            for skip in definition.get("Metadata", {}).get("checkov", {}).get("skip", []):
                if not skip.get("comment"):
                    yield f"{name}: {resource}: the suppression of {skip['id']} has no comment with its reason"
                if (name, resource, skip["id"]) not in skipped:
                    yield f"{name}: {resource}: the suppression of {skip['id']} suppresses nothing; remove it"
    print(f"checkov: {len(results['passed_checks'])} checks passed, {len(skipped)} suppressed")


def cfn_lint_problems(file: Path) -> Iterator[str]:
    """cfn-lint's suppressions have no place for a reason, so that is a comment above."""
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("cfn-lint:"):
            found = {match.rule.id for match in lint("\n".join(lines[:number] + lines[number + 1 :]), regions=REGIONS)}
            for check in line[line.index("[") + 1 : line.index("]")].split(","):
                if check.strip() not in found:
                    yield f"{file.name}:{number + 1}: the suppression of {check.strip()} suppresses nothing; remove it"
            if not lines[number - 1].strip().startswith("#"):
                yield f"{file.name}:{number + 1}: no comment above says why cfn-lint is wrong here"


def main() -> int:
    files = [Path(name) for name in sys.argv[1:]]
    problems = [problem for file in files for problem in cfn_lint_problems(file)]
    problems += checkov_problems({file.name: expand(file, **NODES.get(file.name, {})) for file in files})
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
