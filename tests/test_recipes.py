"""The recipes as data: which system and branch gets which, what their steps may call, and bad files."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.plans import META, plan_of

from envcheck.errors import InputError
from envcheck.matrix import load
from envcheck.model import Step
from envcheck.recipes import (
    DriverJob,
    Recipes,
    choose,
    driver_steps,
    load_recipes,
    role_steps,
    script_part,
    venv_support_steps,
    verify_steps,
)
from envcheck.render import render

INSTALLERS = Path(__file__).resolve().parent.parent / "installers"
RECIPES = load_recipes()
UBUNTU = DriverJob(
    os_id="ubuntu",
    os_version="24.04",
    family="debian",
    arch="x86_64",
    repo="ubuntu2404",
    kernel="6.8.0-45-generic",
    action="install",
    branch="580",
    module="open",
    installed=None,
)


def job(**changes: Any) -> DriverJob:
    return dataclasses.replace(UBUNTU, **changes)


def all_jobs() -> list[DriverJob]:
    """A job for every row that some recipe says it serves."""
    jobs = []
    for recipe in RECIPES.by_id.values():
        for row in recipe.serves if recipe.role == "driver" else ():
            for branch in row["branches"]:
                repo = row.get("repo")
                named = [row["os"]] if isinstance(row.get("os"), str) else row.get("os", recipe.os)
                letters = "" if repo is None else re.sub(r"\d+", "", repo)
                os_id = letters if letters in named else named[0]
                digits = "" if repo is None else re.sub(r"\D+", "", repo)
                version = row.get("version", row.get("at_least")) or (
                    f"{digits[:2]}.{digits[2:]}" if len(digits) == 4 else digits
                )
                jobs.append(job(os_id=os_id, os_version=version, repo=repo, branch=branch, module=row["module"]))
    return jobs


SLES, LEAP, WEED, MICRO = ({"os_id": id} for id in ("sles", "opensuse-leap", "opensuse-tumbleweed", "opensuse-microos"))
G07, OLD = {"branch": "595"}, {"branch": "580", "module": "proprietary"}
SUSE_AND_ARCH: list[tuple[dict[str, Any], str | None]] = [
    ({**SLES, **G07, "os_version": "15.6", "repo": "sles15"}, "suse-cuda"),
    ({**SLES, **G07, "os_version": "15.7", "repo": "sles15", "arch": "aarch64"}, "suse-cuda"),
    ({**SLES, **G07, "os_version": "15.5", "repo": "sles15"}, None),
    ({**SLES, "os_version": "15.5", "repo": "sles15"}, "suse-cuda"),
    ({**SLES, "os_version": "15.6", "repo": "sles15"}, None),  # SUSE's packager replaced G06 there
    ({**SLES, **OLD, "os_version": "15.7", "repo": "sles15"}, "suse-cuda"),
    ({**SLES, **OLD, "os_version": "15.3", "repo": "sles15"}, None),
    ({**SLES, **G07, "os_version": "16.0", "repo": "suse16"}, "suse-cuda"),
    ({**LEAP, **G07, "os_version": "15.6", "repo": "opensuse15"}, "suse-cuda"),
    ({**LEAP, **G07, "os_version": "15.6", "repo": "opensuse15", "arch": "aarch64"}, None),  # no such repository
    ({**LEAP, **G07, "os_version": "16.0", "repo": "suse16", "arch": "aarch64"}, "suse-cuda"),
    ({**WEED, "branch": "615", "os_version": "20261120", "repo": "suse16"}, "suse-cuda"),
    ({**WEED, **G07, "os_version": "20261120", "repo": "suse16"}, None),  # a rolling system has one branch
    ({**WEED, **OLD, "os_version": None, "repo": "suse16"}, "suse-cuda"),
    ({**MICRO, "branch": "615", "os_version": "20261120", "repo": "suse16"}, "suse-micro"),
    ({**MICRO, **OLD, "os_version": "20261120", "repo": "suse16"}, None),  # DKMS cannot build in a snapshot
    ({"os_id": "sl-micro", "os_version": "6.1", "repo": "sles15"}, "suse-micro"),
    ({"os_id": "arch", "os_version": None, "repo": None, "branch": "615"}, "arch"),
    ({"os_id": "arch", "os_version": None, "repo": None, "branch": "580"}, None),
    ({"os_id": "endeavouros", "os_version": None, "repo": None, "branch": "615"}, "arch"),
    ({"os_id": "arch", "os_version": None, "repo": None, **OLD}, "arch-by-hand"),
    ({"os_id": "manjaro", "os_version": None, "repo": None, "branch": "580"}, "arch-by-hand"),
    ({"os_id": "cachyos", "os_version": None, "repo": None, **OLD}, "arch-by-hand"),
]


@pytest.mark.parametrize(
    ("changes", "recipe"),
    [
        ({}, "ubuntu-archive"),
        ({"module": "proprietary"}, "ubuntu-archive"),
        ({"arch": "aarch64"}, "ubuntu-archive"),
        ({"os_version": "26.04", "repo": "ubuntu2604", "branch": "595"}, "ubuntu-archive"),
        ({"branch": "595"}, "ubuntu-archive"),
        ({"branch": "595", "features": ("fabric", "nvlsm")}, "nvidia-apt"),
        ({"branch": "610"}, "nvidia-apt"),
        ({"branch": "595", "arch": "aarch64"}, None),  # no sum of that keyring is known
        ({"os_version": "20.04", "repo": "ubuntu2004", "branch": "570"}, "ubuntu-archive"),
        ({"os_version": "20.04", "repo": "ubuntu2004"}, None),
        (
            {"os_id": "debian", "os_version": "12", "repo": "debian12", "branch": "535", "module": "proprietary"},
            "debian-archive",
        ),
        ({"os_id": "debian", "os_version": "12", "repo": "debian12", "branch": "535"}, None),  # no open module fits
        (
            {"os_id": "debian", "os_version": "13", "repo": "debian13", "branch": "550", "module": "proprietary"},
            "debian-archive",
        ),
        ({"os_id": "debian", "os_version": "13", "repo": "debian13", "branch": "550"}, None),  # it does not compile
        (
            {"os_id": "debian", "os_version": "11", "repo": None, "branch": "470", "module": "proprietary"},
            "debian-archive",
        ),
        ({"os_id": "debian", "os_version": "11", "repo": None, "branch": "470"}, None),
        ({"os_id": "debian", "os_version": "13", "repo": "debian13"}, "nvidia-apt"),
        ({"os_id": "fedora", "os_version": "43", "repo": "fedora43"}, "fedora"),
        ({"os_id": "fedora", "os_version": "43", "repo": "fedora43", "arch": "aarch64"}, None),
        ({"os_id": "rocky", "os_version": "9.7", "repo": "rhel9"}, "nvidia-dnf"),
        ({"os_id": "rocky", "os_version": "9.7", "repo": "rhel9", "arch": "aarch64"}, "nvidia-dnf"),
        ({"os_id": "rocky", "os_version": "8.10", "repo": "rhel8", "module": "proprietary"}, "nvidia-dnf"),
        ({"os_id": "ol", "os_version": "9.7", "repo": "rhel9", "module": "proprietary", "branch": "610"}, None),
        ({"os_id": "centos", "os_version": "10", "repo": "rhel10"}, "nvidia-dnf"),
        ({"os_id": "rhel", "os_version": "10.0", "repo": "rhel10"}, "nvidia-dnf"),
        ({"os_id": "rhel", "os_version": "10.1", "repo": "rhel10"}, "rhel-drivers"),
        ({"os_id": "rhel", "os_version": "10.1", "repo": "rhel10", "branch": "595"}, "nvidia-dnf"),
        ({"os_id": "rhel", "os_version": "10.10", "repo": "rhel10", "branch": "595"}, "rhel-drivers"),
        ({"os_id": "rhel", "os_version": "10.2", "repo": "rhel10", "module": "proprietary"}, "nvidia-dnf"),
        ({"os_id": "rhel", "os_version": "9.7", "repo": "rhel9"}, "nvidia-dnf"),
        ({"os_id": "almalinux", "os_version": "9.7", "repo": "rhel9"}, "nvidia-dnf"),
        ({"os_id": "almalinux", "os_version": "9.7", "repo": "rhel9", "branch": "615"}, "almalinux"),
        ({"os_id": "almalinux", "os_version": "8.10", "repo": "rhel8", "branch": "615"}, None),
        ({"os_id": "amzn", "os_version": "2023", "repo": "amzn2023"}, "amazon-linux"),
        ({"os_id": "amzn", "os_version": "2", "repo": None}, None),
        ({"os_id": "linuxmint", "os_version": "22"}, None),
        *SUSE_AND_ARCH,
    ],
)
def test_the_distributions_own_archive_comes_first(changes: dict[str, Any], recipe: str | None) -> None:
    chosen = choose(job(**changes), RECIPES)
    assert (chosen.id if chosen else None) == recipe
    assert (driver_steps(job(**changes), RECIPES) is None) is (recipe is None)


def test_canonicals_steps_are_its_manual_installation() -> None:
    steps = driver_steps(UBUNTU, RECIPES)
    assert steps is not None
    by_id = {step.id: step for step in steps}
    assert by_id["driver-modules"].argv[:2] == ("ec_ubuntu_modules", "580-server-open")
    packages = ("nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server")
    assert by_id["driver"].argv == ("apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", *packages)
    assert [step.id for step in steps if step.reboot] == ["driver-activate"]
    assert steps[-1].id == "driver-persistence"  # a service of what was brought into force


def test_nvidias_repository_is_pinned_before_the_driver_comes() -> None:
    steps = driver_steps(job(branch="610"), RECIPES)
    assert steps is not None
    ids = [step.id for step in steps]
    assert ids.index("driver-pin-others") < ids.index("driver-repository") < ids.index("driver-pinning")
    assert ids.index("driver-pinning") < ids.index("driver")
    assert ids.index("driver-headers") < ids.index("driver")
    (key,) = [step for step in steps if step.id == "driver-keyring"]
    assert key.argv[1].startswith("https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/")
    assert key.argv[2] == RECIPES.by_id["nvidia-apt"].keyrings["ubuntu2404"]


SUM = "a" * 64
RUN = "/mnt/NVIDIA-Linux-x86_64-580.95.05.run"
BESIDE = [
    ("container-toolkit", job(engine="docker")),
    ("container-toolkit", job(engine="podman", arch="aarch64")),
    ("container-toolkit", job(engine="containerd", os_id="linuxmint")),
    ("container-toolkit", job(engine="docker", os_id="rocky", os_version="9.7", repo="rhel9", family="rhel")),
    ("container-toolkit", job(engine="podman", os_id="fedora", os_version="43", family="fedora", arch="aarch64")),
    ("container-toolkit", job(engine="containerd", os_id="sles", os_version="15.7", family="suse")),
    ("container-toolkit", job(engine="docker", os_id="arch", os_version=None, family="arch")),
    ("fabric", job(features=("fabric",))),
    ("fabric", job(features=("fabric",), os_id="rocky", os_version="9.7", repo="rhel9", family="rhel")),
    ("cuda-toolkit", job(toolkit="12.6")),
    ("cuda-toolkit", job(toolkit="12.6", wsl=True)),
    ("cuda-toolkit", job(toolkit="12.6", os_id="rocky", os_version="9.7", repo="rhel9", family="rhel", arch="aarch64")),
    ("driver-file", job(file="/mnt/nvidia-driver-local-repo-ubuntu2404-580.95.05_1.0-1_amd64.deb", file_sha256=SUM)),
    ("driver-file", job(file=RUN, file_sha256=SUM, module="proprietary")),
    ("driver-file", job(file=RUN, file_sha256=SUM, os_id="fedora", os_version="43", repo="fedora43", family="fedora")),
    ("driver-file", job(file=RUN, file_sha256=SUM, os_id="amzn", os_version="2023", repo="amzn2023", family="amazon")),
    ("driver-file", job(file=RUN, file_sha256=SUM, os_id="sles", os_version="15.6", repo="sles15", family="suse")),
    ("cuda-toolkit", job(toolkit="12.9", os_id="sles", os_version="16.0", repo="suse16", family="suse")),
    ("fabric", job(features=("fabric",), os_id="sles", os_version="15.7", repo="sles15", family="suse")),
    ("cuda-toolkit", job(toolkit="12.9", os_id="fedora", os_version="43", repo="fedora43", family="fedora")),
    ("cuda-toolkit", job(toolkit="12.9", os_id="amzn", os_version="2023", repo="amzn2023", family="amazon")),
]
WITH_FABRIC = [
    job(features=("fabric",)),
    job(branch="595", features=("fabric", "nvlsm")),
    job(features=("fabric", "nvlsm"), os_id="rocky", os_version="9.7", repo="rhel9", family="rhel"),
    job(features=("fabric", "nvlsm"), os_id="amzn", os_version="2023", repo="amzn2023", family="amazon"),
]


@pytest.mark.parametrize(
    ("role", "case"),
    [*(("driver", case) for case in (*all_jobs(), *WITH_FABRIC)), *BESIDE],
    ids=lambda j: j if isinstance(j, str) else f"{j.os_id}-{j.os_version}-{j.branch}-{j.module}-{j.arch}",
)
def test_every_row_gives_whole_steps(role: str, case: DriverJob) -> None:
    steps = role_steps(role, case, RECIPES)
    assert steps
    assert len({step.id for step in steps}) == len(steps)
    functions = defined_functions()
    for step in steps:
        assert step.stage == "system"
        assert step.title
        assert step.why
        assert step.source
        assert step.argv or step.id == "driver-by-hand"
        for argv in (step.argv, step.check or (), step.undo or ()):
            # a file of stanzas has blank lines; nothing else has an empty word
            assert "" not in argv or "ec_root_file" in argv[:3] or "ec_root_file_is" in argv[:4]
            assert not [word for word in argv if re.search(r"\{[a-z_0-9]+\}", word)]
            called = [word for word in argv if word.startswith("ec_")]
            assert set(called) <= functions
        if step.argv[:1] == ("apt-get",):
            assert step.root
            assert "DPkg::Lock::Timeout=300" in step.argv
            assert "--no-install-recommends" not in step.argv
        if step.argv[:1] == ("dnf",):
            assert step.root
        if "install" in step.argv:
            assert step.check
            assert "-y" in step.argv


def defined_functions() -> set[str]:
    text = "".join(script_part(file.name) for file in INSTALLERS.glob("*.sh"))
    return set(re.findall(r"^(ec_[a-z_0-9]+)\(\)", text, re.MULTILINE))


CHANGES_BY_OWN_UNDO = (
    *("ec_suse_install", "ec_zypper_key", "ec_zypper_add_repo", "ec_zypper_lock", "ec_zypper_lock_absent"),
    *("ec_suse_hold", "ec_transactional_key", "ec_transactional_install", "ec_arch_install"),
)
CHANGES_BY_FUNCTION = {
    *("ec_dnf_enable", "ec_epel", "ec_rpm_key", "ec_cuda_repo", "ec_stream", "ec_lock", "ec_driver_clear"),
    *("ec_companions", "ec_rhel_drivers", "ec_if_nvidia", "ec_fedora_clear", "ec_fedora_install", "ec_fedora_display"),
}


def test_what_installs_packages_or_writes_files_can_be_taken_back() -> None:
    for role, case in [*(("driver", case) for case in (*all_jobs(), *WITH_FABRIC)), *BESIDE]:
        steps = role_steps(role, case, RECIPES) or ()
        taken_back = {word for step in steps if step.undo for word in step.undo}
        for step in steps:
            if not step.argv:
                continue
            if step.argv[0] in ("ec_packages_install", "ec_ubuntu_modules", "ec_kernel_headers", "ec_display_install"):
                assert step.id in taken_back, step.id
            if "install" in step.argv:
                assert step.id in taken_back, step.id
            if step.argv[0] in CHANGES_BY_OWN_UNDO:
                assert step.undo, step.id
            if step.argv[0] in CHANGES_BY_FUNCTION and not step.undo:
                assert step.id in taken_back, step.id
            if step.argv[0] in ("ec_root_file", "ec_load_with_boot"):
                assert step.undo == ("ec_undo_file", step.argv[1])
            if step.argv[0] in ("ec_service_on", "ec_fetch", "ec_root_copy", "ec_keep_file", "ec_fabric_install"):
                assert step.undo, step.id


@pytest.mark.parametrize(
    ("condition", "version", "holds"),
    [
        ({"version": "9"}, "9.7", True),
        ({"version": "9"}, "9", True),
        ({"version": "9"}, "90", False),
        ({"version": "10.1"}, "10.10", False),
        ({"at_least": "10.1"}, "10.10", True),
        ({"at_least": "10.1"}, "10.0", False),
        ({"at_least": "10.1"}, "9.7", False),
        ({"before": "10.2"}, "10.10", False),
        ({"before": "10"}, "9.7", True),
        ({"before": "10"}, None, False),
        ({"at_least": "10"}, None, False),
        ({"version": "24.04"}, "24.04", True),
        ({"not_version": "11"}, None, True),
        ({"not_version": "11"}, "11", False),
        ({"version": "43"}, "rawhide", False),
    ],
)
def test_trap_10_releases_are_compared_as_numbers(condition: dict[str, str], version: str | None, holds: bool) -> None:
    recipe = dataclasses.replace(
        RECIPES.by_id["ubuntu-archive"], serves=({"module": "open", "branches": ["580"], **condition},)
    )
    chosen = choose(job(os_version=version), Recipes(by_id={"x": recipe}))
    assert (chosen is not None) is holds


def test_the_lower_precedence_goes_first_whatever_the_files_are_called() -> None:
    last = dataclasses.replace(RECIPES.by_id["ubuntu-archive"], id="a", precedence=30)
    first = dataclasses.replace(RECIPES.by_id["ubuntu-archive"], id="z", precedence=5)
    assert choose(UBUNTU, Recipes(by_id={"a": last, "z": first})) is first


def test_a_script_has_its_own_package_managers_part_and_no_other() -> None:
    steps = driver_steps(UBUNTU, RECIPES)
    assert steps is not None
    assert {step.parts for step in steps} == {("apt.sh",)}
    with_part = render(plan_of(*steps), "script", meta=META)
    without = render(plan_of(Step(id="x", title="x", argv=("true",), stage="system")), "script", meta=META)
    assert "\nec_driver_ready()" in with_part
    assert "\nec_driver_ready()" in without
    assert "apt-get" in with_part
    assert "apt-get" not in without
    assert "dpkg" not in without


INTERFACE = re.findall(r"^#   (ec_[a-z_]+(?:, ec_[a-z_]+)*)(?!.* optional:)", script_part("driver.sh"), re.MULTILINE)


def test_every_package_managers_part_has_the_whole_interface() -> None:
    names = {name for line in INTERFACE for name in line.split(", ")}
    assert len(names) == 11
    together = {recipe.parts for recipe in RECIPES.by_id.values() if recipe.parts}
    assert together
    for parts in together:
        text = "".join(script_part(part) for part in parts)
        assert names <= set(re.findall(r"^(ec_[a-z_0-9]+)\(\)", text, re.MULTILINE)), parts


def test_a_recipe_names_one_package_manager() -> None:
    for recipe in RECIPES.by_id.values():
        if all(step["id"] == "driver-by-hand" for step in recipe.steps):
            assert recipe.parts == ()
            continue
        records = [part for part in recipe.parts if "\nec_packages_record()" in script_part(part)]
        assert len(records) == 1, recipe.id


def test_every_branch_of_a_recipe_is_a_row_of_the_matrix() -> None:
    known = set(load().branches)
    for recipe in RECIPES.by_id.values():
        for row in recipe.serves:
            assert set(row.get("branches", ())) <= known, recipe.id
            assert set(row.get("inferred", ())) <= set(row["branches"] if "inferred" in row else ()), recipe.id


def test_proprietary_modules_are_for_580_and_older_and_every_recipe_has_the_default_branch() -> None:
    matrix = load()
    default = str(matrix.data["defaults"]["driver_branch"])
    for id in ("nvidia-dnf", "fedora", "amazon-linux", "rhel-drivers"):
        rows = RECIPES.by_id[id].serves
        assert any(default in row["branches"] and row["module"] == "open" for row in rows)
        for row in rows:
            if row["module"] == "proprietary":
                assert all(int(branch) <= int(default) for branch in row["branches"]), id
            for branch in row["branches"]:
                assert row["module"] in matrix.branches[branch].modules, (id, branch)


def test_no_recipe_on_dnf_holds_a_driver_version() -> None:
    """Branches stand in ``serves`` alone; steps and parameters name them by ``{branch}``."""
    known = set(load().branches)
    for recipe in (r for r in RECIPES.by_id.values() if "dnf.sh" in r.parts):
        for text in (json.dumps(recipe.steps), json.dumps(dict(recipe.parameters))):
            found = re.findall(r"(?<![0-9a-fA-F.])([3-6][0-9]{2})(?![0-9a-fA-F])", text)
            assert not known & set(found), recipe.id
    for part in (*INSTALLERS.glob("dnf*.sh"), INSTALLERS / "akmods.sh"):
        code = "\n".join(line for line in part.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert not known & set(re.findall(r"(?<![0-9.])([3-6][0-9]{2})(?=[.*xo-])", code)), part.name


def test_every_recipe_says_how_sure_it_is_and_of_when() -> None:
    for file in INSTALLERS.glob("*.json"):
        data = json.loads(file.read_text())
        assert data["evidence"], file.name
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", data["date"]), file.name


def test_python_venv_is_for_debian_and_what_descends_from_it() -> None:
    steps = venv_support_steps(job(os_id="linuxmint", os_version="22"), RECIPES)
    assert [step.id for step in steps] == ["python-venv-lists", "python-venv"]
    assert steps[1].check == ("python3", "-c", "import ensurepip, venv")
    assert venv_support_steps(job(os_id="fedora", family="fedora"), RECIPES) == ()


def test_verify_is_run_by_the_target_interpreter() -> None:
    (step,) = verify_steps(("pixi", "run", "python"), cpu=False)
    assert step.argv == ("ec_verify", "gpu", "pixi", "run", "python")
    assert step.stage == "verify"
    assert verify_steps(("p",), cpu=True)[0].argv == ("ec_verify", "cpu", "p")


def write(folder: Path, text: str) -> str:
    (folder / "x.json").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ('{"id": "x"}', "no recipe of this version"), ("[]", "no recipe of this version")],
)
def test_a_damaged_recipe_is_an_input_error(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        load_recipes(write(tmp_path, text))


def test_no_recipes_at_all_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no recipe"):
        load_recipes(str(tmp_path))


def test_an_unknown_parameter_is_an_input_error(tmp_path: Path) -> None:
    data = json.loads((INSTALLERS / "python-venv.json").read_text())
    data["steps"][0]["title"] = "{nonsense}"
    recipes = load_recipes(write(tmp_path, json.dumps(data)))
    with pytest.raises(InputError, match="nonsense"):
        venv_support_steps(UBUNTU, recipes)


def test_a_missing_part_is_an_input_error() -> None:
    with pytest.raises(InputError, match="reinstall envcheck"):
        script_part("missing.sh")


def test_steps_are_frozen_words() -> None:
    steps = driver_steps(UBUNTU, RECIPES)
    assert steps is not None
    assert all(isinstance(step, Step) and isinstance(step.argv, tuple) for step in steps)
