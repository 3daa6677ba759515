"""Asks NVML, in a process of its own that may hang or die; ``envcheck.nvml`` starts it as a script and reads its lines.

It imports neither envcheck nor anything of the current directory: a start costs a quarter of what the package would.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

# errors by which a driver says that the card or the driver has no such thing: no value, and no error either
_ABSENT = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_DATA", "NOT_FOUND")
# errors that mean the card itself, whichever detail was asked for
_FATAL = ("GPU_IS_LOST", "RESET_REQUIRED")


def main() -> None:
    """The child. Its lines go to a copy of stdout; stdout itself becomes stderr, since libraries print there."""
    pipe = os.dup(1)
    os.dup2(2, 1)

    def say(item: dict[str, Any]) -> None:
        os.write(pipe, (json.dumps(item) + "\n").encode())

    say({"stage": "nvmlInit"})
    try:
        if sys.platform == "linux":
            ctypes.CDLL("libnvidia-ml.so.1")  # pynvml is a large module: it is not worth loading where this is not
        import pynvml
    except OSError:
        say({"error": {"code": 12, "name": "LIBRARY_NOT_FOUND", "text": "NVML Shared Library Not Found"}})
    except ImportError as error:
        text = f"the Python package nvidia-ml-py is not there: {error}"
        say({"error": {"code": None, "name": "NO_PYNVML", "text": text}})
    else:
        try:
            _ask(pynvml, say)
        except pynvml.NVMLError as error:
            say({"error": {"code": error.value, "name": _name(pynvml, error), "text": str(error)}})
    os._exit(0)  # no nvmlShutdown, no destructors: both can hang


def _name(pynvml: Any, error: Any) -> str:
    """``LIB_RM_VERSION_MISMATCH`` for error 18, and so on."""
    for name, value in vars(pynvml).items():
        if name.startswith("NVML_ERROR_") and value == error.value:
            return str(name).removeprefix("NVML_ERROR_")
    return f"ERROR_{error.value}"


def _ask(pynvml: Any, say: Callable[[dict[str, Any]], None]) -> None:
    pynvml.nvmlInit()
    errors: list[str] = []
    # nvidia-ml-py newer than the driver: its structures do not fit the driver's function
    unfitting = getattr(pynvml, "NVMLLibraryMismatchError", ())

    def get(function: str, *args: Any) -> Any:
        """The value of one call, or None; a failure that means more than "no such thing" is kept."""
        try:
            value = getattr(pynvml, function)(*args)
        except pynvml.NVMLError as error:
            name = _name(pynvml, error)
            if name not in _ABSENT:
                errors.append(f"{name} on {function}")
            return None
        except unfitting:
            return None
        except (UnicodeDecodeError, AttributeError) as error:  # a name that is no UTF-8; an older nvidia-ml-py
            errors.append(f"{type(error).__name__} on {function}")
            return None
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    say({"stage": "nvmlSystemGetDriverVersion"})
    system = {
        "driver_version": get("nvmlSystemGetDriverVersion"),
        "nvml_version": get("nvmlSystemGetNVMLVersion"),
        "cuda_driver_version": get("nvmlSystemGetCudaDriverVersion"),
    }
    say({"system": {**system, "errors": errors}})
    say({"stage": "nvmlDeviceGetCount"})
    count = pynvml.nvmlDeviceGetCount()
    say({"system": {**system, "count": count, "errors": errors}})
    for index in range(count):
        errors = []
        say({"stage": f"nvmlDeviceGetHandleByIndex({index})"})
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            errors.append(f"{_name(pynvml, error)} on nvmlDeviceGetHandleByIndex")
            say({"gpu": {"index": index, "errors": errors}})
            continue
        device = _device(get, handle)
        say({"gpu": {"index": index, **device, "errors": errors}})
        if "full" in sys.argv[1:]:
            import details  # type: ignore[import-not-found]  # beside this script

            # a hang in here costs the details and nothing that was said before
            say({"stage": f"the details of GPU {index}"})
            before = len(errors)
            described = details.describe(pynvml, get, handle, device)
            lost = [e for e in errors[before:] if e.startswith(_FATAL)]
            say({"index": index, "details": described, "errors": lost})
    say({"done": True})


def _device(get: Callable[..., Any], handle: Any) -> dict[str, Any]:
    pci, memory = get("nvmlDeviceGetPciInfo", handle), get("nvmlDeviceGetMemoryInfo", handle)
    capability, mig = get("nvmlDeviceGetCudaComputeCapability", handle), get("nvmlDeviceGetMigMode", handle)
    ecc, bus_id = get("nvmlDeviceGetEccMode", handle), getattr(pci, "busId", None)
    return {
        "name": get("nvmlDeviceGetName", handle),
        "uuid": get("nvmlDeviceGetUUID", handle),
        "bus_id": bus_id.decode("ascii", "replace") if isinstance(bus_id, bytes) else bus_id,
        "pci_device_id": getattr(pci, "pciDeviceId", None),
        "pci_subsystem_id": getattr(pci, "pciSubSystemId", None),
        "memory": None if memory is None else int(memory.total),
        "compute_capability": None if capability is None else list(capability),
        "mig": None if mig is None else bool(mig[0]),
        "ecc": None if ecc is None else bool(ecc[0]),
        "compute_mode": get("nvmlDeviceGetComputeMode", handle),
    }


if __name__ == "__main__":
    main()
