"""What each kind of paste says, sample by sample: forks of collect_env, listings, prompts, logs, prose."""

from __future__ import annotations

import pytest

from envcheck.detect.pasted import parse_error_text, parse_report
from envcheck.model import Machine

VLLM = """\
The output of <code>python collect_env.py</code>

```text
==============================
        System Info
==============================
OS                           : Ubuntu 22.04.4 LTS (x86_64)
GCC version                  : (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0
Clang version                : Could not collect
CMake version                : version 4.0.0
Libc version                 : glibc-2.35

==============================
       PyTorch Info
==============================
PyTorch version              : 2.7.0+cu126
Is debug build               : False
CUDA used to build PyTorch   : 12.6
ROCM used to build PyTorch   : N/A

==============================
      Python Environment
==============================
Python version               : 3.12.9 (main, Feb  5 2025, 08:49:00) [GCC 11.4.0] (64-bit runtime)
Python platform              : Linux-5.15.0-131-generic-x86_64-with-glibc2.35

==============================
       CUDA / GPU Info
==============================
Is CUDA available            : True
CUDA runtime version         : 12.4.131
CUDA_MODULE_LOADING set to   : LAZY
GPU models and configuration :
GPU 0: NVIDIA H100 80GB HBM3
GPU 1: NVIDIA H100 80GB HBM3

Nvidia driver version        : 550.144.03
cuDNN version                : Could not collect

Versions of relevant libraries
[pip3] numpy==2.2.6
[pip3] torch==2.7.0
vLLM Version                 : 0.9.1
vLLM Build Flags:
  CUDA Archs: Not Set; ROCm: Disabled
GPU Topology:
	GPU0	GPU1	CPU Affinity	NUMA Affinity	GPU NUMA ID
GPU0	 X 	NV18	0-47	0		N/A
GPU1	NV18	 X 	0-47	0		N/A
LD_LIBRARY_PATH=/usr/local/cuda/lib64
CUDA_HOME=/usr/local/cuda
NCCL_DEBUG=INFO
```
"""
MMENGINE = """\
sys.platform: linux
Python: 3.8.10 (default, Nov 14 2022, 12:59:47) [GCC 9.4.0]
CUDA available: True
numpy_random_seed: 2147483648
GPU 0,1: NVIDIA GeForce RTX 3090
CUDA_HOME: /usr/local/cuda
NVCC: Cuda compilation tools, release 11.3, V11.3.109
GCC: gcc (Ubuntu 9.4.0-1ubuntu1~20.04.1) 9.4.0
PyTorch: 1.10.0+cu113
PyTorch compiling details: PyTorch built with:
  - GCC 7.3
  - C++ Version: 201402
  - CUDA Runtime 11.3
  - NVCC architecture flags: -gencode;arch=compute_37,code=sm_37;-gencode;arch=compute_86,code=sm_86
  - CuDNN 8.2
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, CUDA_VERSION=11.3, CUDNN_VERSION=8.2.0,
TorchVision: 0.11.0+cu113
OpenCV: 4.5.4
MMEngine: 0.7.0
"""
DETECTRON = """\
----------------------  ----------------------------------------------------------------
sys.platform            linux
Python                  3.8.5 (default, Sep  4 2020, 07:30:14) [GCC 7.3.0]
numpy                   1.19.2
detectron2              0.3 @/home/user/detectron2/detectron2
Compiler                GCC 7.3
CUDA compiler           CUDA 10.2
detectron2 arch flags   7.5
PyTorch                 1.7.1 @/home/user/miniconda3/envs/d2/lib/python3.8/site-packages/torch
PyTorch debug build     False
GPU available           True
GPU 0                   GeForce RTX 2080 Ti (arch=7.5)
CUDA_HOME               /usr/local/cuda
Pillow                  8.0.1
torchvision             0.8.2 @/home/user/miniconda3/envs/d2/lib/python3.8/site-packages/torchvision
"""
HF = """\
- `transformers` version: 4.41.2
- Platform: Linux-5.15.0-1062-aws-x86_64-with-glibc2.31
- Python version: 3.10.14
- Huggingface_hub version: 0.23.4
- PyTorch version (GPU?): 2.3.0+cu121 (True)
- Tensorflow version (GPU?): not installed (NA)
- Using GPU in script?: yes
- GPU type: NVIDIA A100-SXM4-80GB
"""
ACCELERATE = """\
- `Accelerate` version: 0.34.2
- Platform: Windows-10-10.0.22631-SP0
- Python version: 3.10.6
- Numpy version: 1.26.4
- PyTorch version (GPU?): 2.4.1+cpu (False)
- PyTorch XPU available: False
- System RAM: 31.71 GB
"""
DIFFUSERS = """\
- 🤗 Diffusers version: 0.31.0
- Platform: Linux-6.8.0-45-generic-x86_64-with-glibc2.39
- Running on Google Colab?: No
- Python version: 3.12.3
- PyTorch version (GPU?): 2.5.1+cu124 (True)
- Accelerator: NVIDIA GeForce RTX 4090, 24564 MiB
- Using GPU in script?: <fill in>
"""
LIGHTNING = """\
* CUDA:
	- GPU:
		- Tesla V100-SXM2-16GB
	- available:         True
	- version:           11.3
* Packages:
	- numpy:             1.21.2
	- pyTorch_version:   1.10.0
* System:
	- OS:                Linux
	- python:            3.8.12
	- version:           #1 SMP
"""
DSREPORT = """\
DeepSpeed C++/CUDA extension op report
torch install path ............... ['/usr/local/lib/python3.8/dist-packages/torch']
torch version .................... 1.12.1+cu113
torch cuda version ............... 11.3
torch hip version ................ None
nvcc version ..................... 11.3
deepspeed install path ........... ['/usr/local/lib/python3.8/dist-packages/deepspeed']
deepspeed wheel compiled w. ...... torch 1.12, cuda 11.3
"""
XFORMERS = """\
xFormers 0.0.20
pytorch.version:                                   2.0.1+cu118
pytorch.cuda:                                      available
gpu.compute_capability:                            8.6
gpu.name:                                          NVIDIA GeForce RTX 3090
build.info:                                        available
build.cuda_version:                                1108
build.python_version:                              3.11.3
"""
COMFY = """\
** Platform: Windows
** Python version: 3.11.9 (tags/v3.11.9:de54cf5, Apr  2 2024, 10:12:12) [MSC v.1938 64 bit (AMD64)]
Total VRAM 24564 MB, total RAM 65298 MB
pytorch version: 2.5.1+cu124
Set vram state to: NORMAL_VRAM
Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync
"""
SGLANG = """\
Python: 3.10.12 (main, Nov  6 2024, 20:22:13) [GCC 11.4.0]
CUDA available: True
GPU 0,1,2,3,4,5,6,7: NVIDIA H100 80GB HBM3
GPU 0,1,2,3,4,5,6,7 Compute Capability: 9.0
CUDA_HOME: /usr/local/cuda
NVCC: Cuda compilation tools, release 12.4, V12.4.131
CUDA Driver Version: 550.90.07
PyTorch: 2.5.1+cu124
sglang: 0.4.1
"""
PYC = """\
$ python -c "import torch; print(torch.__version__)"
2.1.0+cu118
$ python3 -c 'import torch;print(torch.cuda.is_available())'
False
$ nvcc --version
Command 'nvcc' not found, but can be installed with:
sudo apt install nvidia-cuda-toolkit
$ nvidia-smi
Command 'nvidia-smi' not found, but can be installed with:
sudo apt install nvidia-utils-470
"""
MODS = """\
$ mokutil --sb-state
SecureBoot enabled
$ dkms status
nvidia/535.129.03, 5.15.0-91-generic, x86_64: installed
nvidia/535.129.03: added
$ modinfo nvidia
filename:       /lib/modules/5.15.0-91-generic/updates/dkms/nvidia.ko
version:        535.129.03
license:        Dual MIT/GPL
vermagic:       5.15.0-91-generic SMP mod_unload modversions
$ lsmod | grep nvidia
nvidia_uvm           1540096  0
nvidia              56713216  1 nvidia_uvm
$ dpkg -l | grep nvidia
ii  libnvidia-compute-535:amd64   535.129.03-0ubuntu0.22.04.1   amd64   NVIDIA libcompute package
ii  nvidia-driver-535  535.129.03-0ubuntu0.22.04.1 amd64 NVIDIA driver metapackage
rc  nvidia-driver-470  470.1-0ubuntu0.22.04.1 amd64 NVIDIA driver
$ uname -a
Linux host 5.15.0-91-generic #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 x86_64 x86_64 x86_64 GNU/Linux
$ df -h /dev/shm
Filesystem      Size  Used Avail Use% Mounted on
shm              64M     0   64M   0% /dev/shm
$ ls -l /dev/nvidia*
crw-rw---- 1 root video 195,   0 Oct  6 17:59 /dev/nvidia0
crw-rw-rw- 1 root root 195, 255 Oct  6 17:59 /dev/nvidiactl
"""
LSPCIVV = """\
01:00.0 VGA compatible controller: NVIDIA Corporation GA104 [GeForce RTX 3070] (rev a1) (prog-if 00 [VGA controller])
	Subsystem: Gigabyte Technology Co., Ltd Device 404c
	Control: I/O+ Mem+ BusMaster+
	Region 0: Memory at <unassigned> (32-bit, non-prefetchable)
	Region 1: Memory at e0000000 (64-bit, prefetchable) [size=256M]
	Capabilities: [78] Express (v2) Legacy Endpoint, MSI 00
		LnkCap:	Port #0, Speed 16GT/s, Width x16, ASPM L0s L1
		LnkSta:	Speed 2.5GT/s (downgraded), Width x8 (downgraded)
	Kernel driver in use: nouveau
	Kernel modules: nvidiafb, nouveau
"""
MDTABLE = """\
| Item | Value |
|---|---|
| OS | Ubuntu 22.04 |
| GPU | NVIDIA RTX A6000 |
| Driver | 550.54.15 |
| PyTorch | 2.3.0+cu121 |
| Python | 3.11 |
"""


