"""One verification from beginning to end: which devices, which checks, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks.base import FAIL, SKIP, UNKNOWN, Finding
from ..errors import UsageError
from ..model import Machine
from .devices import choose, found_by_probe
from .gate import verdict_of
from .run import SCRIPT, Probes
from .table import BY_CODE, CHECKS, PLANTS, REQUIRED, Check
from .trouble import trouble
from .words import DONE, Context, Device, Judged, Missing, Rehearsal, Result, TrialRun, Verification

DESCRIBE_DEADLINE = 60.0  # seconds; importing torch from a network file system takes tens of them
NOTHING_TO_TRY = "looking for a GPU"  # the stage of checks that no process was started for
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked of ``verify``."""

    python: str
    device: str = "all"
    quick: bool = False
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    timeout: float = 120.0  # seconds per check
    seed: int = 0
    force: bool = False
    plant: str | None = None
    script: Path = SCRIPT


def chosen_checks(options: Options) -> tuple[Check, ...]:
    """The checks to run, in their order. Raises ``UsageError`` for a check or a fault that there is not."""
    if options.plant is not None and options.plant not in PLANTS:
        raise UsageError(f"there is no fault {options.plant!r}. Faults: {', '.join(PLANTS)}")
    for name in (*options.only, *options.skip):
        if name not in BY_CODE:
            raise UsageError(f"there is no check {name!r}. Checks: {', '.join(BY_CODE)}")
    if options.only and options.skip and not set(options.only) - set(options.skip):
        raise UsageError("--skip takes away everything that --only asks for: nothing would be checked")
    checks = [c for c in CHECKS if (c.code in options.only if options.only else (c.quick or not options.quick))]
    return tuple(c for c in checks if c.code not in options.skip)


def required_checks(options: Options) -> tuple[str, ...]:
    """The four that prove a GPU; with ``--only`` what was asked for. ``--skip`` takes nothing off this list."""
    return tuple(c.code for c in CHECKS if c.code in options.only) if options.only else REQUIRED


def rehearse(options: Options, machine: Machine, progress: Progress) -> Verification:
    """Every judge on CPU tensors, with a planted fault if one is named."""
    began = time.monotonic()
    checks = chosen_checks(options)
    context = Context(device=None, machine=machine, rehearsal=True)
    results: list[Result] = []
    torch: Mapping[str, Any] = {}
    with Probes(options.python, options.script) as probes:
        for number, check in enumerate(checks):
            more = number + 1 < len(checks)
            result, run = _one(probes, check, "cpu", "cpu", context, options, progress, more=more)
            results.append(result)
            torch = run.facts.get("torch") or torch
    caught_by = tuple(r.code for r in results if r.status == FAIL) if options.plant else ()
    return Verification(
        verdict=verdict_of(results, required_checks(options), rehearsal=True),
        devices=(),
        results=tuple(results),
        machine=machine,
        required=required_checks(options),
        torch=torch,
        rehearsal=Rehearsal(
            plant=options.plant,
            expected_by=PLANTS[options.plant][1] if options.plant else None,
            caught=bool(caught_by) if options.plant else None,
            caught_by=caught_by,
        ),
        seconds=time.monotonic() - began,
    )


def verify(options: Options, machine: Machine, progress: Progress) -> Verification:
    """Describe the devices, then each check on each of them. The machine has an NVIDIA GPU as far as one can tell."""
    began = time.monotonic()
    checks, required = chosen_checks(options), required_checks(options)
    with Probes(options.python, options.script) as probes:
        job = {"check": "describe", "device": 0}
        run = probes.run(
            job, min(options.timeout, DESCRIBE_DEADLINE), more=bool(checks), watch=_watch(progress, "devices")
        )
        devices = found_by_probe(run.facts, machine)
        if run.outcome != DONE or not devices:
            results = _nothing_ran(checks, _why_nothing(run), run.stage, run.seconds)
            selected: Sequence[Device] = ()
        else:
            selected = choose(devices, options.device)
            results = tuple(_on_devices(probes, checks, selected, machine, options, progress))
    torch = run.facts.get("torch")
    return Verification(
        verdict=verdict_of(results, required),
        devices=tuple(selected),
        results=results,
        machine=machine,
        required=required,
        torch=torch if isinstance(torch, Mapping) else {},
        seconds=time.monotonic() - began,
    )


