"""The parsers of what only the checks read, each against the form that the tool prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.checks import run_checks
from envcheck.detect import detect, snapshot
from envcheck.detect.details import containers, devices, environment, indexes, kernel, loader, macos, memory, windows
from envcheck.host import LiveHost, RecordedHost
from envcheck.matrix import load
from envcheck.model import Machine

MACHINES = Path(__file__).parent / "machines"


def test_device_nodes_and_what_the_user_may_do() -> None:
    text = (
        "flags\t\t: fpu avx avx2\n"
        "shm /dev/shm tmpfs rw,size=65536k 0 0\n"
        "crw-rw---- 1 root video 195, 0 Oct  6 17:59 /dev/nvidia0\n"
        "crw-rw-rw-+ 1 root root 195, 255 Oct  6  2025 /dev/nvidiactl\n"
        "access no /dev/nvidia0\naccess yes /dev/nvidiactl\nopen no /dev/nvidiactl\ndone\n"
    )
    facts = devices.parse_look(text)
    assert facts["cpu_flags"] == ["fpu", "avx", "avx2"]
    first, second = facts["device_nodes"]
    assert (first["path"], first["group"], first["accessible"]) == ("/dev/nvidia0", "video", False)
    assert (second["accessible"], second["opens"]) == (True, False)
    assert memory.parse_shm(facts["shm_mount"]) == 64


@pytest.mark.parametrize(
    ("text", "bars"),
    [
        ("0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200\n", []),
        ("0x0000000000000000 0x00000007ffffffff 0x000000002014220c\n", [0]),
        ("0x0000000000000000 0x0000000000000000 0x0000000000000000\n", []),
        ("0x0000000000000000 0x000000000000007f 0x0000000000040101\n", []),  # an I/O window, which nothing needs
        ("garbage\n\n0x1 0x2\n", []),
    ],
)
def test_windows_without_an_address(text: str, bars: list[int]) -> None:
    assert devices.parse_resource(text) == bars


def test_acs_counts_only_above_a_gpu() -> None:
    text = "0000:00:01.1 PCI bridge: a\n\t\tACSCtl:\tReqRedir+\n0000:40:01.1 PCI bridge: b\n\t\tACSCtl:\tReqRedir+\n"
    assert devices.parse_acs(text, {"0000:00:01.1"}) == ["0000:00:01.1"]
    assert devices.parse_acs(text.replace("+", "-"), {"0000:00:01.1"}) == []
    assert devices.parse_acs("0000:00:01.1 PCI bridge: a\n\tCapabilities: <access denied>\n", {"0000:00:01.1"}) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("shm /dev/shm tmpfs rw,nosuid,size=65536k,inode64 0 0\n", 64),
        ("tmpfs /dev/shm tmpfs rw,size=8g 0 0\n", 8192),
        ("tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n", -1),
        ("tmpfs /run/shm2 tmpfs rw,size=1k 0 0\n", None),
        ("", None),
    ],
)
def test_size_of_shared_memory(text: str, size: int | None) -> None:
    assert memory.parse_shm(text) == size


def test_memory_is_the_smaller_of_host_and_group() -> None:
    files = {"/proc/meminfo": "MemTotal: 67108864 kB\nMemAvailable: 60000000 kB\n"}
    assert memory.gather(RecordedHost({"files": files}), "")["memory"] == {"available_mib": 58593, "total_mib": 65536}
    files |= {
        "/sys/fs/cgroup/memory.max": "8589934592\n",
        "/sys/fs/cgroup/memory.current": "8053063680\n",
        "/sys/fs/cgroup/memory.events": "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n",
    }
    found = memory.gather(RecordedHost({"files": files}), "")["memory"]
    assert found == {"available_mib": 512, "total_mib": 8192, "oom_kills": 1}


def test_module_information() -> None:
    text = "filename:       /lib/nvidia.ko\nlicense:        Dual MIT/GPL\nvermagic:       6.8.0-52-generic SMP\n"
    found = kernel.parse_modinfo(text)
    assert (found["license"], found["signer"], found["kernel"]) == ("Dual MIT/GPL", None, "6.8.0-52-generic")
    assert kernel.parse_modinfo("modinfo: ERROR: Module nvidia not found.") == {"error": "module nvidia not found"}


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (
            "nvidia/535.129.03, 5.15.0-91-generic, x86_64: installed",
            {"version": "535.129.03", "kernel": "5.15.0-91-generic", "arch": "x86_64", "state": "installed"},
        ),
        ("nvidia/550.144.03: added", {"version": "550.144.03", "state": "added"}),
        (
            "nvidia, 470.82.01, 5.4.0-42-generic, x86_64: installed",
            {"version": "470.82.01", "kernel": "5.4.0-42-generic", "arch": "x86_64", "state": "installed"},
        ),
    ],
)
def test_dkms_of_every_age(line: str, row: dict[str, str]) -> None:
    assert kernel.parse_dkms(line + "\nvirtualbox/7.0: added\n") == [{"module": "nvidia", **row}]


def test_the_kernel_log_or_why_not() -> None:
    told = kernel.parse_log("[1.0] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.\n")
    assert [x["xid"] for x in told["xid"]] == [79]
    denied = kernel.parse_log("dmesg: read kernel buffer failed: Operation not permitted\n")
    assert "sudo dmesg" in denied["unseen"]["kernel log"]
    assert kernel.parse_log("") == {"xid": [], "kernel_events": []}


def test_the_version_beside_a_link() -> None:
    names = ("libcudnn.so", "libcudnn.so.8", "libcudnn.so.8.9.2", "libcudnn_ops.so.8.9.7")
    assert loader.version_of("libcudnn.so.8", names) == "8.9.2"
    assert loader.version_of("libcudnn.so.9", names) is None


@pytest.mark.parametrize(
    ("file", "wheel", "older"),
    [
        ("libnvJitLink.so.12.1.105", "12.4.127", True),
        ("libnvJitLink.so.12.8.61", "12.4.127", False),
        ("libnvJitLink.so.12.4.127", "12.4.127", None),
        ("libnvJitLink.so.13.0.39", "12.4.127", None),  # another name for the loader: no conflict
    ],
)
def test_a_copy_before_the_wheel(file: str, wheel: str, older: bool | None) -> None:
    soname = ".".join(file.split(".")[:3])
    host = RecordedHost({"env": {"LD_LIBRARY_PATH": "/opt/lib"}, "dirs": {"/opt/lib": [soname, file]}})
    facts = loader.gather(host, Machine(packages={"nvidia-nvjitlink-cu12": wheel}), None)
    assert [c["older"] for c in facts["library_conflicts"]] == ([] if older is None else [older])


def test_pins_that_differ() -> None:
    text = (
        'Name: torch\nRequires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == "Linux"\n'
        'Requires-Dist: triton (==2.0.0) ; platform_system == "Linux"\nRequires-Dist: nvidia-nccl-cu12==2.21.5; x\n'
        "\nRequires-Dist: nvidia-cublas-cu12==1.2.3 in the description\n"
    )
    found = environment.parse_pins(text, {"nvidia-cudnn-cu12": "8.9.2.26", "nvidia-nccl-cu12": "2.21.5"})
    assert found == [
        {"name": "nvidia-cudnn-cu12", "wanted": "9.1.0.70", "have": "8.9.2.26"},
        {"name": "triton", "wanted": "2.0.0", "have": None},
    ]


def test_what_a_release_says_of_its_code() -> None:
    head = "PYTORCH_RELEASES_CODE_CC: dict[str, dict[str, set[int]]] = {\n"
    text = head + '    "13.0": {\n        "x86_64": {80, 75},\n    },\n}\n'
    assert environment.parse_code_cc(text) == {"13.0": {"x86_64": [75, 80]}}
    assert environment.parse_code_cc("PYTORCH_RELEASES_CODE_CC = {\n  'a': __import__('os'),\n}\n") == {}


def record(**more: Any) -> dict[str, Any]:
    return {"platform": {"sys_platform": "linux", "machine": "x86_64", "release": "6.8.0"}, **more}


@given(st.text(max_size=400))
def test_any_output_of_the_tools_is_survived(text: str) -> None:
    labels = [["envcheck.look"], ["envcheck.kernel-log"], ["ldconfig", "-p"], ["modinfo", "nvidia"], ["envcheck.nvml"]]
    commands = [{"argv": label, "rc": 0, "stdout": f"{text}\ndone\nenvcheck-done\n"} for label in labels]
    files = {"/proc/meminfo": text, "/proc/modules": text, "/sys/module/nvidia/version": "550.144.03\n"}
    machine = detect(RecordedHost(record(commands=commands, files=files)), full=True)
    assert [p for p in machine.problems.values() if "envcheck could not look" in p] == []
    assert [r.code for r in run_checks(machine, load(None)).results if r.status == "crash"] == []


def test_this_machine_is_looked_at_in_full_without_root() -> None:
    machine = detect(LiveHost(), full=True, interpreters_too=False)
    assert [p for p in machine.problems.values() if "envcheck could not look" in p] == []
    if machine.os.platform == "linux" and Path("/bin/sh").exists():
        assert machine.facts["memory"]["total_mib"] > 0
        assert isinstance(machine.facts["device_nodes"], list)
        assert "cpu_flags" in machine.facts or machine.os.arch != "x86_64"


def test_the_planner_does_not_wait_for_the_details() -> None:
    assert not {"memory", "build_tools", "modules", "device_nodes"} & set(detect(RecordedHost(record())).facts)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        (
            "\r\nHKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\FileSystem\r\n"
            "    LongPathsEnabled    REG_DWORD    0x1\r\n\r\n",
            "LongPathsEnabled",
            1,
        ),
        ("\r\nHKEY_LOCAL_MACHINE\\X\r\n    Version    REG_SZ    v14.40.33810.00\r\n", "Version", "v14.40.33810.00"),
        ("    LongPathsEnabled    REG_DWORD    nonsense\n", "LongPathsEnabled", None),
        ("ERREUR : le système n'a pas trouvé la clé\n", "Version", None),
    ],
)
def test_the_registry_as_reg_prints_it(text: str, name: str, value: object) -> None:
    assert windows.parse_reg(text, name) == value


WINDOWS = "windows-11-rtx4090-572.16-torch"


def test_windows_facts() -> None:
    facts = snapshot.load(MACHINES / WINDOWS / "snapshot.json").facts
    assert facts["windows"]["nvml_dll"] == r"C:\Windows\System32\nvml.dll"
    assert facts["windows"]["nvcuda_dll"] and facts["windows"]["long_paths"] is True
    assert facts["vcruntime"] == "14.40.33810.00"
    assert facts["bundled"] == {"cudnn": True}  # cudnn64_9.dll in torch\\lib
    first = facts["loaded_libraries"][0]
    assert (first["name"], first["from"], first["version"]) == ("cublas64_12.dll", "PATH", "12")
    assert first["path"].startswith(r"C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA\v12.4\bin")
    assert facts["gpu"]["0"]["driver_model"] == "WDDM"


def test_the_old_folder_of_nvidia_smi_is_asked() -> None:
    machine = snapshot.load(MACHINES / "windows-10-gtx1060-391.35-nvsmi-folder" / "snapshot.json")
    assert (machine.driver.version, machine.driver.source) == ("391.35", "nvidia-smi")
    assert machine.facts["windows"]["nvml_dll"].endswith(r"NVSMI\nvml.dll")


def test_toolkits_and_cudnn_of_windows() -> None:
    home = r"D:\Apps\NVIDIA GPU Computing Toolkit\CUDA"
    header = "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 1\n#define CUDNN_PATCHLEVEL 0\n"
    cudnn = r"D:\Apps\NVIDIA\CUDNN"
    host = RecordedHost(
        {
            "platform": {"sys_platform": "win32", "machine": "AMD64", "version": "10.0.22631"},
            "env": {"ProgramFiles": r"D:\Apps", "CUDA_PATH": rf"{home}\v11.8"},
            "dirs": {home: ["v11.8", "v12.4"], cudnn: ["v9.1"], rf"{cudnn}\v9.1\include": ["12.4"]},
            "files": {
                rf"{home}\v12.4/version.json": '{"cuda": {"version": "12.4.1"}}',
                rf"{cudnn}\v9.1\include\12.4\cudnn_version.h": header,
            },
            "exists": {rf"{home}\v11.8\bin\nvcc.exe": True},
            "commands": [
                {
                    "argv": [rf"{home}\v11.8\bin\nvcc.exe", "--version"],
                    "rc": 0,
                    "stdout": "Cuda compilation tools, release 11.8, V11.8.89\r\n",
                }
            ],
        }
    )
    machine = detect(host)
    assert [(t.version, t.path) for t in machine.toolkits] == [("11.8", rf"{home}\v11.8"), ("12.4", rf"{home}\v12.4")]
    assert [c.version for c in machine.cudnn] == ["9.1.0"]


def test_requirements_of_another_platform_are_none_of_ours() -> None:
    text = 'Requires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == "Linux" and platform_machine == "x86_64"\n\n'
    assert environment.parse_pins(text, {}) == [{"name": "nvidia-cudnn-cu12", "wanted": "9.1.0.70", "have": None}]
    assert environment.parse_pins(text, {}, "windows", "x86_64") == []
    assert environment.parse_pins(text, {}, "linux", "aarch64") == []


@pytest.mark.parametrize(
    ("text", "silicon"), [("1\n", True), ("0\n", False), ("", False), ("sysctl: unknown oid", False)]
)
def test_apple_silicon(text: str, silicon: bool) -> None:
    assert macos.parse_arm64(text) is silicon


def test_where_torch_would_load_each_library_from() -> None:
    raw = json.loads((MACHINES / "ubuntu-22.04-rtx4090-550.144.03-torch-2.6.0" / "snapshot.json").read_text())["raw"]
    told = {e["name"]: e for e in snapshot.replay(raw).facts["torch_libraries"]}
    assert {e["from"] for e in told.values()} == {"wheel"} and len(told) == 6
    assert told["libcudnn.so.9"]["version"] == "9.1.0.70"
    assert told["libcudnn.so.9"]["path"].endswith("/site-packages/nvidia/cudnn/lib/libcudnn.so.9")
    toolkit = "/usr/local/cuda-12.1/lib64"
    raw["env"]["LD_LIBRARY_PATH"] = toolkit
    names = ["libcudart.so.12", "libcudart.so.12.1.105", "libnvJitLink.so.12", "libnvJitLink.so.12.1.105"]
    raw["dirs"][toolkit] = names
    told = {e["name"]: e for e in snapshot.replay(raw).facts["torch_libraries"]}
    # torch names its neighbours by DT_RPATH, before LD_LIBRARY_PATH; the wheels theirs by DT_RUNPATH, after it
    assert told["libcudart.so.12"]["from"] == "wheel"
    assert told["libnvJitLink.so.12"]["from"] == "LD_LIBRARY_PATH"
    assert told["libnvJitLink.so.12"]["version"] == "12.1.105"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}', "nvidia-container-runtime"),
        ('{"runtimes": {"nvidia": {"path": "/usr/bin/x; reboot"}}}', None),
        ('{"runtimes": []}', None),
        ("{", None),
    ],
)
def test_docker_runtimes(text: str, path: str | None) -> None:
    assert containers.parse_daemon(text) == path


def test_pip_configuration_without_its_passwords() -> None:
    text = (
        "[global]\nindex-url = https://me:secret@pypi.example/simple\n"
        "extra-index-url =\n    https://download.pytorch.org/whl/cu121\n# index-url = https://no.example\n"
        "[install]\ntrusted-host = pypi.example\n"
    )
    found = indexes.parse_pip_conf(text)
    assert found == ["https://pypi.example/simple", "https://download.pytorch.org/whl/cu121"]
    assert indexes.addresses("torch=https://download.pytorch.org/whl/cu124 https://b.example/s") == [
        "https://download.pytorch.org/whl/cu124",
        "https://b.example/s",
    ]


def test_no_snapshot_keeps_a_password_of_pips_configuration() -> None:
    raw = json.loads((MACHINES / "ubuntu-22.04-rtx4090-550.144.03-torch-2.6.0" / "snapshot.json").read_text())["raw"]
    raw["files"]["/etc/pip.conf"] = "[global]\nindex-url = https://me:secret@pypi.example/simple\n"
    for redact in (True, False):
        assert "secret" not in json.dumps(snapshot.take(RecordedHost(raw), redact=redact))


@pytest.mark.parametrize(
    ("version", "metadata", "torch"),
    [
        ("2.7.4.post1+cu12torch2.5cxx11abiFALSE", "", "2.5"),
        ("2.1.2+pt25cu124", "", "2.5"),
        ("2.1.2+pt210cu128", "", "2.10"),
        ("0.0.28.post3", "Name: xformers\nRequires-Dist: torch==2.5.1\n\nx", "2.5.1"),
        ("0.0.28.post3", "Name: xformers\nRequires-Dist: torch>=2.4\n\nx", None),
        ("2.7.4.post1", "", None),
    ],
)
def test_the_torch_that_an_extension_was_built_for(version: str, metadata: str, torch: str | None) -> None:
    assert environment.built_for(version, metadata) == torch


@given(st.text(max_size=300))
def test_parsers_of_configuration_take_any_text(text: str) -> None:
    containers.parse_daemon(text)
    containers.parse_cdi(text)
    indexes.parse_pip_conf(text)
    environment.built_for(text, text)
    windows.parse_reg(text, "Version")
