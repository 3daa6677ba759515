"""``envcheck.matrix_update``: against a loopback index, never the real one."""

from __future__ import annotations

import copy
import io
import itertools
import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ranged_index
from ranged_index import ELF, PTX, Served, entry, fat_binary

from envcheck.errors import InputError, NetworkError, UsageError
from envcheck.matrix import SCHEMA
from envcheck.matrix_update import archs, default_index, fatbin, rebuild, session
from envcheck.matrix_update.index import IndexFile, redact
from envcheck.matrix_update.pins import pins
from envcheck.matrix_update.remote_zip import RemoteZip
from envcheck.matrix_update.wheels import find_wheel, newest_version, parse, runs_on

DAY = "2031-02-03"


@pytest.fixture
def served() -> Iterator[Served]:
    with ranged_index.serve() as index:
        yield index


class Memory:
    """A ``RangeReader`` over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.name, self.size = data, "memory.whl", len(data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]

    def stream(self, start: int, length: int) -> Iterator[bytes]:
        part = self.read(start, length)
        yield from (part[i : i + 7] for i in range(0, len(part), 7))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def library(*archs_of_each: Sequence[tuple[int, int]]) -> bytes:
    fats = [fat_binary(*(entry(kind, arch, bytes(arch)) for kind, arch in archs)) for archs in archs_of_each]
    return ranged_index.elf(b"\x00\x00".join(fats))


# fat binaries


@pytest.mark.parametrize("size", [1, 5, 16, 1000, 1 << 20])
def test_fat_binaries_are_counted_however_the_stream_is_cut(size: int) -> None:
    data = library([(ELF, 80), (ELF, 90), (PTX, 90)], [(ELF, 80), (ELF, 90)], [(ELF, 80), (ELF, 103)])
    found = fatbin.scan(pieces(data, size))
    assert found.containers == 3
    assert found.entries == {("elf", 80): 3, ("elf", 90): 2, ("ptx", 90): 1, ("elf", 103): 1}
    assert found.full("elf") == ("8.0", "9.0")
    assert found.full("ptx") == ()


def test_what_only_looks_like_a_fat_binary_is_passed_over() -> None:
    magic = struct.pack("<IHHQ", ranged_index.MAGIC, 1, 16, 1 << 40)
    noise = magic + b"\xff" * 200 + magic + struct.pack("<IHHQ", ranged_index.MAGIC, 1, 16, 8) + magic
    data = noise + fat_binary(entry(ELF, 86)) + magic
    found = fatbin.scan(pieces(data, 33))
    assert (found.containers, found.entries) == (1, {("elf", 86): 1})


def test_a_fat_binary_that_is_cut_off_still_counts_what_was_there() -> None:
    data = fat_binary(entry(ELF, 75), entry(ELF, 86, bytes(500)))[:-400]
    assert fatbin.scan([data]).entries == {("elf", 75): 1, ("elf", 86): 1}
    assert fatbin.scan([]).containers == 0


@pytest.mark.parametrize("size", [3, 64, 4096])
def test_the_architecture_string_is_found(size: int) -> None:
    text = b"sm_50 sm_60 sm_90a compute_90"
    data = b"\x00sm_86\x00" + b"x" * 700 + b"\x00" + text + b"\x00" + b"y sm_120\x00" * 9
    assert fatbin.arch_list(pieces(data, size)) == ("sm_50", "sm_60", "sm_90a", "compute_90")
    assert fatbin.arch_list([b"\x00nothing here\x00"]) == ()


def test_gencode_flags() -> None:
    flags = b"-gencode;arch=compute_80,code=sm_80;-gencode;arch=compute_120,code=[sm_120,compute_120]"
    assert fatbin.gencode(pieces(b"..." + flags + b"\x00", 10)) == ("sm_80", "sm_120", "compute_120")
    assert fatbin.split(["sm_80", "sm_120", "compute_120", "gfx90a"]) == (("8.0", "12.0"), ("12.0",))


# remote zip


def test_members_stored_and_deflated_are_read_through_ranges(served: Served) -> None:
    large = bytes(range(256)) * 20_000
    url = served.add(
        "torch", "torch-9.0.0-py3-none-any.whl", ranged_index.wheel("torch", "9.0.0", ["numpy"], {"a": large})
    )
    served.asked.clear()
    remote = archs.open_wheel(url)
    assert set(remote.members) == {"a", "torch-9.0.0.dist-info/METADATA"}
    assert b"Requires-Dist: numpy" in remote.read("torch-9.0.0.dist-info/METADATA")
    assert remote.read("a") == large
    assert all(wanted for _, wanted in served.asked)


def test_zip64_sizes_are_taken_from_their_field() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open(zipfile.ZipInfo("big"), "w", force_zip64=True) as member:
        member.write(b"content")
    assert RemoteZip(Memory(out.getvalue())).read("big") == b"content"


def test_zip64_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("one", b"1")
        archive.writestr("two", b"2")
    data = out.getvalue()
    assert data[-42:-38] == b"PK\x06\x07"
    assert RemoteZip(Memory(data)).read("two") == b"2"


def damaged(kind: str) -> bytes:
    data = bytearray(ranged_index.wheel("torch", "9.0.0", (), {"a": bytes(1000)}))
    if kind == "no zip":
        return b"not a zip at all"
    if kind == "empty":
        return b""
    if kind == "directory":
        data[data.find(b"PK\x01\x02")] = 0
    if kind == "header":
        data[0] = 0
    if kind == "content":
        data[35] ^= 0xFF
    if kind == "method":
        data[data.find(b"PK\x01\x02") + 10] = 99
    return bytes(data)


@pytest.mark.parametrize("kind", ["no zip", "empty", "directory", "header", "content", "method"])
def test_a_damaged_zip_is_an_input_error_that_names_the_file(kind: str) -> None:
    with pytest.raises(InputError, match=r"memory\.whl"):
        RemoteZip(Memory(damaged(kind))).read("a")


def test_an_unknown_member_is_an_input_error() -> None:
    with pytest.raises(InputError, match="has no member b"):
        RemoteZip(Memory(damaged(""))).read("b")


def test_a_server_without_ranges_is_a_network_error(served: Served) -> None:
    served.ranges = False
    url = served.add("torch", "t.whl", b"x" * 100)
    with pytest.raises(NetworkError, match="ignores byte ranges"):
        archs.open_wheel(url)
    with pytest.raises(NetworkError, match="there is no wheel"):
        archs.open_wheel(f"{served.url}/files/absent.whl")


# architectures of a wheel


def cuda_wheel(version: str, requires: Sequence[str] = (), listed: str = "sm_80 sm_90") -> bytes:
    members = {
        archs.CUDA_LIBRARY: library([(ELF, 80), (ELF, 90)], [(ELF, 80), (ELF, 90), (PTX, 90)]),
        archs.PYTHON_LIBRARY: b"\x7fELF\x00" + listed.encode() + b"\x00rest",
    }
    return ranged_index.wheel("torch", version, requires, members)


def test_archs_from_wheel(served: Served) -> None:
    url = served.add("torch", "torch-9.0.0-cp311-cp311-manylinux_2_28_x86_64.whl", cuda_wheel("9.0.0"))
    assert archs.archs_from_wheel(url) == (("8.0", "9.0"), ("9.0",), ("sm_80", "sm_90"))
    assert archs.archs_from_wheel(url, code=False) == (("8.0", "9.0"), (), ("sm_80", "sm_90"))


def test_a_cpu_wheel_has_no_architectures(served: Served) -> None:
    url = served.add("torch", "torch-9.0.0-cp311-cp311-win_amd64.whl", ranged_index.wheel("torch", "9.0.0"))
    assert archs.archs_from_wheel(url) == ((), (), ())


def test_a_cuda_wheel_that_cannot_be_read_is_an_error_and_no_empty_answer(served: Served) -> None:
    members = {archs.CUDA_LIBRARY: b"\x7fELF", archs.PYTHON_LIBRARY: b"\x00"}
    url = served.add("torch", "torch-9.whl", ranged_index.wheel("torch", "9.0.0", (), members))
    with pytest.raises(InputError, match="no list of architectures"):
        archs.archs_from_wheel(url)
    members[archs.PYTHON_LIBRARY] = b"\x00sm_80 sm_90\x00"
    url = served.add("torch", "torch-10.whl", ranged_index.wheel("torch", "10.0.0", (), members))
    with pytest.raises(InputError, match="no fat binary"):
        archs.archs_from_wheel(url)


def test_a_local_library_is_read_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "libtorch_cuda.so"
    file.write_bytes(library([(ELF, 80)]))
    assert fatbin.scan(archs.file_pieces(str(file), 10)).full("elf") == ("8.0",)
    with pytest.raises(InputError, match="cannot read"):
        next(archs.file_pieces(str(tmp_path / "none.so")))


# METADATA

OLD_METADATA = """Metadata-Version: 2.1
Name: torch
Requires-Dist: filelock
Requires-Dist: nvidia-cuda-runtime-cu12 (==12.1.105) ; platform_system == "Linux" and platform_machine == "x86_64"
Requires-Dist: nvidia-cudnn-cu12 (==8.9.2.26) ; platform_system == "Linux" and platform_machine == "x86_64"
Requires-Dist: nvidia-nccl-cu12 (==2.20.5) ; platform_system == "Linux" and platform_machine == "x86_64"
Requires-Dist: triton (==2.3.0) ; platform_system == "Linux" and python_version < "3.12"
Requires-Dist: opt-einsum (>=3.3) ; extra == 'opt-einsum'

