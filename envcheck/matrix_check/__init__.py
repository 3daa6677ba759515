"""Strict validation of the compatibility matrix: structure, references, order, self-consistency, formatting.

Every problem is one sentence that names the row. ``matrix.load`` trusts the file; this does not.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib
import itertools
import json
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..matrix import (
    ROW_SECTIONS,
    SCHEMA,
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
    dumps,
    version_key,
)
from .rules import build_problems, build_rank, conda_rank, release_problems

Row = Mapping[str, Any]
CLASSES: Mapping[str, type[Any]] = {
    "releases": Release,
    "builds": Build,
    "conda": Build,
    "constraints": Constraint,
    "cuda": CudaDriver,
    "cudnn": Cudnn,
    "driver_branches": DriverBranch,
    "architectures": Architecture,
    "gpus": GpuRow,
    "distros": Distro,
    "indexes": Index,
    "old_cuda": OldCuda,
    "old_torch": OldTorch,
    "old_builds": OldBuild,
    "host_compilers": HostCompiler,
    "package_needs": PackageNeed,
    "limits": Limit,
}
HEAD = ("schema", "version", "date")
# Facts that are no table: one object each, with source and date like a row.
SINGLE = ("defaults", "forward_compatibility")
# What makes a row of its section the only one of its kind.
KEYS: Mapping[str, tuple[str, ...]] = {
    "releases": ("torch",),
    "builds": ("torch", "tag", "platform"),
    "conda": ("torch", "tag", "platform", "index"),
    "constraints": ("torch", "requirement", "platforms", "package"),
    "cuda": ("cuda",),
    "cudnn": ("cudnn", "cuda_major"),
    "driver_branches": ("branch",),
    "architectures": ("compute_capability",),
    "gpus": ("name", "compute_capability", "laptop"),
    "distros": ("id", "version"),
    "indexes": ("id",),
    "old_cuda": ("cuda",),
    "old_torch": ("torch",),
    "old_builds": ("cuda",),
    "host_compilers": ("cuda",),
    "package_needs": ("package",),
    "limits": ("name",),
}
# Columns that hold dotted numbers, wherever they occur.
NUMBERS = ("torch", "cuda", "cudnn", "cuda_major", "branch", "compute_capability", "glibc")
NUMBER_LISTS = ("sass", "ptx", "pythons", "runs", "archs")
ORDER: Mapping[str, Callable[[Row], Any]] = {
    "releases": lambda row: version_key(row["torch"]),
    "builds": build_rank,
    "conda": conda_rank,
    "cuda": lambda row: version_key(row["cuda"]),
    "cudnn": lambda row: (int(row["cuda_major"]), version_key(row["cudnn"])),
    "driver_branches": lambda row: int(row["branch"]),
    "architectures": lambda row: version_key(row["compute_capability"]),
    "old_cuda": lambda row: version_key(row["cuda"]),
    "old_torch": lambda row: version_key(row["torch"]),
    "old_builds": lambda row: version_key(row["cuda"]),
    "host_compilers": lambda row: version_key(row["cuda"]),
}


def schema_path() -> Path:
    return Path(__file__).resolve().parent.parent / "matrix.schema.json"


def check_text(text: str) -> list[str]:
    """Every problem of a matrix file: what ``check`` finds, and formatting. An empty list: none."""
    try:
        data = json.loads(text)
    except ValueError as error:
        return [f"not valid JSON: {error}"]
    problems = check(data)
    if isinstance(data, dict) and not problems and dumps(data) != text:
        problems.append("not in canonical form: write it with envcheck.matrix.dumps, so that a diff shows rows")
    return problems


def check(data: Any) -> list[str]:
    """Every problem of a parsed matrix. References and rules are judged only once the structure is sound."""
    if not isinstance(data, dict):
        return [f"a matrix is a JSON object, not {type(data).__name__}"]
    problems = [*_head(data), *_shapes(data)]
    if problems:
        return problems
    problems = [*_schema(data), *_dated(data), *_unique(data), *_unreadable(data)]
    if problems:
        return problems
    problems += [*_references(data), *_constraints(data), *release_problems(data), *build_problems(data, rules())]
    return problems + list(_ordered(data))


@functools.lru_cache(maxsize=1)
def rules() -> Mapping[str, Any]:
    """The JSON Schema beside this module; it also holds the few limits that no row can say."""
    loaded: Mapping[str, Any] = json.loads(schema_path().read_text(encoding="utf-8"))
    return loaded


def _head(data: Row) -> Iterator[str]:
    if data.get("schema") != SCHEMA:
        yield f"schema is {data.get('schema')!r}, not {SCHEMA!r}"
    for key in HEAD[1:]:
        if not isinstance(data.get(key), str):
            yield f"{key!r} is missing or no string"
    for section in ROW_SECTIONS:
        if not isinstance(data.get(section), list):
            yield f"section {section!r} is missing or no list"
    for key in SINGLE:
        if not isinstance(data.get(key), dict) or not {"source", "date"} <= data[key].keys():
            yield f"{key!r} is missing, or no object with source and date"
    for key in sorted(data.keys() - {*HEAD, *SINGLE, *ROW_SECTIONS}):
        yield f"unknown key {key!r}"


def _shapes(data: Row) -> Iterator[str]:
    """Rows against the dataclasses that the rest of envcheck reads them into."""
    for section, cls in CLASSES.items():
        rows = data.get(section)
        if not isinstance(rows, list):
            continue
        required = {
            f.name
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        hints = typing.get_type_hints(cls)
        for number, row in enumerate(rows):
            where = f"{section}[{number}]"
            if not isinstance(row, dict):
                yield f"{where} is no object"
                continue
            yield from (f"{where} ({_name(section, row)}) lacks {key!r}" for key in sorted(required - row.keys()))
            yield from (
                f"{where} ({_name(section, row)}) has an unknown key {key!r}" for key in row.keys() - hints.keys()
            )
            for key in row.keys() & hints.keys():
                if not _fits(row[key], hints[key]):
                    yield f"{where} ({_name(section, row)}): {key} is {row[key]!r}, which is no {_say(hints[key])}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is what the annotation of a dataclass field asks for."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if origin is not None:
        inner = typing.get_args(hint)[1]
        return isinstance(value, dict) and all(_fits(item, inner) for item in value.values())
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint)


def _say(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _name(section: str, row: Row) -> str:
    """A row as a person would call it: the values of its key."""
    return " ".join(str(row.get(key)) for key in KEYS[section] if row.get(key) not in (None, [], False))


def _schema(data: Row) -> Iterator[str]:
    try:
        jsonschema = importlib.import_module("jsonschema")
    except ImportError:
        return  # the shapes above were checked; the schema adds patterns
    for error in jsonschema.Draft202012Validator(rules()).iter_errors(data):
        path = list(error.absolute_path)
        where = f"{path[0]}[{path[1]}]" if len(path) > 1 else "the matrix"
        named = f" ({_name(path[0], data[path[0]][path[1]])})" if len(path) > 1 and path[0] in KEYS else ""
        field = ".".join(map(str, path[2:]))
        yield f"{where}{named}{': ' + field if field else ''} does not fit the schema: {error.message}"


def _dated(data: Row) -> Iterator[str]:
    rows = [(f"{section} {_name(section, row)}", row) for section in ROW_SECTIONS for row in data[section]]
    for what, row in rows + [(key, data[key]) for key in SINGLE]:
        if not str(row["source"]).strip():
            yield f"{what} names no source"
        try:
            datetime.date.fromisoformat(row["date"])
        except (TypeError, ValueError):
            yield f"{what}: date {row['date']!r} is no day (YYYY-MM-DD)"


def _key(section: str, row: Row) -> Hashable:
    return tuple(tuple(v) if isinstance(v := row.get(key), list) else v for key in KEYS[section])


def _unique(data: Row) -> Iterator[str]:
    for section in ROW_SECTIONS:
        seen: set[Hashable] = set()
        for row in data[section]:
            key = _key(section, row)
            if key in seen:
                yield f"{section} {_name(section, row)} is there twice"
            seen.add(key)


def _unreadable(data: Row) -> Iterator[str]:
    """Versions that cannot be compared, which every rule after this one needs."""
    for section in ROW_SECTIONS:
        for row in data[section]:
            numbers = [key for key in NUMBERS if (section, key) != ("constraints", "torch")]
            values = [row[key] for key in numbers if isinstance(row.get(key), str)]
            values += [item for key in NUMBER_LISTS for item in row.get(key) or ()]
            for value in values:
                if not all(part.isdecimal() for part in value.removesuffix("t").split(".")):
                    yield f"{section} {_name(section, row)}: {value!r} is no version"


def _ordered(data: Row) -> Iterator[str]:
    for section, rank in ORDER.items():
        for before, row in itertools.pairwise(data[section]):
            if rank(row) < rank(before):
                yield f"{section} {_name(section, row)} is out of order"


def _missing(what: str, values: Iterable[str], known: Iterable[str], kind: str) -> Iterator[str]:
    absent = [value for value in values if value not in known]
    if absent:
        yield f"{what} names {kind} {', '.join(absent)}, which has no row"


def _references(data: Row) -> Iterator[str]:
    releases = {row["torch"] for row in data["releases"]}
    toolkits = {row["cuda"] for row in data["cuda"]}
    capabilities = {row["compute_capability"] for row in data["architectures"]}
    generations = {row["architecture"] for row in data["architectures"]}
    branches = {row["branch"] for row in data["driver_branches"]}
    for section in ("builds", "conda"):
        for row in data[section]:
            what = f"{section} {_name(section, row)}"
            yield from _missing(what, [row["torch"]], releases, "torch")
            yield from _missing(what, [row["cuda"]] if row["cuda"] else [], toolkits, "CUDA")
            yield from _missing(what, [*row["sass"], *row["ptx"]], capabilities, "compute capability")
    default = data["defaults"].get("driver_branch")
    yield from _missing("defaults", [default] if default else [], branches, "driver branch")
    for row in data["driver_branches"]:
        yield from _missing(f"driver branch {row['branch']}", row["architectures"], generations, "architecture")
    for row in data["architectures"]:
        ends: Sequence[str] = [b for b in (row["first_branch"], row["last_branch"]) if b]
        yield from _missing(f"architecture {row['compute_capability']}", ends, branches, "driver branch")
    for row in data["gpus"]:
        yield from _missing(f"gpu {row['name']}", [row["compute_capability"]], capabilities, "compute capability")
        yield from _missing(f"gpu {row['name']}", [row["architecture"]], generations, "architecture")


def _constraints(data: Row) -> Iterator[str]:
    for row in data["constraints"]:
        try:
            SpecifierSet(row["torch"])
            Requirement(row["requirement"])
        except (InvalidSpecifier, InvalidRequirement) as error:
            yield f"constraint {row['torch']} {row['requirement']} cannot be read: {error}"
