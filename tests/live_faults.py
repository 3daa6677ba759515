"""One fault each, put into a recorded machine that is healthy without it. No text of a program is in any of them.

A fault changes the ``raw`` part of a snapshot: files, directories, links, the environment, what a command printed.
``test_live_causes.py`` replays both sides.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

Raw = dict[str, Any]
Fault = Callable[[Raw], None]

WORKSTATION = "ubuntu-22.04-rtx4090-550.144.03-torch-2.6.0"
TWO = "ubuntu-22.04-rtx4090x2-550.144.03-torch-2.6.0"
HGX = "ubuntu-22.04-h100x8-570.133.20-hgx"
MIG = "ubuntu-22.04-a100-550.144.03-mig"
VGPU = "rocky-9.5-grid-a10-8q-550.144.03-vgpu"
DOCKER = "debian-12-l4-550.144.03-docker-gpus-all"
WSL = "wsl-ubuntu-24.04-rtx4070-566.36-torch"
GH200 = "ubuntu-22.04-gh200-570.133.20-torch"
WINDOWS = "windows-11-rtx4090-572.16-torch"
JETSON = "jetson-agx-orin-l4t-36.4.0"
VENV = "/home/user/train/.venv"
SITE = f"{VENV}/lib/python3.10/site-packages"
BUS = "/sys/bus/pci/devices/0000:01:00.0"
NO_NVML = '{"stage": "nvmlInit"}\n{"error": {"code": 12, "name": "LIBRARY_NOT_FOUND", "text": "not found"}}\n'


def raw_copy(raw: Mapping[str, Any]) -> Raw:
    return copy.deepcopy(dict(raw))


def put(**tables: Mapping[str, Any]) -> Fault:
    """Merge entries into ``files``, ``dirs``, ``links``, ``exists``, ``which``, ``env``; None takes one away."""

    def change(raw: Raw) -> None:
        for table, entries in tables.items():
            for key, value in entries.items():
                if value is None and table == "env":
                    raw[table].pop(key, None)
                else:
                    raw[table][key] = value

    return change


def says(*label: str, stdout: str, rc: int = 0, stderr: str = "") -> Fault:
    """What a command prints."""

    def change(raw: Raw) -> None:
        raw["commands"] = [c for c in raw["commands"] if c["argv"] != list(label)]
        raw["commands"].append({"argv": list(label), "rc": rc, "stdout": stdout, "stderr": stderr})

    return change


def edit(label: str, old: str, new: str) -> Fault:
    """Replace text in what a command printed; the text must be there."""

    def change(raw: Raw) -> None:
        (entry,) = [c for c in raw["commands"] if c["argv"][0] == label]
        assert old in entry["stdout"], f"{label} does not print {old!r}"
        entry["stdout"] = entry["stdout"].replace(old, new)

    return change


def gpu(**fields: Any) -> Fault:
    """Change what NVML says of the first GPU; ``details`` is merged."""

    def change(raw: Raw) -> None:
        (entry,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.nvml"]]
        lines = [json.loads(line) for line in entry["stdout"].splitlines()]
        for line in lines:
            if line.get("gpu", {}).get("index") == 0:
                line["gpu"].update({k: v for k, v in fields.items() if k != "details"})
            if "details" in line and line["index"] == 0:
                line["details"].update(fields.get("details", {}))
        entry["stdout"] = "".join(json.dumps(line) + "\n" for line in lines)

    return change


def driver(version: str, cuda: int) -> Fault:
    """Another driver version everywhere."""

    def change(raw: Raw) -> None:
        old = raw["files"]["/sys/module/nvidia/version"].strip()
        text = json.dumps(raw).replace(old, version)
        raw.update(json.loads(text))
        (entry,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.nvml"]]
        lines = [json.loads(line) for line in entry["stdout"].splitlines()]
        for line in lines:
            if "system" in line:
                line["system"]["cuda_driver_version"] = cuda
        entry["stdout"] = "".join(json.dumps(line) + "\n" for line in lines)

    return change


def torch(version: str, cuda: str | None) -> Fault:
    """Another torch in the venv, of the same companions."""

    def change(raw: Raw) -> None:
        site = next(d for d in raw["dirs"] if d.endswith("site-packages"))
        names = [n for n in raw["dirs"][site] if not n.startswith(("torch-", "torchvision-", "nvidia_", "triton-"))]
        raw["dirs"][site] = [*names, f"torch-{version}.dist-info"]
        raw["files"][f"{site}/torch/version.py"] = f"__version__ = '{version}'\ncuda = {cuda!r}\nhip = None\n"

    return change


def packages(*names: str, without: str = "") -> Fault:
    """More entries in site-packages; those that begin with ``without`` go."""

    def change(raw: Raw) -> None:
        site = next(d for d in raw["dirs"] if d.endswith("site-packages"))
        kept = [n for n in raw["dirs"][site] if not without or not n.startswith(without)]
        raw["dirs"][site] = sorted([*kept, *names])

    return change


def log(*lines: str) -> Fault:
    return says("envcheck.kernel-log", stdout="".join(f"[    9.1] {x}\n" for x in lines) + "envcheck-done\n")


def both(*faults: Fault) -> Fault:
    def change(raw: Raw) -> None:
        for fault in faults:
            fault(raw)

    return change


def unloaded(raw: Raw) -> None:
    """The driver's files are there and no module of it runs."""
    for path in ("/sys/module/nvidia/version", "/proc/driver/nvidia/version"):
        raw["files"].pop(path, None)
    raw["links"].pop(f"{BUS}/driver", None)
    raw["files"]["/proc/modules"] = "ext4 1000 0 - Live 0x0\n"
    raw["dirs"]["/usr/lib/x86_64-linux-gnu"] = ["libnvidia-ml.so.1", "libnvidia-ml.so.550.144.03"]
    raw["which"]["modinfo"] = "/usr/sbin/modinfo"
    text = '{"stage": "nvmlInit"}\n{"error": {"code": 9, "name": "DRIVER_NOT_LOADED", "text": "Driver Not Loaded"}}\n'
    says("envcheck.nvml", stdout=text)(raw)


