"""The host layer: a deadline that holds, output that cannot hang us, a record that replays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.host import READ_LIMIT, LiveHost, RecordedHost, RecordingHost, glob
from envcheck.host.base import matching

HOST = LiveHost()
POSIX = pytest.mark.skipif(os.name != "posix", reason="processes and signals of POSIX")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_output_and_code() -> None:
    result = HOST.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), 10)
    assert (result.rc, result.stdout.strip(), result.stderr.strip()) == (3, "out", "err")
    assert not result.timed_out


def test_a_command_that_is_not_there_says_so() -> None:
    result = HOST.run(["/no/such/command"], 1)
    assert (result.rc, result.timed_out) == (None, False)
    assert "No such file" in result.stderr


@pytest.mark.parametrize("argv", [["a\0b"], [""]])
def test_an_impossible_command_is_no_traceback(argv: list[str]) -> None:
    assert HOST.run(argv, 1).rc is None


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    result = HOST.run(python(r"import sys; sys.stdout.buffer.write(b'a\xff\xe9b')"), 10)
    assert result.stdout == "a��b"


def test_messages_come_in_english() -> None:
    assert HOST.run(python("import os; print(os.environ['LC_ALL'])"), 10).stdout.strip() == "C"


def test_added_environment_and_label() -> None:
    result = HOST.run(python("import os; print(os.environ['X'])"), 10, env={"X": "1"}, label=("probe", "x"))
    assert (result.stdout.strip(), result.argv) == ("1", ("probe", "x"))


def test_a_child_cannot_read_our_stdin() -> None:
    assert HOST.run(python("import sys; print(repr(sys.stdin.read()))"), 10).stdout.strip() == "''"


@POSIX
def test_a_child_that_ignores_sigterm_and_its_grandchild_are_killed_in_time(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); print('said', flush=True); time.sleep(60)"
    )
    start = time.monotonic()
    result = HOST.run(python(code), 1.0)
    assert time.monotonic() - start < 3
    assert (result.timed_out, result.rc, result.stdout.strip()) == (True, None, "said")
    deadline = time.monotonic() + 2
    while alive(int(pid_file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(pid_file.read_text()))


@POSIX
def test_a_grandchild_that_keeps_stdout_open_does_not_hold_us() -> None:
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)']); print('done')"
    )
    start = time.monotonic()
    result = HOST.run(python(code), 20)
    assert time.monotonic() - start < 5
    assert (result.rc, result.stdout.strip(), result.timed_out) == (0, "done", False)


@POSIX
def test_a_grandchild_in_a_session_of_its_own_does_not_hold_us_either() -> None:
    code = (
        "import subprocess, sys;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3)'], start_new_session=True); print('done')"
    )
    start = time.monotonic()
    result = HOST.run(python(code), 20)
    assert time.monotonic() - start < 2.5
    assert result.stdout.strip() == "done"


@POSIX
def test_output_without_end_is_cut(tmp_path: Path) -> None:
    result = HOST.run(["/bin/sh", "-c", "yes"], 20)
    assert len(result.stdout) == READ_LIMIT
    assert not result.timed_out


def test_a_signal_is_told_by_a_negative_code() -> None:
    assert HOST.run(python("import os; os.abort()"), 20).rc in (-6, 3)


def test_without_a_pidfd_it_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert HOST.run(python("print(1)"), 10).stdout.strip() == "1"
    result = HOST.run(python("import time; time.sleep(60)"), 0.3)
    assert (result.timed_out, result.rc) == (True, None)


def test_a_process_that_cannot_be_killed_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    from envcheck.host import command

    def never(*_args: object) -> None:
        raise subprocess.TimeoutExpired("x", 0.1)

    monkeypatch.setattr(command, "KILL_GRACE", 0.1)
    process = subprocess.Popen(python("import time; time.sleep(60)"))
    real_wait = process.wait
    monkeypatch.setattr(process, "wait", never)
    monkeypatch.setattr(process, "kill", lambda: None)
    monkeypatch.setattr(command, "_kill_group", lambda _process: None)
    note = command._stop(process)
    assert "hangs in the kernel" in note and str(process.pid) in note
    monkeypatch.undo()
    process.kill()
    real_wait()
    command._abandoned.remove(process)


def test_reading(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a\xff\n")
    assert HOST.read_bytes(str(file)) == b"a\xff\n"
    assert HOST.read_text(str(file)) == "a�\n"
    assert HOST.read_text(str(tmp_path / "absent")) is None
    assert HOST.read_text(str(tmp_path)) is None
    assert HOST.read_text("a\0b") is None and not HOST.exists("a\0b") and HOST.listdir("a\0b") is None
    file.write_bytes(b"x" * (READ_LIMIT + 10))
    assert len(HOST.read_bytes(str(file)) or b"") == READ_LIMIT


@POSIX
def test_a_fifo_in_the_place_of_a_file_does_not_hold_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    answers: list[bytes | None] = []
    thread = threading.Thread(target=lambda: answers.append(HOST.read_bytes(str(tmp_path / "fifo"))), daemon=True)
    thread.start()
    thread.join(5)
    assert answers == [None]


@POSIX
def test_listing_links_and_glob(tmp_path: Path) -> None:
    for name in ("b.h", "a.h", "c.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "sub" / "inner").mkdir(parents=True)
    (tmp_path / "sub" / "inner" / "d.h").write_text("")
    (tmp_path / "link").symlink_to("a.h")
    base = str(tmp_path)
    assert HOST.listdir(base, ("*.h",)) == ("a.h", "b.h")
    assert HOST.listdir(base + "/absent") is None
    assert (HOST.readlink(base + "/link"), HOST.readlink(base + "/a.h")) == ("a.h", None)
    assert list(glob(HOST, base + "/*.h")) == [base + "/a.h", base + "/b.h"]
    assert list(glob(HOST, base + "/s*/inner/*.h")) == [base + "/sub/inner/d.h"]
    assert list(glob(HOST, base + "/*/inner")) == [base + "/sub/inner"]


def test_a_record_answers_like_the_host(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "secret-project").write_text("")
    base = str(tmp_path)
    recorder = RecordingHost(HOST)

    def look(host: LiveHost | RecordingHost | RecordedHost) -> list[object]:
        return [
            host.platform,
            host.read_text(base + "/file"),
            host.read_bytes(base + "/absent"),
            host.exists(base + "/file"),
            host.exists(base + "/absent"),
            host.listdir(base, ("f*",)),
            host.listdir(base + "/absent"),
            host.readlink(base + "/file"),
            host.realpath(base + "/file"),
            host.which("no-such-command"),
            (lambda r: (r.rc, r.stdout, r.stderr))(host.run(python("print(7)"), 10, label=("seven",))),
        ]

    live = look(recorder)
    raw = recorder.record(["PATH"])
    assert look(RecordedHost(raw)) == live
    assert "secret-project" not in str(raw)
    assert set(raw["env"]) <= {"PATH"}


def test_what_was_never_recorded_reads_as_absent() -> None:
    host = RecordedHost({})
    assert host.read_text("/x") is None and host.listdir("/") is None and host.which("x") is None
    assert host.run(["x"], 1).rc is None
    assert (host.realpath("/x"), host.exists("/x"), dict(host.environ)) == ("/x", False, {})


def test_a_recorded_link_resolves() -> None:
    host = RecordedHost({"links": {"/usr/bin/python3": "python3.11"}, "dirs": {"/usr": ["bin"]}})
    assert host.realpath("/usr/bin/python3") == "/usr/bin/python3.11"
    assert host.exists("/usr/bin/python3") and host.exists("/usr/bin")


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ({"files": []}, "raw.files"),
        ({"files": {"/a": 1}}, "raw.files['/a']"),
        ({"dirs": {"/a": ["x", 1]}}, "raw.dirs['/a']"),
        ({"commands": {}}, "raw.commands"),
        ({"commands": [1]}, "raw.commands[0]"),
        ({"commands": [{"argv": "x"}]}, "raw.commands[0].argv"),
        ({"commands": [{"argv": ["x"], "rc": "0"}]}, "raw.commands[0].rc"),
        ({"commands": [{"argv": ["x"], "stdout": 1}]}, "raw.commands[0]"),
        ({"commands": [{"argv": ["x"], "seconds": "1"}]}, "raw.commands[0].seconds"),
        ({"env": {"A": 1}}, "raw.env['A']"),
        ({"platform": {"machine": 3}}, "raw.platform['machine']"),
        ({"exists": {"/a": "yes"}}, "raw.exists['/a']"),
    ],
)
def test_a_malformed_record_names_the_place(raw: dict[str, object], place: str) -> None:
    with pytest.raises(ValueError, match=r"expected|must be") as caught:
        RecordedHost(raw)
    assert str(caught.value).startswith(place)


def test_live_platform_facts() -> None:
    facts = HOST.platform
    assert facts.sys_platform == sys.platform
    assert facts.machine and facts.release


@given(
    st.lists(st.text(alphabet="torch-_.[]*?2a", max_size=8), max_size=12),
    st.lists(st.text(alphabet="torch-_.[]*?2a", max_size=6), max_size=5),
)
def test_names_fit_as_the_shell_says(names: list[str], patterns: list[str]) -> None:
    import fnmatch

    expected = sorted(n for n in names if not patterns or any(fnmatch.fnmatchcase(n, p) for p in patterns))
    assert matching(names, patterns) == tuple(expected)
