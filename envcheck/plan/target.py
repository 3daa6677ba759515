"""What the planner derives from a machine before it looks at any build."""

from __future__ import annotations

import re

from ..errors import Undetermined, UsageError
from ..matrix import Matrix, version_key
from ..model import Gpu, Machine
from ..record import dataclass

# who brings the driver of an image, for a person to read
OWNERS = {
    "dgx-os": "DGX OS brings its driver with NVIDIA's own repositories",
    "ostree": "this image (ostree) brings its driver, or layers it",
    "aws-dlami": "the AWS Deep Learning AMI brings its driver: a newer AMI has a newer one",
    "gcp-dlvm": "the Google Deep Learning VM brings its driver: /opt/deeplearning/install-driver.sh",
    "gcp-cuda-installer": "Google's cuda_installer brought the driver: run it again for another branch",
    "cos": "Container-Optimized OS brings its driver: sudo cos-extensions install gpu",
    "vgpu": "this is a guest with a vGPU: its GRID driver comes from whoever runs the host",
}
# NVIDIA A10-8Q, GRID T4-16C: board, memory in GiB, and Q, C, B or A for the licence
VGPU = re.compile(r".*[A-Za-z0-9]-\d{1,3}[QCBA](?: .*)?")
NOT_USED = ("vfio-pci",)  # bound to a virtual machine: not this host's to compute on


@dataclass(frozen=True, kw_only=True)
class Target:
    """``platform`` is the matrix' key of wheels that run here; ``kind`` says who may touch the driver."""

    platform: str
    kind: str  # bare, wsl, container, jetson, image, vgpu, windows, macos
    windows_driver: bool  # the driver's number is a Windows one (Windows and WSL)
    glibc: tuple[int, ...] | None
    glibc_text: str | None
    musl: bool
    python: str | None  # "3.11", free-threaded "3.13t"
    gpus: tuple[Gpu, ...]
    owner: str | None = None  # of an image's or a guest's driver, a key of OWNERS

    @property
    def driver_fixed(self) -> bool:
        """A plan must not change the driver from here: it belongs to the host, the image or L4T."""
        return self.kind in ("container", "jetson", "image", "vgpu", "macos")


def _platform(machine: Machine, kind: str) -> str:
    os = machine.os
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get((os.arch or "").lower(), (os.arch or "").lower())
    system = os.platform or "linux"
    if system == "macos":
        return "macos-arm64" if arch == "aarch64" else "macos-x86_64"
    if kind == "jetson" and any(_major(g) < 11 for g in machine.gpus):
        return "jetson-aarch64"  # before Thor, L4T is not SBSA: server wheels have no code that runs there
    if not arch:
        raise Undetermined("the processor architecture could not be told: say --arch x86_64 or --arch aarch64")
    return f"{system}-{arch}"


def _major(gpu: Gpu) -> int:
    return version_key(gpu.compute_capability)[0] if gpu.compute_capability else 0


def _kind(machine: Machine) -> str:
    os = machine.os
    if os.platform in ("windows", "macos"):
        return os.platform
    if os.jetson:
        return "jetson"
    if os.container:
        return "container"
    if os.wsl:
        return "wsl"
    if os.driver_owner:
        return "image"
    return "vgpu" if any(VGPU.fullmatch(g.name or "") for g in machine.gpus) else "bare"


def python_tag(machine: Machine) -> str | None:
    """The target interpreter as the matrix writes it: ``3.11``, free-threaded ``3.13t``."""
    python = machine.python
    if python is None or not python.version:
        return None
    minor = ".".join(python.version.rstrip("t").split(".")[:2])
    return minor + ("t" if (python.abi or python.version).endswith("t") else "")


def make_target(machine: Machine, matrix: Matrix) -> Target:
    """Raises ``Undetermined`` where a GPU is there whose compute capability nothing tells."""
    kind = _kind(machine)
    if kind == "wsl" and machine.os.wsl == "1":
        raise UsageError("WSL 1 has no GPU at all: convert the distribution with `wsl --set-version NAME 2`")
    gpus = tuple(g for g in machine.gpus if g.driver_bound not in NOT_USED)
    for gpu in gpus:
        if not gpu.compute_capability:
            label = gpu.name or gpu.pci_id or f"GPU {gpu.index}"
            raise Undetermined(
                f"{label}: its compute capability could not be told, so no build can be chosen for it. "
                'Name the card with --gpu "NAME" (`envcheck gpus` lists them) or its architecture with --gpu sm_86'
            )
    distro = matrix.distro(machine.os.id, machine.os.version)
    glibc = machine.os.glibc
    return Target(
        platform=_platform(machine, kind),
        kind=kind,
        windows_driver=kind in ("windows", "wsl"),
        glibc=version_key(glibc) if glibc else None,
        glibc_text=glibc,
        musl=bool(distro and distro.family == "alpine") or machine.os.family == "alpine",
        python=python_tag(machine),
        gpus=gpus,
        owner="vgpu" if kind == "vgpu" else machine.os.driver_owner,
    )
