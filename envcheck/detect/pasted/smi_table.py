"""The table that plain ``nvidia-smi`` prints, of every driver since 2016, whole, cut, indented or on one line.

::

    +-----------------------------------------------------------------------------------------+
    | NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |
    +-----------------------------------------+------------------------+----------------------+
    | GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
    | Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
    |                                         |                        |               MIG M. |
    |=========================================+========================+======================|
    |   0  NVIDIA GeForce RTX 2080 ...    Off |   00000000:0C:00.0 Off |                  N/A |
    | 38%   33C    P8             38W /  250W |     211MiB /   8192MiB |      0%      Default |
    |                                         |                        |                  N/A |
    +-----------------------------------------+------------------------+----------------------+
    | Processes:                                                                              |
    |    0   N/A  N/A            1720      G   /usr/bin/gnome-shell                    173MiB |

Columns and line breaks move between drivers, so the cells are read as one stream and told by their form.
Until 609 the banner says ``Driver Version`` and ``CUDA Version``, from 610 on ``KMD Version`` and ``CUDA UMD Version``;
drivers before 410 print no CUDA. Under WSL the first number is Linux' nvidia-smi, the driver is Windows' own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .lines import Line, Lines
from .part import GpuRow, Part
from .values import bus_id, driver_version, mib, number, present, release, switch, word

_TABLE = re.compile(r"[ \t]*(?:\|.*|\+[-=+]{3,}.*|[-=+]{20,})$")
_BANNER = re.compile(r"NVIDIA-SMI[ \t]{1,20}(\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)")
_DRIVER = re.compile(r"(?:Driver|KMD)[ \t]{1,4}Version[ \t]{0,4}:[ \t]{0,8}(\S{1,24})", re.IGNORECASE)
_CUDA = re.compile(r"CUDA[ \t]{1,4}(?:UMD[ \t]{1,4})?Version[ \t]{0,4}:[ \t]{0,8}([\w./!]{1,12})", re.IGNORECASE)
_SEPARATOR = re.compile(r"[-=+ ]*$")
_BUS = re.compile(
    r"((?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])(?:\s+(On|Off|N/A|ERR!|\?+))?$|N/A\s+N/A$"
)
_NAME = re.compile(r"(\d{1,3})\s+(\S.{0,60}?)(?:\s+(On|Off|N/A|WDDM|TCC|MCDM|ERR!))?$")
_POWER = re.compile(
    r"(?:(\d{1,3}\s?%|N/A|ERR!|\[.{1,16}\])\s+)?(-?\d{1,3}\s?C|N/A|ERR!)\s+(P\d{1,2}|N/A|ERR!|\?+)\s+"
    r"(\d{1,5}\s?W|N/A|ERR!|\[.{1,16}\]|Unknown)\s{0,8}/\s{0,8}(\S.{0,12})$"
)
_MEMORY = re.compile(r"(\d{1,8})\s?MiB\s*/\s*(\d{1,8})\s?MiB$")
_UTIL = re.compile(r"(\d{1,3}\s?%|N/A|ERR!)\s+(Default|E\.\s?Process|E\.\s?Thread|Exclusive\S*|Prohibited|N/A)$")
_MIG_MODE = re.compile(r"(Enabled|Disabled)\*?$")
_PROCESS = re.compile(
    r"(\d{1,3})\s+(?:(N/A|\d{1,3})\s+(N/A|\d{1,3})\s+)?(\d{1,8})\s+([CGM+]{1,5})\s+(\S.{0,200}?)"
    r"\s{1,80}(\d{1,8}\s?MiB|\[?N/A\]?|\S{0,40}Permissions|ERR!)$"
)
_MIG_ROW = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})$")
_STAMP = re.compile(r"[ \t]*[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?: [A-Z]{2,5})? \d{4}[ \t]*$")


@dataclass
class _Reader:
    """A state machine over cells. ``mode``: which of the three tables it is in."""

    part: Part
    mode: str = "gpus"
    previous: str = ""
    expect: str | None = None
    rows: list[GpuRow] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)

    def cell(self, text: str) -> None:
        if text.startswith("Processes"):
            self.mode = "processes"
        elif text.startswith("MIG devices"):
            self.mode = "mig"
        elif text.startswith(("NVIDIA-SMI", "GPU  Name")):
            self.mode = "gpus"
        elif self.mode == "processes" and (found := _PROCESS.match(text)):
            self.processes.append(_process(found))
        elif self.mode == "mig":
            self._mig(text)
        else:
            self._gpu(text)
        self.previous = text

    def _gpu(self, text: str) -> None:
        bus = _BUS.match(text)
        if bus and (name := _NAME.match(self.previous)):
            self.mode = "gpus"
            self.rows.append(_row(name, bus))
            self.expect = "ecc"
        elif self.rows and self.mode == "gpus":
            self._more(self.rows[-1], text)

    def _more(self, row: GpuRow, text: str) -> None:
        if self.expect == "ecc":
            self.expect = None
            row.fields["ecc"] = True if text.isdigit() else switch(text)
            row.details["ecc_mode"] = {True: "Enabled", False: "Disabled"}.get(row.fields["ecc"])
            if text.isdigit() and int(text[:18]):
                row.details["ecc_errors"] = {"volatile": {"uncorrectable": int(text[:18])}}
        elif found := _MEMORY.match(text):
            if "memory_total_mib" not in row.details:
                row.fields["memory_mib"] = row.details["memory_total_mib"] = int(found.group(2))
                row.details["memory_used_mib"] = int(found.group(1))
        elif found := _POWER.match(text):
            row.details.update(_power(found))
        elif found := _UTIL.match(text):
            row.details["utilization_pct"] = number(found.group(1))
            row.details["compute_mode"] = word(found.group(2))
            self.expect = "mig"
        elif self.expect == "mig" and (_MIG_MODE.match(text) or text == "N/A"):
            self.expect = None
            row.fields["mig"] = switch(text)
            row.details["mig_mode"] = word(text.rstrip("*"))

    def _mig(self, text: str) -> None:
        row = _MIG_ROW.match(text)
        if row:
            gpu, instance, compute, device = map(int, row.groups())
            owner = next((r for r in self.rows if r.index == gpu), None)
            if owner is None:
                owner = GpuRow(index=gpu)
            owner.details.setdefault("mig_devices", []).append({"index": device, "gi": instance, "ci": compute})
            self.expect = f"mig-memory-{gpu}"
        elif self.expect and self.expect.startswith("mig-memory-") and (memory := _MEMORY.match(text)):
            index = int(self.expect.rpartition("-")[2])
            owner = next((r for r in self.rows if r.index == index), None)
            if owner and owner.details.get("mig_devices"):
                owner.details["mig_devices"][-1]["memory_total_mib"] = int(memory.group(2))
            self.expect = None


def parse(lines: Lines) -> Part | None:
    if not lines.has("nvidia-smi", "|"):
        return None
    part = Part("smi-table")
    reader = _Reader(part)
    block: list[tuple[int, Line]] = []
    for position, line in lines:
        if _TABLE.match(line.text) or ("|" in line.text and _BANNER.search(line.text)):
            block.append((position, line))
        elif line.text.strip() and block:
            _read(block, reader)
            block = []
    _read(block, reader)
    for position, line in lines:
        if "NVIDIA-SMI" in line.text and _BANNER.search(line.text):
            _banner(line.text, part)
            part.take(position, line.text)
    if not part.taken:
        return None
    for position, line in lines:
        if position + 1 in part.taken and _STAMP.match(line.text):
            part.take(position, line.text)
    part.gpus = reader.rows
    if reader.processes:
        part.facts["gpu_processes"] = reader.processes
    if any(r.details.get("driver_model") in ("WDDM", "TCC", "MCDM") for r in reader.rows):
        part.os.update(platform="windows", id="windows", family="windows")
    if part.driver.get("version"):
        part.driver["state"] = "ok"
    return part


def _read(block: list[tuple[int, Line]], reader: _Reader) -> None:
    """One run of table lines; it counts only if it has a banner, a GPU, or one of nvidia-smi's own headings."""
    before = len(reader.rows) + len(reader.processes)
    ours = False
    for _, line in block:
        for cell in line.full.split("|"):
            text = cell.strip()
            if text and not _SEPARATOR.match(text):
                ours = ours or text.startswith(("NVIDIA-SMI", "GPU  Name", "Processes:", "MIG devices:"))
                reader.cell(text[:400].rstrip("+-= ") if "+-" in text else text[:400])
    if ours or len(reader.rows) + len(reader.processes) > before:
        for position, line in block:
            reader.part.take(position, line.text)


