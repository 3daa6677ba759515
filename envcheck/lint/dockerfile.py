"""A Dockerfile: stages, what they run, what they install."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Iterator

from ..errors import UsageError
from ..plan.line import Line, parse
from ..record import dataclass, field
from .images import COMPILERS, WITHOUT_COMPILER, compiler_fault, image_faults, package_faults, runfile_fault
from .pip import TORCH, install_faults
from .words import Fault, Target

INSTALLERS = re.compile(
    r"\b(?:apt-get|apt|dnf|yum|microdnf|zypper|apk|pacman)\s+(?:-\S+\s+)*(?:install|in|add|-S\w*)\s+(.*)"
)
RUNFILE = re.compile(r"\b(?:NVIDIA-Linux-\S+\.run|cuda_\S+\.run)\b")
GLOBAL = re.compile(r"\b(pip3?)((?:\s+--[\w-]+(?:=\S+)?)+)\s+install\b")  # pip --no-cache-dir install
OLD = re.compile(r"={1,3}\s*[01]\.")  # torch 1 has no torch.compile
HEREDOC = re.compile(r"<<-?\s*[\"']?([A-Za-z_]\w*)[\"']?")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    word: str  # upper case
    rest: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    image: str
    name: str
    line: int
    packages: list[str] = field(default_factory=list)
    torch_line: list[int] = field(default_factory=list)


def instructions(text: str) -> Iterator[Instruction]:
    """Logical lines: continuations joined, comments out, the body of a heredoc joined by semicolons."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [line.rstrip()]
        while parts[-1].endswith(("\\", "`")) and (more := next(lines, None)) is not None:
            parts[-1] = parts[-1][:-1]
            if not more[1].lstrip().startswith("#"):
                parts.append(more[1].rstrip())
            else:
                parts[-1] += "\\"
        whole = " ".join(parts)
        if heredoc := HEREDOC.search(whole):
            body = []
            for _, inner in lines:
                if inner.strip() == heredoc[1]:
                    break
                body.append(inner.strip())
            whole = HEREDOC.sub("", whole) + " ; " + " ; ".join(body)
        word, _, rest = whole.strip().partition(" ")
        yield Instruction(word=word.upper(), rest=rest.strip(), line=number)


def commands(rest: str) -> list[str]:
    """The simple commands of a RUN line, options of RUN and the JSON form taken off."""
    rest = re.sub(r"^(?:--\w[\w-]*=\S+\s+)+", "", rest)
    if rest.startswith("["):
        rest = " ".join(re.findall(r'"((?:[^"\\]|\\.)*)"', rest))
    return [c.strip() for c in re.split(r"&&|\|\||;|\|", rest) if c.strip()]


def assignments(rest: str) -> dict[str, str]:
    """``A=1 B="2 3"`` of ARG and ENV, and ENV's old form ``A 1``."""
    try:
        words = shlex.split(rest)
    except ValueError:
        return {}
    if words and "=" not in words[0]:
        return {words[0]: " ".join(words[1:])} if len(words) > 1 else {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def lint(text: str, target: Target) -> list[Fault]:
    faults: list[Fault] = []
    stages: list[Stage] = []
    args: dict[str, str] = {}
    for item in instructions(text):
        if item.word in ("ARG", "ENV"):
            args.update(assignments(_expanded(item.rest, args)))
        elif item.word == "FROM":
            stages.append(_stage(item, args, stages))
            faults += image_faults(stages[-1].image, item.line, target)
        elif item.word == "RUN" and stages:
            faults += _run(item, stages[-1], args, target)
    return faults + list(_compiler(stages))


def _stage(item: Instruction, args: dict[str, str], before: list[Stage]) -> Stage:
    words = [w for w in _expanded(item.rest, args).split() if not w.startswith("--")]
    name = words[2] if len(words) > 2 and words[1].lower() == "as" else ""
    base = next((s for s in before if s.name and words and s.name.lower() == words[0].lower()), None)
    if base is not None:
        packages, torch = list(base.packages), list(base.torch_line)
        return Stage(image=base.image, name=name, line=item.line, packages=packages, torch_line=torch)
    return Stage(image=words[0] if words else "", name=name, line=item.line)


def _expanded(text: str, args: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        return args.get(found[1] or found[3], found[2] or "")

    return re.sub(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))", value, text)


def _run(item: Instruction, stage: Stage, args: dict[str, str], target: Target) -> Iterable[Fault]:
    for command in commands(_expanded(item.rest, args)):
        if (
            RUNFILE.search(command)
            and re.match(r"(?:sudo\s+)?(?:sh|bash|\.?/)", command)
            and "--toolkit" not in command
        ):
            yield runfile_fault(item.line)
        if found := INSTALLERS.search(command):
            packages = [w for w in found[1].split() if not w.startswith("-")]
            stage.packages.extend(packages)
            yield from package_faults(packages, item.line)
        if re.search(r"\b(?:pip3?|uv|conda|mamba|micromamba)\b", command):
            yield from _install(command, item.line, stage, args, target)


def _install(command: str, number: int, stage: Stage, args: dict[str, str], target: Target) -> Iterable[Fault]:
    try:
        line = _with_environment(parse(GLOBAL.sub(r"\1 install \2", command)), args)
        shlex.split(command)
    except (UsageError, ValueError):
        return  # no install line, or one with shell words that only a shell can read
    if any(name.lower() in TORCH for name in line.packages) and not OLD.match(
        line.packages.get("torch", line.packages.get("pytorch", ""))
    ):
        stage.torch_line.append(number)
    yield from install_faults(line, number, target)


def _with_environment(line: Line, env: dict[str, str]) -> Line:
    """What pip and uv take from variables, where the command itself says nothing of it."""
    if line.manager == "conda":
        return line
    own = "PIP_" if line.manager == "pip" else "UV_"
    index = env.get(f"{own}INDEX_URL") or (env.get("UV_DEFAULT_INDEX") if own == "UV_" else None)
    extra = tuple(env.get(f"{own}EXTRA_INDEX_URL", "").split())
    return dataclasses.replace(
        line,
        index_url=line.index_url or index,
        extra_index_urls=line.extra_index_urls or extra,
        torch_backend=line.torch_backend or (env.get("UV_TORCH_BACKEND") if own == "UV_" else None),
    )


def _compiler(stages: list[Stage]) -> Iterable[Fault]:
    """The last stage alone is what runs."""
    if not stages:
        return
    last = stages[-1]
    compiler = any(COMPILERS.match(re.split(r"[=<>]", p)[0]) for p in last.packages)
    if last.torch_line and WITHOUT_COMPILER.search(last.image) and not compiler:
        yield compiler_fault(last.torch_line[0], last.image)
