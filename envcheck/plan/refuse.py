"""A refusal that helps: the smallest set of requirements in conflict, and nearby requests found by planning them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from ..matrix import Build, Matrix, version_key
from ..model import Alternative, Machine, Plan, Request
from ..record import dataclass
from .choose import (
    DriverView,
    coverage,
    driver_rule,
    drives,
    matrix_tags,
    minimum,
    name,
    torch_predicate,
    wanted_tag,
)
from .driver import branch_number, serves_all
from .lives import newest, span
from .target import OWNERS, Target

Planner = Callable[[Machine, Request], Plan]


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One thing that was asked for or that the machine is. ``build``/``driver`` None: it does not restrict that."""

    sentence: str
    build: Callable[[Build], bool] | None = None
    driver: Callable[[DriverView], bool] | None = None
    pair: Callable[[Build, DriverView], bool] | None = None
    gpu: int | None = None


def requirements(
    machine: Machine, target: Target, matrix: Matrix, request: Request, own: DriverView | None, section: str
) -> list[Requirement]:
    """Everything that restricts the choice, the most easily changed first."""
    builds = matrix.builds(target.platform, section)
    out = list(_of_request(matrix, request, builds, target.windows_driver))
    if request.python_fixed and target.python:
        tag = target.python
        out.append(Requirement(sentence=f"Python {tag} was asked for", build=lambda b: tag in b.pythons))
    if request.driver_branch:
        sentence = f"driver branch {request.driver_branch} was asked for"
        branch = int(request.driver_branch)
        out.append(Requirement(sentence=sentence, driver=lambda d: branch_number(d) == branch))
    out.extend(_of_driver(target, request, own))
    for i, gpu in enumerate(target.gpus):
        cc = gpu.compute_capability or ""
        out.append(
            Requirement(
                sentence=_gpu_sentence(matrix, target, section, gpu.name, cc),
                build=lambda b, cc=cc: coverage(b, cc, matrix, None) != "unsupported",  # type: ignore[misc]
                driver=lambda d, cc=cc: drives(branch_number(d), cc, matrix),  # type: ignore[misc]
                gpu=i,
            )
        )
    if target.glibc:
        limit = target.glibc
        out.append(
            Requirement(
                sentence=f"this system has glibc {target.glibc_text}",
                build=lambda b: not b.glibc or version_key(b.glibc) <= limit,
            )
        )
    if target.musl:
        out.append(Requirement(sentence="this system has musl instead of glibc", build=lambda b: not b.wheel_tag))
    return out


def _of_request(matrix: Matrix, request: Request, builds: Sequence[Build], windows: bool) -> Iterator[Requirement]:
    if request.torch != "latest":
        torch_ok = torch_predicate(request.torch, tuple(matrix.releases))
        held = [b for b in builds if b.cuda and torch_ok(b.torch)]
        sentence = f"torch {request.torch} was asked for{_needs(held, matrix, windows)}"
        yield Requirement(sentence=sentence, build=lambda b: torch_ok(b.torch))
    tag = wanted_tag(request.cuda, {b.tag for b in matrix_tags(matrix)}) or request.torch.partition("+")[2] or None
    if tag:
        yield Requirement(sentence=f"the variant {tag} was asked for", build=lambda b: b.tag == tag)


def _needs(builds: Sequence[Build], matrix: Matrix, windows: bool) -> str:
    """What a set of builds needs at least: ``(it needs driver 580.65.06 or newer and compute capability 7.5 ...)``."""
    floors = [m for b in builds if (m := minimum(b, matrix, windows)[1])]
    held = {c for b in builds for c in (*b.sass, *b.ptx)}
    if not floors or not held:
        return ""
    span_of = f"{min(held, key=version_key)} to {max(held, key=version_key)}"
    return f": its builds need driver {min(floors, key=version_key)} or newer and hold code for {span_of}"


def _of_driver(target: Target, request: Request, own: DriverView | None) -> Iterator[Requirement]:
    if target.driver_fixed:
        owner = {"container": "the host's", "jetson": "L4T's", "image": "the image's", "vgpu": "the vGPU host's"}
        shown = own.label if own else "no usable driver"
        sentence = f"{shown} is {owner.get(target.kind, 'fixed')}: it cannot be changed from here"
        if target.owner in OWNERS:
            sentence += f" ({OWNERS[target.owner]})"
    elif not request.driver_change:
        shown = own.label if own else "no usable driver is installed"
        sentence = f"{shown}, and --no-driver-change forbids another"
    else:
        return
    if own is None:
        yield Requirement(sentence=sentence, driver=lambda d: False)
    else:
        yield Requirement(sentence=sentence, driver=lambda d: d == own)