def torch_of(machine: Machine) -> tuple[str | None, str | None, bool | None]:
    assert machine.torch is not None
    return machine.torch.version, machine.torch.cuda, machine.torch.cuda_available


@pytest.mark.parametrize(
    ("report", "torch", "python", "gpus"),
    [
        (VLLM, ("2.7.0+cu126", "12.6", True), "3.12.9", ["NVIDIA H100 80GB HBM3"] * 2),
        (MMENGINE, ("1.10.0+cu113", "11.3", True), "3.8.10", ["NVIDIA GeForce RTX 3090"] * 2),
        (DETECTRON, ("1.7.1", None, True), "3.8.5", ["GeForce RTX 2080 Ti"]),
        (HF, ("2.3.0+cu121", "12.1", True), "3.10.14", ["NVIDIA A100-SXM4-80GB"]),
        (ACCELERATE, ("2.4.1+cpu", None, False), "3.10.6", []),
        (DIFFUSERS, ("2.5.1+cu124", "12.4", True), "3.12.3", ["NVIDIA GeForce RTX 4090"]),
        (LIGHTNING, ("1.10.0", "11.3", True), "3.8.12", ["Tesla V100-SXM2-16GB"]),
        (DSREPORT, ("1.12.1+cu113", "11.3", None), "3.8", []),
        (XFORMERS, ("2.0.1+cu118", "11.8", True), None, ["NVIDIA GeForce RTX 3090"]),
        (COMFY, ("2.5.1+cu124", "12.4", None), "3.11.9", ["NVIDIA GeForce RTX 4090"]),
        (SGLANG, ("2.5.1+cu124", "12.4", True), "3.10.12", ["NVIDIA H100 80GB HBM3"] * 8),
        (MDTABLE, ("2.3.0+cu121", "12.1", None), "3.11", ["NVIDIA RTX A6000"]),
    ],
    ids=["vllm", "mmengine", "detectron2", "transformers", "accelerate", "diffusers", "lightning", "deepspeed",
         "xformers",
         "comfyui", "sglang", "markdown table"],
)  # fmt: skip
def test_forks_of_collect_env(
    report: str, torch: tuple[str, str | None, bool | None], python: str | None, gpus: list[str]
) -> None:
    machine = parse_report(report)
    assert torch_of(machine) == torch
    assert (machine.python.version if machine.python else None) == python
    assert [g.name for g in machine.gpus] == gpus


