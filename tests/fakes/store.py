"""What the fake commands share: the machine's state in a file, its packages, its modules, its files.

Runs without ``site``: no ``re``, ``json`` or ``pathlib``, which would triple the time of each of a hundred calls.
"""

import marshal
import os

STATE = os.environ.get("FAKE_STATE", "")
ROOT = os.path.join(os.path.dirname(STATE), "root")
# packages that bring nvidia-smi, by the start of their names
SMI = (
    *("nvidia-utils", "nvidia-smi", "nvidia-open", "cuda-drivers", "nvidia-driver-cuda", "nvidia-compute-utils"),
    "xorg-x11-drv-nvidia",
)


class Failed(Exception):
    """The command fails as the real one does, after its own message."""


def load():
    with open(STATE, "rb") as file:
        return marshal.load(file)


def save(state):
    with open(STATE + ".new", "wb") as file:
        marshal.dump(state, file, 2)
    os.replace(STATE + ".new", STATE)


def like(name, pattern):
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def under(path):
    return os.path.join(ROOT, path.lstrip("/"))


def write(path, text):
    os.makedirs(os.path.dirname(under(path)), exist_ok=True)
    with open(under(path), "w") as file:
        file.write(text)


def available(state, name):
    package = state["archive"].get(name)
    return package is not None and package.get("from", "main") in state["listed"]


def closure(state, names, seen):
    """The packages that must come for these names, dependencies first as they are met. Raises ``Failed``."""
    for name in names:
        if name in state["installed"] or name in seen:
            continue
        if not available(state, name):
            raise Failed(name)
        seen.append(name)
        closure(state, state["archive"][name].get("depends", []), seen)
    return seen


def conflicting(state, new):
    """What is installed and cannot stay beside the new packages."""
    return [
        i for name in new for i in state["installed"] for c in state["archive"][name].get("conflicts", ()) if like(i, c)
    ]


def add(state, name):
    package = state["archive"][name]
    state["installed"][name] = package["version"]
    for path, text in package.get("files", {}).items():
        write(path, text)
    for unit in package.get("services", ()):
        state.setdefault("services", {}).setdefault(unit, [False, False])
    built = package.get("dkms")
    if built:
        state["dkms"] = built
        build(state, state["kernel"])


def remove(state, name):
    state["installed"].pop(name, None)
    for path in state["archive"].get(name, {}).get("files", {}):
        if os.path.exists(under(path)):
            os.remove(under(path))
    for unit in state["archive"].get(name, {}).get("services", ()):
        state["services"].pop(unit, None)
    if state["archive"].get(name, {}).get("dkms"):
        state["dkms"] = None


def build(state, kernel):
    """What DKMS does for one kernel: nothing where its headers are missing."""
    if state.get("dkms") and os.path.exists(under(f"/lib/modules/{kernel}/build/Makefile")):
        write(f"/lib/modules/{kernel}/{state['module']}", state["dkms"])
