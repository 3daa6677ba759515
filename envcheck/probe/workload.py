"""workload: the two trainings that people come with, with AMP, on synthetic data."""

from __future__ import annotations

import time
from typing import Any, Dict

from . import models
from .amp import autocast, grad_scaler
from .trial import Skip, Trial

NEEDED = 4 << 30  # bytes: 110 M parameters with gradients and two Adam moments in fp32, and activations


def workload(trial: Trial) -> None:
    """BERT-base size (Devlin et al. 2019: 12 layers of 768, 12 heads) and ResNet-18 on 32 x 32 images."""
    trial.start_cuda()
    if trial.cuda and trial.free_memory() < NEEDED:
        free = trial.free_memory() / (1 << 30)
        raise Skip("training at BERT-base size needs 4 GiB of free memory, {:.1f} GiB are free".format(free))
    trial.stage("fine-tuning at BERT-base size")
    trial.facts(bert=_bert(trial))
    trial.stage("training ResNet-18")
    trial.facts(resnet=_resnet(trial))


def _bert(trial: Trial) -> Dict[str, Any]:
    torch = trial.torch
    size = {"words": 30522, "width": 768, "heads": 12, "inner": 3072, "layers": 12, "length": 128, "classes": 2}
    batch = 8
    if not trial.cuda:
        size, batch = {"words": 100, "width": 32, "heads": 4, "inner": 64, "layers": 2, "length": 16, "classes": 2}, 4
    torch.manual_seed(trial.seed)
    model = models.encoder(torch, **size).to(trial.device)
    x = torch.randint(0, size["words"], (batch, size["length"]), generator=trial.rng).to(trial.device)
    y = (torch.arange(batch) % 2).to(trial.device)
    return _steps(trial, model, x, y, torch.optim.AdamW(model.parameters(), lr=2e-5))


def _resnet(trial: Trial) -> Dict[str, Any]:
    torch = trial.torch
    torch.manual_seed(trial.seed)
    model = models.resnet18(torch.nn).to(trial.device)
    count = 128 if trial.cuda else 4
    x, y = models.image_batch(trial, count=count, side=32, classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return _steps(trial, model, x.to(trial.device), y.to(trial.device), optimizer)


def _steps(trial: Trial, model: Any, x: Any, y: Any, optimizer: Any) -> Dict[str, Any]:
    """Losses, seconds per step (best after the first), peak bytes."""
    torch = trial.torch
    if trial.cuda:
        torch.cuda.reset_peak_memory_stats(trial.ordinal)
    low = torch.float16 if trial.cuda else torch.bfloat16
    scaler = grad_scaler(trial, init_scale=1024.0) if trial.cuda else None
    losses, seconds = [], []
    for _ in range(6 if trial.cuda else 3):
        began = time.perf_counter()
        optimizer.zero_grad()
        with autocast(trial, low):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        trial.sync()
        seconds.append(time.perf_counter() - began)
        losses.append(float(loss.detach()))
    peak = int(torch.cuda.max_memory_allocated(trial.ordinal)) if trial.cuda else None
    return {"losses": losses, "seconds": min(seconds[1:]), "peak_bytes": peak, "samples": int(y.numel())}
