"""What was asked of pip, uv and conda, and what they answered. Requests are no facts about what is installed.

::

    $ pip install torch==2.10.0 torchvision --index-url https://download.pytorch.org/whl/cu131
    Looking in indexes: https://download.pytorch.org/whl/cu131
    ERROR: Could not find a version that satisfies the requirement torch==2.10.0 (from versions: none)
    ERROR: No matching distribution found for torch==2.10.0
    Successfully installed numpy-1.26.4 torch-2.1.0+cu118
    Requirement already satisfied: torch in ./venv/lib/python3.10/site-packages (2.1.0+cu118)
    Downloading torch-2.4.1-cp312-cp312-manylinux1_x86_64.whl (797.1 MB)
"""

from __future__ import annotations

import re
from typing import Any

from ..env import without_credentials
from ..torch import normal_name
from .lines import Lines
from .packages import matters
from .part import Part
from .torch_version import describe

MAX_COMMANDS = 50
_COMMAND = re.compile(
    r"(?<![\w/.-])((?:uv )?pip3?(?:\.exe)?|conda|mamba|micromamba|pixi|poetry|uv)[ \t]{1,4}"
    r"(?:-\S+ ){0,3}(install|add|create|env create|i)\b[ \t]{0,4}(.{0,1200})"
)
_INDEX = re.compile(
    r"(?:--index-url|--extra-index-url|-i|-f|--find-links|--default-index|--index)[ =]{1,3}['\"]?([^\s'\"]{4,300})"
)
_WITH_VALUE = frozenset({
    "-i", "-f", "-c", "-n", "-r", "-p", "-t", "-e", "--index-url", "--extra-index-url", "--find-links", "--channel",
    "--name", "--index", "--default-index", "--file", "--prefix",
})  # fmt: skip
_REQUIREMENT = re.compile(r"['\"]?([A-Za-z][\w.-]{0,60})(?:\[[\w,-]{1,60}\])?((?:[=<>!~]=?=?[^\s'\"]{1,40})?)['\"]?$")
_LOOKING = re.compile(r"Looking in (indexes|links): (.{1,600})")
_NOT_FOUND = re.compile(
    r"Could not find a version that satisfies the requirement (\S{1,120})(?: \((?:from .{0,80}?)?from versions: "
    r"(.{0,1500}?)(\)|$)|)"
)
_NO_MATCH = re.compile(r"No matching distribution found for (\S{1,120})")
_INSTALLED = re.compile(r"Successfully installed (.{1,6000})")
_SATISFIED = re.compile(
    r"Requirement already satisfied: ([A-Za-z][\w.-]{0,60})\S{0,60}.{0,400}? \((\d[\w.+!-]{0,60})\)[ \t]*$"
)
_NAME_VERSION = re.compile(r"([A-Za-z][\w.-]{0,60}?)-(\d[\w.+!]{0,60})$")
_WHEEL = re.compile(r"\b([A-Za-z][\w.]{0,60}-\d[\w.+!%]{0,80}-(?:cp|py)\d\w{0,12}-\w{2,14}-\w{3,80})\.whl")
_PLUS = re.compile(r"[ \t]*\+ ([A-Za-z][\w.-]{0,60})==(\d\S{0,60})$")  # uv


def parse(lines: Lines) -> Part | None:
    if not lines.has(
        "install", "no matching distribution", "could not find a version", ".whl", "looking in", "conda", "uv "
    ):
        return None
    part = Part("install")
    facts: dict[str, Any] = {"commands": [], "indexes": [], "not_found": [], "wheels": [], "installed": {}}
    for _, line in lines:
        text = line.text
        if len(text) > 8:
            _line(facts, text, line.number)
    installed: dict[str, str] = facts["installed"]
    part.packages = {name: version for name, version in installed.items() if matters(name)}
    if torch := installed.get("torch"):
        part.torch.update({"version": torch, "source": "pip", **describe(torch)})
    part.facts["install"] = {k: v for k, v in facts.items() if v}
    return part if part.facts["install"] else None


def _line(facts: dict[str, Any], text: str, number: int) -> None:
    if "install" in text or " add " in text or " create" in text:
        if installed := _INSTALLED.search(text):
            for word in installed.group(1).split():
                if pair := _NAME_VERSION.match(word):
                    facts["installed"][normal_name(pair.group(1))] = pair.group(2)
        elif len(facts["commands"]) < MAX_COMMANDS and (command := _COMMAND.search(text)):
            facts["commands"].append(_command(command, number))
    if "equirement" in text:
        if (missing := _NOT_FOUND.search(text)) and len(facts["not_found"]) < MAX_COMMANDS:
            versions = missing.group(2)
            entry: dict[str, Any] = {"requirement": missing.group(1).rstrip(")"), "line": number}
            if versions is not None:
                entry["versions"] = [] if versions.strip() == "none" else re.split(r",\s*", versions.strip())[:200]
                if not missing.group(3):  # the line was cut, and its last version with it
                    entry["versions"] = entry["versions"][:-1]
            facts["not_found"].append(entry)
        elif satisfied := _SATISFIED.search(text):
            facts["installed"].setdefault(normal_name(satisfied.group(1)), satisfied.group(2))
    elif (unmatched := _NO_MATCH.search(text)) and len(facts["not_found"]) < MAX_COMMANDS:
        wanted = unmatched.group(1)
        if all(entry["requirement"] != wanted for entry in facts["not_found"]):
            facts["not_found"].append({"requirement": wanted, "line": number})
    elif looking := _LOOKING.search(text):
        facts["indexes"].extend(without_credentials(url) for url in re.split(r",\s*", looking.group(2))[:20])
    if ".whl" in text and len(facts["wheels"]) < 200:
        facts["wheels"].extend(name for name in _WHEEL.findall(text)[:20] if name not in facts["wheels"])
    if "==" in text and (plus := _PLUS.match(text)):
        facts["installed"].setdefault(normal_name(plus.group(1)), plus.group(2))


def _command(command: re.Match[str], number: int) -> dict[str, Any]:
    tool, verb, rest = command.groups()
    rest = re.split(r"[;&|`]| # ", rest)[0]
    indexes = (
        [without_credentials(url) for url in _INDEX.findall(rest)] if "pip" in tool or tool in ("uv", "poetry") else []
    )
    wanted, skip = {}, False
    channels = re.findall(r"(?:^|\s)(?:-c|--channel)[ =](\S{1,80})", rest)
    for word in rest.split():
        if skip or word.startswith("-"):
            skip = word in _WITH_VALUE
        elif requirement := _REQUIREMENT.match(word):
            wanted[normal_name(requirement.group(1))] = requirement.group(2)
        elif wheel := _WHEEL.search(word):
            wanted[normal_name(wheel.group(1).split("-")[0])] = "==" + wheel.group(1).split("-")[1].replace("%2B", "+")
    found: dict[str, Any] = {"tool": tool, "verb": verb, "packages": wanted, "indexes": indexes, "channels": channels}
    return {**{k: v for k, v in found.items() if v or k == "packages"}, "line": number}
