"""Machine that worked, machine of now -> what differs, and which of it matters to PyTorch on the GPU. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..matrix import version_key
from ..model import Machine
from .words import Difference

NONE = "none"
# packages whose binary goes with torch's: another minor version may not load
WITH_TORCH = ("torchvision", "torchaudio", "triton", "numpy", "xformers", "flash-attn", "nccl", "nvidia-")
# variables that decide which libraries are loaded and which GPUs are seen; the rest is said and does not matter
DECIDING = (
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CUDA_HOME",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTHONPATH",
)
LIMIT = 100  # differences that are shown


def differences_of(before: Machine, now: Machine) -> tuple[Difference, ...]:
    """Those that matter first. What neither or only one side could tell is said as such, never as equal."""
    found = [*_driver(before, now), *_gpus(before, now), *_torch(before, now), *_system(before, now)]
    found += [*_packages(before, now), *_environment(before, now)]
    return tuple(sorted(found, key=lambda d: not d.matters)[:LIMIT])


def _differs(what: str, before: object, now: object, matters: bool, why: str) -> Iterable[Difference]:
    was, is_ = str(before) if before else NONE, str(now) if now else NONE
    if was != is_:
        yield Difference(what=what, before=was, now=is_, matters=matters, why=why)


def _driver(before: Machine, now: Machine) -> Iterable[Difference]:
    was, have = before.driver, now.driver
    if was.version and have.version and was.version != have.version:
        older = version_key(have.version) < version_key(was.version)
        branch = was.version.split(".")[0] != have.version.split(".")[0]
        why = "an older driver may not run what ran before" if older else "a newer driver runs what the older ran"
        yield from _differs("driver", was.version, have.version, older or branch, why)
    else:
        yield from _differs("driver", was.version, have.version, True, "without a driver nothing runs on the GPU")
    yield from _differs("driver state", was.state, have.state, True, "only `ok` is a driver that works")
    yield from _differs("kernel module", was.module, have.module, True, "open and proprietary serve different GPUs")


def _gpus(before: Machine, now: Machine) -> Iterable[Difference]:
    was, have = (Counter(g.name or "unknown GPU" for g in m.gpus) for m in (before, now))
    for name in sorted({*was, *have}):
        fewer = have[name] < was[name]
        why = "a GPU is gone" if fewer else "a GPU more than before"
        yield from _differs(f"GPUs: {name}", was[name], have[name], fewer, why)
    old = {g.uuid: g for g in before.gpus if g.uuid}
    for gpu in now.gpus:
        past = old.get(gpu.uuid) if gpu.uuid else None
        if past is not None:
            yield from _differs(f"MIG of GPU {gpu.index}", past.mig, gpu.mig, True, "programs see other devices")
            yield from _differs(
                f"memory of GPU {gpu.index}", past.memory_mib, gpu.memory_mib, True, "what fitted may fit no more"
            )


def _torch(before: Machine, now: Machine) -> Iterable[Difference]:
    was, have = (m.torch.version if m.torch else None for m in (before, now))
    yield from _differs("torch", was, have, True, "another build has other CUDA libraries and other GPU code")
    old, new = (m.python.version if m.python else None for m in (before, now))
    minor = [(v or "").split(".")[:2] for v in (old, new)]
    yield from _differs("python", old, new, minor[0] != minor[1], "wheels are bound to the minor version of Python")


def _system(before: Machine, now: Machine) -> Iterable[Difference]:
    for what, was, have, matters, why in (
        ("os", f"{before.os.id} {before.os.version}", f"{now.os.id} {now.os.version}", False, "another release"),
        ("kernel", before.os.kernel, now.os.kernel, False, "the driver's module is built for one kernel"),
        ("glibc", before.os.glibc, now.os.glibc, False, "wheels name the least glibc that they need"),
        ("arch", before.os.arch, now.os.arch, True, "wheels are bound to the architecture"),
        ("container", before.os.container, now.os.container, True, "a container sees what it is handed"),
    ):
        yield from _differs(what, was, have, matters, why)
    old, new = (", ".join(sorted(filter(None, (t.version for t in m.toolkits)))) for m in (before, now))
    yield from _differs("CUDA toolkits", old, new, False, "torch brings its own CUDA; extensions are built with these")


def _packages(before: Machine, now: Machine) -> Iterable[Difference]:
    for name in sorted({*before.packages, *now.packages}):
        matters = name.startswith(WITH_TORCH)
        was, have = before.packages.get(name), now.packages.get(name)
        yield from _differs(name, was, have, matters, "its binary goes with torch's" if matters else "")


def _environment(before: Machine, now: Machine) -> Iterable[Difference]:
    for name in sorted({*before.env, *now.env}):
        matters = name in DECIDING
        why = "it decides which GPUs are seen or which libraries are loaded" if matters else ""
        yield from _differs(f"${name}", before.env.get(name), now.env.get(name), matters, why)
