"""One result model, many renderings: ``Report`` -> terminal text, JSON, markdown, JUnit, GitHub annotations.

Everything that may come from a report, a device or a file is untrusted: ``clean`` strips control bytes and terminal
escapes, and each format escapes for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from ..checks.base import Report
from .data import as_data, as_json
from .github import as_github
from .junit import as_junit
from .markdown import as_markdown
from .text import as_text

# name -> text of that format. ``text`` takes more (width, colour) and is called by its own name.
FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "junit": as_junit,
    "github": as_github,
}

__all__ = ["FORMATS", "as_data", "as_github", "as_json", "as_junit", "as_markdown", "as_text"]
