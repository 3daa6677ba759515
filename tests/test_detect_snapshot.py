"""Snapshots: what is taken replays to the same machine, names no one, and damaged files say what is wrong."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envcheck.detect import detect, snapshot
from envcheck.detect.redact import Redactor
from envcheck.errors import InputError
from envcheck.host import LiveHost, RecordedHost
from envcheck.model import to_plain

FOLDERS = sorted((Path(__file__).parent / "machines").glob("*/snapshot.json"))
NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)

RAW: dict[str, Any] = {
    "platform": {"sys_platform": "linux", "machine": "x86_64", "release": "6.8.0", "libc": "glibc 2.35"},
    "files": {
        "/etc/os-release": 'ID=ubuntu\nVERSION_ID="22.04"\n',
        "/proc/sys/kernel/hostname": "gpu-rack-17\n",
        "/home/alice/envs/gpu-rack-17/lib/python3.10/site-packages/torch/version.py": "__version__ = '2.4.1+cu121'\n",
    },
    "dirs": {
        "/sys/bus/pci/devices": [],
        "/home/alice/envs/gpu-rack-17/lib/python3.10/site-packages": ["torch", "torch-2.4.1.dist-info"],
    },
    "exists": {"/home/alice/envs/gpu-rack-17/bin/python": True},
    "env": {
        "HOME": "/home/alice",
        "USER": "alice",
        "VIRTUAL_ENV": "/home/alice/envs/gpu-rack-17",
        "LD_LIBRARY_PATH": "/scratch/alice/lib:/home/bob/lib",
        "PIP_INDEX_URL": "https://alice:hunter2@index.example.org/simple",
        "NVIDIA_VISIBLE_DEVICES": "GPU-9e9291f5-3f16-aa2c-e86a-d7b5dd3330a7",
    },
    "commands": [
        {
            "argv": ["/home/alice/envs/gpu-rack-17/bin/python", "-c", "describe"],
            "rc": 0,
            "stdout": json.dumps(
                {
                    "version": "3.10.12",
                    "implementation": "cpython",
                    "executable": "/home/alice/envs/gpu-rack-17/bin/python",
                    "prefix": "/home/alice/envs/gpu-rack-17",
                    "base_prefix": "/usr",
                    "path": ["/home/alice/envs/gpu-rack-17/lib/python3.10/site-packages"],
                }
            ),
        },
        {
            "argv": ["envcheck.nvml"],
            "rc": 0,
            "stdout": '{"system": {"driver_version": "535.104.05", "cuda_driver_version": 12020, "count": 1}}\n'
            '{"gpu": {"index": 0, "name": "NVIDIA GeForce RTX 4090", "bus_id": "00000000:01:00.0", '
            '"uuid": "GPU-9e9291f5-3f16-aa2c-e86a-d7b5dd3330a7", "compute_capability": [8, 9]}}\n{"done": true}\n',
        },
    ],
}
SECRETS = ("alice", "bob", "hunter2", "9e9291f5", "gpu-rack-17")


def test_this_machine_replays_to_itself() -> None:
    taken = snapshot.take(LiveHost(), python=sys.executable, redact=False, now=NOW)
    assert (taken["schema"], taken["date"]) == ("envcheck.snapshot/1", "2026-11-23T12:00:00+00:00")
    replayed = to_plain(snapshot.loads(snapshot.dumps(taken)))
    assert replayed == taken["machine"]
    live = to_plain(detect(LiveHost(), python=sys.executable))
    for key in ("os", "driver", "gpus", "toolkits", "python", "pythons", "tools", "torch", "packages", "problems"):
        assert replayed[key] == live[key], key


def test_nobody_is_named() -> None:
    taken = snapshot.take(RecordedHost(RAW), now=NOW)
    text = snapshot.dumps(taken)
    assert [secret for secret in SECRETS if secret in text] == []
    machine = snapshot.loads(text)
    assert machine.python is not None and machine.python.executable == "/home/user/envs/host/bin/python"
    assert machine.gpus[0].uuid == "GPU-00000000-0000-0000-0000-000000000001"
    assert machine.env["NVIDIA_VISIBLE_DEVICES"] == machine.gpus[0].uuid
    assert machine.env["LD_LIBRARY_PATH"] == "/scratch/user/lib:/home/user2/lib"
    assert machine.env["PIP_INDEX_URL"] == "https://index.example.org/simple"


def test_redacting_changes_nothing_but_names() -> None:
    plain, redacted = detect(RecordedHost(RAW)), snapshot.loads(snapshot.dumps(snapshot.take(RecordedHost(RAW))))
    assert (redacted.os, redacted.driver, redacted.torch) == (plain.os, plain.driver, plain.torch)
    assert redacted.packages == plain.packages and redacted.problems == plain.problems
    assert [g.compute_capability for g in redacted.gpus] == [g.compute_capability for g in plain.gpus] == ["8.9"]
    assert redacted.torch is not None and redacted.torch.version == "2.4.1+cu121"


def test_without_redaction_names_stay_and_credentials_do_not() -> None:
    text = snapshot.dumps(snapshot.take(RecordedHost(RAW), redact=False))
    assert "alice" in text and "9e9291f5" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("path", FOLDERS, ids=[p.parent.name for p in FOLDERS])
def test_taking_a_snapshot_of_a_replayed_machine_is_stable(path: Path) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))["raw"]
    full = raw.get("full", False)  # a record of a plain detection knows nothing of the details
    taken = snapshot.take(RecordedHost(raw), now=NOW, full=full)
    assert taken["machine"] == to_plain(snapshot.load(path))
    again = snapshot.take(RecordedHost(taken["raw"]), now=NOW, full=full)
    assert again == taken


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GPU-9e9291f5-3f16-aa2c-e86a-d7b5dd3330a7", "GPU-00000000-0000-0000-0000-000000000001"),
        ("Serial Number: 1650000000001", "Serial Number: 0000000000"),
        ('"serial": "0324418012345"', '"serial": "0000000000"'),
        ("C:\\Users\\Carol\\venv", "C:\\Users\\user\\venv"),
        ("/Users/carol/venv", "/Users/user/venv"),
        ("/home/ubuntu/venv", "/home/ubuntu/venv"),
        ("/home/user/venv", "/home/user/venv"),
        ("malicehouse", "malicehouse"),
        ("/usr/local/cuda-12.4", "/usr/local/cuda-12.4"),
    ],
)
def test_stand_ins(text: str, redacted: str) -> None:
    assert Redactor({})(text) == redacted


def test_a_host_called_like_a_directory_is_left_alone() -> None:
    assert Redactor({"USER": "root", "HOME": "/home/root"}, "cuda")("/usr/local/cuda/bin") == "/usr/local/cuda/bin"
    assert Redactor({}, "node7.example.org")(["node7", "node7.example.org", "node77"]) == ["host", "host", "node77"]


def test_a_hand_written_machine_is_taken_as_it_is() -> None:
    text = '{"machine": {"os": {"id": "debian"}, "gpus": [{"name": "NVIDIA GeForce RTX 3090"}], "extra": 1}}'
    machine = snapshot.loads(text)
    assert (machine.os.id, machine.gpus[0].name) == ("debian", "NVIDIA GeForce RTX 3090")
    assert snapshot.loads('{"os": {"id": "debian"}}').os.id == "debian"
    assert snapshot.loads('{"schema": "envcheck.plan/1", "machine": {}}').gpus == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("not json", "not valid JSON"),
        ('{"schema": "envcheck.snapshot/1", "raw": {"files": {"/etc', "ends too early"),
        ("[]", "expected an object, found list"),
        ("{}", "neither `machine` nor `raw`"),
        ('{"schema": "cyclonedx", "machine": {}}', "its schema is 'cyclonedx'"),
        ('{"schema": "envcheck.snapshot/9", "raw": {}}', "upgrade envcheck"),
        ('{"schema": 3, "raw": {}}', "its schema is '3'"),
        ('{"raw": {"files": []}}', "raw.files: expected an object, found list"),
        ('{"raw": {"python": 3}}', "raw.python: expected text or null"),
        ('{"machine": {"gpus": 3}}', "machine.gpus: expected a list, found int"),
        ('{"machine": {"gpus": [{"index": "0"}]}}', "machine.gpus[0].index: expected int, found str"),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_damaged_files_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        snapshot.loads(text, "snap.json")
    assert says in str(caught.value)
    assert str(caught.value).startswith("snap.json")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the snapshot .*absent"):
        snapshot.load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot read the snapshot"):
        snapshot.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not valid JSON"):
        snapshot.load(tmp_path / "binary")
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"machine": {}}')
    assert snapshot.load(str(tmp_path / "bom.json")).gpus == ()


@settings(max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_snapshot_cut_anywhere_is_an_input_error_or_a_machine(data: st.DataObject) -> None:
    text = snapshot.dumps({"schema": snapshot.SCHEMA, "raw": RAW})
    at = data.draw(st.integers(0, len(text)))
    drop = data.draw(st.integers(0, 40))
    for damaged in (text[:at], text[:at] + text[at + drop :]):
        try:
            snapshot.loads(damaged)
        except InputError as error:
            assert str(error)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=2000)
@given(st.dictionaries(st.sampled_from([*RAW, "links", "which", "realpaths", "python", "machine", "raw"]), JUNK))
def test_any_record_is_an_input_error_or_a_machine(raw: dict[str, Any]) -> None:
    for document in ({"raw": raw}, {"machine": raw}, raw):
        try:
            machine = snapshot.loads(json.dumps(document))
        except InputError as error:
            assert str(error)
        else:
            assert to_plain(machine)
