"""What is installed in the target environment, read by path: nothing is imported, nothing is started."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from ..host import Host
from ..model import Torch
from .python import Found

# packages that a plan or a check speaks of; the prefixes take every nvidia-*-cu12 and triton-windows
NAMES = (
    "numpy",
    "torchvision",
    "torchaudio",
    "torchtext",
    "torchdata",
    "triton",
    "pytorch-triton",
    "xformers",
    "flash-attn",
    "causal-conv1d",
    "mamba-ssm",
    "torch-scatter",
    "torch-sparse",
    "bitsandbytes",
    "transformers",
    "accelerate",
    "diffusers",
    "deepspeed",
    "vllm",
    "tensorflow",
    "jax",
    "jaxlib",
    "cupy",
    "intel-extension-for-pytorch",
    "mkl",
)
PREFIXES = ("nvidia-", "triton-", "cupy-cuda", "cuda-", "pytorch-cuda", "cudatoolkit", "tensorrt")
# a record of a machine names these packages and no others
CONDA_PATTERNS = ("pytorch-*", "libtorch-*", "cudnn-*", *(f"{p}*" for p in PREFIXES), *(f"{n}-[0-9]*" for n in NAMES))
SITE_PATTERNS = (
    "torch",
    "torch-*",
    *(f"{name.replace('-', '[-_.]')}-[0-9]*" for name in (*NAMES, "torch")),
    *(f"{prefix.replace('-', '[-_.]')}*-info" for prefix in PREFIXES),
)
_DIST_INFO = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*?)-(\d[^-]*?)(?:-py\d\.\d+)?\.(?:dist-info|egg-info)")
_CONDA_META = re.compile(r"([a-z0-9_][a-z0-9._-]*)-([^-]+)-([^-]+)\.json")
_VERSION = re.compile(r"\d+(?:\.\d+){0,4}(?:(?:a|b|rc|\.dev|\.post)\d+)*(?:\+[A-Za-z0-9.]{1,40})?")


def normal_name(name: str) -> str:
    """A distribution's name as PEP 503 writes it: ``nvidia_cudnn_cu12`` is ``nvidia-cudnn-cu12``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_dist_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of a site-packages listing: ``torch-2.4.1+cu121.dist-info`` and its neighbours.

    An installer that died leaves ``~orch-2.4.1.dist-info`` behind, which is no installed package.
    """
    found = {}
    for entry in names:
        match = _DIST_INFO.fullmatch(entry)
        if match:
            found[normal_name(match[1])] = match[2]
    return found


def parse_conda_names(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name -> (version, build) of a conda-meta listing: ``pytorch-2.5.1-py3.12_cuda12.4_cudnn9.1.0_0.json``."""
    matches = [m for m in map(_CONDA_META.fullmatch, names) if m]
    return {m[1]: (m[2], m[3]) for m in matches}


def conda_cudnn(conda: Mapping[str, tuple[str, str]]) -> str | None:
    """The cuDNN of a conda torch: a package of its own, or told by the build (``..._cudnn9.1.0_0``)."""
    if "cudnn" in conda:
        return conda["cudnn"][0]
    match = re.search(r"cudnn(\d+\.\d+\.\d+)", conda.get("pytorch", ("", ""))[1])
    return match[1] if match else None


def parse_version_py(text: str) -> dict[str, str | None]:
    """``version`` and ``cuda`` of a wheel's ``torch/version.py``; None where a CPU build says None.

    ::

        __version__ = '2.4.1+cu121'
        debug = False
        cuda: Optional[str] = '12.1'
        git_version = '38b96d3399a695e704ed39b60dac733c3fbf20e2'
    """
    found: dict[str, str | None] = {}
    for key, name in (("version", "__version__"), ("cuda", "cuda"), ("hip", "hip")):
        match = re.search(rf"^{name}(?:\s*:[^=\n]+)?\s*=\s*(?:'([^'\n]*)'|\"([^\"\n]*)\"|None)", text, re.MULTILINE)
        if match:
            value = match[1] or match[2]
            found[key] = value if value and _VERSION.match(value) else None
    return found


def detect_torch(host: Host, found: Found) -> tuple[Torch | None, dict[str, str]]:
    """The torch that the target would import, and the packages of interest beside it.

    The first directory of the target's own sys.path that has a package wins, as it does for an import.
    """
    packages: dict[str, str] = {}
    torch_dir: str | None = None
    for directory in found.path:
        names = host.listdir(directory, SITE_PATTERNS)
        if names is None:
            continue
        for name, version in parse_dist_names(names).items():
            packages.setdefault(name, version)
        if torch_dir is None and "torch" in names:
            torch_dir = directory
    conda = parse_conda_names(host.listdir(f"{found.prefix}/conda-meta", CONDA_PATTERNS) or ()) if found.prefix else {}
    for name, (version, _) in conda.items():
        packages.setdefault(name, version)
    return _torch(host, torch_dir, packages, conda), interesting(packages)


def _torch(
    host: Host, directory: str | None, packages: Mapping[str, str], conda: Mapping[str, tuple[str, str]]
) -> Torch | None:
    said = parse_version_py(host.read_text(f"{directory}/torch/version.py") or "") if directory else {}
    version = said.get("version") or packages.get("torch")
    if not version:
        return None
    from_conda = "pytorch" in conda or "libtorch" in conda
    cudnn = next((v for n, v in packages.items() if re.fullmatch(r"nvidia-cudnn-cu\d+", n)), conda_cudnn(conda))
    return Torch(
        version=version,
        cuda=said.get("cuda"),
        cudnn=".".join(cudnn.split(".")[:3]) if cudnn else None,
        source="conda" if from_conda else "pip",
    )


def interesting(packages: Mapping[str, str]) -> dict[str, str]:
    """The packages that matter here, sorted by name."""
    wanted = {n: v for n, v in packages.items() if n in NAMES or n.startswith(PREFIXES)}
    return dict(sorted(wanted.items()))


def parse_direct_url(text: str) -> str | None:
    """Where pip took a package from by URL (``direct_url.json``), without credentials; None where it was an index."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    url = data.get("url") if isinstance(data, dict) else None
    return re.sub(r"://[^/@\s]+@", "://", url) if isinstance(url, str) else None
