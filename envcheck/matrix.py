"""Typed view of ``compat_matrix.json``: light loading and queries. ``matrix_check`` validates strictly.

Loading parses the JSON and nothing else; rows become dataclasses when a query first needs them, so that
``envcheck plan`` does not pay for what it does not read. A row that lacks a key raises ``InputError``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

SCHEMA = "envcheck.matrix/1"
ROW_SECTIONS = (
    "releases",
    "builds",
    "conda",
    "constraints",
    "cuda",
    "cudnn",
    "driver_branches",
    "architectures",
    "gpus",
    "distros",
    "indexes",
)


def data_path(name: str) -> Path:
    """Where a data file lies: inside the wheel (``_data``) or beside the package (editable, checkout)."""
    here = Path(__file__).resolve().parent
    packed = here / "_data" / name
    return packed if packed.exists() else here.parent / name


def dumps(data: Mapping[str, Any]) -> str:
    """Canonical text: two-space indented sections, one row a line, so that a diff reads.

    ``dumps(json.loads(text)) == text`` holds for the file in the repository.
    """
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and key in ROW_SECTIONS:
            rows = ",\n".join("    " + json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]" if value else f"  {json.dumps(key)}: []")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


@functools.lru_cache(maxsize=4096)
def version_key(text: str) -> tuple[int, ...]:
    """Numeric parts of a dotted version, for comparing drivers, CUDA, Python and glibc numbers.

    ``"535.104.05"`` -> ``(535, 104, 5)``. Raises ``ValueError`` for anything that is not dotted digits.
    """
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True, kw_only=True)
class Build:
    """One wheel set or conda build of a torch release: a CUDA (or CPU) variant on one platform."""

    torch: str
    tag: str  # cu118, cpu
    platform: str  # linux-x86_64, linux-aarch64, windows-x86_64, macos-arm64, macos-x86_64
    cuda: str | None
    index: str  # "pypi", or the tag of PyTorch's index; a conda channel's name in conda rows
    on_pypi: bool  # PyPI's own wheel of this release is this variant
    cudnn: str | None
    nccl: str | None
    triton: str | None
    pythons: tuple[str, ...]  # "3.11", free-threaded "3.13t"
    wheel_tag: str | None  # "manylinux_2_28_x86_64"
    glibc: str | None  # the least glibc
    sass: tuple[str, ...]  # compute capabilities with machine code: "8.6"
    ptx: tuple[str, ...]
    channel: str  # stable, legacy, unlisted
    evidence: str  # bytes, listed, told, inferred
    source: str
    date: str
    note: str | None = None

    @property
    def verified(self) -> bool:
        """The bytes were read, or PyTorch's own page lists this very install command."""
        return self.evidence in ("bytes", "listed")

    @functools.cached_property
    def key(self) -> tuple[int, ...]:
        return version_key(self.torch)

    @functools.cached_property
    def cuda_key(self) -> tuple[int, ...]:
        return version_key(self.cuda) if self.cuda else (0,)

    @functools.cached_property
    def archs(self) -> tuple[str, ...]:
        return tuple("sm_" + a.replace(".", "") for a in self.sass) + tuple(
            "compute_" + a.replace(".", "") for a in self.ptx
        )


@dataclass(frozen=True, kw_only=True)
class Release:
    torch: str
    released: str
    companions: Mapping[str, str]  # torchvision, torchaudio of the wheels
    conda_companions: Mapping[str, str] | None = None  # where the pytorch channel's differ
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A requirement to pin beside a range of torch releases: ``numpy<2`` beside ``torch <2.3``."""

    torch: str  # PEP 440 specifier
    requirement: str  # PEP 508
    why: str
    source: str
    date: str
    platforms: tuple[str, ...] = ()  # empty: every platform
    package: str | None = None  # only beside this companion


@dataclass(frozen=True, kw_only=True)
class CudaDriver:
    """The driver numbers of one CUDA toolkit release (GA of that minor)."""

    cuda: str
    linux: str | None  # toolkit-exact minimum
    windows: str | None
    minor_linux: str | None  # minimum under minor-version compatibility
    minor_windows: str | None
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriverBranch:
    branch: str
    kind: str  # lts, production, new-feature, legacy, developer, unknown
    cuda: str  # what nvidia-smi shows
    first: str | None  # first release of the branch that a source names
    platforms: tuple[str, ...]  # linux, windows
    architectures: tuple[str, ...]  # generations that it drives
    modules: tuple[str, ...]  # proprietary, open
    eol: str | None
    ended: bool | None
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A compute capability: its generation and what drives it."""

    compute_capability: str
    architecture: str
    tensor_cores: int | None  # generation; None where it depends on the chip (7.5)
    first_branch: str | None
    last_branch: str | None  # None: still driven by the newest
    modules: tuple[str, ...]
    integrated: bool
    source: str
    date: str
    runs: tuple[str, ...] | None = None  # SASS that it runs besides its own, where the usual rule does not hold
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Distro:
    id: str
    version: str | None
    name: str
    family: str
    python: str | None
    glibc: str | None
    nvidia_repo: str | None  # "ubuntu2204"
    kernel_headers: str | None
    source: str
    date: str
    ended: bool | None = None
    archive_driver: str | None = None  # newest driver in the distribution's own archive
    externally_managed: bool | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Index:
    """A place that serves torch wheels. ``url`` holds ``{tag}`` where the variant goes."""

    id: str
    kind: str  # pytorch, find-links, pypi, jetson
    url: str
    source: str
    date: str
    hosts: tuple[str, ...] = ()
    note: str | None = None


