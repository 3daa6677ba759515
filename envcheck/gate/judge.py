"""(Policy, doctor's report, verification) -> Gated. Pure; 1 beats 3; only ``pass`` is a pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ..checks.base import (
    BROKEN,
    CRASH,
    DEGRADED,
    FAIL,
    HEALTHY,
    PASS,
    SKIP,
    TIMEOUT,
    UNDETERMINED,
    UNKNOWN,
    WARN,
    CheckResult,
    Report,
)
from ..matrix import version_key
from ..model import Gpu, Machine
from ..verify import REQUIRED, Result, Verification
from ..verify.table import BY_CODE
from .policy import Policy
from .words import Difference, Gated, Requirement, Stopped

MEMORY_SHARE = 0.93  # of a card's nominal memory that it must show: T4, L4 and L40S show 93.7 % of theirs under ECC
WORST_FIRST = (FAIL, CRASH, TIMEOUT, UNKNOWN, SKIP, WARN, PASS)


def proofs_of(policy: Policy) -> tuple[str, ...]:
    """The checks of verify that have to run."""
    return REQUIRED if policy.require is None else tuple(c for c in policy.require if c in BY_CODE)


def judge(
    policy: Policy,
    doctor: Report,
    verify: Verification | None,
    *,
    on_undetermined: str = "fail",
    stopped: Stopped | None = None,
    differences: Sequence[Difference] = (),
) -> Gated:
    """The verdict of the gate. ``stopped``: the run ended early; what it did not come to has that status."""
    requirements = (
        *_required_checks(policy, doctor, verify, stopped),
        *_required_machine(policy, doctor.machine),
    )
    reasons = tuple(_reasons(policy, doctor, verify, requirements, stopped))
    verdict = _verdict(tuple(status for status, _ in reasons))
    code = {HEALTHY: 0, DEGRADED: 0, BROKEN: 1}.get(verdict, 0 if on_undetermined == "pass" else 3)
    return Gated(
        verdict=verdict,
        exit_code=code,
        policy=policy,
        requirements=requirements,
        doctor=doctor,
        verify=verify,
        reasons=tuple(text for _, text in reasons),
        differences=tuple(differences),
        stopped=stopped,
    )


def _verdict(statuses: tuple[str, ...]) -> str:
    if FAIL in statuses:
        return BROKEN
    if UNKNOWN in statuses:
        return UNDETERMINED
    return DEGRADED if WARN in statuses else HEALTHY


def _reasons(
    policy: Policy,
    doctor: Report,
    verify: Verification | None,
    requirements: Iterable[Requirement],
    stopped: Stopped | None,
) -> list[tuple[str, str]]:
    """(fail, unknown or warn; a sentence) for everything that speaks against ``healthy``; the weightiest first."""
    warns = FAIL if policy.fail_on == "warn" else WARN
    out = [(FAIL if f.status == FAIL else warns, f"{f.code}: {f.summary}") for f in doctor.findings]
    for result in verify.results if verify else ():
        if result.status in (FAIL, WARN):
            out.append((FAIL if result.status == FAIL else warns, f"{result.code}: {result.summary}"))
    for r in requirements:
        if not r.met:
            out.append((FAIL if r.status in (FAIL, WARN) else UNKNOWN, f"{r.code}: {r.summary}"))
    if stopped is not None:
        out.append((UNKNOWN, stopped.text))
    out += [(UNKNOWN, f"{r.code}: {r.summary}") for r in doctor.results if is_open(r)]
    if doctor.verdict == UNDETERMINED and not any(status == UNKNOWN for status, _ in out):
        out.append((UNKNOWN, "too little of this machine could be told"))
    order = (FAIL, UNKNOWN, WARN)
    unique = dict.fromkeys(sorted(out, key=lambda item: order.index(item[0])))
    said: dict[str, str] = {}
    for status, text in unique:
        said.setdefault(text, status)
    return [(status, text) for text, status in said.items()]


def is_open(result: CheckResult) -> bool:
    """A check of doctor whose answer is missing and counts."""
    return result.status in (CRASH, TIMEOUT) or (result.status == UNKNOWN and result.required)


def _required_checks(
    policy: Policy, doctor: Report, verify: Verification | None, stopped: Stopped | None
) -> Iterable[Requirement]:
    own = {r.code: r for r in doctor.results}
    line = policy.lines.get("require")
    for code in REQUIRED if policy.require is None else policy.require:
        if code in BY_CODE:
            yield _proof(code, [r for r in verify.results if r.code == code] if verify else [], policy, stopped)
        elif code in own:
            found = own[code]
            met = found.status == PASS
            yield Requirement(code=code, status=found.status, summary=found.summary, met=met, line=line)
        else:
            yield Requirement(code=code, status=SKIP, summary="this check was left out", met=False, line=line)


def _proof(code: str, results: Sequence[Result], policy: Policy, stopped: Stopped | None) -> Requirement:
    """A check of verify over all devices: the worst of them counts."""
    line = policy.lines.get("require")
    if not results:
        status, why = (stopped.status, f"not reached: {stopped.text}") if stopped else (UNKNOWN, "not run")
        return Requirement(code=code, status=status, summary=why, met=False, line=line)
    worst = min(results, key=lambda r: WORST_FIRST.index(r.status))
    if policy.require is None:
        # the contract: without a policy a chip that has no such thing is no reason to stop
        met = all(r.status in (PASS, WARN) or (r.status == SKIP and r.not_applicable) for r in results)
    else:
        met = worst.status == PASS
    where = f" (GPU {worst.device})" if worst.device is not None else ""
    return Requirement(code=code, status=worst.status, summary=worst.summary + where, met=met, line=line)


def _required_machine(policy: Policy, machine: Machine) -> Iterable[Requirement]:
    if policy.driver_min is not None:
        yield _driver(policy, machine)
    wanted = (policy.gpu_count, policy.min_memory_gib, policy.min_compute_capability)
    if any(w is not None for w in wanted):
        yield from _gpus(policy, machine)
    if policy.torch_spec is not None:
        yield _torch(policy, machine)


def _made(code: str, status: str, summary: str, line: int | None) -> Requirement:
    return Requirement(code=code, status=status, summary=summary, met=status == PASS, line=line)


def _driver(policy: Policy, machine: Machine) -> Requirement:
    wanted, have, line = policy.driver_min or "", machine.driver.version, policy.lines.get("driver.min")
    if have is None:
        if machine.driver.state in ("missing", "nouveau") and "driver" not in machine.problems:
            return _made("driver-min", FAIL, f"there is no NVIDIA driver; the policy asks for {wanted} or newer", line)
        return _made("driver-min", UNKNOWN, "the driver's version could not be told", line)
    if version_key(have) >= version_key(wanted):
        return _made("driver-min", PASS, f"driver {have} is {wanted} or newer", line)
    return _made("driver-min", FAIL, f"driver {have} is older than {wanted}, which the policy asks for", line)


def _gpus(policy: Policy, machine: Machine) -> Iterable[Requirement]:
    """``count`` GPUs must meet the other two; without ``count`` every one."""
    gpus = machine.gpus
    unsure = "gpus" in machine.problems or (not gpus and machine.driver.state is None)
    count = policy.gpu_count
    if count is not None:
        line, text = policy.lines.get("gpu.count"), f"{len(gpus)} GPUs; the policy asks for {count} or more"
        enough = len(gpus) >= count
        yield _made("gpu-count", PASS if enough else (UNKNOWN if unsure else FAIL), text, line)
    need = count if count is not None else max(len(gpus), 1)
    if policy.min_memory_gib is not None:
        least = policy.min_memory_gib * 1024 * MEMORY_SHARE
        sizes = [None if g.memory_mib is None else g.memory_mib >= least for g in gpus]
        yield _counted("gpu-memory", f"{policy.min_memory_gib:g} GiB", "min-memory-gib", sizes, need, unsure, policy)
    if policy.min_compute_capability is not None:
        low = policy.min_compute_capability
        able = [_capable(g, low) for g in gpus]
        name = f"compute capability {low}"
        yield _counted("gpu-compute-capability", name, "min-compute-capability", able, need, unsure, policy)


def _capable(gpu: Gpu, low: str) -> bool | None:
    have = gpu.compute_capability
    return None if have is None else version_key(have) >= version_key(low)


def _counted(
    code: str, what: str, key: str, answers: Sequence[bool | None], need: int, unsure: bool, policy: Policy
) -> Requirement:
    yes, open_ = sum(a is True for a in answers), sum(a is None for a in answers)
    text = f"{yes} of {len(answers)} GPUs have {what} or more; {need} must"
    if yes >= need:
        status = PASS
    else:
        status = UNKNOWN if unsure or yes + open_ >= need else FAIL
    return _made(code, status, text, policy.lines.get(f"gpu.{key}"))


def _torch(policy: Policy, machine: Machine) -> Requirement:
    spec, line = policy.torch_spec or "", policy.lines.get("torch.spec")
    have = machine.torch.version if machine.torch else None
    if have is None:
        unsure = machine.torch is not None or "torch" in machine.problems or "python" in machine.problems
        if unsure or machine.python is None:
            return _made("torch-spec", UNKNOWN, "the version of torch could not be told", line)
        return _made("torch-spec", FAIL, f"torch is not installed; the policy asks for {spec}", line)
    try:
        fits = SpecifierSet(spec).contains(Version(have), prereleases=True)
    except InvalidVersion:
        return _made("torch-spec", UNKNOWN, f"the version of torch, {have!r}, is none that can be compared", line)
    text = f"torch {have} {'is' if fits else 'is not'} {spec}, which the policy asks for"
    return _made("torch-spec", PASS if fits else FAIL, text, line)
