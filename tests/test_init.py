"""init: pieces are written, never over a file; each is linted by its own reader and run as far as no GPU is needed."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envcheck.checks import CODES
from envcheck.checks.run import AREA_OF, run_checks
from envcheck.cli import cli, main
from envcheck.cli.init import PIECES
from envcheck.gate import judge, load_policy, proofs_of
from envcheck.lint import kind_of
from envcheck.matrix import load as load_matrix
from envcheck.model import OS, Driver, Machine
from envcheck.verify.table import BY_CODE

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "installers" / "templates"
KNOWN = {*CODES, *BY_CODE}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="bash scripts")


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(argv: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **more)


@pytest.mark.parametrize("system", PIECES)
def test_pieces_are_written_and_never_over_a_file(system: str, tmp_path: Path) -> None:
    assert main(["init", system, "--dir", str(tmp_path), "-q"]) == 0
    targets = [tmp_path / target for _, target in PIECES[system]]
    assert all(t.is_file() for t in targets)
    assert all(os.access(t, os.X_OK) == (t.suffix == ".sh") for t in targets)
    targets[0].write_text("mine")
    targets[-1].unlink() if len(targets) > 1 else None
    assert main(["init", system, "--dir", str(tmp_path), "-q"]) == 2
    assert targets[0].read_text() == "mine"
    assert len(targets) == 1 or not targets[-1].exists()
    assert main(["init", system, "--dir", str(tmp_path), "-q", "--force"]) == 0
    assert targets[0].read_text() != "mine"


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert main(["init", "github", "--dir", str(tmp_path / "none")]) == 2


def test_every_template_is_of_some_system() -> None:
    used = {source for pieces in PIECES.values() for source, _ in pieces}
    assert {str(p.relative_to(TEMPLATES)) for p in TEMPLATES.rglob("*") if p.is_file()} == used


def every_text() -> list[Path]:
    return [*(p for p in TEMPLATES.rglob("*") if p.is_file()), ROOT / "action.yml"]


@pytest.mark.parametrize("path", every_text(), ids=lambda p: p.name)
def test_nothing_is_installed_by_a_package_name(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if "pip install" in line:
            what = line.split("pip install")[1].replace("--quiet", "").replace("--disable-pip-version-check", "")
            assert re.match(r"\s*(?:-- )?(?:\"\$\{?\w|\./\S+\.whl)", what), line


@pytest.mark.parametrize("path", every_text(), ids=lambda p: p.name)
def test_no_module_is_run_from_the_directory_of_the_job(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        for options in re.findall(r"python3?\"? (.*?)-m (?:venv|pip)\b", line):
            assert options == "-I ", line


@POSIX
def test_the_action_installs_from_its_own_files_whatever_the_repository_holds(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    step = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][0]
    work, own = tmp_path / "work", tmp_path / "own"
    (work / "venv").mkdir(parents=True)
    for name in ("venv/__init__.py", "pip.py", "json.py"):
        (work / name).write_text("raise SystemExit('hijacked')")
    own.mkdir()  # stands for the action's files: pip refuses an empty folder, and has then been reached
    env = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "SOURCE": str(own)}
    done = run(["bash", "-eo", "pipefail", "-c", step["run"]], cwd=work, env=env)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "hijacked" not in said, said
    assert str(own) in said and "setup.py" in said, said


@pytest.mark.parametrize("path", every_text(), ids=lambda p: p.name)
def test_the_policy_is_named_by_an_absolute_path(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for found in re.findall(r"--policy[\"',\s]+([^\s\"',]+)", text):
        assert found.startswith(("/etc/envcheck/", "$")), found
    if "--policy" in text and path.name != "action.yml":
        assert "/etc/envcheck/policy" in text


def test_policies_are_read() -> None:
    assert proofs_of(load_policy(TEMPLATES / "policy.toml", KNOWN)) == tuple(c for c in BY_CODE if BY_CODE[c].required)
    assert proofs_of(load_policy(TEMPLATES / "policy-fast.toml", KNOWN)) == ()


def test_the_fast_policy_asks_for_nothing_that_a_users_environment_decides() -> None:
    policy = load_policy(TEMPLATES / "policy-fast.toml", KNOWN)
    assert {AREA_OF[code] for code in policy.only} == {"hardware", "driver", "container", "machine"}
    assert "torch" not in policy.only and set(policy.require or ()) <= set(policy.only)


def test_the_fast_policy_stops_a_node_of_a_cluster_that_lost_its_gpu() -> None:
    """doctor takes a machine with sbatch and without a GPU for a login node; whoever wrote the policy knows better."""
    policy = load_policy(TEMPLATES / "policy-fast.toml", KNOWN)
    lost = Machine(os=OS(platform="linux"), driver=Driver(state="missing"), tools={"sbatch": "/usr/bin/sbatch"})
    report = run_checks(lost, load_matrix(), only=policy.only)
    assert {r.status for r in report.results if r.code in ("driver", "gpu")} == {"unknown"}
    assert judge(policy, report, None).exit_code == 1


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"])
def test_in_a_job_a_node_without_a_gpu_is_no_login_node(variable: str) -> None:
    lost = Machine(
        os=OS(platform="linux"),
        driver=Driver(state="missing"),
        tools={"sbatch": "/usr/bin/sbatch"},
        env={variable: "4711"},
    )
    report = run_checks(lost, load_matrix())
    assert {r.status for r in report.results if r.code in ("driver", "gpu")} == {"fail"}
    assert any("ask for one where you submit the job" in s.title for f in report.findings for s in f.fix)


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.sh")), ids=lambda p: p.name)
def test_scripts_are_clean_for_shellcheck(path: Path) -> None:
    done = run([tool("shellcheck"), str(path)])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", TEMPLATES / "github" / "gpu-gate.yml"),
        ("vendor.github-actions", ROOT / "action.yml"),
        ("vendor.gitlab-ci", TEMPLATES / "gitlab" / "envcheck.gitlab-ci.yml"),
    ],
)
def test_files_of_ci_systems_hold_to_their_schemas(schema: str, path: Path) -> None:
    extra = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    done = run([tool("check-jsonschema"), "--builtin-schema", schema, *extra, str(path)])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((TEMPLATES / "kubernetes").glob("*.yaml")), ids=lambda p: p.name)
def test_manifests_hold_to_the_api(path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    try:
        kubernetes_validate = importlib.import_module("kubernetes_validate")
    except ImportError:
        pytest.skip("kubernetes-validate is not installed")
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def pre_commit_hook() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    config = yaml.safe_load((TEMPLATES / "pre-commit" / ".pre-commit-config.yaml").read_text())
    hook: dict[str, Any] = config["repos"][0]["hooks"][0]
    return hook


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *((name, True) for name in ("Dockerfile", "a/Dockerfile.gpu", "gpu.dockerfile", "Containerfile")),
        *((name, True) for name in ("compose.yaml", "x/docker-compose.gpu.yml", "environment.yml", "pyproject.toml")),
        *((name, True) for name in ("requirements.txt", "reqs/requirements-dev.txt")),
        *((name, False) for name in ("dockerfile_lint.py", "Dockerfile.dockerignore", "setup.py", "decompose.py")),
        *((name, False) for name in ("my-requirements.md", "dockerfiles.txt")),
    ],
)
def test_pre_commit_hands_lint_what_lint_can_read(name: str, wanted: bool) -> None:
    hook = pre_commit_hook()
    handed = bool(re.search(hook["files"], name)) and not re.search(hook["exclude"], name)
    assert handed == wanted
    if handed:
        assert kind_of(name)


@POSIX
def test_pre_commit_runs_the_hook(tmp_path: Path) -> None:
    pre_commit, git = tool("pre-commit"), tool("git")
    assert main(["init", "pre-commit", "--dir", str(tmp_path), "-q"]) == 0
    (tmp_path / "Dockerfile").write_text("FROM x\nRUN apt-get install -y cuda-drivers\n")
    (tmp_path / "dockerfile_lint.py").write_text("")
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "h"),
    }
    for argv in ([git, "init", "-q"], [git, "add", "Dockerfile", "dockerfile_lint.py", ".pre-commit-config.yaml"]):
        assert run(argv, cwd=tmp_path, env=env).returncode == 0
    assert run([pre_commit, "validate-config"], cwd=tmp_path, env=env).returncode == 0
    done = run([pre_commit, "run", "--all-files"], cwd=tmp_path, env=env)
    assert done.returncode == 1 and "driver-library-mismatch" in done.stdout, done.stdout + done.stderr
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    assert run([git, "add", "Dockerfile"], cwd=tmp_path, env=env).returncode == 0
    assert run([pre_commit, "run", "--all-files"], cwd=tmp_path, env=env).returncode == 0


def gate_lines() -> list[tuple[str, list[str]]]:
    """Every way in which a template calls the gate, as argv after `gate`."""
    out: list[tuple[str, list[str]]] = []
    npd = json.loads((TEMPLATES / "kubernetes" / "node-problem-detector.json").read_text())
    out += [("node-problem-detector.json", rule["args"]) for rule in npd["rules"]]
    for path in (TEMPLATES / "systemd" / "envcheck-gate.service", *sorted((TEMPLATES / "slurm").glob("*.sh"))):
        text = path.read_text().replace('"$policy"', "/etc/p.toml").replace('"$seconds"', "25")
        out += [(path.name, shlex.split(w)) for w in re.findall(r"(gate --policy[^\n]*?)(?: 2>|\n)", text)]
    for path in sorted((TEMPLATES / "kubernetes").glob("*.yaml")):
        text = path.read_text().replace('", "', " ").replace('"]', "\n")
        out += [(path.name, shlex.split(w)) for w in re.findall(r"(gate --policy[^\n]*)\n", text)]
    return out


@pytest.mark.parametrize(("name", "argv"), gate_lines(), ids=[f"{i}-{n}" for i, (n, _) in enumerate(gate_lines())])
def test_every_option_that_a_template_uses_is_one_of_gate(name: str, argv: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, [*argv, "--policy", str(tmp_path / "none.toml")], standalone_mode=False)
    assert type(done.exception).__name__ == "InputError", (name, done.exception)


def test_the_templates_of_node_problem_detector_and_systemd_leave_time() -> None:
    npd = json.loads((TEMPLATES / "kubernetes" / "node-problem-detector.json").read_text())
    rule = npd["rules"][0]
    inner = int(rule["args"][rule["args"].index("--timeout") + 1])
    assert inner < int(rule["timeout"].rstrip("s")) <= int(npd["pluginConfig"]["timeout"].rstrip("s"))
    unit = (TEMPLATES / "systemd" / "envcheck-gate.service").read_text()
    given = [int(x) for x in re.findall(r"(?:--timeout |TimeoutStartSec=)(\d+)", unit)]
    assert given[0] < given[1]


@POSIX
def test_the_daemon_set_ends_when_it_is_told_to(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    pod = yaml.safe_load((TEMPLATES / "kubernetes" / "daemonset.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (tmp_path / "envcheck").write_text(f"#!/bin/sh\necho called > {tmp_path}/called\nexit 1\n")
    (tmp_path / "envcheck").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen([*container["command"], *container["args"]], env=env, start_new_session=True)
    until = time.monotonic() + 20
    while not (tmp_path / "called").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.2)
    process.terminate()
    assert process.wait(10) == 0  # a shell that is process 1 of a container has no other way to hear SIGTERM
    os.killpg(process.pid, 9)  # its sleep


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    for path in (TEMPLATES / "systemd").iterdir():
        text = path.read_text().replace("/opt/envcheck/bin/envcheck", "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = run([analyze, "verify", *(str(p) for p in tmp_path.glob("envcheck-gate.*"))])
    assert "envcheck-gate" not in done.stderr, done.stderr


# -- the scripts, run with a fake envcheck, scontrol and logger ------------------------------------------------


class Node:
    """A node of a cluster: the gate's answer, Slurm's state; what the script told Slurm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gres = "gpu:a100:4(S:0-1)"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._fake("logger", f'printf "%s\\n" "$*" >> {folder}/log')
        self._fake("hostname", "echo node1")

    def _fake(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(
        self,
        script: str,
        code: int,
        said: str = "broken: x",
        state: str = "IDLE",
        reason: str = "none",
        meanwhile: str = ":",
    ) -> int:
        """``meanwhile``: a line of shell that runs in the node's folder while the gate does."""
        (self.folder / "calls").write_text("")
        (self.folder / "said").write_text(said)
        show = f"NodeName=node1 Arch=x Gres={self.gres} State={state} Weight=1 Reason={reason} [root@now]\n"
        (self.folder / "state").write_text(show)
        self._fake(
            "envcheck",
            f'[[ "$1" == gate ]] || exit 9; cd {self.folder}; touch asked; {meanwhile}; cat said; exit {code}',
        )
        show = f'if [[ "$1" == show ]]; then cat {self.folder}/state; else'
        self._fake("scontrol", f'{show} printf "%s\\0" "$@" >> {self.folder}/calls; fi')
        text = (TEMPLATES / script).read_text()
        text = text.replace("/opt/envcheck/bin/envcheck", str(self.bin / "envcheck"))
        text = text.replace("PATH=/usr/sbin", f"PATH={self.bin}:/usr/sbin")
        path = self.folder / "script.sh"
        path.write_text(text)
        env = {"SLURM_JOB_GPUS": "0"}
        return subprocess.run(["/bin/bash", str(path)], env=env, timeout=60, check=False).returncode

    @property
    def told(self) -> list[str]:
        return [word for word in (self.folder / "calls").read_text().split("\0") if word]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@POSIX
@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 124, 137])
def test_the_prolog_lets_a_job_start_unless_it_is_sure(node: Node, code: int) -> None:
    assert node.run("slurm/envcheck-prolog.sh", code) == 0
    assert node.told == []