class Matrix:
    """The loaded matrix. Immutable by convention; every query is pure and cached."""

    def __init__(self, data: Mapping[str, Any], path: str = "compat_matrix.json") -> None:
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise InputError(f"{path} is no compatibility matrix of this version: schema {found!r}, not {SCHEMA!r}")
        self.data = data
        self.path = path
        for section in ROW_SECTIONS:
            if not isinstance(data.get(section), list):
                raise InputError(f"{path}: section {section!r} is missing; `envcheck matrix check` says more")

    @property
    def version(self) -> str:
        return str(self.data.get("version", "unknown"))

    @property
    def date(self) -> str:
        return str(self.data.get("date", "unknown"))

    def rows(self, section: str, cls: type[Any], where: Iterable[Mapping[str, Any]] | None = None) -> tuple[Any, ...]:
        out = []
        for row in self.data[section] if where is None else where:
            try:
                out.append(cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}))
            except TypeError as error:
                text = json.dumps(row)[:160]
                raise InputError(f"{self.path}: a row of {section!r} is invalid ({error}): {text}") from None
        return tuple(out)

    @functools.cached_property
    def _by_platform(self) -> dict[tuple[str, str], tuple[Build, ...]]:
        return {}

    def builds(self, platform: str, section: str = "builds") -> tuple[Build, ...]:
        """Every build for one platform, in file order. ``section`` is ``builds`` or ``conda``."""
        cache = self._by_platform
        if (section, platform) not in cache:
            try:
                chosen = [row for row in self.data[section] if row["platform"] == platform]
            except (KeyError, TypeError) as error:
                raise InputError(f"{self.path}: a row of {section!r} lacks {error}") from None
            cache[section, platform] = self.rows(section, Build, chosen)
        return cache[section, platform]

    @functools.cached_property
    def releases(self) -> dict[str, Release]:
        return {r.torch: r for r in self.rows("releases", Release)}

    @functools.cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        return self.rows("constraints", Constraint)

    @functools.cached_property
    def cuda(self) -> dict[str, CudaDriver]:
        return {r.cuda: r for r in self.rows("cuda", CudaDriver)}

    @functools.cached_property
    def branches(self) -> dict[str, DriverBranch]:
        return {r.branch: r for r in self.rows("driver_branches", DriverBranch)}

    @functools.cached_property
    def architectures(self) -> dict[str, Architecture]:
        return {r.compute_capability: r for r in self.rows("architectures", Architecture)}

    @functools.cached_property
    def distros(self) -> tuple[Distro, ...]:
        return self.rows("distros", Distro)

    @functools.cached_property
    def indexes(self) -> dict[str, Index]:
        return {r.id: r for r in self.rows("indexes", Index)}

    def distro(self, id: str | None, version: str | None) -> Distro | None:
        """The row of a distribution; a rolling one has no version."""
        for row in self.distros:
            if row.id == id and row.version in (None, version):
                return row
        return None

    def branch_of(self, driver: str, windows: bool = False) -> DriverBranch | None:
        """The branch of a driver version; for an unlisted one the nearest older branch, else None.

        Example: 560.94 -> 560; 600.10 (unlisted) -> 595, whose abilities it has at least.
        """
        major = version_key(driver)[0]
        platform = "windows" if windows else "linux"
        older = [b for b in self.branches.values() if int(b.branch) <= major]
        own = [b for b in older if platform in b.platforms or int(b.branch) == major]
        return max(own, key=lambda b: int(b.branch), default=None)

    def driver_cuda(self, driver: str, windows: bool = False) -> str | None:
        """The CUDA version that a driver's libcuda speaks, from its branch. None for one older than all rows."""
        branch = self.branch_of(driver, windows)
        return branch.cuda if branch else None


@functools.lru_cache(maxsize=4)
def load(path: str | None = None) -> Matrix:
    """Read the matrix (the packaged one by default). Raises ``InputError`` if unreadable or not a matrix."""
    file = Path(path) if path else data_path("compat_matrix.json")
    try:
        text = file.read_bytes()
        data = json.loads(text)
    except OSError as error:
        raise InputError(f"cannot read the compatibility matrix {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); restore it or reinstall envcheck") from None
    return Matrix(data, str(file))
