"""Runs the checks over one machine, ranks what they found, and says the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from ..errors import UsageError
from ..matrix import Matrix
from ..model import Machine
from . import (
    build,
    container,
    cuda_driver,
    driver,
    hardware,
    install,
    libraries,
    neighbours,
    pairs,
    runtime,
    system,
    toolchain,
    wsl,
)
from .base import (
    BROKEN,
    CRASH,
    DEGRADED,
    FAIL,
    HEALTHY,
    SKIP,
    TIMEOUT,
    UNDETERMINED,
    UNKNOWN,
    WARN,
    CheckResult,
    Finding,
    Outcome,
    Report,
)
from .view import View

Check = Callable[[View], Outcome]
DOCS = "docs/checks.md"

# (area, checks). The order is the ranking of root causes: a cause stands before what it causes.
GROUPS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    (hardware.AREA, hardware.CHECKS),
    (wsl.AREA, wsl.CHECKS),
    (container.AREA, container.CHECKS),
    (driver.AREA, driver.CHECKS),
    (driver.AREA, cuda_driver.CHECKS),
    (runtime.SELECTION, runtime.SELECTION_CHECKS),
    (build.AREA, build.CHECKS),
    (install.AREA, install.CHECKS),
    (pairs.AREA, pairs.CHECKS),
    (libraries.AREA, libraries.CHECKS),
    (pairs.AREA, pairs.LATE_CHECKS),
    (toolchain.AREA, toolchain.CHECKS),
    (build.AREA, build.LATE_CHECKS),
    (runtime.MULTI, runtime.MULTI_CHECKS),
    (container.AREA, container.LATE_CHECKS),
    (runtime.MEMORY, runtime.MEMORY_CHECKS),
    (runtime.NUMERICS, runtime.NUMERICS_CHECKS),
    (hardware.AREA, hardware.LATE_CHECKS),
    (system.AREA, system.CHECKS),
)
CHECKS: tuple[Check, ...] = tuple(check for _, checks in GROUPS for check in checks)
AREA_OF: dict[str, str] = {}

# cause -> what it brings about: while the cause is found at least as surely, the effect is no finding of its own
DRIVER_CAUSES = (
    "nouveau-loaded",
    "gpu-bound-to-vfio",
    "secure-boot-blocks-module",
    "nvidia-open-module-wrong",
    "kernel-module-not-built",
    "driver-library-mismatch",
    "no-nvidia-driver",
    "pci-bar-unassigned",
    "gpu-fell-off-bus",
    "wsl1-no-gpu",
    "wsl-linux-driver-inside",
    "wsl-libcuda-path",
    "container-no-gpu-flag",
    "container-toolkit-missing",
    "container-driver-capabilities",
    "container-cgroup-lost",
    "device-permissions",
    "macos-no-cuda",
    "amd-gpu",
)
EXPLAINS: dict[str, tuple[str, ...]] = {
    "nouveau-loaded": ("kernel-module-not-built", "no-nvidia-driver", "secure-boot-blocks-module"),
    "secure-boot-blocks-module": ("kernel-module-not-built", "no-nvidia-driver"),
    "nvidia-open-module-wrong": ("kernel-module-not-built", "pci-bar-unassigned"),
    "kernel-module-not-built": ("no-nvidia-driver",),
    "wsl1-no-gpu": ("no-nvidia-driver", "kernel-module-not-built"),
    "macos-no-cuda": ("cpu-only-torch", "no-nvidia-driver", "triton-missing", "cuda-toolkit-missing"),
    "jetson-needs-nvidia-wheel": ("cpu-only-torch", "aarch64-cpu-wheel"),
    "aarch64-cpu-wheel": ("cpu-only-torch",),
    "mixed-cuda-majors": ("nccl-symbol-conflict",),
    "wrong-wheel-index": ("python-without-wheel",),
    "fp16-gtx16": ("fp16-overflow",),
}
GENERIC = ("driver", "gpu", "torch")


def code_of(check: Check) -> str:
    return check.__name__.replace("_", "-")


AREA_OF.update({code_of(check): area for area, checks in GROUPS for check in checks})
CODES: tuple[str, ...] = tuple(code_of(check) for check in CHECKS)
TITLES = {code_of(check): (check.__doc__ or "").split("\n", 1)[0] for check in CHECKS if code_of(check) not in GENERIC}


def run_checks(machine: Machine, matrix: Matrix, only: Collection[str] = (), skip: Collection[str] = ()) -> Report:
    """Every check, ranked. ``only``/``skip`` are codes; an unknown one raises ``UsageError``."""
    _known((*only, *skip))
    view = View(machine, matrix)
    chosen = [c for c in CHECKS if (not only or code_of(c) in only) and code_of(c) not in skip]
    outcomes: dict[str, Outcome] = {}
    seconds: dict[str, float] = {}
    for check in chosen:
        started = time.perf_counter()
        outcomes[code_of(check)] = _run(check, view)
        seconds[code_of(check)] = time.perf_counter() - started
    outcomes = _explained(outcomes)
    results = tuple(_result(code, outcome, seconds[code]) for code, outcome in outcomes.items())
    word = verdict(results, machine)
    ranked = _ranked(outcomes)
    near = neighbours.also_possible(view, outcomes, ranked, TITLES, sound=word == HEALTHY)
    if near:  # said of a failure that the verdict knows already; what is undetermined stays so
        outcomes.update((code, neighbours.outcome_of(view, code, TITLES[code], alone=not ranked)) for code in near)
        results = tuple(_result(code, outcome, seconds[code]) for code, outcome in outcomes.items())
        word = DEGRADED if word == HEALTHY else word
    findings = tuple(_finding(code, outcomes[code]) for code in (*ranked, *near))
    return Report(
        verdict=word,
        machine=machine,
        findings=findings,
        results=results,
        matrix_version=matrix.version,
    )


def _known(codes: Iterable[str]) -> None:
    import difflib

    for code in codes:
        if code not in CODES:
            near = difflib.get_close_matches(code, CODES, n=1)
            raise UsageError(
                f"there is no check {code!r}."
                + (f" Did you mean {near[0]!r}?" if near else " `envcheck explain` lists them.")
            )


def _run(check: Check, view: View) -> Outcome:
    """One bad check costs its own answer and nothing else: a crash is a result."""
    try:
        return check(view)
    except Exception as error:  # noqa: BLE001 - reported as this check's own result
        return Outcome(
            status=CRASH, summary=f"this check failed: {type(error).__name__}: {error}"[:300], required=False
        )


def _explained(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Effects become skips that name their cause."""
    out = dict(outcomes)
    for cause, effects in EXPLAINS.items():
        found = outcomes.get(cause)
        if found is None or found.status != FAIL:
            continue
        for effect in effects:
            other = out.get(effect)
            if other is not None and other.status in (WARN, FAIL) and other.strength <= found.strength:
                out[effect] = Outcome(status=SKIP, summary=f"explained by {cause}")
    fired = [c for c, o in out.items() if o.status == FAIL and c not in GENERIC]
    for code in GENERIC:
        if out.get(code) is not None and out[code].status == FAIL and fired:
            causes = [c for c in fired if c in DRIVER_CAUSES] if code != "torch" else fired
            if causes:
                out[code] = Outcome(status=SKIP, summary=f"explained by {causes[0]}")
    return out


