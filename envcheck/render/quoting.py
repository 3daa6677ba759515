"""The only place that quotes: words for bash, for PowerShell, and text of others inside comments.

A word is never parsed by a shell: it becomes one literal whose value is that word and nothing else.
"""

from __future__ import annotations

import re
import unicodedata

from ..errors import UsageError

_BARE = re.compile(r"[A-Za-z0-9_./:@%+-]+")
# What may stand between single quotes. Not $ ` \ ', which a reader or a linter takes for syntax.
_PLAIN = re.compile(r"[^'`$\\]*")
_ANSI_C = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def check_word(word: str) -> None:
    """Raises ``UsageError`` for what no argv can hold: NUL, or a character that is none."""
    if "\0" in word or any(unicodedata.category(c) == "Cs" for c in word):
        raise UsageError(f"{word!r} holds a character that no command line can carry; take another name")


def bash(word: str) -> str:
    """``word`` as one word of bash (3.2 and newer): bare, in single quotes, or as ``$'...'``."""
    check_word(word)
    if _BARE.fullmatch(word):
        return word
    if _PLAIN.fullmatch(word) and not word.startswith("~") and all(_visible(c) for c in word):
        return f"'{word}'"
    return "$'" + "".join(_ANSI_C.get(c, c if _ascii(c) else _bytes(c)) for c in word) + "'"


def bash_array(words: tuple[str, ...]) -> str:
    return "(" + " ".join(bash(w) for w in words) + ")"


def powershell(word: str) -> str:
    """``word`` as one expression of PowerShell, in ASCII: other characters are spelled by number.

    Windows PowerShell reads a script without a byte order mark in the machine's own code page, and takes four
    typographic quotes for quotes; neither matters where only ASCII stands in the file.
    """
    check_word(word)
    parts, run = [], ""
    for char in word:
        if _ascii(char):
            run += char
            continue
        if run:
            parts.append(f"'{_double(run)}'")
            run = ""
        parts.extend(f"[char]0x{unit:04x}" for unit in _utf16(char))
    if run or not parts:
        parts.append(f"'{_double(run)}'")
    if len(parts) == 1 and parts[0].startswith("'"):
        return parts[0]
    head = [] if parts[0].startswith("'") else ["''"]
    return "(" + " + ".join(head + parts) + ")"


def powershell_array(words: tuple[str, ...]) -> str:
    return "@(" + ", ".join(powershell(w) for w in words) + ")"


def comment(text: str, limit: int = 400) -> str:
    """Text of others for one comment line of ASCII: nothing in it ends the line, hides or turns around."""
    clean = "".join(c if _ascii(c) and c.isprintable() else "?" if _visible(c) else " " for c in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def shown(text: str) -> str:
    """Text of others for a message: control and invisible characters become blanks."""
    return "".join(c if _visible(c) else " " for c in text)


def _double(text: str) -> str:
    return text.replace("'", "''")


def _ascii(char: str) -> bool:
    return " " <= char <= "~"


def _visible(char: str) -> bool:
    """Letters, digits, marks, punctuation: no control, no format character (right-to-left), no odd blank."""
    return char == " " or (unicodedata.category(char)[0] not in "CZ" and char not in "‘’‚‛“”„‟′″‐‑‒–—−")


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" if byte >= 0x80 else f"\\{byte:03o}" for byte in char.encode())


def _utf16(char: str) -> list[int]:
    raw = char.encode("utf-16-be")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]
