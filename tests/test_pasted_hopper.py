"""What an H100 and an H200 printed (2026-11-26, driver 580.159.04; serials and UUIDs taken out): nothing alarms."""

from __future__ import annotations

from pathlib import Path

import pytest

from envcheck import matrix as matrix_module
from envcheck.checks import run_checks
from envcheck.detect.pasted import parse_report
from envcheck.identify import identify

FOLDER = Path(__file__).parent / "hopper"
FILES = sorted(FOLDER.iterdir())
CARDS = {"h100": ("NVIDIA H100 80GB HBM3", 81559), "h200": ("NVIDIA H200", 143771)}
MATRIX = matrix_module.load()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_a_sound_machine_alarms_nobody(file: Path) -> None:
    report = run_checks(identify(parse_report(file.read_text(encoding="utf-8")), MATRIX), MATRIX)
    assert [(f.code, f.evidence) for f in report.findings] == []


def test_all_of_it_together_alarms_nobody_either() -> None:
    for card in CARDS:
        text = "\n".join(f.read_text(encoding="utf-8") for f in FILES if f.name.startswith(card))
        report = run_checks(identify(parse_report(text), MATRIX), MATRIX)
        assert [(f.code, f.evidence) for f in report.findings] == []


@pytest.mark.parametrize("file", [f for f in FILES if "smi" in f.name and "topo" not in f.name], ids=lambda f: f.name)
def test_the_card_is_read(file: Path) -> None:
    machine = identify(parse_report(file.read_text(encoding="utf-8")), MATRIX)
    name, memory = CARDS[file.name[:4]]
    (gpu,) = machine.gpus
    assert (gpu.name, gpu.compute_capability) == (name, "9.0")
    if "-L" in file.name:
        return
    assert machine.driver.version == "580.159.04"
    assert (gpu.memory_mib, gpu.mig, gpu.ecc) == (memory, False, True)
    assert machine.driver.cuda == "13.0"


def test_the_reports_speak_of_torch_and_the_system() -> None:
    machine = identify(parse_report((FOLDER / "h200-collect-env.txt").read_text(encoding="utf-8")), MATRIX)
    assert machine.torch is not None and machine.torch.version == "2.11.0+cu130"
    assert (machine.os.id, machine.os.version, machine.driver.version) == ("ubuntu", "24.04", "580.159.04")
    assert (machine.python and machine.python.version) == "3.12.3"
    system = identify(parse_report((FOLDER / "h200-system.txt").read_text(encoding="utf-8")), MATRIX)
    assert (system.driver.version, system.driver.module, system.os.id) == ("580.159.04", "open", "ubuntu")


@pytest.mark.parametrize(
    "line",
    [
        "        Remapping Failure Occurred                     : No",
        "        Channel Repair Pending                         : No",
        "            HW Thermal Slowdown                        : Not Active",
        "            SRAM Uncorrectable SEC-DED                 : 0",
        "    GPU is lost                                        : N/A",
    ],
)
def test_what_a_field_is_called_is_no_news_where_there_is_nothing_of_it(line: str) -> None:
    report = run_checks(identify(parse_report("==============NVSMI LOG==============\n" + line), MATRIX), MATRIX)
    assert [f.code for f in report.findings] == []
