"""A plan as a bash script: the parts of ``installers/`` and, between them, this plan's own values as quoted words."""

from __future__ import annotations

import json
import re
import zlib

from ..model import Plan, Step, to_plain
from ..recipes import STATE_DIR, script_part
from .meta import Meta
from .quoting import bash, bash_array, comment, shown

CORE = ("prelude.sh", "steps.sh", "user.sh", "machine.sh")
SYSTEM = ("state.sh", "driver.sh")
SNAPSHOT = re.compile(r"20\d{6}")  # VERSION_ID of Tumbleweed and MicroOS
# Checks that cannot pass before the reboot: such a step is done when it ran to its end.
ONCE = "ec_driver_ready"

NO_PLAN = """#!/usr/bin/env bash
echo 'envcheck: no plan: nothing satisfies the request, so nothing is installed; envcheck plan says why' >&2
exit 1
"""


def script(plan: Plan, meta: Meta, sysroot: str = "", state_dir: str = STATE_DIR) -> str:
    """The whole script. ``sysroot`` and ``state_dir`` differ in tests alone."""
    if not plan.satisfiable:
        return NO_PLAN
    return "\n".join(
        (
            _header(plan, meta),
            *(_body(script_part(name)) for name in _parts(plan)),
            _embedded("ec_have_text", "have.py"),
            _embedded("ec_verify_text", "verify.py"),
            _constants(plan, meta, sysroot, state_dir),
            _binds(plan),
            _stage("ec_plan_system", _of(plan, "system")),
            _user_stage(plan),
            _stage("ec_plan_verify", _of(plan, "verify")),
            _undo("ec_plan_undo_user", _of(plan, "user")),
            _undo("ec_plan_undo_system", _of(plan, "system")),
            # in braces, so that a cut within the line is a syntax error too
            '{ ec_main "$@"; }',
            "",
        )
    )


def _parts(plan: Plan) -> tuple[str, ...]:
    """The common parts, and those that the system's steps name: the driver's, then its package manager's."""
    system = _of(plan, "system")
    named = dict.fromkeys(name for step in system for name in step.parts)
    return (*CORE, *(SYSTEM if system else ()), *named)


def plan_id(plan: Plan) -> str:
    """Names what a script would do: the same steps for the same machine have the same id."""
    machine = plan.machine
    bound = (machine.os.id, machine.os.version, machine.os.arch, machine.driver.version, gpu_ids(plan))
    text = json.dumps([to_plain(plan.steps), to_plain(plan.torch), bound], sort_keys=True)
    # a name to tell plans apart, no proof of anything: two CRCs do, and hashlib's import costs 2 ms
    data = text.encode("utf-8", "backslashreplace")
    return f"{zlib.crc32(data):08x}{zlib.adler32(data) & 0xFFFF:04x}"


def gpu_ids(plan: Plan) -> str:
    """Sorted PCI ids of the machine's GPUs; empty where they were named, not detected."""
    gpus = plan.machine.gpus
    if not gpus or not all(g.pci_id and g.bus_id for g in gpus):
        return ""
    return " ".join(sorted((g.pci_id or "").lower() for g in gpus))


def gpu_capabilities(plan: Plan) -> str:
    return " ".join(sorted(g.compute_capability or "" for g in plan.machine.gpus))


def _of(plan: Plan, stage: str) -> tuple[Step, ...]:
    return tuple(s for s in plan.steps if s.stage == stage)


def _header(plan: Plan, meta: Meta) -> str:
    machine, torch = plan.machine, plan.torch
    gpus = ", ".join(f"{g.name or 'GPU'} ({g.compute_capability or '?'})" for g in machine.gpus) or "no NVIDIA GPU"
    system = " ".join(p for p in (machine.os.id, machine.os.version, machine.os.arch) if p)
    rows = (
        ("plan", f"{plan_id(plan)}, made by envcheck {meta.envcheck_version}, matrix {meta.matrix_version}"),
        ("command", meta.command),
        ("for", f"{system}; {gpus}; driver {machine.driver.version or 'none'}"),
        ("gives", f"torch {torch.version} ({torch.tag})" if torch else "nothing"),
        ("with", ", ".join(f"{n} {v}" for n, v in plan.companions.items()) or "no companions"),
        ("as root", _root_line(plan)),
        ("usage", "bash install.sh [--yes] [--dry-run] [--stage system|user|verify|undo]"),
        ("exit", "10 reboot, then run it again; 11 a precondition is not met; else the failing command's own code"),
    )
    lines = ["#!/usr/bin/env bash", "# An install script by envcheck. Read it, then run it."]
    lines += [f"#   {name + ':':<9}{comment(text)}" for name, text in rows]
    # Steps name functions in arrays, which shellcheck cannot follow; parts of the prelude serve other plans.
    lines += ["# shellcheck disable=SC2329"]
    return "\n".join(lines)


def _root_line(plan: Plan) -> str:
    steps = [s for s in _of(plan, "system") if s.root]
    if not steps:
        return "nothing"
    count = f"{len(steps)} step" + ("s" if len(steps) > 1 else "")
    return count + (", then one reboot by you" if any(s.reboot for s in steps) else "")


