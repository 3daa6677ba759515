"""amp: dtypes under autocast, the GradScaler's three rules, and short trainings beside their fp32 twins."""

from __future__ import annotations

import contextlib
import copy
import warnings
from typing import Any, Callable, Dict, Iterator, List, Optional

from . import models
from .trial import Trial

STEPS = 30


def autocast(trial: Trial, dtype: Any, enabled: bool = True) -> Any:
    return trial.torch.autocast(trial.device.type, dtype=dtype, enabled=enabled)


def grad_scaler(trial: Trial, **options: Any) -> Optional[Any]:
    """A GradScaler for the trial's device, by whichever name this torch has; None where there is none for the CPU."""
    torch = trial.torch
    new = getattr(getattr(torch, "amp", None), "GradScaler", None)
    if new is not None:
        return new(trial.device.type, **options)
    if trial.cuda:
        return torch.cuda.amp.GradScaler(**options)
    return None


def amp(trial: Trial) -> None:
    torch = trial.torch
    trial.start_cuda()
    if trial.cuda:  # the fp32 twin must not be a TF32 twin
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    dtype = torch.float16 if trial.cuda else torch.bfloat16
    trial.stage("dtypes under autocast")
    trial.facts(device_type=trial.device.type, dtypes=dtypes(trial, dtype), autocast=dtype)
    trial.stage("GradScaler")
    trial.facts(scaler=scaler_rules(trial))
    trial.stage("training a convolutional net")
    trial.facts(conv=twin_training(trial, "conv", dtype))
    trial.stage("training a small encoder")
    trial.facts(encoder=twin_training(trial, "encoder", dtype))
    if trial.cuda and trial.capability >= (8, 0):
        trial.stage("training in bf16")
        trial.facts(conv_bf16=twin_training(trial, "conv", torch.bfloat16))


def dtypes(trial: Trial, dtype: Any) -> Dict[str, str]:
    """The dtype that each operation gives under autocast, or ``refused`` where autocast bans it."""
    torch, f = trial.torch, trial.torch.nn.functional
    a = trial.normal(8, 8).to(trial.device)
    image, kernel = trial.normal(1, 4, 8, 8).to(trial.device), trial.normal(4, 4, 3, 3).to(trial.device)
    low, batch = a.to(dtype), trial.normal(2, 8, 8).to(trial.device)
    target = torch.zeros(8, dtype=torch.long, device=trial.device)
    calls: Dict[str, Callable[[], Any]] = {
        "mm": lambda: torch.mm(a, a),
        "matmul": lambda: a @ a,
        "bmm": lambda: torch.bmm(batch, batch),
        "addmm": lambda: torch.addmm(a, a, a),
        "linear": lambda: f.linear(a, a),
        "conv2d": lambda: f.conv2d(image, kernel),
        "softmax": lambda: f.softmax(low, dim=-1),
        "log_softmax": lambda: f.log_softmax(low, dim=-1),
        "layer_norm": lambda: f.layer_norm(low, (8,)),
        "exp": lambda: torch.exp(low),
        "sum": lambda: low.sum(),
        "mse_loss": lambda: f.mse_loss(low, low),
        "cross_entropy": lambda: f.cross_entropy(low, target),
        "addcmul": lambda: torch.addcmul(a, low, low),
        "binary_cross_entropy": lambda: f.binary_cross_entropy(torch.sigmoid(a), torch.sigmoid(a)),
    }
    found = {}
    for name, call in calls.items():
        # the planted fault: autocast forgets one operation
        broken = trial.plant == "wrong-dtype" and name == "linear"
        try:
            with autocast(trial, dtype, enabled=not broken):
                found[name] = str(call().dtype).replace("torch.", "")
        except RuntimeError as error:
            if "CUDA error" in str(error):
                raise
            found[name] = "refused"
    return found


def scaler_rules(trial: Trial) -> Optional[Dict[str, Any]]:
    """Growth after clean steps, and on an infinite gradient: backoff, no step, parameters bit-identical."""
    torch = trial.torch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = grad_scaler(trial, init_scale=65536.0, growth_interval=2)
    if scaler is None or not scaler.is_enabled():
        return None
    model = torch.nn.Linear(8, 8).to(trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = trial.normal(4, 8).to(trial.device)
    scales, moved = [float(scaler.get_scale())], []
    for infinite in (False, False, True, False):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        scaler.scale(model(x).square().mean()).backward()
        if infinite:
            next(iter(model.parameters())).grad.view(-1)[0] = float("inf")
        if infinite and trial.plant == "scaler-no-skip":
            scaler.unscale_(optimizer)
            optimizer.step()
        else:
            scaler.step(optimizer)
        scaler.update()
        scales.append(float(scaler.get_scale()))
        moved.append(any(not torch.equal(p, q) for p, q in zip(model.parameters(), before)))  # noqa: B905 - strict= is 3.10
    return {"scales": scales, "moved": moved}


def _model_and_data(trial: Trial, kind: str) -> Any:
    torch = trial.torch
    trial.rng.manual_seed(trial.seed)
    if kind == "conv":
        with _seeded(trial):
            model = models.conv_net(torch.nn)
        x, y = models.image_batch(trial)
    else:
        with _seeded(trial):
            model = models.encoder(torch, words=64, width=32, heads=4, inner=64, layers=2, length=16, classes=4)
        x = torch.randint(0, 64, (32, 16), generator=trial.rng)
        y = torch.arange(32) % 4
    return model.to(trial.device), x.to(trial.device), y.to(trial.device)


@contextlib.contextmanager
def _seeded(trial: Trial) -> Iterator[None]:
    """torch's global generator from the job's seed, and as it was afterwards: initialisation reads only that one."""
    with trial.torch.random.fork_rng(devices=[]):
        trial.torch.manual_seed(trial.seed)
        yield


def twin_training(trial: Trial, kind: str, dtype: Any) -> Dict[str, Any]:
    """30 Adam steps on one fixed batch, in fp32 and under autocast from the same start; losses of each step."""
    model, x, y = _model_and_data(trial, kind)
    twin = copy.deepcopy(model)
    plain, _ = _train(trial, twin, x, y, None)
    mixed, scale = _train(trial, model, x, y, dtype)
    kinds = {str(p.dtype).replace("torch.", "") for p in model.parameters()}
    kinds |= {str(p.grad.dtype).replace("torch.", "") for p in model.parameters() if p.grad is not None}
    return {"fp32": plain, "mixed": mixed, "parameters": sorted(kinds), "scale": scale}


def _train(trial: Trial, model: Any, x: Any, y: Any, dtype: Any) -> Any:
    torch = trial.torch
    rate = 0.0 if trial.plant == "flat-training" else 2e-3
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    scaler = grad_scaler(trial, init_scale=1024.0) if dtype == torch.float16 else None
    losses: List[float] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with autocast(trial, dtype or torch.bfloat16, enabled=dtype is not None):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(float(loss.detach()))
    return losses, None if scaler is None else float(scaler.get_scale())
