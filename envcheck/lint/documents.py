"""compose.yaml and environment.yml. PyYAML is imported when one of them is read, and not before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InputError
from ..plan.line import Line
from .images import CUDA_IMAGE, image_faults
from .pip import install_faults
from .requirements import faults_of
from .words import Fault, Target, error

GPU_VARIABLES = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
MERGE = "tag:yaml.org,2002:merge"
MERGED = 8  # mappings that one mapping may merge; more is no file of a person
# what Docker's nvidia driver answers to (moby, daemon/nvidia_linux.go)
CAPABILITIES = {"gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"}


class Value:
    """A YAML value that knows its line (from 1). Aliases are followed no deeper than the text itself goes."""

    def __init__(self, node: Any) -> None:
        self.line: int = node.start_mark.line + 1
        self.node = node

    def items(self, depth: int = 4) -> Iterable[tuple[str, Value]]:
        """Keys and values; those of a merge (``<<: *base``) come last, since the mapping's own have precedence."""
        if self.node.id != "mapping":
            return
        merged: list[Any] = []
        for key, value in self.node.value:
            if key.tag == MERGE:
                merged += value.value if value.id == "sequence" else [value]
            else:
                yield str(key.value) if key.id == "scalar" else "", Value(value)
        for node in merged[:MERGED] if depth else ():
            yield from Value(node).items(depth - 1)

    def get(self, *path: str) -> Value | None:
        found: Value | None = self
        for name in path:
            found = next((v for k, v in found.items() if k == name), None) if found else None
        return found

    def list(self) -> Iterable[Value]:
        return [Value(n) for n in self.node.value] if self.node.id == "sequence" else []

    def text(self) -> str:
        return str(self.node.value) if self.node.id == "scalar" else ""


def parse_yaml(text: str, name: str) -> Value | None:
    """The document, or None for an empty one. Raises ``InputError`` for what is no YAML."""
    try:
        import yaml
    except ImportError:
        raise InputError(f"{name}: PyYAML reads this file and is not installed: python -m pip install pyyaml") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise InputError(f"{name} is not valid YAML: {' '.join(str(problem).split())[:200]}") from None
    return Value(node) if node is not None else None


def lint_compose(root: Value, target: Target) -> list[Fault]:
    faults: list[Fault] = []
    services = root.get("services")
    for name, service in services.items() if services else ():
        image = service.get("image")
        if image:
            faults += image_faults(image.text(), image.line, target)
        if _wants_gpu(service) and not _has_gpu(service):
            faults.append(
                error(
                    "container-no-gpu-flag",
                    service.line,
                    f"service {name[:60]!r} is made for a GPU and is handed none",
                    "add `gpus: all`, or deploy.resources.reservations.devices with capabilities: [gpu]",
                )
            )
        faults += _capabilities(name, service)
    return faults


def _wants_gpu(service: Value) -> bool:
    image = service.get("image")
    if image and CUDA_IMAGE.search(image.text()):
        return True
    environment = service.get("environment")
    if environment is None:
        return False
    names = [k for k, _ in environment.items()] + [v.text().partition("=")[0] for v in environment.list()]
    return any(name in GPU_VARIABLES for name in names)


def _has_gpu(service: Value) -> bool:
    runtime, gpus, devices = service.get("runtime"), service.get("gpus"), service.get("devices")
    if gpus is not None or (runtime and runtime.text() == "nvidia"):
        return True
    if devices and any("nvidia" in item.text() for item in devices.list()):
        return True
    return bool(_reserved(service)) or service.get("extends") is not None


def _reserved(service: Value) -> Iterable[Value]:
    devices = service.get("deploy", "resources", "reservations", "devices")
    return list(devices.list()) if devices else []


def _capabilities(name: str, service: Value) -> Iterable[Fault]:
    for device in _reserved(service):
        capabilities = device.get("capabilities")
        if capabilities is None or not CAPABILITIES & {c.text() for c in capabilities.list()}:
            yield error(
                "container-no-gpu-flag",
                device.line,
                f"the device that service {name[:60]!r} reserves has no `capabilities: [gpu]`: compose refuses it",
                "write capabilities: [gpu] below driver: nvidia",
            )


def lint_environment(root: Value, target: Target) -> list[Fault]:
    channels = root.get("channels")
    dependencies = root.get("dependencies")
    packages: dict[str, str] = {}
    lines: dict[str, int] = {}
    pip: list[tuple[int, str]] = []
    for item in dependencies.list() if dependencies else ():
        if item.node.id == "mapping" and (nested := item.get("pip")):
            pip += [(v.line, v.text()) for v in nested.list()]
            continue
        name, _, spec = item.text().partition("::")[2].partition("=") if "::" in item.text() else _split(item.text())
        packages[name] = spec
        lines[name] = item.line
    if "pytorch" in packages:
        packages["torch"] = packages["pytorch"]
    line = Line(
        manager="conda",
        packages=packages,
        channels=tuple(c.text() for c in channels.list()) if channels else (),
    )
    at = lines.get("cpuonly") or lines.get("pytorch-cuda") or lines.get("pytorch") or 1
    return [*install_faults(line, at, target), *faults_of(pip, target), *_twice(packages, pip)]


def _split(text: str) -> tuple[str, str, str]:
    for index, char in enumerate(text):
        if char in "=<>! ":
            return text[:index].strip(), char, text[index:].strip()
    return text.strip(), "", ""


def _twice(packages: dict[str, str], pip: list[tuple[int, str]]) -> Iterable[Fault]:
    for number, text in pip:
        if "pytorch" in packages and _split(text)[0].lower() == "torch":
            yield error(
                "duplicate-torch",
                number,
                "conda installs pytorch and pip installs torch over it: two builds mix in one folder",
                "take one of the two out",
            )
