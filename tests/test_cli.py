"""The command line as a user meets it: streams, exit codes, formats, bad input."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WHAT_IF = ["--os", "ubuntu-22.04", "--gpu", "NVIDIA GeForce RTX 4090", "--driver", "535.104.05"]


def run(*argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("UV_CUDA_DRIVER_VERSION", "CONDA_OVERRIDE_CUDA")}
    return subprocess.run(
        [sys.executable, "-m", "envcheck", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**clean, "NO_COLOR": "1", **env},
        check=False,
    )


def test_plan_prints_the_script_on_stdout_and_the_why_on_stderr() -> None:
    done = run("plan", *WHAT_IF, "--torch", "2.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/usr/bin/env bash\n")
    assert "torch==2.0.1+cu118" in done.stdout
    assert "plan: torch 2.0.1+cu118 torchvision 0.15.2 torchaudio 2.0.2" in done.stderr
    assert "numpy<2" in done.stderr


def test_plan_json_has_the_contracts_keys() -> None:
    done = run("plan", *WHAT_IF, "--torch", "2.0", "--format", "json")
    body = json.loads(done.stdout)
    assert body["schema"] == "envcheck.plan/1"
    assert body["satisfiable"] is True
    assert {"torch": "2.0", "cuda": "auto", "manager": "pip"}.items() <= body["request"].items()
    expected = {
        "version": "2.0.1",
        "cuda": "11.8",
        "tag": "cu118",
        "cudnn": "8.7.0.84",
        "index_url": "https://download.pytorch.org/whl/cu118",
        "channel": "stable",
        "verified": True,
    }
    assert expected.items() <= body["torch"].items()
    assert {"nccl", "triton", "archs"} <= set(body["torch"])
    assert body["driver"]["minimum"] == {"toolkit_exact": "520.61.05", "minor_version": "450.80.02"}
    assert body["driver"]["action"] == "keep"
    assert body["gpus"] == [
        {"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9", "how": "binary-compatible"}
    ]
    for key in ("companions", "constraints", "python", "steps", "reasons", "rejected", "warnings", "alternatives"):
        assert key in body
    for key in ("id", "title", "why", "argv", "root", "reboot", "check", "undo", "source"):
        assert all(key in step for step in body["steps"])
    machine = body["machine"]
    for key in (
        "os",
        "driver",
        "gpus",
        "toolkits",
        "cudnn",
        "python",
        "torch",
        "packages",
        "env",
        "symptoms",
        "problems",
    ):
        assert key in machine
    assert machine["gpus"][0]["tensor_cores"] == 4


def test_a_refusal_is_exit_1_with_the_why_on_stderr() -> None:
    argv = ["plan", "--os", "ubuntu-22.04", "--gpu", "RTX 5090", "--driver", "570.86.10", "--torch", "2.6"]
    script = run(*argv)
    assert script.returncode == 1
    assert "RTX 5090" not in script.stdout
    assert "no plan" in script.stderr
    assert "--torch 2.7" in script.stderr
    stub = subprocess.run(["bash"], input=script.stdout, capture_output=True, text=True, timeout=30, check=False)
    assert stub.returncode == 1
    assert "no plan" in stub.stderr
    body = json.loads(run(*argv, "--format", "json").stdout)
    assert body["satisfiable"] is False
    assert body["torch"] is None
    assert len(body["conflicts"]) == 2
    assert body["alternatives"]
    for fmt in ("text", "requirements", "dockerfile"):
        other = run(*argv, "--format", fmt)
        assert (other.returncode, other.stdout) == (1, "")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["plan", "--os", "ubuntu-22.04"], 2, "--gpu"),
        (["plan", "--os", "ubuntu-22.04", "--gpu", "RTX 9999"], 2, "RTX 9999"),
        (["plan", *WHAT_IF[:4], "--driver", "12.8"], 2, "CUDA version"),
        (["plan", *WHAT_IF, "--python-version", "3.7"], 2, "3.7"),
        (["plan", *WHAT_IF, "--torch", "9.9"], 2, "9.9"),
        (["plan", *WHAT_IF, "--cuda", "12"], 2, "12"),
        (["plan", "--os", "ubunto-22.04", "--gpu", "T4"], 2, "ubuntu"),
        (["plan", "--os", "ubuntu-22.05", "--gpu", "T4"], 2, "ubuntu-22.04"),
        (["plan", *WHAT_IF, "--with", "torchtext"], 2, "torchvision"),
        (["plan", *WHAT_IF, "--manager", "pip", "--format", "environment"], 2, "conda"),
        (["plan", *WHAT_IF, "--mirror", "nowhere"], 2, "nowhere"),
        (["plan", *WHAT_IF, "--index-url", "http://example.org/simple"], 2, "https"),
        (["plan", *WHAT_IF, "--venv", ""], 2, "--venv"),
        (["plan", "--machine", "absent.json"], 4, "absent.json"),
        (["plan", "--container", "docker", "--gpu", "none", "--os", "debian-12"], 3, "--gpu"),
        (["plann"], 2, "plan"),
        (["plan", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_bad_input_has_its_own_exit_code_a_sentence_and_no_output(
    argv: list[str], code: int, words: str, tmp_path: Path
) -> None:
    done = run(*argv, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other"}', '{"schema": "envcheck.snapshot/1", "mach'])
def test_a_damaged_snapshot_or_matrix_is_exit_4(text: str, tmp_path: Path) -> None:
    file = tmp_path / "half.json"
    file.write_text(text)
    for argv in (["plan", "--machine", str(file)], ["plan", *WHAT_IF, "--matrix", str(file)]):
        done = run(*argv)
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert "half.json" in done.stderr


def test_a_matrix_with_a_missing_key_is_exit_4(tmp_path: Path) -> None:
    data = json.loads((ROOT / "compat_matrix.json").read_text())
    for section, key in (("builds", "sass"), ("builds", "platform"), ("cuda", "linux"), ("gpus", "compute_capability")):
        broken = json.loads(json.dumps(data))
        for row in broken[section]:
            row.pop(key, None)
        file = tmp_path / "matrix.json"
        file.write_text(json.dumps(broken))
        done = run("plan", *WHAT_IF, "--matrix", str(file))
        assert (done.returncode, done.stdout) == (4, ""), (section, key, done.stderr)
        check = run("matrix", "check", "--matrix", str(file))
        assert check.returncode == 4
        assert key in check.stdout + check.stderr


def test_output_file_is_whole_executable_and_the_only_output(tmp_path: Path) -> None:
    file = tmp_path / "install.sh"
    done = run("plan", *WHAT_IF, "-o", str(file), "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert file.read_text().startswith("#!")
    assert [p.name for p in tmp_path.iterdir()] == ["install.sh"]
    missing = run("plan", *WHAT_IF, "-o", str(tmp_path / "no" / "such" / "dir.sh"))
    assert missing.returncode == 2
    assert "cannot write" in missing.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
def test_output_never_replaces_a_device_or_a_link(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        done = run("plan", *WHAT_IF, "-q", "-o", str(pipe))
        out, _ = reader.communicate(timeout=60)
    assert done.returncode == 0, done.stderr
    assert out.startswith("#!")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "real.sh").write_text("old")
    (tmp_path / "link.sh").symlink_to("real.sh")
    assert run("plan", *WHAT_IF, "-q", "-o", str(tmp_path / "link.sh")).returncode == 0
    assert (tmp_path / "link.sh").is_symlink()
    assert (tmp_path / "real.sh").read_text().startswith("#!")
    folder = run("plan", *WHAT_IF, "-q", "-o", str(tmp_path))
    assert folder.returncode == 2


def test_colour_only_where_it_is_wanted() -> None:
    plain = run("plan", *WHAT_IF)
    assert "\x1b[" not in plain.stderr + plain.stdout
    forced = run("plan", *WHAT_IF, "--color", "always")
    assert "\x1b[" in forced.stderr
    assert "\x1b[" not in forced.stdout


def test_environment_overrides_are_honoured_unless_os_is_given(tmp_path: Path) -> None:
    uv = run("plan", "--gpu", "RTX 4090", "--format", "json", cwd=tmp_path, UV_CUDA_DRIVER_VERSION="550.54.14")
    assert json.loads(uv.stdout)["driver"]["installed"] == "550.54.14"
    conda = run("plan", "--gpu", "RTX 4090", "--format", "json", cwd=tmp_path, CONDA_OVERRIDE_CUDA="12.4")
    assert json.loads(conda.stdout)["torch"]["version"] == "2.14.1"
    other = run("plan", *WHAT_IF, "--format", "json", UV_CUDA_DRIVER_VERSION="390.157")
    assert json.loads(other.stdout)["driver"]["installed"] == "535.104.05"
    wrong = run("plan", "--gpu", "RTX 4090", cwd=tmp_path, UV_CUDA_DRIVER_VERSION="12.8")
    assert wrong.returncode == 2


def test_check_and_all_and_matrix_show() -> None:
    check = run(
        "plan", *WHAT_IF, "--check", "pip install torch==2.0.1 --index-url https://download.pytorch.org/whl/cpu"
    )
    assert check.returncode == 1
    assert "runs here: no" in check.stdout
    assert "instead:" in check.stdout
    every = json.loads(run("plan", *WHAT_IF, "--all", "--format", "json").stdout)
    assert {"torch", "tag", "verdict", "code"} <= set(every["candidates"][0])
    table = run("plan", *WHAT_IF, "--all")
    assert table.stdout.splitlines()[0].split() == ["torch", "variant", "verdict", "why"]
    shown = run("matrix", "show", "builds", "--torch", "2.0.1", "--format", "json")
    assert {"cu117", "cu118", "cpu"} <= {r["tag"] for r in json.loads(shown.stdout)}


def test_snapshot_replays(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    done = run("snapshot", "-o", str(file))
    assert done.returncode == 0, done.stderr
    body = json.loads(file.read_text())
    assert {"machine", "raw"} <= set(body)
    replay = run("plan", "--machine", str(file), "--gpu", "RTX 4090", "--driver", "550.54.14", "--format", "json")
    assert json.loads(replay.stdout)["machine"]["os"]["id"] == body["machine"]["os"]["id"]


def test_files_of_the_working_directory_are_never_run(tmp_path: Path) -> None:
    for name in ("json", "os", "sysconfig", "torch", "pip"):
        (tmp_path / f"{name}.py").write_text("open('PWNED', 'w').close()\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("envcheck"), "snapshot", "-o", "machine.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion(shell: str) -> None:
    done = run("completion", shell)
    if done.returncode == 2:
        assert "click" in done.stderr
        pytest.skip(f"this click cannot complete for {shell}")
    assert "_ENVCHECK_COMPLETE" in done.stdout


def test_help_shows_examples() -> None:
    for argv in (["--help"], ["plan", "--help"], ["matrix", "--help"], ["snapshot", "--help"]):
        done = run(*argv)
        assert done.returncode == 0
        assert "envcheck" in done.stdout