def _banner(text: str, part: Part) -> None:
    """The last banner of several is the state of now; an empty value never replaces one."""
    tool, driver, cuda = _BANNER.search(text), _DRIVER.search(text), _CUDA.search(text)
    smi = tool.group(1) if tool else None
    installed = driver_version(driver.group(1)) if driver else None
    if installed:
        part.driver["version"] = installed
    if cuda and (found := release(cuda.group(1))):
        part.driver["cuda"] = found
    facts = part.facts.setdefault("nvidia_smi", {})
    facts.update(present({"version": smi, "cuda_shown": word(cuda.group(1)) if cuda else None}))
    # Windows drivers have two numbers and Linux' nvidia-smi three: both in one banner is WSL 2.
    if smi and installed and smi.count(".") == 2 and installed.count(".") == 1 and smi != installed:
        part.os.update(wsl="2", platform="linux")


def _row(name: re.Match[str], bus: re.Match[str]) -> GpuRow:
    model = name.group(3)
    details: dict[str, Any] = {"display_active": word(bus.group(2))}
    if model in ("WDDM", "TCC", "MCDM"):
        details["driver_model"] = model
    elif switch(model) is not None:
        details["persistence_mode"] = "Enabled" if model == "On" else "Disabled"
    title = name.group(2)
    if title.endswith("..."):
        details["name_truncated"] = True
    return GpuRow(int(name.group(1)), {"name": title, "bus_id": bus_id(bus.group(1))}, details)


def _power(found: re.Match[str]) -> dict[str, Any]:
    fan, temperature, state, draw, limit = found.groups()
    details: dict[str, Any] = {
        "fan_pct": number(fan),
        "temperature_c": number(temperature),
        "performance_state": word(state),
        "power_draw_w": number(draw),
        "power_limit_w": number(limit),
    }
    if "ERR!" in found.group():
        details["errors"] = [
            f"{what} ERR!"
            for what, text in (("fan", fan), ("temperature", temperature), ("power usage", draw), ("power cap", limit))
            if text and "ERR!" in text
        ]
    return details


def _process(found: re.Match[str]) -> dict[str, Any]:
    gpu, _, _, pid, kind, name, memory = found.groups()
    return {"gpu": int(gpu), "pid": int(pid), "type": kind, "name": name, "memory_mib": mib(memory)}
