"""Pasted text -> ``Machine``: any mix of what tools print and people write, in any order, damaged or not.

One module per kind, each a pure ``parse(lines) -> Part | None`` headed by a real sample; ``PARSERS`` lists them from the
most trusted to the least, prose after them, and the first that says a field wins. CUDA has three owners that are never mixed: the driver's
newest (``driver.cuda``), the toolkit's (``toolkits``) and the one that torch was built with (``torch.cuda``).

``Machine.symptoms``: every line that no table, listing or key took, and lines within those that speak of trouble.

``Machine.facts`` of a report (all plain JSON; a name is there only if the report has it):

| fact | holds |
|---|---|
| ``report`` | ``{"kinds": [...]}``: the parsers that found something |
| ``gpu`` | ``{"0": {...}}`` by GPU index as text: ``memory_total_mib memory_used_mib memory_free_mib memory_reserved_mib`` (MiB), ``utilization_pct``, ``temperature_c``, ``power_draw_w power_limit_w power_default_limit_w``, ``performance_state``, ``throttle_reasons`` (list of active ones, snake case: ``hw_slowdown``), ``throttle_mask``, ``compute_mode`` (``E. Process``, ``Exclusive_Process``, ``Prohibited``, ``Default``), ``persistence_mode mig_mode mig_pending ecc_mode ecc_pending`` (``Enabled``/``Disabled``), ``ecc_errors`` (``{"volatile": {"dram_uncorrectable": 5}, "aggregate": {}, "repair": {}}``), ``remapped_rows`` (``correctable uncorrectable pending failure``, text), ``retired_pages``, ``pcie_gen_current pcie_gen_max pcie_width_current pcie_width_max``, ``fabric`` (``state status ...``), ``vgpu_license``, ``virtualization_mode``, ``driver_model``, ``recovery_action``, ``lost`` (true), ``mig_devices``, ``architecture``, ``name_truncated``, ``errors`` |
| ``nvidia_smi`` | ``version``, ``nvml_version``, ``nvml_library_version``, ``cuda_shown``, ``attached_gpus``, ``error`` (``LIB_RM_VERSION_MISMATCH DRIVER_NOT_LOADED OPERATING_SYSTEM NO_PERMISSION LIBRARY_NOT_FOUND UNKNOWN NVML_INIT_FAILED DEVICE_HANDLE GPU_IS_LOST NO_DEVICES INVALID_FIELD NOT_FOUND``), ``message``, ``line``, ``lost`` (``[{"index", "bus_id", "error"}]``), ``inforom_corrupted`` (bus ids) |
| ``gpu_processes`` | ``[{"gpu", "pid", "type", "name", "memory_mib"}]`` |
| ``collect_env`` | ``genuine`` (torch's own or a close fork), ``cuda_available``, ``cuda_built`` (as printed: ``None`` and ``Could not collect`` mean CPU), ``cuda_runtime`` (nvcc's), ``is_debug``, ``hip``, ``driver os gpus`` (as printed), ``torch_version_unknown`` |
| ``torch`` | ``{"build": "cuda" | "cpu" | "rocm" | "xpu" | "unknown"}`` |
| ``torch_cuda_none`` | true: ``torch.version.cuda`` was printed as None |
| ``device_count`` | ``torch.cuda.device_count()`` |
| ``pip``, ``conda`` | ``{name: version}``; ``{name: {"version", "build", "channel"}}`` |
| ``duplicates`` | ``{"torch": ["1.2.0 (pip)", "1.3.0 (conda)"]}`` |
| ``conda_prefix``, ``site_packages`` | the environment's path; paths in tracebacks |
| ``install`` | ``commands`` (``tool verb packages{name: specifier} indexes channels line``), ``indexes`` (that pip looked in), ``not_found`` (``requirement versions line``; ``versions`` [] is "none"), ``installed``, ``wheels`` |
| ``lspci`` | ``[{"slot", "class", "name", "vendor", "gpu", "ids", "rev", "driver_in_use", "modules", "subsystem", "link", "unassigned_bars"}]`` |
| ``xid`` | ``[{"xid": 79, "pci", "pid", "process", "text", "line"}]`` |
| ``kernel_events`` | ``[{"event", "line", ...}]``: ``module_loaded module_refused module_unsigned_loaded lockdown taint api_mismatch gpu_lost bound_elsewhere probe_not_called probe_failed init_failed bar_invalid no_adapter nouveau_bound open_module_unsupported gpu_unsupported oom_kill secure_boot_enabled pcie_surprise_down pcie_uncorrected resume`` |
| ``api_mismatch`` | ``{"client", "module"}`` driver versions |
| ``proc_version`` | the module's version in /proc/driver/nvidia/version |
| ``mokutil`` | ``{"secure_boot": bool or null, "setup_mode", "error"}`` |
| ``modinfo`` | ``filename version license signer vermagic kernel error`` |
| ``dkms`` | ``[{"module", "version", "kernel", "arch", "state"}]`` |
| ``lsmod`` | loaded modules that matter |
| ``module_options`` | ``{"NVreg_DeviceFileMode": "0660"}`` |
| ``system_packages`` | ``[{"name", "version", "state"}]`` of dpkg -l (state ``ii``, ``rc``) and rpm -qa |
| ``loaded_libraries`` | ``[{"name", "path" (null: not found), "from": "ldconfig" | "ldd" | "maps"}]`` in the order printed |
| ``device_nodes`` | ``[{"mode", "owner", "group", "device", "path"}]`` |
| ``shm`` | ``{"size_mib"}`` of /dev/shm |
| ``topology`` | ``gpus nics matrix cpu_affinity numa_affinity`` of topo -m |
| ``dmon``, ``pmon`` | rows by column name |
| ``nvcc`` | ``tool release version build host error`` (``NOT_FOUND``) |
| ``cudnn`` | ``{"max_compute_capability"}`` of cudnn.h |
| ``compilers`` | ``{"gcc": "11.4.0"}`` |
| ``container`` | ``commands`` (``engine verb gpus runtime shm_size ipc_host privileged image env line``), ``image``, ``image_cuda``, ``release`` (NGC's), ``requires_cuda`` |
| ``cuda_home_mismatch``, ``cudnn_mismatch`` | ``{"toolkit", "torch"}``; ``{"compiled", "runtime"}`` |
| ``out_of_memory`` | ``gpu tried_mib total_mib free_mib`` |
| ``jetson`` | what named one: ``kernel`` or ``release`` |
| ``cpu_flags`` | of lscpu (newer collect_env prints it) or /proc/cpuinfo |
| ``other_gpus`` | names of AMD and Intel GPUs that the report gives |
| ``os`` | ``pretty_name variant_id codename`` |
| ``prose`` | what a person wrote: ``cuda`` (whose is not said), ``cudnn``, ``driver_branch``, ``jetson``, ``arm_server``, ``colab``, ``windows_paths`` |
"""  # noqa: E501 - a row of the table is a line

