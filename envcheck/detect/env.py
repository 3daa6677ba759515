"""Environment variables that change what CUDA, the loader, Python or an installer does."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_ROOT",
    "CUDA_MODULE_LOADING",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_CACHE_DISABLE",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_DISABLE_PTX_JIT",
    # what DCGM's own diagnosis warns of: debuggers and profilers that hook into every program
    "CUDA_INJECTION32_PATH",
    "CUDA_INJECTION64_PATH",
    "NSIGHT_CUDA_DEBUGGER",
    "CUDA_AUTO_BOOST",
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION",
    "CUDA_COREDUMP_FILE",
    "CUDA_DEVICE_WAITS_ON_EXCEPTION",
    "CUDA_PROFILE",
    "COMPUTE_PROFILE",
    "OPENCL_PROFILE",
    "CUBLAS_WORKSPACE_CONFIG",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_DISABLE_REQUIRE",
    "NVIDIA_REQUIRE_CUDA",
    "NVIDIA_TF32_OVERRIDE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "CONDA_OVERRIDE_CUDA",
    "UV_CUDA_DRIVER_VERSION",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_TORCH_BACKEND",
    "UV_NO_INDEX",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_NVML_BASED_CUDA_CHECK",
    "TORCH_CUDA_ARCH_LIST",
    "TORCH_CUDNN_V8_API_DISABLED",
    "NCCL_P2P_DISABLE",
    "NCCL_SHM_DISABLE",
    "NCCL_IB_DISABLE",
    "NCCL_DEBUG",
    "NCCL_SOCKET_IFNAME",
    "CC",
    "CXX",
    # a batch system's job: what runs here runs where it put it
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "TRITON_CACHE_DIR",
    "TRITON_PTXAS_PATH",
    "OMP_NUM_THREADS",
    "WSLENV",
    "WSL_DISTRO_NAME",
)

# read by detection and needed to replay it, and of no interest in a report
REPLAY_NAMES = (
    "PATH",
    "HOME",
    "USERPROFILE",
    "APPDATA",
    "SystemRoot",
    "ProgramFiles",
    "ProgramW6432",
    "MAMBA_EXE",
    "KUBERNETES_SERVICE_HOST",
    "APPTAINER_CONTAINER",
    "container",
)

_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    """``https://user:secret@index.example/simple`` -> ``https://index.example/simple``."""
    return _CREDENTIALS.sub(r"\1", text) if "://" in text else text


def relevant(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``NAMES`` that are set, credentials in URLs left out."""
    return {name: without_credentials(environ[name]) for name in sorted(NAMES) if name in environ}
