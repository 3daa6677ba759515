"""Checks of the NVIDIA driver: is it there, loaded, of the right kind, and does it let us in."""

from __future__ import annotations

from .base import CERTAIN, FAIL_FROM, STRONG, SUPPORTING, WEAK, Outcome, skip
from .details import entries, events, mapping, refused_for_its_key, secure_boot
from .fixes import Steps, by_hand, cpu_torch, driver_steps, run_file_away, step
from .judge import fact, judge
from .known import limit
from .module_fixes import enrol, no_nouveau, rebuild
from .view import View, nums

AREA = "driver"


def _no_gpu_anywhere(v: View) -> bool:
    """A live machine whose bus was read and shows nothing of NVIDIA's."""
    return bool(mapping(v, "pci").get("readable")) and not v.gpus and not v.pasted


def nouveau_loaded(v: View) -> Outcome:
    """nouveau, or another driver of the kernel's own, holds the GPU.

    Why: two drivers cannot share a card. While nouveau (or nova_core) is bound to it, the NVIDIA module finds no
    device and nvidia-smi cannot communicate.
    Fix: blacklist nouveau, regenerate the initramfs, reboot.
    References: https://github.com/NVIDIA/open-gpu-kernel-modules
    """
    bound = [g for g in v.gpus if g.driver_bound in ("nouveau", "nova", "nova_core", "nvidiafb")]
    facts = (
        *fact("the GPU is bound to nouveau", CERTAIN, v.state("nouveau") and not bound),
        *(p for g in bound for p in fact(f"GPU {g.index} is bound to {g.driver_bound}", CERTAIN)),
    )
    free = any(g.driver_bound == "nvidia" for g in v.gpus)
    return judge(
        v,
        "nouveau-loaded",
        "the nouveau driver holds the GPU, so NVIDIA's cannot take it",
        facts=facts,
        looked=any(g.driver_bound for g in v.gpus) or v.state("ok"),
        quiet="no other driver holds the GPU",
        at_most=100 if not free else WEAK - 10,
        fix=lambda: no_nouveau(v),
    )


def gpu_bound_to_vfio(v: View) -> Outcome:
    """Every NVIDIA GPU is bound to vfio-pci, that is set aside for a virtual machine.

    Why: passthrough takes the card away from this system before its own driver can have it; in the guest it is there.
    Fix: run in the virtual machine, or give the card back: no vfio-pci.ids on the kernel's command line or in
    /etc/modprobe.d, then reboot.
    References: https://docs.kernel.org/driver-api/vfio.html
    """
    bound = [g for g in v.gpus if g.driver_bound == "vfio-pci"]
    return judge(
        v,
        "gpu-bound-to-vfio",
        "every NVIDIA GPU here is given to a virtual machine (vfio-pci)",
        facts=fact(f"{len(bound)} GPU(s) bound to vfio-pci", CERTAIN, bound and len(bound) == len(v.gpus)),
        looked=any(g.driver_bound for g in v.gpus),
        quiet="no GPU is given away" if not bound else "the other GPUs are this system's own",
        fix=lambda: (
            step("vfio", "see what sets it aside", "grep", "-rs", "vfio-pci", "/proc/cmdline", "/etc/modprobe.d"),
            *by_hand("run in the virtual machine; or take those entries out, rebuild the initramfs and reboot"),
        ),
    )


def secure_boot_blocks_module(v: View) -> Outcome:
    """Secure Boot is on and the kernel refuses the unsigned NVIDIA module.

    Why: with Secure Boot the kernel loads only modules signed by a key that the firmware or the owner (MOK) trusts.
    A module that DKMS built is signed by a key which has to be enrolled once, at the machine's own screen.
    Fix: enrol the key, take the distribution's signed module, or turn Secure Boot off.
    References: https://www.kernel.org/doc/html/latest/admin-guide/module-signing.html
    """
    enabled = secure_boot(v)
    refused = v.state("secure-boot", "unsigned") or refused_for_its_key(v)
    module = mapping(v, "modinfo")
    absent = bool(module.get("error")) or (v.state("missing") and not v.pasted)  # then there is nothing to refuse
    not_loaded = v.state("not-loaded", "missing", "broken") or bool(v.told("kernel-module-not-built"))
    unsigned = bool(module) and not absent and not module.get("signer")
    facts = (
        *fact("the kernel refused the module: it is not signed by a trusted key", CERTAIN, refused),
        *fact("Secure Boot is on, and the module on disk is not signed", CERTAIN, enabled and not_loaded and unsigned),
        *fact(
            "Secure Boot is on and the NVIDIA module is not loaded", STRONG + 5, enabled and not_loaded and not absent
        ),
    )
    return judge(
        v,
        "secure-boot-blocks-module",
        "Secure Boot refuses the NVIDIA kernel module",
        facts=facts,
        looked=enabled is not None or v.state("ok"),
        quiet="Secure Boot is not in the way",
        at_most=WEAK - 10 if enabled is False or v.cuda_available else 100,
        fix=lambda: enrol(v),
    )