from __future__ import annotations

import gc

from ...model import Machine, Symptom
from . import (
    collect_env,
    environment,
    gpu_list,
    install,
    kernel_log,
    libraries,
    lspci,
    messages,
    modules,
    os_release,
    packages,
    prose,
    repl,
    smi_csv,
    smi_mon,
    smi_query,
    smi_table,
    smi_topo,
    smi_words,
    smi_xml,
    toolkit,
)
from .lines import read
from .merge import merge
from .part import Parser

PARSERS: tuple[Parser, ...] = (
    smi_xml.parse,
    smi_query.parse,
    smi_csv.parse,
    smi_table.parse,
    smi_words.parse,
    repl.parse,
    collect_env.parse,
    os_release.parse,
    kernel_log.parse,
    modules.parse,
    packages.parse,
    install.parse,
    gpu_list.parse,
    lspci.parse,
    smi_topo.parse,
    smi_mon.parse,
    toolkit.parse,
    libraries.parse,
    environment.parse,
    messages.parse,
)


def parse_report(text: str) -> Machine:
    """Everything that ``text`` says of a machine. Never raises; what is not understood is a symptom."""
    collects = gc.isenabled()
    gc.disable()  # a long report makes many small objects and no cycles: looking for these costs a tenth of the time
    try:
        return _parsed(text)
    finally:
        if collects:
            gc.enable()


def _parsed(text: str) -> Machine:
    lines = read(text)
    parts = [part for parse in PARSERS if (part := parse(lines)) is not None]
    taken = set[int]().union(*(part.taken - part.kept for part in parts))
    words = prose.parse(lines, taken)
    return merge(lines, [*parts, words] if words else parts)


def parse_error_text(text: str) -> tuple[Symptom, ...]:
    """A program's error output as symptoms, every line of it: the facts come from the machine that it ran on."""
    return merge(read(text), []).symptoms
