"""Rules on what pip, uv or conda is told to install, wherever the words stand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ..plan.line import Line, index_tag
from .words import Fault, Target, error, warning

TORCH = ("torch", "torchvision", "torchaudio")
LOCAL = re.compile(r"==\s*([\d.]+)\+(cu\d{2,3}|cpu)\b")
WHEEL = re.compile(r"/whl/(?:\w+/)*(?:torch)-[\w.]+(?:%2B|\+)(cu\d{2,3}|cpu)-|/whl/(cpu)/torch-\d", re.IGNORECASE)
CPU_BUILD = re.compile(r"=[^=]*=\S*cpu")  # the third part of a conda spec: 2.1.0=py3.11_cpu_0, *=cpu*
NVIDIA = re.compile(r"cu\d|cpu\Z")
EXACT = re.compile(r"===?\s*\d[\d.]*\Z")
PYTORCH_INDEX = re.compile(r"//download(?:-r2)?\.pytorch\.org/whl", re.IGNORECASE)


def install_faults(line: Line, number: int, target: Target) -> Iterable[Fault]:
    """Faults of one install line. Lines that install no torch have none."""
    if line.manager == "conda":
        yield from _conda(line, number)
        return
    wanted = {name: spec for name, spec in line.packages.items() if name.lower() in TORCH}
    if not wanted:
        return
    tag = line.torch_backend if line.torch_backend not in (None, "auto") else index_tag(line.index_url)
    extra = [t for t in map(index_tag, (*line.extra_index_urls, *line.find_links)) if t]
    yield from _cpu(wanted, tag, number)
    yield from _mixed(line, wanted, number)
    yield from _not_there(wanted, tag, extra, number, target)


def _cpu(wanted: dict[str, str], tag: str | None, number: int) -> Iterable[Fault]:
    pinned = [spec for spec in wanted.values() if (local := LOCAL.search(spec)) and local[2] == "cpu"]
    wheels = [spec for spec in wanted.values() if wheel_tag(spec) == "cpu"]
    if tag == "cpu" or pinned or wheels:
        what = f"the version {pinned[0].strip()}" if pinned else "the wheel" if wheels else "the index .../whl/cpu"
        yield cpu_fault(number, what)


def cpu_fault(number: int, what: str) -> Fault:
    return error(
        "cpu-only-torch",
        number,
        f"{what} gives a torch that cannot use a GPU",
        "take the index of a CUDA variant; `envcheck plan --format requirements` writes the right one",
    )


def wheel_tag(url: str) -> str | None:
    """The variant in a wheel's address: ``.../torch-2.5.1%2Bcpu-cp312-...whl`` -> cpu."""
    found = WHEEL.search(url)
    return found[1] or found[2] if found else None


def _mixed(line: Line, wanted: dict[str, str], number: int) -> Iterable[Fault]:
    """With two indexes pip takes the highest version of either: which variant comes is left to chance."""
    ours = [url for url in line.extra_index_urls if PYTORCH_INDEX.search(url)]
    if not line.extra_index_urls or "torch" not in wanted:
        return
    if ours and LOCAL.search(wanted["torch"]):
        return  # a local version (+cu121) exists on one index alone
    if ours and not EXACT.match(wanted["torch"]):
        summary = "--extra-index-url: pip takes the higher version of two indexes, so torch may come from the default"
        pin = f"torch==X.Y.Z+{index_tag(ours[0]) or 'cuNNN'}"
        fix = f"write --index-url {ours[0]} for torch, or pin its local version ({pin})"
    else:
        summary = (
            "--extra-index-url: a package of the same name on the other index replaces yours if its version is higher"
        )
        one = ours[0] if ours else "URL"
        fix = f"write --index-url {one} for torch in a command of its own, or pin with --require-hashes"
    yield warning("wrong-wheel-index", number, summary, fix)


def _not_there(
    wanted: dict[str, str], tag: str | None, extra: list[str], number: int, target: Target
) -> Iterable[Fault]:
    """A torch that the named index does not have, or a local version that contradicts the index."""
    spec = wanted.get("torch")
    if spec is None or spec.startswith("@"):
        return
    local = LOCAL.search(spec)
    tags = [t for t in (tag, *extra) if t]
    if local and tags and local[2] not in tags:
        summary = f"torch{spec.strip()} is not on an index of {tags[0]}: that one serves +{tags[0]} alone"
        yield error("wrong-wheel-index", number, summary, f"name the index .../whl/{local[2]}, or pin +{tags[0]}")
        return
    builds = target.matrix.builds(target.platform)
    effective = local[2] if local else tag
    try:
        versions = SpecifierSet(LOCAL.sub(r"==\1", spec))
        known = {b.torch for b in builds if versions.contains(Version(b.torch))}
    except (InvalidSpecifier, InvalidVersion):
        return
    if effective is not None and not NVIDIA.match(effective):
        maker = "AMD" if effective.startswith("rocm") else "Intel"
        summary = f"the index of {effective} gives a torch for {maker}'s GPUs, which cannot use one of NVIDIA"
        yield warning("wrong-wheel-index", number, summary, "take the index of a CUDA variant (.../whl/cuNNN)")
        return
    if not known or effective is None or effective == "cpu":
        return
    serve = sorted({b.tag for b in builds if b.torch in known})
    if effective not in serve:
        summary = f"torch{spec.strip()} was never built as {effective} for {target.platform}"
        yield error("wrong-wheel-index", number, summary, f"variants that there are: {', '.join(serve)}")


def _conda(line: Line, number: int) -> Iterable[Fault]:
    builds = [line.packages.get(name, "") for name in ("pytorch", "torch")]
    named = "pytorch-cpu" if "pytorch-cpu" in line.packages else next((b for b in builds if CPU_BUILD.search(b)), None)
    if named and "cpuonly" not in line.packages:
        yield error(
            "cpu-only-torch",
            number,
            f"{named.strip()[:60]} is the build of PyTorch without CUDA",
            "take pytorch-gpu, or pin a CUDA build: pytorch=*=cuda*",
        )
    if "cpuonly" in line.packages:
        yield error(
            "cpu-only-torch", number, "`cpuonly` makes conda install a torch without CUDA", "take `cpuonly` out"
        )
    if "pytorch-cuda" in line.packages and "nvidia" not in line.channels:
        yield error(
            "wrong-wheel-index",
            number,
            "pytorch-cuda needs the channel `nvidia`, and it is not named",
            "add the channel: -c pytorch -c nvidia",
        )
