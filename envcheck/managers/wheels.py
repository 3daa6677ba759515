"""What pip, uv and poetry share: the pinned requirements of a job and where they come from."""

from __future__ import annotations

from ..model import Step
from . import words
from .base import InstallJob

INSTALLERS = ("pip", "uv")  # a constraint on one of these is met before it is used, never beside torch
PREVIOUS_VERSIONS = "https://pytorch.org/get-started/previous-versions/"


def torch_version(job: InstallJob) -> str:
    """``2.0.1+cu118`` where the wheels there carry the variant, else ``2.0.1``.

    A directory of links is read beside the user's own index, whose plain wheel of the same version would
    be as good a match: there the local version is always pinned.
    """
    return job.torch.version + (f"+{job.torch.tag}" if job.pin_local or job.index_kind == "find-links" else "")


def pinned(job: InstallJob) -> tuple[tuple[str, str], ...]:
    """(name, version) of torch and its companions."""
    local = f"+{job.torch.tag}" if job.index_kind == "find-links" else ""
    return (("torch", torch_version(job)), *((name, version + local) for name, version in words.companions(job)))


def packages(job: InstallJob) -> tuple[str, ...]:
    return tuple(f"{name}=={version}" for name, version in pinned(job))


def constraints(job: InstallJob) -> tuple[str, ...]:
    return tuple(c for c in job.constraints if words.distribution(c) not in INSTALLERS)


def installer_constraints(job: InstallJob, installer: str) -> tuple[str, ...]:
    """Requirements on the installer itself (``pip>=...``: an older one does not know today's platform tags)."""
    return tuple(c for c in job.constraints if words.distribution(c) == installer)


def requirements(job: InstallJob) -> tuple[str, ...]:
    """Everything that one install command names, torch first, in the order of PyTorch's own commands."""
    return packages(job) + constraints(job)


def index_args(job: InstallJob) -> tuple[str, ...]:
    """Where torch comes from. Never ``--extra-index-url``: indexes merge there without any order."""
    if not job.index_url:
        return ()
    return ("--find-links" if job.index_kind == "find-links" else "--index-url", job.index_url)


def default_index_args(job: InstallJob) -> tuple[str, ...]:
    """Where everything but torch comes from: the user's own index, or the PyPI mirror that was asked for."""
    return index_args(job) if job.index_kind == "pypi" else ()


def where(job: InstallJob) -> str:
    """The origin of the wheels, for a sentence."""
    return job.index_url or "the default index (PyPI)"


def check(job: InstallJob, python: str) -> tuple[str, ...]:
    """Exits 0 where ``python`` has everything already (``ec_have`` is a function of the prelude)."""
    return ("ec_have", python, *requirements(job))


def install_title(job: InstallJob) -> str:
    names = ", ".join(f"{name} {version}" for name, version in pinned(job))
    return f"install {names}"


def install_why(job: InstallJob) -> str:
    text = f"torch {job.torch.version} for {job.torch.tag} comes from {where(job)}"
    if constraints(job):
        text += f"; {', '.join(constraints(job))} stands on the same line, since a later command could not undo it"
    return text


def other_build_step(job: InstallJob, python: str, uninstall: tuple[str, ...]) -> Step:
    """Take away a torch of the same version but of another variant, which pip would call satisfied."""
    known = {torch_version(job): None, f"{job.torch.version}+{job.torch.tag}": None}
    names = [name for name, _ in pinned(job)]
    return Step(
        id="other-build",
        title="remove a torch of another build from the environment, if there is one",
        argv=(*uninstall, *names),
        check=("ec_same_build", python, "torch", *known),
        why=f"pip takes torch {job.torch.version} of any variant (+cpu, another CUDA) for the one that was asked for, "
        "and would leave it and the companions built for it in place",
        source="https://packaging.python.org/en/latest/specifications/version-specifiers/#local-version-identifiers",
    )
