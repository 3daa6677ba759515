"""The repairs that checks propose: Steps, the smallest change first, taken from the planner where it can tell.

No text of a report ever reaches ``argv``: versions pass ``safe_version``, everything else is written here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..matrix import Build
from ..model import Plan, Request, Step
from .place import filled, place, section
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


def current_build(v: View) -> Build | None:
    """The matrix row of the torch that is installed, where it is one."""
    version, cuda = nums(v.torch_version), v.torch_cuda
    rows = v.matrix.builds(v.platform, section(place(v))) if v.platform and version else ()
    for row in rows:
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

    request = Request(torch=torch, manager=place(v).manager, python_fixed=bool(v.torch_version and v.python_minor))
    try:
        verdicts = all_candidates(filled(v), v.matrix, load_recipes(), request)
    except EnvcheckError:  # a machine that is not known well enough to plan for
        return []
    builds = [x.build for x in verdicts if x.code is None and x.build.cuda is not None]
    if v.driver_version or v.driver_cuda:
        return builds
    own = (nums(v.torch_cuda) or (0,))[0]
    return sorted(builds, key=lambda b: (b.cuda_key[0] != own, b.cuda_key[0]))


PLANNED = "`envcheck plan` says which torch fits this GPU, driver and Python, or which of them to change"


def swap(v: View, build: Build, title: str, only: tuple[str, ...] = ()) -> Steps:
    """``swap.swap``, whose planner is loaded when something is to be repaired."""
    from . import swap as module

    return module.swap(v, build, title, only)


def cuda_torch(v: View, title: str = "install the CUDA build of torch that this GPU and driver run") -> Steps:
    """Swap torch, and nothing else: the same release in another variant where one fits, else the newest that fits."""
    version = nums(v.torch_version)
    exact = ".".join(map(str, version[:3])) if version and len(version) >= 3 else ""
    known = exact in v.matrix.releases
    builds = (fitting(v, exact) if known else []) or fitting(v, "latest")
    return (swap(v, builds[0], title) if builds else ()) or by_hand(PLANNED)


def again(v: View) -> Steps:
    """The same build once more, after its remains were removed."""
    build = current_build(v)
    steps = swap(v, build, "then install one") if build else ()
    return tuple(s for s in steps if s.id != "uninstall") or cuda_torch(v, "then install one")


def cpu_torch(v: View) -> Steps:
    rows = [r for r in (v.matrix.builds(v.platform, section(place(v))) if v.platform else ()) if r.cuda is None]
    rows = [r for r in rows if not v.python_minor or v.python_minor in r.pythons]
    own = [r for r in rows if r.key == (nums(v.torch_version) or ())[:3]]
    title = "without an NVIDIA GPU, use the CPU build of torch"
    steps = swap(v, max(own or rows, key=lambda r: r.key), title) if rows else ()
    return steps or by_hand("install the CPU build of torch: `envcheck plan --cuda cpu` prints the commands")


def os_install(v: View, id: str, title: str, names: Mapping[str, Sequence[str]]) -> Steps:
    """Packages of the distribution, by family of systems; where the family has no entry the title has to do."""
    family = v.machine.os.family or ("debian" if v.pasted else "")
    wanted = names.get(family) or (names.get("rhel") if family in ("fedora", "amazon", "azurelinux") else None)
    if not wanted or family not in PACKAGE_TOOLS:
        return by_hand(title)
    return (step(id, title, *PACKAGE_TOOLS[family], *wanted, root=True),)


PACKAGE_TOOLS = {
    "debian": ("apt-get", "install", "-y"),
    "rhel": ("dnf", "install", "-y"),
    "fedora": ("dnf", "install", "-y"),
    "amazon": ("dnf", "install", "-y"),
    "azurelinux": ("tdnf", "install", "-y"),
    "suse": ("zypper", "--non-interactive", "install"),
    "arch": ("pacman", "-S", "--noconfirm"),
    "alpine": ("apk", "add"),
}


TOOLKIT = "https://nvidia.github.io/libnvidia-container"
# NVIDIA's own lines for its repository, for families without a recipe (container toolkit, install guide)
TOOLKIT_REPOSITORY = {
    **dict.fromkeys(
        ("rhel", "fedora", "amazon"),
        f"curl -fsSL {TOOLKIT}/stable/rpm/nvidia-container-toolkit.repo "
        "> /etc/yum.repos.d/nvidia-container-toolkit.repo",
    ),
    "suse": f"zypper --non-interactive addrepo {TOOLKIT}/stable/rpm/nvidia-container-toolkit.repo",
}


def has_recipe(v: View, role: str) -> bool:
    """Whether installers/ has a recipe of that role for this system; a container's host is another system."""
    from ..recipes import load_recipes

    os = v.machine.os
    family, arch = os.family or ("debian" if v.pasted else ""), os.arch or "x86_64"
    distro = v.matrix.distro(os.id, os.version)
    repo = distro.nvidia_repo if distro else None

    def serves(row: Mapping[str, object]) -> bool:
        repos, wsl = row.get("repo"), row.get("wsl")
        fits = not isinstance(repos, list | tuple) or repo in repos
        return fits and (wsl is None or wsl is bool(os.wsl))

    rows = load_recipes().by_id.values() if not os.container else ()
    fitting = [r for r in rows if r.role == role and arch in r.arch and (os.id in r.os or family in r.family)]
    return any(serves(row) for recipe in fitting for row in recipe.serves)


