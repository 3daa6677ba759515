"""``find_gpu``: the row that a name means, or an error that names the nearest. Never a guess.

A name matches in this order: the same words; the same words without the series ("4090"); fewer words than the
row's, where all rows that have them plan alike ("A100 80GB"); more words than the row's, where none of the
surplus makes another product of it ("MSI GeForce RTX 3060 Ventus 2X 12G OC").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ..errors import UsageError
from ..matrix import GpuRow, Matrix, version_key
from .tokens import MODEL, SERIES, UNIT, VARIANT, numbers, tokens

CAPABILITY = re.compile(r"(?:sm|compute)_?(\d{2,3})[a-z]?|(?:cc|compute capability)?\s*(\d{1,2}\.\d)", re.IGNORECASE)
MIG = re.compile(r"\s+MIG\s+(\S+).*", re.IGNORECASE)
VGPU = re.compile(r"(?:(?:NVIDIA|GRID)\s+)*(?P<board>\S.*?)-(?P<gib>\d{1,3})[QCAB]", re.IGNORECASE)
# letters that a vGPU name appends to the board: memory (D), form factor (X, XM, L)
VGPU_BOARD = re.compile(r"([avh]\d{2,3})[dxlm]+", re.IGNORECASE)
UNNAMED = frozenset(("graphics device", "nvidia graphics device", "nvidia", "gpu", "unknown"))
# nvidia-smi prints these families without the maker's name
BARE_FAMILIES = ("Tesla", "Quadro", "GRID", "Orin", "NVS", "NVIDIA")
LONGEST = 200

Indexed = tuple[int, frozenset[str]]


def find_gpu(text: str, matrix: Matrix, *, hint: bool = True) -> GpuRow:
    """The row of a GPU written as ``RTX 4090``, ``NVIDIA A100-SXM4-80GB MIG 1g.10gb``, ``T4``, ``sm_89`` or ``8.9``.

    A bare architecture gives a row without a name. Several rows that plan alike give their common part.
    Raises ``UsageError`` for an unknown name or one that could mean cards that need different builds; with ``hint``
    it names cards of a similar name, which costs more than the search.
    """
    name = " ".join(text.split())
    if not name or len(name) > LONGEST or name.lower() in UNNAMED:
        raise UsageError(f"{_quoted(name)} names no GPU. {HOW_TO}")
    if (bare := CAPABILITY.fullmatch(name)) is not None:
        return _bare(bare, name, matrix)
    if (mig := MIG.search(name)) is not None:
        size = re.search(r"(\d+)gb", mig[1].lower())
        return _part(find_gpu(name[: mig.start()], matrix), name, size[1] if size else None)
    if (vgpu := VGPU.fullmatch(name)) is not None:
        return _part(find_gpu(_board(vgpu["board"]), matrix), name, vgpu["gib"])
    if name.endswith("..."):
        return _truncated(name, matrix)
    return _search(name, matrix, hint)


HOW_TO = "Write it as nvidia-smi prints it (NVIDIA GeForce RTX 4090), or give its architecture (--gpu sm_89)"


def full_name(name: str) -> str:
    """The name as nvidia-smi prints it: ``GeForce RTX 4090`` -> ``NVIDIA GeForce RTX 4090``, ``Tesla T4`` as it is."""
    return name if name.startswith(BARE_FAMILIES) else f"NVIDIA {name}"


def _search(name: str, matrix: Matrix, hint: bool) -> GpuRow:
    asked = tokens(name)
    candidates = list(_candidates(asked, matrix))
    for stage in (_same, _same_but_size, _same_without_series, _shorter, _longer):
        positions = stage(asked, candidates, matrix)
        if positions:
            return _one(name, asked, positions, candidates, matrix)
    raise UsageError(_unknown(name, asked, matrix) if hint else f"no GPU called {_quoted(name)} is known. {HOW_TO}")


def _candidates(asked: frozenset[str], matrix: Matrix) -> Iterable[Indexed]:
    """(position, words) of each spelling of the rows that share a model word; a plain text search, so it is cheap."""
    needles = numbers(asked) or {w for w in asked if len(w) > 2}
    for position, row in enumerate(matrix.data["gpus"]):
        for spelled in (row["name"], *row["aliases"]):
            low = spelled.lower()
            if any(n in low for n in needles):
                yield position, tokens(spelled)


def _same(asked: frozenset[str], candidates: list[Indexed], matrix: Matrix) -> list[int]:
    return [p for p, words in candidates if words == asked]


def _same_but_size(asked: frozenset[str], candidates: list[Indexed], matrix: Matrix) -> list[int]:
    """``RTX 3050 6GB``: the card without the size in its name, if it was sold with that size."""
    sizes = {int(w[:-2]) for w in asked if re.fullmatch(r"\d+gb", w)}
    plain = frozenset(w for w in asked if not re.fullmatch(r"\d+gb", w))
    if len(sizes) != 1:
        return []
    found = [p for p, words in candidates if words == plain or (not asked & SERIES and words - SERIES == plain)]
    return [p for p in found if sizes <= _raw_sizes(matrix.data["gpus"][p].get("memory_gib"))]


def _raw_sizes(memory: float | list[float] | None) -> set[float]:
    return set(memory) if isinstance(memory, list) else set() if memory is None else {memory}


def _same_without_series(asked: frozenset[str], candidates: list[Indexed], matrix: Matrix) -> list[int]:
    # only where the series is left out: "GTX 3060" does not exist, and which card is meant is not ours to say
    return [] if asked & SERIES else [p for p, words in candidates if words - SERIES == asked]


def _shorter(asked: frozenset[str], candidates: list[Indexed], matrix: Matrix) -> list[int]:
    return [p for p, words in candidates if asked < words] if numbers(asked) or "titan" in asked else []


def _longer(asked: frozenset[str], candidates: list[Indexed], matrix: Matrix) -> list[int]:
    """Rows with a part of the words, those with the longest part, unless a surplus word says another product."""
    parts = [(p, words if asked & SERIES else words - SERIES) for p, words in candidates]
    parts = [(p, words) for p, words in parts if words < asked and numbers(words)]
    longest = max((len(words) for _, words in parts), default=0)
    best = [(p, words) for p, words in parts if len(words) == longest]
    surplus = {w for _, words in best for w in asked - words}
    if any(w in SERIES or VARIANT.fullmatch(w) or (MODEL.fullmatch(w) and not UNIT.fullmatch(w)) for w in surplus):
        return []
    return [p for p, _ in best]


def _one(name: str, asked: frozenset[str], positions: list[int], candidates: list[Indexed], matrix: Matrix) -> GpuRow:
    rows = matrix.gpu_rows(sorted(set(positions)))
    if len({_class(r) for r in rows}) > 1:
        raise UsageError(_ambiguous(name, asked, rows, candidates, matrix))
    return _sized(asked, _merged(rows))


def _class(row: GpuRow) -> tuple[str, int | None, str | None]:
    """What planning depends on; cards that agree here need not be told apart."""
    return row.compute_capability, row.tensor_cores, row.first_branch


def _merged(rows: tuple[GpuRow, ...]) -> GpuRow:
    """The common part of rows that plan alike; ``memory_gib`` holds every size."""
    first = rows[0]
    if len(rows) == 1:
        return first
    shared = frozenset.intersection(*(tokens(r.name or "") for r in rows))
    words = [w for w in re.split(r"[\s-]+", first.name or "") if not tokens(w) or tokens(w) <= shared]
    while words and not tokens(words[-1]):  # "... Edition" says nothing once the edition is gone
        words.pop()
    sizes = sorted({s for r in rows for s in _sizes(r)})
    return GpuRow(
        name=" ".join(words),
        aliases=(),
        family=first.family,
        compute_capability=first.compute_capability,
        architecture=first.architecture,
        chip=" ".join(sorted({c for r in rows for c in r.chip.split()})),
        tensor_cores=first.tensor_cores,
        laptop=all(r.laptop for r in rows),
        pci_ids=(),
        source=first.source,
        date=first.date,
        memory_gib=sizes[0] if len(sizes) == 1 else tuple(sizes) or None,
        first_branch=first.first_branch,
    )


def _sizes(row: GpuRow) -> tuple[float, ...]:
    memory = row.memory_gib
    return memory if isinstance(memory, tuple) else () if memory is None else (memory,)


def _sized(asked: frozenset[str], row: GpuRow) -> GpuRow:
    """A size that was named ("RTX 3060 12GB") picks one of those that the card was sold with."""
    named = [s for s in _sizes(row) if f"{s:g}gb" in asked]
    return replace(row, memory_gib=named[0]) if named else row


def _part(row: GpuRow, name: str, gib: str | None) -> GpuRow:
    """A MIG slice or a vGPU of a board: its own name and memory."""
    own = re.sub(r"^NVIDIA ", "", name)
    return replace(row, name=own, aliases=(), pci_ids=(), memory_gib=int(gib) if gib else None)


def _board(text: str) -> str:
    """The board in a vGPU name: ``V100DX`` -> V100, ``RTX6000`` -> Quadro RTX 6000 (Ada boards say so)."""
    letters = VGPU_BOARD.fullmatch(text)
    if letters is not None:
        return letters[1]
    turing = re.fullmatch(r"rtx([68]000)p?", text, re.IGNORECASE)
    return f"Quadro RTX {turing[1]}" if turing else text


def _truncated(name: str, matrix: Matrix) -> GpuRow:
    """A name that nvidia-smi's table cut off: ``NVIDIA RTX PRO 6000 Blac...``."""
    start = re.sub(r"^nvidia\s+", "", name[:-3].strip().lower())
    found = [i for i, row in enumerate(matrix.data["gpus"]) if row["name"].lower().startswith(start)]
    rows = matrix.gpu_rows(found)
    if not numbers(tokens(start)) or not rows or len({_class(r) for r in rows}) > 1:
        raise UsageError(f"{_quoted(name)} is cut off and could be several GPUs. `nvidia-smi -L` prints the whole name")
    return _merged(rows)


