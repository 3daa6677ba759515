"""``envcheck matrix check``: silent on the repository's matrix, and it finds each fault planted there."""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envcheck.matrix import data_path, dumps
from envcheck.matrix_check import CLASSES, check, check_text, rules

Data = dict[str, Any]


@pytest.fixture(scope="module")
def text() -> str:
    return Path(data_path("compat_matrix.json")).read_text(encoding="utf-8")


@pytest.fixture
def data(text: str) -> Data:
    loaded: Data = json.loads(text)
    return loaded


def build(data: Data, torch: str, tag: str, platform: str = "linux-x86_64") -> Data:
    row: Data = next(r for r in data["builds"] if (r["torch"], r["tag"], r["platform"]) == (torch, tag, platform))
    return row


def test_the_matrix_of_this_repository_has_no_problem(text: str) -> None:
    assert check_text(text) == []


def test_formatting_is_judged(text: str) -> None:
    assert "canonical" in check_text(json.dumps(json.loads(text)))[0]
    assert "canonical" in check_text(text + "\n")[0]
    assert "not valid JSON" in check_text(text[:-40])[0]
    assert check_text("[]") == ["a matrix is a JSON object, not list"]


def set_in(section: str, number: int, key: str, value: Any) -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        data[section][number][key] = value

    return plant


def set_build(key: str, value: Any, torch: str = "2.6.0", tag: str = "cu124") -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        build(data, torch, tag)[key] = value

    return plant


def drop(section: str, key: str) -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        del data[section][0][key]

    return plant


def drop_rows(section: str, key: str, value: str) -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        data[section] = [row for row in data[section] if row[key] != value]

    return plant


def twice(section: str) -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        data[section].insert(1, copy.deepcopy(data[section][0]))

    return plant


def swapped(section: str) -> Callable[[Data], None]:
    def plant(data: Data) -> None:
        data[section][0], data[section][1] = data[section][1], data[section][0]

    return plant


