"""The keys that collect_env and its forks print, and where each value goes.

CUDA has three owners that a report must not mix: the driver's (``driver.cuda``), the toolkit's (``toolkits``: nvcc,
which collect_env calls "CUDA runtime version") and the one that torch was built with (``torch.cuda``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ...model import Found
from ..os import normal_arch
from .gpu_names import nvidia, others
from .part import GpuRow, Part
from .platforms import from_platform, from_pretty
from .torch_version import describe, torch_version
from .values import cuda_number, cudnn_version, driver_version, integer, mib, release, version, word

Setter = Callable[[Part, str], None]

_PYTHON = re.compile(r"(\d\.\d{1,2}(?:\.\d{1,3})?(?:rc\d|a\d|b\d|\+)?)")
_ARCH_FLAG = re.compile(r"(?:compute|sm)_(\d{2,3}[af]?)")
_ARCH = re.compile(r"\b(sm|compute)_(\d{2,3}[af]?)\b")
_LIBCUDNN = re.compile(r"libcudnn\w{0,40}\.so\.(\d{1,2}(?:\.\d{1,3}){0,3})")
_CUDNN_DLL = re.compile(r"cudnn\w{0,40}?64_(\d{1,2})\.dll", re.IGNORECASE)
_CAPABILITY = re.compile(r"\b(\d{1,2}\.\d)\b")
_BUILT_WITH = re.compile(
    r"CUDA_VERSION=(\d{1,2}\.\d)|CUDA Runtime (\d{1,2}\.\d)|CUDNN_VERSION=([\d.]{3,8})|CuDNN ([\d.]{1,8})"
)


class Key(NamedTuple):
    set: Setter
    loose: bool = False  # a key that prose uses too
    columns: bool = False  # printed without a colon by a fork


def _yes(text: str) -> bool | None:
    bare = text.strip().lower()
    if bare.startswith(("true", "yes", "available", "✅")):
        return True
    return False if bare.startswith(("false", "no", "not available", "❌")) else None


def _torch(part: Part, text: str) -> None:
    """``2.3.0+cu121 (True)``: transformers puts is_available() in the parentheses."""
    found = torch_version(text)
    if not found:
        _note(part, "torch_version_unknown", text)
        return
    part.torch.setdefault("version", found)
    for key, value in describe(found).items():
        part.torch.setdefault(key, value)
    if "(True)" in text or "(False)" in text:
        part.torch.setdefault("cuda_available", "(True)" in text)


def _note(part: Part, name: str, value: Any) -> None:
    part.facts.setdefault("collect_env", {}).setdefault(name, value)


def _built(part: Part, text: str) -> None:
    """``None`` and ``Could not collect`` (old torch) stand for a build without CUDA; torch.cuda stays empty then."""
    _note(part, "cuda_built", text)
    if found := release(text):
        part.torch["cuda"] = found


def _rocm(part: Part, text: str) -> None:
    if word(text) and version(text):
        _note(part, "hip", text)


def _runtime(part: Part, text: str) -> None:
    _note(part, "cuda_runtime", word(text))
    if found := release(text):
        part.toolkits.append(Found(version=found))


def _available(part: Part, text: str) -> None:
    found = _yes(text)
    if found is not None:
        part.torch.setdefault("cuda_available", found)
        _note(part, "cuda_available", found)


def _driver(part: Part, text: str) -> None:
    _note(part, "driver", text)
    found = driver_version(text)
    if found and 100 <= float(found.split(".")[0]) < 2000:
        part.driver.setdefault("version", found)


def _driver_cuda(part: Part, text: str) -> None:
    if found := release(text):
        part.driver.setdefault("cuda", found)


def _cuda_driver_version(part: Part, text: str) -> None:
    """sglang calls the driver's version ``CUDA Driver Version``; others mean CUDA's."""
    major = (version(text) or "0").split(".")[0]
    (_driver if len(major) > 2 else _driver_cuda)(part, text)


def _os(part: Part, text: str) -> None:
    for key, value in from_pretty(text).items():
        part.os.setdefault(key, value)
    _note(part, "os", text)


def _platform(part: Part, text: str) -> None:
    found = from_platform(text) or (from_pretty(text) if "-" not in text else {})
    same_system = part.os.get("platform") in (None, found.get("platform"))
    for key, value in found.items():
        if same_system and (key not in ("id", "version") or not part.os.get("version")):
            part.os.setdefault(key, value)
    if "tegra" in text.lower():
        part.facts["jetson"] = {"kernel": found.get("kernel")}


def _sys_platform(part: Part, text: str) -> None:
    name = {"linux": "linux", "win32": "windows", "darwin": "macos"}.get(text.split()[0] if text else "")
    if name and part.os.get("platform") in (None, name):
        part.os.update({"platform": name} if name == "linux" else {"platform": name, "id": name, "family": name})


def _python(part: Part, text: str) -> None:
    if found := _PYTHON.search(text):
        part.python.setdefault("version", found.group(1).rstrip("+"))
    if "conda" in text.lower():
        part.python.setdefault("environment", "conda")


def _libc(part: Part, text: str) -> None:
    if text.lower().startswith("glibc") and (found := release(text.replace("-", " "))):
        part.os.setdefault("glibc", found)


def _cudnn(part: Part, text: str) -> None:
    """A path (Linux and Windows), a list of paths on the next lines, or cuDNN's own number."""
    bare = text.strip()
    if bare.isdigit():
        if found := cudnn_version(int(bare[:9])):
            part.torch.setdefault("cudnn", found)
    elif "cudnn" in bare.lower():
        _cudnn_path(part, bare)
    elif re.fullmatch(r"\d(?:\.\d{1,3}){1,3}", bare):
        part.cudnn.append(Found(version=bare))