def refuse(options: Options, machine: Machine, findings: Iterable[Finding], why: Judged) -> Verification:
    """A verification that ends before any process is started: there is nothing to try it on."""
    results = _nothing_ran(chosen_checks(options), why)
    required = required_checks(options)
    return Verification(
        verdict=verdict_of(results, required),
        devices=(),
        results=results,
        machine=machine,
        required=required,
        findings=tuple(findings),
    )


def _why_nothing(run: TrialRun) -> Judged:
    if run.outcome == DONE:
        return Judged(status=FAIL, summary="torch works and sees no GPU (CUDA_VISIBLE_DEVICES may hide it)")
    return trouble("describe", run)


def _nothing_ran(
    checks: Sequence[Check], why: Judged, stage: str = NOTHING_TO_TRY, seconds: float = 0.0
) -> tuple[Result, ...]:
    """The first check carries the reason and its stage; the others were not run."""
    idle = Judged(status=SKIP, summary="not run: there is no GPU to run it on")
    first = [_result(check.code, None, why, stage=stage, seconds=seconds) for check in checks[:1]]
    rest = [_result(check.code, None, idle, stage=NOTHING_TO_TRY, seconds=0.0) for check in checks[1:]]
    return (*first, *rest)


def _on_devices(
    probes: Probes,
    checks: Sequence[Check],
    devices: Sequence[Device],
    machine: Machine,
    options: Options,
    progress: Progress,
) -> Iterable[Result]:
    jobs: list[tuple[Check, Device | None]] = [(c, d) for d in devices for c in checks if not c.together]
    jobs += [(c, None) for c in checks if c.together]
    for number, (check, device) in enumerate(jobs):
        busy = [d for d in (devices if device is None else (device,)) if d.others]
        label = device.index if device else None
        if busy and not options.force:
            yield _result(check.code, label, _busy(busy), stage="not started", seconds=0.0)
            continue
        ordinal = device.ordinal if device else devices[0].ordinal
        context = Context(device=device, machine=machine)
        more = number + 1 < len(jobs)
        yield _one(probes, check, ordinal, label, context, options, progress, more=more)[0]


def _busy(devices: Sequence[Device]) -> Judged:
    who = "; ".join(f"GPU {d.index}: process {', '.join(str(p) for p in d.others[:4])}" for d in devices)
    text = f"not run: other processes compute on the GPU ({who}), which disturbs both; --force runs it anyway"
    return Judged(status=UNKNOWN, summary=text)


def _one(
    probes: Probes,
    check: Check,
    ordinal: int | str,
    label: int | str | None,
    context: Context,
    options: Options,
    progress: Progress,
    *,
    more: bool,
) -> tuple[Result, TrialRun]:
    job = {
        "check": check.code,
        "device": ordinal,
        "seed": options.seed,
        "quick": options.quick,
        "plant": options.plant,
    }
    name = check.code if label is None or label == "cpu" else f"{check.code} on GPU {label}"
    run = probes.run(job, options.timeout, more=more, watch=_watch(progress, name))
    judged = judge(check, run, context)
    return _result(check.code, label, judged, stage=run.stage, seconds=run.seconds), run


def judge(check: Check, run: TrialRun, context: Context) -> Judged:
    """The verdict on one trial. Figures that are missing or of another shape are no pass."""
    if run.outcome != DONE:
        return trouble(check.code, run)
    try:
        return check.judge(run.facts, context)
    except Missing as missing:
        return Judged(status=UNKNOWN, summary=f"the probe ended well and did not say {missing}")
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        return Judged(status=UNKNOWN, summary=f"the probe's figures are not what they should be: {error!r}"[:300])


def _result(code: str, device: int | str | None, judged: Judged, *, stage: str, seconds: float) -> Result:
    return Result(
        code=code,
        device=device,
        status=judged.status,
        stage=stage,
        seconds=seconds,
        summary=judged.summary,
        measured=judged.measured,
        expected=judged.expected,
        evidence=judged.evidence,
        fix=judged.fix,
        not_applicable=judged.not_applicable,
    )


def _watch(progress: Progress, name: str) -> Callable[[str], None]:
    return lambda stage: progress(f"{name}: {stage}")
