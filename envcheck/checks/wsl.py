"""Checks of the Windows Subsystem for Linux."""

from __future__ import annotations

from .base import CERTAIN, STRONG, WEAK, Outcome, skip
from .details import entries, libraries, mapping, os_packages
from .fixes import by_hand, step
from .judge import fact, judge
from .known import limit
from .view import View, nums

AREA = "wsl"


def wsl1_no_gpu(v: View) -> Outcome:
    """WSL 1, or a Windows build before GPU support.

    Why: only WSL 2 has a kernel that passes the GPU through (/dev/dxg); WSL 1 has none.
    Fix: convert the distribution to WSL 2.
    References: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    kernel = v.machine.os.kernel or ""
    facts = fact(
        f"WSL 1: kernel {kernel}",
        CERTAIN,
        v.machine.os.wsl == "1" or ("Microsoft" in kernel and kernel.startswith("4.4.")),
    )
    # the row of early Windows builds: they hand no GPU to WSL 2 either
    early = any("10.0." in p.text for p in v.told("wsl1-no-gpu"))
    return judge(
        v,
        "wsl1-no-gpu",
        "WSL 1 has no GPU support",
        facts=facts,
        looked=v.machine.os.wsl == "2",
        quiet="this is WSL 2",
        at_most=100 if v.machine.os.wsl != "2" or v.has(r"/dev/dxg") or early else WEAK - 10,
        fix=lambda: by_hand("in Windows: wsl --update, then wsl --set-version DISTRIBUTION 2"),
    )


def wsl_linux_driver_inside(v: View) -> Outcome:
    """A Linux NVIDIA driver was installed inside WSL 2.

    Why: in WSL the Windows driver brings libcuda (/usr/lib/wsl/lib). A Linux driver package puts its own libcuda
    before it, which finds no kernel module.
    Fix: purge the Linux driver packages; only the Windows driver is needed.
    References: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    if not v.flag("wsl"):
        return skip("not WSL", not_applicable=True)
    packages = [
        p
        for p in os_packages(v)
        if p.startswith(("libnvidia-compute", "nvidia-driver", "nvidia-utils", "nvidia-kernel"))
    ]
    smi, driver = _smi(v), v.machine.driver.version
    apart = smi and driver and abs((nums(smi) or (0,))[0] - (nums(driver) or (0,))[0]) > int(limit(v, "wsl_branch_gap"))
    return judge(
        v,
        "wsl-linux-driver-inside",
        "a Linux NVIDIA driver is installed inside WSL and hides the one of Windows",
        facts=(
            *fact(f"installed: {', '.join(map(str, packages))[:150]}", CERTAIN, packages),
            *fact(
                f"nvidia-smi is of {smi}, which is not the one that driver {driver} of Windows brings", STRONG, apart
            ),
        ),
        at_most=WEAK if v.cuda_available else 100,
        fix=lambda: (
            step(
                "purge",
                "remove the Linux driver",
                "sh",
                "-c",
                "apt-get purge -y '*nvidia-driver*' 'libnvidia-*' 'nvidia-utils-*' && apt-get autoremove -y",
                root=True,
            ),
            *by_hand("then in Windows: wsl --shutdown"),
        ),
    )


def _smi(v: View) -> str | None:
    """The version of the nvidia-smi that was called: by its banner, or as people write it."""
    hit = v.text.find(r"NVIDIA-SMI[ :=]{1,4}(\d{3}\.\d{1,3}(?:\.\d{1,3})?)")
    told = mapping(v, "nvidia_smi").get("version") or (hit and hit[1])
    return str(told) if told else None


def wsl_libcuda_path(v: View) -> Outcome:
    """In WSL 2 the loader does not find libcuda in /usr/lib/wsl/lib.

    Why: that directory is mounted by Windows and must be on the loader's path; links that another installer replaced
    lead nowhere.
    Fix: LD_LIBRARY_PATH=/usr/lib/wsl/lib, and ldconfig.
    References: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    if not v.flag("wsl"):
        return skip("not WSL", not_applicable=True)
    lost = bool(entries(v, "loaded_libraries")) and not v.pasted and not libraries(v, "libcuda.so.1")
    return judge(
        v,
        "wsl-libcuda-path",
        "libcuda is not found in WSL: /usr/lib/wsl/lib is not on the loader's path, or its links are broken",
        facts=fact("the loader does not know libcuda.so.1 in WSL", STRONG, lost),
        at_most=WEAK if v.cuda_available else 100,
        fix=lambda: (
            step(
                "ldconf",
                "put it on the loader's path",
                "sh",
                "-c",
                "echo /usr/lib/wsl/lib > /etc/ld.so.conf.d/ld.wsl.conf && ldconfig",
                root=True,
            ),
        ),
    )


def wsl_too_many_gpus(v: View) -> Outcome:
    """WSL 2 with many GPUs: CUDA cannot initialise.

    Why: with four or more cards cudaGetDeviceCount ends with error 2, out of memory, in WSL 2.
    Fix: show fewer GPUs with CUDA_VISIBLE_DEVICES, or use native Linux.
    References: https://github.com/microsoft/WSL/issues/10269
    """
    if not v.flag("wsl") and not v.told("wsl-too-many-gpus"):
        return skip("not WSL", not_applicable=True)
    many = len(v.gpus) >= int(limit(v, "wsl_gpu_limit"))
    failed = v.cuda_available is False
    starved = many and failed and v.text.has("out of memory")
    return judge(
        v,
        "wsl-too-many-gpus",
        f"{len(v.gpus) or 'many'} GPUs in WSL 2: CUDA initialisation runs out of memory",
        facts=fact(
            f"{len(v.gpus)} GPUs in WSL and CUDA is not available",
            CERTAIN if starved else STRONG,
            many and failed and v.flag("wsl"),
        )
        or fact(f"{len(v.gpus)} GPUs in WSL", WEAK, many and v.flag("wsl") and v.cuda_available is None),
        looked=v.flag("wsl") and bool(v.gpus) and not many,
        quiet="few enough GPUs",
        fix=lambda: by_hand("show fewer: export CUDA_VISIBLE_DEVICES=0,1 (at most three), or use native Linux"),
    )


CHECKS = (wsl1_no_gpu, wsl_too_many_gpus, wsl_linux_driver_inside, wsl_libcuda_path)
