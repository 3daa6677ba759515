"""Checks of what an installation lacks on Windows: DLLs, long paths, libuv."""

from __future__ import annotations

from .base import STRONG, WEAK, Outcome, skip
from .details import mapping
from .fixes import by_hand, step
from .judge import fact, judge
from .known import limit
from .view import View, less, nums


def windows_missing_runtime_dll(v: View) -> Outcome:
    """On Windows a DLL that torch's DLL needs is missing or too old.

    Why: torch's libraries need the Visual C++ runtime (and torch 2.4.0 libomp140). Windows names the first library
    that failed, not the one that is missing.
    Fix: install the newest Visual C++ redistributable.
    References: https://github.com/pytorch/pytorch/issues/131662
    """
    if not v.flag("windows") and not v.told("windows-missing-runtime-dll"):
        return skip("not Windows", not_applicable=True)
    wants_omp = nums(v.torch_version) == nums(limit(v, "torch_with_libomp140"))
    return judge(
        v,
        "windows-missing-runtime-dll",
        "a DLL that torch needs is missing or too old (mostly the Visual C++ runtime)",
        facts=(
            *fact("the Visual C++ runtime (msvcp140.dll) is not installed", STRONG, v.fact("vcruntime", "?") is None),
            *fact(
                f"torch {v.torch_version} needs libomp140.x86_64.dll, which is neither in Windows nor beside it",
                STRONG,
                wants_omp and v.fact("libomp140") is False,
            ),
        ),
        looked=isinstance(v.fact("vcruntime"), str),
        quiet="the Visual C++ runtime is installed",
        fix=lambda: (
            step(
                "vcredist",
                "install the newest Visual C++ runtime",
                "winget",
                "install",
                "--id",
                "Microsoft.VCRedist.2015+.x64",
                "-e",
            ),
        ),
    )


def windows_long_paths(v: View) -> Outcome:
    """torch's files would have longer paths than Windows allows.

    Why: without long paths a file's path ends at 260 characters, and files inside torch's wheel have names of more
    than half of that: in a deep directory pip stops with "OSError: [Errno 2] No such file or directory".
    Fix: turn long paths on, or make the environment in a shorter directory.
    References: https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation
    """
    told = mapping(v, "windows")
    if not v.flag("windows") or v.pasted:
        return skip("not Windows, or a report", not_applicable=not v.flag("windows"))
    length = told.get("site_packages")
    room = int(limit(v, "windows_path_limit")) - int(limit(v, "torch_longest_path"))
    off = told.get("long_paths") is False
    long = isinstance(length, int) and length > room and v.torch_version is None
    return judge(
        v,
        "windows-long-paths",
        "torch cannot be unpacked here: its paths would be too long for Windows",
        facts=fact(
            f"long paths are off, and this site-packages has {length} characters: torch leaves {room}",
            WEAK + 5,
            off and long,
        ),
        looked=told.get("long_paths") is not None,
        quiet="long paths are on" if not off else "the paths are short enough",
        fix=lambda: (
            step(
                "long-paths",
                "as administrator: allow long paths, then open a new shell",
                "reg",
                "add",
                r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem",
                "/v",
                "LongPathsEnabled",
                "/t",
                "REG_DWORD",
                "/d",
                "1",
                "/f",
                root=True,
            ),
            *by_hand("or make the environment in a short directory, such as C:\\envs"),
        ),
    )


def windows_no_libuv(v: View) -> Outcome:
    """torch.distributed asks for libuv, which the Windows wheels do not have.

    Why: since 2.4 TCPStore uses libuv by default; wheels for Windows are built without it.
    Fix: USE_LIBUV=0 in the environment.
    References: https://github.com/pytorch/pytorch/blob/main/torch/distributed/rendezvous.py
    """
    affected = (
        v.machine.os.platform == "windows"
        and not v.pasted
        and len(v.gpus) > 1
        and v.torch_version is not None
        and not less(v.torch_version, limit(v, "libuv_default_from_torch"))
    )
    return judge(
        v,
        "windows-no-libuv",
        "torch for Windows has no libuv",
        facts=fact("torch on Windows has no libuv: torch.distributed needs USE_LIBUV=0", WEAK - 6, affected),
        looked=v.machine.os.platform is not None and not affected,
        quiet="libuv is no matter here",
        fix=lambda: by_hand("set USE_LIBUV=0 before the program starts (or init_method ...?use_libuv=0)"),
    )


CHECKS = (windows_missing_runtime_dll, windows_long_paths, windows_no_libuv)
