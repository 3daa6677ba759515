"""``envcheck fleet merge``: many nodes' gate reports, compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..fleet import Fleet, compare, read_folder
from ..gate.prometheus import Series, metric
from ..model import to_plain
from ..report.clean import clean
from ..report.inert import inert, inert_json
from .common import emit, output_options

SCHEMA = "envcheck.fleet/1"
SHOWN = 200  # odd ones in the table; the JSON has all
EPILOG = """\b
Examples:
  srun --ntasks-per-node=1 envcheck gate --report json=reports/%N.json
  envcheck fleet merge reports
  envcheck fleet merge reports --expect 64 --format json -o fleet.json

Exit: 0 all alike and healthy, 1 a node is odd or broken, 3 one is missing, damaged or undetermined, 4 nothing to read.
"""


@click.group("fleet")
def command() -> None:
    """Compare the reports of many nodes. docs/gate.md has a line each for Slurm, Ansible, Ray and Kubernetes."""


@command.command("merge", epilog=EPILOG)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--expect", type=click.IntRange(1), default=None, metavar="N", help="How many nodes there should be.")
@click.option("--jobs", type=click.IntRange(1, 256), default=None, metavar="N", help="Processes that read. [CPUs]")
@output_options(("table", "json", "prometheus"))
def merge(directory: Path, **options: Any) -> int:
    """Find the odd ones out: driver, VBIOS, clocks, link width, and TFLOPS more than 5 % under the median.

    DIRECTORY holds one `envcheck gate --report json=` file a node. A damaged file is named, never left out in silence.
    """
    fleet = compare(read_folder(directory, options["jobs"]), options["expect"])
    renderings = {"json": as_json, "prometheus": as_prometheus}
    emit(renderings.get(options["fmt"], as_table)(fleet), options["output"])
    return fleet.exit_code


def as_json(fleet: Fleet) -> str:
    data = {
        "schema": SCHEMA,
        "exit_code": fleet.exit_code,
        "nodes": len(fleet.folder.nodes),
        "expected": fleet.expected,
        "missing": fleet.missing,
        "verdicts": fleet.verdicts,
        "common": [{"what": w, "value": v, "nodes": n} for w, v, n in fleet.common],
        "odd": [to_plain(o) for o in fleet.odd],
        "not_healthy": [
            {"node": n.name, "verdict": n.verdict, "reason": n.reason}
            for n in fleet.folder.nodes
            if n.verdict != "healthy"
        ],
        "damaged": [to_plain(d) for d in fleet.folder.damaged],
        "replaced": list(fleet.folder.replaced),
        "other_files": fleet.folder.others,
    }
    return inert_json(json.dumps(data, indent=2)) + "\n"


def as_prometheus(fleet: Fleet) -> str:
    whats: dict[str, int] = {}
    for odd in fleet.odd:
        whats[odd.what] = whats.get(odd.what, 0) + 1
    verdicts: list[Series] = [({"verdict": v}, n) for v, n in fleet.verdicts.items()]
    names = odd_names(fleet)
    nodes: list[Series] = [({"node": n.name, "verdict": n.verdict}, float(n.name in names)) for n in fleet.folder.nodes]
    lines = [
        *metric("envcheck_fleet_nodes", "Nodes whose report was read, by verdict.", verdicts),
        *metric("envcheck_fleet_missing", "Nodes that sent no report.", [({}, fleet.missing)]),
        *metric("envcheck_fleet_damaged", "Files that are no report.", [({}, len(fleet.folder.damaged))]),
        *metric("envcheck_fleet_odd", "Deviations, by kind.", [({"what": w}, n) for w, n in whats.items()]),
        *metric("envcheck_fleet_node_odd", "1 for a node that differs from the others.", nodes),
    ]
    return inert("\n".join(lines) + "\n")


def odd_names(fleet: Fleet) -> frozenset[str]:
    return frozenset(o.node for o in fleet.odd)


def as_table(fleet: Fleet) -> str:
    folder = fleet.folder
    counts = ", ".join(f"{n} {v}" for v, n in fleet.verdicts.items()) or "none"
    lines = [f"envcheck fleet: {len(folder.nodes)} nodes ({counts}), {len(odd_names(fleet))} of them odd"]
    lines += [f"  {w:<10} {clean(v, 60)} on {n} of {len(folder.nodes)}" for w, v, n in fleet.common]
    rows = [("node", "gpu", "what", "has", "most have", "")]
    rows += [
        (o.node, "" if o.gpu is None else str(o.gpu), o.what, o.value, o.expected, o.share) for o in fleet.odd[:SHOWN]
    ]
    if fleet.odd:
        lines += ["", *_aligned(rows)]
        if len(fleet.odd) > SHOWN:
            lines.append(f"  ... and {len(fleet.odd) - SHOWN} more: --format json has all")
    ill = [n for n in folder.nodes if n.verdict not in ("healthy", "degraded")]
    if ill:
        lines += ["", *_aligned([("node", "verdict", "why"), *((n.name, n.verdict, n.reason) for n in ill[:SHOWN])])]
        lines += [f"  ... and {len(ill) - SHOWN} more: --format json has all"] if len(ill) > SHOWN else []
    if fleet.missing:
        lines += ["", f"missing: {fleet.missing} of {fleet.expected} nodes sent no report"]
    if folder.damaged:
        lines += ["", f"damaged: {len(folder.damaged)} files were not counted"]
        lines += [f"  {clean(d.file, 80)}: {clean(d.why, 160)}" for d in folder.damaged]
    if folder.replaced:
        lines += ["", f"older reports of the same nodes: {', '.join(clean(f, 80) for f in folder.replaced[:SHOWN])}"]
    if folder.others:
        lines += ["", f"{folder.others} files that are not *.json were left alone"]
    return inert("\n".join(lines) + "\n")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [[clean(cell, 60) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