@POSIX
def test_the_prolog_drains_on_exit_1(node: Node) -> None:
    assert node.run("slurm/envcheck-prolog.sh", 1, "broken: no GPU") == 1
    assert node.told == ["update", "NodeName=node1", "State=DRAIN", "Reason=envcheck: broken: no GPU"]


@POSIX
@pytest.mark.parametrize("script", ["slurm/envcheck-prolog.sh", "slurm/envcheck-healthcheck.sh"])
def test_a_hostile_name_stays_one_word(node: Node, script: str, tmp_path: Path) -> None:
    node.run(script, 1, f'broken: "; touch {tmp_path}/pwned; $(touch {tmp_path}/pwned) `id` State=RESUME\nNodeName=ALL')
    assert not (tmp_path / "pwned").exists()
    assert node.told[:3] == ["update", "NodeName=node1", "State=DRAIN"]
    assert len(node.told) == 4 and node.told[3].startswith("Reason=envcheck: broken: ")
    assert not set(node.told[3]) & set("\"'`$;\n|&") and "=" not in node.told[3][7:]


@POSIX
@pytest.mark.parametrize(
    ("code", "state", "reason", "told"),
    [
        (0, "IDLE", "none", None),
        (0, "IDLE+DRAIN", "envcheck: broken: x", "State=RESUME"),
        (0, "IDLE+DRAIN", "disk is full", None),
        (0, "IDLE+DRAIN", "not envcheck: x", None),
        (1, "MIXED", "none", "State=DRAIN"),
        (1, "IDLE+DRAIN", "disk is full", None),
        (1, "IDLE+DRAIN", "envcheck: broken: x", None),
        (3, "IDLE", "none", None),
        (3, "IDLE+DRAIN", "envcheck: broken: x", None),
        (124, "IDLE", "none", None),
    ],
)
def test_the_health_check_lifts_only_its_own_drain(
    node: Node, code: int, state: str, reason: str, told: str | None
) -> None:
    assert node.run("slurm/envcheck-healthcheck.sh", code, state=state, reason=reason) == 0
    assert (node.told[2] if node.told else None) == told


