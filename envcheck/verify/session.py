"""One verification from beginning to end: which devices, which checks, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..checks.base import FAIL, SKIP, TIMEOUT, UNKNOWN, Finding
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
NOT_STARTED = "not started"  # the stage of checks that had a GPU and were not tried on it
END_MARGIN = 1.0  # seconds that killing a process and reading its last words may take
LEAST = 1.0  # seconds: with less no process is started, since nothing could be told of it
Progress = Callable[[str], None]
Heard = Callable[[Verification], None]


class Clock:
    """What is left of a run: each check gets its own deadline, or what is left where that is less."""

    def __init__(self, deadline: float | None) -> None:
        self.began = time.monotonic()
        self.deadline = deadline

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def grant(self, asked: float) -> float | None:
        """Seconds that a check may take; None where the run has no time left for it."""
        if self.deadline is None:
            return asked
        left = self.deadline - self.seconds() - END_MARGIN
        return min(asked, left) if left >= LEAST else None


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


def rehearse(options: Options, machine: Machine, progress: Progress, *, deadline: float | None = None) -> Verification:
    """Every judge on CPU tensors, with a planted fault if one is named. ``deadline``: seconds for all of it."""
    clock = Clock(deadline)
    checks = chosen_checks(options)
    context = Context(device=None, machine=machine, rehearsal=True)
    results: list[Result] = []
    torch: Mapping[str, Any] = {}
    with Probes(options.python, options.script) as probes:
        for number, check in enumerate(checks):
            ahead = [c.code for c in checks[number + 1 :]]
            result, facts = _one(probes, check, "cpu", "cpu", context, options, progress, clock, ahead=ahead)
            results.append(result)
            torch = facts.get("torch") or torch
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
        seconds=clock.seconds(),
    )


def verify(
    options: Options,
    machine: Machine,
    progress: Progress,
    *,
    deadline: float | None = None,
    on_result: Heard | None = None,
) -> Verification:
    """Describe the devices, then each check on each of them. The machine has an NVIDIA GPU as far as one can tell.

    ``deadline``: seconds for the whole run. A check that is under way then is ended and says how far it came, those
    that had no time are ``timeout`` and say so, and what was finished stays. ``on_result`` hears, after each result,
    the verification as it stands then (that result is its last one): whoever is killed while this runs has what was
    finished. Its verdict counts required checks that did not run yet as not met.
    """
    clock = Clock(deadline)
    checks = chosen_checks(options)
    told = _Telling(required_checks(options), machine, clock, on_result)
    with Probes(options.python, options.script) as probes:
        granted = clock.grant(min(options.timeout, DESCRIBE_DEADLINE))
        if granted is None:
            told.all(_result(c.code, None, _no_time(clock), stage=NOT_STARTED, seconds=0.0) for c in checks)
            return told.so_far()
        run = probes.run(
            {"check": "describe", "device": 0},
            granted,
            ahead=[c.code for c in checks],
            watch=_watch(progress, "devices"),
        )
        told.torch = run.facts.get("torch")
        devices = found_by_probe(run.facts, machine)
        if run.outcome != DONE or not devices:
            told.all(_nothing_ran(checks, _why_nothing(run), run.stage, run.seconds))
        else:
            told.devices = choose(devices, options.device)
            told.all(_on_devices(probes, checks, told.devices, machine, options, progress, clock))
    return told.so_far()


class _Telling:
    """The verification as it grows, told to whoever wants to hear."""

    def __init__(self, required: tuple[str, ...], machine: Machine, clock: Clock, heard: Heard | None) -> None:
        self.torch: Any = None
        self.devices: Sequence[Device] = ()
        self._results: list[Result] = []
        self._required, self._machine, self._clock, self._heard = required, machine, clock, heard

    def all(self, results: Iterable[Result]) -> None:
        for result in results:
            self._results.append(result)
            if self._heard is not None:
                self._heard(self.so_far())

    def so_far(self) -> Verification:
        return Verification(
            verdict=verdict_of(self._results, self._required),
            devices=tuple(self.devices),
            results=tuple(self._results),
            machine=self._machine,
            required=self._required,
            torch=self.torch if isinstance(self.torch, Mapping) else {},
            seconds=self._clock.seconds(),
        )


def _no_time(clock: Clock) -> Judged:
    return Judged(status=TIMEOUT, summary=f"not started: the time for the whole run ({clock.deadline:g} s) was up")


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
    idle = Judged(status=SKIP, summary="not run: there is no GPU that it could run on")
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
    clock: Clock,
) -> Iterable[Result]:
    jobs: list[tuple[Check, Device | None]] = [(c, d) for d in devices for c in checks if not c.together]
    jobs += [(c, None) for c in checks if c.together]
    for number, (check, device) in enumerate(jobs):
        busy = [d for d in (devices if device is None else (device,)) if d.others]
        label = device.index if device else None
        if busy and not options.force:
            yield _result(check.code, label, _busy(busy), stage=NOT_STARTED, seconds=0.0)
            continue
        ordinal = device.ordinal if device else devices[0].ordinal
        context = Context(device=device, machine=machine)
        ahead = [c.code for c, _ in jobs[number + 1 :]]
        together = [d.ordinal for d in devices] if device is None else []
        yield _one(probes, check, ordinal, label, context, options, progress, clock, ahead=ahead, together=together)[0]


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
    clock: Clock,
    *,
    ahead: Sequence[str],
    together: Sequence[int] = (),
) -> tuple[Result, Mapping[str, Any]]:
    """One check in a process of its own: its result, and the figures that it rests upon."""
    granted = clock.grant(options.timeout)
    if granted is None:
        return _result(check.code, label, _no_time(clock), stage=NOT_STARTED, seconds=0.0), {}
    job = {
        "check": check.code,
        "device": ordinal,
        "devices": list(together),
        "seed": options.seed,
        "quick": options.quick,
        "plant": options.plant,
    }
    name = check.code if label is None or label == "cpu" else f"{check.code} on GPU {label}"
    run = probes.run(job, granted, ahead=ahead, watch=_watch(progress, name))
    judged = judge(check, run, context)
    if run.stages:
        judged = replace(judged, measured={**judged.measured, "stages": run.stages})
    return _result(check.code, label, judged, stage=run.stage, seconds=run.seconds), run.facts


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
