"""Checks of what must be of one piece with torch: its copies, its companions, compiled extensions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..model import Step
from .base import CERTAIN, DECISIVE, FAIL_FROM, STRONG, SUPPORTING, WEAK, Outcome, Proof
from .details import entries, mapping
from .fixes import Steps, again, by_hand, cuda_torch, current_build, swap
from .judge import fact, judge
from .known import old_torch
from .place import install_argv, place, without
from .view import View, nums

AREA = "libraries"


def duplicate_torch(v: View) -> Outcome:
    """Two copies of torch are seen together.

    Why: pip and conda, ~/.local and the environment, or the libraries of an old build: Python takes files of one and
    the loader those of the other.
    Fix: uninstall until none is left, then install one.
    References: https://docs.pytorch.org/docs/stable/notes/faq.html
    """
    copies = mapping(v, "duplicates").get("torch")
    many = isinstance(copies, list | tuple) and len(copies) > 1
    names = ", ".join(map(str, copies or ()))[:160]
    one_manager = many and len({str(c).rpartition(" ")[2] for c in copies or ()}) == 1
    strength = STRONG if not v.pasted or one_manager else SUPPORTING
    strength = WEAK if v.pasted and v.cuda_available is True else strength
    facts = fact(f"torch is installed twice: {names}", strength, many)
    return judge(
        v,
        "duplicate-torch",
        "two copies of torch are mixed",
        facts=facts,
        looked=v.machine.torch is not None and not many,
        quiet="one torch is installed",
        fix=lambda: (
            without(
                v, "uninstall", "remove every copy (run it until none is left)", "torch", "torchvision", "torchaudio"
            ),
            *again(v),
        ),
    )


def name_shadowing(v: View) -> Outcome:
    """A file of the user's hides the module that is wanted.

    Why: Python looks in the directory of the script first. A file named torch.py, queue.py or select.py, or the
    source tree of torch itself, is imported in place of the real one.
    Fix: rename it; do not start Python inside the source tree.
    References: https://docs.python.org/3/tutorial/modules.html#the-module-search-path
    """
    own = shadowing_file(v)
    found = v.fact("shadowing_files") if isinstance(v.fact("shadowing_files"), list | tuple) else ()
    facts = (
        *fact(
            f"the traceback passes through {own}, which has the name of a module of the standard library or of torch",
            DECISIVE + 3,
            own,
        ),
        *fact(
            f"in the current directory: {', '.join(map(str, found))[:160]}",
            STRONG
            if any(str(f).rpartition("/")[2].startswith(("torch", "numpy")) or "source tree" in str(f) for f in found)
            else WEAK + 5,
            found,
        ),
    )
    return judge(
        v,
        "name-shadowing",
        "a file of your own hides a module",
        facts=facts,
        looked=v.fact("shadowing_files") is not None,
        # a torch whose files are of two releases lacks names too
        at_most=100 if own or not mapping(v, "duplicates").get("torch") else STRONG - 1,
        quiet="no file in the current directory hides a module",
        fix=lambda: by_hand("rename the file (and remove its __pycache__), or start Python from another directory"),
    )


FRAME = r"File \"([^\"\n]{1,260}?[/\\])?([a-z_0-9]{2,24})\.py\", line \d+"
INSTALLED = re.compile(
    r"site-packages|dist-packages|lib[/\\]python|[/\\]Lib[/\\]|<frozen|python3\d*\.zip|[/\\]Python3?\d*[/\\]|[/\\](?:ana|mini)conda\d?[/\\](?:envs[/\\][\w.-]+[/\\])?[Ll]ib[/\\]|[/\\]python3\.\d+[/\\]",
    re.IGNORECASE,
)
# ImportError: cannot import name 'Random' from 'random' (/home/u/random.py); the path is Python's own otherwise
TAKEN_FROM = r"cannot import name '\w{1,60}' from '(\w{2,24})' \(([^()\n]{3,260}\.py)\)"
TAKEN_FROM_PARTIAL = (
    r"cannot import name '\w{1,60}' from partially initialized module '(\w{2,24})' \([^\n]{0,60}\)"
    r" ?\(([^()\n]{3,260}\.py)\)"
)
COMMON = frozenset(
    [
        "main",
        "test",
        "tests",
        "utils",
        "setup",
        "run",
        "train",
        "code",
        "site",
        "this",
        "models",
        "data",
        "types",
        "config",
    ]
) - {"types", "code"}


def _own_place(module: str, path: str) -> bool:
    """Whether a module's file lies where Python (or pip, for an installed package) puts it."""
    return bool(re.search(rf"[/\\](?:python3?\.?\d*|Lib|site-packages|dist-packages)[/\\]{module}(?:\.py|[/\\])", path))


def shadowing_file(v: View) -> str | None:
    """A traceback frame in the user's own directory whose name is a standard module's (or torch's)."""
    import sys

    known = (sys.stdlib_module_names | {"torch", "numpy", "triton", "torchvision"}) - COMMON - {"__main__"}
    for pattern in (TAKEN_FROM, TAKEN_FROM_PARTIAL):
        for hit in v.text.matches(pattern):
            if hit[1] in known and not _own_place(hit[1], hit[2]):
                return hit[2]
    for hit in v.text.matches(FRAME):
        folder, name = hit[1] or "", hit[2]
        if name in known and not INSTALLED.search(folder):
            return f"{name}.py"
    return None


