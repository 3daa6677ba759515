"""Plans as bash, PowerShell, Dockerfile, JSON and text. Formats are imported when they are asked for."""

from __future__ import annotations

from ..errors import UsageError
from ..model import Plan
from ..recipes import STATE_DIR
from .meta import Meta

__all__ = ["FORMATS", "Meta", "render"]

FORMATS = ("script", "powershell", "json", "text", "dockerfile")


def render(plan: Plan, fmt: str, *, meta: Meta, width: int = 100, sysroot: str = "", state_dir: str = STATE_DIR) -> str:
    """``plan`` in one of ``FORMATS``, ended by a newline; empty where a format has nothing to say of a refusal.

    ``width`` is the columns of ``text``. ``sysroot`` and ``state_dir`` are for tests, which run scripts on a
    directory instead of the machine. Raises ``UsageError`` for an unknown format, and for one that this plan
    cannot have.
    """
    if fmt == "script":
        from .bash import script

        return script(plan, meta, sysroot, state_dir)
    if fmt == "powershell":
        from .powershell import script as powershell_script

        return powershell_script(plan, meta)
    if fmt == "json":
        from .plan_json import plan_json

        return plan_json(plan)
    if fmt == "text":
        from .text import text

        return text(plan, width)
    if fmt == "dockerfile":
        from .dockerfile import dockerfile

        return dockerfile(plan, meta)
    raise UsageError(f"--format {fmt!r} is not known; there are {', '.join(FORMATS)}")
