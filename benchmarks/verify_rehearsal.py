"""How often do verify's judges notice a planted fault, and how often do they accuse a right result?

Runs the probe's trials and the judges in this process, on the CPU, once per seed and fault. Needs torch here::

    python benchmarks/verify_rehearsal.py --seeds 1000 --write docs/evidence/verify-rehearsal.md
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from envcheck.model import Machine
from envcheck.probe import amp, trials
from envcheck.probe.trial import Trial
from envcheck.verify.numeric import faults_of
from envcheck.verify.session import judge
from envcheck.verify.table import BY_CODE, PLANTS
from envcheck.verify.training import TAIL, mean
from envcheck.verify.words import DONE, Context, TrialRun

CLEAN = ("cudnn", "tensor-core-fp16", "bf16", "tf32", "fp8", "sdpa", "amp")
CONTEXT = Context(device=None, machine=Machine(), rehearsal=True)


class Collector:
    """Stands in for the pipe to the parent: the same JSON on the way, kept."""

    def __init__(self) -> None:
        from envcheck.probe.channel import plain

        self._plain = plain
        self.kept: dict[str, Any] = {}

    def stage(self, name: str) -> None:
        pass

    def facts(self, **items: Any) -> None:
        self.kept.update(json.loads(json.dumps(self._plain(items))))


def one(check: str, seed: int, plant: str | None) -> tuple[str, dict[str, Any]]:
    """The status that the judge gives, and the figures."""
    collector = Collector()
    trials.run(torch, collector, {"check": check, "device": "cpu", "seed": seed, "plant": plant})
    return judged(check, collector.kept), collector.kept


def judged(check: str, facts: dict[str, Any]) -> str:
    return judge(BY_CODE[check], TrialRun(outcome=DONE, stage="", seconds=0.0, facts=facts), CONTEXT).status


def part(seed: int, plant: str, clean: dict[str, Any]) -> str:
    """amp with a fault that touches its first two parts only: these run again, the trainings are the clean run's."""
    trial = Trial(torch, Collector(), {"check": "amp", "device": "cpu", "seed": seed, "plant": plant})
    found = {"dtypes": amp.dtypes(trial, torch.bfloat16), "scaler": amp.scaler_rules(trial)}
    return judged("amp", {**clean, **found})


def of_seed(seed: int) -> dict[str, Any]:
    """Everything about one seed: status of each (fault, check), what the bounded test alone noticed, the trainings."""
    torch.set_num_threads(1)
    status, alone = {}, {}
    clean: dict[str, Any] = {}
    for check in CLEAN:
        status["none", check], facts = one(check, seed, None)
        if check == "tensor-core-fp16":
            alone["none"] = bool(faults_of("", facts["bounded"], "fp16"))
        clean = facts if check == "amp" else clean
    for fault, (_, check) in PLANTS.items():
        if fault in ("scaler-no-skip", "wrong-dtype"):
            status[fault, check] = part(seed, fault, clean)
            continue
        status[fault, check], facts = one(check, seed, fault)
        if check == "tensor-core-fp16":
            alone[fault] = bool(faults_of("", facts["bounded"], "fp16"))
    return {"status": status, "alone": alone, "falls": falls(clean)}


def falls(facts: dict[str, Any]) -> dict[str, float]:
    """Last loss over the first, and distance from the fp32 run over the first, of each training."""
    out = {}
    for key in ("conv", "encoder"):
        mixed, plain = facts[key]["mixed"], facts[key]["fp32"]
        out[f"{key} last/first"] = mean(mixed[-TAIL:]) / mixed[0]
        out[f"{key} distance"] = abs(mean(mixed[-TAIL:]) - mean(plain[-TAIL:])) / plain[0]
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, default=None, metavar="PAGE")
    options = parser.parse_args()
    if options.write and options.write.is_dir():
        parser.error(f"--write {options.write} is a folder: name the page, half an hour is lost else")
    began = time.time()
    counts: dict[tuple[str, str], Counter[str]] = {}
    ranges: dict[str, list[float]] = {}
    alone: Counter[str] = Counter()
    # spawn: a process that has used torch must not be forked
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for done, found in enumerate(pool.imap_unordered(of_seed, range(options.seeds)), 1):
            for key, status in found["status"].items():
                counts.setdefault(key, Counter())[status] += 1
            for key, value in found["falls"].items():
                low, high = ranges.get(key, [value, value])
                ranges[key] = [min(low, value), max(high, value)]
            alone.update({fault: int(noticed) for fault, noticed in found["alone"].items()})
            if done % 50 == 0:
                print(f"{time.time() - began:7.0f} s  {done} seeds", flush=True)
    text = page(options.seeds, counts, ranges, alone, time.time() - began)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)


def page(
    seeds: int,
    counts: dict[tuple[str, str], Counter[str]],
    ranges: dict[str, list[float]],
    alone: Counter[str],
    seconds: float,
) -> str:
    lines = [
        "# verify: what the judges catch on the CPU",
        "",
        f"`python benchmarks/verify_rehearsal.py --seeds {seeds}`: torch {torch.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {seconds:.0f} s, "
        f"{time.strftime('%Y-%m-%d')}. These are rehearsals with emulated products: no GPU took part.",
        "",
        "## False alarms: nothing planted",
        "",
        "| check | runs | pass | anything else |",
        "|---|---|---|---|",
    ]
    for (fault, check), counter in counts.items():
        if fault == "none":
            lines.append(f"| {check} | {seeds} | {counter['pass']} | {seeds - counter['pass']} |")
    lines += [
        "",
        "## Catches: one fault planted",
        "",
        "| fault | what | check | runs | fail | missed |",
        "|---|---|---|---|---|---|",
    ]
    for (fault, check), counter in counts.items():
        if fault != "none":
            lines.append(
                f"| {fault} | {PLANTS[fault][0]} | {check} | {seeds} | {counter['fail']} | {seeds - counter['fail']} |"
            )
    lines += [
        "",
        "## The bounded product test alone, without the exact one",
        "",
        "| fault | runs | noticed |",
        "|---|---|---|",
    ]
    lines += [f"| {fault} | {seeds} | {alone[fault]} |" for fault, check in counts if check == "tensor-core-fp16"]
    lines += ["", "## Trainings with nothing planted", "", "| figure | least | largest |", "|---|---|---|"]
    lines += [f"| {key} | {low:.4f} | {high:.4f} |" for key, (low, high) in ranges.items()]
    lines += [
        "",
        "`last/first`: mean of the last five losses over the first, at most 0.8 passes. `distance`: from the fp32 run,",
    ]
    lines += ["over the first loss, at most 0.05 passes.", ""]
    lines += ["For `scaler-no-skip` and `wrong-dtype` the two parts of amp that the fault touches ran again with it,"]
    return "\n".join([*lines, "and the trainings were those of the clean run with the same seed.", ""])


if __name__ == "__main__":
    main()