def _cudnn_path(part: Part, text: str) -> None:
    numbered, dll = _LIBCUDNN.search(text), _CUDNN_DLL.search(text)
    if not (numbered or dll) or len(part.cudnn) > 40:
        return
    found = Found(version=numbered.group(1) if numbered else dll.group(1) if dll else None, path=text.strip())
    if arch := re.search(r"/(x86_64|aarch64)-linux", text):
        part.os.setdefault("arch", arch.group(1))
    main = "libcudnn.so" in text or re.search(r"cudnn64_", text)
    if main or not any(entry.version == found.version for entry in part.cudnn):
        part.cudnn.append(found)


def _gpu(part: Part, text: str) -> None:
    """A GPU by its name alone (``GPU type: NVIDIA A100``, ``gpu.name: ...``), unless "GPU 0: ..." follows."""
    _note(part, "gpus", text)
    if text.startswith("GPU ") or not word(text):
        return
    if foreign := others(text):
        part.facts.setdefault("other_gpus", []).extend(name for name in foreign if len(name) < 80)
    names = nvidia(text)
    if len(names) > 1 or (names and names[0][0] > 1):
        part.gpus.extend(GpuRow(None, {"name": name}) for count, name in names for _ in range(count))
    elif names or text.startswith("NVIDIA "):
        _named_gpu(part, text, names[0][1] if names else None)


def _named_gpu(part: Part, name: str, known: str | None) -> None:
    capability = re.search(r"compute capability[ :]{1,3}(\d{1,2}\.\d)", name, re.IGNORECASE)
    memory = re.search(r",\s?(\d{4,7} MiB)|\((\d{1,3}(?:\.\d)? ?G(?:i)?B)\)", name)
    title = re.split(r"\s*[(,;]|\s{2,}", name)[0].strip()
    fields: dict[str, Any] = {"name": (known if known and not title.startswith(known) else title)[:80]}
    if capability:
        fields["compute_capability"] = capability.group(1)
    if memory and memory.group(1):
        fields["memory_mib"] = mib(memory.group(1))
    part.gpus.append(GpuRow(len(part.gpus), fields))


def _capability(part: Part, text: str) -> None:
    found = _CAPABILITY.search(text)
    if found and part.gpus:
        part.gpus[-1].fields.setdefault("compute_capability", found.group(1))
    elif found:
        _note(part, "compute_capability", found.group(1))


def _arch(part: Part, text: str) -> None:
    if text.split(" ")[0].split(",")[0] in ("x86_64", "aarch64", "arm64", "AMD64", "ppc64le"):
        part.os.setdefault("arch", normal_arch(text.split(" ")[0].split(",")[0]))


def _nvcc(part: Part, text: str) -> None:
    found = re.search(r"release (\d{1,2}\.\d)", text) or re.search(r"V?(\d{1,2}\.\d)(?:\.\d{1,4})?", text)
    if found:
        part.toolkits.append(Found(version=found.group(1)))


def _home(part: Part, text: str) -> None:
    if word(text) and text.startswith(("/", "C:", "D:", "E:")):
        part.env.setdefault("CUDA_HOME", text)


def _module_loading(part: Part, text: str) -> None:
    if word(text):
        part.env.setdefault("CUDA_MODULE_LOADING", text)


def _arch_list(part: Part, text: str) -> None:
    found = [f"{kind}_{number}" for kind, number in _ARCH.findall(text)]
    if found:
        part.torch.setdefault("archs", tuple(dict.fromkeys(found)))


def _arch_flags(part: Part, text: str) -> None:
    found = _ARCH_FLAG.findall(text)
    if found:
        part.torch.setdefault("archs", tuple(dict.fromkeys(f"sm_{number}" for number in found)))


def _build_settings(part: Part, text: str) -> None:
    for cuda, runtime, cudnn, other in _BUILT_WITH.findall(text):
        if cuda or runtime:
            part.torch.setdefault("cuda", cuda or runtime)
        if (cudnn or other).count("."):
            part.torch.setdefault("cudnn", cudnn or other)


def _debug(part: Part, text: str) -> None:
    _note(part, "is_debug", _yes(text))


def _build_number(part: Part, text: str) -> None:
    if found := cuda_number((integer(text) or 0) * 10):
        part.torch.setdefault("cuda", found)