FAULTS: list[tuple[str, Callable[[Data], None], str]] = [
    ("no schema", lambda d: d.update(schema="envcheck.matrix/0"), "schema is 'envcheck.matrix/0'"),
    ("no version", lambda d: d.pop("version"), "'version' is missing"),
    ("section lost", lambda d: d.pop("conda"), "section 'conda' is missing"),
    ("section no list", lambda d: d.update(cuda={}), "section 'cuda' is missing or no list"),
    ("strange key", lambda d: d.update(extra=1), "unknown key 'extra'"),
    ("defaults without source", lambda d: d["defaults"].pop("source"), "'defaults' is missing, or no object"),
    ("default branch unknown", lambda d: d["defaults"].update(driver_branch="999"), "names driver branch 999"),
    ("row no object", lambda d: d["cuda"].insert(0, "12.8"), "cuda[0] is no object"),
    ("key lost", drop("builds", "sass"), "lacks 'sass'"),
    ("key of nobody", set_in("builds", 0, "sas", []), "unknown key 'sas'"),
    ("text for a list", set_build("sass", "8.0"), "sass is '8.0'"),
    ("number for text", set_build("cudnn", 9.1), "cudnn is 9.1"),
    ("text for a truth", set_build("on_pypi", "yes"), "on_pypi is 'yes'"),
    ("truth for a number", set_in("architectures", 0, "tensor_cores", True), "tensor_cores is True"),
    ("no source", set_build("source", " "), "names no source"),
    ("no day", set_build("date", "2026-13-01"), "is no day"),
    ("pattern", set_build("pythons", ["three"]), "does not fit the schema"),
    ("unknown channel", set_build("channel", "beta"), "does not fit the schema"),
    ("unknown evidence", set_build("evidence", "believed"), "does not fit the schema"),
    ("torch without release", drop_rows("releases", "torch", "2.6.0"), "names torch 2.6.0"),
    ("CUDA without row", drop_rows("cuda", "cuda", "12.4"), "names CUDA 12.4"),
    ("capability without row", drop_rows("architectures", "compute_capability", "8.6"), "compute capability 8.6"),
    ("branch without row", drop_rows("driver_branches", "branch", "580"), "names driver branch 580"),
    ("generation unknown", set_in("gpus", 0, "architecture", "Einstein"), "architecture Einstein"),
    ("release without build", drop_rows("builds", "torch", "2.6.0"), "releases 2.6.0: no build"),
    ("companion unknown", lambda d: d["releases"][0]["companions"].update(torchtext="1.0"), "torchtext"),
    ("row twice", twice("builds"), "is there twice"),
    ("distro twice", twice("distros"), "is there twice"),
    ("order of releases", swapped("releases"), "releases 2.0.0 is out of order"),
    ("order of builds", swapped("builds"), "is out of order"),
    ("order of branches", swapped("driver_branches"), "is out of order"),
    ("tag against CUDA", set_build("cuda", "12.6"), "the tag does not agree with CUDA 12.6"),
    ("CPU with code", set_build("sass", ["8.0"], tag="cpu"), "a CPU build has GPU code"),
    ("CUDA without code", set_build("sass", []), "without machine code"),
    ("Kepler in CUDA 12", set_build("sass", ["3.7", "5.0"]), "code for 3.7, but CUDA 12.4"),
    ("Volta in CUDA 13", set_build("sass", ["7.0", "7.5"], "2.15.0", "cu132"), "code for 7.0, but CUDA 13.2"),
    ("code not ascending", set_build("sass", ["8.0", "7.5"]), "sass is not ascending"),
    ("no version", set_build("pythons", ["three"]), "'three' is no version"),
    ("Python order", set_build("pythons", ["3.9", "3.13", "3.10"]), "Pythons are not ascending"),
    ("glibc against tag", set_build("glibc", "2.28"), "glibc 2.28 does not agree with manylinux1_x86_64"),
    ("tag of another platform", set_build("wheel_tag", "win_amd64"), "is none of that platform"),
    ("two on PyPI", set_build("on_pypi", True, tag="cu118"), "2 variants are said to be the one on pypi"),
    ("PyPI by hearsay", set_build("evidence", "told"), "its evidence is bytes"),
    ("index of another tag", set_build("index", "cu121"), "neither pypi nor the build's own tag"),
    ("from PyPI but not there", set_build("index", "pypi", tag="cu118"), "but not said to be there"),
    ("channel unknown", set_in("conda", 0, "index", "defaults"), "no conda channel"),
    ("conda wheel", set_in("conda", 0, "wheel_tag", "linux_x86_64"), "a conda build is no wheel"),
    ("specifier", set_in("constraints", 0, "torch", "<<2"), "cannot be read"),
    ("requirement", set_in("constraints", 0, "requirement", "numpy <"), "cannot be read"),
]


@pytest.mark.parametrize(("plant", "says"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_planted_fault_is_found(
    data: Data, plant: Callable[[Data], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "the schema" not in says:
        monkeypatch.setitem(sys.modules, "jsonschema", None)  # it takes most of the time, and these need it not
    plant(data)
    problems = check(data)
    assert any(says in problem for problem in problems), problems


def test_faults_name_the_row(data: Data) -> None:
    build(data, "2.6.0", "cu118")["sass"] = []
    assert check(data) == ["builds 2.6.0 cu118 linux-x86_64: a CUDA build without machine code for any GPU"]


def test_without_jsonschema_the_rest_is_still_judged(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert check(data) == []
    build(data, "2.6.0", "cu118")["glibc"] = "2.2"
    assert len(check(data)) == 1


def test_the_schema_is_a_schema_and_says_what_the_dataclasses_say() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = dict(rules())
    jsonschema.Draft202012Validator.check_schema(schema)
    for section, cls in CLASSES.items():
        row = schema["properties"][section]["items"]["$ref"].rpartition("/")[2]
        described = schema["$defs"][row]
        assert list(described["properties"]) == [f.name for f in dataclasses.fields(cls)], section
        needed = [
            f.name
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        assert described["required"] == needed, section


def test_dumps_of_a_checked_matrix_passes(data: Data) -> None:
    assert check_text(dumps(data)) == []