def script(title: str, *options: str, why: str = "", reboot: bool = False) -> Steps:
    """The plan's script, and its system stage: several steps with checks between them, no loose lines to copy."""
    run = "run its system stage: it asks for root where it needs it, and can be undone"
    return (
        step("script", title, "envcheck", "plan", *options, "-o", "install.sh", why=why),
        step("system", run, "bash", "install.sh", "--stage", "system", reboot=reboot),
    )


def container_toolkit(v: View, engines: tuple[str, ...]) -> Steps:
    """NVIDIA's repository, the toolkit, and the engine told of it: docker by its runtime, podman by CDI."""
    family = v.machine.os.family or ("debian" if v.pasted else "")
    engine = "podman" if engines == ("podman",) else "docker"
    if has_recipe(v, "container-toolkit"):
        title = f"write the script that installs the container toolkit and tells {engine} of it"
        return script(title, "--with-container-toolkit", engine)
    names = dict.fromkeys(("rhel", "suse", "arch"), ("nvidia-container-toolkit",))
    title = "on the host: install the toolkit (nvidia-container-toolkit)"
    line = TOOLKIT_REPOSITORY.get(family)
    added = (step("repository", "on the host: add its repository", "sh", "-c", line, root=True),) if line else ()
    installed = (*added, *os_install(v, "toolkit", title, names))
    if engine == "podman":
        generate = ("nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml")
        return (*installed, step("cdi", "describe the devices for podman", *generate, root=True))
    register = ("nvidia-ctk", "runtime", "configure", "--runtime=docker")
    return (
        *installed,
        step("configure", "register the runtime", *register, root=True),
        step("restart", "restart docker", "systemctl", "restart", "docker", root=True),
    )


def run_file_away(v: View) -> Steps:
    """Where NVIDIA's .run file installed the driver: no package may be put over it."""
    told = v.fact("driver_origin")
    if not isinstance(told, dict) or not told.get("run_file"):
        return ()
    title = "remove the driver of the .run file by its own uninstaller and reboot: packages over it mix two drivers"
    packages = [p for p in told.get("packages") or () if re.fullmatch(r"[a-z0-9][a-z0-9.+-]{1,60}", str(p))]
    again = ("apt-get", "install", "--reinstall", "-y", *packages)
    return (
        step("run-file", title, "nvidia-uninstall", "--silent", root=True, reboot=not packages),
        *((step("again", "bring the packages' files back", *again, root=True, reboot=True),) if packages else ()),
    )


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
    by_itself = [s for s in plan.steps if s.stage == "system" and s.argv]
    if not any(s.id.startswith("driver") for s in by_itself):  # no recipe: the plan's own sentence, no script
        return tuple(s for s in plan.steps if s.stage == "system" and s.id.startswith("driver")) or by_hand(PLANNED)
    away = tuple(s for s in run_file_away(v) if s.id == "run-file")
    asked = ("--torch", plan.torch.version, "--cuda", plan.torch.tag) if current_build(v) else ()
    target, module = plan.driver.target, plan.driver.module
    title = f"write the script that installs driver branch {target} ({module} module) here"
    why = "; ".join(s.title for s in by_itself)[:900]
    return (*away, *script(title, *asked, why=why, reboot=True))


def _driver_plan(v: View) -> Plan | None:
    """The plan for the torch that is installed, so that a driver which is too old for it is what changes."""
    from ..errors import EnvcheckError
    from ..plan import make_plan
    from ..recipes import load_recipes

    build = current_build(v)
    if not v.machine.os.id or not v.machine.gpus:
        return None
    at = place(v)
    manager = at.manager if build and section(at) == "conda" else "pip"
    request = Request(torch=build.torch, cuda=build.tag, manager=manager) if build else Request()
    try:
        plan = make_plan(filled(v), v.matrix, load_recipes(), request)
    except EnvcheckError:
        return None
    return plan if plan.satisfiable else None
