"""Stands for the commands of a machine on PATH: keeps its state in a file, logs the argv of each that changes it.

Called through a link whose name is the command. ``FAKE_STATE`` names the state file (see ``world.py``), which names the
package manager's family, whose fakes are a module of that name: ``apt.py`` (COMMANDS, changes).
"""

import os
import sys

import store


def nvidia_smi(state, words):
    path = store.under("/sys/module/nvidia/version")
    brought = any(n.startswith(store.SMI) for n in state["installed"])
    brought = brought or os.path.exists(store.under("/usr/bin/nvidia-smi"))  # by a .run file
    if not os.path.exists(path) or not brought:
        print("NVIDIA-SMI has failed", file=sys.stderr)
        return 9
    with open(path) as file:
        version = file.read().strip()
    query = words[0].partition("=")[2]
    rows = {"driver_version": version, "compute_cap": "8.9", "pci.device_id": "0x268410DE", "pid,process_name": None}
    if words[0] == "-q":
        print(
            "    GPU Virtualization Mode\n        Virtualization Mode               : " + state.get("virtual", "None")
        )
    elif words[0] == "-L":
        print("GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)")
        return state.get("smi_code", 0)
    elif rows.get(query):
        print(rows[query])
    elif state.get("process"):
        print(state["process"])
    return 0


def modprobe(state, words):
    if not words[-1].startswith("nvidia"):
        return state.get("modprobe", {}).get(words[-1], 0)
    kernel = state["kernel"]
    for top, _, files in os.walk(store.under("/lib/modules/" + kernel)):
        for name in files:
            if name.startswith("nvidia"):
                with open(os.path.join(top, name)) as file:
                    version, license_ = file.read().split(" ", 1)
                load_module(version, license_)
                return 0
    return 1


def load_module(version, license_):
    store.write("/sys/module/nvidia/version", version + "\n")
    flavour = "NVIDIA UNIX Open Kernel Module for x86_64" if "MIT" in license_ else "NVIDIA UNIX x86_64 Kernel Module"
    store.write("/proc/driver/nvidia/version", f"NVRM version: {flavour}  {version}  Release Build\n")


def modinfo(state, words):
    with open(words[2]) as file:
        version, license_ = file.read().split(" ", 1)
    print(version if words[1] == "version" else license_)
    return 0


def uname(state, words):
    print({"-r": state["kernel"], "-s": "Linux", "-m": state.get("arch", "x86_64")}[words[0]])
    return 0


def mokutil(state, words):
    if words[0] == "--test-key":
        print(words[1] + (" is already enrolled" if state.get("mok") == "enrolled" else " is not enrolled"))
    elif words[0] == "--list-new" and state.get("mok") == "queued":
        print("SHA1 Fingerprint: 00")
    return 0


def curl(state, words):
    with open(words[words.index("-o") + 1], "w") as file:
        found = [text for part, text in state.get("downloads", {}).items() if part in words[-1]]
        file.write(found[0] if found else state["download"])
    return 0


def dkms(state, words):
    kernel = words[words.index("-k") + 1]
    if kernel in state.get("too_new", ()):
        print("Error! Bad return status for module build on kernel: " + kernel, file=sys.stderr)
        return 10
    store.build(state, kernel)
    return 0


def systemctl(state, words):
    """Units come with packages (``services``): name -> [enabled, active]."""
    verb, name = words[0], words[-1]
    units = state.setdefault("services", {})
    if name not in units:
        print("No files found for " + name, file=sys.stderr)
        return 4
    if verb in ("is-enabled", "is-active"):
        return 0 if units[name][verb == "is-active"] else 1
    if verb in ("enable", "disable"):
        units[name][0] = verb == "enable"
    if verb in ("start", "restart"):
        units[name][1] = True
    if "--now" in words:
        units[name][1] = verb == "enable"
    return 0


def nvidia_ctk(state, words):
    if not any(name.startswith("nvidia-container-toolkit") for name in state["installed"]):
        return 127
    if words[:2] == ["runtime", "configure"]:
        name = words[2].partition("=")[2]
        path = {"docker": "/etc/docker/daemon.json", "containerd": "/etc/containerd/config.toml"}[name]
        store.write(path, "nvidia-container-runtime\n")
    elif words[:2] == ["cdi", "generate"]:
        with open(words[2].partition("=")[2], "w") as file:
            file.write("cdiVersion: 0.6.0\n")
    return 0


def engine(state, words):
    print(state.get("containers", ""), end="")
    return 0


COMMANDS = {
    "docker": engine,
    "podman": engine,
    "systemctl": systemctl,
    "nvidia-ctk": nvidia_ctk,
    "nvidia-smi": nvidia_smi,
    "modprobe": modprobe,
    "modinfo": modinfo,
    "uname": uname,
    "mokutil": mokutil,
    "curl": curl,
    "dkms": dkms,
}
CHANGING = ("modprobe", "curl", "dkms", "nvidia-ctk")


def sudo(words):
    rest = words[1:] if words and words[0] == "--" else words
    with open(store.STATE + ".sudo", "a") as file:
        file.write(" ".join(rest) + "\n")
    os.environ["FAKE_SUDO"] = "1"
    os.execvp(rest[0], rest)


def failure_of(state, name, words, line):
    """ "before" or "after" the command's work, or nothing. ``failed`` holds lines that failed once, where each must."""
    if state.get("fail_at") == state["count"]:
        return "after" if state.get("fail_after") else "before"
    failed = state.get("failed")
    if failed is None or line in failed or name == "modprobe":
        return ""
    failed.append(line)
    # an installation that fails after its packages are in may be no failure: it has tests of its own
    return "after" if len(failed) % 2 and "install" not in words else "before"


def main():
    name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
    if name == "sudo":
        sudo(words)
    state = store.load()
    family = __import__(state["family"])
    changing = name in CHANGING or family.changes(name, words)
    changing = changing or (name == "systemctl" and not words[0].startswith(("is-", "cat")))
    failure = ""
    if changing:
        line = " ".join([name, *words]).replace(os.path.dirname(store.STATE), "@")
        with open(store.STATE + ".log", "a") as file:
            file.write(line + "\n")
        state["count"] = state.get("count", 0) + 1
        failure = failure_of(state, name, words, line)
        store.save(state)
        if failure == "before":
            print("fake failure of " + name, file=sys.stderr)
            return 100
    try:
        code = {**COMMANDS, **family.COMMANDS}[name](state, words)
    except store.Failed as error:
        print(f"fake {name}: {error}", file=sys.stderr)
        return 100
    if changing:
        store.save(state)
        if failure:
            return 100
    return code


if __name__ == "__main__":
    sys.exit(main())
