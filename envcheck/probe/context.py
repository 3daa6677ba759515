"""cuda-context, and the description of all devices that every run starts with."""

from __future__ import annotations

import time
from typing import Any, Dict, List

from . import driver, nvml
from .trial import Trial


def describe(trial: Trial) -> None:
    """Driver, devices and who else computes on them. NVML is asked before any context of ours exists."""
    torch = trial.torch
    trial.stage("cuInit")
    driver.initialise()
    trial.facts(driver_cuda=driver.version())
    trial.stage("torch.cuda.device_count")
    count = int(torch.cuda.device_count())
    devices: List[Dict[str, Any]] = []
    for ordinal in range(count):
        trial.stage("asking for device {}".format(ordinal))
        ids = driver.device_ids(ordinal)
        card = nvml.Card.open(ids["bus_id"])
        others = card.compute_processes() if card else None
        devices.append(dict(ids, ordinal=ordinal, others=others, errors=card.errors() if card else None))
    trial.facts(devices=devices)
    for device in devices:
        trial.stage("reading the properties of device {}".format(device["ordinal"]))
        device.update(properties(trial, device["ordinal"]))
        if " MIG " in device["name"] and device["uuid"]:  # CUDA gives the number, NVML the kind before it
            device["uuid"] = device["uuid"].replace("GPU-", "MIG-", 1)
    trial.facts(devices=devices, archs=list(torch.cuda.get_arch_list()))


def properties(trial: Trial, ordinal: int) -> Dict[str, Any]:
    found = trial.torch.cuda.get_device_properties(ordinal)
    return {
        "name": str(found.name),
        "compute_capability": "{}.{}".format(found.major, found.minor),
        "memory_mib": int(found.total_memory) >> 20,
        "sms": int(found.multi_processor_count),
    }


def cuda_context(trial: Trial) -> None:
    """An allocation, a kernel whose result is known, synchronisation, and a time by events."""
    torch = trial.torch
    trial.start_cuda()
    if trial.cuda:
        trial.facts(driver_cuda=driver.version(), runtime=torch.version.cuda)
        trial.facts(archs=list(torch.cuda.get_arch_list()), **properties(trial, trial.ordinal))
    trial.stage("first kernel")
    count = 1 << 20
    values = torch.arange(count, device=trial.device, dtype=torch.int64)
    total = int((values * 2 + 1).sum())
    trial.sync()
    trial.facts(sum=total, expected_sum=count * count)  # the sum of the first n odd numbers is n squared
    trial.stage("copying there and back")
    block = trial.normal(1024, 256)
    trial.facts(round_trip=bool(torch.equal(block.to(trial.device).clone().cpu(), block)))
    trial.stage("event timing")
    trial.facts(**_timing(trial))


def _timing(trial: Trial) -> Dict[str, Any]:
    """Milliseconds of the same work by events and by the wall clock; events are within the wall time."""
    torch = trial.torch
    work = trial.normal(256, 256).to(trial.device)
    began = time.perf_counter()
    start = end = None
    if trial.cuda:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
    for _ in range(50):
        work = torch.tanh(work)
    if end is not None:
        end.record()
    trial.sync()
    wall = (time.perf_counter() - began) * 1000.0
    return {"event_ms": float(start.elapsed_time(end)) if start is not None else None, "wall_ms": wall}