def test_the_three_cudas_are_never_mixed() -> None:
    machine = parse_report(VLLM + "\n| NVIDIA-SMI 550.144.03   Driver Version: 550.144.03   CUDA Version: 12.5 |")
    assert machine.driver.cuda == "12.5"
    assert [f.version for f in machine.toolkits] == ["12.4"]
    assert machine.torch is not None
    assert machine.torch.cuda == "12.6"


def test_prose_says_which_cuda_only_where_it_is_clear() -> None:
    machine = parse_report("Ubuntu 20.04, RTX 3060, NVIDIA driver 535.86, CUDA 12.2, torch 2.1.2+cu118 via pip")
    assert (machine.driver.version, machine.driver.cuda) == ("535.86", None)
    assert machine.facts["prose"]["cuda"] == "12.2"
    assert torch_of(machine) == ("2.1.2+cu118", "11.8", None)
    assert (machine.os.id, machine.os.version) == ("ubuntu", "20.04")
    assert [g.name for g in machine.gpus] == ["RTX 3060"]


@pytest.mark.parametrize(
    ("report", "cuda"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040).", "11.4"),
        ("Driver Version: 460.80\nCUDA Version: 11.3", "11.3"),
        ("CUDA Version: 11.3", None),
        ("| NVIDIA-SMI 384.111   Driver Version: 384.111   |", None),
    ],
)
def test_what_the_driver_speaks(report: str, cuda: str | None) -> None:
    assert parse_report(report).driver.cuda == cuda


