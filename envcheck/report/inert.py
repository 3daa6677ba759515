"""Text that a CI runner may read: no line of it is a workflow command of GitHub's runner, whoever wrote its words."""

from __future__ import annotations

import re

# a runner reads `::command::` after leading blanks, and the older `##[command]` anywhere in a line
COMMAND_HEAD = re.compile(r"^(\s*)::", re.MULTILINE)


def inert(text: str) -> str:
    """Text for a job's log: no line of it is a workflow command."""
    return COMMAND_HEAD.sub(r"\1: :", text.replace("##[", "## ["))


def inert_json(text: str) -> str:
    """The same for JSON, whose strings may write a character by its number."""
    return text.replace("##[", "#\\u0023[")


def inert_xml(text: str) -> str:
    """The same for XML."""
    return COMMAND_HEAD.sub(r"\1&#58;:", text.replace("##[", "#&#35;["))
