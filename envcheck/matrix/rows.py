"""The rows of ``compat_matrix.json``, one dataclass a section. Field names are the JSON keys."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ..record import dataclass


@functools.lru_cache(maxsize=4096)
def version_key(text: str) -> tuple[int, ...]:
    """Numeric parts of a dotted version, for comparing drivers, CUDA, Python and glibc numbers.

    ``"535.104.05"`` -> ``(535, 104, 5)``. Raises ``ValueError`` for anything that is not dotted digits.
    """
    return tuple(int(part) for part in text.split("."))


MANYLINUX = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}  # PEP 513, 571, 599


def least_glibc(wheel_tag: str | None) -> str | None:
    """The glibc that pip enforces for a platform tag: ``manylinux_2_28_x86_64`` -> ``2.28``.

    None where it enforces none: ``linux_x86_64``, Windows, macOS.
    """
    name, _, rest = (wheel_tag or "").partition("_")
    if name == "manylinux":
        return ".".join(rest.split("_")[:2])
    return MANYLINUX.get(name)


@dataclass(frozen=True, kw_only=True)
class Build:
    """One wheel set or conda build of a torch release: a CUDA (or CPU) variant on one platform."""

    torch: str
    tag: str  # cu118, cpu
    platform: str  # linux-x86_64, linux-aarch64, windows-x86_64, macos-arm64, macos-x86_64
    cuda: str | None
    index: str  # "pypi", or the tag of PyTorch's index; a conda channel's name in conda rows
    on_pypi: bool  # PyPI's own wheel of this release is this variant
    cudnn: str | None
    nccl: str | None
    triton: str | None
    pythons: tuple[str, ...]  # "3.11", free-threaded "3.13t"
    wheel_tag: str | None  # "manylinux_2_28_x86_64"
    glibc: str | None  # the least glibc
    sass: tuple[str, ...]  # compute capabilities with machine code: "8.6"
    ptx: tuple[str, ...]
    channel: str  # stable, legacy, unlisted
    evidence: str  # bytes, listed, told, inferred
    source: str
    date: str
    note: str | None = None

    @property
    def verified(self) -> bool:
        """The bytes were read, or PyTorch's own page lists this very install command."""
        return self.evidence in ("bytes", "listed")

    @functools.cached_property
    def key(self) -> tuple[int, ...]:
        return version_key(self.torch)

    @functools.cached_property
    def cuda_key(self) -> tuple[int, ...]:
        return version_key(self.cuda) if self.cuda else (0,)

    @functools.cached_property
    def archs(self) -> tuple[str, ...]:
        return tuple("sm_" + a.replace(".", "") for a in self.sass) + tuple(
            "compute_" + a.replace(".", "") for a in self.ptx
        )


