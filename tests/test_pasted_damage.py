"""Reports as people paste them: quoted, cut, coloured, hostile, huge. The same facts come out, and quickly."""

from __future__ import annotations

import json
import os
import random
import re
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envcheck.detect.pasted import parse_error_text, parse_report
from envcheck.detect.pasted.lines import read
from envcheck.model import Machine, to_plain

OUTPUTS = Path(__file__).resolve().parents[2] / "shared" / "outputs"
CASES = OUTPUTS.parent / "cases"
MEGABYTE = 1_000_000
EXAMPLES = int(os.environ.get("ENVCHECK_FUZZ", "500"))  # 20000 for the long run

TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 2080 ...    Off |   00000000:0C:00.0 Off |                  N/A |
| 38%   33C    P8             38W /  250W |     211MiB /   8192MiB |      0%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
"""
COLLECT_ENV = """\
Collecting environment information...
PyTorch version: 2.4.0+cu121
Is debug build: False
CUDA used to build PyTorch: 12.1
ROCM used to build PyTorch: N/A

OS: Ubuntu 22.04.2 LTS (x86_64)
Libc version: glibc-2.35

Python version: 3.12.3 | packaged by Anaconda, Inc. | (main, May  6 2024, 19:46:43) [GCC 11.2.0] (64-bit runtime)
Python platform: Linux-5.15.153.1-microsoft-standard-WSL2-x86_64-with-glibc2.35
Is CUDA available: True
CUDA runtime version: 12.4.131
GPU models and configuration: GPU 0: NVIDIA GeForce RTX 4070 Laptop GPU
Nvidia driver version: 551.88
cuDNN version: Probably one of the following:
/usr/lib/x86_64-linux-gnu/libcudnn.so.8.9.5

