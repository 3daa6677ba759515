"""The target environment, read by path: copies of torch, what torch's wheel pins, files that hide modules, tools."""

from __future__ import annotations

import ast
import re
from typing import Any

from ...host import Host
from ...model import OS, Machine
from ..python import Found
from ..torch import SITE_PATTERNS, normal_name, parse_dist_names, parse_version_py

TIMEOUT = 3.0  # seconds
# names that programs give their own files, and that Python would then import in place of the real module
SHADOWED = (
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "triton",
    "abc",
    "ast",
    "calendar",
    "code",
    "copy",
    "email",
    "enum",
    "inspect",
    "json",
    "logging",
    "numbers",
    "operator",
    "platform",
    "profile",
    "queue",
    "random",
    "re",
    "secrets",
    "select",
    "signal",
    "socket",
    "statistics",
    "string",
    "struct",
    "tempfile",
    "token",
    "tokenize",
    "types",
    "typing",
    "warnings",
)
_REQUIRES = re.compile(r"^Requires-Dist: (nvidia-[\w-]+|triton|pytorch-triton) ?\(?==([\d.]+)(.*)$", re.MULTILINE)
# compiled against one torch, and says against which: in its version, or by an exact requirement
_EXTENSIONS = ("flash-attn", "xformers", "vllm", "causal-conv1d", "mamba-ssm", "torch-scatter", "torch-sparse")
_NEEDS_TORCH = re.compile(r"^Requires-Dist: torch ?\(?==(\d+\.\d+(?:\.\d+)?)\)?\s*$", re.MULTILINE)
_BUILT_FOR = re.compile(r"\+.*?(?:pt|torch)(\d)\.?(\d{1,2})", re.IGNORECASE)
_CODE_CC = re.compile(r"^PYTORCH_RELEASES_CODE_CC\b[^=\n]{0,200}=\s*(\{.*?^\})", re.MULTILINE | re.DOTALL)


def gather(host: Host, os: OS, found: Found) -> dict[str, Any]:
    """``duplicates``, ``torch``, ``pins``, ``bundled``, ``release_archs``, ``shadowing_files``."""
    facts: dict[str, Any] = {}
    places = [(d, names) for d in dict.fromkeys(found.path) if (names := host.listdir(d, SITE_PATTERNS))]
    copies = _copies(host, found, places)
    if copies:
        facts["duplicates"] = {"torch": copies}
    owner = next((d for d, names in places if "torch" in names), None)
    if owner is not None:
        facts.update(_wheel(host, os, owner, places))
    facts["extensions"] = _extensions(host, places)
    hidden = host.listdir(".", tuple(f"{name}.py" for name in SHADOWED))
    if hidden is not None:
        facts["shadowing_files"] = list(hidden)
        if host.exists("./torch/__init__.py") and host.exists("./torch/csrc"):
            facts["shadowing_files"].append("torch/ (the source tree)")
    return facts


