"""A template after the transform AWS::LanguageExtensions, as cfn-lint does it: Fn::ForEach written out.

Needs cfn-lint alone, so that it serves the tests and the linters, which have environments of their own.
"""

from pathlib import Path
from typing import Any

import cfnlint.decode
from cfnlint.template import Template


def expand(file: Path, **parameters: str) -> dict[str, Any]:
    """The template, with its loops over these values."""
    template, problems = cfnlint.decode.decode(str(file))
    if problems:
        raise ValueError(f"{file}: {problems[0].message}")
    for name, value in parameters.items():
        template["Parameters"][name]["Default"] = value
    whole = Template(str(file), template, ["us-east-1"])
    if problems := whole.transform():
        raise ValueError(f"{file}: {problems[0].message}")
    return whole.template