def _gpu_sentence(matrix: Matrix, target: Target, section: str, gpu: str | None, cc: str) -> str:
    label = f"{gpu} (compute capability {cc})" if gpu else f"a GPU of compute capability {cc}"
    life = span(matrix, target.platform, section, cc)
    if life is None:
        return f"{label} has no build at all for {target.platform}"
    if life[1].key >= newest(matrix, target.platform, section):
        build = f"{label} needs {name(life[0])} or newer"
    else:
        build = f"{label}: the newest build with code for it is {name(life[1])}"
    arch = matrix.architectures.get(cc)
    if arch is None or not (arch.first_branch or arch.last_branch):
        return build
    parts = [
        f"{arch.first_branch} or newer" if arch.first_branch else "",
        f"up to {arch.last_branch}" if arch.last_branch else "",
    ]
    flavour = f" ({arch.modules[0]} kernel module only)" if len(arch.modules) == 1 and not target.windows_driver else ""
    return f"{build}; driver branch {' '.join(p for p in parts if p)}{flavour}"


def nothing_for(target: Target, section: str, matrix: Matrix) -> str:
    """The sentence for a platform of which the matrix has no build at all in this section."""
    kind = "conda package" if section == "conda" else "wheel"
    text = f"this matrix knows no {kind} of torch for {target.platform}"
    if target.platform == "jetson-aarch64" and section == "builds":
        own = ", ".join(row.url for row in matrix.indexes.values() if row.kind == "jetson")
        text += f": server wheels have no code for Jetson, and what NVIDIA's own indexes serve ({own}) is not recorded"
    return text


def feasible(
    chosen: Sequence[Requirement],
    builds: Sequence[Build],
    drivers: Sequence[DriverView],
    target: Target,
    matrix: Matrix,
) -> bool:
    """Whether some build and some driver meet all requirements at once. One driver must serve all their GPUs."""
    fits = [b for b in builds if all(r.build is None or r.build(b) for r in chosen)]
    if not fits:
        return False
    gpus = tuple(target.gpus[r.gpu] for r in chosen if r.gpu is not None)
    part = dataclasses.replace(target, gpus=gpus)
    for view in drivers:
        if not all(r.driver is None or r.driver(view) for r in chosen):
            continue
        branch = matrix.branches.get(str(branch_number(view)))
        if branch is not None and gpus and not serves_all(branch, part, matrix):
            continue
        if any(driver_rule(b, view, matrix) for b in fits):
            return True
    return False


def smallest_conflict(
    all_of: Sequence[Requirement],
    builds: Sequence[Build],
    drivers: Sequence[DriverView],
    target: Target,
    matrix: Matrix,
) -> tuple[str, ...]:
    """Deletion filter: drop each requirement whose absence leaves the rest in conflict. The result is minimal."""
    kept = list(all_of)
    for requirement in list(all_of):
        rest = [r for r in kept if r is not requirement]
        if not feasible(rest, builds, drivers, target, matrix):
            kept = rest
    sentences = [r.sentence for r in kept]
    if len([r for r in kept if r.gpu is not None]) > 1 and len(kept) == len([r for r in kept if r.gpu is not None]):
        sentences = [*sentences, "one host has one driver and one torch: no driver and build serve all of them"]
    return tuple(dict.fromkeys(sentences))


def alternatives(
    machine: Machine, target: Target, request: Request, matrix: Matrix, plan: Planner
) -> list[Alternative]:
    """Requests near this one that can be met. Each is planned; none is guessed.

    Of a group (nearby releases, say) the first one or two that work are named.
    """
    out: list[Alternative] = []
    for limit, group in _groups(machine, target, request, matrix):
        found = 0
        for change, other_machine, other in group:
            if found >= limit:
                break
            gives = _gives(plan(other_machine, other))
            if gives is None:
                continue
            found += 1
            if all(a.gives != gives for a in out) or change.startswith("--gpu"):
                out.append(Alternative(change=change, gives=gives))
    if not out:
        out += _everything_lifted(machine, target, request, matrix, plan)
    return out


