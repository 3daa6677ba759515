"""fleet merge: the odd ones out are found, damaged files are named, ten thousand nodes take seconds."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gating import doctor, machine, rendering, verification
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.cli import main
from envcheck.cli.fleet import as_json, as_prometheus, as_table
from envcheck.errors import InputError
from envcheck.fleet import compare, read_folder
from envcheck.gate import Policy
from envcheck.gate.render import as_json_data

INVENTORY = {"vbios_version": "96.00", "pcie.link.width.current": "16", "clocks.max.sm": "1980"}


def report(name: str, tflops: float = 100.0, driver: str = "580.95.05", **inventory: str) -> dict[str, Any]:
    on = machine(driver=driver)
    data = as_json_data(rendering(Policy(), doctor(on=on), verification(on=on)))
    data["node"], data["date"] = name, "2026-01-01T00:00:00+00:00"
    uuid = data["doctor"]["machine"]["gpus"][0]["uuid"] = f"GPU-{name}"
    data["verify"]["devices"][0]["uuid"] = uuid
    data["inventory"] = [{"uuid": uuid, **INVENTORY, **{k.replace("_x_", "."): v for k, v in inventory.items()}}]
    for result in data["verify"]["results"]:
        if result["code"] == "tensor-core-fp16":
            result["measured"] = {"tflops": tflops}
    return data


@pytest.fixture
def fleet(tmp_path: Path) -> Callable[..., Path]:
    def write(*reports: dict[str, Any]) -> Path:
        for number, data in enumerate(reports):
            (tmp_path / f"{number:05d}.json").write_text(json.dumps(data), encoding="utf-8")
        return tmp_path

    return write


def test_equal_nodes_are_not_odd(fleet: Callable[..., Path]) -> None:
    rates = random.Random(0)
    found = compare(read_folder(fleet(*(report(f"n{i}", rates.uniform(98, 102)) for i in range(8)))))
    assert (found.odd, found.exit_code, found.verdicts) == ((), 0, {"healthy": 8})
    assert ("driver", "580.95.05", 8) in found.common


@pytest.mark.parametrize(
    ("change", "what", "value"),
    [
        ({"driver": "570.10.01"}, "driver", "570.10.01"),
        ({"vbios_version": "95.11"}, "vbios of NVIDIA L4", "95.11"),
        ({"pcie_x_link_x_width_x_current": "8"}, "link width of NVIDIA L4", "8"),
        ({"clocks_x_max_x_sm": "1500"}, "max SM clock of NVIDIA L4", "1500"),
        ({"tflops": 94.0}, "fp16 TFLOPS of NVIDIA L4", "94.0"),
    ],
)
def test_the_odd_one_is_named(fleet: Callable[..., Path], change: dict[str, Any], what: str, value: str) -> None:
    found = compare(read_folder(fleet(*(report(f"n{i}") for i in range(5)), report("odd", **change))))
    assert [(o.node, o.what, o.value) for o in found.odd] == [("odd", what, value)]
    assert found.exit_code == 1


def test_five_percent_is_the_edge(fleet: Callable[..., Path]) -> None:
    reports = [report(f"n{i}") for i in range(5)]
    assert compare(read_folder(fleet(*reports, report("x", tflops=95.1)))).odd == ()


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), True, "100", -1.0, 0])
def test_a_rate_that_is_none_is_no_rate(fleet: Callable[..., Path], rate: Any) -> None:
    folder = read_folder(fleet(*(report(f"n{i}", tflops=rate) for i in range(3)), report("x")))
    assert [card.tflops for node in folder.nodes for card in node.cards] == [None, None, None, 100.0]


def test_two_that_differ_have_no_majority(fleet: Callable[..., Path]) -> None:
    (odd,) = compare(read_folder(fleet(report("a"), report("b", driver="570.10.01")))).odd
    assert odd.share == "1 of 2, no majority"


def test_damaged_files_are_named_and_counted(fleet: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = fleet(report("a"), report("b"))
    whole = (folder / "00000.json").read_text()
    damaged = {
        "cut.json": whole[:4000],
        "empty.json": "",
        "list.json": "[]",
        "deep.json": "[" * 200_000,
        "doctor.json": '{"schema": "envcheck.doctor/1"}',
        "nameless.json": whole.replace('"node": "a"', '"node": ""'),
        "shape.json": '{"schema": "envcheck.gate/1", "node": "x", "verdict": "healthy", "doctor": 3}',
    }
    for name, text in damaged.items():
        (folder / name).write_text(text)
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00\x80")
    (folder / "folder.json").mkdir()
    (folder / "notes.txt").write_text("")
    found = compare(read_folder(folder))
    assert {d.file for d in found.folder.damaged} == {*damaged, "binary.json", "folder.json"}
    assert (len(found.folder.nodes), found.folder.others, found.exit_code) == (2, 1, 3)
    assert main(["fleet", "merge", str(folder)]) == 3
    out = capsys.readouterr().out
    assert "damaged: 9 files" in out and all(name in out for name in damaged)


def test_the_newer_report_of_a_node_counts(fleet: Callable[..., Path]) -> None:
    new = report("a", driver="590.1")
    new["date"] = "2026-02-01T00:00:00+00:00"
    folder = read_folder(fleet(new, report("a")))
    assert [n.values["driver"] for n in folder.nodes] == ["590.1"]
    assert folder.replaced == ("00001.json",)


def test_missing_nodes_and_broken_ones(fleet: Callable[..., Path]) -> None:
    ill = report("b")
    ill["verdict"], ill["reasons"] = "undetermined", ["cudnn: timeout"]
    folder = fleet(report("a"), ill)
    assert compare(read_folder(folder)).exit_code == 3
    assert compare(read_folder(folder), 3).missing == 1
    ill["verdict"] = "broken"
    assert compare(read_folder(fleet(report("a"), ill))).exit_code == 1


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*\.json"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="cannot read the folder"):
        read_folder(tmp_path / "none")


def test_json_and_prometheus(fleet: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    evil = 'n"\\\n::error::x\x1b[31m##[add-path]/tmp'
    folder = fleet(report("a"), report("b"), report(evil, driver="570.1"))
    assert main(["fleet", "merge", str(folder), "--format", "json"]) == 1
    text = capsys.readouterr().out
    data = json.loads(text)
    assert "##[" not in text and "##[" in data["odd"][0]["node"]
    assert data["schema"] == "envcheck.fleet/1" and data["odd"][0]["node"].startswith("n")
    assert main(["fleet", "merge", str(folder)]) == 1
    assert not any(line.lstrip().startswith("::") for line in capsys.readouterr().out.splitlines())
    assert main(["fleet", "merge", str(folder), "--format", "prometheus"]) == 1
    text = capsys.readouterr().out
    assert "##[" not in text
    parser: Any = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    assert sum(s.value for s in families["envcheck_fleet_node_odd"].samples) == 1


@pytest.mark.slow
def test_ten_thousand_nodes(tmp_path: Path) -> None:
    text = json.dumps(report("NODE"))
    for number in range(10_000):
        (tmp_path / f"{number}.json").write_text(text.replace("NODE", f"n{number}"), encoding="utf-8")
    (tmp_path / "cut.json").write_text(text[:500])
    before = cpu_seconds()
    found = compare(read_folder(tmp_path, 2))
    seconds = cpu_seconds() - before
    assert (len(found.folder.nodes), len(found.folder.damaged), found.odd) == (10_000, 1, ())
    # of processor time, so that tests beside it do not count: two cores have 20 s in 10 s
    assert seconds < 20, f"{seconds:.1f} s of processor time"


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


ODD_VALUES: list[Any] = [
    None,
    3,
    -1,
    "",
    "x",
    [],
    {},
    [None],
    True,
    float("nan"),
    float("inf"),
    "\ud800",
    "n\n::x",
    10**400,
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_report_of_any_shape_is_a_node_or_is_named(data: st.DataObject) -> None:
    whole = copy.deepcopy(report("a"))
    for _ in range(data.draw(st.integers(1, 4))):
        place: Any = whole
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not inner or not isinstance(inner, dict | list) or data.draw(st.integers(0, 3)) == 0:
                break
            place = inner
        place[key] = copy.deepcopy(data.draw(st.sampled_from(ODD_VALUES)))
    with tempfile.TemporaryDirectory() as name:
        for number, value in enumerate([whole, report("b"), report("c"), report("d")]):
            Path(name, f"{number}.json").write_text(json.dumps(value), encoding="utf-8")
        fleet = compare(read_folder(Path(name)))
        assert len(fleet.folder.nodes) + len(fleet.folder.damaged) + len(fleet.folder.replaced) == 4
        assert {"b", "c", "d"} <= {n.name for n in fleet.folder.nodes}
        for render in (as_table, as_json, as_prometheus):
            text = render(fleet).encode("utf-8", "replace").decode()
            assert not re.search(r"^\s*::|##\[", text, re.MULTILINE)
        json.loads(as_json(fleet), parse_constant=refuse)
        # a rate that is no number makes no other card slow
        assert not {o.node for o in fleet.odd if "TFLOPS" in o.what} & {"b", "c", "d"}


def refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
