"""``envcheck plan --online``: ask the index whether the chosen wheels are there, and take their SHA-256."""

from __future__ import annotations

from ..errors import NetworkError
from ..matrix import Matrix
from ..model import Plan


def ask(plan: Plan, matrix: Matrix) -> tuple[str, ...]:
    """Sentences for the user. Raises ``NetworkError`` where the index cannot be asked or lacks the wheel."""
    from ..matrix_update import default_index, session
    from ..matrix_update.wheels import find_wheel, newest_version

    assert plan.torch is not None
    if plan.torch.package != "wheel":
        return ("online: conda channels are asked by conda itself; nothing was asked here",)
    url = plan.torch.index_url or default_index()
    client = session(timeout=15.0)
    wanted = {"torch": plan.torch.version, **plan.companions}
    notes: list[str] = []
    assert plan.python is not None
    for name, version in wanted.items():
        tag = plan.torch.tag if plan.torch.index_url else None
        found = find_wheel(
            client, url, name, version, tag=tag, python=plan.python.version or "", platform=plan.torch.platform
        )
        if found is None:
            raise NetworkError(
                f"the index {url} has no wheel of {name} {version} for Python {plan.python.version} on "
                f"{plan.torch.platform}. Try another variant with --cuda, or another release with --torch"
            )
        notes.append(f"online: {found.filename} is there" + (f", sha256 {found.sha256}" if found.sha256 else ""))
    newest = newest_version(client, url, "torch")
    known = tuple(matrix.releases)
    if newest is not None and newest not in known:
        notes.append(
            f"online: the index has torch {newest}, newer than this matrix ({matrix.date}): `envcheck matrix update`"
        )
    return tuple(notes)