def nvidia_open_module_wrong(v: View) -> Outcome:
    """The flavour of the kernel module does not fit the GPU.

    Why: the open module needs the GPU System Processor, which Turing brought: older cards need the proprietary one.
    Blackwell and later need the open one.
    Fix: install the other flavour of the same driver branch.
    References: https://github.com/NVIDIA/open-gpu-kernel-modules
    """
    module = v.machine.driver.module
    gsp = "open_module_unsupported" in events(v)
    old = [c for c in v.capabilities if (nums(c) or (99,)) < (nums(limit(v, "open_module_from")) or ())]
    new = [c for c in v.capabilities if (nums(c) or (0,)) >= (nums(limit(v, "open_module_only_from")) or ())]
    works = v.cuda_available or v.state("ok")
    facts = (
        *fact("the kernel logged that the open module does not support this GPU", CERTAIN + 2, gsp),
        *fact(
            f"the open module is installed and compute capability {old[:1]} is older than Turing",
            CERTAIN,
            module == "open" and old and not works,
        ),
        *fact(
            f"the proprietary module is installed and compute capability {new[:1]} needs the open one",
            CERTAIN,
            module == "proprietary" and new and not works,
        ),
    )
    return judge(
        v,
        "nvidia-open-module-wrong",
        "the driver's kernel module is of the flavour that this GPU cannot use",
        facts=facts,
        looked=module is not None and bool(v.capabilities),
        quiet="the module's flavour fits the GPU",
        fix=lambda: driver_steps(v),
    )


def kernel_module_not_built(v: View) -> Outcome:
    """The driver is installed and there is no module for the running kernel.

    Why: the module is built for one kernel. After a kernel update without headers, or when DKMS failed, user space
    is there and nothing answers it: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver".
    Fix: install the headers of the running kernel, let DKMS build, load the module; or take a prebuilt module.
    References: https://github.com/dell/dkms
    """
    state = v.state("broken-managed", "no-module") or (v.state("broken") and v.machine.driver.source == "files")
    text = v.machine.problems.get("driver", "")
    said = "no nvidia module for kernel" in text
    headers = v.fact("kernel_headers")
    facts = (
        *fact(text or "the driver's files are there and no module for this kernel", CERTAIN, said or state),
        *fact(
            f"driver {v.machine.driver.version} is installed and its module is not loaded",
            SUPPORTING,
            v.state("not-loaded") and not v.machine.symptoms,
        ),
        *fact("the headers of the running kernel are not installed", STRONG, (said or state) and headers is False),
        *(
            p
            for row in entries(v, "dkms")
            if said or state
            for p in fact(f"dkms: {row.get('module')} {row.get('version')}: {row.get('state')}"[:120], SUPPORTING)
        ),
    )
    return judge(
        v,
        "kernel-module-not-built",
        "the NVIDIA driver is installed and its kernel module is not there for this kernel",
        facts=facts,
        looked=v.state("ok", "nouveau"),
        quiet="the kernel module is loaded",
        fix=lambda: rebuild(v),
    )