@pytest.mark.parametrize(
    ("lines", "build"),
    [
        ("PyTorch version: 1.4.0\nCUDA used to build PyTorch: None", "cpu"),
        ("PyTorch version: 1.3.1\nCUDA used to build PyTorch: Could not collect", "cpu"),
        (
            "PyTorch version: 2.1.0+rocm5.6\nCUDA used to build PyTorch: N/A\nROCM used to build PyTorch: 5.6.31061",
            "rocm",
        ),
        ("pytorch    1.9.0   py3.8_cpu_0  [cpuonly]  pytorch", "cpu"),
        ("pytorch    2.0.1   py3.8_cuda11.7_cudnn8.5.0_0    pytorch", "cuda"),
        ("torch==2.1.0+cu118", "cuda"),
        ("torch==2.1.0", "unknown"),
        (">>> torch.__version__\n'2.1.0'\n>>> torch.version.cuda\n>>> torch.cuda.is_available()\nFalse", "cpu"),
    ],
)
def test_what_torch_was_built_for(lines: str, build: str) -> None:
    machine = parse_report(lines)
    assert machine.facts["torch"]["build"] == build
    assert ("torch.cuda" in machine.problems) == (build == "unknown")
    assert machine.torch is not None
    assert (machine.torch.cuda is None) == (build != "cuda")


def test_two_torches_are_both_told() -> None:
    machine = parse_report("[pip3] torch==1.2.0\n[conda] pytorch   1.3.0   py3.7_cuda10.1.243_cudnn7.6.3_0    pytorch")
    assert machine.facts["duplicates"] == {"torch": ["1.2.0 (pip)", "1.3.0 (conda)"]}


def test_a_request_is_not_an_installation() -> None:
    machine = parse_report(
        "$ pip install torch==2.10.0 torchvision --index-url https://download.pytorch.org/whl/cu131\n"
        "Looking in indexes: https://user:secret@mirror.example/whl/cu131\n"
        "ERROR: Could not find a version that satisfies the requirement torch==2.10.0 (from versions: none)\n"
        "ERROR: No matching distribution found for torch==2.10.0\n"
    )
    assert machine.torch is None
    assert machine.packages == {}
    install = machine.facts["install"]
    assert install["commands"][0]["packages"] == {"torch": "==2.10.0", "torchvision": ""}
    assert install["commands"][0]["indexes"] == ["https://download.pytorch.org/whl/cu131"]
    assert install["indexes"] == ["https://mirror.example/whl/cu131"]
    assert install["not_found"] == [{"requirement": "torch==2.10.0", "line": 3, "versions": []}]