def no_driver(raw: Raw) -> None:
    unloaded(raw)
    raw["dirs"]["/usr/lib/x86_64-linux-gnu"] = []
    says("envcheck.nvml", stdout=NO_NVML)(raw)


def mac(raw: Raw) -> None:
    """Anything becomes a Mac by its platform: there is nothing of NVIDIA's to record."""
    raw["platform"] = {"sys_platform": "darwin", "machine": "arm64", "release": "23.5.0", "version": "14.5", "libc": ""}


LIBRARIES = "/usr/local/cuda/lib64"
COMPAT = "/usr/local/cuda/compat"


def library(*names: str, directory: str = LIBRARIES) -> Fault:
    return put(env={"LD_LIBRARY_PATH": directory}, dirs={directory: list(names)})


# code -> (the machine that is healthy, what is wrong with it)
FAULTS: dict[str, tuple[str, Fault]] = {
    "no-nvidia-driver": (WORKSTATION, no_driver),
    "nouveau-loaded": (WORKSTATION, both(no_driver, put(links={f"{BUS}/driver": "../bus/pci/drivers/nouveau"}))),
    "gpu-bound-to-vfio": (WORKSTATION, both(no_driver, put(links={f"{BUS}/driver": "../bus/pci/drivers/vfio-pci"}))),
    "secure-boot-blocks-module": (
        WORKSTATION,
        both(
            unloaded,
            says("modinfo", "-F", "version", "nvidia", stdout="550.144.03\n"),
            says("modinfo", "nvidia", stdout="filename: /lib/nvidia.ko\nlicense:        NVIDIA\n"),
            put(files={"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\6\0\0\0\1"}),
        ),
    ),
    "kernel-module-not-built": (
        WORKSTATION,
        both(unloaded, says("modinfo", "-F", "version", "nvidia", stdout="", rc=1, stderr="Module nvidia not found")),
    ),
    "nvidia-open-module-wrong": (
        WORKSTATION,
        both(
            unloaded,
            says("modinfo", "-F", "version", "nvidia", stdout="550.144.03\n"),
            says("modinfo", "nvidia", stdout="filename: /lib/nvidia.ko\nlicense:        Dual MIT/GPL\nsigner: x\n"),
            put(files={f"{BUS}/device": "0x1b80\n"}),  # a GTX 1080
        ),
    ),
    "driver-too-old": (WORKSTATION, driver("470.256.02", 11040)),
    "driver-library-mismatch": (
        WORKSTATION,
        says(
            "envcheck.nvml",
            stdout='{"stage": "nvmlInit"}\n{"error": {"code": 18, "name": "LIB_RM_VERSION_MISMATCH", "text": "x"}}\n',
        ),
    ),
    "fabric-manager": (HGX, says("systemctl", "is-active", "nvidia-fabricmanager", stdout="inactive\n", rc=3)),
    "compat-libcuda-mismatch-803": (DOCKER, library("libcuda.so.1", "libcuda.so.535.104.05", directory=COMPAT)),
    "forward-compat-804": (WORKSTATION, library("libcuda.so.1", "libcuda.so.580.65.06", directory=COMPAT)),
    "cuda-unknown-error-uvm": (
        WORKSTATION,
        put(
            files={"/proc/modules": "nvidia 1000 0 - Live 0x0\n"},
            exists={"/usr/bin/nvidia-modprobe": False, "/dev/nvidia-uvm": False},
        ),
    ),
    "device-permissions": (WORKSTATION, edit("envcheck.look", "access yes /dev/nvidia0", "access no /dev/nvidia0")),
    "vgpu-unlicensed": (VGPU, gpu(details={"vgpu_license": "Unlicensed"})),
    "pci-bar-unassigned": (
        WORKSTATION,
        put(
            files={
                f"{BUS}/resource": "0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200\n"
                "0x0000000000000000 0x00000007ffffffff 0x000000002014220c\n"
            }
        ),
    ),
    "cpu-only-torch": (WORKSTATION, torch("2.6.0+cpu", None)),
    "aarch64-cpu-wheel": (GH200, torch("2.6.0", None)),
    "jetson-needs-nvidia-wheel": (
        JETSON,
        put(
            dirs={"/usr/lib/python3/dist-packages": ["torch", "torch-2.5.1.dist-info"]},
            files={"/usr/lib/python3/dist-packages/torch/version.py": "__version__ = '2.5.1+cpu'\ncuda = None\n"},
        ),
    ),
    "gpu-arch-too-new": (
        WORKSTATION,
        gpu(name="NVIDIA GeForce RTX 5090", compute_capability=[12, 0], pci_device_id=0x2B8510DE),
    ),
    "gpu-arch-too-old": (WORKSTATION, gpu(name="Tesla K80", compute_capability=[3, 7], pci_device_id=0x102D10DE)),
    "gpu-feature-unsupported": (
        WORKSTATION,
        both(
            gpu(name="Tesla T4", compute_capability=[7, 5], pci_device_id=0x1EB810DE),
            packages("flash_attn-2.7.4.post1.dist-info"),
        ),
    ),
    "python-without-wheel": (
        WORKSTATION,
        both(
            says(
                f"{VENV}/bin/python",
                "-c",
                "describe",
                stdout=json.dumps({"version": "3.6.9", "prefix": VENV, "base_prefix": "/usr", "path": [SITE]}),
            ),
            put(dirs={SITE: ["numpy-1.19.5.dist-info"]}),
        ),
    ),
    "glibc-too-old": (
        WORKSTATION,
        both(put(platform={"libc": "glibc 2.17"}), torch("2.6.0+cu126", "12.6")),
    ),
    "libstdcxx-too-old": (
        WORKSTATION,
        both(
            library("libstdc++.so.6", "libstdc++.so.6.0.28", directory="/opt/gcc/lib64"),
            put(dirs={f"{VENV}/lib": ["libstdc++.so.6", "libstdc++.so.6.0.33"]}),
        ),
    ),
    "cpu-without-avx": (WORKSTATION, edit("envcheck.look", "sse4_2 avx f16c avx2 fma", "sse4_2")),
    "macos-no-cuda": (WORKSTATION, mac),
    "amd-gpu": (
        WORKSTATION,
        both(no_driver, put(files={f"{BUS}/vendor": "0x1002\n", f"{BUS}/device": "0x73df\n"})),
    ),
    "windows-missing-runtime-dll": (WINDOWS, put(exists={r"C:\Windows\System32\msvcp140.dll": False})),
    "windows-long-paths": (
        WINDOWS,
        both(
            says(
                "reg",
                "query",
                "LongPathsEnabled",
                stdout="HKEY_LOCAL_MACHINE\\X\r\n    LongPathsEnabled    REG_DWORD    0x0\r\n",
            ),
            lambda raw: raw.update(json.loads(json.dumps(raw).replace("train", "t" * 90))),
            lambda raw: raw["dirs"].update({d: [] for d in raw["dirs"] if d.endswith("site-packages")}),
        ),
    ),
    "windows-no-libuv": (
        WINDOWS,
        lambda raw: edit("envcheck.nvml", '{"done": true}', second_gpu(raw) + '{"done": true}')(raw),
    ),
    "numpy2-old-torch": (WORKSTATION, torch("2.2.2+cu121", "12.1")),
    "duplicate-torch": (
        WORKSTATION,
        both(
            put(dirs={"/usr/lib/python3.10": ["torch", "torch-2.1.0.dist-info"]}),
        ),
    ),
    "name-shadowing": (WORKSTATION, put(dirs={".": ["torch.py"]})),
    "torchvision-mismatch": (WORKSTATION, packages("torchvision-0.16.2+cu124.dist-info", without="torchvision")),
    "torchaudio-mismatch": (WORKSTATION, packages("torchaudio-2.1.2+cu121.dist-info")),
    "cudnn-not-found": (
        WORKSTATION,
        both(packages(without="nvidia_cudnn"), put(dirs={f"{SITE}/nvidia/cudnn/lib": []})),
    ),
    "cudnn-version-conflict": (
        WORKSTATION,
        packages("nvidia_cudnn_cu12-8.9.2.26.dist-info", without="nvidia_cudnn"),
    ),
    "cublas-version-conflict": (WORKSTATION, library("libcublas.so.12", "libcublas.so.12.1.3.1")),
    "nvjitlink-version-conflict": (WORKSTATION, library("libnvJitLink.so.12", "libnvJitLink.so.12.1.105")),
    "cuda-runtime-lib-conflict": (WORKSTATION, library("libcudart.so.12", "libcudart.so.12.1.105")),
    "nccl-symbol-conflict": (WORKSTATION, packages("nvidia_nccl_cu12-2.18.1.dist-info", without="nvidia_nccl")),
    "mixed-cuda-majors": (WORKSTATION, packages("nvidia_cublas_cu11-11.10.3.66.dist-info")),
    "mkl-2024-1": (
        "ubuntu-22.04-rtx3090-535.104.05-conda",
        lambda raw: raw["dirs"]["/home/user/miniconda3/envs/train/conda-meta"].append("mkl-2024.1.0-ha957f24_693.json"),
    ),
    "cuda-toolkit-missing": (
        WORKSTATION,
        put(dirs={"/usr/local": []}, env={"CUDA_HOME": "/usr/local/cuda-12.1"}),
    ),
    "cuda-home-mismatch": (
        WORKSTATION,
        put(
            dirs={"/usr/local": ["cuda-11.5"]},
            files={"/usr/local/cuda-11.5/version.json": '{"cuda": {"version": "11.5.1"}}'},
            exists={"/usr/local/cuda-11.5/bin/nvcc": True},
            env={"CUDA_HOME": "/usr/local/cuda-11.5"},
        ),
    ),
    "host-compiler-too-new": (WORKSTATION, says("gcc", "-dumpfullversion", stdout="14.2.0\n")),
    "triton-missing": (WORKSTATION, packages(without="triton")),
    "triton-no-compiler": (WORKSTATION, put(which={"cc": None, "gcc": None})),
    "triton-no-libcuda": (
        WORKSTATION,
        says(
            "ldconfig",
            "-p",
            stdout="\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1\n",
        ),
    ),
    "python-headers-missing": (WORKSTATION, put(exists={"/usr/include/python3.10/Python.h": False})),
    "container-toolkit-missing": (WORKSTATION, put(which={"docker": "/usr/bin/docker"})),
    "container-cdi-spec": (
        WORKSTATION,
        put(
            which={"podman": "/usr/bin/podman", "nvidia-ctk": "/usr/bin/nvidia-ctk"},
            dirs={"/etc/cdi": ["nvidia.yaml"]},
            files={"/etc/cdi/nvidia.yaml": "- hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01\n"},
        ),
    ),
    "wrong-wheel-index": (WORKSTATION, put(env={"PIP_INDEX_URL": "https://download.pytorch.org/whl/cu125"})),
    "extension-torch-mismatch": (
        WORKSTATION,
        packages("flash_attn-2.7.4.post1+cu12torch2.5cxx11abiFALSE.dist-info"),
    ),
    "container-no-gpu-flag": (DOCKER, says("envcheck.nvml", stdout=NO_NVML)),
    "container-driver-capabilities": (DOCKER, put(env={"NVIDIA_DRIVER_CAPABILITIES": "utility"})),
    "container-cgroup-lost": (
        DOCKER,
        both(
            edit("envcheck.look", "open yes /dev/nvidiactl", "open no /dev/nvidiactl"),
            says(
                "envcheck.nvml",
                stdout='{"stage": "nvmlInit"}\n{"error": {"code": 999, "name": "UNKNOWN", "text": "Unknown Error"}}\n',
            ),
        ),
    ),
    "container-host-driver-too-old": (DOCKER, driver("470.256.02", 11040)),
    "shm-too-small": (DOCKER, edit("envcheck.look", "size=8388608k", "size=65536k")),
    "wsl-linux-driver-inside": (
        WSL,
        both(
            put(which={"dpkg-query": "/usr/bin/dpkg-query"}),
            says("dpkg-query", "nvidia", stdout="ii  libnvidia-compute-535 535.183.01-0ubuntu0.24.04.1\n"),
        ),
    ),
    "wsl-libcuda-path": (
        WSL,
        says("ldconfig", "-p", stdout="\tlibstdc++.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libstdc++.so.6\n"),
    ),
    "wsl-too-many-gpus": (
        WSL,
        lambda raw: edit("envcheck.nvml", '{"done": true}', second_gpu(raw) * 3 + '{"done": true}')(raw),
    ),
    "wsl1-no-gpu": (
        WSL,
        both(
            put(
                platform={"release": "4.4.0-19041-Microsoft"},
                files={"/proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft\n"},
                exists={"/dev/dxg": False, "/usr/lib/wsl/lib": False},
            ),
        ),
    ),
    "cuda-visible-devices": (WORKSTATION, put(env={"CUDA_VISIBLE_DEVICES": "1"})),
    "mig-enabled": (MIG, put(env={"CUDA_VISIBLE_DEVICES": None})),
    "gpu-exclusive-mode": (WORKSTATION, gpu(compute_mode=3, details={"compute_mode": "Exclusive_Process"})),
    "gpu-out-of-memory": (WORKSTATION, gpu(details={"memory_used_mib": 24300, "memory_free_mib": 264})),
    "host-out-of-memory": (
        WORKSTATION,
        put(files={"/proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 800000 kB\n"}),
    ),
    "fp16-gtx16": (
        WORKSTATION,
        gpu(name="NVIDIA GeForce GTX 1660 Ti", compute_capability=[7, 5], pci_device_id=0x218210DE),
    ),
    "nccl-p2p-acs-iommu": (
        TWO,
        both(
            put(which={"lspci": "/usr/bin/lspci"}),
            says(
                "lspci",
                "ACSCtl",
                stdout="0000:00:01.1 PCI bridge: Host Bridge\n\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+\n",
            ),
        ),
    ),
    "nccl-p2p-unsupported-geforce": (TWO, put(env={"NCCL_P2P_DISABLE": None})),
    "gpu-fell-off-bus": (
        WORKSTATION,
        log("NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."),
    ),
    "gpu-ecc-error": (HGX, gpu(details={"remapped_rows": {"uncorrectable": 1, "pending": 1, "failure": 0}})),
    "gpu-throttled": (WORKSTATION, gpu(details={"throttle_reasons": ["hw_slowdown", "hw_thermal_slowdown"]})),
}


def second_gpu(raw: Raw) -> str:
    """Lines of one more GPU, like the first; its index does not matter to NVML's list."""
    (entry,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.nvml"]]
    first = next(json.loads(x)["gpu"] for x in entry["stdout"].splitlines() if '"gpu"' in x)
    return json.dumps({"gpu": {**first, "index": first["index"] + 1, "bus_id": "00000000:02:00.0"}}) + "\n"