def _bare(match: re.Match[str], name: str, matrix: Matrix) -> GpuRow:
    digits = match[1]
    cc = match[2] or f"{digits[:-1]}.{digits[-1]}"
    row = matrix.architectures.get(cc)
    if row is None:
        known = ", ".join("sm_" + c.replace(".", "") for c in matrix.architectures)
        raise UsageError(f"{_quoted(name)} is no architecture that the matrix knows. Known: {known}")
    return GpuRow(
        name=None,
        aliases=(),
        family="",
        compute_capability=cc,
        architecture=row.architecture,
        chip="",
        tensor_cores=row.tensor_cores,
        laptop=False,
        pci_ids=(),
        source=row.source,
        date=row.date,
    )


def _ambiguous(
    name: str, asked: frozenset[str], rows: tuple[GpuRow, ...], candidates: list[Indexed], matrix: Matrix
) -> str:
    """One example per architecture, the cards that carry the number with a letter before it (A6000) too."""
    digits = {d for w in numbers(asked) for d in re.findall(r"\d+", w)}
    akin = [p for p, words in candidates if asked & SERIES <= words and digits & _digits(words)]
    examples: dict[str, GpuRow] = {}
    for row in (*rows, *matrix.gpu_rows(sorted(set(akin)))):
        examples.setdefault(row.compute_capability, row)
    ordered = sorted(examples.items(), key=lambda item: version_key(item[0]))
    listed = ", ".join(f"{row.name} (sm_{cc.replace('.', '')})" for cc, row in ordered)
    if len(ordered) == 1:
        listed = ", ".join(str(r.name) for r in rows[:4])
    return f"{_quoted(name)} could mean cards that need different builds: {listed}. {HOW_TO}"


def _digits(words: frozenset[str]) -> set[str]:
    return {d for w in numbers(words) for d in re.findall(r"\d+", w)}


def _unknown(name: str, asked: frozenset[str], matrix: Matrix) -> str:
    import difflib  # only here, on the way to an error: it costs more than the search

    digits = _digits(asked)
    names = [row["name"] for row in matrix.data["gpus"]]
    akin = [n for n in names if digits & _digits(tokens(n))]
    spelled = {n.lower().removeprefix("geforce "): n for n in akin or names}
    wanted = re.sub(r"^nvidia |geforce ", "", name.lower())
    near = [spelled[n] for n in difflib.get_close_matches(wanted, list(spelled), n=4, cutoff=0.3 if akin else 0.7)]
    hint = f" Did you mean {', '.join(near[:-1])}{' or ' if near[:-1] else ''}{near[-1]}?" if near else ""
    return f"no GPU called {_quoted(name)} is known.{hint} {HOW_TO}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