def test_a_cut_list_of_versions_loses_its_last() -> None:
    cut = "ERROR: Could not find a version that satisfies the requirement torch==2.0.1 (from versions: {}"
    for listed, versions in (("2.2.0, 2.2.1, 2.", ["2.2.0", "2.2.1"]), ("none", [])):
        (missing,) = parse_report(cut.format(listed)).facts["install"]["not_found"]
        assert missing["versions"] == versions


@pytest.mark.parametrize(
    "head", ["PyTorch: 1.12.1\nPyTorch compiling details: PyTorch built with:\n", "PyTorch: 1.12.1\n"]
)
def test_the_list_of_what_torch_was_built_with_names_its_cuda(head: str) -> None:
    machine = parse_report(f"sys.platform: linux\n{head}  - GCC 9.3\n  - CUDA Runtime 11.3\n  - CuDNN 8.3.2\n")
    assert torch_of(machine)[:2] == ("1.12.1", "11.3")


def test_what_pip_installed_counts() -> None:
    machine = parse_report("Successfully installed numpy-1.26.4 torch-2.1.0+cu118 nvidia-cudnn-cu12-8.9.2.26")
    assert torch_of(machine) == ("2.1.0+cu118", "11.8", None)
    assert machine.packages == {"numpy": "1.26.4", "torch": "2.1.0+cu118", "nvidia-cudnn-cu12": "8.9.2.26"}


def test_answers_of_a_prompt() -> None:
    machine = parse_report(
        ">>> print(torch.__version__, torch.version.cuda, torch.cuda.is_available())\n2.0.1+cu117 11.7 True\n"
        ">>> torch.cuda.get_device_name(0)\n'NVIDIA GeForce RTX 3090'\n>>> torch.cuda.get_device_capability()\n(8, 6)\n"
        ">>> torch.cuda.get_arch_list()\n['sm_37', 'sm_86']\ntorch.backends.cudnn.version(): 8600\n"
    )
    assert torch_of(machine) == ("2.0.1+cu117", "11.7", True)
    assert machine.torch is not None
    assert (machine.torch.archs, machine.torch.cudnn) == (("sm_37", "sm_86"), "8.6.0")
    assert [(g.name, g.compute_capability) for g in machine.gpus] == [("NVIDIA GeForce RTX 3090", "8.6")]


def test_answers_of_python_c_and_of_a_shell() -> None:
    machine = parse_report(PYC)
    assert torch_of(machine) == ("2.1.0+cu118", "11.8", False)
    assert machine.facts["nvidia_smi"]["error"] == "NOT_FOUND"
    assert machine.facts["nvcc"]["error"] == "NOT_FOUND"
    assert machine.driver.state == "missing"


@pytest.mark.parametrize(
    "line",
    [
        "bash: nvidia-smi: command not found",
        "-bash: nvidia-smi: Kommando nicht gefunden.",
        "zsh: command not found: nvidia-smi",
        "找不到命令 “nvidia-smi”，但可以通过以下软件包安装它：",
        "'nvidia-smi' is not recognized as an internal or external command,",
        'docker: Error response from daemon: exec: "nvidia-smi": executable file not found in $PATH: unknown.',
    ],
)
def test_nvidia_smi_is_missing_in_any_language(line: str) -> None:
    assert parse_report(line).facts["nvidia_smi"]["error"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.126", "mismatch"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "not-loaded"),
        ("| NVIDIA-SMI 510.68   Driver Version: 510.68   CUDA Version: 11.6 |\n"
         "Failed to initialize NVML: Unknown Error",
         "broken"),
        ("[5.4] nouveau 0000:01:00.0: enabling device (0000 -> 0003)", "nouveau"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
         "NVRM: The NVIDIA probe routine was not called for 3 device(s).\nNVRM: nouveau, rivafb, nvidiafb or rivatv",
         "nouveau"),
        ("| NVIDIA-SMI 510.68.02   Driver Version: 510.68.02   CUDA Version: 11.6 |", "ok"),
    ],
)  # fmt: skip
def test_the_state_of_the_driver(text: str, state: str) -> None:
    machine = parse_report(text)
    assert machine.driver.state == state
    assert machine.driver.source == "report"


