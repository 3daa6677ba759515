"""Rebuild what a package index can prove in the matrix, and say what changed.

The index knows METADATA pins, Python tags, wheel tags, pairs, upload dates and new releases. It does not know what
PyTorch's own index serves, nor drivers, cards or distributions: those rows are left as they are, byte for byte.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping
from typing import Any

from ..errors import NetworkError
from ..matrix import least_glibc, version_key
from . import archs, fatbin
from .index import Session, default_index_url, redact
from .rows import OnIndex, Pairs, Progress, by_release, pairs, pins_of
from .wheels import PLATFORMS

Row = dict[str, Any]
COMPANIONS = ("torchvision", "torchaudio")


def _quiet(_: str) -> None:
    return None


def rebuild(
    matrix_data: Mapping[str, Any],
    session: Session | None = None,
    index_url: str | None = None,
    progress: Progress = _quiet,
    today: str | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """(the matrix as the index would have it, one line per change). No lines: nothing changed.

    ``index_url`` defaults to the index that pip uses here. The argument is not modified. Raises ``NetworkError`` if
    the index cannot be reached or has no torch; then nothing was rebuilt.
    """
    index_url = index_url or default_index_url()
    session = session or Session()
    files = session.project(index_url, "torch")
    if files is None:
        raise NetworkError(f"the index {redact(index_url)} has no torch, so the matrix cannot be rebuilt from it")
    work = _Rebuild(copy.deepcopy(dict(matrix_data)), session, progress, today or datetime.date.today().isoformat())
    found = by_release(files, "torch")
    for torch in sorted(found, key=version_key):
        work.release(torch, found[torch])
    for companion in COMPANIONS:
        listed = session.project(index_url, companion)
        if listed is not None:
            work.pair(companion, pairs(session, listed, companion, progress))
    work.finish()
    return work.data, work.lines


class _Rebuild:
    def __init__(self, data: dict[str, Any], session: Session, progress: Progress, today: str) -> None:
        self.data = data
        self.session = session
        self.progress = progress
        self.today = today
        self.lines: list[str] = []
        self.known: dict[str, Row] = {row["torch"]: row for row in data["releases"]}
        self.oldest = min((version_key(torch) for torch in self.known), default=(0,))

    def set(self, row: Row, key: str, value: Any, what: str) -> None:
        """Change one value, note it, and date the row."""
        if value is None or row.get(key) == value:
            return
        self.lines.append(f"{what}: {key} {_show(row.get(key))} -> {_show(value)}")
        row[key] = value
        row["date"] = self.today

    def release(self, torch: str, platforms: Mapping[str, OnIndex]) -> None:
        if version_key(torch) < self.oldest:
            return
        self.progress(f"torch {torch}")
        if torch not in self.known:
            self.add(torch, platforms)
            return
        dates = [found.released for found in platforms.values() if found.released]
        self.set(self.known[torch], "released", min(dates, default=None), f"torch {torch}")
        for row in self.data["builds"]:
            if row["torch"] == torch and row["platform"] in platforms:
                self.build(row, platforms[row["platform"]])

    def build(self, row: Row, found: OnIndex) -> None:
        """Python tags hold for every variant of a release and platform; the rest only for the wheel that is here."""
        what = f"torch {row['torch']}+{row['tag']} on {row['platform']}"
        self.set(row, "pythons", found.pythons, what)
        if not row["on_pypi"]:
            return
        self.set(row, "wheel_tag", found.wheel_tag, what)
        self.set(row, "glibc", least_glibc(found.wheel_tag), what)
        if row["cuda"] is None:
            return
        pinned = pins_of(self.session, found, row["platform"])
        if pinned.cuda not in (None, row["cuda"]):
            raise NetworkError(
                f"the index serves {what} with CUDA {pinned.cuda}, the matrix says {row['cuda']}: "
                "this index is no mirror of the one that the matrix describes; name another with --index-url"
            )
        for key in ("cudnn", "nccl", "triton"):
            self.set(row, key, getattr(pinned, key), what)

    def add(self, torch: str, platforms: Mapping[str, OnIndex]) -> None:
        """Rows for a release that the matrix does not know: the variant that the index itself serves."""
        dates = [found.released for found in platforms.values() if found.released]
        row = {"torch": torch, "released": min(dates, default=self.today), "companions": {}}
        row |= {"source": f"upload times of torch {torch} on the package index", "date": self.today}
        self.known[torch] = row
        self.data["releases"].append(row)
        self.lines.append(f"torch {torch}: new release, uploaded {row['released']}")
        for platform in PLATFORMS:
            if platform in platforms:
                built = self.new_build(torch, platform, platforms[platform])
                self.data["builds"].append(built)
                self.lines.append(f"torch {torch}+{built['tag']} on {platform}: new build")

    def new_build(self, torch: str, platform: str, found: OnIndex) -> Row:
        sample = found.sample()
        pinned = pins_of(self.session, found, platform)
        listed: tuple[str, ...] = ()
        if platform.startswith("linux"):
            listed = archs.arch_list(archs.open_wheel(sample.file.url, self.session))
        sass, ptx = fatbin.split(listed)
        cuda = pinned.cuda if listed else None
        return {
            "torch": torch,
            "tag": "cu" + cuda.replace(".", "") if cuda else "cpu",
            "platform": platform,
            "cuda": cuda,
            "index": "cpu" if platform.startswith("windows") else "pypi",
            "on_pypi": True,
            "cudnn": pinned.cudnn if cuda else None,
            "nccl": pinned.nccl if cuda else None,
            "triton": pinned.triton if cuda else None,
            "pythons": found.pythons,
            "wheel_tag": found.wheel_tag,
            "glibc": least_glibc(found.wheel_tag),
            "sass": list(sass),
            "ptx": list(ptx),
            "channel": "stable",
            "evidence": "bytes",
            "source": f"METADATA and architecture string of {sample.file.filename} on the package index",
            "date": self.today,
        }

    def pair(self, companion: str, found: Pairs) -> None:
        for torch, row in self.known.items():
            before = row["companions"].get(companion)
            version = found.exact.get(torch)
            if version is None and before is None:
                version = found.by_day(torch, row["released"])
                if version:
                    row["note"] = f"{companion} {version} pins no torch; the pair is inferred from equal upload dates"
            if version is None or version == before:
                continue
            self.lines.append(f"torch {torch}: {companion} {_show(before)} -> {version}")
            row["companions"][companion] = version
            row["date"] = self.today

    def finish(self) -> None:
        """Order new rows among the old; date the matrix if anything changed."""
        if not self.lines:
            return
        self.data["releases"].sort(key=lambda row: version_key(row["torch"]))
        self.data["builds"].sort(key=build_order)
        self.data["date"] = self.today


def build_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Rows of ``builds``: by release, platform, CPU first, then CUDA ascending."""
    cuda = version_key(row["cuda"]) if row["cuda"] else ()
    return version_key(row["torch"]), PLATFORMS.index(row["platform"]), cuda


def _show(value: Any) -> str:
    if value is None:
        return "none"
    return " ".join(value) if isinstance(value, list) else str(value)
