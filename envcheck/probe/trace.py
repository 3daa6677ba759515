"""Counts what a real module's backward pass keeps, on the meta device: no weights, no GPU, no memory.

Run as a script by the interpreter that has torch: ``python trace.py TOKEN REQUEST`` with REQUEST a JSON object
(``target``: ``file.py:factory`` or ``package.module:factory``, ``batch``, ``seq``, ``dtype``). The factory is called
with (batch, seq) and returns a module, or (module, inputs) with inputs a tuple or a dict; without inputs the module
is fed token ids of that shape. The answer is one line on standard output: TOKEN, a space, a JSON object.
"""

import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from typing import Any, Dict, List, Tuple

TEXT_LIMIT = 4000


def load_factory(target: str) -> Any:
    """The callable behind ``file.py:name`` or ``module:name``. Raises ValueError that says what is missing."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ValueError("%r names no factory: write it as model.py:build or package.module:build" % target)
    if place.endswith(".py"):
        path = os.path.abspath(place)
        if not os.path.isfile(path):
            raise ValueError("there is no file %s" % path)
        sys.path.insert(0, os.path.dirname(path))
        spec = importlib.util.spec_from_file_location("envcheck_traced", path)
        if spec is None or spec.loader is None:
            raise ValueError("%s cannot be imported" % path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["envcheck_traced"] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ValueError("%s has no callable %r" % (place, name))
    return factory


def replace_kernels(torch: Any) -> None:
    """What a GPU keeps where the reference implementation differs: dropout's mask is 1 byte an element, and fused
    attention keeps query, key, value, its output and one fp32 number per row, never the matrix."""
    functional = torch.nn.functional

    def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        return torch.native_dropout(input, p, True)[0] if training and p > 0 else input

    class Attention(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            # as the real kernels do: the output lies in memory like the query, so that merging the heads copies nothing
            same = query.shape[-1] == value.shape[-1]
            out = torch.empty_like(query) if same else query.new_empty(query.shape[:-1] + value.shape[-1:])
            rows = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
            ctx.save_for_backward(query, key, value, out, rows)
            return out

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise RuntimeError("the trace runs no backward pass")

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        return Attention.apply(query, key, value)

    functional.dropout = dropout
    functional.scaled_dot_product_attention = attention
    masks = sys.modules.get("transformers.masking_utils")  # type: Any
    if hasattr(masks, "find_packed_sequence_indices"):
        # it reads the positions to see whether texts are packed: none are, and the meta device has nothing to read
        masks.find_packed_sequence_indices = lambda position_ids: None


class Counter:
    """Bytes of the distinct storages that autograd saves, without those of parameters and buffers."""

    def __init__(self, known: List[Any]) -> None:
        self._known = {t.untyped_storage()._cdata for t in known}
        self._seen = {}  # type: Dict[int, Tuple[int, Any]]

    def pack(self, tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            # the storage is kept alive, or another one could get its address
            self._seen[storage._cdata] = (storage.nbytes(), storage)
        return tensor

    def total(self) -> int:
        return sum(size for size, _ in self._seen.values())

    def count(self) -> int:
        return len(self._seen)


def build(torch: Any, request: Dict[str, Any]) -> Tuple[Any, Tuple[Any, ...], Dict[str, Any]]:
    """(module, positional inputs, named inputs), all on the meta device."""
    batch, seq = int(request["batch"]), int(request["seq"])
    with torch.device("meta"):
        made = load_factory(request["target"])(batch, seq)
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise ValueError("the factory returned %s, not a torch.nn.Module" % type(module).__name__)
    module = module.to("meta").train()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[request["dtype"]]
    module = module.to(dtype)
    if inputs is None:
        inputs = (torch.zeros((batch, seq), dtype=torch.long, device="meta"),)

    def move(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        moved = value.to("meta")
        return moved.to(dtype) if moved.is_floating_point() else moved

    if isinstance(inputs, dict):
        return module, (), {k: move(v) for k, v in inputs.items()}
    if not isinstance(inputs, (tuple, list)):
        inputs = (inputs,)
    return module, tuple(move(v) for v in inputs), {}


def trace(request: Dict[str, Any]) -> Dict[str, Any]:
    """The counts, or an exception of the module's own code."""
    import torch

    start = time.monotonic()
    module, args, kwargs = build(torch, request)
    parameters = list(module.parameters())
    buffers = list(module.buffers())
    counter = Counter(parameters + buffers)
    replace_kernels(torch)
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda t: t):
        module(*args, **kwargs)
    return {
        "torch": torch.__version__,
        "params": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
        "buffer_bytes": sum(b.numel() * b.element_size() for b in buffers),
        "saved_bytes": counter.total(),
        "saved_tensors": counter.count(),
        "seconds": time.monotonic() - start,
    }


def main(argv: List[str]) -> int:
    """Exit 0 with the counts, 1 with what went wrong; both as the line that starts with the token."""
    token, request = argv[1], json.loads(argv[2])
    try:
        answer = trace(request)
    except ImportError as error:
        answer = {"error": "import", "text": str(error)[:TEXT_LIMIT]}
    except ValueError as error:
        answer = {"error": "request", "text": str(error)[:TEXT_LIMIT]}
    except Exception:  # noqa: BLE001 - the module's own code may raise anything; the parent reports it
        answer = {"error": "module", "text": traceback.format_exc()[-TEXT_LIMIT:]}
    sys.stdout.write("\n" + token + " " + json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
