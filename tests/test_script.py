"""The bash script, run: stages, state, undo, binding, and a user stage that really makes an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.plans import META, MINOR, plan_of, refused, this_machine
from fakes.world import World
from loopback_index import LoopbackIndex, common_set, torch_set
from managers_support import job

from envcheck import managers
from envcheck.model import Gpu, Machine, Plan, PythonChoice, Step
from envcheck.recipes import verify_steps
from envcheck.render import render

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fakes stand for Linux")

SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, os_id="debian", version="12", kernel="6.1.0-37-amd64")
    # the tests of this file run the real uname, and programs that the fakes know nothing of
    (made.bin / "uname").unlink()
    return made


def script_of(world: World, *steps: Step, machine: Machine | None = None, plan: Plan | None = None) -> str:
    made = plan or plan_of(*steps, machine=machine or this_machine())
    return render(made, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))


def touch(name: str, **more: object) -> Step:
    made = {"argv": ("touch", name), "check": ("test", "-e", name), "undo": ("rm", "-f", name), **more}
    return Step(id=name, title=f"make {name}", **made)  # type: ignore[arg-type]


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_the_parts_are_clean_each_for_itself() -> None:
    parts = sorted((ROOT / "installers").glob("*.sh"))
    assert len(parts) >= 6
    done = subprocess.run([str(SHELLCHECK), *map(str, parts)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_steps_run_once_and_a_second_run_does_nothing(world: World) -> None:
    script = script_of(world, touch("a"), touch("b"))
    first = world.run(script, "--stage", "user")
    assert first.code == 0, first.output
    assert sorted(p.name for p in world.work.iterdir()) == ["a", "b"]
    before = (world.work / "a").stat().st_mtime_ns
    second = world.run(script, "--stage", "user")
    assert second.code == 0
    assert second.output.count("already done") == 2
    assert (world.work / "a").stat().st_mtime_ns == before


def test_dry_run_shows_words_as_they_would_be_run_and_changes_nothing(world: World) -> None:
    odd = "it's $(touch x) ü"
    ended = world.run(script_of(world, touch("a"), touch(odd)), "--dry-run")
    assert ended.code == 0, ended.output
    assert "+ touch a" in ended.output
    assert r"+ touch it\'s\ \$\(touch\ x\)" in ended.output
    assert list(world.work.iterdir()) == []
    assert list((world.home / "user").iterdir()) == []


def test_a_failure_keeps_the_commands_own_code_and_the_next_run_goes_on_there(world: World) -> None:
    flag = world.home / "repaired"
    fails = Step(
        id="b", title="b", argv=("sh", "-c", f"test -e {flag} && touch b || exit 42"), check=("test", "-e", "b")
    )
    script = script_of(world, touch("a"), fails, touch("c"))
    ended = world.run(script, "--stage", "user")
    assert ended.code == 42
    assert "step b failed with exit code 42" in ended.output
    assert [p.name for p in world.work.iterdir()] == ["a"]
    flag.touch()
    assert world.run(script, "--stage", "user").code == 0
    assert sorted(p.name for p in world.work.iterdir()) == ["a", "b", "c"]


def test_a_command_that_ends_well_and_does_nothing_is_no_success(world: World) -> None:
    ended = world.run(
        script_of(world, Step(id="a", title="make a", argv=("true",), check=("test", "-e", "a"))), "--stage", "user"
    )
    assert ended.code == 1
    assert "make a" in ended.output
    assert "yet the checks" in ended.output


def test_a_step_without_check_runs_once(world: World) -> None:
    script = script_of(world, Step(id="a", title="a", argv=("sh", "-c", "echo x >> a")))
    for _ in range(2):
        assert world.run(script, "--stage", "user").code == 0
    assert (world.work / "a").read_text() == "x\n"


def test_undo_takes_back_in_reverse_and_only_what_ran(world: World) -> None:
    (world.work / "there").touch()
    steps = [
        touch("there"),
        touch("a", undo=("sh", "-c", "echo a >> order; rm a")),
        touch("b", undo=("sh", "-c", "echo b >> order; rm b")),
    ]
    script = script_of(world, *steps)
    assert world.run(script, "--stage", "user").code == 0
    asked = world.run(script, "--stage", "undo")
    assert (asked.code, "pass --yes" in asked.output) == (11, True)
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    assert (world.work / "order").read_text() == "b\na\n"
    assert sorted(p.name for p in world.work.iterdir()) == ["order", "there"]
    assert "nothing to take back" in world.run(script, "--stage", "undo", "--yes").output
    assert list((world.home / "user/.local/state/envcheck").iterdir()) == []


def test_undo_that_fails_is_told_and_can_be_repeated(world: World) -> None:
    script = script_of(world, touch("a"), touch("b", undo=("sh", "-c", "test -e ok && rm b")))
    world.run(script, "--stage", "user")
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 1
    assert "not everything could be taken back" in ended.output
    (world.work / "ok").touch()
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert sorted(p.name for p in world.work.iterdir()) == ["ok"]


def test_undo_in_another_directory_touches_nothing(world: World) -> None:
    script = script_of(
        world, Step(id="d", title="d", argv=("mkdir", "d"), check=("test", "-d", "d"), undo=("ec_remove_created", "d"))
    )
    world.run(script, "--stage", "user")
    other = world.home / "other"
    (other / "d").mkdir(parents=True)
    world.work, mine = other, world.work
    ended = world.run(script, "--stage", "undo", "--yes")
    assert (ended.code, (other / "d").exists(), (mine / "d").exists()) == (0, True, True)


def test_a_directory_that_was_there_is_never_removed(world: World) -> None:
    (world.work / "d").mkdir()
    script = script_of(
        world,
        Step(id="d", title="d", argv=("touch", "d/x"), check=("test", "-e", "d/x"), undo=("ec_remove_created", "d")),
    )
    world.run(script, "--stage", "user")
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0
    assert "was there before" in ended.output
    assert (world.work / "d/x").exists()


@pytest.mark.parametrize("place", ["/", ".", "..", "x/.."])
def test_undo_never_removes_the_directories_above(world: World, place: str) -> None:
    step = Step(id="d", title="d", argv=("true",), undo=("ec_remove_created", place))
    script = script_of(world, step).replace("! -e ${EC_UNDO[1]}", "-n ${EC_UNDO[1]}")  # as if it had not been there
    world.run(script, "--stage", "user")
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 1
    assert "is not removed" in ended.output
    assert world.work.exists()


@pytest.mark.parametrize(
    ("words", "code"), [(("--stage", "nope"), 2), (("--stage",), 2), (("--frobnicate",), 2), (("--help",), 0)]
)
def test_options(world: World, words: tuple[str, ...], code: int) -> None:
    ended = world.run(script_of(world, touch("a")), *words)
    assert ended.code == code
    assert list(world.work.iterdir()) == []


def test_a_script_that_was_cut_off_does_nothing(world: World) -> None:
    script = script_of(world, touch("a"))
    length = len(script)
    # without its last newline alone the script is whole
    for cut in [*range(length // 40, length - 20, length // 40), *range(length - 20, length - 1)]:
        world.run(script[:cut], "--stage", "user", "--yes")
        assert list(world.work.iterdir()) == [], cut


def test_from_a_pipe_the_commands_do_not_eat_the_script(world: World) -> None:
    script = script_of(world, Step(id="a", title="a", argv=("sh", "-c", "cat > a")), touch("b"))
    done = subprocess.run(
        ["bash", "-s", "--", "--stage", "user"],
        input=script.encode(),
        cwd=world.work,
        env=world.env(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (world.work / "a").read_text() == ""
    assert (world.work / "b").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo is told by root and SUDO_USER")
def test_the_user_stage_stops_under_sudo_except_in_a_container(world: World) -> None:
    script = script_of(world, touch("a"))
    ended = world.run(script, "--yes", env={"SUDO_USER": "ada"})
    assert ended.code == 11
    assert "must not run under sudo" in ended.output
    assert list(world.work.iterdir()) == []
    world.put(".dockerenv", "")
    assert world.run(script, "--stage", "user", env={"SUDO_USER": "ada"}).code == 0


def test_the_user_stage_is_bound_to_system_version_architecture_and_python(world: World) -> None:
    assert world.run(script_of(world, touch("a")), "--stage", "user").code == 0
    for other, words in (
        (this_machine(id="fedora"), "the system is debian 12 here and fedora 12 in the plan"),
        (this_machine(version="13"), "the system's version is 12 here and 13 in the plan"),
        (this_machine(arch="riscv64"), "here and riscv64 in the plan"),
    ):
        ended = world.run(script_of(world, touch("b"), machine=other), "--stage", "user")
        assert ended.code == 11
        assert words in ended.output
    venv = Step(id="venv", title="v", argv=(sys.executable, "-m", "venv", ".venv"), check=("test", "-d", ".venv"))
    verify = verify_steps((".venv/bin/python",), cpu=True)
    wrong = plan_of(venv, *verify, machine=this_machine(), python=PythonChoice(version="3.5", supported=()))
    ended = world.run(script_of(world, plan=wrong), "--stage", "user")
    assert ended.code == 11
    assert f"is {MINOR} here and 3.5 in the plan" in ended.output


def test_a_step_by_hand_stops_with_its_words_until_its_check_passes(world: World) -> None:
    step = Step(id="hand", title="do this", why="because", argv=(), stage="system", check=("test", "-e", "done"))
    script = script_of(world, step, touch("a"))
    ended = world.run(script, "--yes")
    assert ended.code == 11
    assert "do this. because" in ended.output
    assert list(world.work.iterdir()) == []
    assert world.run(script, "--dry-run").code == 0
    (world.work / "done").touch()
    assert world.run(script, "--stage", "system").code == 0


def test_a_reboot_by_hand_is_asked_for_until_it_happened(world: World) -> None:
    script = script_of(world, Step(id="reboot", title="reboot", argv=(), stage="system", reboot=True), touch("a"))
    assert world.run(script, "--yes").code == 10
    assert world.run(script, "--yes").code == 10
    assert list(world.work.iterdir()) == []
    world.put("proc/sys/kernel/random/boot_id", "second\n")
    assert world.run(script, "--stage", "system", "--yes").code == 0


def test_roots_state_is_read_as_text(world: World) -> None:
    script = script_of(world, touch("s", stage="system", root=True))
    assert world.run(script, "--stage", "system", "--yes").code == 0
    (state,) = world.var.rglob("state")
    state.write_text(state.read_text() + "ran $(touch pwned)\n`touch pwned`\nundo x; touch pwned\n")
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert not (world.work / "pwned").exists()


def test_a_state_directory_that_is_a_link_is_refused(world: World) -> None:
    (world.home / "elsewhere").mkdir()
    world.var.symlink_to(world.home / "elsewhere")
    ended = world.run(script_of(world, touch("s", stage="system", root=True)), "--stage", "system", "--yes")
    assert ended.code == 11
    assert "is a symbolic link" in ended.output


def test_no_plan_is_a_stub_that_fails(world: World) -> None:
    script = render(refused(), "script", meta=META)
    assert "9.9" not in script
    ended = world.run(script)
    assert ended.code == 1
    assert "no plan" in ended.output


def test_a_file_of_somebody_is_not_overwritten(world: World) -> None:
    step = Step(
        id="w",
        title="w",
        argv=("ec_write_file", "p/x.toml", "a = 1", ""),
        check=("ec_file_is", "p/x.toml", "a = 1", ""),
        undo=("ec_remove_created", "p/x.toml"),
    )
    script = script_of(world, step)
    assert world.run(script, "--stage", "user").code == 0
    assert (world.work / "p/x.toml").read_text() == "a = 1\n\n"
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert not (world.work / "p").exists()
    (world.work / "p").mkdir()
    (world.work / "p/x.toml").write_text("mine\n")
    ended = world.run(script, "--stage", "user")
    assert ended.code == 11
    assert (world.work / "p/x.toml").read_text() == "mine\n"


def test_the_verify_stage_is_bound_to_the_gpus_and_says_where_there_is_none(world: World) -> None:
    gpu = Gpu(name="NVIDIA GeForce RTX 3090", compute_capability="8.6", pci_id="10de:2204", bus_id="0000:01:00.0")
    machine = Machine(os=this_machine().os, gpus=(gpu,))
    script = script_of(world, *verify_steps((sys.executable,), cpu=False), machine=machine)
    ended = world.run(script, "--stage", "verify")
    assert ended.code == 11
    assert "is 10de:2684 here and 10de:2204 in the plan" in ended.output
    shutil.rmtree(world.root / "sys/bus")
    ended = world.run(script, "--stage", "verify")
    assert ended.code == 1
    assert "FAIL" in ended.output


def test_wheels_are_filled_anywhere_and_checked_where_they_are_installed(world: World) -> None:
    wanted = ("ec_write_file", "w/requirements.in", "torch==2.0.1")
    steps = (
        Step(id="fill-wanted", title="w", argv=wanted, check=("ec_file_is", *wanted[1:])),
        Step(
            id="fill-wheel", title="x", argv=("touch", "w/a_b-1.0-x.whl"), check=("ec_have_locked_wheels", "w", "lock")
        ),
        Step(id="fill-tools", title="x", argv=("touch", "w/pip-9-x.whl"), check=("ec_have_wheels", "w", "pip")),
        Step(id="fill-manifest", title="m", argv=("ec_offline_filled", "w"), check=("ec_file_exists", "w/SHA256SUMS")),
        Step(id="wheelhouse", title="c", argv=("ec_sha256_check", "w"), check=("ec_sha256_check", "w")),
        touch("a"),
    )
    (world.work / "lock").write_text("a-b==1.0 \\\n    --hash=sha256:00\n")
    world.put("etc/os-release", "ID=fedora\nVERSION_ID=43\n")
    script = script_of(world, *steps)
    filled = world.run(script, "--stage", "user")
    assert filled.code == 0, filled.output
    assert "Carry it and this script" in filled.output
    assert sorted(p.name for p in (world.work / "w").iterdir()) == [
        "SHA256SUMS",
        "a_b-1.0-x.whl",
        "pip-9-x.whl",
        "requirements.in",
    ]
    elsewhere = world.run(script, "--stage", "user")
    assert (elsewhere.code, "the system is fedora" in elsewhere.output) == (11, True)

    world.put("etc/os-release", "ID=debian\nVERSION_ID=12\n")
    (world.work / "w/pip-9-x.whl").write_text("changed")
    ended = world.run(script, "--stage", "user")
    assert (ended.code, "pip-9-x.whl is not the file" in ended.output) == (11, True)
    (world.work / "w/pip-9-x.whl").write_text("")
    (world.work / "w/b.whl").touch()
    ended = world.run(script, "--stage", "user")
    assert (ended.code, "b.whl is not in SHA256SUMS" in ended.output) == (11, True)
    (world.work / "w/b.whl").unlink()
    assert world.run(script, "--stage", "user").code == 0
    assert (world.work / "a").exists()


@pytest.fixture(scope="module")
def index() -> Iterator[LoopbackIndex]:
    tag = "cp" + MINOR.replace(".", "")
    wheels = [*torch_set(tag, f"linux_{os.uname().machine}"), *common_set()]
    with LoopbackIndex({"whl/cu118": wheels}) as running:
        yield running


def test_for_real_an_environment_with_torch_and_numpy_1(world: World, index: LoopbackIndex) -> None:
    """pip and a real ``python -m venv`` against an index on the loopback interface."""
    wanted = job(
        index_url=index.url("whl/cu118"),
        arch=os.uname().machine,
        active_python=sys.executable,
        python=PythonChoice(version=MINOR, supported=(MINOR,)),
    )
    manager = managers.get("pip")
    steps = (*manager.install_steps(wanted), *verify_steps(manager.target_python(wanted), cpu=False))
    script = script_of(world, *steps)
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
    first = world.run(script, "--yes", "--stage", "user", env=env)
    assert first.code == 0, first.output
    python = world.work / ".venv/bin/python"
    code = "import importlib.metadata as m; print(m.version('torch'), m.version('numpy'))"
    assert subprocess.check_output([python, "-c", code], timeout=60).split() == [b"2.0.1+cu118", b"1.26.4"]
    second = world.run(script, "--yes", "--stage", "user", env=env)
    assert second.code == 0
    assert "+ " not in second.output, second.output
    verified = world.run(script, "--stage", "verify")
    assert verified.code == 1, verified.output
    undone = world.run(script, "--stage", "undo", "--yes", env=env)
    assert undone.code == 0, undone.output
    assert list(world.work.iterdir()) == []


def test_an_environment_of_somebody_is_not_built_over(world: World, index: LoopbackIndex) -> None:
    (world.work / ".venv").mkdir()
    (world.work / ".venv/thesis.txt").write_text("x")
    wanted = job(active_python=sys.executable, python=PythonChoice(version=MINOR, supported=(MINOR,)))
    ended = world.run(script_of(world, *managers.get("pip").install_steps(wanted)), "--stage", "user")
    assert ended.code == 11
    assert "no environment" in ended.output
