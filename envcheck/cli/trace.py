"""``estimate --trace``: a module of the user's, counted by the interpreter that has torch."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from ..advise.architectures import Architecture
from ..advise.memory import MIB, Estimate
from ..advise.stacks import stack
from ..advise.workload import OPTIMIZERS, PRECISIONS, Workload
from ..errors import InputError, Undetermined, UsageError
from ..host import LiveHost

SCRIPT = Path(__file__).resolve().parent.parent / "probe" / "trace.py"
DTYPES = {"fp32": "fp32", "half": "bf16"}


def count(target: str, python: str, batch: int, seq: int, dtype: str, timeout: float) -> dict[str, Any]:
    """The counts of ``probe/trace.py``. Raises ``UsageError``, ``InputError`` or ``Undetermined`` with its reason."""
    token = f"envcheck-{secrets.token_hex(8)}"
    request = json.dumps({"target": target, "batch": batch, "seq": seq, "dtype": dtype})
    result = LiveHost().run((python, str(SCRIPT), token, request), timeout, env={"CUDA_VISIBLE_DEVICES": ""})
    if result.timed_out:
        raise Undetermined(f"the trace did not end within {timeout:g} s (--timeout)")
    lines = [line for line in result.stdout.splitlines() if line.startswith(token + " ")]
    if not lines:
        tail = (result.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        raise Undetermined(f"{python} ended without an answer (exit {result.rc}): {tail}")
    answer: dict[str, Any] = json.loads(lines[-1].removeprefix(token + " "))
    kind, text = answer.get("error"), str(answer.get("text", "")).strip()
    if kind == "request":
        raise UsageError(f"--trace {target}: {text}")
    if kind == "import":
        raise Undetermined(f"{python}: {text}. Name an interpreter that has it with --python")
    if kind is not None:
        last = text.splitlines()[-1] if text else "no message"
        hint = " (a value decides the path there, and the meta device has none)" if "meta tensors" in last else ""
        raise InputError(f"--trace {target}: the module's own code failed: {last}{hint}")
    return answer


def traced(options: dict[str, Any], work: Workload) -> tuple[Architecture, Estimate]:
    """(a stand-in for the module, its estimate). Weights and optimizer by formula, activations counted."""
    precision = PRECISIONS[work.precision]
    if work.method != "full" or work.quant or precision.act not in DTYPES or work.checkpointing:
        raise UsageError("--trace counts full training without checkpointing in fp32, bf16, fp16-o2 or bf16-master")
    python = options["python"] or shutil.which("python3") or sys.executable
    found = count(options["target"], python, work.batch, work.seq, DTYPES[precision.act], options["timeout"])
    params, trained = int(found["params"]), int(found["trained"])
    arch = Architecture(
        id=options["target"], kind="traced", given_params=params, source=f"counted by torch {found['torch']}"
    )
    factor = stack(work.stack)["encoder"]
    saved = float(found["saved_bytes"])
    return arch, Estimate(
        weights=params * precision.weight + found["buffer_bytes"],
        gradients=trained * precision.grad,
        optimizer=trained * (OPTIMIZERS[work.optimizer] * precision.state / 4 + precision.master),
        activations=saved,
        logits=0.0,
        kv_cache=0.0,
        temporaries=saved * (factor - 1),
        context=stack(work.stack)["context_mib"] * MIB,
        overlap=0.0,
        error=0.2,
        trained=trained,
        notes=(
            f"activations: {found['saved_tensors']} saved tensors counted on the meta device, the loss not among them",
        ),
    )
