"""``pip list``, ``freeze``, ``show``, ``conda list``, ``conda env export``, collect_env's ``[pip3]`` and ``[conda]``.

::

    Package                  Version            # Name          Version   Build                        Channel
    ------------------------ ---------          pytorch         2.0.1     py3.8_cuda11.7_cudnn8.5.0_0  pytorch
    nvidia-cublas-cu12       12.6.4.1           [conda] torch   1.6.0     <pip>
    torch==2.1.0+cu118                          [pip3] torch==2.0.1
    Name: torch                                   - pytorch=2.0.1=py3.8_cuda11.7_cudnn8.5.0_0
    Version: 2.1.0

A row outside a listing counts only for packages that matter to CUDA: prose has pairs of words and numbers too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..torch import NAMES, PREFIXES, normal_name
from .lines import Lines
from .part import Part
from .torch_version import describe

_VERSION = r"v?(\d{1,6}(?:[.!]\w{1,16}){0,6}(?:[+-][\w.]{1,60})?)"
_HEAD = re.compile(
    r"[ \t]*(?:#?[ \t]*Name[ \t]+Version(?:[ \t]+Build)?(?:[ \t]+Channel)?|Package[ \t]+Version(?:[ \t].{0,60})?)$"
)
_RULE = re.compile(r"[ \t]*-{3,60}(?:[ \t]+-{3,60}){1,3}$")
_CONDA_HEAD = re.compile(r"[ \t]*# packages in environment at (.{1,200}?):?$")
_ROW = re.compile(rf"[ \t]*([A-Za-z0-9_][\w.\[\]-]{{0,80}})[ \t]{{1,80}}{_VERSION}(?:[ \t]{{1,60}}(\S.{{0,200}}))?$")
_FREEZE = re.compile(
    rf"[ \t]*(?:[-+*~][ \t]{{1,4}})?([A-Za-z0-9_][\w.-]{{0,80}})[ \t]?===?[ \t]?{_VERSION}(?:[ \t]*[;#].{{0,80}})?$"
)
_TAGGED = re.compile(r"[ \t]*\[(pip3?|conda|pip2)\][ \t]{1,8}(.{1,300})$")
_EXPORT = re.compile(
    rf"[ \t]*-[ \t]{{1,4}}(?:[\w-]{{1,40}}::)?([A-Za-z0-9_][\w.-]{{0,80}})={_VERSION}(?:=(\S{{1,120}}))?$"
)
_SHOW = re.compile(r"[ \t]*(Name|Version|Location): (\S.{0,300})$")
_CONDA_BUILD = re.compile(r"cuda_?(\d{1,2}\.\d)|cuda_?(\d{2,3})(?=py|_|h|$)")
_CONDA_CUDNN = re.compile(r"cudnn_?(\d{1,2}(?:\.\d{1,2}){0,3})")
_CHANNELS = frozenset(
    {"pytorch", "pypi", "conda-forge", "defaults", "nvidia", "pytorch-nightly", "pytorch-test", "anaconda"}
)
_BUILD = re.compile(r"(?:py\d|h[0-9a-f]{6}|cuda|cpu|\w{1,20}_\d{1,4}$|\d{1,3}$|pypi_0|<pip>|mkl$|cuda$)")
_MORE_NAMES = frozenset({
    "torch", "pytorch", "torchvision", "torchaudio", "pytorch-mutex", "cpuonly", "python", "cudnn", "nccl", "libtorch",
    "ctranslate2", "onnxruntime-gpu", "flashinfer", "sglang", "causal-conv1d", "mamba-ssm", "auto-gptq", "pytorch-gpu",
    "pytorch-cpu", "pytorch-lightning", "torch-scatter", "torch-sparse", "torchtune", "intel-openmp", "libcublas",
})  # fmt: skip


@dataclass
class _Found:
    pip: dict[str, str] = field(default_factory=dict)
    conda: dict[str, dict[str, str | None]] = field(default_factory=dict)
    duplicates: dict[str, list[str]] = field(default_factory=dict)

    def add_pip(self, name: str, version: str) -> None:
        name = normal_name(name)
        if self.pip.setdefault(name, version) != version:
            seen = self.duplicates.setdefault(name, [f"{self.pip[name]} (pip)"])
            if f"{version} (pip)" not in seen:
                seen.append(f"{version} (pip)")

    def add_conda(self, name: str, version: str, rest: str | None) -> None:
        words = (rest or "").replace("[cpuonly]", " ").split()
        if {"pypi", "<pip>", "pypi_0"} & set(words):
            self.add_pip(name, version)
            return
        build = words[0] if words else None
        channel = words[-1] if len(words) > 1 else None
        self.conda.setdefault(name.lower(), {"version": version, "build": build, "channel": channel})


def matters(name: str) -> bool:
    """Is this a package that a check or a plan speaks of?"""
    name = normal_name(name)
    return name in _MORE_NAMES or name in NAMES or name.startswith((*PREFIXES, "torch", "pytorch"))


def parse(lines: Lines) -> Part | None:
    part, found = Part("packages"), _Found()
    inside: str | None = None  # pip or conda: which listing we are in
    shown: dict[str, str] = {}
    for position, line in lines:
        text = line.text
        if not text:
            continue
        if "# packages in" in text and (head := _CONDA_HEAD.match(text)):
            part.facts["conda_prefix"], inside = head.group(1), "conda"
        elif "Version" in text and _HEAD.match(text):
            inside = "conda" if inside == "conda" or "Name" in text else "pip"
        elif "---" in text and _RULE.match(text):
            inside = inside or "pip"
        elif not _row(found, text, inside) and not _show(found, shown, text):
            inside = inside if text.startswith(("#", "  ")) else None
            continue
        part.take(position, "")
    if not part.taken:
        return None
    _fill(part, found)
    return part


def _row(found: _Found, text: str, inside: str | None) -> bool:
    if "[" in text[:12] and (tagged := _TAGGED.match(text)):
        return _tagged(found, tagged.group(1), tagged.group(2))
    if "=" in text:
        return _equals(found, text)
    row = _ROW.match(text)
    if row is None:
        return False
    name, version, rest = row.groups()
    if inside == "pip" and (not rest or len(rest.split()) < 4):
        found.add_pip(name, version)
    elif inside == "conda":
        found.add_conda(name, version, rest)
    elif matters(name) and not rest and name.lower() != "python":
        found.add_pip(name, version)
    elif rest and _looks_conda(rest.split()) and (matters(name) or "." in version):
        found.add_conda(name, version, rest)
    else:
        return False
    return True


def _looks_conda(words: list[str]) -> bool:
    return (
        bool(_BUILD.match(words[0]))
        and len(words) <= 3
        and (len(words) == 1 or words[-1] in _CHANNELS or "/" in words[-1])
    )


def _tagged(found: _Found, tool: str, rest: str) -> bool:
    if tool != "conda":
        freeze = _FREEZE.match(rest)
        if freeze:
            found.add_pip(freeze.group(1), freeze.group(2))
        return True
    row = _ROW.match(rest)
    if row:
        found.add_conda(*row.groups())
    return True


def _equals(found: _Found, text: str) -> bool:
    if freeze := _FREEZE.match(text):
        found.add_pip(freeze.group(1), freeze.group(2))
        return True
    export = _EXPORT.match(text)
    if export and export.group(3):
        found.add_conda(*export.groups())
        return True
    return False


def _show(found: _Found, shown: dict[str, str], text: str) -> bool:
    """``pip show``: two lines, each on its own."""
    pair = _SHOW.match(text)
    if not pair:
        return False
    shown[pair.group(1)] = pair.group(2).strip()
    if pair.group(1) == "Version" and shown.get("Name") and re.match(r"\d", shown["Version"]):
        found.add_pip(shown.pop("Name"), shown["Version"].split()[0])
        return True
    return pair.group(1) == "Name" and " " not in shown["Name"]


def _fill(part: Part, found: _Found) -> None:
    part.packages = {**{name: entry["version"] or "" for name, entry in found.conda.items()}, **found.pip}
    if found.conda:
        part.facts["conda"] = found.conda
        part.python.setdefault("environment", "conda")
    if found.pip:
        part.facts["pip"] = dict(found.pip)
    conda = conda_torch(found.conda)
    pip = found.pip.get("torch")
    if conda and pip and _base(conda["version"]) != _base(pip):
        found.duplicates["torch"] = [f"{pip} (pip)", f"{conda['version']} (conda)"]
    nightly = found.conda.get("pytorch-nightly")
    if conda and nightly and nightly["version"] != conda["version"]:
        found.duplicates["torch"] = [f"{p['version']} (conda)" for p in (conda, nightly)]
    if found.duplicates:
        part.facts["duplicates"] = found.duplicates
    if conda:
        part.torch.update(conda)
    if pip and not conda:
        part.torch.update({"version": pip, "source": "pip", **describe(pip)})
    if python := found.conda.get("python"):
        part.python["version"] = python["version"]


def _base(version: str) -> str:
    return version.partition("+")[0]


def conda_torch(packages: dict[str, dict[str, str | None]]) -> dict[str, Any]:
    """conda's torch: its build tells CUDA and cuDNN (``py3.8_cuda11.7_cudnn8.5.0_0``, ``cuda112py39h..``)."""
    entry = packages.get("pytorch") or packages.get("libtorch")
    if not entry:
        return {}
    fields: dict[str, Any] = {"version": entry["version"], "source": "conda"}
    build = entry["build"] or ""
    if cuda := _CONDA_BUILD.search(build):
        digits = cuda.group(2)
        fields["cuda"] = cuda.group(1) or f"{digits[:-1]}.{digits[-1]}"
    if (cudnn := _CONDA_CUDNN.search(build)) and "." in cudnn.group(1):
        fields["cudnn"] = cudnn.group(1)
    return fields
