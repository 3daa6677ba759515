"""Typed view of ``compat_matrix.json``: light loading and queries. ``matrix_check`` validates strictly.

Loading parses the JSON and nothing else; rows become dataclasses when a query first needs them, so that
``envcheck plan`` does not pay for what it does not read. A row that lacks a key raises ``InputError``.
"""

from __future__ import annotations

import functools
import json
import os.path
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InputError
from .rows import (
    Architecture,
    Build,
    Constraint,
    CudaDriver,
    Cudnn,
    Distro,
    DriverBranch,
    GpuRow,
    HostCompiler,
    Index,
    Limit,
    OldBuild,
    OldCuda,
    OldTorch,
    PackageNeed,
    Release,
    least_glibc,
    version_key,
)

__all__ = [
    "ROW_SECTIONS",
    "SCHEMA",
    "Architecture",
    "Build",
    "Constraint",
    "CudaDriver",
    "Cudnn",
    "Distro",
    "DriverBranch",
    "GpuRow",
    "HostCompiler",
    "Index",
    "Limit",
    "Matrix",
    "OldBuild",
    "OldCuda",
    "OldTorch",
    "PackageNeed",
    "Release",
    "data_path",
    "dumps",
    "least_glibc",
    "load",
    "version_key",
]

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
    "old_cuda",
    "old_torch",
    "old_builds",
    "host_compilers",
    "package_needs",
    "limits",
)


def data_path(name: str) -> str:
    """Where a data file lies: inside the wheel (``_data``) or beside the package (editable, checkout).

    ``os.path`` and not ``pathlib``, here and in ``recipes``: its import is 4 ms of every start.
    """
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    packed = os.path.join(here, "_data", name)
    return packed if os.path.exists(packed) else os.path.join(os.path.dirname(here), name)


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
    def old_cuda(self) -> dict[str, OldCuda]:
        return {r.cuda: r for r in self.rows("old_cuda", OldCuda)}

    @functools.cached_property
    def old_torch(self) -> dict[str, OldTorch]:
        """Keyed by the minor release: ``"1.13"``."""
        return {r.torch: r for r in self.rows("old_torch", OldTorch)}

    @functools.cached_property
    def old_builds(self) -> dict[str, OldBuild]:
        return {r.cuda: r for r in self.rows("old_builds", OldBuild)}

    @functools.cached_property
    def host_compilers(self) -> dict[str, HostCompiler]:
        return {r.cuda: r for r in self.rows("host_compilers", HostCompiler)}

    @functools.cached_property
    def package_needs(self) -> dict[str, PackageNeed]:
        return {r.package: r for r in self.rows("package_needs", PackageNeed)}

    @functools.cached_property
    def limits(self) -> dict[str, Limit]:
        return {r.name: r for r in self.rows("limits", Limit)}

    @functools.cached_property
    def cudnn(self) -> dict[tuple[str, str], Cudnn]:
        """Keyed by (version, CUDA major): ``("9.10.2.21", "12")``."""
        return {(r.cudnn, r.cuda_major): r for r in self.rows("cudnn", Cudnn)}

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

    @functools.cached_property
    def gpus(self) -> tuple[GpuRow, ...]:
        return self.rows("gpus", GpuRow)

    @functools.cached_property
    def gpu_positions(self) -> dict[str, int]:
        """Positions of GPU rows by PCI id (upper case). Builds no row: a lookup needs one of hundreds."""
        return {id: i for i, row in enumerate(self.data["gpus"]) for id in row.get("pci_ids", ())}

    def gpu_rows(self, positions: Iterable[int]) -> tuple[GpuRow, ...]:
        """Only these rows as dataclasses."""
        return self.rows("gpus", GpuRow, [self.data["gpus"][i] for i in positions])

    def distro(self, id: str | None, version: str | None) -> Distro | None:
        """The row of a distribution; ``9.4`` falls back to the row of ``9``, a rolling one has no version."""
        rows = {row.version: row for row in self.distros if row.id == id}
        while version:
            if version in rows:
                return rows[version]
            version = version.rpartition(".")[0]
        return rows.get(None)

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
    file = path or data_path("compat_matrix.json")
    try:
        with open(file, "rb") as stream:
            data = json.loads(stream.read())
    except OSError as error:
        raise InputError(f"cannot read the compatibility matrix {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); restore it or reinstall envcheck") from None
    return Matrix(data, file)
