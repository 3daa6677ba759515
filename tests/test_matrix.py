"""``envcheck.matrix``: loading, canonical text, queries, and what its rows promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envcheck.errors import InputError
from envcheck.matrix import Build, Matrix, data_path, dumps, least_glibc, load, version_key

PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64", "macos-x86_64")
# fmt: off
RELEASES = [
    "2.0.0", "2.0.1", "2.1.0", "2.1.1", "2.1.2", "2.2.0", "2.2.1", "2.2.2", "2.3.0", "2.3.1", "2.4.0", "2.4.1",
    "2.5.0", "2.5.1", "2.6.0", "2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.9.1", "2.10.0", "2.11.0", "2.12.0",
    "2.12.1", "2.13.0", "2.14.0", "2.14.1", "2.15.0",
]
# fmt: on


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return load()


def one(
    matrix: Matrix, torch: str, tag: str, platform: str, section: str = "builds", index: str | None = None
) -> Build:
    found = [
        b for b in matrix.builds(platform, section) if b.torch == torch and b.tag == tag and index in (None, b.index)
    ]
    assert len(found) == 1, (torch, tag, platform, found)
    return found[0]


def test_the_file_is_canonical() -> None:
    text = Path(data_path("compat_matrix.json")).read_text(encoding="utf-8")
    assert dumps(json.loads(text)) == text


def test_dumps_writes_one_row_a_line_and_keeps_what_it_gets() -> None:
    data = {"schema": "s", "releases": [{"torch": "2.0.0"}, {"torch": "é"}], "builds": [], "defaults": {"a": [1]}}
    text = dumps(data)
    assert json.loads(text) == data
    assert text.splitlines()[2:5] == ['  "releases": [', '    {"torch": "2.0.0"},', '    {"torch": "é"}']


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not valid JSON"),
        ('{"schema": "envcheck.matrix/1", "buil', "not valid JSON"),
        ("[]", "no compatibility matrix"),
        ('{"schema": "envcheck.matrix/9"}', "envcheck.matrix/9"),
        ('{"schema": "envcheck.matrix/1"}', "'releases' is missing"),
    ],
)
def test_a_bad_file_is_an_input_error_that_says_why(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "matrix.json"
    file.write_text(content)
    with pytest.raises(InputError, match=says):
        load(str(file))


def test_an_absent_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load(str(tmp_path / "none.json"))


@pytest.mark.parametrize("lost", ["platform", "torch", "sass"])
def test_a_row_that_lacks_a_key_is_an_input_error(matrix: Matrix, lost: str) -> None:
    row = {k: v for k, v in matrix.data["builds"][0].items() if k != lost}
    broken = Matrix({**matrix.data, "builds": [row]})
    with pytest.raises(InputError, match="builds"):
        broken.builds(matrix.data["builds"][0]["platform"])


@pytest.mark.parametrize(
    ("tag", "glibc"),
    [
        ("manylinux1_x86_64", "2.5"),
        ("manylinux2014_aarch64", "2.17"),
        ("manylinux_2_28_x86_64", "2.28"),
        ("linux_x86_64", None),
        ("win_amd64", None),
        ("macosx_11_0_arm64", None),
        (None, None),
    ],
)
def test_least_glibc(tag: str | None, glibc: str | None) -> None:
    assert least_glibc(tag) == glibc


def test_version_key_orders_numerically() -> None:
    assert sorted(["2.10.0", "2.9.1", "2.2.0"], key=version_key) == ["2.2.0", "2.9.1", "2.10.0"]
    with pytest.raises(ValueError, match="invalid literal"):
        version_key("12.8a")


def test_every_release_has_builds_on_every_platform_that_it_serves(matrix: Matrix) -> None:
    assert list(matrix.releases) == RELEASES
    for torch in RELEASES:
        served = {b.platform for p in PLATFORMS for b in matrix.builds(p) if b.torch == torch}
        # Intel Macs: 2.2.2 was the last release
        expected = set(PLATFORMS) if version_key(torch) <= (2, 2, 2) else set(PLATFORMS) - {"macos-x86_64"}
        assert served == expected, torch
        cpu = {b.platform for p in PLATFORMS for b in matrix.builds(p) if b.torch == torch and b.cuda is None}
        assert cpu == expected, torch


def test_pypi_serves_one_variant_of_each_release_and_platform(matrix: Matrix) -> None:
    for platform in PLATFORMS:
        served = [b.torch for b in matrix.builds(platform) if b.on_pypi]
        assert len(served) == len(set(served))
        assert set(served) == {b.torch for b in matrix.builds(platform)}


@pytest.mark.parametrize(
    ("torch", "platform", "tag"),
    [
        ("2.0.1", "linux-x86_64", "cu117"),
        ("2.3.1", "linux-x86_64", "cu121"),
        ("2.6.0", "linux-x86_64", "cu124"),
        ("2.7.1", "linux-x86_64", "cu126"),
        ("2.10.0", "linux-x86_64", "cu128"),
        ("2.10.0", "linux-aarch64", "cpu"),
        ("2.11.0", "linux-aarch64", "cu130"),
        ("2.14.1", "linux-x86_64", "cu130"),
        ("2.15.0", "linux-x86_64", "cu132"),
        ("2.15.0", "windows-x86_64", "cpu"),
    ],
)
def test_the_variant_that_a_bare_pip_install_gives(matrix: Matrix, torch: str, platform: str, tag: str) -> None:
    assert one(matrix, torch, tag, platform).on_pypi


def test_windows_gpu_builds_are_never_on_pypi_and_its_cpu_builds_are_named_by_their_index(matrix: Matrix) -> None:
    for build in matrix.builds("windows-x86_64"):
        assert build.on_pypi == (build.cuda is None)
        assert build.index == build.tag  # the page's bare command for CUDA 11.7 would install the CPU build


def test_old_gpus_by_variant(matrix: Matrix) -> None:
    assert "6.0" in one(matrix, "2.14.1", "cu126", "linux-x86_64").sass
    assert "7.0" not in one(matrix, "2.7.1", "cu128", "linux-x86_64").sass
    assert "7.0" in one(matrix, "2.10.0", "cu128", "linux-x86_64").sass
    assert "7.0" not in one(matrix, "2.11.0", "cu128", "linux-x86_64").sass
    assert "7.0" not in one(matrix, "2.10.0", "cu128", "windows-x86_64").sass
    for build in matrix.builds("linux-x86_64"):
        if build.key >= (2, 15):
            assert all(version_key(a) >= (7, 5) for a in build.sass)
            assert build.cuda is None or build.cuda_key >= (13,)


def test_no_wheel_whose_bytes_were_read_has_ptx(matrix: Matrix) -> None:
    assert [b.key for p in PLATFORMS for b in matrix.builds(p) if b.on_pypi and b.ptx] == []


def test_a_row_that_nobody_saw_is_not_verified(matrix: Matrix) -> None:
    assert one(matrix, "2.15.0", "cu132", "linux-x86_64").verified
    assert one(matrix, "2.11.0", "cu128", "windows-x86_64").verified
    assert not one(matrix, "2.15.0", "cu130", "linux-x86_64").verified
    assert not one(matrix, "2.14.1", "cu126", "linux-x86_64").verified
    assert one(matrix, "2.13.0", "cu129", "linux-x86_64").channel == "unlisted"
    assert one(matrix, "2.14.0", "cu126", "linux-x86_64").channel == "legacy"


def test_archs_are_written_as_torch_writes_them(matrix: Matrix) -> None:
    assert one(matrix, "2.0.1", "cu118", "windows-x86_64").archs[-3:] == ("sm_86", "sm_90", "compute_37")


def test_pairs(matrix: Matrix) -> None:
    pairs = {torch: dict(row.companions) for torch, row in matrix.releases.items()}
    assert pairs["2.0.0"] == {"torchvision": "0.15.1", "torchaudio": "2.0.1"}
    assert pairs["2.0.1"] == {"torchvision": "0.15.2", "torchaudio": "2.0.2"}
    assert pairs["2.11.0"] == {"torchvision": "0.26.0", "torchaudio": "2.11.0"}
    assert pairs["2.12.0"] == {"torchvision": "0.27.0"}  # torchaudio ended at 2.11.0
    assert pairs["2.15.0"] == {"torchvision": "0.29.2"}
    conda = matrix.releases["2.0.0"].conda_companions
    assert conda is not None
    assert dict(conda) == {"torchvision": "0.15.0", "torchaudio": "2.0.0"}
    assert [t for t, row in matrix.releases.items() if row.note and "inferred" in row.note] == ["2.14.1", "2.15.0"]


def test_conda_channels(matrix: Matrix) -> None:
    assert one(matrix, "2.5.1", "cu124", "linux-x86_64", "conda", "pytorch").verified
    assert not [b for b in matrix.builds("linux-x86_64", "conda") if b.index == "pytorch" and b.key > (2, 5, 1)]
    way_out = one(matrix, "2.13.0", "cu129", "linux-x86_64", "conda", "conda-forge")
    assert {"5.0", "6.0", "7.0", "12.0"} <= set(way_out.sass)
    assert way_out.ptx == ("12.0",)
    orin = list(matrix.builds("jetson-aarch64", "conda"))
    assert {b.sass for b in orin} == {("8.7",)}


def test_constraints(matrix: Matrix) -> None:
    from packaging.specifiers import SpecifierSet

    def held(torch: str, platform: str) -> set[str]:
        return {
            c.requirement
            for c in matrix.constraints
            if c.package is None
            and (not c.platforms or platform in c.platforms)
            and SpecifierSet(c.torch).contains(torch)
        }

    assert held("2.2.2", "linux-x86_64") == {"numpy<2"}
    assert held("2.3.0", "linux-x86_64") == set()
    assert held("2.4.0", "windows-x86_64") == {"numpy<2"}
    assert held("2.4.1", "windows-x86_64") == set()


def test_cudnn_code(matrix: Matrix) -> None:
    assert "7.0" in matrix.cudnn["9.10.2.21", "12"].sass
    assert matrix.cudnn["9.11.0.98", "12"].sass[0] == "7.5"
    assert "left over" in str(matrix.cudnn["9.11.0.98", "12"].note)


def rows_by_key(matrix: Matrix) -> dict[tuple[str, str], Any]:
    return {(b.torch, b.platform): b for p in PLATFORMS for b in matrix.builds(p) if b.on_pypi}


def test_python_ranges(matrix: Matrix) -> None:
    rows = rows_by_key(matrix)
    assert rows["2.1.2", "linux-x86_64"].pythons == ("3.8", "3.9", "3.10", "3.11")
    assert rows["2.4.1", "macos-arm64"].pythons == ("3.8", "3.9", "3.10", "3.11", "3.12")
    assert rows["2.5.1", "linux-x86_64"].pythons[-1] == "3.13"
    assert rows["2.5.1", "windows-x86_64"].pythons[-1] == "3.12"
    assert rows["2.12.0", "linux-aarch64"].pythons == ("3.10", "3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t")
    assert rows["2.15.0", "linux-x86_64"].pythons == ("3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t")


def test_pins_of_the_wheels(matrix: Matrix) -> None:
    rows = rows_by_key(matrix)
    seen = {
        "2.0.1": ("8.5.0.96", "2.14.3", "2.0.0"),
        "2.2.1": ("8.9.2.26", "2.19.3", "2.2.0"),
        "2.4.0": ("9.1.0.70", "2.20.5", "3.0.0"),
        "2.11.0": ("9.19.0.56", "2.28.9", "3.6.0"),
        "2.15.0": ("9.26.0.51", "2.30.7", "3.9.0"),
    }
    for torch, pins in seen.items():
        row = rows[torch, "linux-x86_64"]
        assert (row.cudnn, row.nccl, row.triton) == pins
    assert "no triton on Python 3.12" in str(rows["2.3.1", "linux-x86_64"].note)
    assert rows["2.2.0", "linux-x86_64"].note is None