@POSIX
@pytest.mark.parametrize("code", [0, 1])
def test_a_person_who_was_faster_is_left_alone(node: Node, code: int) -> None:
    own, his = "envcheck: broken: x", "disk is full"
    show = f"NodeName=node1 Gres=gpu:1 State=IDLE+DRAIN Reason={his} [root@now]\\n"
    state = "IDLE" if code else "IDLE+DRAIN"
    node.run("slurm/envcheck-healthcheck.sh", code, state=state, reason=own, meanwhile=f"printf '{show}' > state")
    assert node.told == []


@POSIX
@pytest.mark.parametrize("gres", ["(null)", "gpfs:1", "nic:2"])
def test_the_health_check_leaves_a_node_without_gpus_alone(node: Node, gres: str) -> None:
    node.gres = gres
    assert node.run("slurm/envcheck-healthcheck.sh", 1) == 0
    assert node.told == [] and not (node.folder / "asked").exists()


def test_the_health_check_ends_before_slurmd_ends_it() -> None:
    text = (TEMPLATES / "slurm" / "envcheck-healthcheck.sh").read_text()
    seconds = int(re.search(r"seconds=(\d+)", text)[1])  # type: ignore[index]
    gate = re.search(r"timeout --kill-after=(\d+) \"\$\(\(seconds \+ (\d+)\)\)\"", text)
    asked = re.findall(r"timeout (\d+) scontrol show", text)
    told = re.findall(r"timeout (\d+) scontrol update", text)
    assert gate and asked and told
    assert seconds + sum(map(int, gate.groups())) + sum(map(int, asked)) + max(map(int, told)) < 60


