"""Text of others inside TOML, YAML and comments, so that no value can end its line or its string."""

from __future__ import annotations

import unicodedata

from ..errors import UsageError

# Break a line in YAML or are invisible; all other control characters are found by category.
_BREAKS = "\u2028\u2029\ufeff\ufffe\uffff"
_SHORT = {'"': '\\"', "\\": "\\\\"}


def quoted(text: str) -> str:
    """A double-quoted string that TOML and YAML read alike. Raises ``UsageError`` for lone surrogates."""
    out = []
    for char in text:
        category = unicodedata.category(char)
        if category == "Cs":
            raise UsageError(f"{text!r} is not valid Unicode and cannot be written to a file; take another name")
        escape = category == "Cc" or char in _BREAKS
        out.append(f"\\u{ord(char):04x}" if escape else _SHORT.get(char, char))
    return '"' + "".join(out) + '"'


def comment(text: str) -> str:
    """One comment line; whatever could break the line becomes a space."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BREAKS else c for c in text)
    return f"# {clean}".rstrip()


def header(*lines: str) -> str:
    """A block of comment lines."""
    return "".join(comment(line) + "\n" for line in lines)