def _ranked(outcomes: dict[str, Outcome]) -> list[str]:
    """Fails before warnings, the surest first; equals in the order of CHECKS."""
    order = {code: i for i, code in enumerate(CODES)}
    found = [c for c, o in outcomes.items() if o.status in (WARN, FAIL)]
    return sorted(found, key=lambda c: (outcomes[c].status != FAIL, c in GENERIC, -outcomes[c].strength, order[c]))


def section(check_doc: str, name: str) -> str:
    """The paragraph of a docstring that begins with ``name:``, joined to one line."""
    lines: list[str] = []
    inside = False
    for line in map(str.strip, check_doc.splitlines()):
        head = line.split(":")[0]
        if head in ("Why", "Fix", "References"):
            inside = head == name
            line = line.partition(":")[2]
        if inside:
            lines.append(line)
    return " ".join(filter(None, lines))


def doc_of(code: str) -> str:
    check = CHECKS[CODES.index(code)]
    return check.__doc__ or ""


def _finding(code: str, outcome: Outcome) -> Finding:
    return Finding(
        code=code,
        status=outcome.status,
        severity="error" if outcome.status == FAIL else "warning",
        summary=outcome.summary,
        why=outcome.why or section(doc_of(code), "Why"),
        evidence=outcome.evidence,
        fix=outcome.fix,
        docs=f"{DOCS}#{code}",
    )


def _result(code: str, outcome: Outcome, seconds: float) -> CheckResult:
    return CheckResult(
        code=code,
        area=AREA_OF[code],
        status=outcome.status,
        summary=outcome.summary,
        seconds=round(seconds, 5),
        not_applicable=outcome.not_applicable,
        required=outcome.required,
    )


def verdict(results: Iterable[CheckResult], machine: Machine) -> str:
    """One word. ``undetermined`` where something required could not be told, or nothing at all was known."""
    results = tuple(results)
    statuses = [r.status for r in results]
    if FAIL in statuses:
        return BROKEN
    if any(r.status in (UNKNOWN, CRASH, TIMEOUT) and (r.required or r.status != UNKNOWN) for r in results):
        return UNDETERMINED
    if WARN in statuses:
        return DEGRADED
    generic = [r for r in results if r.code in GENERIC]
    if generic and not any(r.status == "pass" for r in generic):
        return UNDETERMINED
    return HEALTHY