@dataclass(frozen=True, kw_only=True)
class Release:
    torch: str
    released: str
    companions: Mapping[str, str]  # torchvision, torchaudio of the wheels
    conda_companions: Mapping[str, str] | None = None  # where the pytorch channel's differ
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A requirement to pin beside a range of torch releases: ``numpy<2`` beside ``torch <2.3``."""

    torch: str  # PEP 440 specifier
    requirement: str  # PEP 508
    why: str
    source: str
    date: str
    platforms: tuple[str, ...] = ()  # empty: every platform
    package: str | None = None  # only beside this companion, or in this section: "conda", "wheel"


@dataclass(frozen=True, kw_only=True)
class Cudnn:
    """The GPU code inside one cuDNN release. A build for CUDA 11 and one for CUDA 12 share a version number."""

    cudnn: str  # "9.10.2.21"
    cuda_major: str  # "12"
    sass: tuple[str, ...]  # compute capabilities with machine code in the libraries that every call needs
    ptx: tuple[str, ...]
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class CudaDriver:
    """The driver numbers of one CUDA toolkit release (GA of that minor)."""

    cuda: str
    linux: str | None  # toolkit-exact minimum
    windows: str | None
    minor_linux: str | None  # minimum under minor-version compatibility
    minor_windows: str | None
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class OldCuda:
    """A toolkit before 11.0: one driver minimum, as minor-version compatibility did not exist."""

    cuda: str
    linux: str
    windows: str
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class OldTorch:
    """A torch before 2.0, which no plan installs: what doctor has to know of one that is there."""

    torch: str  # "1.13"
    cuda: str  # of the Linux x86_64 wheel on PyPI
    torchvision: str | None
    torchaudio: str | None
    pythons: tuple[str, ...]  # of the Linux and Windows wheels on PyPI
    evidence: str  # listed, recalled; of ``cuda``
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class OldBuild:
    """Compute capabilities with machine code in the wheels of torch before 2.0 that were built with one CUDA."""

    cuda: str
    archs: tuple[str, ...]
    evidence: str  # told, recalled
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class HostCompiler:
    """The newest gcc that a toolkit's nvcc accepts."""

    cuda: str
    gcc: str
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class PackageNeed:
    """The lowest compute capability that a package runs on."""

    package: str
    compute_capability: str
    evidence: str
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A number or version by which a check of doctor decides, by name."""

    name: str
    value: str
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriverBranch:
    branch: str
    kind: str  # lts, production, new-feature, legacy, developer, unknown
    cuda: str  # what nvidia-smi shows
    first: str | None  # first release of the branch that a source names
    platforms: tuple[str, ...]  # linux, windows
    architectures: tuple[str, ...]  # generations that it drives
    modules: tuple[str, ...]  # proprietary, open
    eol: str | None
    ended: bool | None
    source: str
    date: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A compute capability: its generation and what drives it."""

    compute_capability: str
    architecture: str
    tensor_cores: int | None  # generation; None where it depends on the chip (7.5)
    first_branch: str | None
    last_branch: str | None  # None: still driven by the newest
    modules: tuple[str, ...]
    integrated: bool
    source: str
    date: str
    runs: tuple[str, ...] | None = None  # SASS that it runs besides its own, where the usual rule does not hold
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Distro:
    id: str
    version: str | None
    name: str
    family: str
    python: str | None
    glibc: str | None
    nvidia_repo: str | None  # "ubuntu2204"
    kernel_headers: str | None
    source: str
    date: str
    ended: bool | None = None
    archive_driver: str | None = None  # newest driver in the distribution's own archive
    externally_managed: bool | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Index:
    """A place that serves torch wheels. ``url`` holds ``{tag}`` where the variant goes."""

    id: str
    kind: str  # pytorch, find-links, pypi, jetson
    url: str
    source: str
    date: str
    hosts: tuple[str, ...] = ()
    l4t: str | None = None  # of a Jetson index: the major L4T release that its wheels are for ("36" is JetPack 6)
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class GpuRow:
    """A product, as nvidia-smi names it without the leading "NVIDIA"; one row per name and compute capability.

    ``pci_ids`` holds ``2684``, or ``1E30:1028:129E`` (device, subsystem vendor and device; ``*`` for any vendor)
    where the subsystem decides the name. ``name`` is None for a bare architecture (``--gpu sm_89``).
    """

    name: str | None
    aliases: tuple[str, ...]
    family: str  # GeForce, TITAN, Quadro, RTX, Data center, Jetson, ...
    compute_capability: str
    architecture: str
    chip: str  # "AD102"; several, where one name was given to several
    tensor_cores: int | None  # generation by chip, 0: none, None: not known (CMP boards)
    laptop: bool
    pci_ids: tuple[str, ...]
    source: str
    date: str
    memory_gib: float | tuple[float, ...] | None = None  # several, where one name was sold with several
    first_branch: str | None = None  # where later than the architecture's
    sm_count: int | None = None
    memory_bandwidth_gb_s: float | None = None
    boost_mhz: float | None = None
    tdp_w: float | None = None
    release_date: str | None = None
    cores: int | None = None  # FP32 lanes ("CUDA cores")
    memory_type: str | None = None
    bus_bits: int | None = None
    memory_gbps: float | None = None  # per pin, Gbit/s
    rated_mhz: float | None = None  # clock behind the published Tensor rate, where it is not the boost clock
    pcie: str | None = None  # "4.0 x16"
    nvlink_gb_s: float | None = None  # one direction, all links; 0: no NVLink, None: not known
    spec_source: str | None = None  # of these numbers, where it is not the row's own
    variants: tuple[Mapping[str, float | str], ...] = ()  # columns that differ where one name was given to several