Versions of relevant libraries:
[pip3] numpy==1.26.4
[pip3] torch==2.4.0+cu121
"""


def each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(line) for line in text.split("\n"))


DAMAGE: dict[str, Callable[[str], str]] = {
    "quoted": each(lambda line: "> " + line),
    "quoted twice": each(lambda line: "> > " + line),
    "quoted tightly": each(lambda line: ">" + line),
    "indented": each(lambda line: "    " + line),
    "tab": each(lambda line: "\t" + line),
    "windows line ends": lambda text: text.replace("\n", "\r\n"),
    "code fence": lambda text: f"Hi, help\n```shell\n$ cmd\n{text}\n```\nthanks",
    "html": lambda text: "<pre>" + text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") + "</pre>",
    "colours": each(lambda line: f"\x1b[1;32m{line}\x1b[0m"),
    "colours without escape": each(lambda line: f"[32m{line}[0m"),
    "ci stamps": each(lambda line: "2024-05-01T12:00:00.1234567Z " + line),
    "compose": each(lambda line: "vllm-1  | " + line),
    "collapsed spaces": each(lambda line: re.sub(r"[ \t]+", " ", line).strip()),
    "box drawing": each(
        lambda line: re.sub("[|+-]", lambda m: {"|": "│", "-": "─", "+": "┼"}[m[0]], line) if "|" in line else line
    ),
    "no-break spaces": lambda text: text.replace(" ", "\xa0"),
    "full-width colons": lambda text: text.replace(": ", "："),
    "empty lines between": lambda text: text.replace("\n", "\n\n"),
    "trailing spaces": each(lambda line: line + "   "),
    "zero-width": each(lambda line: "\u200b" + line),
    "bom": lambda text: "\ufeff" + text,
    "json string": json.dumps,
}


def essence(machine: Machine) -> Any:
    gpus = [(g.name, g.memory_mib, g.mig, g.ecc, g.compute_capability, g.bus_id) for g in machine.gpus]
    torch = machine.torch and (machine.torch.version, machine.torch.cuda, machine.torch.cuda_available)
    found = [f.version for f in (*machine.toolkits, *machine.cudnn)]
    os = (machine.os.id, machine.os.version, machine.os.kernel, machine.os.wsl)
    return machine.driver.version, machine.driver.cuda, gpus, torch, found, os, dict(machine.packages)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("report", [TABLE, COLLECT_ENV, COLLECT_ENV + "\n" + TABLE], ids=["table", "env", "both"])
def test_damage_costs_no_fact(how: str, report: str) -> None:
    assert essence(parse_report(DAMAGE[how](report))) == essence(parse_report(report))


@pytest.mark.skipif(not OUTPUTS.is_dir(), reason="the recorded outputs are not here")
@pytest.mark.parametrize("how", [h for h in DAMAGE if h not in ("full-width colons", "collapsed spaces")])
def test_damage_costs_no_fact_of_a_recorded_output(how: str) -> None:
    names = [p for p in sorted(OUTPUTS.glob("*__*")) if p.suffix != ".json" and not p.name.startswith("nvml")]
    for path in names[::4]:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert essence(parse_report(DAMAGE[how](text))) == essence(parse_report(text)), path.name


def test_a_table_on_one_line() -> None:
    machine = parse_report(re.sub(r"\s+", " ", TABLE))
    assert (machine.driver.version, machine.driver.cuda) == ("610.57.04", "13.3")
    assert (machine.gpus[0].memory_mib, machine.gpus[0].bus_id) == (8192, "0000:0c:00.0")


def test_a_collect_env_on_one_line() -> None:
    machine = parse_report(re.sub(r"\s+", " ", COLLECT_ENV))
    assert machine.torch is not None
    assert (machine.torch.version, machine.torch.cuda, machine.driver.version) == ("2.4.0+cu121", "12.1", "551.88")


@pytest.mark.parametrize("cut", range(0, len(TABLE), 37))
def test_a_table_cut_anywhere_never_tells_a_wrong_thing(cut: int) -> None:
    for text in (TABLE[:cut], TABLE[cut:]):
        machine = parse_report(text)
        assert machine.driver.version in (None, "610.57.04") or "610.57.04".startswith(machine.driver.version)
        assert all(g.memory_mib in (None, 8192) for g in machine.gpus)


def test_line_numbers_count_from_one_in_the_text_as_pasted() -> None:
    symptoms = parse_error_text("\r\n\x1b[31mRuntimeError: CUDA error\x1b[0m\r\n\r\n> \u202eNCCL  failed")
    assert [(s.line, s.text) for s in symptoms] == [(2, "RuntimeError: CUDA error"), (4, "NCCL  failed")]


def test_control_characters_never_reach_a_value() -> None:
    dirty = COLLECT_ENV.replace("551.88", "\x1b]0;own\x07551.88\x00\u202e").replace("RTX 4070", "RTX\x08 4070\x9b31m")
    plain = json.dumps(to_plain(parse_report(dirty)), ensure_ascii=False)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain)
    assert parse_report(dirty).driver.version == "551.88"


def test_xml_that_declares_entities_is_refused() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><nvidia_smi_log>'
    bomb += '<gpu id="0000:01:00.0"><product_name>&b;</product_name></gpu></nvidia_smi_log>'
    machine = parse_report(bomb)
    assert machine.gpus == ()
    assert "declares entities" in machine.problems["report"]


def test_a_huge_report_says_what_was_not_read() -> None:
    machine = parse_report("\n".join(f"line {i}" for i in range(200_000)))
    assert "were not read" in machine.problems["report"]
    assert len(machine.symptoms) == 5_000
    assert (machine.symptoms[0].text, machine.symptoms[-1].text) == ("line 0", "line 199999")


def test_of_a_log_that_repeats_itself_the_error_at_the_end_is_kept() -> None:
    machine = parse_report("step done\n" * 25_000 + "RuntimeError: CUDA error: out of memory\n")
    assert [s.text for s in machine.symptoms] == ["step done", "step done", "RuntimeError: CUDA error: out of memory"]


def adversaries() -> dict[str, str]:
    rng = random.Random(7)
    line = 1999
    words = {
        "spaces": " ", "digits": "1", "pipes": "|", "pipes and spaces": "| ", "dots": "1.2.", "slashes": "/a",
        "python paths": "/python3.1", "colons": "a: ", "equals": "CUDA_HOME=", "gpus": "GPU 0: NVIDIA ",
        "torch": "torch 2.", "commas": "name, uuid, ", "pip": "pip install ", "docker": "docker run ",
        "xid": "NVRM: Xid (PCI:", "minus": "-", "capabilities": "supports CUDA capabilities sm_50 ",
        "prompts": "root@aaaa:/# ", "names": "NVIDIA RTX 4090 ", "windows": "C:\\Users\\a\\", "ubuntu": "Ubuntu ",
        "quotes": "> ", "topology": "GPU0 X ", "parentheses": "(", "calls": "torch.cuda.get_device_name(",
        "escapes": "\\n", "ansi": "\x1b[", "tags": "<a>", "stamps": "2024-05-01 ", "drivers": "driver version ",
        "builds": "cuda11.7_cudnn", "requires": "Requirement already satisfied: a ",
    }  # fmt: skip
    found = {name: ((word * (line // len(word) + 1))[:line] + "\n") * 500 for name, word in words.items()}
    found |= {f"{name}, one line": word * (MEGABYTE // len(word)) for name, word in words.items()}
    rows = {
        "rows of a table": TABLE.split("\n")[7] + "\n",
        "rows of pip list": "numpy      1.26.4\n",
        "pairs": "    Total      : 1 MiB\n",
        "libraries": "\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1\n",
        "short lines": "ab\n",
        "empty lines": "\n",
    }
    found |= {name: row * (MEGABYTE // len(row)) for name, row in rows.items()}
    found["printable"] = "".join(rng.choices(string.printable, k=MEGABYTE))
    found["mixed"] = ((COLLECT_ENV + TABLE) * 400)[:MEGABYTE]
    return found


@pytest.mark.parametrize("name", adversaries())
def test_no_megabyte_takes_a_second(name: str) -> None:
    text = adversaries()[name]
    started = time.process_time()
    parse_report(text)
    assert time.process_time() - started < 1.0


def test_ten_megabytes_on_one_line() -> None:
    for text in ("x" * 10 * MEGABYTE, "| 0 " * (10 * MEGABYTE // 4), "\\n" * (5 * MEGABYTE)):
        started = time.process_time()
        parse_report(text + "\nRuntimeError: at the end")
        assert time.process_time() - started < 3.0


def seeds() -> list[str]:
    found = [TABLE, COLLECT_ENV]
    if OUTPUTS.is_dir():
        paths = [p for p in sorted(OUTPUTS.glob("*__*")) if p.suffix != ".json"]
        found += [p.read_text(encoding="utf-8", errors="replace")[:6000] for p in paths[::3]]
    if CASES.is_dir():
        found += [
            json.loads(p.read_text(encoding="utf-8")).get("report", "") for p in sorted(CASES.glob("*.json"))[::3]
        ]
    return found


SEEDS = seeds()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Pieces of real reports, shuffled, cut, with foreign bytes in between."""
    parts = draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3))
    pieces = []
    for part in parts:
        start = draw(st.integers(0, len(part)))
        piece = part[start : start + draw(st.integers(0, 1500))]
        noise = draw(st.text(max_size=12))
        at = draw(st.integers(0, len(piece)))
        pieces.append(piece[:at] + noise + piece[at:])
    text = draw(st.sampled_from(["\n", "", " ", "\r\n"])).join(pieces)
    return DAMAGE[draw(st.sampled_from(sorted(DAMAGE)))](text) if draw(st.booleans()) else text


def check_sane(text: str) -> None:
    machine = parse_report(text)
    plain = json.dumps(to_plain(machine))
    assert json.loads(plain)["symptoms"] == to_plain(machine.symptoms)
    assert all(len(s.text) <= 2000 and s.line and s.line >= 1 for s in machine.symptoms)
    assert machine.driver.version is None or re.fullmatch(r"[\d.]{3,16}", machine.driver.version)
    assert machine.driver.cuda is None or re.fullmatch(r"\d{1,5}\.\d{1,6}", machine.driver.cuda)
    assert all(g.memory_mib is None or g.memory_mib >= 0 for g in machine.gpus)
    assert len({g.index for g in machine.gpus}) == len(machine.gpus)


@settings(
    max_examples=EXAMPLES * 3 // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(mutated())
def test_mutated_reports_never_raise(text: str) -> None:
    check_sane(text)


@settings(max_examples=EXAMPLES * 2 // 5, deadline=None)
@given(st.text(max_size=600))
def test_any_text_never_raises(text: str) -> None:
    check_sane(text)
    assert len(parse_error_text(text)) <= len(read(text))
