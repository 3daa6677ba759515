"""The lives of a driver script that every recipe goes through: from no driver to the second run, dry, undone, failing.

A family's tests call these with its own machines, and assert beside them what is its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fakes.drivers import system
from fakes.world import SECURE_BOOT, Ended, World

GOLDEN = Path(__file__).parent / "golden"
# a loaded module and DKMS's own work go with the packages
OURS = ("sys/module", "proc/driver", "lib/modules")
KEYS = [
    (None, 11, "Enroll MOK"),
    ("absent", 11, "mokutil --import"),
    ("queued", 10, "reboot, choose"),
    ("enrolled", 0, ""),
]


def reboots_once(world: World, script: str, golden: str, boot: Callable[[World], None] = World.reboot) -> None:
    """nouveau holds the card: the commands of ``golden``, a reboot, and nothing left to do."""
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    first = system(world, script, "--yes")
    assert first.code == 10, first.output
    log = "\n".join(world.log()) + "\n"
    file = GOLDEN / f"{golden}.log"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(log)
    assert log == file.read_text()

    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (10, []), again.output

    boot(world)
    resumed = system(world, script, "--yes")
    assert (resumed.code, world.log()) == (0, []), resumed.output
    assert "nothing to do" in resumed.output


def commands_of(golden: str) -> list[str]:
    return (GOLDEN / f"{golden}.log").read_text().splitlines()


def loads_at_once(world: World, script: str) -> None:
    """Nothing holds the card: the module is loaded by the first run, and the second has no command."""
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert world.log()[-1] == "modprobe nvidia"
    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (0, []), again.output


def dry(world: World, script: str) -> Ended:
    """A dry run ends well and changes nothing at all."""
    before = world.files(), world.load()
    ended = system(world, script, "--dry-run")
    assert ended.code == 0, ended.output
    assert (world.files(), world.load()) == before
    assert world.log() == []
    assert not world.var.exists()
    return ended


def repaired_in_turn(world: World, script: str, commands: list[str], spared: Iterable[str] = ()) -> list[str]:
    """Each run goes on to the first command that has not failed yet, in turn before and after that did its work.

    ``commands`` bound the runs; ``spared`` are not made to fail. Returned: those that failed or were spared.
    """
    world.save(failed=[*spared])
    runs = 0
    while (ended := system(world, script, "--yes")).code and runs <= len(commands):
        assert ended.code not in (10, 11), ended.output
        runs += 1
    assert ended.code == 0, ended.output
    failed: list[str] = world.load()["failed"]
    world.save(failed=None)
    return failed


def undone(
    world: World,
    script: str,
    before: tuple[dict[str, str], dict[str, str]],
    ours: tuple[str, ...] = OURS,
    boot: Callable[[World], None] | None = None,
) -> None:
    """Undo leaves the files and the packages of ``before``, but for what begins with ``ours``, and no state."""
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    if boot is not None:
        boot(world)
    assert world.installed == before[1]
    assert {k: v for k, v in world.files().items() if not k.startswith(ours)} == {
        k: v for k, v in before[0].items() if not k.startswith(ours)
    }
    assert not world.var.exists()
    again = world.run(script, "--stage", "undo", "--yes")
    assert again.code == 0
    assert "nothing to take back" in again.output


def fails_at(world: World, script: str, number: int, *, after: bool) -> tuple[Ended, Ended]:
    """A run whose command ``number`` fails, before or after it did its work, and the next run."""
    world.save(fail_at=number, fail_after=after)
    first = system(world, script, "--yes")
    assert first.code not in (0, 10, 11), first.output
    world.save(fail_at=None)
    return first, system(world, script, "--yes")


def secure_boot(world: World, script: str, key: str | None, code: int, words: str) -> Ended:
    """Secure Boot is on, and the key of DKMS is absent, not enrolled, queued or enrolled."""
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    if key:
        world.put("var/lib/dkms/mok.pub", "key")
        world.save(mok=key)
    ended = system(world, script, "--yes")
    assert ended.code == code, ended.output
    assert words in ended.output
    if code:
        assert world.log() == []
    return ended


def refused(world: World, script: str, words: str) -> None:
    """The script stops with 11 before any command, and says ``words``."""
    ended = system(world, script, "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert words in ended.output


def by_a_run_file(world: World) -> None:
    """A driver of NVIDIA's .run file is here, and no package owns its files."""
    world.put("usr/bin/nvidia-uninstall", "#!/bin/sh\n")
    (world.root / "usr/bin/nvidia-uninstall").chmod(0o755)


def refused_for_a_run_file(world: World, script: str) -> None:
    by_a_run_file(world)
    refused(world, script, "sudo nvidia-uninstall --silent")


def with_a_program(world: World, driver: str) -> None:
    """``driver`` is loaded, and a program computes on it."""
    world.put("sys/module/nvidia/version", driver + "\n")
    world.save(process="4711, python")


def refused_for_programs(world: World, script: str, driver: str) -> None:
    with_a_program(world, driver)
    refused(world, script, "4711, python")
