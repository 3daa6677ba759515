"""Which driver a plan works with: the one that is there, or the branch that it would install."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UsageError
from ..matrix import DriverBranch, Matrix, version_key
from ..model import Machine, Request
from ..record import dataclass
from .choose import DriverView, drives, view_of
from .target import Target

# what must be done before the driver that is there can serve
STATES_WITHOUT_DRIVER = {"missing": "install", "nouveau": "install"}
STATES_BROKEN = {"not-loaded": "replace", "broken": "replace", "mixed": "replace"}
# its module is loaded, and the library did not answer: a repair for doctor to name, no reason for another driver
LOADED = ("sysfs", "procfs")
STATES_REBOOT = ("mismatch", "reboot-pending")


@dataclass(frozen=True, kw_only=True)
class DriverOption:
    """A driver that a plan may assume, and what it takes to get there."""

    view: DriverView
    action: str  # keep, install, upgrade, downgrade, replace, reboot, none
    branch: DriverBranch | None = None  # set where the plan brings a driver
    module: str | None = None
    instead: str | None = None  # the branch that would come first, were it in the system's archives


def present(machine: Machine, target: Target, matrix: Matrix) -> DriverOption | None:
    """The driver as it is, or None where nothing usable is there."""
    driver = machine.driver
    view = view_of(driver, matrix, target.windows_driver)
    if not driver.version and not driver.cuda:
        return None
    loaded = driver.state == "broken" and driver.source in LOADED
    if driver.state in STATES_WITHOUT_DRIVER or (driver.state in STATES_BROKEN and not loaded):
        return None
    if driver.state in STATES_REBOOT:
        return DriverOption(view=view, action="reboot")
    keep = "none" if target.kind in ("container", "macos") else "keep"
    return DriverOption(view=view, action=keep)


def serves(machine: Machine, view: DriverView, target: Target, matrix: Matrix) -> bool:
    """Whether the installed driver drives every GPU: by its branch, and by the flavour of its kernel module."""
    branch = branch_number(view)
    drive = all(drives(branch, g.compute_capability or "", matrix) for g in target.gpus)
    return drive and flavour_serves(machine, view, target, matrix)


def flavour_serves(machine: Machine, view: DriverView, target: Target, matrix: Matrix) -> bool:
    """Whether one kernel module of the installed driver can serve all GPUs (open or proprietary, never both)."""
    if target.windows_driver or target.kind == "jetson" or not view.version:
        return True
    branch = matrix.branch_of(view.version)
    allowed = set(branch.modules) if branch else {"proprietary"}
    if machine.driver.module:
        allowed = {machine.driver.module}
    return bool(_common_flavours(allowed, target, matrix))


def branch_number(view: DriverView) -> int | None:
    return view.key[0] if view.key else None


def changes(
    machine: Machine, target: Target, matrix: Matrix, request: Request, view: DriverView
) -> Iterator[DriverOption]:
    """Drivers that a plan may install, best first: the default branch, then supported ones, newest first.

    Only branches that drive every GPU of the machine. Raises ``UsageError`` for an unknown ``--driver-branch``.
    """
    default = str(matrix.data.get("defaults", {}).get("driver_branch", ""))
    platform = "windows" if target.windows_driver else "linux"
    usable = [b for b in matrix.branches.values() if platform in b.platforms and serves_all(b, target, matrix)]
    if request.driver_branch:
        if request.driver_branch not in matrix.branches:
            known = ", ".join(matrix.branches)
            raise UsageError(f"--driver-branch {request.driver_branch!r} is not known. Known branches: {known}")
        usable = [b for b in usable if b.branch == request.driver_branch]
    usable.sort(key=lambda b: (b.branch == default, not b.ended, b.kind in ("lts", "production"), int(b.branch)))
    for branch in reversed(usable):
        first = branch.first or branch.branch
        yield DriverOption(
            view=DriverView(version=first, cuda=branch.cuda, windows=view.windows),
            action=_action(machine, branch, flavour_serves(machine, view, target, matrix)),
            branch=branch,
            module=module_flavour(branch, target, matrix),
        )


def serves_all(branch: DriverBranch, target: Target, matrix: Matrix) -> bool:
    drive = all(drives(int(branch.branch), g.compute_capability or "", matrix) for g in target.gpus)
    return drive and (target.windows_driver or module_flavour(branch, target, matrix) is not None)


def module_flavour(branch: DriverBranch, target: Target, matrix: Matrix) -> str | None:
    """The kernel module flavour that serves every GPU: open where all allow it, else proprietary, else None."""
    return next(iter(module_flavours(branch, target, matrix)), None)


def module_flavours(branch: DriverBranch, target: Target, matrix: Matrix) -> tuple[str, ...]:
    """Every kernel module flavour that serves all GPUs, the better first."""
    return _common_flavours(set(branch.modules) or {"proprietary"}, target, matrix)


def _common_flavours(allowed: set[str], target: Target, matrix: Matrix) -> tuple[str, ...]:
    for gpu in target.gpus:
        row = matrix.architectures.get(gpu.compute_capability or "")
        if row is not None and row.modules:
            allowed = allowed & set(row.modules)
    return tuple(flavour for flavour in ("open", "proprietary") if flavour in allowed)


def _action(machine: Machine, branch: DriverBranch, flavour_fits: bool) -> str:
    driver = machine.driver
    if driver.state in STATES_WITHOUT_DRIVER or not driver.version:
        return "install"
    installed = version_key(driver.version)[0]
    if installed > int(branch.branch):
        return "downgrade"
    if installed < int(branch.branch):
        return "upgrade"
    return "replace" if driver.state in STATES_BROKEN or not flavour_fits else "upgrade"
