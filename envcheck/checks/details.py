"""What checks read out of ``Machine.facts``, whatever its shape: the same names for a live machine and for a report.

========================  =======================================================================================
``xid``                   ``[{"xid": 79, "pci": "0000:01:00", ...}]``, since boot
``kernel_events``         ``[{"event": "bar_invalid", ...}]``; module_refused, open_module_unsupported, init_failed, ...
``mokutil``               ``{"secure_boot": true}``
``modinfo``               ``{"license": "Dual MIT/GPL", "signer": null, ...}``
``dkms``                  ``[{"module": "nvidia", "version": "...", "kernel": "...", "state": "installed"}]``
``gpu``                   ``{"0": {"compute_mode", "throttle_reasons", "remapped_rows", "retired_pages", "ecc_errors",
                          "vgpu_license", "memory_used_mib", "fabric", ...}}``
``device_nodes``          ``[{"path": "/dev/nvidia0", "mode": "crw-rw----", "owner": "root", "group": "video",
                          "accessible": false}]``; ``accessible`` on a live machine alone
``loaded_libraries``      ``[{"name": "libcuda.so.1", "path": "/usr/...", "from": "ldconfig"}]``, in the loader's order
``modules``, ``lsmod``    names of the loaded kernel modules
``shm``                   ``{"size_mib": 64}``
``duplicates``            ``{"torch": ["2.1.0 (pip)", "2.0.1 (conda)"]}``
``container``             ``{"commands": [{"verb": "run", "gpus": null, "runtime": null, "env": {}}], ...}``
``fabric_manager``        ``{"active": false, "version": null}``
``os_packages``           ``{"libnvidia-compute-535": "535.129.03-0ubuntu1"}``; ``system_packages`` a list of a report
``cpu_flags``             ``["sse4_2", "avx", ...]``
``other_gpus``            ``["AMD Radeon RX 6700 XT"]``
``shadowing_files``       paths of files that hide a module of the standard library or torch
``build_tools``           ``{"cc": "/usr/bin/gcc" or null, "nvcc": null, "python_headers": false}``; live alone
``memory``                ``{"available_mib": 900, "total_mib": 16000, "oom_kills": 1}`` of the host or its cgroup
``acs_bridges``           bus ids of PCIe bridges above a GPU that have ACS redirection on
``vcruntime``             version of msvcp140.dll on Windows, null where it is not there
``windows``               ``{"nvml_dll", "nvcuda_dll", "long_paths", "site_packages"}``; ``libomp140``: it is there
``macos``                 ``{"apple_silicon", "python_arch", "rosetta"}``
``container_host``        ``{"engines", "toolkit", "runtime": {"path", "exists"}, "cdi": [{"path", "driver"}]}``
``pip_indexes``           ``[{"url", "from"}]``: indexes that variables and pip's files set
``torch_libraries``       ``[{"name", "path", "version", "from"}]``: the copy of each CUDA library that torch would load
``extensions``            ``[{"name", "version", "torch"}]``: compiled packages, and the torch that they were built for
``uvm``                   ``{"node": true, "loadable": true}``: /dev/nvidia-uvm, and the helper that loads the module
``driver_origin``         ``{"run_file": false, "packages": ["nvidia-driver-550"] or null}``: who installed the driver
``kernel_headers``        whether the running kernel's headers are here
``unassigned_bars``       ``["BAR 1 of 0000:01:00.0"]``: memory windows without an address
``library_conflicts``     ``[{"name", "path", "version", "package", "wheel", "older", "loaded"}]``: before torch's own
``mapped_libraries``      paths that ``--deep`` saw in the target's own process; ``deep`` holds the rest that it said
``compat``                ``{"path", "version"}`` of a cuda-compat libcuda that comes first
``pins``                  ``[{"name", "wanted", "have"}]``: wheels that torch pins and that differ or are absent
``bundled``               ``{"cudnn": true}``: whether torch's wheels bring it
``release_archs``         ``{"13.0": {"x86_64": [75, 80]}}`` of a torch that says what its release carries
``compilers``             ``{"gcc": "11.4.0"}``; ``cuda_home``: ``{"path", "nvcc": true}``
``environment``           ``{"manager": "uv", "installer": "uv", "prefix": "...", "project": null}``: who changes torch
``disk``                  ``{"/dev/shm": {"total_mib", "free_mib"}}``, and of /tmp
``root``                  whether root runs this
``unknown_uuids``         the first entry of CUDA_VISIBLE_DEVICES, where it is the UUID of no GPU here
``unseen``                ``{"kernel log": "only root may read it here: ..."}``: what root would add
``libstdcxx_lacks``       what torch's libraries want of libstdc++ and it has not: ``["GLIBCXX_3.4.30"]``
========================  =======================================================================================

A live fact that is null was looked for and is absent; a key that is not there was not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .view import View


def entries(v: View, name: str) -> list[Mapping[str, Any]]:
    """A fact that is a list of objects; anything else in it is left out."""
    value = v.fact(name)
    return [e for e in value if isinstance(e, Mapping)] if isinstance(value, list | tuple) else []


def mapping(v: View, name: str) -> Mapping[str, Any]:
    value = v.fact(name)
    return value if isinstance(value, Mapping) else {}


def xids(v: View) -> set[int]:
    return {e["xid"] for e in entries(v, "xid") if isinstance(e.get("xid"), int)}


def events(v: View) -> set[str]:
    return {str(e.get("event")) for e in entries(v, "kernel_events")}


KEY_WORDS = ("key", "signed", "permitted", "lockdown", "locked down")


def refused_for_its_key(v: View) -> bool:
    """The kernel refused NVIDIA's module, and for its signature."""
    refused = [e for e in entries(v, "kernel_events") if e.get("event") == "module_refused"]
    return any(e.get("reason") is None or any(w in str(e["reason"]).lower() for w in KEY_WORDS) for e in refused)