@POSIX
@pytest.mark.parametrize("script", ["envcheck-prolog.sh", "envcheck-healthcheck.sh"])
def test_a_script_of_slurm_needs_no_path(node: Node, script: str) -> None:
    node.run(f"slurm/{script}", 1)
    path = node.folder / "script.sh"
    path.chmod(0o755)
    for env in ({"SLURM_JOB_GPUS": "0"}, {"SLURM_JOB_GPUS": "0", "PATH": ""}):
        (node.folder / "calls").write_text("")
        done = subprocess.run([str(path)], env=env, timeout=60, check=False)
        assert done.returncode == ("prolog" in script)
        assert node.told[2] == "State=DRAIN"


@POSIX
@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_runner_hook_ends_with_the_code_of_the_gate(node: Node, code: int) -> None:
    assert node.run("github/job-started.sh", code) == code


@POSIX
def test_the_action_runs_the_gate_with_every_input(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    step = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][1]
    fake = tmp_path / "envcheck-action" / "bin" / "envcheck"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\nexit 1\n')
    fake.chmod(0o755)
    assert "${{" not in step["run"]
    evil = '"; echo pwned #$(id)'
    env = dict.fromkeys(step["env"], "")
    env |= {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out")}
    done = run(["bash", "-eo", "pipefail", "-c", step["run"]], env={**env, "POLICY": evil, "SECONDS_ALLOWED": "9"})
    words = done.stdout.split("\0")[:-1]
    assert done.returncode == 1 and words[:3] == ["gate", "--timeout", "9"] and words[-2:] == ["--policy", evil]
    assert (tmp_path / "out").read_text().startswith("json<<envcheck_")


# -- the shell of the CI files, run with a python3 that only writes down what it is asked --------------------------

FAKE_PYTHON = """\
#!/bin/bash
printf '%s\\0' "$@" >> {log}
printf '\\n\\0' >> {log}
[[ "$3" == venv ]] || exit 0
mkdir -p "${{@: -1}}/bin"
cp {fake} "${{@: -1}}/bin/python"
printf '#!/bin/bash\\nprintf "%%s\\\\0" "$@" >> {log}\\nexit 3\\n' > "${{@: -1}}/bin/envcheck"
chmod 755 "${{@: -1}}/bin/envcheck"
"""


def shell_of_ci() -> dict[str, str]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    workflow = yaml.safe_load((TEMPLATES / "github" / "gpu-gate.yml").read_text())
    pipeline = yaml.safe_load((TEMPLATES / "gitlab" / "envcheck.gitlab-ci.yml").read_text())
    return {
        "github": "\n".join(step["run"] for step in workflow["jobs"]["gate"]["steps"]),
        "gitlab": "\n".join(pipeline["gpu-gate"]["script"]),
    }


@POSIX
@pytest.mark.parametrize("system", ["github", "gitlab"])
@pytest.mark.parametrize("wheel", ["/opt/a.whl", '"; touch pwned; $(touch pwned) `touch pwned`', "-r x", None])
def test_the_shell_of_ci_installs_the_wheel_that_is_given_and_gates(
    system: str, wheel: str | None, tmp_path: Path
) -> None:
    log, fake = tmp_path / "log", tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text(FAKE_PYTHON.format(log=log, fake=fake))
    fake.chmod(0o755)
    (tmp_path / "work").mkdir()
    env = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path)}
    if wheel is not None:
        env["ENVCHECK_WHEEL"] = wheel
    done = run(["bash", "-eo", "pipefail", "-c", shell_of_ci()[system]], cwd=tmp_path / "work", env=env)
    calls = [line.split("\0")[:-1] for line in log.read_text().replace("\n\0", "\n").split("\n")]
    assert calls[0][:4] == ["-I", "-m", "venv", "--clear"]
    assert not (tmp_path / "work" / "pwned").exists()
    if wheel is None:
        assert done.returncode not in (0, 3) and "ENVCHECK_WHEEL" in done.stderr and len(calls) == 2
        return
    assert calls[1] == ["-I", "-m", "pip", "install", "--quiet", "--", wheel]
    assert calls[2][:3] == ["gate", "--policy", "/etc/envcheck/policy.toml"] and done.returncode == 3
