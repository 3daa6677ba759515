"""Properties over thousands of machines and requests."""

from __future__ import annotations

import itertools
import shlex

from hypothesis import given, settings
from hypothesis import strategies as st
from planning import MATRIX, RECIPES, machine, plan

from envcheck.cli.whatif import WhatIf, machine_for
from envcheck.matrix import version_key
from envcheck.model import Machine, Plan, Request
from envcheck.plan import make_plan
from envcheck.plan.choose import DriverView, coverage, driver_rule

GPUS = (
    "GTX 980",
    "GTX 1080 Ti",
    "Tesla V100-SXM2-32GB",
    "GTX 1660 Ti",
    "Tesla T4",
    "RTX 3090",
    "RTX 4090",
    "H100 PCIe",
    "B200",
    "RTX 5090",
    "Tesla K80",
)
DRIVERS = ("390.157", "450.80.02", "470.256.02", "525.147.05", "550.163.01", "570.195.03", "580.95.05", "590.48.01")
SYSTEMS = ("ubuntu-18.04", "ubuntu-22.04", "ubuntu-24.04", "debian-12", "debian-13", "rhel-9", "windows-11")
TORCHES = ("latest", "2.0", "2.1.2", "2.4", "2.6", "2.8", "2.11", "2.13", "2.15", ">=2.2,<2.9")

machines = st.builds(
    lambda os, gpus, driver, python: (
        machine_for(WhatIf(os=os, gpus=tuple(gpus), driver=driver, python_version=python), MATRIX),
        python is not None,
    ),
    st.sampled_from(SYSTEMS),
    st.lists(st.sampled_from(GPUS), min_size=1, max_size=2),
    st.one_of(st.none(), st.sampled_from(DRIVERS)),
    st.one_of(st.none(), st.sampled_from(("3.9", "3.11", "3.12", "3.14"))),
)


def requests(python_fixed: bool) -> st.SearchStrategy[Request]:
    return st.builds(
        Request,
        torch=st.sampled_from(TORCHES),
        manager=st.sampled_from(("pip", "uv", "conda")),
        driver_change=st.booleans(),
        python_fixed=st.just(python_fixed),
    )


def checked(subject: Machine, answer: Plan) -> None:
    """What must hold of every plan: code for every GPU, a driver that runs it, a Python and a glibc that fit."""
    assert answer.torch is not None
    assert answer.driver is not None
    assert answer.torch.tag != "cpu"
    section = "conda" if answer.torch.package.startswith("conda") else "builds"
    build = next(
        b
        for b in MATRIX.builds(answer.torch.platform, section)
        if (b.torch, b.tag) == (answer.torch.version, answer.torch.tag)
    )
    windows = subject.os.platform == "windows"
    version = subject.driver.version
    if answer.driver.target:
        branch = MATRIX.branches[answer.driver.target]
        version = branch.first or branch.branch
    assert version is not None
    view = DriverView(version=version, cuda=MATRIX.driver_cuda(version, windows), windows=windows)
    assert driver_rule(build, view, MATRIX) is not None
    for gpu in subject.gpus:
        assert coverage(build, gpu.compute_capability or "", MATRIX, view) != "unsupported"
    assert answer.python is not None
    assert answer.python.version in build.pythons
    if build.glibc and subject.os.glibc:
        assert version_key(build.glibc) <= version_key(subject.os.glibc)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_plan_runs_and_every_refusal_names_what_works(data: st.DataObject) -> None:
    subject, python_given = data.draw(machines)
    request = data.draw(requests(python_given))
    answer = make_plan(subject, MATRIX, RECIPES, request)
    if answer.satisfiable:
        checked(subject, answer)
        return
    assert answer.conflicts
    assert answer.alternatives
    for alternative in answer.alternatives:
        assert planned_alternative(subject, request, alternative.change).satisfiable, alternative


def planned_alternative(subject: Machine, request: Request, change: str) -> Plan:
    """Apply the words of an alternative as a user would: append them to the command line."""
    words = shlex.split(change)
    fields = request.__dict__ | {}
    flags: dict[str, object] = {}
    while words:
        option = words.pop(0)
        if option == "--driver-change":
            fields["driver_change"] = True
        elif option == "--gpu":
            flags["gpus"] = (words.pop(0),)
        elif option == "--python-version":
            flags["python_version"] = words.pop(0)
        else:
            fields[option.removeprefix("--").replace("-", "_")] = words.pop(0)
    from envcheck.cli.whatif import _override

    other = _override(subject, WhatIf(**flags), MATRIX, {})  # type: ignore[arg-type]
    return make_plan(other, MATRIX, RECIPES, Request(**fields))


def test_a_newer_driver_never_gives_an_older_torch() -> None:
    for gpu in GPUS:
        last: tuple[int, ...] = (0,)
        for driver in DRIVERS:
            answer = plan(machine(gpu, driver=driver), driver_change=False)
            branch = int(driver.split(".")[0])
            row = MATRIX.architectures[machine(gpu).gpus[0].compute_capability or ""]
            if branch > int(row.last_branch or 999):
                break
            version = version_key(answer.torch.version) if answer.torch else (0,)
            assert version >= last, (gpu, driver)
            last = version


def test_conflicts_are_minimal() -> None:
    """Dropping any one requirement of a refusal makes a plan possible: checked by lifting torch or the GPU."""
    for gpu, torch in itertools.product(("RTX 5090", "B200"), ("2.0", "2.4", "2.6")):
        answer = plan(machine(gpu, driver="580.95.05"), torch=torch)
        assert len(answer.conflicts) == 2
        assert plan(machine(gpu, driver="580.95.05")).satisfiable
        assert plan(machine("RTX 3090", driver="580.95.05"), torch=torch).satisfiable