def _body(text: str) -> str:
    """A part without its own head: the script has one, and directives of files would bind to one command."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[start:]).strip("\n") + "\n"


def _embedded(name: str, part: str) -> str:
    return f"{name}() {{\n  cat <<'EC_END_OF_FILE'\n{script_part(part)}EC_END_OF_FILE\n}}\n"


def _constants(plan: Plan, meta: Meta, sysroot: str, state_dir: str) -> str:
    torch = plan.torch
    values = {
        "EC_PLAN_ID": plan_id(plan),
        "EC_ENVCHECK": f"{meta.envcheck_version} (matrix {meta.matrix_version})",
        "EC_TORCH": torch.version if torch else "",
        "EC_CUDA": (torch.cuda or "") if torch else "",
        "EC_SYSROOT": sysroot,
        "EC_STATE_ROOT": state_dir,
    }
    lines = "".join(f"  {name}={bash(value)}\n" for name, value in values.items())
    return f"ec_plan_constants() {{\n{lines}}}\n"


def _binds(plan: Plan) -> str:
    os, driver = plan.machine.os, plan.driver
    # a rolling system's "release" is the day of its last update, which a step may ask for
    release = "" if SNAPSHOT.fullmatch(os.version or "") else os.version or ""
    on_os = _call("ec_bind_os", os.id or "", release, os.arch or "")
    on_gpu: tuple[str, ...] = ()
    if plan.torch and plan.torch.cuda and plan.machine.gpus:
        installed = plan.machine.driver.version or ""
        on_gpu = (
            _call("ec_bind_gpus", gpu_ids(plan), gpu_capabilities(plan)),
            _call("ec_bind_driver", installed, (driver.target or "") if driver else ""),
        )
    # Without a driver step the system stage changes nothing that a GPU could mind.
    changes_driver = any(s.id.startswith(("driver", "reboot")) for s in _of(plan, "system"))
    if on_gpu and driver and driver.target and any(s.id == "driver-by-hand" for s in plan.steps):
        # a person takes the driver that there is, which may be of a newer branch and serves as well
        check = f"if ! {_call('ec_driver_branch', driver.target)}; then {on_gpu[1]}; fi"
        verify: tuple[str, ...] = ("if ec_no_gpu; then return 0; fi", on_gpu[0], check)
    else:
        verify = ("if ec_no_gpu; then return 0; fi", *on_gpu) if on_gpu else ()
    user = (on_os, *_bind_python(plan))
    return "\n".join(
        (
            _function("ec_bind_system", (on_os, *(on_gpu if changes_driver else ()))),
            _function("ec_bind_user", user),
            _function("ec_bind_verify", verify),
        )
    )


def _bind_python(plan: Plan) -> tuple[str, ...]:
    """The interpreter is bound where the plan makes the environment with one that is there."""
    made = next((s.argv for s in plan.steps if s.id == "venv" and s.argv[1:3] == ("-m", "venv")), None)
    if made is None or plan.python is None or not plan.python.version:
        return ()
    version = ".".join(plan.python.version.split(".")[:2])
    if plan.python.version.endswith("t") and not version.endswith("t"):
        version += "t"
    target = next(s.argv[2] for s in plan.steps if s.stage == "verify") if _of(plan, "verify") else made[0]
    return (_call("ec_bind_python", version, made[0], target),)


def _call(name: str, *words: str) -> str:
    return " ".join((name, *(bash(w) for w in words)))


def _function(name: str, lines: tuple[str, ...]) -> str:
    return f"{name}() {{\n" + "".join(f"  {line}\n" for line in lines or (":",)) + "}\n"


def _stage(name: str, steps: tuple[Step, ...]) -> str:
    return _function(name, tuple(line for s in steps for line in (*_step(s), "ec_step")))


def _user_stage(plan: Plan) -> str:
    """The machine is bound before the first step that is for it: wheels may be fetched anywhere."""
    lines: list[str] = []
    bound = False
    for step in _of(plan, "user"):
        if not bound and not step.id.startswith("fill-"):
            lines.append("if ((!EC_LIST)); then ec_bind_user; fi")
            bound = True
        lines += (*_step(step), "ec_step")
    return _function("ec_plan_user", tuple(lines))


def _undo(name: str, steps: tuple[Step, ...]) -> str:
    backwards = [s for s in reversed(steps) if s.undo]
    return _function(name, tuple(line for s in backwards for line in (*_step_undo(s), "ec_undo")))


def _step(step: Step) -> tuple[str, ...]:
    once = step.check is None or step.check[0] == ONCE
    return (
        f"EC_ID={bash(step.id)} EC_ROOT={int(step.root)} EC_REBOOT={int(step.reboot)} EC_ONCE={int(once)}",
        f"EC_TITLE={bash(shown(step.title))}",
        f"EC_WHY={bash(shown(step.why))}",
        f"EC_CHECK={bash_array(step.check or ())}",
        f"EC_ARGV={bash_array(step.argv)}",
        f"EC_UNDO={bash_array(step.undo or ())}",
    )


def _step_undo(step: Step) -> tuple[str, ...]:
    return (
        f"EC_ID={bash(step.id)} EC_ROOT={int(step.root)}",
        f"EC_TITLE={bash(shown(step.title))}",
        f"EC_UNDO={bash_array(step.undo or ())}",
    )
