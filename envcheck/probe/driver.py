"""libcuda through ctypes: what torch hides when it only says that CUDA is not available."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any, Dict, List, Optional

_library: List[Any] = []


class DriverError(RuntimeError):
    """A call into libcuda that failed: ``name`` is CUDA's own (``CUDA_ERROR_NO_DEVICE``)."""

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__("{} failed: {} ({})".format(call, name, code))
        self.code = code
        self.name = name


def library() -> Any:
    """libcuda, loaded once. Raises ``DriverError`` where it is not there."""
    if not _library:
        name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
        try:
            _library.append(ctypes.CDLL(name))
        except OSError as error:
            raise DriverError("loading " + name, -1, str(error)) from None
    return _library[0]


def _check(call: str, code: int) -> None:
    if code == 0:
        return
    text = ctypes.c_char_p()
    with contextlib.suppress(AttributeError):  # a libcuda older than CUDA 6
        library().cuGetErrorName(code, ctypes.byref(text))
    raise DriverError(call, code, (text.value or b"unknown error").decode("ascii", "replace"))


def initialise() -> None:
    """cuInit(0). Raises ``DriverError`` with CUDA's name of the failure."""
    _check("cuInit", library().cuInit(0))


def version() -> Optional[str]:
    """The newest CUDA that this driver speaks, ``"12.2"``."""
    value = ctypes.c_int()
    if library().cuDriverGetVersion(ctypes.byref(value)) != 0:
        return None
    return "{}.{}".format(value.value // 1000, value.value % 1000 // 10)


def device_ids(ordinal: int) -> Dict[str, Optional[str]]:
    """PCI address (``0000:3b:00.0``, as sysfs writes it) and UUID of a device by CUDA's ordinal."""
    cuda = library()
    handle = ctypes.c_int()
    _check("cuDeviceGet", cuda.cuDeviceGet(ctypes.byref(handle), ordinal))
    text = ctypes.create_string_buffer(64)
    bus = None
    if cuda.cuDeviceGetPCIBusId(text, 64, handle) == 0:
        bus = text.value.decode("ascii", "replace").lower()
    raw = (ctypes.c_ubyte * 16)()
    get = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    uuid = None
    if get(ctypes.byref(raw), handle) == 0:
        h = bytes(raw).hex()
        uuid = "GPU-{}-{}-{}-{}-{}".format(h[:8], h[8:12], h[12:16], h[16:20], h[20:])
    return {"bus_id": bus, "uuid": uuid}
