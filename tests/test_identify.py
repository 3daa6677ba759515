"""Names and PCI ids: many spellings of a card lead to one row, doubtful ones to a sentence, never to a guess."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.errors import UsageError
from envcheck.identify import find_gpu, full_name, gpu_from_pci, identify
from envcheck.identify.tokens import tokens
from envcheck.matrix import GpuRow, load
from envcheck.model import OS, Driver, Gpu, Machine

SHARED = Path(__file__).resolve().parents[2] / "shared"
MATRIX = load()

SPELLINGS = [
    # (as written, the row's name, compute capability, Tensor Core generation)
    ("RTX 4090", "GeForce RTX 4090", "8.9", 4),
    ("rtx4090", "GeForce RTX 4090", "8.9", 4),
    ("4090", "GeForce RTX 4090", "8.9", 4),
    ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090", "8.9", 4),
    ("NVIDIA GeForce RTX™ 4090", "GeForce RTX 4090", "8.9", 4),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "GeForce RTX 4090 Laptop GPU", "8.9", 4),
    ("RTX 4090 mobile", "GeForce RTX 4090 Laptop GPU", "8.9", 4),
    ("RTX 4090 notebook", "GeForce RTX 4090 Laptop GPU", "8.9", 4),
    ("RTX 4090 D", "GeForce RTX 4090 D", "8.9", 4),
    ("3080ti", "GeForce RTX 3080 Ti", "8.6", 3),
    ("RTX3080 TI", "GeForce RTX 3080 Ti", "8.6", 3),
    ("4070tisuper", "GeForce RTX 4070 Ti SUPER", "8.9", 4),
    ("MSI GeForce RTX 3060 Ventus 2X 12G OC", "GeForce RTX 3060", "8.6", 3),
    ("ASUS TUF Gaming GeForce RTX 4080 SUPER 16GB GDDR6X OC", "GeForce RTX 4080 SUPER", "8.9", 4),
    ("EVGA GTX 1080 Ti FTW3", "GeForce GTX 1080 Ti", "6.1", 0),
    ("Gigabyte RTX3070 Gaming OC 8G", "GeForce RTX 3070", "8.6", 3),
    ("PNY NVIDIA RTX A4000", "RTX A4000", "8.6", 3),
    ("4060 ti 16gb", "GeForce RTX 4060 Ti", "8.9", 4),
    ("RTX 3050 6GB", "GeForce RTX 3050", "8.6", 3),
    ("GeForce GTX 1060 6GB", "GeForce GTX 1060 6GB", "6.1", 0),
    ("GTX 1060", "GeForce GTX 1060", "6.1", 0),
    ("GeForce GTX 1060 Mobile", "GeForce GTX 1060 Mobile", "6.1", 0),
    ("GeForce GTX 1070 with Max-Q Design", "GeForce GTX 1070 with Max-Q Design", "6.1", 0),
    ("GTX 1070 Max-Q", "GeForce GTX 1070 with Max-Q Design", "6.1", 0),
    ("GTX 980", "GeForce GTX 980", "5.2", 0),
    ("GTX 750 Ti", "GeForce GTX 750 Ti", "5.0", 0),
    ("GT 1030", "GeForce GT 1030", "6.1", 0),
    ("MX450", "GeForce MX450", "7.5", 0),
    ("GTX 1650 SUPER", "GeForce GTX 1650 SUPER", "7.5", 0),
    ("gtx1660ti", "GeForce GTX 1660 Ti", "7.5", 0),
    ("RTX 2080 Super", "GeForce RTX 2080 SUPER", "7.5", 2),
    ("TITAN V", "TITAN V", "7.0", 1),
    ("Nvidia Titan RTX", "TITAN RTX", "7.5", 2),
    ("TITAN Xp", "TITAN Xp", "6.1", 0),
    ("NVIDIA TITAN X (Pascal)", "TITAN X (Pascal)", "6.1", 0),
    ("GTX TITAN X", "GeForce GTX TITAN X", "5.2", 0),
    ("T4", "Tesla T4", "7.5", 2),
    ("Tesla T4", "Tesla T4", "7.5", 2),
    ("NVIDIA T4", "Tesla T4", "7.5", 2),
    ("K80", "Tesla K80", "3.7", 0),
    ("P100", "Tesla P100", "6.0", 0),
    ("V100", "Tesla V100", "7.0", 1),
    ("Tesla V100-SXM2-32GB", "Tesla V100-SXM2-32GB", "7.0", 1),
    ("V100 SXM2 32 GB", "Tesla V100-SXM2-32GB", "7.0", 1),
    ("A100", "A100", "8.0", 3),
    ("A100 80GB", "A100 80GB", "8.0", 3),
    ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB", "8.0", 3),
    ("A100 PCIe 80GB", "A100 80GB PCIe", "8.0", 3),
    ("A10G", "A10G", "8.6", 3),
    ("L40S", "L40S", "8.9", 4),
    ("H100 PCIe", "H100 PCIe", "9.0", 4),
    ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3", "9.0", 4),
    ("NVIDIA GH200 480GB", "GH200 480GB", "9.0", 4),
    ("B200", "B200", "10.0", 5),
    ("NVIDIA GB200", "GB200", "10.0", 5),
    ("NVIDIA GB300", "GB300", "10.3", 5),
    ("NVIDIA B300 SXM6 AC", "B300 SXM6 AC", "10.3", 5),
    ("DGX Spark", "GB10", "12.1", 5),
    ("RTX 5090", "GeForce RTX 5090", "12.0", 5),
    ("RTX PRO 6000", "RTX PRO 6000 Blackwell", "12.0", 5),
    ("Quadro RTX 6000", "Quadro RTX 6000", "7.5", 2),
    ("RTX A6000", "RTX A6000", "8.6", 3),
    ("Quadro RTX A6000", "RTX A6000", "8.6", 3),
    ("RTX 6000 Ada", "RTX 6000 Ada Generation", "8.9", 4),
    ("Quadro P4000", "Quadro P4000", "6.1", 0),
    ("T1000", "T1000", "7.5", 0),
    ("Orin (nvgpu)", "Orin (nvgpu)", "8.7", 3),
    ("Jetson AGX Orin 64GB", "Jetson AGX Orin 64GB", "8.7", 3),
    ("NVIDIA Thor", "Thor", "11.0", 5),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100-SXM4-40GB MIG 1g.5gb", "8.0", 3),
    ("GRID V100D-8Q", "GRID V100D-8Q", "7.0", 1),
    ("NVIDIA A40-4Q", "A40-4Q", "8.6", 3),
    ("GRID RTX6000-8Q", "GRID RTX6000-8Q", "7.5", 2),
    ("NVIDIA RTX6000-Ada-8Q", "RTX6000-Ada-8Q", "8.9", 4),
    ("NVIDIA RTX PRO 6000 Blac...", "RTX PRO 6000 Blackwell", "12.0", 5),
    ("Tesla V100-SXM2...", "Tesla V100 SXM2", "7.0", 1),
]


@pytest.mark.parametrize(("text", "name", "cc", "tensor_cores"), SPELLINGS, ids=[s[0] for s in SPELLINGS])
def test_spelling(text: str, name: str, cc: str, tensor_cores: int) -> None:
    row = find_gpu(text, MATRIX)
    assert (row.name, row.compute_capability, row.tensor_cores) == (name, cc, tensor_cores)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RTX 6000", ["Quadro RTX 6000", "RTX A6000", "RTX 6000 Ada Generation", "sm_75", "sm_86", "sm_89"]),
        ("RTX 4000", ["Quadro RTX 4000", "RTX 4000 Ada Generation"]),
        ("TITAN X", ["GeForce GTX TITAN X", "TITAN X (Pascal)"]),
        ("GTX 860M", ["sm_30", "sm_50"]),
        ("RTX 9090", ["GeForce RTX 5090"]),
        ("RTX 5090 Super", ["GeForce RTX 5090"]),
        ("GTX 3060", ["GeForce RTX 3060"]),
        ("RTX 3060 4090", ["4090"]),
        ("RTX 2080 embedded", ["GeForce RTX 2080"]),
        ("sm_88", ["sm_86", "sm_89"]),
        ("12.8", ["sm_120"]),
        ("Graphics Device", ["--gpu sm_89"]),
        ("NVIDIA GeForce ...", ["nvidia-smi -L"]),
        ("NVIDIA GeForce GPU", ["sm_89"]),
        ("", ["sm_89"]),
        ("x" * 5000, ["sm_89"]),
        ("Radeon RX 7900 XTX", ["sm_89"]),
    ],
)
def test_doubtful_names_are_refused_with_the_nearest(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        find_gpu(text, MATRIX)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 900


@pytest.mark.parametrize("text", ["sm_89", "SM_89", "sm89", "compute_89", "8.9", "cc 8.9", "compute capability 8.9"])
def test_a_bare_architecture_has_no_name(text: str) -> None:
    row = find_gpu(text, MATRIX)
    assert (row.name, row.compute_capability, row.architecture, row.tensor_cores) == (None, "8.9", "Ada", 4)


def test_two_digit_majors_are_read_as_such() -> None:
    assert [find_gpu(t, MATRIX).compute_capability for t in ("sm_120", "sm_100", "sm_90a")] == ["12.0", "10.0", "9.0"]


def test_turing_without_a_name_leaves_the_tensor_cores_open() -> None:
    assert find_gpu("sm_75", MATRIX).tensor_cores is None


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("RTX 3060 12GB", 12),
        ("RTX 3060", (8, 12)),
        ("A100", (40, 64, 80)),
        ("A100 80GB", 80),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10),
        ("NVIDIA A40-12Q", 12),
        ("RTX 4090 48GB", 24),
    ],
)
def test_memory_of_a_name(text: str, gib: float | tuple[float, ...]) -> None:
    assert find_gpu(text, MATRIX).memory_gib == gib


def test_names_as_nvidia_smi_prints_them() -> None:
    assert full_name("GeForce RTX 4090") == "NVIDIA GeForce RTX 4090"
    assert full_name("Tesla T4") == "Tesla T4"
    assert full_name("Quadro P400") == "Quadro P400"


WORDS = [
    "RTX",
    "GTX",
    "NVIDIA",
    "GeForce",
    "Quadro",
    "Tesla",
    "Ti",
    "SUPER",
    "Laptop GPU",
    "Max-Q",
    "Ada",
    "PRO",
    "MIG",
]
MODELS = [
    "3060",
    "4090",
    "A100",
    "6000",
    "T4",
    "H100",
    "980",
    "8.9",
    "sm_86",
    "-8Q",
    "80GB",
    "...",
    "750",
    "x",
    "1g.5gb",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS + MODELS), max_size=6).map(" ".join)))
def test_any_text_gives_a_row_that_it_names_or_a_usage_error(text: str) -> None:
    try:
        row = find_gpu(text, MATRIX)
    except UsageError as error:
        assert str(error)
        return
    if row.name is None:
        assert row.compute_capability.replace(".", "") in re.sub(r"\D", "", text)
        return
    spelled = " ".join((row.name, *row.aliases)).lower()
    digits = set(re.findall(r"\d+", spelled))
    assert digits & set(re.findall(r"\d+", text.lower())) or tokens(text) & tokens(spelled)


def test_every_name_and_alias_finds_its_own_row() -> None:
    for row in MATRIX.gpus:
        for spelled in (row.name or "", *row.aliases):
            try:
                found = find_gpu(spelled, MATRIX)
            except UsageError as error:
                assert "could mean" in str(error) or spelled == "GeForce GPU", spelled
                continue
            assert found.compute_capability == row.compute_capability, spelled


# --- PCI ids


def test_pci_id_of_a_plain_device() -> None:
    row = gpu_from_pci("10de:2684", None, MATRIX)
    assert row is not None
    assert (row.name, row.compute_capability) == ("GeForce RTX 4090", "8.9")


def test_subsystem_decides_the_name() -> None:
    named = {s: gpu_from_pci("10de:1e30", s, MATRIX) for s in (None, "1028:129e", "10de:129e", "ffff:ffff")}
    assert [r.name if r else None for r in named.values()] == [
        "Quadro RTX 6000",
        "Quadro RTX 8000",
        "Quadro RTX 8000",
        "Quadro RTX 6000",
    ]


def test_device_listed_with_subsystems_only() -> None:
    exact = gpu_from_pci("10de:2bb3", "10de:227a", MATRIX)
    unknown = gpu_from_pci("10de:2bb3", None, MATRIX)
    assert exact is not None and unknown is not None
    assert (exact.name, exact.memory_gib) == ("RTX PRO 5000 72GB Blackwell", 72)
    assert unknown.compute_capability == "12.0"
    assert unknown.name == "RTX PRO 5000 72GB Blackwell / RTX PRO 5000 Blackwell"
    assert unknown.memory_gib is None


@pytest.mark.parametrize("pci", ["1002:744c", "10de:ffff", "10de", "", "10de:22a3", "rubbish:2684", "10de:2684:00"])
def test_foreign_or_unlisted_pci_ids_are_nothing(pci: str) -> None:
    assert gpu_from_pci(pci, None, MATRIX) is None


# --- identify


def machine(gpu: Gpu, **more: Any) -> Machine:
    return Machine(gpus=(gpu,), **more)


def only(result: Machine) -> Gpu:
    assert len(result.gpus) == 1
    return result.gpus[0]


def test_a_pci_id_fills_everything() -> None:
    gpu = only(identify(machine(Gpu(pci_id="10de:2684")), MATRIX))
    assert gpu.name == "NVIDIA GeForce RTX 4090"
    assert (gpu.compute_capability, gpu.architecture, gpu.tensor_cores) == ("8.9", "Ada", 4)
    assert gpu.memory_mib == 24 * 1024


def test_values_of_the_driver_stand() -> None:
    told = Gpu(name="NVIDIA A40-4Q", compute_capability="8.6", memory_mib=4096, pci_id="10de:2235")
    gpu = only(identify(machine(told), MATRIX))
    assert (gpu.name, gpu.memory_mib, gpu.tensor_cores, gpu.errors) == ("NVIDIA A40-4Q", 4096, 3, ())


def test_a_contradiction_is_reported_not_believed() -> None:
    gpu = only(identify(machine(Gpu(compute_capability="8.0", pci_id="10de:2684")), MATRIX))
    assert (gpu.compute_capability, gpu.architecture, gpu.tensor_cores, gpu.name) == ("8.0", "Ampere", 3, None)
    assert gpu.errors == ("the driver says compute capability 8.0, PCI id 10de:2684 is GeForce RTX 4090 (8.9)",)


def test_tensor_cores_of_an_unnamed_turing_come_from_its_pci_id() -> None:
    told = Gpu(name="Graphics Device", compute_capability="7.5", pci_id="10de:2182")
    assert only(identify(machine(told), MATRIX)).tensor_cores == 0
    unnamed = Gpu(name="Graphics Device", compute_capability="7.5")
    assert only(identify(machine(unnamed), MATRIX)).tensor_cores is None


def test_a_gpu_that_nobody_knows_is_named_in_problems() -> None:
    result = identify(machine(Gpu(name="NVIDIA Graphics Device")), MATRIX)
    assert only(result).compute_capability is None
    assert "NVIDIA Graphics Device" in result.problems["gpus[0].compute_capability"]


def test_identify_is_idempotent() -> None:
    once = identify(
        Machine(
            os=OS(id="ubuntu", version="24.04", platform="linux"),
            driver=Driver(version="550.163.01"),
            gpus=(Gpu(index=0, pci_id="10de:1e30", compute_capability="8.0"), Gpu(index=1, name="what")),
        ),
        MATRIX,
    )
    assert identify(once, MATRIX) == once


@pytest.mark.parametrize(
    ("version", "os", "cuda"),
    [
        ("535.104.05", OS(platform="linux"), "12.2"),
        ("566.36", OS(platform="windows"), "12.7"),
        ("566.36", OS(platform="linux", wsl="2"), "12.7"),
        ("577.00", OS(platform="windows"), "12.9"),
        ("540.4.0", OS(platform="linux", jetson="36.4.0"), None),
        ("304.137", OS(platform="linux"), None),
        ("not a version", OS(platform="linux"), None),
    ],
)
def test_the_drivers_cuda_comes_from_its_branch(version: str, os: OS, cuda: str | None) -> None:
    assert identify(Machine(os=os, driver=Driver(version=version)), MATRIX).driver.cuda == cuda


def test_the_drivers_own_cuda_stands() -> None:
    told = Machine(driver=Driver(version="535.104.05", cuda="12.9"))
    assert identify(told, MATRIX).driver.cuda == "12.9"


@pytest.mark.parametrize(
    ("os", "family"),
    [
        (OS(id="ubuntu", version="24.04"), "debian"),
        (OS(id="rocky", version="9.5"), "rhel"),
        (OS(id="kylin", version="v10"), "debian"),
        (OS(id="kylin", version="V10"), "rhel"),
        (OS(id="kylin", version="11"), None),
        (OS(id="amzn", version="2"), "amazon"),
        (OS(id="debian", version=None), "debian"),
        (OS(id="linuxfromscratch", version="12"), None),
        (OS(id="windows", version="11", platform="windows"), "windows"),
        (OS(id="uos", version="20", family="debian"), "debian"),
    ],
)
def test_the_family_comes_from_the_distributions(os: OS, family: str | None) -> None:
    assert identify(Machine(os=os), MATRIX).os.family == family


# --- real outputs


def real_gpus() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for file in sorted((SHARED / "outputs").glob("*.expected.json")):
        expect = json.loads(file.read_text(encoding="utf-8")).get("expect")
        gpus = expect.get("gpus") if isinstance(expect, dict) else None
        found += [(file.name, g) for g in gpus or [] if isinstance(g, dict)]
    return found


def test_real_names_lead_to_the_compute_capability_that_the_machine_has() -> None:
    gpus = [(f, g) for f, g in real_gpus() if g.get("compute_capability") and g.get("name")]
    if not gpus:
        pytest.skip("the collection of real outputs is not beside this checkout")
    unnamed = 0
    for file, gpu in gpus:
        if "Graphics Device" in gpu["name"]:
            unnamed += 1
            continue
        assert find_gpu(gpu["name"], MATRIX).compute_capability == gpu["compute_capability"], (file, gpu["name"])
    assert len(gpus) - unnamed > 30


def test_real_pci_ids_agree_with_real_names() -> None:
    seen = 0
    for file, gpu in real_gpus():
        pci = str(gpu.get("pci_device_id") or gpu.get("pci_id") or gpu.get("device_id") or "")
        if not re.fullmatch(r"(0x)?[0-9A-Fa-f]{4}10DE", pci):
            continue
        row = gpu_from_pci(f"10de:{pci[-8:-4]}", None, MATRIX)
        if row is None:  # a made-up device (a mock in the collection)
            assert "mock" in file, (file, pci)
            continue
        assert row.compute_capability == find_gpu(gpu["name"], MATRIX).compute_capability, (file, gpu["name"])
        seen += 1
    if not seen:
        pytest.skip("the collection of real outputs is not beside this checkout")


def test_rows_are_built_only_for_what_is_looked_up() -> None:
    fresh = type(MATRIX)(MATRIX.data)
    assert isinstance(find_gpu("RTX 4090", fresh), GpuRow)
    assert "gpus" not in vars(fresh)