def driver_library_mismatch(v: View) -> Outcome:
    """The libraries of the driver and the loaded kernel module are of different versions.

    Why: an update replaced the files while the old module stayed loaded, or a container brought its own driver
    libraries. NVML refuses to talk across versions.
    Fix: reboot (or unload and load the modules); in a container remove the driver packages from the image.
    References: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
    """
    origin = mapping(v, "driver_origin")
    packages = [str(p) for p in origin.get("packages") or ()]
    mixed = bool(origin.get("run_file") and packages)
    facts = (
        *fact(
            v.machine.problems.get("driver") or "the loaded module and the libraries differ",
            CERTAIN,
            v.state("mismatch"),
        ),
        *fact(
            f"the driver was installed twice: by NVIDIA's .run file, and as {', '.join(packages)[:120]}",
            FAIL_FROM - 5,  # it may work until one of the two is updated
            mixed,
        ),
    )
    return judge(
        v,
        "driver-library-mismatch",
        "the driver's libraries and the loaded kernel module are of different versions",
        facts=facts,
        looked=v.state("ok"),
        quiet="module and libraries agree",
        fix=lambda: (
            by_hand("remove the driver's packages from the image: the host hands its own libraries in")
            if v.machine.os.container
            else run_file_away(v)
            if mixed
            else _reboot()
        ),
    )


def _reboot() -> Steps:
    return (step("reboot", "reboot, so that the new module is loaded", "systemctl", "reboot", root=True, reboot=True),)


def no_nvidia_driver(v: View) -> Outcome:
    """There is no NVIDIA driver, or no NVIDIA GPU at all.

    Why: CUDA speaks to the card through libcuda, which only the driver brings; no wheel and no toolkit replaces it.
    Fix: with an NVIDIA GPU install the driver branch that supports it; without one use the CPU, ROCm or MPS build.
    References: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html
    """
    missing = v.state("missing") and not v.machine.os.container and not v.flag("macos")
    if missing and v.gpus and all(g.driver_bound == "vfio-pci" for g in v.gpus):
        return skip("the GPUs are a virtual machine's: see gpu-bound-to-vfio")
    nothing = _no_gpu_anywhere(v)
    login = v.batch_system if nothing else None
    facts = (
        *fact(
            f"no NVIDIA device is on this node's bus, and {login} is here: run this in a job, on a node with a GPU"
            if login
            else "no NVIDIA device is on the PCI bus",
            WEAK if login else CERTAIN,
            nothing and not v.flag("container") and not v.flag("macos"),
        ),
        *fact("an NVIDIA GPU is on the bus and no driver is installed", CERTAIN, missing and v.gpus),
        *fact(
            "the driver answers, and nvcuda.dll is not in System32: the driver is incomplete",
            STRONG,
            v.driver_works and mapping(v, "windows").get("nvcuda_dll", "?") is None,
        ),
    )
    env = mapping(v, "collect_env")
    absent = "cuda" in str(env.get("driver", "")).lower() or ("driver" in env and env["driver"] is None)
    bare = (
        v.pasted and absent and v.torch_cuda and v.cuda_available is False and not v.gpu_names and not v.driver_version
    )
    facts += fact("the report shows a CUDA build of torch, no GPU and no driver", STRONG, bare and not v.flag("wsl"))
    shown = [str(name) for name in v.machine.facts.get("other_gpus") or ()]
    facts += fact(
        f"the report shows {shown[0] if shown else ''} and no card of NVIDIA's",
        SUPPORTING,
        v.pasted and shown and not v.gpu_names and all(n.startswith("Intel") for n in shown) and v.text.has("cuda"),
    )
    lone = v.flag("amd") or v.flag("intel")
    summary = (
        f"no NVIDIA GPU on this node: it looks like a login node ({login})"
        if login
        else "no NVIDIA GPU in this machine"
        if nothing or (lone and not v.gpu_names)
        else "no NVIDIA driver is installed"
        if not v.driver_works or v.pasted
        else "the NVIDIA driver is incomplete"
    )
    return judge(
        v,
        "no-nvidia-driver",
        summary,
        facts=facts,
        looked=v.driver_works,
        quiet=f"driver {v.driver_version or ''} is there".replace("  ", " "),
        at_most=WEAK if v.cuda_available else 100,
        bonus=6 if v.flag("intel") else 0,
        fix=lambda: () if login else cpu_torch(v) if nothing or lone else driver_steps(v),
    )


CHECKS = (
    nouveau_loaded,
    gpu_bound_to_vfio,
    secure_boot_blocks_module,
    nvidia_open_module_wrong,
    kernel_module_not_built,
    driver_library_mismatch,
    no_nvidia_driver,
)
