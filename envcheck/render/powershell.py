"""A plan as a PowerShell script (Windows PowerShell 5.1 and newer), with the same stages and exit codes as bash."""

from __future__ import annotations

from ..model import Plan, Step
from ..recipes import script_part
from .bash import ONCE, gpu_capabilities, plan_id
from .meta import Meta
from .quoting import comment, powershell, powershell_array, shown

NO_PLAN = """[Console]::Error.WriteLine(
  'envcheck: no plan: nothing satisfies the request, so nothing is installed; envcheck plan says why')
exit 1
"""


def script(plan: Plan, meta: Meta) -> str:
    """The whole script, in ASCII."""
    if not plan.satisfiable:
        return NO_PLAN
    return "\n".join(
        (
            _header(plan, meta),
            script_part("prelude.ps1"),
            _text("Get-EcHaveText", "have.py"),
            _text("Get-EcVerifyText", "verify.py"),
            _constants(plan, meta),
            _steps(plan),
            "Invoke-EcMain",
            "",
        )
    )


def _header(plan: Plan, meta: Meta) -> str:
    torch, machine = plan.torch, plan.machine
    gpus = ", ".join(g.name or "GPU" for g in machine.gpus) or "no NVIDIA GPU"
    rows = (
        ("plan", f"{plan_id(plan)}, made by envcheck {meta.envcheck_version}, matrix {meta.matrix_version}"),
        ("command", meta.command),
        ("for", f"{machine.os.id} {machine.os.version or ''}; {gpus}; driver {machine.driver.version or 'none'}"),
        ("gives", f"torch {torch.version} ({torch.tag})" if torch else "nothing"),
        ("usage", "powershell -ExecutionPolicy Bypass -File install.ps1 [-Yes] [-DryRun] [-Stage NAME]"),
        ("exit", "10 reboot, then run it again; 11 a precondition is not met; else the failing command's own code"),
    )
    lines = ["# An install script by envcheck. Read it, then run it."]
    lines += [f"#   {name + ':':<9}{comment(text)}" for name, text in rows]
    lines.append("param([switch]$Yes, [switch]$DryRun, [string]$Stage = 'all')")
    return "\n".join(lines)


def _text(function: str, part: str) -> str:
    return f"function {function} {{\n@'\n{script_part(part)}'@\n}}\n"


def _constants(plan: Plan, meta: Meta) -> str:
    torch, driver = plan.torch, plan.driver
    gpu = bool(torch and torch.cuda and plan.machine.gpus)
    values = {
        "PlanId": plan_id(plan),
        "Envcheck": f"{meta.envcheck_version} (matrix {meta.matrix_version})",
        "Torch": torch.version if torch else "",
        "Cuda": (torch.cuda or "") if torch else "",
        "Os": plan.machine.os.id or "",
        "Arch": plan.machine.os.arch or "",
        "Gpus": gpu_capabilities(plan) if gpu else "",
        "Driver": (plan.machine.driver.version or "") if gpu else "",
        "Target": (driver.target or "") if gpu and driver else "",
    }
    lines = "".join(f"  {name} = {powershell(value)}\n" for name, value in values.items())
    return f"$EcPlan = @{{\n{lines}}}\n"


def _steps(plan: Plan) -> str:
    return "$EcSteps = @(\n" + ",\n".join(_step(s) for s in plan.steps) + "\n)\n"


def _step(step: Step) -> str:
    once = step.check is None or step.check[0] == ONCE
    values = (
        ("Id", powershell(step.id)),
        ("Stage", powershell(step.stage)),
        ("Title", powershell(shown(step.title))),
        ("Why", powershell(shown(step.why))),
        ("Reboot", "$true" if step.reboot else "$false"),
        ("Once", "$true" if once else "$false"),
        ("Check", powershell_array(step.check or ())),
        ("Argv", powershell_array(step.argv)),
        ("Undo", powershell_array(step.undo or ())),
    )
    return "  @{\n" + "".join(f"    {name} = {value}\n" for name, value in values) + "  }"
