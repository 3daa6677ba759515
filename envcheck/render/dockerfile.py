"""A plan as a Dockerfile. No driver is ever in an image: the host's is mounted by the container toolkit."""

from __future__ import annotations

import json

from ..errors import UsageError
from ..model import Plan, Step
from .meta import Meta
from .quoting import check_word, comment

PIP_LIKE = ("pip", "uv")
CONDA_LIKE = ("conda", "mamba", "micromamba")
CONDA_BASE = "condaforge/miniforge3"


def dockerfile(plan: Plan, meta: Meta) -> str:
    """A slim base is enough: torch's wheels bring CUDA and cuDNN. Raises ``UsageError`` where no image fits."""
    if not plan.satisfiable:
        return ""
    assert plan.torch is not None
    if plan.machine.os.platform in ("windows", "macos"):
        raise UsageError("--format dockerfile is for Linux: a container of Windows or macOS gets no NVIDIA GPU")
    if plan.request.offline is not None:
        raise UsageError("--format dockerfile cannot be combined with --offline: an image is built with a network")
    base, commands = _conda(plan) if plan.request.manager in CONDA_LIKE else _pip(plan)
    gpu = plan.torch.cuda is not None
    run = "docker run --rm --gpus all IMAGE" if gpu else "docker run --rm IMAGE"
    proof = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
    lines = [
        f"# {comment(f'torch {plan.torch.version} ({plan.torch.tag}), by envcheck {meta.envcheck_version}')}",
        f"# build: docker build -t IMAGE .    run: {run}",
    ]
    if gpu:
        minimum = plan.driver.minimum if plan.driver else None
        least = (minimum.minor_version or minimum.toolkit_exact) if minimum else None
        lines.append(
            f"# {comment(f'the driver is that of the host: {least} or newer, with the NVIDIA container toolkit')}"
        )
    lines += [f"FROM {base}"]
    if gpu:
        lines.append("ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    lines += [f"RUN {_exec(command)}" for command in commands]
    lines.append(f"CMD {_exec(('python', '-c', proof))}")
    return "\n".join(lines) + "\n"


def _pip(plan: Plan) -> tuple[str, list[tuple[str, ...]]]:
    """The official Python image and the plan's own install line, with that image's interpreter."""
    if plan.request.manager not in PIP_LIKE:
        raise UsageError(
            f"--format dockerfile: {plan.request.manager} keeps a project of its own. "
            f"It goes with --manager {' or '.join(PIP_LIKE + CONDA_LIKE)}"
        )
    version = plan.python.version if plan.python else None
    if not version or version.endswith("t"):
        raise UsageError(f"--format dockerfile: there is no official image of Python {version or 'without a version'}")
    if plan.request.hashes:
        raise UsageError(
            "--format dockerfile cannot lock hashes: use --format requirements --hashes and COPY that file"
        )
    words = _install(plan)
    start = words.index("install") + 1
    options = list(words[start:])
    if "--python" in options:
        at = options.index("--python")
        del options[at : at + 2]
    command = ("python", "-m", "pip", "install", "--no-cache-dir", *options)
    return f"python:{'.'.join(version.split('.')[:2])}-slim", [command]


def _conda(plan: Plan) -> tuple[str, list[tuple[str, ...]]]:
    """conda's own image; the plan's specs in its base environment, Python pinned on the same line."""
    words = _install(plan)
    start = words.index("install") + 1
    rest = [w for w in words[start:] if w != "-y"]
    for option in ("-n", "-p", "--name", "--prefix"):
        if option in rest:
            at = rest.index(option)
            del rest[at : at + 2]
    version = ".".join((plan.python.version if plan.python and plan.python.version else "3").split(".")[:2])
    override = tuple(w for w in words[:start] if w.startswith("CONDA_OVERRIDE_"))
    env = ("env", *override) if override else ()
    return CONDA_BASE, [(*env, "conda", "install", "-y", "-n", "base", f"python={version}", *rest)]


def _install(plan: Plan) -> tuple[str, ...]:
    step: Step | None = next((s for s in plan.steps if s.id == "torch"), None)
    if step is None or "install" not in step.argv:
        raise UsageError(f"--format dockerfile: {plan.request.manager} has no one line that installs torch")
    return step.argv


def _exec(words: tuple[str, ...]) -> str:
    """The JSON form of RUN and CMD, which no shell reads."""
    for word in words:
        check_word(word)
    return json.dumps(list(words))
