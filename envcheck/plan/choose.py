"""Judge every build against a machine, and order those that run. No I/O, no guessing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from ..errors import UsageError
from ..matrix import Build, Matrix, version_key
from ..model import Driver, Request
from ..record import dataclass
from .target import Target


@dataclass(frozen=True, kw_only=True)
class DriverView:
    """The driver that a build is judged against: the machine's own, or the one that a plan would install.

    ``version`` None with ``cuda`` set: only the CUDA level is known (CONDA_OVERRIDE_CUDA). Both None: no driver.
    """

    version: str | None
    cuda: str | None
    windows: bool

    @functools.cached_property
    def key(self) -> tuple[int, ...] | None:
        return version_key(self.version) if self.version else None

    @functools.cached_property
    def cuda_key(self) -> tuple[int, ...]:
        return version_key(self.cuda) if self.cuda else (0, 0)

    @property
    def label(self) -> str:
        if not self.version and not self.cuda:
            return "no driver"
        shown = f"driver {self.version}" if self.version else "the driver"
        return f"{shown} (CUDA {self.cuda})" if self.cuda else shown


def view_of(driver: Driver, matrix: Matrix, windows: bool) -> DriverView:
    cuda = driver.cuda
    if driver.version and not cuda:
        cuda = matrix.driver_cuda(driver.version, windows)
    return DriverView(version=driver.version, cuda=cuda, windows=windows)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one build here. ``code`` None: it runs. ``because`` explains a rejection."""

    build: Build
    how: tuple[str, ...]  # per GPU
    rule: str  # toolkit-exact, minor-version, none
    code: str | None
    because: Callable[[], str] | None


def coverage(build: Build, cc: str, matrix: Matrix, driver: DriverView | None) -> str:
    """How a build's GPU code reaches a compute capability: sass, binary-compatible, ptx or unsupported.

    Machine code runs on the same major and an equal or higher minor capability (CUDA C++ Programming Guide,
    "Binary Compatibility"), integrated GPUs excepted (the matrix' ``runs``). PTX is compiled by the driver, which
    must know the PTX version: minor-version compatibility does not cover that.
    """
    if cc in build.sass:
        return "sass"
    row = matrix.architectures.get(cc)
    if row is not None and row.runs is not None:
        if any(s in row.runs for s in build.sass):
            return "binary-compatible"
    else:
        major, minor = version_key(cc)
        for sass in build.sass:
            other = version_key(sass)
            if other[0] == major and other[1] <= minor and not _integrated(matrix, sass):
                return "binary-compatible"
    if build.ptx and (driver is None or driver.cuda_key >= build.cuda_key):
        own = version_key(cc)
        if any(version_key(p) <= own for p in build.ptx):
            return "ptx"
    return "unsupported"


def _integrated(matrix: Matrix, cc: str) -> bool:
    row = matrix.architectures.get(cc)
    return bool(row and row.integrated)


def minimum(build: Build, matrix: Matrix, windows: bool) -> tuple[str | None, str | None]:
    """(toolkit-exact, minor-version) driver numbers of a CUDA build; (None, None) for a CPU build."""
    if build.cuda is None:
        return None, None
    row = matrix.cuda.get(build.cuda)
    if row is None:
        return None, None
    return (row.windows, row.minor_windows) if windows else (row.linux, row.minor_linux)


def driver_rule(build: Build, driver: DriverView, matrix: Matrix) -> str | None:
    """By which rule a driver runs a build: toolkit-exact, minor-version, none (CPU); None: it does not."""
    if build.cuda is None:
        return "none"
    exact, minor = minimum(build, matrix, driver.windows)
    if driver.key is not None:
        if exact and driver.key >= version_key(exact):
            return "toolkit-exact"
        if minor and driver.key >= version_key(minor):
            # a toolkit whose own driver number is not published counts as exact once the driver speaks its CUDA
            return "toolkit-exact" if not exact and driver.cuda_key >= build.cuda_key else "minor-version"
        return None
    if driver.cuda and driver.cuda_key >= build.cuda_key:
        return "toolkit-exact"
    if driver.cuda and driver.cuda_key[0] == build.cuda_key[0]:
        return "minor-version"
    return None


def drives(branch: int | None, cc: str, matrix: Matrix) -> bool:
    """Whether a driver branch supports a GPU generation. Unknown numbers are not held against it."""
    row = matrix.architectures.get(cc)
    if row is None or branch is None:
        return True
    if row.first_branch and branch < int(row.first_branch):
        return False
    return not (row.last_branch and branch > int(row.last_branch))


def wanted(request: Request, matrix: Matrix, builds: Iterable[Build]) -> Callable[[Build], bool]:
    """The predicate of ``--torch`` and ``--cuda``. Raises ``UsageError`` for words that name nothing known."""
    torch_ok = torch_predicate(request.torch, tuple(matrix.releases))
    tag = wanted_tag(request.cuda, {b.tag for b in matrix_tags(matrix)})
    local = request.torch.partition("+")[2].lower()
    if local and tag is None:
        tag = local
    if tag is None:
        return lambda b: b.cuda is not None and torch_ok(b.torch)
    return lambda b: b.tag == tag and torch_ok(b.torch)


def matrix_tags(matrix: Matrix) -> tuple[Build, ...]:
    return matrix.builds("linux-x86_64") + matrix.builds("windows-x86_64") + matrix.builds("linux-x86_64", "conda")


