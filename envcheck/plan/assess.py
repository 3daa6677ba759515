"""``plan --check``: what an install line would install on this machine, and whether it would run. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..matrix import Build, Matrix, version_key
from ..model import Machine
from ..record import dataclass
from .choose import DriverView, Verdict, driver_rule, judge, name, preference
from .driver import present
from .line import Line, index_tag
from .target import Target, make_target

OLD_SYNTAX = "cudatoolkit"


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """``build`` None: the line installs no torch 2 that the matrix knows. ``runs`` None: could not be told."""

    build: Build | None
    runs: bool | None
    findings: tuple[tuple[str, str], ...]  # (code, sentence)


def assess(line: Line, machine: Machine, matrix: Matrix) -> Assessment:
    target = make_target(machine, matrix)
    option = present(machine, target, matrix)
    view = option.view if option else DriverView(version=None, cuda=None, windows=target.windows_driver)
    findings = list(_habits(line))
    if line.manager == "conda":
        build, more = _conda_build(line, target, matrix, view)
    else:
        build, more = _wheel_build(line, target, matrix, view)
    findings += more
    if build is None:
        unknown = any(code == "index-unknown" for code, _ in findings)
        return Assessment(build=None, runs=None if unknown else False, findings=tuple(findings))
    verdict = judge(build, target, view, matrix, python_fixed=False)
    findings += list(_verdict(verdict, target, option is not None, build))
    fatal = {"cpu-only-torch", "no-kernel-image", "driver-too-old", "no-nvidia-driver", "glibc-too-old"}
    return Assessment(build=build, runs=not any(c in fatal for c, _ in findings), findings=tuple(findings))


def _verdict(verdict: Verdict, target: Target, driver: bool, build: Build) -> Iterator[tuple[str, str]]:
    if not target.gpus:
        return
    if build.cuda is None:
        yield "cpu-only-torch", f"{name(build)} is a CPU build: the GPU stays idle"
        return
    if not driver:
        yield "no-nvidia-driver", "no usable NVIDIA driver is here: no CUDA build runs before one is installed"
    slug = {"no-kernel-for-gpu": "no-kernel-image"}
    if verdict.code and verdict.because and (driver or verdict.code != "driver-too-old"):
        yield slug.get(verdict.code, verdict.code), verdict.because()


def _habits(line: Line) -> Iterator[tuple[str, str]]:
    """What is wrong with the line wherever it runs."""
    if line.extra_index_urls and line.manager == "pip":
        yield (
            "extra-index-url",
            "--extra-index-url merges two indexes without an order: the newest version of either wins, "
            "and any package of either may be taken from the other (dependency confusion). Use --index-url",
        )
    if line.pre:
        yield "nightly", "--pre lets a nightly build in: this matrix knows releases only"
    if OLD_SYNTAX in line.packages:
        yield (
            "cudatoolkit-syntax",
            f"{OLD_SYNTAX}= belongs to PyTorch before 1.13: since then the CUDA of a conda build is chosen with "
            "pytorch-cuda= (channel pytorch, to 2.5.1) or cuda-version= (conda-forge)",
        )
    insecure = [u for u in (line.index_url, *line.extra_index_urls, *line.find_links) if u and u.startswith("http://")]
    if insecure:
        yield "plain-http", "an index over http:// can be replaced on the way: use https://"


def _accepts(spec: str) -> object:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    text = spec.strip()
    if re.fullmatch(r"=?\s*\d[\w.+]*", text):  # conda's `=2.0`
        text = "==" + text.lstrip("= ") + (".*" if text.count("=") == 1 and "+" not in text else "")
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def _matching(builds: list[Build], spec: str) -> list[Build]:
    """Builds whose release, or release+tag where the specifier names one, satisfies it."""
    chosen = _accepts(spec)
    if chosen is None:
        return []
    local = "+" in spec
    return [b for b in builds if chosen.contains(f"{b.torch}+{b.tag}" if local else b.torch)]  # type: ignore[attr-defined]


def _nothing(spec: str, where: str, target: Target) -> tuple[None, list[tuple[str, str]]]:
    text = f"no wheel of torch {spec or '(any)'} for Python {target.python or '?'} on {target.platform} {where}"
    return None, [("nothing-to-install", text)]


def _wheel_build(
    line: Line, target: Target, matrix: Matrix, view: DriverView
) -> tuple[Build | None, list[tuple[str, str]]]:
    spec = line.packages["torch"]
    fits = [
        b
        for b in _matching(list(matrix.builds(target.platform)), spec)
        if target.python is None or target.python in b.pythons
    ]
    if line.torch_backend:
        return _backend(line.torch_backend, fits, matrix, view, spec, target)
    sources = [line.index_url, *line.extra_index_urls, *line.find_links]
    tags = {index_tag(u) for u in sources if u} - {None}
    strange = [u for u in sources if u and index_tag(u) is None and not _is_pypi(u, matrix)]
    pypi = line.index_url is None or _is_pypi(line.index_url, matrix)
    if line.manager == "uv" and tags:
        pypi = False  # uv takes the first index that has the package, and the named ones come before the default
    pool = [b for b in fits if b.tag in tags or (pypi and b.on_pypi)]
    if strange:
        return None, [("index-unknown", f"what {strange[0]} serves is not known to this matrix")]
    if not pool:
        where = f"on {', '.join(sorted(t for t in tags if t))}" if tags else "on PyPI"
        return _nothing(spec, where, target)
    # at one version a local label (2.0.1+cu118) sorts above the bare one
    return max(pool, key=lambda b: (b.key, b.tag in tags, b.cuda_key)), []


def _is_pypi(url: str, matrix: Matrix) -> bool:
    """PyPI or a mirror of it: its path ends in /simple, or the matrix lists it as one."""
    path = url.rstrip("/")
    return path.endswith("/simple") or any(
        r.kind == "pypi" and r.url.rstrip("/") == path for r in matrix.indexes.values()
    )


def _backend(
    backend: str, fits: list[Build], matrix: Matrix, view: DriverView, spec: str, target: Target
) -> tuple[Build | None, list[tuple[str, str]]]:
    """uv's ``--torch-backend``: ``auto`` looks at the driver alone, highest CUDA first, then cpu."""
    if backend != "auto":
        pool = [b for b in fits if b.tag == backend]
        return (max(pool, key=lambda b: b.key), []) if pool else _nothing(spec, f"on {backend}", target)
    able = [b for b in fits if b.cuda is not None and driver_rule(b, view, matrix)]
    pool = able or [b for b in fits if b.cuda is None]
    if not pool:
        return _nothing(spec, "on any backend", target)
    top = max(b.cuda_key for b in pool)
    return max((b for b in pool if b.cuda_key == top), key=lambda b: b.key), []