def test_modules_and_nodes() -> None:
    machine = parse_report(MODS)
    facts = machine.facts
    assert facts["mokutil"] == {"secure_boot": True}
    assert (machine.driver.version, machine.driver.module) == ("535.129.03", "open")
    assert facts["modinfo"]["kernel"] == machine.os.kernel == "5.15.0-91-generic"
    assert [(d["state"], d["kernel"]) for d in facts["dkms"]] == [("installed", "5.15.0-91-generic"), ("added", None)]
    assert facts["lsmod"] == ["nvidia_uvm", "nvidia"]
    assert {p["name"]: p["state"] for p in facts["system_packages"]}["nvidia-driver-470"] == "rc"
    assert facts["shm"] == {"size_mib": 64}
    assert [(n["mode"], n["group"], n["path"]) for n in facts["device_nodes"]] == [
        ("crw-rw----", "video", "/dev/nvidia0"),
        ("crw-rw-rw-", "root", "/dev/nvidiactl"),
    ]


def test_lspci_in_full() -> None:
    machine = parse_report(LSPCIVV)
    device = machine.facts["lspci"][0]
    assert (device["driver_in_use"], device["unassigned_bars"]) == ("nouveau", 1)
    assert device["link"] == {"speed_gts": 2.5, "width": 8, "downgraded": True}
    assert [(g.name, g.driver_bound, g.bus_id) for g in machine.gpus] == [
        ("GeForce RTX 3070", "nouveau", "0000:01:00.0")
    ]