def _jetson(part: Part, text: str) -> None:
    found = re.search(r"R?(\d{2}\.\d{1,2}(?:\.\d{1,2})?)", text)
    part.facts["jetson"] = {"release": text[:80]}
    part.os.setdefault("platform", "linux")
    part.os.setdefault("arch", "aarch64")
    if found:
        part.os["jetson"] = found.group(1)


def _package(name: str) -> Setter:
    def set_package(part: Part, text: str) -> None:
        found = re.match(r"v?(\d+(?:\.\d+){1,3}\S{0,40})", text)
        if found:
            part.packages.setdefault(name, found.group(1).rstrip(",;)"))

    return set_package


def _quiet(part: Part, text: str) -> None:
    """A key that belongs to the listing and holds nothing that a check reads."""


KEYS: dict[str, Key] = {
    **dict.fromkeys(("pytorch version", "torch version", "pytorch_version", "pytorch", "torch"),
                    Key(_torch, True, True)),
    **dict.fromkeys(("torch __version__", "pytorch __version__"), Key(_torch)),
    "cuda used to build pytorch": Key(_built),
    **dict.fromkeys(("torch cuda version", "cuda (via torch)", "cuda(torch)", "pytorch cuda version"),
                    Key(_built, True, True)),
    "build cuda_version": Key(_build_number),
    "sys platform": Key(_sys_platform, True, True),
    "rocm used to build pytorch": Key(_rocm),
    "hip version": Key(_rocm),
    "is cuda available": Key(_available),
    **dict.fromkeys(("cuda available", "gpu available", "pytorch cuda", "torch cuda is_available()"),
                    Key(_available, True, True)),
    "cuda runtime version": Key(_runtime),
    "cuda compiler": Key(_nvcc, False, True),
    **dict.fromkeys(("nvcc", "nvcc version", "cuda toolkit", "cuda toolkit version"), Key(_nvcc, True, True)),
    "nvidia driver version": Key(_driver),
    **dict.fromkeys(("driver version", "driver", "nvidia driver", "gpu driver", "nvidia-driver"),
                    Key(_driver, True, True)),
    "kmd version": Key(_driver, True),
    "cuda version": Key(_driver_cuda, True),  # collect_env.py asks for it only beside the driver's: nvidia-smi's pair
    "cuda driver version": Key(_cuda_driver_version, True),
    **dict.fromkeys(("os", "operating system", "os version", "os platform", "os platform and distribution", "distro",
                     "system", "linux distribution", "host os"), Key(_os, True)),
    **dict.fromkeys(("python platform", "platform"), Key(_platform)),
    **dict.fromkeys(("python version", "python"), Key(_python, True, True)),
    **dict.fromkeys(("libc version", "libc", "glibc version", "glibc"), Key(_libc)),
    **dict.fromkeys(("cudnn version", "cudnn"), Key(_cudnn, True)),
    "cudnn path": Key(_cudnn_path),
    **dict.fromkeys(("gpu models and configuration", "gpu type", "gpu name", "accelerator", "gpu", "gpus", "gpu model",
                     "graphics card", "gpu models", "video card", "vga", "card"), Key(_gpu, True)),
    **dict.fromkeys(("gpu compute_capability", "compute capability"), Key(_capability, True)),
    **dict.fromkeys(("architecture", "processor", "machine"), Key(_arch, True)),
    **dict.fromkeys(("cuda_home", "cuda home"), Key(_home, False, True)),
    "cuda_module_loading set to": Key(_module_loading),
    **dict.fromkeys(("arch list", "arch_list", "torch cuda get_arch_list()", "cuda archs"), Key(_arch_list)),
    "nvcc architecture flags": Key(_arch_flags),
    "build settings": Key(_build_settings),
    "is debug build": Key(_debug),
    "pytorch debug build": Key(_debug, False, True),
    **dict.fromkeys(("l4t release", "l4t", "l4t version", "jetpack", "jetpack version"), Key(_jetson, True)),
    **dict.fromkeys(("torchvision", "torchvision version"), Key(_package("torchvision"), True, True)),
    **dict.fromkeys(("torchaudio", "torchaudio version"), Key(_package("torchaudio"), True, True)),
    **dict.fromkeys(("numpy", "numpy version"), Key(_package("numpy"), True, True)),
    **dict.fromkeys(("vllm version", "vllm"), Key(_package("vllm"), True)),
    **dict.fromkeys(("triton", "triton version"), Key(_package("triton"), True, True)),
    "xformers": Key(_package("xformers"), True, True),
    "mkl version": Key(_package("mkl"), True),
    **dict.fromkeys(("transformers version", "transformers"), Key(_package("transformers"), True)),
    **dict.fromkeys(("gcc version", "clang version", "cmake version", "hip runtime version", "miopen runtime version",
                     "is xnnpack available", "is xpu available", "gcc", "versions of relevant libraries"), Key(_quiet)),
}  # fmt: skip


def apply(part: Part, key: str, value: str, line: int) -> bool:
    """File one value; False for a key that is not known."""
    rule = KEYS.get(key)
    if rule is None:
        return False
    rule.set(part, value)
    return True
