"""The repairs that checks propose: Steps, the smallest change first, taken from the planner where it can tell.

No text of a report ever reaches ``argv``: versions pass ``safe_version``, everything else is written here.
"""

from __future__ import annotations

import dataclasses
import re

from ..matrix import Build
from ..model import Machine, Plan, Request, Step
from .view import View, nums

SAFE_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,6}){0,3}(?:(?:a|b|rc|\.post)\d{1,3})?(?:\+[a-z]{2,4}\d{0,3})?\Z")
Steps = tuple[Step, ...]


def safe_version(text: str | None) -> str | None:
    """The version itself if it is nothing but a version, else None: it may come from an untrusted report."""
    return text if text and SAFE_VERSION.match(text) else None


def step(id: str, title: str, *argv: str, root: bool = False, reboot: bool = False, why: str = "") -> Step:
    return Step(id=id, title=title, argv=argv, why=why, stage="system" if root else "user", root=root, reboot=reboot)


def by_hand(title: str, why: str = "", *, reboot: bool = False) -> Steps:
    """Something that no command can do: firmware, hardware, the host behind a container."""
    return (step("by-hand", title, why=why, reboot=reboot),)


def python(v: View) -> str:
    """The target interpreter on a live machine, plain ``python`` for a report."""
    own = v.machine.python.executable if v.machine.python else None
    return own if own and not v.machine.symptoms else ("python" if v.flag("windows") else "python3")


def pip(v: View, id: str, title: str, *args: str, why: str = "") -> Step:
    return step(id, title, python(v), "-m", "pip", *args, why=why)


def is_conda(v: View) -> bool:
    torch = v.machine.torch
    return torch is not None and torch.source == "conda"


def current_build(v: View) -> Build | None:
    """The matrix row of the torch that is installed, where it is one."""
    version, cuda = nums(v.torch_version), v.torch_cuda
    for row in v.matrix.builds(v.platform) if v.platform and version else ():
        if row.key == (version or ())[:3] and row.cuda == (".".join(cuda.split(".")[:2]) if cuda else None):
            return row
    return None


def fitting(v: View, torch: str) -> list[Build]:
    """Builds of a release (or of any: "latest") that the planner lets run on this driver and these GPUs, best first.

    Where a report does not tell the driver, the CUDA major that the installed torch has comes first, else the lowest:
    the older one runs on more drivers.
    """
    from ..errors import EnvcheckError
    from ..plan import all_candidates
    from ..recipes import load_recipes

    try:
        verdicts = all_candidates(_filled(v), v.matrix, load_recipes(), Request(torch=torch))
    except EnvcheckError:  # a machine that is not known well enough to plan for
        return []
    builds = [x.build for x in verdicts if x.code is None and x.build.cuda is not None]
    if v.driver_version or v.driver_cuda:
        return builds
    own = (nums(v.torch_cuda) or (0,))[0]
    return sorted(builds, key=lambda b: (b.cuda_key[0] != own, b.cuda_key[0]))


def _filled(v: View) -> Machine:
    """The machine with what nearly every report leaves out: a plain PC, and a card of the capability that is told."""
    os = v.machine.os
    platform = os.platform or ("windows" if v.flag("windows") else "linux")
    arch = os.arch or ("aarch64" if v.flag("aarch64") else "x86_64")
    return dataclasses.replace(v.machine, os=dataclasses.replace(os, platform=platform, arch=arch, container=None))


def cuda_torch(v: View, title: str = "install the CUDA build of torch that this GPU and driver run") -> Steps:
    """Swap torch, and nothing else: the same release in another variant where one fits, else the newest that fits."""
    version = nums(v.torch_version)
    exact = ".".join(map(str, version[:3])) if version and len(version) >= 3 else ""
    known = exact in v.matrix.releases
    builds = (fitting(v, exact) if known else []) or fitting(v, "latest")
    if not builds:
        return by_hand("`envcheck plan` says which torch fits this GPU, driver and Python, or which of them to change")
    return install(v, builds[0], title)


def install(v: View, build: Build, title: str) -> Steps:
    """One pip line with torch and the companions that are installed, from the index of that build."""
    release = v.matrix.releases.get(build.torch)
    wanted = [f"torch=={build.torch}"]
    for name in ("torchvision", "torchaudio"):
        paired = release.companions.get(name) if release else None
        if paired and (name in v.packages or name == "torchvision"):
            wanted.append(f"{name}=={paired}")
    index = v.matrix.indexes.get("pytorch")
    where = () if build.on_pypi or index is None else ("--index-url", index.url.format(tag=build.tag))
    return (
        pip(
            v,
            "torch",
            title,
            "install",
            "--force-reinstall",
            *wanted,
            *where,
            why=f"torch {build.torch} built for CUDA {build.cuda or 'none'} ({build.source})",
        ),
    )


def again(v: View) -> Steps:
    """The same build once more, after its remains were removed."""
    build = current_build(v)
    return install(v, build, "then install one") if build else cuda_torch(v, "then install one")


def cpu_torch(v: View) -> Steps:
    rows = [r for r in (v.matrix.builds(v.platform) if v.platform else ()) if r.cuda is None]
    rows = [r for r in rows if not v.python_minor or v.python_minor in r.pythons]
    if not rows:
        return by_hand("install the CPU build of torch: `envcheck plan --cuda cpu` prints the commands")
    return install(v, max(rows, key=lambda r: r.key), "without an NVIDIA GPU, use the CPU build of torch")


def driver_steps(v: View) -> Steps:
    """Install or change the driver: the system stage of the script that ``plan`` writes for this machine.

    The stage is several steps with checks between them (kernels, signing keys, repositories), so it is run as the
    script, not as loose lines to copy.
    """
    branch = str(v.matrix.data.get("defaults", {}).get("driver_branch", ""))
    if v.flag("windows") or v.flag("wsl"):
        where = "on the Windows host (never inside WSL)" if v.flag("wsl") else "from the vendor's driver page"
        return by_hand(f"install NVIDIA driver branch {branch} or newer {where}", reboot=True)
    if v.machine.os.container or v.flag("jetson"):
        return by_hand("the driver is the host's: update it there (`envcheck plan` on the host writes the script)")
    plan = _driver_plan(v)
    if plan is None or plan.torch is None or plan.driver is None or plan.driver.target is None:
        return by_hand(
            f"on the machine itself: `envcheck plan -o install.sh`, then `bash install.sh` (branch {branch})"
        )
    asked = f"--torch {plan.torch.version} --cuda {plan.torch.tag}"
    return (
        step(
            "driver",
            f"install driver branch {plan.driver.target} ({plan.driver.module} module) as planned for this machine",
            "sh",
            "-c",
            f"envcheck plan {asked} -o install.sh && bash install.sh --stage system",
            reboot=True,
            why="; ".join(s.title for s in plan.steps if s.stage == "system")[:600],
        ),
    )


def _driver_plan(v: View) -> Plan | None:
    """The plan for the torch that is installed, so that a driver which is too old for it is what changes."""
    from ..errors import EnvcheckError
    from ..plan import make_plan
    from ..recipes import load_recipes

    build = current_build(v)
    if not v.machine.os.id or not v.machine.gpus:
        return None
    request = Request(torch=build.torch, cuda=build.tag) if build else Request()
    try:
        plan = make_plan(_filled(v), v.matrix, load_recipes(), request)
    except EnvcheckError:
        return None
    return plan if plan.satisfiable else None
