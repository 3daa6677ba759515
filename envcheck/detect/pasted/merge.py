"""Parts of a report to one ``Machine``. The first part that says a field wins; parts come in order of trust."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...model import OS, Driver, Found, Gpu, Machine, Python, Symptom, Torch
from .lines import MAX_TEXT, Lines
from .part import GpuRow, Part
from .torch_version import build_of

MAX_SYMPTOMS = 5_000  # the head and the tail of more: errors come last
MAX_GPUS = 256
_TWO_MACHINES = "the report shows different GPUs under one index, perhaps of two machines: the first of each is taken"
_SPEAKS = re.compile(r"\w")
_NAMES_SYSTEM = ("id", "version", "family", "platform")
_SMI = ("smi-xml", "smi-q", "smi-csv", "smi-table", "smi-L")
# what nvidia-smi cannot tell (it only says "not loaded") comes before what it can
_STATES = ("nouveau", "mismatch", "broken", "not-loaded", "missing")
_WEAK = ("messages", "prose")


def merge(lines: Lines, parts: Sequence[Part]) -> Machine:
    """``parts`` from the most trusted to the least."""
    facts = _facts(parts)
    problems = {k: v for part in reversed(parts) for k, v in part.problems.items()}
    if lines.dropped:
        problems["report"] = f"the report is very long: {lines.dropped} lines in the middle of it were not read"
    gpus, details = _gpus(parts, problems)
    if details:
        facts["gpu"] = {**facts.get("gpu", {}), **details}
    torch = _torch(parts, facts, problems)
    return Machine(
        os=_os(parts),
        driver=_driver(parts, gpus, facts),
        gpus=gpus,
        toolkits=_found(part.toolkits for part in parts),
        cudnn=_found(part.cudnn for part in parts),
        python=_python(parts),
        torch=torch,
        packages=_first(part.packages for part in parts),
        env=_first(part.env for part in parts),
        symptoms=_symptoms(lines, parts),
        problems=dict(sorted(problems.items())),
        facts=facts,
    )


def _first(values: Any) -> dict[str, Any]:
    """One mapping out of many; the first that has a value for a key wins."""
    merged: dict[str, Any] = {}
    for mapping in values:
        for key, value in mapping.items():
            if value is not None and merged.get(key) is None:
                merged[key] = value
    return merged


def _facts(parts: Sequence[Part]) -> dict[str, Any]:
    merged: dict[str, Any] = {"report": {"kinds": [part.kind for part in parts if part.kind != "prose" or part.facts]}}
    for part in parts:
        for name, value in part.facts.items():
            if isinstance(value, dict) and isinstance(merged.get(name), dict):
                merged[name] = {**value, **merged[name]}
            else:
                merged.setdefault(name, value)
    return merged


def _os(parts: Sequence[Part]) -> OS:
    """Name and version come from one source: a container's os-release must not meet the host's version."""
    fields: dict[str, Any] = {}
    for part in parts:
        if part.os.get("id") or part.os.get("family"):
            fields = {k: part.os.get(k) for k in _NAMES_SYSTEM}
            break
    platform = fields.get("platform") or next((p.os["platform"] for p in parts if p.os.get("platform")), None)
    for part in parts:
        if part.os.get("platform") in (None, platform):
            for key, value in part.os.items():
                if key not in _NAMES_SYSTEM and value is not None and fields.get(key) is None:
                    fields[key] = value
    fields["platform"] = platform
    if fields.get("wsl") and platform in (None, "windows"):  # Windows is the host's: inside it is Linux
        fields["platform"] = "linux"
        if platform == "windows":
            fields.update(id=None, version=None, family=None)
    if fields.get("id") == "windows-server":
        fields["id"] = "windows"
    return OS(**fields)


def _driver(parts: Sequence[Part], gpus: Sequence[Gpu], facts: Mapping[str, Any]) -> Driver:
    fields = _first(part.driver for part in parts)
    states = [part.driver["state"] for part in parts if part.driver.get("state")]
    bad = [state for state in _STATES if state in states]
    if bad:  # a report that shows both complains of the bad one
        fields["state"] = bad[0]
    elif not states and any(gpu.driver_bound == "nouveau" for gpu in gpus):
        fields["state"] = "nouveau"
    elif facts.get("nvidia_smi", {}).get("error") == "NOT_FOUND" and not fields and "container" not in facts:
        fields["state"] = "missing"
    return Driver(**fields, source="report") if fields else Driver(source="report")


def _python(parts: Sequence[Part]) -> Python | None:
    fields = _first(part.python for part in parts)
    longer = [
        p.python["version"] for p in parts if str(p.python.get("version", "")).startswith(f"{fields.get('version')}.")
    ]
    if longer:
        fields["version"] = longer[0]
    if not fields.get("version"):
        return Python(**fields) if fields else None
    digits = fields["version"].split(".")
    return Python(**{"abi": f"cp{digits[0]}{digits[1]}", **fields})


def _torch(parts: Sequence[Part], facts: dict[str, Any], problems: dict[str, str]) -> Torch | None:
    """torch's fields; prose has no say where a listing looked for torch and did not find it."""
    looked = any(part.facts.get("collect_env", {}).get("torch_version_unknown") for part in parts)
    speaking = [part for part in parts if part.torch and not (looked and part.kind in _WEAK)]
    fields: dict[str, Any] = _first(part.torch for part in speaking)
    if any(part.torch.get("cuda_available") is False for part in parts):
        fields["cuda_available"] = False
    fields = {k: v for k, v in fields.items() if v is not None}
    if not fields:
        return None
    build = _build(fields, facts)
    if build in ("cpu", "rocm", "xpu"):
        fields.pop("cuda", None)
    elif build is None and fields.get("version"):
        problems.setdefault("torch.cuda", "the report does not say which CUDA this torch was built with")
    facts["torch"] = {"build": build or "unknown"}
    return Torch(**fields)


