"""The pure parsers against recorded outputs, known traps, and any text at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.detect import driver, os, pci, python, smi, toolkits, torch
from envcheck.detect.env import relevant, without_credentials
from envcheck.host import CommandResult

OUTPUTS = Path(__file__).resolve().parent.parent.parent / "shared" / "outputs"


def recorded(kind: str) -> list[Any]:
    found = sorted(p for p in OUTPUTS.glob(f"{kind}__*") if not p.name.endswith(".expected.json"))
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip("the recorded outputs (../shared) are not here"))]
    return [pytest.param(p, id=p.stem) for p in found]


def read(path: Path) -> tuple[str, dict[str, Any]]:
    expected = json.loads(path.with_name(path.name + ".expected.json").read_text(encoding="utf-8"))
    return path.read_bytes().decode("utf-8", "replace"), expected["expect"]


@pytest.mark.parametrize("path", recorded("os-release"))
def test_os_release(path: Path) -> None:
    text, expect = read(path)
    release = os.parse_os_release(text)
    assert release.get("ID", "").lower() == (expect["id_lower"] or "")
    assert release.get("VERSION_ID") == expect["version_id"]
    assert release.get("ID_LIKE", "").split() == expect["id_like"]
    assert release.get("PRETTY_NAME") == expect["pretty_name"]
    assert os.os_family(release) == expect["family"]
    assert os.is_image_based(release) is expect["image_based"]


@pytest.mark.parametrize("path", recorded("proc-nvidia-version"))
def test_proc_driver_nvidia_version(path: Path) -> None:
    text, expect = read(path)
    assert driver.parse_proc_version(text) == (expect["driver_version"], expect["module_flavor"])


@pytest.mark.parametrize("path", recorded("proc-version"))
def test_wsl_by_the_kernel(path: Path) -> None:
    text, expect = read(path)
    assert os.parse_wsl(text) == (None if expect["wsl"] is None else str(expect["wsl"]))


@pytest.mark.parametrize("path", recorded("smi-csv"))
def test_smi_csv(path: Path) -> None:
    text, expect = read(path)
    found = smi.parse_query(text)
    assert len(found) == expect["rows"]
    modes = {True: "Enabled", False: "Disabled", None: None}
    for gpu, want in zip(found, expect["gpus"], strict=True):
        assert gpu.name == want.get("name")
        assert gpu.driver_version == want.get("driver_version")
        assert gpu.memory_mib == want.get("memory_total_mib")
        assert gpu.compute_capability == want.get("compute_capability")
        assert (modes[gpu.mig], modes[gpu.ecc]) == (want.get("mig_mode"), want.get("ecc_mode"))
        assert gpu.uuid == want.get("uuid")


ERRORS = {
    "driver_library_mismatch": "LIB_RM_VERSION_MISMATCH",
    "driver_not_loaded": "DRIVER_NOT_LOADED",
    "no_devices": "NO_DEVICES",
    "gpu_access_blocked_by_os": "OPERATING_SYSTEM",
    "nvidia_smi_missing": "NOT_RUN",
    "Unable to determine the device handle: Unknown Error": "UNKNOWN",
}


@pytest.mark.parametrize("path", recorded("smi-err"))
def test_smi_errors(path: Path) -> None:
    text, expect = read(path)
    name = ERRORS.get(expect["errors"][0]["error"])
    failure = smi.parse_failure(text)
    assert (failure[0] if failure else None) == name
    report = smi.read(CommandResult(argv=("nvidia-smi",), rc=expect.get("exit_code") or 1, stdout=text))
    assert (report.gpus, report.error) == ((), name or "GARBAGE")


@pytest.mark.parametrize("path", recorded("nvcc"))
def test_nvcc(path: Path) -> None:
    text, expect = read(path)
    assert toolkits.parse_nvcc(text) == expect.get("cuda_release")


@pytest.mark.parametrize("path", recorded("cudnn-h"))
def test_cudnn_header(path: Path) -> None:
    text, expect = read(path)
    assert toolkits.parse_cudnn_header(text) == expect["cudnn_version"]


def test_smi_rows_among_warnings() -> None:
    text = (
        "WARNING: infoROM is corrupted at gpu 0000:0A:00.0\n"
        "0, NVIDIA GeForce RTX 4090, 555.99, 24564 MiB, 00000000:01:00.0, GPU-x, 0x268410DE, 0x889F1043\n"
        "1, [Unknown Error], 555.99, [N/A], 00000000:02:00.0, [N/A], [N/A], [N/A]\n"
        "garbage, garbage\n"
    )
    first, second = smi.parse_query(text, smi.FIELDS)
    assert (first.memory_mib, first.pci_id, first.subsystem_id) == (24564, "10de:2684", "1043:889f")
    assert (second.name, second.memory_mib, second.bus_id) == (None, None, "0000:02:00.0")


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (CommandResult(argv=("x",), rc=None, timed_out=True), "TIMEOUT"),
        (CommandResult(argv=("x",), rc=None, stderr="Permission denied"), "NOT_RUN"),
        (CommandResult(argv=("x",), rc=0), "GARBAGE"),
        (CommandResult(argv=("x",), rc=0, stdout="��\0\0 hello"), "GARBAGE"),
        (CommandResult(argv=("x",), rc=6, stdout="No devices were found\n"), "NO_DEVICES"),
    ],
)
def test_smi_that_gives_nothing(result: CommandResult, error: str) -> None:
    report = smi.read(result)
    assert (report.error, report.gpus, report.driver_version) == (error, (), None)
    assert report.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('ID="rhel"', "rhel"),
        ("ID='rhel'", "rhel"),
        ('export ID="rhel"', "rhel"),
        ("  ID = rhel", None),
        ('ID="a \\"b\\" \\$c"', 'a "b" $c'),
        ('ID="unclosed', "unclosed"),
        ("ID=", ""),
        ("ID=x\r\n", "x"),
        ("# ID=x", None),
        ("ID=a\nID=b", "b"),
    ],
)
def test_os_release_quoting(text: str, value: str | None) -> None:
    assert os.parse_os_release(text).get("ID") == value


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "uos"}, "debian"),
        ({"ID": "uos", "PLATFORM_ID": "platform:uelc20"}, "rhel"),
        ({"ID": "kylin"}, "rhel"),
        ({"ID": "kylin", "ID_LIKE": "debian"}, "debian"),
        ({"ID": "newdistro", "ID_LIKE": "ubuntu debian"}, "debian"),
        ({"ID": "newdistro", "ID_LIKE": "rhel centos fedora"}, "rhel"),
        ({"ID": "newdistro", "ID_LIKE": "fedora"}, "fedora"),
        ({"ID": "newdistro", "PLATFORM_ID": "platform:el9"}, "rhel"),
        ({"ID": "amzn", "ID_LIKE": "centos rhel fedora"}, "amazon"),
        ({"ID": "newdistro"}, None),
        ({}, None),
    ],
)
def test_families(release: dict[str, str], family: str | None) -> None:
    assert os.os_family(release) == family


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("glibc 2.36", "2.36"),
        ("ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35\nCopyright", "2.35"),
        ("ldd (GNU libc) 2.17", "2.17"),
        ("ldd (Debian GLIBC 2.36-9+deb12u9) 2.36", "2.36"),
        ("musl libc (x86_64)\nVersion 1.2.4", None),
        ("", None),
    ],
)
def test_libc(text: str, version: str | None) -> None:
    assert os.parse_libc(text) == version


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("12:memory:/docker/0f1e2d", "docker"),
        ("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0f1e.scope", "kubernetes"),
        ("0::/machine.slice/libpod-0f1e.scope", "podman"),
        ("1:name=systemd:/lxc.payload.web", "lxc"),
        ("0::/system.slice/docker.service", None),
        ("0::/system.slice/containerd.service", None),
        ("0::/", None),
        ("0::/init.scope", None),
    ],
)
def test_cgroups(text: str, engine: str | None) -> None:
    assert os.parse_cgroup(text) == engine


def test_l4t_releases() -> None:
    assert os.parse_l4t("# R36 (release), REVISION: 4.0, GCID: 1") == "36.4.0"
    assert os.parse_l4t("# R32 (release), REVISION: 7.1, GCID: 1") == "32.7.1"
    assert os.parse_l4t("nothing") is None


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("AMD64", "x86_64"), ("arm64", "aarch64"), ("x86_64\n", "x86_64"), ("ppc64le", "ppc64le"), ("", None)],
)
def test_architectures(machine: str, arch: str | None) -> None:
    assert os.normal_arch(machine) == arch


def test_windows_driver_numbers() -> None:
    assert pci.nvidia_windows_version("32.0.15.6094") == "560.94"
    assert pci.nvidia_windows_version("31.0.15.3623") == "536.23"
    assert pci.nvidia_windows_version("10.0.22621.1") is None


def test_video_controllers_in_both_shapes() -> None:
    one = {
        "Name": "NVIDIA X",
        "PNPDeviceID": "PCI\\VEN_10DE&DEV_2702&SUBSYS_16E51043&REV_A1\\4",
        "DriverVersion": "32.0.15.6094",
    }
    other = {"Name": "Intel", "PNPDeviceID": "PCI\\VEN_8086&DEV_1234", "DriverVersion": None}
    expected = (
        pci.PciGpu(bus_id=None, pci_id="10de:2702", subsystem_id="1043:16e5", name="NVIDIA X", driver_version="560.94"),
    )
    assert pci.parse_video_controllers(json.dumps(one)) == expected
    assert pci.parse_video_controllers(json.dumps([other, one])) == expected
    assert pci.parse_video_controllers("") == () == pci.parse_video_controllers("error")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"cuda": {"name": "CUDA SDK", "version": "12.4.20240315"}}', "12.4"),
        ('{"cuda": {"version": "12.9"}, "cuda_nvcc": {"version": "12.4.99"}}', "12.4"),
        ('{"cuda": 3}', None),
        ("[]", None),
        ("", None),
    ],
)
def test_toolkit_version_json(text: str, version: str | None) -> None:
    assert toolkits.parse_version_json(text) == version


def test_toolkit_version_txt() -> None:
    assert toolkits.parse_version_txt("CUDA Version 10.2.89\n") == "10.2"


def test_version_py_of_wheels_and_source_builds() -> None:
    wheel = "__version__ = '2.4.1+cu121'\ndebug = False\ncuda: Optional[str] = '12.1'\nhip: Optional[str] = None\n"
    assert torch.parse_version_py(wheel) == {"version": "2.4.1+cu121", "cuda": "12.1", "hip": None}
    cpu = '__version__ = "2.0.1+cpu"\ncuda = None\n'
    assert torch.parse_version_py(cpu) == {"version": "2.0.1+cpu", "cuda": None}
    assert torch.parse_version_py("__version__ = '; rm -rf /'") == {"version": None}


def test_names_of_installed_packages() -> None:
    names = [
        "torch-2.4.1+cu121.dist-info",
        "nvidia_cudnn_cu12-9.1.0.70.dist-info",
        "torchvision-0.15.2-py3.8.egg-info",
        "~orch-2.0.0.dist-info",
        "torch",
        "pip-24.0.dist-info",
    ]
    found = torch.parse_dist_names(names)
    assert found == {"torch": "2.4.1+cu121", "nvidia-cudnn-cu12": "9.1.0.70", "torchvision": "0.15.2", "pip": "24.0"}
    assert torch.interesting(found) == {"nvidia-cudnn-cu12": "9.1.0.70", "torchvision": "0.15.2"}
    conda = torch.parse_conda_names(["pytorch-2.5.1-py3.12_cuda12.4_cudnn9.1.0_0.json", "history"])
    assert conda == {"pytorch": ("2.5.1", "py3.12_cuda12.4_cudnn9.1.0_0")}
    assert torch.conda_cudnn(conda) == "9.1.0"


def test_an_interpreter_described_after_noise() -> None:
    data = {
        "version": "3.13.1",
        "implementation": "cpython",
        "free_threaded": True,
        "prefix": "/v",
        "base_prefix": "/usr",
    }
    found = python.parse_described(f"a sitecustomize prints\n{json.dumps(data)}\n", "/v/bin/python")
    assert found is not None
    assert (found.python.abi, found.python.environment) == ("cp313t", "venv")
    assert python.parse_described('{"version": "3; rm"}', "x") is None
    assert python.parse_described("", "x") is None


def test_credentials_never_leave() -> None:
    assert without_credentials("https://me:secret@example.org/simple") == "https://example.org/simple"
    found = relevant({"PIP_INDEX_URL": "https://me:secret@example.org/simple", "HF_TOKEN": "x", "HOME": "/home/me"})
    assert found == {"PIP_INDEX_URL": "https://example.org/simple"}


PARSERS: list[Callable[[str], object]] = [
    os.parse_os_release,
    os.parse_wsl,
    os.parse_libc,
    os.parse_cgroup,
    os.parse_l4t,
    os.normal_arch,
    driver.parse_module_version,
    driver.parse_proc_version,
    pci.parse_hex_id,
    pci.parse_video_controllers,
    pci.nvidia_windows_version,
    smi.parse_query,
    smi.parse_failure,
    toolkits.parse_version_json,
    toolkits.parse_version_txt,
    toolkits.parse_nvcc,
    toolkits.parse_cudnn_header,
    torch.parse_version_py,
    torch.parse_direct_url,
    lambda text: torch.parse_dist_names(text.splitlines()),
    lambda text: torch.conda_cudnn(torch.parse_conda_names(text.splitlines())),
    lambda text: os.os_family(os.parse_os_release(text)),
    lambda text: python.parse_described(text, "python"),
    lambda text: smi.read(CommandResult(argv=("x",), rc=0, stdout=text)),
]
SEEDS = [
    '{"version": {"cuda": [1]}, "url": "https://a@b", "DEV": "VEN_10DE&DEV_2702", "name": null}',
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  610.43.02  Release Build",
    "index, name, driver_version, memory.total [MiB]\n0, NVIDIA, 535.104.05, 24564 MiB",
    "#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 9\n#define CUDNN_PATCHLEVEL 2",
    "# R36 (release), REVISION: 4.0, GCID: 37537400",
    'ID="rhel"\nVERSION_ID=\'9.5\'\nID_LIKE="centos fedora"',
    "__version__ = '2.4.1+cu121'\ncuda: Optional[str] = '12.1'",
    "torch-2.4.1+cu121.dist-info\npytorch-2.5.1-py3.12_cuda12.4_cudnn9.1.0_0.json",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A real text, cut, doubled and with foreign characters in it."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        middle = draw(st.one_of(st.just(""), st.text(max_size=4), st.just(text[at:end] * 2)))
        text = text[:at] + middle + text[end:]
    return text


@settings(max_examples=300, deadline=1000)
@given(st.one_of(st.text(), damaged(), st.binary().map(lambda b: b.decode("utf-8", "replace"))))
def test_no_text_breaks_a_parser(text: str) -> None:
    for parser in PARSERS:
        parser(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, "a" * 1_000_000, '"' * 500_000, "0, " * 300_000, "\n" * 500_000]
)
def test_huge_texts_are_answered_soon(text: str) -> None:
    import time

    for parser in PARSERS:
        start = time.monotonic()
        parser(text)
        assert time.monotonic() - start < 2, parser
