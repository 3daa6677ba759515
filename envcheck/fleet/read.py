"""A folder of ``gate --report json`` files -> one small record a node. A file that is no such report is named."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..record import dataclass

SCHEMA = "envcheck.gate/1"
SIZE_LIMIT = 16 << 20  # bytes; a report of eight GPUs has some 60 KiB
PARALLEL_FROM = 400  # files below which starting processes costs more than it brings
CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Card:
    """One GPU of a node. ``values`` are texts to compare; ``tflops`` a measured rate, in 10^12 operations a second."""

    name: str
    index: int
    uuid: str = ""
    values: Mapping[str, str]
    tflops: float | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """One report. ``values`` are what all nodes should have alike."""

    name: str
    file: str
    date: str
    verdict: str
    reason: str
    values: Mapping[str, str]
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that could not be taken, and why."""

    file: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Folder:
    nodes: tuple[Node, ...]
    damaged: tuple[Damaged, ...]
    replaced: tuple[str, ...]  # files of a node of which there is a newer one
    others: int  # files that are not *.json


def read_folder(directory: Path, jobs: int | None = None) -> Folder:
    """Every ``*.json`` of the folder, with ``jobs`` processes. Raises ``InputError`` where there is none to read."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise InputError(f"cannot read the folder {directory}: {error.strerror or error}") from None
    mine = [name for name in names if name.endswith(".json") and not name.startswith(".")]
    if not mine:
        raise InputError(
            f"{directory} holds no *.json: write one a node with `envcheck gate --report json=DIR/%N.json`"
        )
    found = _read_all([str(directory / name) for name in mine], jobs or min(os.cpu_count() or 1, 8))
    nodes, replaced = _newest(item for item in found if isinstance(item, Node))
    damaged = tuple(item for item in found if isinstance(item, Damaged))
    return Folder(nodes=nodes, damaged=damaged, replaced=replaced, others=len(names) - len(mine))


def _read_all(paths: list[str], jobs: int) -> list[Node | Damaged]:
    if len(paths) < PARALLEL_FROM or jobs < 2:
        return [read_file(path) for path in paths]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return pool.map(read_file, paths, chunksize=CHUNK)


def _newest(nodes: Iterable[Node]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """Of several reports of one node the last; the files of the others are told."""
    kept: dict[str, Node] = {}
    replaced = []
    for node in nodes:
        other = kept.get(node.name)
        if other is None or other.date <= node.date:
            kept[node.name] = node
            replaced += [other.file] if other else []
        else:
            replaced.append(node.file)
    return tuple(sorted(kept.values(), key=lambda n: n.name)), tuple(replaced)


def read_file(path: str) -> Node | Damaged:
    """One report, or the sentence that says why it is none."""
    file = Path(path)
    try:
        if not file.is_file():
            return Damaged(file=file.name, why="no regular file")
        with file.open("rb") as handle:
            raw = handle.read(SIZE_LIMIT + 1)
        if len(raw) > SIZE_LIMIT:
            return Damaged(file=file.name, why=f"larger than {SIZE_LIMIT >> 20} MiB")
        data = json.loads(raw)
        return _node(data, file.name)
    except OSError as error:
        return Damaged(file=file.name, why=f"unreadable: {error.strerror or error}")
    except RecursionError:
        return Damaged(file=file.name, why="nested too deeply")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        cut = " (empty)" if not raw.strip() else ""
        return Damaged(file=file.name, why=f"no report of `envcheck gate`{cut}: {type(error).__name__}: {error}"[:200])


def _node(data: Any, file: str) -> Node:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        schema = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"schema {str(schema)[:40]!r}, not {SCHEMA!r}")
    machine = data["doctor"]["machine"]
    driver, torch = machine["driver"], machine.get("torch") or {}
    name = data.get("node")
    if not isinstance(name, str) or not name:
        raise ValueError("it does not say its node")
    values = {
        "driver": driver.get("version"),
        "cuda": driver.get("cuda"),
        "module": driver.get("module"),
        "torch": torch.get("version"),
        "kernel": machine["os"].get("kernel"),
        "gpus": str(len(machine["gpus"])),
    }
    reasons = data.get("reasons") or [""]
    return Node(
        name=name,
        file=file,
        date=str(data.get("date") or ""),
        verdict=str(data["verdict"]),
        reason=str(reasons[0]),
        values={k: str(v) for k, v in values.items() if v is not None},
        cards=_cards(data, machine["gpus"]),
    )


COMPARED = {
    "vbios_version": "vbios",
    "pcie.link.width.current": "link width",
    "pcie.link.width.max": "link width max",
    "pcie.link.gen.max": "link generation max",
    "clocks.max.sm": "max SM clock",
    "clocks.max.memory": "max memory clock",
    "power.limit": "power limit",
}


def _rate(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if number else None


def _cards(data: Mapping[str, Any], gpus: list[Mapping[str, Any]]) -> tuple[Card, ...]:
    rows = {row.get("uuid"): row for row in data.get("inventory") or []}
    verify = data.get("verify") or {}
    uuid_of = {d.get("index"): d.get("uuid") for d in verify.get("devices") or []}
    rates: dict[str, float] = {}
    for result in verify.get("results") or []:
        rate = _rate((result.get("measured") or {}).get("tflops"))
        if result.get("code") == "tensor-core-fp16" and rate is not None:
            rates[str(uuid_of.get(result.get("device")))] = rate
    out = []
    for gpu in gpus:
        row = rows.get(gpu.get("uuid")) or {}
        values = {shown: str(row[key]) for key, shown in COMPARED.items() if key in row}
        if gpu.get("memory_mib") is not None:
            values["memory"] = str(gpu["memory_mib"])
        out.append(
            Card(
                name=str(gpu.get("name") or "unknown GPU"),
                index=int(gpu.get("index") or 0),
                uuid=str(gpu.get("uuid") or ""),
                values=values,
                tflops=rates.get(str(gpu.get("uuid"))),
            )
        )
    return tuple(out)