def _build(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """``cuda``, ``cpu``, ``rocm``, ``xpu``; None where nothing tells."""
    env = facts.get("collect_env", {})
    if env.get("hip"):
        return "rocm"
    local = build_of(fields.get("version"))
    if local:
        return local
    if fields.get("cuda"):
        return "cuda"
    built = str(env.get("cuda_built", "")).strip().lower()
    conda = facts.get("conda", {})
    entry = conda.get("pytorch") or {}
    if built in ("none", "could not collect") or facts.get("torch_cuda_none") or "cpuonly" in conda:
        return "cpu"
    return "cpu" if "cpu" in str(entry.get("build") or "") else None


def _found(lists: Any) -> tuple[Found, ...]:
    merged: dict[tuple[str | None, str | None], Found] = {}
    for found in (entry for entries in lists for entry in entries):
        if found.path is None and any(version == found.version for version, _ in merged):
            continue
        merged.setdefault((found.version, found.path), found)
    return tuple(merged.values())[:50]


def _gpus(parts: Sequence[Part], problems: dict[str, str]) -> tuple[tuple[Gpu, ...], dict[str, Any]]:
    rows: list[GpuRow] = []
    for part in parts:
        if not part.gpus or (part.kind == "prose" and rows):
            continue
        fresh, numbered = not rows, part.kind in (*_SMI, "collect-env")
        for position, row in enumerate(part.gpus[:MAX_GPUS]):
            match = _match(rows, row, position, part.kind)
            if match is not None:
                _fill(match, row)
            elif not _may_add(rows, row, fresh or (numbered and row.index is not None)):
                if fresh:
                    problems["gpus"] = _TWO_MACHINES
            else:
                rows.append(GpuRow(_index(rows, row), dict(row.fields), dict(row.details)))
    rows.sort(key=lambda row: row.index or 0)
    gpus = tuple(_gpu(row) for row in rows)
    return gpus, {str(row.index or 0): _shown(row.details) for row in rows if _shown(row.details)}


def _may_add(rows: list[GpuRow], row: GpuRow, trusted: bool) -> bool:
    """A further card: from a source that numbers them, under a number that is free."""
    return trusted and all(other.index != row.index for other in rows)


def _index(rows: list[GpuRow], row: GpuRow) -> int:
    if row.index is not None:
        return row.index
    used = {other.index for other in rows}
    return next(i for i in range(len(rows) + 1) if i not in used)


def _match(rows: list[GpuRow], row: GpuRow, position: int, kind: str) -> GpuRow | None:
    """The same card: by UUID, then bus, then index and a name that does not contradict."""
    for key in ("uuid", "bus_id"):
        value = row.fields.get(key)
        if value:
            same = [r for r in rows if r.fields.get(key) == value]
            if same and not _zero(value):
                return same[0]
    index = row.index if row.index is not None else position
    for other in rows:
        apart = any(
            row.fields.get(key) and other.fields.get(key) and row.fields[key] != other.fields[key]
            for key in ("uuid", "bus_id")
        )
        if other.index == index and not apart and _same_name(row, other):
            return other
    named = [other for other in rows if row.fields.get("name") and row.fields["name"] == other.fields.get("name")]
    return named[0] if named and kind in ("messages", "repl", "lspci") and len(named) == 1 else None


def _zero(value: str) -> bool:
    return not value.replace("GPU-", "").replace("-", "").strip("0")


def _same_name(one: GpuRow, other: GpuRow) -> bool:
    """Names agree, or one is the beginning of the other (``NVIDIA GeForce RTX 2080 ...``), brand words aside."""
    names = []
    for row in (one, other):
        name = str(row.fields.get("name") or "").lower().removesuffix("...")
        for word in ("nvidia", "geforce", "tesla", "quadro", " gpu"):
            name = name.replace(word, "")
        names.append("".join(name.split()))
    a, b = names
    return not a or not b or a.startswith(b) or b.startswith(a) or a in b or b in a


def _fill(row: GpuRow, more: GpuRow) -> None:
    name = str(row.fields.get("name") or "")
    better = str(more.fields.get("name") or "")
    if name.endswith("...") and better and not better.endswith("..."):
        row.fields["name"] = better
        row.details.pop("name_truncated", None)
    for target, source in ((row.fields, more.fields), (row.details, more.details)):
        for key, value in source.items():
            if key == "name_truncated" and not str(row.fields.get("name") or "").endswith("..."):
                continue
            if value is not None and target.get(key) in (None, (), [], {}):
                target[key] = value


def _gpu(row: GpuRow) -> Gpu:
    known = {f.name for f in dataclasses.fields(Gpu)}
    errors = tuple(dict.fromkeys((*row.fields.get("errors", ()), *row.details.get("errors", ()))))
    fields = {k: v for k, v in row.fields.items() if k in known and v is not None}
    return Gpu(**{**fields, "index": row.index or 0, "errors": errors})


def _shown(details: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in details.items() if v is not None}


def _symptoms(lines: Lines, parts: Sequence[Part]) -> tuple[Symptom, ...]:
    taken = set().union(*(part.taken for part in parts)) if parts else set()
    kept = set().union(*(part.kept for part in parts)) if parts else set()
    found = [
        (text[:MAX_TEXT], line.number)
        for position, line in lines
        if (position not in taken or position in kept) and _SPEAKS.search(text := line.text.strip())
    ]
    if len(found) > MAX_SYMPTOMS:
        # a log repeats itself: of lines that are the same the first and the last stay
        last = dict(found)
        first = dict(reversed(found))
        found = [(text, number) for text, number in found if number in (first[text], last[text])]
        half = MAX_SYMPTOMS // 2
        found = found if len(found) <= MAX_SYMPTOMS else found[:half] + found[-half:]
    return tuple(Symptom(text=text, line=number) for text, number in found)
