"""The pipe to the parent, and the words about torch that need no GPU."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Optional

PR_SET_PDEATHSIG = 1  # linux/prctl.h
TEXT_LIMIT = 4000  # characters of an error's text that are worth sending


def open_pipe(word: str) -> int:
    """The file descriptor named on the command line, closed to whatever this process starts.

    On Windows the word is an inherited handle.
    """
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.open_osfhandle(int(word), os.O_WRONLY)
    fd = int(word)
    os.set_inheritable(fd, False)
    return fd


def end_with_parent() -> None:
    """End this process when its parent ends, however it ends: the parent holds our deadline.

    Linux's kernel does it even while a call into the driver holds the interpreter. A thread that looks once a second
    serves the other Unixes, and a kernel that refuses. On Windows a process keeps its parent's number: nothing is done.
    """
    if sys.platform == "win32":
        return
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def plain(value: Any) -> Any:
    """What strict JSON takes: numbers that are not finite become None, dtypes and devices their names."""
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return str(value)


def ends(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, or its beginning and its end: torch.compile puts a whole traceback before what went wrong."""
    return text if len(text) <= limit else text[: limit // 2] + "\n...\n" + text[-limit // 2 :]


class Channel:
    """Writes whole lines; a parent that is gone ends the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.last_stage = "start"

    def _say(self, item: Dict[str, Any]) -> None:
        data = (json.dumps(plain(item)) + "\n").encode("ascii")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os._exit(1)

    def stage(self, name: str) -> None:
        self.last_stage = name
        self._say({"stage": name})

    def facts(self, **items: Any) -> None:
        self._say({"facts": items})

    def skip(self, why: str, not_applicable: bool = False) -> None:
        self._say({"skip": why, "not_applicable": not_applicable})

    def error(self, error: BaseException, trace: str = "") -> None:
        text = ends(str(error))
        self._say({"error": {"type": type(error).__name__, "text": text, "trace": trace[-TEXT_LIMIT:]}})

    def done(self) -> None:
        self._say({"done": True})


def describe_torch(torch: Any) -> Dict[str, Any]:
    """Version and build of the torch that was imported. Touches no GPU."""
    cudnn = None
    try:
        compiled = torch._C._cudnn.getCompileVersion()
        cudnn = ".".join(str(part) for part in compiled)
    except AttributeError:  # a build without cuDNN
        pass
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "cudnn": cudnn,
        "path": _folder(torch),
    }


def _folder(module: Any) -> Optional[str]:
    path = getattr(module, "__file__", None)
    return str(Path(path).parent) if path else None