def test_environment_and_containers() -> None:
    machine = parse_report(
        "export CUDA_VISIBLE_DEVICES=2; python run.py\n$ echo $LD_LIBRARY_PATH\n/usr/local/cuda/lib64:/opt/lib\n"
        "it runs with NCCL_P2P_DISABLE=1\n"
        "$ docker run --gpus all --rm --shm-size=8g -e NVIDIA_VISIBLE_DEVICES=0 "
        "nvcr.io/nvidia/pytorch:23.07-py3 nvidia-smi\n"
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.6, please update your driver\n"
    )
    assert machine.env == {"CUDA_VISIBLE_DEVICES": "2", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64:/opt/lib"}
    command = machine.facts["container"]["commands"][0]
    assert (command["engine"], command["gpus"], command["shm_size"]) == ("docker", "all", "8g")
    assert (command["image"], command["env"]) == ("nvcr.io/nvidia/pytorch:23.07-py3", {"NVIDIA_VISIBLE_DEVICES": "0"})
    assert machine.facts["container"]["requires_cuda"] == "12.6"


def test_libraries_that_the_loader_finds() -> None:
    machine = parse_report(
        "\tlibcuda.so.1 (libc6,AArch64) => /usr/local/cuda-13.0/compat/libcuda.so.1\n\tlibcudart.so.12 => not found\n"
    )
    assert machine.facts["loaded_libraries"] == [
        {"name": "libcuda.so.1", "path": "/usr/local/cuda-13.0/compat/libcuda.so.1", "from": "ldconfig"},
        {"name": "libcudart.so.12", "path": None, "from": "ldd"},
    ]
    assert machine.os.arch == "aarch64"
    assert [s.text for s in machine.symptoms] == ["libcudart.so.12 => not found"]


def test_messages_that_carry_numbers() -> None:
    machine = parse_report(
        "NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.\n"
        "The current PyTorch install supports CUDA capabilities sm_50 sm_60 sm_90.\n"
        "If you want to use the NVIDIA GeForce RTX 5090 GPU with PyTorch, please check the instructions\n"
        "CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 0 has a total capacity of 23.69 GiB of which 1.50 GiB is free.\n"
        "cuDNN version incompatibility: PyTorch was compiled against (8, 7, 0) but found runtime version (8, 6, 0).\n"
    )
    assert [(g.name, g.compute_capability) for g in machine.gpus] == [("NVIDIA GeForce RTX 5090", "12.0")]
    assert machine.torch is not None
    assert machine.torch.archs == ("sm_50", "sm_60", "sm_90")
    assert machine.facts["out_of_memory"] == {"tried_mib": 2048, "gpu": 0, "total_mib": 24259, "free_mib": 1536}
    assert machine.facts["cudnn_mismatch"] == {"compiled": "8.7.0", "runtime": "8.6.0"}


def test_names_cut_by_the_table_are_completed_by_another_source() -> None:
    table = (
        "| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: 13.0 |\n"
        "|   0  NVIDIA GeForce RTX 2080 ...    Off |   00000000:0C:00.0 Off |                  N/A |\n"
        "| 38%   33C    P8             38W /  250W |     211MiB /   8192MiB |      0%      Default |\n"
    )
    cut = parse_report(table)
    assert cut.facts["gpu"]["0"]["name_truncated"] is True
    whole = parse_report(
        table + "\nGPU 0: NVIDIA GeForce RTX 2080 SUPER (UUID: GPU-12345678-0000-0000-0000-000000000001)"
    )
    assert [(g.name, g.memory_mib) for g in whole.gpus] == [("NVIDIA GeForce RTX 2080 SUPER", 8192)]
    assert "name_truncated" not in whole.facts["gpu"]["0"]


def test_a_gpu_of_another_maker_and_things_that_only_look_like_one() -> None:
    assert parse_report("GPU: AMD RX 570 series 4GB, Windows").facts["other_gpus"] == ["AMD RX 570"]
    assert parse_report("ASUS TUF A16 2025 FA608UMI, BIOS v325").gpus == ()
    assert parse_report("nvidia 0000:01:00.0: enabling device (0000 -> 0002)").gpus == ()
    assert [g.name for g in parse_report("WSL2, 4x RTX 6000 Ada").gpus] == ["RTX 6000 Ada"] * 4


def test_wsl_is_told_by_the_two_numbers_of_the_banner() -> None:
    machine = parse_report("| NVIDIA-SMI 565.77.01   Driver Version: 566.36   CUDA Version: 12.7 |")
    assert (machine.os.wsl, machine.os.platform, machine.driver.version) == ("2", "linux", "566.36")


def test_symptoms_leave_out_what_was_read_and_keep_trouble_inside_it() -> None:
    machine = parse_report(
        "PyTorch version: 2.1.0+cu118\nCUDA used to build PyTorch: 11.8\nmy training hangs\n"
        "|   1  Tesla V100-PCIE...  On   | 00008ED0:00:00.0 Off |                    0 |\n"
        "| N/A   29C    P0   ERR! / 250W |    593MiB / 16160MiB |      0%      Default |\n"
    )
    assert [(s.line, s.text[:20]) for s in machine.symptoms] == [(3, "my training hangs"), (5, "| N/A   29C    P0   ")]
    assert machine.gpus[0].errors == ("power usage ERR!",)


def test_an_error_text_is_only_symptoms() -> None:
    text = 'Traceback (most recent call last):\n  File "a.py", line 1\n\nRuntimeError: boom'
    assert [(s.line, s.text) for s in parse_error_text(text)] == [
        (1, "Traceback (most recent call last):"),
        (2, 'File "a.py", line 1'),
        (4, "RuntimeError: boom"),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "\x00", "```\n```"])
def test_nothing_is_nothing(text: str) -> None:
    machine = parse_report(text)
    assert (machine.gpus, machine.torch, machine.symptoms) == ((), None, ())
    assert machine.facts == {"report": {"kinds": []}}


def test_gpus_of_two_machines_are_not_mixed() -> None:
    machine = parse_report(
        "index, name, memory.total [MiB], pci.bus_id\n0, Tesla T4, 15360 MiB, 00000000:00:1E.0\n"
        "index, name, memory.total [MiB], pci.bus_id\n0, NVIDIA L4, 23034 MiB, 00000000:31:00.0\n"
    )
    assert [(g.index, g.name) for g in machine.gpus] == [(0, "Tesla T4")]
    assert "two machines" in machine.problems["gpus"]


def test_cpu_flags_of_lscpu() -> None:
    flags = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr " + "avx2 " * 300
    machine = parse_report(f"CPU:\nArchitecture:                    x86_64\nFlags:                           {flags}\n")
    assert {"fpu", "avx2"} <= set(machine.facts["cpu_flags"])
    assert machine.os.arch == "x86_64"