Requires-Dist: nvidia-cudnn-cu12==1.0
"""
NEW_METADATA = """Metadata-Version: 2.1
Requires-Dist: cuda-toolkit[cublas,cudart]==13.2.2; platform_system == "Linux"
Requires-Dist: nvidia-cudnn-cu13==9.26.0.51; platform_system == "Linux"
Requires-Dist: triton~=3.9.0; platform_system == "Linux" and python_version < "3.16"
"""


def test_pins_hold_for_a_platform_and_a_python() -> None:
    linux = pins(OLD_METADATA, "linux-x86_64", "3.11")
    assert (linux.cuda, linux.cudnn, linux.nccl, linux.triton) == ("12.1", "8.9.2.26", "2.20.5", "2.3.0")
    assert pins(OLD_METADATA, "linux-x86_64", "3.12").triton is None
    assert pins(OLD_METADATA, "windows-x86_64", "3.11").cudnn is None
    assert pins(OLD_METADATA, "linux-aarch64", "3.11").cuda is None
    new = pins(NEW_METADATA, "linux-aarch64", "3.15t")
    assert (new.cuda, new.cudnn, new.nccl, new.triton) == ("13.2", "9.26.0.51", None, "3.9.0")


def test_metadata_that_cannot_be_read_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        pins("Requires-Dist: torch === = 2\n", "linux-x86_64", "3.11")
    with pytest.raises(InputError, match="unknown platform"):
        pins(OLD_METADATA, "beos-x86_64", "3.11")


# which wheel


@pytest.mark.parametrize(
    ("name", "python", "fits"),
    [
        ("torch-2.7.0-cp313-cp313t-manylinux_2_28_x86_64.whl", "3.13t", True),
        ("torch-2.7.0-cp313-cp313t-manylinux_2_28_x86_64.whl", "3.13", False),
        ("torch-2.7.0-cp313-cp313-manylinux_2_28_x86_64.whl", "3.13t", False),
        ("torch-2.0.1-cp39-none-macosx_11_0_arm64.whl", "3.9", True),
        ("torch-2.0.1-cp39-none-macosx_11_0_arm64.whl", "3.10", False),
        ("torchvision-0.29.2-py3-none-win_amd64.whl", "3.15t", True),
        ("x-1.0-cp38-abi3-win_amd64.whl", "3.12", True),
        ("x-1.0-cp312-abi3-win_amd64.whl", "3.11", False),
    ],
)
def test_tags_decide_which_python_installs_a_wheel(name: str, python: str, fits: bool) -> None:
    wheel = parse(IndexFile(filename=name, url=""))
    assert wheel is not None
    assert runs_on(wheel, python) is fits


def test_a_name_of_no_known_form_is_no_wheel() -> None:
    for name in ("torch-2.0.1.tar.gz", "torch.whl", "torch-2..0-py3-none-any.whl", "torch-2.0.1-cp311.whl"):
        assert parse(IndexFile(filename=name, url="")) is None


@pytest.mark.parametrize("html", [False, True])
def test_find_wheel_on_json_and_html_indexes(served: Served, html: bool) -> None:
    served.html = html
    for name in (
        "torch-2.0.1+cu118-cp311-cp311-linux_x86_64.whl",
        "torch-2.0.1+cu117-cp311-cp311-linux_x86_64.whl",
        "torch-2.0.1+cu118-cp311-cp311-win_amd64.whl",
        "torch-2.0.1+cu118-cp310-cp310-linux_x86_64.whl",
        "torch-2.1.0+cu118-cp311-cp311-linux_x86_64.whl",
        "torch-2.2.0rc1+cu118-cp311-cp311-linux_x86_64.whl",
        "torch-2.0.1-cp311-none-macosx_11_0_arm64.whl",
        "torch-2.0.1-1-cp311-cp311-manylinux2014_aarch64.whl",
        "torch-2.0.1-cp311-cp311-manylinux2014_aarch64.whl",
    ):
        served.add("torch", name, b"")
    client, url = session(timeout=5), f"{served.url}/simple"

    def name_of(platform: str, tag: str | None, python: str = "3.11") -> str | None:
        found = find_wheel(client, url, "torch", "2.0.1", tag=tag, python=python, platform=platform)
        return found.filename if found else None

    assert name_of("linux-x86_64", "cu118") == "torch-2.0.1+cu118-cp311-cp311-linux_x86_64.whl"
    assert name_of("windows-x86_64", "cu118") == "torch-2.0.1+cu118-cp311-cp311-win_amd64.whl"
    assert name_of("linux-aarch64", "cpu") == "torch-2.0.1-1-cp311-cp311-manylinux2014_aarch64.whl"
    assert name_of("macos-arm64", None) == "torch-2.0.1-cp311-none-macosx_11_0_arm64.whl"
    assert name_of("linux-x86_64", "cu121") is None
    assert name_of("linux-x86_64", "cu118", "3.12") is None
    assert newest_version(client, url, "torch") == "2.1.0"
    found = find_wheel(client, url, "torch", "2.0.1", tag="cu118", python="3.11", platform="linux-x86_64")
    assert found is not None
    assert found.sha256 == "0" * 64
    assert found.url.startswith(served.url)


def test_what_an_index_answers_with_403_is_absent(served: Served) -> None:
    url = f"{served.url}/simple"
    assert find_wheel(session(), url, "torch", "2.0.1", tag=None, python="3.11", platform="linux-x86_64") is None
    assert newest_version(session(), url, "torchaudio") is None


# the update

CUDA_PINS = (
    'nvidia-cuda-runtime-cu12==12.8.90; platform_system == "Linux" and platform_machine == "x86_64"',
    'nvidia-cudnn-cu12==9.10.2.21; platform_system == "Linux" and platform_machine == "x86_64"',
    'nvidia-nccl-cu12==2.27.5; platform_system == "Linux" and platform_machine == "x86_64"',
    'triton==3.5.1; platform_system == "Linux" and platform_machine == "x86_64" and python_version < "3.14"',
)


def row(tag: str, platform: str, on_pypi: bool, **changes: Any) -> dict[str, Any]:
    cuda = f"{tag[2:-1]}.{tag[-1]}" if tag != "cpu" else None
    base = {
        "torch": "9.0.0", "tag": tag, "platform": platform, "cuda": cuda, "index": tag, "on_pypi": on_pypi,
        "cudnn": None, "nccl": None, "triton": None, "pythons": ["3.11"], "wheel_tag": "manylinux_2_28_x86_64",
        "glibc": "2.28", "sass": ["8.0"] if cuda else [], "ptx": [], "channel": "stable", "evidence": "bytes",
        "source": "s", "date": "2030-01-01",
    }  # fmt: skip
    return base | changes


@pytest.fixture
def matrix() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": "2030.1.1",
        "date": "2030-01-01",
        "releases": [
            {"torch": "9.0.0", "released": "2030-01-01", "companions": {}, "source": "s", "date": "2030-01-01"}
        ],
        "builds": [
            row("cu126", "linux-x86_64", False, note="told"),
            row("cu128", "linux-x86_64", True),
            row("cpu", "windows-x86_64", True, wheel_tag="win_amd64", glibc=None),
        ],
        "gpus": [{"name": "untouched"}],
    }


@pytest.fixture
def index(served: Served) -> Served:
    for python, system in itertools.product(("cp311", "cp314"), ("manylinux_2_28_x86_64", "win_amd64")):
        content = (
            cuda_wheel("9.0.0", CUDA_PINS) if "linux" in system else ranged_index.wheel("torch", "9.0.0", CUDA_PINS)
        )
        served.add("torch", f"torch-9.0.0-{python}-{python}-{system}.whl", content, "2029-12-31")
    served.add("torch", "torch-8.0.0-cp311-cp311-win_amd64.whl", b"", "2020-01-01")
    served.add("torch", "torch-9.1.0rc1-cp311-cp311-win_amd64.whl", b"")
    yanked = "torch-9.0.0-cp312-cp312-win_amd64.whl"
    served.add("torch", yanked, b"", yanked="broken")
    served.add(
        "torchvision",
        "torchvision-0.9.0-py3-none-any.whl",
        ranged_index.wheel("torchvision", "0.9.0", ["torch==9.0.0"]),
    )
    local = ranged_index.wheel("torchvision", "0.9.1", ["torch==9.0.0+cu128"])
    served.add("torchvision", "torchvision-0.9.1-py3-none-any.whl", local)
    return served


def update(served: Served, data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return rebuild(data, session(timeout=5), f"{served.url}/simple", today=DAY)


def test_what_the_index_knows_is_rebuilt_and_nothing_else(index: Served, matrix: dict[str, Any]) -> None:
    before = copy.deepcopy(matrix)
    new, lines = update(index, matrix)
    assert matrix == before
    told, served_row, windows = new["builds"]
    assert (served_row["cudnn"], served_row["nccl"], served_row["triton"]) == ("9.10.2.21", "2.27.5", "3.5.1")
    assert [r["pythons"] for r in new["builds"]] == [["3.11", "3.14"]] * 3
    assert told == before["builds"][0] | {"pythons": ["3.11", "3.14"], "date": DAY}
    assert windows["cudnn"] is None
    assert served_row["sass"] == ["8.0"]
    release = new["releases"][0]
    assert (release["released"], release["companions"]) == ("2029-12-31", {"torchvision": "0.9.0"})
    assert new["gpus"] == before["gpus"]
    assert new["date"] == DAY
    assert "torch 9.0.0+cu128 on linux-x86_64: cudnn none -> 9.10.2.21" in lines
    assert "torch 9.0.0: torchvision none -> 0.9.0" in lines


def test_a_second_run_changes_nothing(index: Served, matrix: dict[str, Any]) -> None:
    new, _ = update(index, matrix)
    again, lines = rebuild(new, session(), f"{index.url}/simple", today="2032-01-01")
    assert lines == []
    assert json.dumps(again) == json.dumps(new)


def test_a_new_release_gets_its_rows_from_the_wheels(index: Served, matrix: dict[str, Any]) -> None:
    linux = cuda_wheel("9.1.0", CUDA_PINS, "sm_75 sm_80 compute_80")
    index.add("torch", "torch-9.1.0-cp314-cp314-manylinux_2_28_x86_64.whl", linux, "2030-06-01")
    index.add("torch", "torch-9.1.0-cp314-cp314-win_amd64.whl", ranged_index.wheel("torch", "9.1.0"), "2030-06-01")
    loose = ranged_index.wheel("torchvision", "0.10.0", ["torch>=9.0.0"])
    index.add("torchvision", "torchvision-0.10.0-py3-none-any.whl", loose, "2030-06-01")
    new, lines = update(index, matrix)
    release = new["releases"][-1]
    assert (release["torch"], release["released"]) == ("9.1.0", "2030-06-01")
    assert release["companions"] == {"torchvision": "0.10.0"}
    assert "inferred" in release["note"]
    built, windows = new["builds"][-2:]
    assert (built["tag"], built["cuda"], built["sass"], built["ptx"]) == ("cu128", "12.8", ["7.5", "8.0"], ["8.0"])
    assert (built["index"], built["on_pypi"], built["evidence"]) == ("pypi", True, "bytes")
    assert built["triton"] is None  # its METADATA pins none on the only Python that it has
    assert (windows["tag"], windows["index"], windows["glibc"]) == ("cpu", "cpu", None)
    assert "torch 9.1.0: new release, uploaded 2030-06-01" in lines
    assert update(index, new)[1] == []


def test_an_index_whose_wheels_are_other_builds_is_refused(index: Served, matrix: dict[str, Any]) -> None:
    matrix["builds"][1] = row("cu130", "linux-x86_64", True)
    with pytest.raises(NetworkError, match=r"with CUDA 12\.8, the matrix says 13\.0"):
        update(index, matrix)


def test_metadata_beside_the_wheel_is_preferred(index: Served, matrix: dict[str, Any]) -> None:
    row_ = next(r for r in index.projects["torchvision"] if r["filename"] == "torchvision-0.9.0-py3-none-any.whl")
    row_["core-metadata"] = {"sha256": "0" * 64}
    index.files["/files/torchvision-0.9.0-py3-none-any.whl.metadata"] = b"Requires-Dist: torch==9.0.0\n"
    index.files["/files/torchvision-0.9.0-py3-none-any.whl"] = b"never read"
    assert update(index, matrix)[0]["releases"][0]["companions"] == {"torchvision": "0.9.0"}


def test_offline_says_so(matrix: dict[str, Any]) -> None:
    with pytest.raises(NetworkError, match=r"cannot reach http://127\.0\.0\.1:9/simple/torch/: .*offline"):
        rebuild(matrix, session(timeout=2), "http://127.0.0.1:9/simple")


def test_an_index_without_torch_says_so(served: Served, matrix: dict[str, Any]) -> None:
    with pytest.raises(NetworkError, match="has no torch"):
        update(served, matrix)


def test_an_answer_that_is_no_index_says_so(served: Served, matrix: dict[str, Any]) -> None:
    served.projects["torch"] = [{"name": "without file name"}]
    with pytest.raises(NetworkError, match="does not answer as a simple package index"):
        update(served, matrix)


# the default index


def answers(**said: str) -> Any:
    return lambda argv: said["config" if "config" in argv else "built_in"]


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [
        ({"PIP_INDEX_URL": "https://env.example/simple"}, "", "https://env.example/simple"),
        ({}, "global.index-url='https://conf.example/simple'\n", "https://conf.example/simple"),
        ({}, "global.index-url='https://a'\ninstall.index-url='https://b'\n", "https://b"),
        ({}, "global.extra-index-url='https://more'\nglobal.cert='x=y'\n", "https://built.in"),
    ],
)
def test_the_default_index_is_pips_own(environ: dict[str, str], config: str, expected: str) -> None:
    assert default_index(environ, answers(config=config, built_in="https://built.in\n")) == expected


def test_without_pip_the_default_index_is_unknown() -> None:
    with pytest.raises(UsageError, match="--index-url"):
        default_index({}, lambda argv: None)


def test_the_index_that_pip_would_use_here_is_an_address() -> None:
    assert default_index({}).startswith(("https://", "http://", "file:"))


def test_credentials_are_not_shown() -> None:
    assert redact("https://me:secret@host.example/simple?token=1") == "https://host.example/simple"
