"""Import torch in the target interpreter, create a CUDA context, and say which libraries were loaded for it.

Run by ``doctor --deep`` as ``python -c``, so this file stands alone: Python 3.8 syntax, the standard library and
torch. It writes one JSON object a line to its own copy of stdout, each stage before it begins, so that a hang or a
crash still tells where::

    {"stage": "import torch"}
    {"torch": {"version": "2.4.1+cu121", "cuda": "12.1", "archs": ["sm_50", "sm_90"]}}
    {"stage": "torch.cuda.is_available()"}
    {"available": true, "count": 1}
    {"stage": "a CUDA context"}
    {"context": true, "cudnn": "9.1.0"}
    {"libraries": ["/usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05"]}
    {"done": true}

``{"error": {"stage": "...", "text": "..."}}`` holds the end of a traceback.
"""

import json
import os
import re
import sys
import traceback
import warnings
from typing import Any, Dict, List

MAPPED = re.compile(
    r"/(?:lib(?:cuda|cudnn|cublas|cusparse|nvJitLink|nccl|nvrtc|torch|stdc|c10|gomp|cufft|curand)[^/]*)$"
)
LONGEST = 8000  # characters of a traceback


class Teller:
    """Writes lines where nothing that a library prints can get between them."""

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        os.dup2(2, 1)
        self._stage = "start"

    def say(self, item: Dict[str, Any]) -> None:
        os.write(self._pipe, (json.dumps(item) + "\n").encode("utf-8", "replace"))

    def stage(self, name: str) -> None:
        self._stage = name
        self.say({"stage": name})

    def failed(self) -> None:
        self.say({"error": {"stage": self._stage, "text": traceback.format_exc()[-LONGEST:]}})


def libraries() -> List[str]:
    """Paths of the libraries of interest that this process has mapped, in the order of their addresses."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = [line.split(None, 5)[5].strip() for line in file if line.count(" ") > 4 and "/" in line]
    except (OSError, IndexError):
        return []
    return list(dict.fromkeys(p for p in paths if MAPPED.search(p)))


def look(teller: Teller) -> None:
    teller.stage("import torch")
    import torch

    archs = list(torch.cuda.get_arch_list()) if hasattr(torch.cuda, "get_arch_list") else []
    teller.say({"torch": {"version": str(torch.__version__), "cuda": torch.version.cuda, "archs": archs}})
    teller.stage("torch.cuda.is_available()")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = bool(torch.cuda.is_available())
        count = torch.cuda.device_count() if available else 0
    teller.say({"available": available, "count": count, "warnings": [str(w.message)[:1000] for w in caught][:8]})
    if torch.version.cuda is None:
        return
    teller.stage("a CUDA context")
    untyped = torch  # type: Any
    untyped.cuda.init()
    total = float(torch.ones(8, device="cuda").sum().item())
    cudnn = untyped.backends.cudnn.version()
    teller.say({"context": total == 8.0, "cudnn": cudnn})


def main() -> None:
    sys.path[:] = [p for p in sys.path if p]  # what lies in the current directory is no part of the environment
    teller = Teller()
    try:
        look(teller)
    except BaseException:  # noqa: BLE001 - whatever ends the look is what this is for
        teller.failed()
    teller.say({"libraries": libraries()})
    teller.say({"done": True})
    os._exit(0)  # destructors of a broken CUDA can hang


if __name__ == "__main__":
    main()