def gpu_details(v: View) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(index, details) of each GPU."""
    for index, details in mapping(v, "gpu").items():
        if isinstance(details, Mapping):
            yield str(index), details


def secure_boot(v: View) -> bool | None:
    value = mapping(v, "mokutil").get("secure_boot")
    return value if isinstance(value, bool) else None


def libraries(v: View, name: str) -> list[str]:
    """Paths of a library in the order in which the loader finds them."""
    return [str(e["path"]) for e in entries(v, "loaded_libraries") if e.get("name") == name and e.get("path")]


def denied_nodes(v: View) -> list[str]:
    """Device nodes that this user cannot open, or that a report shows closed to others."""
    out = []
    for node in entries(v, "device_nodes"):
        path, mode = str(node.get("path") or ""), str(node.get("mode") or "")
        if "nvidia" not in path and not str(node.get("device", "")).startswith("195"):
            continue
        if node.get("accessible") is False or (node.get("accessible") is None and len(mode) == 10 and mode[7] == "-"):
            out.append(path)
    return out


def os_packages(v: View) -> dict[str, str]:
    """Installed packages of the distribution, by name."""
    found = {str(k): str(x) for k, x in mapping(v, "os_packages").items()}
    for entry in entries(v, "system_packages"):
        if entry.get("state") in (None, "ii"):
            found[str(entry.get("name"))] = str(entry.get("version"))
    return found


def modules(v: View) -> list[str]:
    """Names of the loaded kernel modules; empty where they were not looked at."""
    value = v.fact("modules") or v.fact("lsmod") or ()
    return [str(m) for m in value] if isinstance(value, list | tuple) else []


def container_commands(v: View) -> list[Mapping[str, Any]]:
    value = mapping(v, "container").get("commands") or ()
    return [c for c in value if isinstance(c, Mapping)]


def build_tool(v: View, name: str) -> bool | None:
    """Whether a live machine has ``cc``, ``nvcc`` or ``python_headers``; None where nobody looked."""
    tools = mapping(v, "build_tools")
    return bool(tools[name]) if name in tools else None


def truthy(value: object) -> bool:
    """``Yes``, ``true``, ``1`` of a tool's own words."""
    return value is True or str(value).strip().lower() in ("yes", "true", "1", "active", "enabled")


def positive(value: object) -> bool:
    text = str(value).strip()
    return text.isdigit() and int(text) > 0