def _conda_build(
    line: Line, target: Target, matrix: Matrix, view: DriverView
) -> tuple[Build | None, list[tuple[str, str]]]:
    spec = next(line.packages[n] for n in ("pytorch", "pytorch-gpu", "torch") if n in line.packages)
    if OLD_SYNTAX in line.packages:
        return None, []
    channel = "pytorch" if "pytorch" in line.channels else "conda-forge"
    fits = _matching([b for b in matrix.builds(target.platform, "conda") if b.index == channel], spec)
    cuda = line.packages.get("pytorch-cuda") or line.packages.get("cuda-version")
    if cuda:
        wanted = version_key(re.sub(r"[^0-9.]", "", cuda).strip(".") or "0")[:2]
        fits = [b for b in fits if b.cuda_key == wanted]
    elif "cpuonly" in line.packages or (channel == "pytorch" and "nvidia" not in line.channels):
        fits = [b for b in fits if b.cuda is None]
    else:
        fits = [b for b in fits if b.cuda is not None] or fits
    if not fits:
        return _nothing(spec, f"in the conda channel {channel}", target)
    verdicts = [judge(b, target, view, matrix, python_fixed=False) for b in fits]
    newest = max(b.key for b in fits)
    return max((v for v in verdicts if v.build.key == newest), key=lambda v: preference(v, view)).build, []
