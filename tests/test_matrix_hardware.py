"""The hardware sections of the matrix: CUDA floors, branches, architectures, cards, distributions, indexes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from envcheck.identify import gpu_from_pci
from envcheck.matrix import load, version_key

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
MATRIX = load(str(ROOT / "compat_matrix.json"))
GENERATIONS = ["Fermi", "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell"]
SECTIONS = ("cuda", "driver_branches", "architectures", "gpus", "distros", "indexes")


def shared(name: str) -> Any:
    file = SHARED / name
    if not file.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_has_a_source_and_a_date(section: str) -> None:
    rows = MATRIX.data[section]
    assert len(rows) >= 9
    for row in rows:
        assert len(row["source"]) > 8, row
        assert row["date"].startswith("2026-"), row
        assert not row["source"].startswith("/") and "facts/" not in row["source"], row


@pytest.mark.parametrize("section", SECTIONS)
def test_rows_are_canonical(section: str) -> None:
    text = (ROOT / "compat_matrix.json").read_text(encoding="utf-8")
    assert all(f"    {json.dumps(row, ensure_ascii=False)}" in text for row in MATRIX.data[section])


def test_every_cuda_minor_from_11_0_to_13_5_is_there() -> None:
    minors = [f"11.{n}" for n in range(9)] + [f"12.{n}" for n in range(10) if n != 7] + [f"13.{n}" for n in range(6)]
    assert list(MATRIX.cuda) == minors


@pytest.mark.parametrize(
    ("cuda", "numbers"),
    [
        ("11.0", ("450.51.05", "451.48", "450.80.02", "452.39")),
        ("11.7", ("515.43.04", "516.01", "450.80.02", "452.39")),
        ("11.8", ("520.61.05", "520.06", "450.80.02", "452.39")),
        ("12.1", ("530.30.02", "531.14", "525.60.13", "528.33")),
        ("12.4", ("550.54.14", "551.61", "525.60.13", "528.33")),
        ("12.6", ("560.28.03", "560.76", "525.60.13", "528.33")),
        ("12.8", ("570.26", "570.65", "525.60.13", "528.33")),
        ("13.0", ("580.65.06", None, "580.65.06", "580")),
        ("13.2", ("595.45.04", None, "580.65.06", "580")),
        ("13.5", (None, None, "580.65.06", "580")),
    ],
)
def test_driver_numbers_of_a_toolkit(cuda: str, numbers: tuple[str | None, ...]) -> None:
    row = MATRIX.cuda[cuda]
    assert (row.linux, row.windows, row.minor_linux, row.minor_windows) == numbers


def test_cuda_rows_rise_and_agree_with_the_branches() -> None:
    rows = [r for r in MATRIX.cuda.values() if r.linux]
    keys = [version_key(r.linux or "") for r in rows]
    assert keys == sorted(keys)
    for row in rows:
        assert MATRIX.driver_cuda(row.linux or "") == row.cuda, row.cuda
        if row.windows and row.cuda != "11.8":  # 520.06 is a 520 driver, the branch of 11.8
            assert version_key(MATRIX.driver_cuda(row.windows, windows=True) or "0") >= version_key(row.cuda)


def test_every_toolkit_equals_the_collected_general_releases() -> None:
    facts = shared("facts/data/cuda_driver.json")["records"]
    general = {r["cuda"]: r for r in facts if str(r["update"]).startswith("GA")}
    assert len(general) > 20
    for cuda, fact in general.items():
        row = MATRIX.cuda[cuda]
        if fact["toolkit_driver_linux"].startswith("N/A"):
            assert row.linux is None
        else:
            assert row.linux == fact["toolkit_driver_linux"], cuda
        told = fact["toolkit_driver_windows"]
        assert row.windows == (None if told.startswith("N/A") else told), cuda


# --- branches


def test_branches_are_in_order_and_speak_of_known_generations() -> None:
    numbers = [int(b) for b in MATRIX.branches]
    assert numbers == sorted(numbers)
    assert numbers[0] == 390 and numbers[-1] == 617
    for row in MATRIX.branches.values():
        assert row.kind in ("lts", "production", "new-feature", "legacy", "developer", "unknown")
        assert [g for g in GENERATIONS if g in row.architectures] == list(row.architectures), row.branch
        assert set(row.modules) <= {"proprietary", "open"} and row.modules
        assert not row.first or row.first.startswith(row.branch)


def test_cuda_shown_never_falls() -> None:
    shown = [version_key(b.cuda) for b in MATRIX.branches.values()]
    assert shown == sorted(shown)
    assert MATRIX.branches["565"].cuda == "12.7"
    assert "12.7" not in MATRIX.cuda


@pytest.mark.parametrize(
    ("generation", "first", "last"),
    [
        ("Fermi", "390", "390"),
        ("Kepler", "390", "470"),
        ("Maxwell", "390", "580"),
        ("Volta", "390", "580"),
        ("Turing", "410", "617"),
        ("Ampere", "450", "617"),
        ("Ada", "520", "617"),
        ("Hopper", "520", "617"),
        ("Blackwell", "570", "617"),
    ],
)
def test_generations_come_and_go(generation: str, first: str, last: str) -> None:
    drives = [b for b, row in MATRIX.branches.items() if generation in row.architectures]
    assert (drives[0], drives[-1]) == (first, last)
    every = list(MATRIX.branches)
    assert drives == every[every.index(first) : every.index(last) + 1]


def test_open_modules_begin_at_515_and_are_alone_from_615() -> None:
    for branch, row in MATRIX.branches.items():
        expected = ["proprietary"] if int(branch) < 515 else ["open"] if int(branch) >= 615 else ["proprietary", "open"]
        assert list(row.modules) == expected, branch


def test_real_banners_show_the_cuda_of_their_branch() -> None:
    outputs = sorted((SHARED / "outputs").glob("smi-*.expected.json"))
    if not outputs:
        pytest.skip("the collection of real outputs is not beside this checkout")
    checked = 0
    for file in outputs:
        expect = json.loads(file.read_text(encoding="utf-8"))["expect"]
        driver, cuda = expect.get("driver_version"), expect.get("cuda_version")
        # 540.x is L4T's number (Jetson), no branch of the table
        if not driver or not cuda or driver.startswith("540."):
            continue
        assert MATRIX.driver_cuda(driver, windows="win" in file.name) == cuda, (file.name, driver, cuda)
        checked += 1
    assert checked > 30


# --- architectures


def test_architectures_cover_every_capability_of_the_cards() -> None:
    assert {r.compute_capability for r in MATRIX.gpus} <= set(MATRIX.architectures)
    keys = [version_key(cc) for cc in MATRIX.architectures]
    assert keys == sorted(keys)
    for row in MATRIX.architectures.values():
        assert row.architecture in GENERATIONS
        assert row.integrated == (row.compute_capability in ("5.3", "6.2", "7.2", "8.7", "10.1", "11.0"))
        assert (row.modules == ()) == row.integrated


def test_first_and_last_branches_agree_with_the_branch_table() -> None:
    for row in MATRIX.architectures.values():
        if row.integrated:
            continue
        drives = [b for b, r in MATRIX.branches.items() if row.architecture in r.architectures]
        assert row.last_branch in (None, drives[-1]), row.compute_capability
        assert (row.last_branch is None) == (drives[-1] == "617"), row.compute_capability
        if row.first_branch is not None:
            assert row.first_branch in MATRIX.branches
            assert int(row.first_branch) >= int(drives[0])


def test_modules_by_generation() -> None:
    flavours = {r.architecture: r.modules for r in MATRIX.architectures.values() if not r.integrated}
    assert flavours["Volta"] == ("proprietary",)
    assert flavours["Turing"] == flavours["Hopper"] == ("proprietary", "open")
    assert flavours["Blackwell"] == ("open",)


def test_integrated_gpus_run_what_torch_says_that_they_run() -> None:
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).parent / "cuda" / "__init__.py" if spec and spec.origin else None
    text = file.read_text(encoding="utf-8") if file and file.exists() else ""
    if "DEVICE_REQUIREMENT: dict" not in text:
        pytest.skip("no torch with a DEVICE_REQUIREMENT table is installed here")
    table = _device_requirement(text)
    for device, row in MATRIX.architectures.items():
        if version_key(device) < (5, 0):
            continue
        for code, runs_on in table.items():
            assert (int(device.replace(".", "")) in runs_on) == _runs(code, device), (device, code, row.runs)


def _device_requirement(text: str) -> dict[str, set[int]]:
    """torch's DEVICE_REQUIREMENT: code -> devices, read with its own two little classes' meaning."""
    start = text.index("DEVICE_REQUIREMENT: dict")
    body = text[text.index("{", start) : text.index("\n}\n", start) + 2]
    devices = [int(cc.replace(".", "")) for cc in MATRIX.architectures]

    def interval(start: int, exclude: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        return {d for d in devices if d // 10 == start // 10 and d >= start and d not in exclude}

    table = eval(body, {"_CompatInterval": interval, "_CompatSet": set})
    return {f"{code // 10}.{code % 10}": set(runs) for code, runs in table.items()}


def _runs(code: str, device: str) -> bool:
    row = MATRIX.architectures[device]
    if code == device:
        return True
    if row.runs is not None:
        return code in row.runs
    other = MATRIX.architectures.get(code)
    if other is not None and other.integrated:
        return False
    return version_key(code)[0] == version_key(device)[0] and version_key(code) <= version_key(device)


# --- cards


def test_names_are_canonical_and_unique() -> None:
    keys = [(r.name, r.compute_capability) for r in MATRIX.gpus]
    assert len(keys) == len(set(keys)) > 500
    ids = [i for r in MATRIX.gpus for i in r.pci_ids]
    assert len(ids) == len(set(ids)) > 1500
    for row in MATRIX.gpus:
        assert row.name and not row.name.startswith("NVIDIA ")
        assert row.architecture == MATRIX.architectures[row.compute_capability].architecture
        assert all(i == i.upper() and len(i.split(":")[0]) == 4 for i in row.pci_ids), row.name


@pytest.mark.parametrize("chip", ["TU116", "TU117"])
def test_these_chips_have_no_tensor_cores(chip: str) -> None:
    rows = [r for r in MATRIX.gpus if chip in r.chip.split()]
    assert rows
    assert {r.tensor_cores for r in rows} == {0}


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("GeForce GTX 1080 Ti", 0),
        ("GeForce GTX 1650", 0),
        ("GeForce GTX 1660 SUPER", 0),
        ("T400", 0),
        ("T1200 Laptop GPU", 0),
        ("GeForce MX450", 0),
        ("GeForce MX550", 0),
        ("Tesla V100-SXM2-32GB", 1),
        ("GeForce RTX 2060", 2),
        ("Tesla T4", 2),
        ("GeForce RTX 2050", 3),
        ("GeForce MX570", 3),
        ("A100-SXM4-80GB", 3),
        ("GeForce RTX 3050 A Laptop GPU", 4),
        ("H100 80GB HBM3", 4),
        ("B200", 5),
    ],
)
def test_tensor_cores_by_chip(name: str, generation: int) -> None:
    assert [r.tensor_cores for r in MATRIX.gpus if r.name == name] == [generation]


def test_tensor_cores_follow_the_architecture_except_on_turing() -> None:
    for row in MATRIX.gpus:
        arch = MATRIX.architectures[row.compute_capability]
        if row.compute_capability == "7.5" or row.family == "CMP":
            assert row.tensor_cores in (0, 2, None)
        else:
            assert row.tensor_cores == arch.tensor_cores, row.name


@pytest.mark.parametrize("series", ["10", "16", "20", "30", "40", "50"])
def test_the_geforce_series_are_there_desktop_and_laptop(series: str) -> None:
    names = {r.name or "": r.laptop for r in MATRIX.gpus}
    models = [n for n in names if f"X {series}" in n and n.startswith("GeForce")]
    assert len(models) >= 6
    assert {names[n] for n in models} == {True, False}


@pytest.mark.parametrize("name", ["GB300", "B300 SXM6 AC", "GB10"])
def test_later_cards_say_their_first_branch(name: str) -> None:
    row = next(r for r in MATRIX.gpus if r.name == name)
    assert row.first_branch == "580"


def test_every_collected_card_is_there() -> None:
    records = shared("facts/data/gpu_archs.json")["records"]
    for record in records:
        for pci in record["pci_device_ids"]:
            row = gpu_from_pci(f"10de:{pci['device_id']}", None, MATRIX)
            assert row is not None, record["product"]
            assert row.compute_capability == record["compute_capability"], record["product"]
            assert (row.tensor_cores or 0) == (record["tensor_core_generation"] or 0), record["product"]


def test_every_pci_id_of_a_current_driver_has_a_row_that_this_branch_drives() -> None:
    records = shared("facts/data/pci_driver_branch.json")["records"]
    current = [r for r in records if r["legacy_branch"] == "current (550)"]
    assert len(current) > 900
    for record in current:
        sub = f"ffff:{record['subsystem'][2:].zfill(4)}" if record["subsystem"] else None
        row = gpu_from_pci(f"10de:{record['device_id']}", sub, MATRIX)
        assert row is not None, record
        arch = MATRIX.architectures[row.compute_capability]
        assert int(arch.first_branch or 0) <= 550, record
        assert arch.last_branch is None or int(arch.last_branch) >= 550, record
        if row.family != "CMP":  # mining boards joined the open modules' list after branch 550
            assert record["kernelopen"] == ("open" in arch.modules), record


def test_legacy_pci_ids_are_of_generations_that_ended() -> None:
    records = shared("facts/data/pci_driver_branch.json")["records"]
    for record in (r for r in records if r["legacy_branch"] in ("470.xx", "390.xx")):
        row = gpu_from_pci(f"10de:{record['device_id']}", None, MATRIX)
        assert row is not None and row.architecture in ("Kepler", "Fermi"), record


# --- distributions, indexes


@pytest.mark.parametrize(
    ("id", "version", "expected"),
    [
        ("debian", "12", ("debian", "3.11", "2.36", "debian12", True)),
        ("debian", "13", ("debian", "3.13", "2.41", "debian13", True)),
        ("ubuntu", "18.04", ("debian", "3.6", "2.27", "ubuntu1804", False)),
        ("ubuntu", "22.04", ("debian", "3.10", "2.35", "ubuntu2204", False)),
        ("ubuntu", "24.04", ("debian", "3.12", "2.39", "ubuntu2404", True)),
        ("ubuntu", "26.04", ("debian", "3.14", "2.43", "ubuntu2604", True)),
        ("linuxmint", "22.1", ("debian", "3.12", "2.39", "ubuntu2404", True)),
        ("rhel", "9.4", ("rhel", "3.9", "2.34", "rhel9", False)),
        ("ol", "7.9", ("rhel", "3.6", "2.17", "rhel7", False)),
        ("amzn", "2", ("amazon", "3.7", "2.26", None, False)),
        ("amzn", "2023", ("amazon", "3.9", "2.34", "amzn2023", False)),
        ("fedora", "43", ("fedora", "3.14", "2.42", "fedora43", None)),
        ("opensuse-leap", "15.6", ("suse", "3.6", "2.38", "opensuse15", False)),
        ("sles", "16.0", ("suse", "3.13", "2.40", "suse16", None)),
        ("opensuse-tumbleweed", "20261101", ("suse", "3.13", "2.43", "suse16", True)),
        ("alpine", "3.22.1", ("alpine", "3.12", None, None, True)),
    ],
)
def test_a_distribution(id: str, version: str, expected: tuple[Any, ...]) -> None:
    row = MATRIX.distro(id, version)
    assert row is not None
    assert (row.family, row.python, row.glibc, row.nvidia_repo, row.externally_managed) == expected


def test_drivers_of_the_archives_of_debian() -> None:
    found = {v: MATRIX.distro("debian", v) for v in ("11", "12", "13", "14")}
    assert [row.archive_driver if row else None for row in found.values()] == [
        "470.256.02",
        "535.261.03",
        "550.163.01",
        "550.163.01",
    ]


def test_real_os_release_files_have_the_family_of_their_row() -> None:
    files = sorted((SHARED / "outputs").glob("os-release__*.expected.json"))
    if not files:
        pytest.skip("the collection of real outputs is not beside this checkout")
    for file in files:
        expect = json.loads(file.read_text(encoding="utf-8"))["expect"]
        if expect["id"] is None:
            continue
        row = MATRIX.distro(expect["id"], expect["version_id"])
        assert row is not None and row.family == expect["family"], file.name
        if expect["nvidia_repo"]:
            assert row.nvidia_repo == expect["nvidia_repo"], file.name


def test_indexes() -> None:
    kinds = {i: row.kind for i, row in MATRIX.indexes.items()}
    assert kinds["pytorch"] == kinds["sjtu"] == kinds["nju"] == "pytorch"
    assert kinds["aliyun"] == "find-links"
    assert kinds["tuna"] == kinds["ustc"] == kinds["tencent"] == "pypi"
    assert "download-r2.pytorch.org" in MATRIX.indexes["pytorch"].hosts
    for row in MATRIX.indexes.values():
        assert row.url.startswith("https://")
        assert ("{tag}" in row.url) == (row.kind in ("pytorch", "find-links"))


def test_forward_compatibility_says_who_may_use_it() -> None:
    rule = MATRIX.data["forward_compatibility"]
    assert {"Data center", "Jetson"} == set(rule["gpus"])
    assert {r.family for r in MATRIX.gpus} >= set(rule["gpus"])
    assert rule["source"] and rule["date"]