def wanted_tag(cuda: str, known: set[str]) -> str | None:
    """``auto`` -> None, ``11.8``/``cu118``/``cpu`` -> the tag."""
    word = cuda.strip().lower()
    if word == "auto":
        return None
    if word and word[0].isdigit() and word.count(".") >= 1:
        word = "cu" + "".join(word.split(".")[:2])
    if word not in known:
        tags = ", ".join(sorted(known, key=lambda t: (len(t), t)))
        raise UsageError(f"--cuda {cuda!r} names no CUDA variant of PyTorch. Known: auto, {tags} (or 11.8 for cu118)")
    return word


@functools.lru_cache(maxsize=64)
def torch_predicate(spec: str, known: tuple[str, ...]) -> Callable[[str], bool]:
    """``2.0`` means 2.0.*, ``2.0.1`` is exact, anything else is a PEP 440 specifier; ``latest`` any release."""
    word = spec.strip()
    if word.lower() == "latest":
        return lambda version: True
    chosen = _matching(word, known)
    if not chosen:
        first, last = min(known, key=version_key, default="?"), max(known, key=version_key, default="?")
        near = _nearest(word, known)
        raise UsageError(
            f"--torch {spec!r} matches no release that this matrix knows ({first} to {last})."
            + (f" Nearest: {near}." if near else "")
        )
    return chosen.__contains__


def _matching(word: str, known: tuple[str, ...]) -> frozenset[str]:
    if not word:
        raise UsageError("--torch is empty: write 2.0, 2.0.1, '>=2.4,<2.7' or latest")
    public = word.partition("+")[0]
    parts = public.split(".")
    if all(p.isdigit() for p in parts) and len(parts) <= 3:
        prefix = tuple(int(p) for p in parts)
        return frozenset(v for v in known if version_key(v)[: len(prefix)] == prefix)
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # 5 ms: only a real specifier pays

    try:
        spec = SpecifierSet(word)
    except InvalidSpecifier:
        raise UsageError(
            f"--torch {word!r} is no version: write 2.0 (any 2.0.x), 2.0.1 (exactly), '>=2.4,<2.7' or latest"
        ) from None
    return frozenset(v for v in known if spec.contains(v))


def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    digits = tuple(int(p) for p in word.partition("+")[0].split(".") if p.isdigit())
    if not digits or not known:
        return None
    older = [v for v in known if version_key(v) <= digits]
    return max(older, key=version_key) if older else min(known, key=version_key)


def judge(build: Build, target: Target, driver: DriverView, matrix: Matrix, *, python_fixed: bool) -> Verdict:
    """One build, all reasons; the first that rejects it is the verdict's code."""
    how = tuple(coverage(build, g.compute_capability or "", matrix, driver) for g in target.gpus)
    if build.cuda is None:
        how = tuple("not-used" for _ in how)
    rule = driver_rule(build, driver, matrix)
    code: str | None = None
    because: Callable[[], str] | None = None
    if "unsupported" in how:
        gpu = target.gpus[how.index("unsupported")]
        code, because = "no-kernel-for-gpu", functools.partial(_no_kernel, build, gpu.name, gpu.compute_capability)
    elif rule is None:
        code, because = "driver-too-old", functools.partial(_driver_old, build, driver, matrix)
    elif target.musl and build.wheel_tag:
        code, because = "musl", lambda: f"{name(build)} is built for glibc and this system has musl"
    elif build.glibc and target.glibc and target.glibc < version_key(build.glibc):
        code, because = "glibc-too-old", functools.partial(_glibc, build, target)
    elif python_fixed and target.python and target.python not in build.pythons:
        code, because = "python-no-wheel", functools.partial(_python, build, target)
    return Verdict(build=build, how=how, rule=rule or "none", code=code, because=because)


def name(build: Build) -> str:
    return f"{build.torch}+{build.tag}"


def _no_kernel(build: Build, gpu: str | None, cc: str | None) -> str:
    label = f"{gpu} (compute capability {cc})" if gpu else f"compute capability {cc}"
    return f"{name(build)} has no code for {label}: it holds {' '.join(build.archs) or 'none'}"


def _driver_old(build: Build, driver: DriverView, matrix: Matrix) -> str:
    _, minor = minimum(build, matrix, driver.windows)
    return f"{name(build)} needs driver {minor or '(unknown)'} or newer; here is {driver.label}"


def _glibc(build: Build, target: Target) -> str:
    return (
        f"{name(build)} is tagged {build.wheel_tag}: it needs glibc {build.glibc}, this system has {target.glibc_text}"
    )


def _python(build: Build, target: Target) -> str:
    return f"{name(build)} has no wheel for Python {target.python}: it has {', '.join(build.pythons)}"


def preference(verdict: Verdict, driver: DriverView) -> tuple[object, ...]:
    """Sort key, best last: newest torch; listed and confirmed; the driver's own CUDA major, then lower majors;
    toolkit-exact before minor-version; the highest CUDA. CONTRACT: "Which build"."""
    build = verdict.build
    confirmed = build.channel != "unlisted" and build.verified
    major = build.cuda_key[0]
    return (
        build.key,
        confirmed,
        build.channel != "unlisted",
        major == driver.cuda_key[0],
        major,
        verdict.rule == "toolkit-exact",
        build.cuda_key,
        build.evidence == "bytes",
    )
