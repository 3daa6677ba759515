"""``doctor --share``: markdown for an issue that carries the machine, so that anyone can ask it again.

The machine stands in a block of base64 (zlib, JSON) between two marks; ``doctor --machine FILE`` finds it in the
pasted text, whatever stands around it.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
import zlib
from pathlib import Path

from ..checks.base import Report
from ..errors import InputError
from ..model import Machine, from_plain, to_plain
from .markdown import as_markdown

BEGIN, END = "envcheck-machine-begin", "envcheck-machine-end"
BLOCK = re.compile(rf"{BEGIN}\s([A-Za-z0-9+/=\s>|]{{4,20000000}}?)\s{END}")
SIZE_LIMIT = 64 << 20  # bytes, of the file and of what it unpacks to


def as_share(report: Report) -> str:
    text = json.dumps({"machine": to_plain(report.machine)}, ensure_ascii=False, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode("ascii")
    block = "\n".join([BEGIN, *textwrap.wrap(packed, 100), END])
    return (
        f"{as_markdown(report)}\n<details><summary>the machine, for `envcheck doctor --machine FILE`</summary>\n\n"
        f"```text\n{block}\n```\n\n</details>\n"
    )


def shared_machine(path: str) -> Machine | None:
    """The machine inside a shared text; None where the file is no such text. Raises ``InputError`` if damaged."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(SIZE_LIMIT)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    hit = BLOCK.search(data.decode("utf-8", "replace"))
    if hit is None:
        return None
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(re.sub(r"[\s>|]", "", hit[1]), validate=True), SIZE_LIMIT)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError("it unpacks to more than a machine, or ends too early")
        return from_plain(Machine, json.loads(raw)["machine"])
    except (ValueError, KeyError, TypeError, zlib.error, RecursionError) as error:
        raise InputError(f"the machine in {path} is damaged ({error}): was the text copied in full?") from None