def _paired(v: View, name: str) -> tuple[str | None, str | None]:
    """(installed version, the one that pairs with this torch), each None where not known."""
    have = v.packages.get(name)
    version = nums(v.torch_version)
    if (
        have is None
        or version is None
        or re.search(r"dev|a0|git", v.torch_version or "")
        or re.search(r"dev|a0|git", have)
    ):
        return have, None
    release = v.matrix.releases.get(".".join(map(str, version[:3])))
    if release is not None:
        wheels = release.companions.get(name)
        conda = (release.conda_companions or {}).get(name)
        if conda and nums(conda) == nums(have):
            return have, conda
        return have, wheels
    row = old_torch(v)
    if row is None:
        return have, None
    return have, row.torchvision if name == "torchvision" else row.torchaudio


def _pair(v: View, name: str, code: str) -> Outcome:
    have, wanted = _paired(v, name)
    first = (nums(have) or ())[:2]
    differs = wanted is not None and bool(first) and first != (nums(wanted) or ())[:2]
    # torchaudio's releases carry torch's own number from 2.0 on, so its table needs no second row
    tags = {t for t in (re.search(r"\+(cu\d+|cpu)", x or "") for x in (have, v.torch_version)) if t}
    mixed = len({t[1] for t in tags}) > 1
    sentence = f"{name} {have} beside torch {v.torch_version}" + (f": {wanted} belongs to it" if wanted else "")
    told = bool(v.told(code))
    facts = (
        *fact(sentence, CERTAIN if told else STRONG, differs),
        *fact(
            f"{name} {have} and torch {v.torch_version} are of different variants",
            CERTAIN if told else STRONG - 5,
            mixed,
        ),
    )
    fits = wanted is not None and not differs and not mixed
    return judge(
        v,
        code,
        sentence if differs or mixed else f"{name}'s compiled code is for another torch",
        facts=facts,
        looked=fits,
        quiet=f"{name} {have} belongs to torch {v.torch_version}",
        fix=lambda: _repair_pair(v, name, wanted),
    )


def _repair_pair(v: View, name: str, wanted: str | None) -> Steps:
    build = current_build(v)
    if wanted and build is not None:
        steps = swap(v, build, f"the {name} of this torch", only=(name,))
        if steps:
            return steps
    return cuda_torch(v, f"install torch and {name} together, from one index")


def torchvision_mismatch(v: View) -> Outcome:
    """torchvision's compiled operators are for another torch.

    Why: torchvision links against one torch release and one CUDA variant; beside another its operators do not load:
    "operator torchvision::nms does not exist".
    Fix: the torchvision of the same release, from the same index.
    References: https://github.com/pytorch/vision#installation
    """
    return _pair(v, "torchvision", "torchvision-mismatch")


def torchaudio_mismatch(v: View) -> Outcome:
    """torchaudio is for another torch.

    Why: libtorchaudio.so links against one torch release; beside another it has undefined symbols.
    Fix: the torchaudio of the same release, from the same index.
    References: https://docs.pytorch.org/audio/stable/installation.html
    """
    return _pair(v, "torchaudio", "torchaudio-mismatch")


def extension_torch_mismatch(v: View) -> Outcome:
    """A compiled extension was built for another torch, CUDA, Python or C++ ABI.

    Why: flash-attn, xFormers, mamba and their like contain machine code against one torch. Beside another it does
    not load: an undefined symbol that begins with _ZN, or a libcudart of another CUDA.
    Fix: the wheel for exactly this torch, CUDA and ABI, or a rebuild.
    References: https://docs.pytorch.org/docs/stable/cpp_extension.html
    """
    own = nums(v.torch_version)
    other = [
        e
        for e in entries(v, "extensions")
        if own and (want := nums(str(e.get("torch")))) and own[: len(want)] != want[: len(own)]
    ]
    return judge(
        v,
        "extension-torch-mismatch",
        "a compiled extension was built for another torch",
        facts=tuple(
            # it fails when it is imported, and torch itself works
            Proof(
                text=f"{e.get('name')} {e.get('version')} was built for torch {e.get('torch')}, and "
                f"torch {v.torch_version} is installed",
                strength=FAIL_FROM - 5,
            )
            for e in other
        ),
        looked=v.fact("extensions") is not None and v.torch_version is not None,
        quiet="no compiled extension is of another torch",
        fix=lambda: _other_extension(v, other),
    )


def _other_extension(v: View, other: list[Mapping[str, Any]]) -> Steps:
    at = place(v)
    named = [str(e["name"]) for e in other if re.fullmatch(r"[a-z][a-z0-9-]{1,40}", str(e.get("name")))]
    if named and at.manager == "pip":
        argv = (*install_argv(at), "--no-build-isolation", "--no-cache-dir", "--force-reinstall", "--no-deps", *named)
        return (
            Step(id="extension", title="build it for this torch (needs nvcc), or take its wheel for it", argv=argv),
        )
    return by_hand(
        "reinstall the extension for this torch: its wheel with the same torch, CUDA and Python, "
        "or build it here with pip install --no-build-isolation --no-cache-dir --force-reinstall"
    )


CHECKS = (name_shadowing, duplicate_torch, torchvision_mismatch, torchaudio_mismatch)
LATE_CHECKS = (extension_torch_mismatch,)
