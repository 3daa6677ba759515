"""pyproject.toml for uv and for poetry: torch from one explicit index, everything else from the default one."""

from __future__ import annotations

from ..errors import UsageError
from . import emit, mirrors, wheels, words
from .base import InstallJob

PROJECT = "envcheck-torch"
_SYS_PLATFORM = {"linux": "linux", "windows": "win32", "macos": "darwin"}
_MACHINE = {("windows", "x86_64"): "AMD64", ("macos", "aarch64"): "arm64"}


def uv_text(job: InstallJob) -> str:
    """A project for ``uv sync``. ``explicit`` keeps the index from serving anything but what names it."""
    marker = f"sys_platform == '{_SYS_PLATFORM[job.platform]}'"
    machine = _MACHINE.get((job.platform, job.arch), job.arch)
    text = _head(job, "uv sync") + (
        "[project]\n"
        f"name = {emit.quoted(PROJECT)}\n"
        'version = "0"\n'
        f"requires-python = {emit.quoted(_python(job))}\n"
        f"dependencies = [\n{_list(wheels.requirements(job))}]\n\n"
        "[tool.uv]\n"
        f"environments = [{emit.quoted(f'{marker} and platform_machine == {machine!r}')}]\n"
    )
    if not job.index_url:
        return text
    text += f"\n[[tool.uv.index]]\nname = {emit.quoted(_index_name(job))}\nurl = {_url(job)}\n"
    if job.index_kind == mirrors.PYPI:
        return text + "default = true\n"
    text += ('format = "flat"\n' if job.index_kind == mirrors.FIND_LINKS else "") + "explicit = true\n"
    text += "\n[tool.uv.sources]\n"
    for name, _ in wheels.pinned(job):
        text += f"{name} = [{{ index = {emit.quoted(_index_name(job))}, marker = {emit.quoted(marker)} }}]\n"
    return text


def poetry_text(job: InstallJob) -> str:
    """A project for ``poetry install``. Raises ``UsageError`` for a flat directory, which poetry cannot read."""
    if job.index_kind == mirrors.FIND_LINKS:
        raise UsageError(
            f"poetry reads indexes only, and {job.index_url} is a directory of links: "
            "take another mirror, or --manager pip or uv"
        )
    explicit = bool(job.index_url) and job.index_kind != mirrors.PYPI
    source = f", source = {emit.quoted(_index_name(job))}" if explicit else ""
    text = _head(job, "poetry install --no-root") + (
        "[tool.poetry]\n"
        f"name = {emit.quoted(PROJECT)}\n"
        'version = "0.0.0"\ndescription = ""\nauthors = []\npackage-mode = false\n\n'
        "[tool.poetry.dependencies]\n"
        f"python = {emit.quoted(_python(job))}\n"
    )
    for name, version in wheels.pinned(job):
        text += f"{name} = {{ version = {emit.quoted('==' + version)}{source} }}\n"
    for name, (spec, marker) in by_name(wheels.constraints(job)).items():
        condition = f", markers = {emit.quoted(marker)}" if marker else ""
        text += f"{emit.quoted(name)} = {{ version = {emit.quoted(spec)}{condition} }}\n"
    if job.index_url:
        priority = "explicit" if explicit else "primary"
        text += f"\n[[tool.poetry.source]]\nname = {emit.quoted(_index_name(job))}\nurl = {_url(job)}\n"
        text += f"priority = {emit.quoted(priority)}\n"
    return text


def by_name(requirements: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Requirements as name -> (specifier, marker), for files that hold a table: two on one name are joined."""
    from packaging.requirements import InvalidRequirement, Requirement

    found: dict[str, tuple[str, str]] = {}
    for text in requirements:
        try:
            parsed = Requirement(text)
        except InvalidRequirement as error:
            raise UsageError(f"{text!r} is no requirement: {error}") from None
        name, spec = words.distribution(parsed.name), str(parsed.specifier)
        before, marker = found.get(name, ("", ""))
        joined = ",".join(part for part in (before if before != "*" else "", spec) if part)
        found[name] = (joined or "*", str(parsed.marker) if parsed.marker else marker)
    return found


def _head(job: InstallJob, command: str) -> str:
    return emit.header(
        f"torch {job.torch.version}, {job.torch.tag}, for Python {words.minor(job)} on {job.platform} {job.arch}",
        f"made by `envcheck plan --format pyproject`; install with: {command}",
    )


def _python(job: InstallJob) -> str:
    """One minor version: another one may have no wheel of this torch."""
    return f"=={words.minor(job).rstrip('t')}.*"


def _index_name(job: InstallJob) -> str:
    return "mirror" if job.index_kind == mirrors.PYPI else f"pytorch-{job.torch.tag}"


def _url(job: InstallJob) -> str:
    return emit.quoted(mirrors.check_url(job.index_url or ""))


def _list(items: tuple[str, ...]) -> str:
    return "".join(f"  {emit.quoted(item)},\n" for item in items)
