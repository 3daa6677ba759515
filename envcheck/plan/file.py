"""The files that a manager keeps (requirements.txt, pyproject.toml, ...) for a plan that was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..managers import get as get_manager
from ..managers.base import InstallJob
from ..matrix import Matrix
from ..model import Plan
from .steps import install_job
from .target import make_target


def file_text(plan: Plan, matrix: Matrix, fmt: str, hashes: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """The text of one file format. ``hashes``: (package, version) -> SHA-256 digests of its wheels."""
    job = job_of(plan, matrix)
    if hashes and fmt == "requirements":
        from ..managers.requirements import with_hashes

        return with_hashes(job, hashes)
    return get_manager(plan.request.manager).FILES[fmt](job)


def job_of(plan: Plan, matrix: Matrix) -> InstallJob:
    """The installation that a plan decided, as its manager takes it."""
    assert plan.torch is not None
    assert plan.python is not None
    section = get_manager(plan.request.manager).SECTION
    target = make_target(plan.machine, matrix)
    chosen = plan.torch
    build = next(
        b
        for b in matrix.builds(target.platform, section)
        if (b.torch, b.tag) == (chosen.version, chosen.tag)
        and (section == "builds" or (b.index == "pytorch") == (chosen.package == "conda-pytorch"))
    )
    companions = dict(plan.companions)
    job, _ = install_job(build, plan.machine, target, matrix, plan.request, plan.python, companions, plan.constraints)
    return job
