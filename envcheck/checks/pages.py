"""The docs of the checks, out of their docstrings: ``envcheck explain CODE`` and docs/checks.md."""

from __future__ import annotations

import difflib

from ..errors import UsageError
from .run import CODES, GROUPS, code_of, doc_of, section
from .symptoms import table


def _head(code: str) -> str:
    return doc_of(code).strip().splitlines()[0]


def checks_list() -> list[tuple[str, str, str]]:
    """(area, code, one line) of every check, in ranking order."""
    return [(area, code_of(c), _head(code_of(c))) for area, checks in GROUPS for c in checks]


def check_page(code: str) -> str:
    """The page of one check as markdown. Raises ``UsageError`` that names the nearest code."""
    if code not in CODES:
        near = difflib.get_close_matches(code, CODES, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " `envcheck explain` lists them."
        raise UsageError(f"there is no check {code!r}.{hint}")
    doc = doc_of(code)
    sources = dict.fromkeys(row.source for row in table() if row.code == code)
    links = [*dict.fromkeys([*section(doc, "References").split(), *sources])]
    lines = [f"### {code}", "", _head(code), ""]
    lines += [f"**Why.** {section(doc, 'Why')}", "", f"**Fix.** {section(doc, 'Fix')}", ""]
    lines += ["**References.**", "", *(f"- <{link}>" for link in links), ""]
    return "\n".join(lines)


def checks_page() -> str:
    """docs/checks.md in full."""
    out = [
        "# Checks",
        "",
        "What `envcheck doctor` looks for, causes before what they cause. `envcheck explain CODE` prints one of these.",
        "This page is generated from the code.",
        "",
    ]
    seen: set[str] = set()
    for area, _ in GROUPS:
        if area not in seen:
            out += [f"## {area}", ""]
            seen.add(area)
            for group, members in GROUPS:
                if group == area:
                    out += [check_page(code_of(c)) for c in members]
    return "\n".join(out).rstrip() + "\n"
