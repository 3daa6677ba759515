"""Checks of what an installation brings: wheels and indexes, the C libraries, DLLs, NumPy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import windows
from .base import CERTAIN, DECISIVE, FAIL_FROM, STRONG, SUPPORTING, WEAK, Outcome, Proof
from .details import entries
from .fixes import Steps, by_hand, cuda_torch, current_build, step
from .judge import fact, judge
from .known import limit, old_tags
from .offered import asked_without_wheel, begins_later, not_found, tags_of
from .place import WHEELS, packages, place
from .view import View, less, nums

AREA = "build"


def wrong_wheel_index(v: View) -> Outcome:
    """The index in the command does not have the wheel.

    Why: every release has wheels for two to four CUDA versions only, and `+cuXYZ` versions exist on the PyTorch index
    alone, not on PyPI.
    Fix: an index that the release has.
    References: https://pytorch.org/get-started/previous-versions/
    """
    tags = {row.tag for row in (v.matrix.builds(v.platform) if v.platform else ())}
    hit = v.text.find(r"download\.pytorch\.org/whl/(?:nightly/|test/)?((?:cu|rocm|xpu|cpu)[\d.]*)")
    wanted = not_found(v)
    if wanted is None or (nums(wanted[0]) or (2,)) < (2,):
        tags |= old_tags(v.matrix)
    absent = hit is not None and hit[1].startswith("cu") and bool(tags) and hit[1] not in tags
    unlisted = absent and v.has(r"from versions|No matching distribution|404|403|not found|Could not find")
    variant = re.search(r"\+((?:cu|cpu|rocm)[\d.]*)", wanted[0]) if wanted is not None else None
    plain = variant and wanted and wanted[0].split("+")[0] in {o.split("+")[0] for o in wanted[1] or ()}
    nothing = bool(variant and wanted and wanted[1] == () and not unlisted and variant[1] in tags | old_tags(v.matrix))
    facts = (
        *fact(f"the PyTorch index has no {hit[1] if hit else ''} for any release", CERTAIN + 2, unlisted),
        *fact(f"{wanted[0] if wanted else ''} was asked for, and the index has that release plain", CERTAIN, plain),
        *fact(
            f"no torch {v.torch_version} was built, of that release only {' '.join(tags_of(v))}", SUPPORTING, tags_of(v)
        ),
        *(p for row in entries(v, "pip_indexes") for p in _configured(v, row, tags)),
    )
    return judge(
        v,
        "wrong-wheel-index",
        "the index in the command does not have that wheel",
        facts=facts,
        # pip lists what PyPI has for this Python: where it lists nothing of a variant that exists, the Python is wrong
        at_most=SUPPORTING if nothing else STRONG if not unlisted and begins_later(v) else 100,
        looked=v.fact("pip_indexes") is not None,
        quiet="no configured index is in the way",
        fix=lambda: _other_index(v),
    )


def _configured(v: View, row: Mapping[str, Any], tags: set[str]) -> tuple[Proof, ...]:
    """A variant's index in pip's configuration or environment: every later install is taken from there."""
    hit = re.search(r"/whl/(?:nightly/|test/)?(cu\d{2,3}|cpu)\b", str(row.get("url")))
    if hit is None:
        return ()
    if hit[1] != "cpu" and tags and hit[1] not in tags:
        return fact(f"{row.get('from')} names {row.get('url')}, and no release has {hit[1]} here", WEAK + 10)
    on_cpu = hit[1] == "cpu" and bool(v.gpus) and v.torch_cuda is None
    return fact(f"{row.get('from')} makes pip take torch from {row.get('url')}: CPU builds alone", WEAK + 5, on_cpu)


def _other_index(v: View) -> Steps:
    rows = [r for r in entries(v, "pip_indexes") if "/whl/" in str(r.get("url"))]
    if not rows:
        return cuda_torch(v, "the index that has it")
    kinds = {"pip" if str(r.get("from")).startswith(("PIP_", "/")) else "uv" for r in rows}
    places = ", ".join(dict.fromkeys(str(r.get("from")) for r in rows))[:200]
    return (*by_hand(f"take that index out of {places} ({' and '.join(sorted(kinds))} read it)"), *cuda_torch(v))


def python_without_wheel(v: View) -> Outcome:
    """This Python has no wheel of that torch.

    Why: a release has wheels for the four or five Python versions of its time; a newer Python, an older one, a 32-bit
    or a free-threaded one finds "from versions: none".
    Fix: a Python that the release supports, or a newer torch.
    References: https://github.com/pytorch/pytorch/blob/main/RELEASE.md
    """
    version, minor = nums(v.torch_version), v.python_minor
    rows = [
        r
        for r in (v.matrix.builds(v.platform) if v.platform else ())
        if version and r.key[: len(version)] == version[: len(r.key)]
    ]
    no_wheel = bool(rows) and minor is not None and not any(minor in r.pythons for r in rows)
    asked = v.has(
        r"from versions|No matching distribution|satisfies the requirement|not a supported wheel|no wheels with"
    )
    offered = {p for r in (v.matrix.builds(v.platform) if v.platform else ()) for p in r.pythons}
    later = begins_later(v)
    wanted = asked_without_wheel(v)
    failed = bool(wanted) and v.has(r"Couldn't install torch|Error code: [1-9]|ERROR: |error: subprocess")
    bare = not v.pasted and version is None and minor is not None and bool(offered) and minor not in offered
    facts = (
        *fact(
            f"torch {v.torch_version} has no wheel for Python {minor}",
            CERTAIN,
            no_wheel and asked and not v.has(r"\+cu\d"),
        ),
        *fact(f"torch {wanted} was to be installed, and it has no wheel for Python {minor}", CERTAIN, failed),
        *fact(f"no torch release has a wheel for Python {minor}", STRONG, bare),
        *fact(
            f"torch {later and (not_found(v) or ('',))[0]} was asked for, and what pip offers begins with {later}",
            DECISIVE + 3,
            later,
        ),
    )
    return judge(
        v,
        "python-without-wheel",
        f"there is no wheel of torch for Python {minor}" if minor else "there is no wheel of torch for this Python",
        facts=facts,
        looked=not v.pasted and bool(minor and offered) and not bare,
        quiet=f"torch has wheels for Python {minor}",
        fix=lambda: _other_python(v),
    )


def _other_python(v: View) -> Steps:
    version = nums(v.torch_version)
    rows = [
        r
        for r in (v.matrix.builds(v.platform) if v.platform else ())
        if not version or r.key[: len(version)] == version
    ]
    plain = sorted({p for r in rows for p in r.pythons if not p.endswith("t")}, key=lambda p: nums(p) or ())
    if not plain:
        return by_hand("take a Python that the release supports: `envcheck plan` supplies one")
    middle = plain[len(plain) // 2]
    return (step("python", f"an environment with Python {middle}", "uv", "venv", "--python", middle, ".venv"),)


def glibc_too_old(v: View) -> Outcome:
    """The system's glibc is older than the binary needs.

    Why: a wheel says which glibc it was built against (manylinux_2_28 needs 2.28); an older system cannot load it.
    Fix: a newer distribution or a container; or an older torch.
    References: https://github.com/pypa/manylinux
    """
    have = v.machine.os.glibc
    needs = [
        r.glibc
        for r in (v.matrix.builds(v.platform) if v.platform else ())
        if r.glibc and nums(v.torch_version) == r.key
    ]
    own = current_build(v)
    need = own.glibc if own and own.glibc else min(needs, key=lambda g: nums(g) or (), default="")
    low = have is not None and bool(need) and less(have, need)
    return judge(
        v,
        "glibc-too-old",
        "the system's glibc is too old for the binary",
        facts=fact(f"glibc {have}, and the wheel needs {need}", STRONG, low),
        looked=have is not None and bool(needs),
        quiet=f"glibc {have} is new enough",
        fix=lambda: by_hand(
            "use a newer distribution or a container image; `envcheck plan` names the newest torch for this glibc"
        ),
    )


def libstdcxx_too_old(v: View) -> Outcome:
    """The libstdc++ that the loader finds lacks the symbols wanted.

    Why: the system's libstdc++ is found before the environment's newer one (or LD_LIBRARY_PATH names an old one).
    Fix: the environment's libstdc++ first, or a newer one.
    References: https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html
    """
    lacks = v.fact("libstdcxx_lacks")
    missing = [str(x) for x in lacks] if isinstance(lacks, list | tuple) else []
    return judge(
        v,
        "libstdcxx-too-old",
        "the libstdc++ that is loaded is too old",
        facts=fact(f"the libstdc++ that the loader takes lacks {', '.join(missing)[:120]}", STRONG, missing),
        looked=lacks is not None,
        quiet="libstdc++ has what torch wants",
        fix=lambda: _newer_libstdcxx(v),
    )


def _newer_libstdcxx(v: View) -> Steps:
    """The directory that hides it off the path; only a conda environment can hold a newer one of its own."""
    at = place(v)
    off = by_hand("start the program without the LD_LIBRARY_PATH entry that holds the older libstdc++.so.6")
    if at.manager in WHEELS:
        return off
    newer = packages(v, "libstdcxx", "a newer one in the environment", "libstdcxx-ng")
    path = '"$CONDA_PREFIX/lib:$LD_LIBRARY_PATH"'
    return (newer, *off, *by_hand(f"or put the environment's own before it: export LD_LIBRARY_PATH={path}"))


def cpu_without_avx(v: View) -> Outcome:
    """The host CPU lacks AVX or AVX2, which the binary executes.

    Why: a virtual machine with a generic CPU model hides the instructions; old or small CPUs have none. The process
    dies with "Illegal instruction".
    Fix: CPU model "host-passthrough" for the VM, another build, or another machine.
    References: https://www.qemu.org/docs/master/system/qemu-cpu-models.html
    """
    flags = v.fact("cpu_flags")  # /proc/cpuinfo
    lacks = (
        isinstance(flags, list | tuple) and bool(flags) and not {"avx", "avx2"} <= set(flags) and not v.flag("aarch64")
    )
    return judge(
        v,
        "cpu-without-avx",
        "the CPU lacks instructions (AVX/AVX2) that the binary uses",
        facts=fact("/proc/cpuinfo shows no avx and avx2", STRONG, lacks),
        looked=isinstance(flags, list | tuple),
        quiet="the CPU has AVX2",
        fix=lambda: by_hand("in a virtual machine: CPU model host-passthrough; else a machine whose CPU has AVX2"),
    )


def numpy2_old_torch(v: View) -> Outcome:
    """NumPy 2 beside a torch that was built for NumPy 1.

    Why: torch before 2.3 uses the NumPy 1 binary interface; beside NumPy 2 `tensor.numpy()` fails with "Numpy is not
    available".
    Fix: numpy below 2, or a newer torch.
    References: https://numpy.org/doc/stable/numpy_2_0_migration_guide.html
    """
    numpy = v.package("numpy")
    both = numpy is not None and (nums(numpy) or (0,))[0] >= 2 and less(v.torch_version, limit(v, "numpy2_from_torch"))
    fine = numpy is not None and v.torch_version is not None and not both
    return judge(
        v,
        "numpy2-old-torch",
        f"numpy {numpy} beside torch {v.torch_version}, which was built for NumPy 1"
        if both
        else "a module built for NumPy 1 meets NumPy 2",
        facts=fact(
            f"numpy {numpy} with torch {v.torch_version}", STRONG if not v.told("numpy2-old-torch") else CERTAIN, both
        ),
        looked=fine,
        quiet=f"numpy {numpy} fits torch {v.torch_version}",
        at_most=FAIL_FROM + 10 if fine else 100,
        fix=lambda: (packages(v, "numpy", "the NumPy that this torch was built for", "numpy<2"),),
    )


CHECKS = (
    wrong_wheel_index,
    python_without_wheel,
    glibc_too_old,
    libstdcxx_too_old,
    cpu_without_avx,
    *windows.CHECKS,
    numpy2_old_torch,
)
