"""What the scripts rely on of dnf and rpm, asked of the real ones where they are: nothing is fetched.

The fakes of ``fakes/dnf.py`` behave as these tests say. Needs dnf 4 with its plugins, rpmbuild and createrepo_c.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("dnf", "rpm", "rpmbuild", "createrepo_c")
INSTALLERS = Path(__file__).resolve().parent.parent / "installers"
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS), reason="dnf, rpm, rpmbuild or createrepo_c is not installed"
)
SPEC = """Name: {name}
Version: {version}
Release: 1
{epoch}
Summary: x
License: MIT
BuildArch: noarch
{requires}
%description
x
%files
{post}
"""
PACKAGES = (
    ("nvidia-driver-cuda", "580.95.05", "3", "nvidia-kmod-common", ""),
    ("nvidia-driver-cuda", "595.71.05", "3", "nvidia-kmod-common", ""),
    ("nvidia-kmod-common", "580.95.05", "3", "", ""),
    ("nvidia-kmod-common", "595.71.05", "3", "", ""),
    ("kmod-nvidia-open-dkms", "580.95.05", "3", "", '%post -p <lua>\nerror("dkms failed")'),
    ("nvidia-imex", "580.95.05", "", "", ""),
    ("nvidia-imex", "595.71.05", "", "", ""),
    ("nvidia-container-toolkit", "1.20.0", "", "", ""),
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of the packages above, an empty system, and dnf's settings for both."""
    home = tmp_path_factory.mktemp("dnf")
    for name, version, epoch, requires, post in PACKAGES:
        spec = home / "x.spec"
        spec.write_text(
            SPEC.format(
                name=name,
                version=version,
                epoch=f"Epoch: {epoch}" if epoch else "",
                requires=f"Requires: {requires}" if requires else "",
                post=post,
            )
        )
        run("rpmbuild", "-bb", "--define", f"_topdir {home}/top", "--define", f"_rpmdir {home}/repo", str(spec))
    run("createrepo_c", "-q", str(home / "repo"))
    for folder in ("sys", "repos", "plugins"):
        (home / folder).mkdir()
    (home / "dnf.conf").write_text("[main]\ngpgcheck=0\n")
    (home / "locks").write_text("")
    (home / "plugins/versionlock.conf").write_text(f"[main]\nenabled=1\nlocklist={home}/locks\n")
    entries = f"[local]\nname=local\nbaseurl=file://{home}/repo\nenabled=1\n\n[off]\nname=off\nbaseurl=file://{home}/repo\nenabled=0\n"
    (home / "repos/x.repo").write_text(entries)
    return home


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def dnf(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    sets = {"reposdir": "repos", "cachedir": "cache", "pluginconfpath": "plugins"}
    options = [f"--setopt={key}={home}/{value}" for key, value in sets.items()]
    return run("dnf", "-c", f"{home}/dnf.conf", f"--installroot={home}/sys", *options, "--releasever=9", *words)


def rpm(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("rpm", "--root", f"{home}/sys", *words)


def test_trap_11_a_scriptlet_fails_and_dnf_ends_well(real: Path) -> None:
    done = dnf(real, "install", "-y", "nvidia-driver-cuda-580.95.05", "kmod-nvidia-open-dkms")
    assert "dkms failed" in done.stdout + done.stderr
    assert done.returncode == 0
    listed = rpm(real, "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}.%{ARCH}\n").stdout.splitlines()
    assert "kmod-nvidia-open-dkms 580.95.05-1.noarch" in listed
    assert rpm(real, "-q", "nvidia-driver-cuda-580.95.05-1.noarch").returncode == 0


def test_rpm_names_who_else_needs_a_package_and_dnf_removes_exactly_what_is_named(real: Path) -> None:
    dnf(real, "install", "-y", "nvidia-driver-cuda-595.71.05")
    named = rpm(real, "-e", "--test", "nvidia-kmod-common")
    assert named.returncode != 0
    assert "is needed by (installed) nvidia-driver-cuda" in named.stderr
    dnf(real, "remove", "-y", "--setopt=clean_requirements_on_remove=False", "nvidia-driver-cuda-595.71.05-1.noarch")
    assert rpm(real, "-q", "nvidia-driver-cuda").returncode != 0
    assert rpm(real, "-q", "nvidia-kmod-common").returncode == 0


def test_an_older_version_comes_back_by_its_name_without_an_epoch(real: Path) -> None:
    dnf(real, "install", "-y", "nvidia-driver-cuda-595.71.05")
    assert dnf(real, "install", "-y", "nvidia-driver-cuda-580.95.05-1.noarch").returncode == 0
    assert rpm(real, "-q", "--qf", "%{VERSION}", "nvidia-driver-cuda").stdout == "580.95.05"


def test_the_answers_that_the_scripts_read(real: Path) -> None:
    versions = dnf(real, "-q", "repoquery", "--available", "--qf", "%{version}\\n", "nvidia-driver-cuda").stdout.split()
    assert versions == ["580.95.05", "595.71.05"]
    lines = dnf(real, "-q", "repolist", "--all").stdout.splitlines()
    assert lines[0].split()[0] == "repo"
    assert [line.split()[0] for line in lines[1:]] == ["local", "off"]
    assert [line.split()[0] for line in dnf(real, "-q", "repolist", "--enabled").stdout.splitlines()[1:]] == ["local"]
    assert "dnf5" not in dnf(real, "--version").stdout.splitlines()[0]


def test_the_lock_holds_the_branch_and_lets_the_container_toolkit_in(real: Path) -> None:
    text = (INSTALLERS / "dnf-lock.sh").read_text()
    found = re.search(r"EC_LOCK_NAMES=\((.*?)\)", text, re.DOTALL)
    assert found is not None
    patterns = [name.strip("'") + "-580.*" for name in found[1].split()]
    run("rpm", "--root", f"{real}/sys", "-e", "nvidia-driver-cuda", "nvidia-kmod-common", "kmod-nvidia-open-dkms")
    assert dnf(real, "versionlock", "add", "--raw", *patterns).returncode == 0
    wanted = ("nvidia-driver-cuda", "nvidia-imex", "nvidia-container-toolkit")
    chosen = dnf(real, "install", "--assumeno", *wanted).stdout
    assert re.search(r"nvidia-driver-cuda +noarch +3:580\.95\.05", chosen)
    assert re.search(r"nvidia-imex +noarch +580\.95\.05", chosen)
    assert re.search(r"nvidia-container-toolkit +noarch +1\.20\.0", chosen)
    assert dnf(real, "versionlock", "delete", *patterns).returncode == 0
    assert not [line for line in (real / "locks").read_text().splitlines() if line and not line.startswith("#")]


def test_one_archive_out_of_reach_stops_dnf_unless_it_may_be_skipped(real: Path) -> None:
    text = (INSTALLERS / "dnf-offline.sh").read_text()
    found = re.search(r"EC_DNF_OPTIONS=\((.*?)\)", text)
    assert found is not None
    options = [option.strip("'") for option in found[1].split()]
    far = real / "repos/far.repo"
    far.write_text("[far]\nname=far\nbaseurl=http://127.0.0.1:9/none\nenabled=1\n")
    ask = ("-q", "repoquery", "--available", "--qf", "%{version}\\n", "nvidia-driver-cuda")
    try:
        assert dnf(real, *ask).returncode == 1
        assert dnf(real, "install", "-y", "nvidia-imex-580.95.05").returncode == 1
        assert dnf(real, *options, *ask).stdout.split() == ["580.95.05", "595.71.05"]
        assert dnf(real, *options, "install", "-y", "nvidia-imex-580.95.05").returncode == 0
    finally:
        far.unlink()