def _everything_lifted(
    machine: Machine, target: Target, request: Request, matrix: Matrix, plan: Planner
) -> Iterator[Alternative]:
    """Where no single change helps: all that was asked for given up at once, the first that then works."""
    swap = dataclasses.replace
    words = ["--torch latest", "--cuda auto"]
    open_request = swap(request, torch="latest", cuda="auto")
    if not target.driver_fixed and not request.driver_change:
        words.append("--driver-change")
        open_request = swap(open_request, driver_change=True)
    pythons: list[str | None] = [None]
    if request.python_fixed and machine.python is not None:
        pythons += _pythons(target, matrix)
    for cuda in ("auto", "cpu"):
        for version in pythons:
            other = machine
            extra = [w if cuda == "auto" else w.replace("--cuda auto", "--cuda cpu") for w in words]
            if version is not None and machine.python is not None:
                other = swap(machine, python=swap(machine.python, version=version, abi=None))
                extra.append(f"--python-version {version}")
            gives = _gives(plan(other, swap(open_request, cuda=cuda)))
            if gives is not None:
                yield Alternative(change=" ".join(extra), gives=gives)
                return


def _gives(answer: Plan) -> str | None:
    if not answer.satisfiable or answer.torch is None:
        return None
    text = f"{answer.torch.version}+{answer.torch.tag}"
    if answer.driver is not None and answer.driver.action in ("install", "upgrade", "downgrade", "replace"):
        text += f" with driver {answer.driver.target}"
    text += " from conda-forge" if answer.torch.package == "conda-forge" else ""
    return text + (", by PTX alone" if any(g.how == "ptx" for g in answer.gpus) else "")


Candidate = tuple[str, Machine, Request]


def _groups(
    machine: Machine, target: Target, request: Request, matrix: Matrix
) -> Iterator[tuple[int, list[Candidate]]]:
    """(how many to name, candidates nearest first)."""
    swap = dataclasses.replace
    small: list[Candidate] = []
    if request.cuda != "auto":
        small.append(("--cuda auto", machine, swap(request, cuda="auto")))
    if not request.driver_change and not target.driver_fixed:
        small.append(("--driver-change", machine, swap(request, driver_change=True)))
    default = str(matrix.data.get("defaults", {}).get("driver_branch", ""))
    if request.driver_branch and default != request.driver_branch:
        small.append((f"--driver-branch {default}", machine, swap(request, driver_branch=default)))
    yield len(small), small
    free = swap(request, cuda="auto")
    tail = " --cuda auto" if request.cuda != "auto" else ""
    above, below = _near_minors(request, matrix)
    for minors in (above, below):
        yield 1, [(f"--torch {m}{tail}", machine, swap(free, torch=m)) for m in minors]
    yield 1, [(f"--torch latest{tail}", machine, swap(free, torch="latest"))]
    if request.python_fixed and machine.python is not None:
        yield (
            1,
            [
                (f"--python-version {v}", swap(machine, python=swap(machine.python, version=v, abi=None)), request)
                for v in _pythons(target, matrix)
            ],
        )
    if request.manager in ("pip", "uv", "poetry"):
        conda = swap(request, manager="conda", mirror=None, index_url=None, offline=None, hashes=False)
        newest_conda = swap(conda, torch="latest", cuda="auto")
        yield (
            1,
            [
                ("--manager conda", machine, conda),
                ("--manager conda --torch latest --cuda auto", machine, newest_conda),
            ],
        )
    names = {g.name or f"sm_{(g.compute_capability or '').replace('.', '')}": g for g in target.gpus}
    if len(names) > 1:
        yield len(names), [(f'--gpu "{label}"', swap(machine, gpus=(gpu,)), request) for label, gpu in names.items()]
    yield 1, [("--cuda cpu", machine, swap(request, cuda="cpu"))]


def _near_minors(request: Request, matrix: Matrix) -> tuple[list[str], list[str]]:
    """Minor releases above and below what was asked, nearest first: 2.6 -> ([2.7, 2.8 ...], [2.5, 2.4 ...])."""
    if request.torch == "latest":
        return [], []
    asked = torch_predicate(request.torch, tuple(matrix.releases))
    minors = sorted({version_key(v)[:2] for v in matrix.releases})
    hit = [version_key(v)[:2] for v in matrix.releases if asked(v)]
    above = [".".join(map(str, m)) for m in minors if m > max(hit)]
    below = [".".join(map(str, m)) for m in reversed(minors) if m < min(hit)]
    return above, below


def _pythons(target: Target, matrix: Matrix) -> list[str]:
    every = {p for b in matrix.builds(target.platform) for p in b.pythons if not p.endswith("t")}
    own = version_key((target.python or "3.11").rstrip("t"))
    return sorted(every, key=lambda p: (abs(version_key(p)[1] - own[1]), p))
