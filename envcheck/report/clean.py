"""Untrusted text made harmless, and steps made readable."""

from __future__ import annotations

import re
import shlex

from ..model import Machine, Step

# CSI and OSC sequences first, so that their payload goes with them; then every other control byte.
ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]{0,64}[@-~]"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=+\\-]+\Z")  # what PowerShell takes as it stands
# Marks that reorder what a reader sees, lone surrogates, and what XML 1.0 forbids.
INVISIBLE = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")


def clean(text: str, limit: int = 2_000) -> str:
    """One line without control bytes, escapes and invisible marks, cut to ``limit`` characters."""
    text = text[: limit * 4]
    if not text.isprintable():
        text = INVISIBLE.sub("", CONTROL.sub(" ", ESCAPE.sub("", text.replace("\n", " ").replace("\t", " "))))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def ascii_only(text: str) -> str:
    """For terminals without UTF-8: known signs by their ASCII form, the rest by ``?``."""
    for sign, plain in (("…", "..."), ("–", "-"), ("—", "-"), ("’", "'"), ("“", '"'), ("”", '"'), ("×", "x")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode("ascii")


def command(step: Step, machine: Machine | None = None) -> str:
    """A step as a line to copy, quoted for the shell of that machine: PowerShell on Windows, else a POSIX shell.

    ``sudo`` stands before what needs root, unless root is who runs this: in a container it mostly is, and an image has
    no sudo.
    """
    return " ".join(words(step, machine))


def words(step: Step, machine: Machine | None = None) -> list[str]:
    """The words of ``command``, each quoted; a line may be broken between them."""
    argv = [clean(a) for a in step.argv]
    if machine is not None and machine.os.platform == "windows":
        quoted = [a if PLAIN_WORD.match(a) else "'" + a.replace("'", "''") + "'" for a in argv]
        return [
            *(["&"] if quoted and quoted[0].startswith("'") else []),
            *quoted,
        ]  # a quoted word alone is only printed
    return [shlex.quote(a) for a in [*(["sudo"] if step.root and not _is_root(machine) else []), *argv]]


def _is_root(machine: Machine | None) -> bool:
    if machine is None:
        return False
    told = machine.facts.get("root")
    return told if isinstance(told, bool) else machine.os.container is not None