def _copies(host: Host, found: Found, places: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Every torch that the interpreter can reach: ``2.1.0 (/usr/lib/python3/dist-packages)``."""
    copies = []
    for directory, names in places:
        infos = [n for n in names if re.match(r"torch-\d", n) and n.endswith(("-info", ".egg-info"))]
        versions = {v for n in infos for v in parse_dist_names([n]).values()}
        if versions:
            copies += [f"{v} ({directory})" for v in sorted(versions)]
        elif "torch" in names and host.exists(f"{directory}/torch/version.py"):
            copies.append(f"no metadata ({directory})")
    conda = host.listdir(f"{found.prefix}/conda-meta", ("pytorch-[0-9]*.json",)) if found.prefix else None
    for name in conda or ():
        version = name.split("-")[1]
        # conda writes a dist-info of its own package; pip's, put over it, has another version
        if copies and not any(c.split(" ")[0].split("+")[0] == version for c in copies):
            copies.append(f"{version} (conda)")
    return copies


def _extensions(host: Host, places: list[tuple[str, tuple[str, ...]]]) -> list[dict[str, str]]:
    """``[{"name", "version", "torch"}]``: compiled packages, and the torch that each was built for."""
    out = []
    for directory, _ in places:
        names = host.listdir(directory, tuple(f"{n.replace('-', '[-_]')}-[0-9]*.dist-info" for n in _EXTENSIONS)) or ()
        for name in names:
            for package, version in parse_dist_names([name]).items():
                text = "" if _BUILT_FOR.search(version) else host.read_text(f"{directory}/{name}/METADATA") or ""
                wanted = built_for(version, text)
                if wanted:
                    out.append({"name": package, "version": version, "torch": wanted})
    return out


def built_for(version: str, metadata: str) -> str | None:
    """``2.5`` of flash-attn's ``2.7.4.post1+cu12torch2.5cxx11abiFALSE`` or torch-scatter's ``2.1.2+pt25cu124``.

    Else what the metadata requires exactly (xFormers, vLLM)::

    Requires-Dist: torch==2.5.1
    """
    match = _BUILT_FOR.search(version)
    if match:
        return f"{match[1]}.{match[2]}"
    required = _NEEDS_TORCH.search(metadata.partition("\n\n")[0])
    return required[1] if required else None


def _wheel(host: Host, os: OS, directory: str, places: list[tuple[str, tuple[str, ...]]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    said = parse_version_py(host.read_text(f"{directory}/torch/version.py") or "")
    if "cuda" in said:
        facts["torch"] = {"build": "rocm" if said.get("hip") else "cuda" if said["cuda"] else "cpu"}
    names = next(n for d, n in places if d == directory)
    info = next((n for n in names if re.match(r"torch-\d", n) and n.endswith(".dist-info")), None)
    installed: dict[str, str] = {}
    for _, listed in places:
        for name, version in parse_dist_names(listed).items():
            installed.setdefault(name, version)
    text = host.read_text(f"{directory}/{info}/METADATA") if info else None
    if text is not None:
        facts["pins"] = parse_pins(text, installed, os.platform or "linux", os.arch or "")
    libs = [host.listdir(f"{d}/nvidia/cudnn/lib", ("libcudnn.so*",)) for d, _ in places]
    libs.append(host.listdir(f"{directory}/torch/lib", ("libcudnn*", "cudnn*64_*.dll")))
    if text is not None or any(x is not None for x in libs):
        facts["bundled"] = {"cudnn": any(libs)}
    archs = parse_code_cc(host.read_text(f"{directory}/torch/cuda/__init__.py") or "")
    if archs:
        facts["release_archs"] = archs
    return facts


def parse_pins(
    text: str, installed: dict[str, str], platform: str = "linux", arch: str = "x86_64"
) -> list[dict[str, str | None]]:
    """Wheels that torch's metadata pins and that are installed in another version, or not at all (``have`` None)::

    Requires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == "Linux" and platform_machine == "x86_64"
    Requires-Dist: triton (==2.0.0) ; platform_system == "Linux" and platform_machine == "x86_64"
    """
    found = []
    for name, wanted, marker in _REQUIRES.findall(text.partition("\n\n")[0]):
        if not _here(marker, platform, arch):
            continue
        have = installed.get(normal_name(name))
        if have is None or have.split("+")[0] != wanted.rstrip("."):
            found.append({"name": normal_name(name), "wanted": wanted.rstrip("."), "have": have})
    return found


def _here(marker: str, platform: str, arch: str) -> bool:
    """The two conditions that torch's wheels use; wheels of one platform carry the others' requirements too."""
    system = re.search(r"platform_system == [\"'](\w+)[\"']", marker)
    machine = re.search(r"platform_machine == [\"'](\w+)[\"']", marker)
    named = {"linux": "Linux", "windows": "Windows", "macos": "Darwin"}.get(platform)
    return (system is None or system[1] == named) and (machine is None or not arch or machine[1] == arch)


def parse_code_cc(text: str) -> dict[str, dict[str, list[int]]]:
    """``{"x86_64": {"13.0": [75, 80, 86, 90, 100, 120]}}`` of a torch that says which code its release carries.

    ::

        PYTORCH_RELEASES_CODE_CC: dict[str, dict[str, set[int]]] = {
            "12.6": {"x86_64": {50, 60, 70, 75, 80, 86, 90}, ...},
        }
    """
    match = _CODE_CC.search(text)
    if not match:
        return {}
    try:
        table = ast.literal_eval(re.sub(r"#[^\n]*", "", match[1]))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    out: dict[str, dict[str, list[int]]] = {}
    for outer, inner in table.items() if isinstance(table, dict) else ():
        if isinstance(inner, dict):
            kept = {str(k): sorted(v) for k, v in inner.items() if isinstance(v, set | list | tuple)}
            out[str(outer)] = {k: v for k, v in kept.items() if all(isinstance(n, int) for n in v)}
    return out


def tools(host: Host, machine: Machine, found: Found | None) -> dict[str, Any]:
    """``build_tools``, ``compilers`` and ``cuda_home``: what an extension or torch.compile would build with."""
    names = [n for n in (host.environ.get("CC", "").split(" ")[0], "cc", "gcc", "clang", "cl") if n]
    cc = next((path for n in names if (path := host.which(n))), None)
    nvcc = host.which("nvcc") or next((t.path for t in machine.toolkits if t.path), None)
    built: dict[str, Any] = {"cc": cc, "nvcc": nvcc}
    if found is not None and found.include:
        built["python_headers"] = host.exists(f"{found.include}/Python.h")
    facts: dict[str, Any] = {"build_tools": built}
    gcc = host.which("gcc")
    if nvcc and gcc:
        result = host.run([gcc, "-dumpfullversion", "-dumpversion"], TIMEOUT, label=("gcc", "-dumpfullversion"))
        version = re.match(r"\d{1,2}(?:\.\d{1,2}){0,2}$", result.stdout.strip())
        if version:
            facts["compilers"] = {"gcc": version[0]}
    home = host.environ.get("CUDA_HOME") or host.environ.get("CUDA_PATH")
    if home:
        facts["cuda_home"] = {"path": home, "nvcc": any(host.exists(f"{home}/bin/{n}") for n in ("nvcc", "nvcc.exe"))}
    return facts
