"""Stands for apt-get, dpkg-query, nvidia-smi, ... on PATH: keeps its state in a file, logs every argv.

Called through a link whose name is the command. ``FAKE_STATE`` names the state file (see ``world.py``).
Without ``site``, ``re``, ``json`` and ``pathlib``, which would triple the time of each of a hundred calls.
"""

import marshal
import os
import sys

STATE = os.environ["FAKE_STATE"]
ROOT = os.path.join(os.path.dirname(STATE), "root")
CHANGING = ("apt-get", "dkms", "update-initramfs", "modprobe", "curl", "mokutil-import")


class Failed(Exception):
    pass


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


def sources(state):
    found = ["main"]
    extra = under("/etc/apt/sources.list.d/envcheck-debian.sources")
    if os.path.exists(extra):
        with open(extra) as file:
            text = file.read()
        lines = [line.split() for line in text.splitlines() if line.startswith("Components:")]
        found += [name for name in ("contrib", "non-free") if any(name in words for words in lines)]
    if "cuda-keyring" in state["installed"]:
        found.append("nvidia")
    return found


def closure(state, names, seen):
    for name in names:
        if name in state["installed"] or name in seen:
            continue
        if not available(state, name):
            print("E: Unable to locate package " + name, file=sys.stderr)
            raise Failed
        seen.append(name)
        closure(state, state["archive"][name].get("depends", []), seen)
    return seen


def apt_get(state, words):
    simulate = "-s" in words
    plain = [w for w in words if w in ("update", "install", "indextargets")]
    action = plain[0] if plain else "?"
    if action == "indextargets":
        if "x" not in words:
            print("http://mirror.example/debian/|bookworm\nhttp://mirror.example/debian/|bookworm-updates")
        return 0
    if action == "update":
        state["listed"] = sources(state)
        return 0
    if action != "install":
        raise SystemExit("fake apt-get: " + " ".join(words))
    wanted, gone = [], []
    for word in words[words.index("install") + 1 :]:
        if word.startswith("-"):
            continue
        if word.endswith("-"):
            gone.append(word[:-1])
        elif word.startswith("/"):
            if not os.path.exists(word):
                raise Failed
            wanted.append("cuda-keyring")
            state["listed"] = sorted({*state["listed"], "deb"})
        else:
            wanted.append(word.split("=")[0])
    new = closure(state, wanted, [])
    for name in new:
        gone += [i for i in state["installed"] for c in state["archive"][name].get("conflicts", []) if like(i, c)]
    verb = "Purg" if "--purge" in words else "Remv"
    if simulate:
        for name in gone:
            print("{} {} [{}]".format(verb, name, state["installed"][name]))
        for name in new:
            print("Inst {} ({} fake [amd64])".format(name, state["archive"][name]["version"]))
        return 0
    for name in gone:
        remove(state, name)
    for name in new:
        add(state, name)
    return 0


def add(state, name):
    package = state["archive"][name]
    state["installed"][name] = package["version"]
    for path, text in package.get("files", {}).items():
        write(path, text)
    built = package.get("dkms")
    if built:
        state["dkms"] = built
        build(state, state["kernel"])


def remove(state, name):
    state["installed"].pop(name, None)
    for path in state["archive"].get(name, {}).get("files", {}):
        if os.path.exists(under(path)):
            os.remove(under(path))
    if state["archive"].get(name, {}).get("dkms"):
        state["dkms"] = None


def build(state, kernel):
    if state.get("dkms") and "linux-headers-" + kernel in state["installed"]:
        write(f"/lib/modules/{kernel}/updates/dkms/nvidia-current.ko.xz", state["dkms"])


def dpkg_query(state, words):
    if words[0] == "-S":
        return 0 if words[1] in state.get("owned", []) else 1
    pattern = words[-1]
    found = [n for n in state["installed"] if like(n, pattern)]
    for name in found:
        text = words[words.index("-f") + 1]
        print(text.replace("${Package}", name).replace("${db:Status-Status}", "installed").replace("\\n", "\n"), end="")
    return 0 if found else 1


def apt_cache(state, words):
    if words[0] == "policy":
        name = words[1]
        version = state["archive"][name]["version"] if available(state, name) else "(none)"
        print(f"{name}:\n  Installed: (none)\n  Candidate: {version}")
        return 0
    return 0 if available(state, words[1].split("=")[0]) else 100


def nvidia_smi(state, words):
    path = under("/sys/module/nvidia/version")
    if not os.path.exists(path) or not any(
        n.startswith(("nvidia-utils", "nvidia-smi", "nvidia-open", "cuda-drivers")) for n in state["installed"]
    ):
        print("NVIDIA-SMI has failed", file=sys.stderr)
        return 9
    with open(path) as file:
        version = file.read().strip()
    query = words[0].partition("=")[2]
    rows = {"driver_version": version, "compute_cap": "8.9", "pci.device_id": "0x268410DE", "pid,process_name": None}
    if words[0] == "-L":
        print("GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)")
    elif rows.get(query):
        print(rows[query])
    elif state.get("process"):
        print(state["process"])
    return 0


def modprobe(state, words):
    kernel = state["kernel"]
    for top, _, files in os.walk(under("/lib/modules/" + kernel)):
        for name in files:
            if name.startswith("nvidia"):
                with open(os.path.join(top, name)) as file:
                    version, license_ = file.read().split(" ", 1)
                load_module(version, license_)
                return 0
    return 1


def load_module(version, license_):
    write("/sys/module/nvidia/version", version + "\n")
    flavour = "NVIDIA UNIX Open Kernel Module for x86_64" if "MIT" in license_ else "NVIDIA UNIX x86_64 Kernel Module"
    write("/proc/driver/nvidia/version", f"NVRM version: {flavour}  {version}  Release Build\n")


def modinfo(state, words):
    with open(words[2]) as file:
        version, license_ = file.read().split(" ", 1)
    print(version if words[1] == "version" else license_)
    return 0


def uname(state, words):
    print({"-r": state["kernel"], "-s": "Linux", "-m": "x86_64"}[words[0]])
    return 0


def mokutil(state, words):
    if words[0] == "--test-key":
        print(words[1] + (" is already enrolled" if state.get("mok") == "enrolled" else " is not enrolled"))
    elif words[0] == "--list-new" and state.get("mok") == "queued":
        print("SHA1 Fingerprint: 00")
    return 0


def curl(state, words):
    with open(words[words.index("-o") + 1], "w") as file:
        file.write(state["download"])
    return 0


def dkms(state, words):
    build(state, words[words.index("-k") + 1])
    return 0


def main():
    name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
    if name == "sudo":
        rest = words[1:] if words and words[0] == "--" else words
        with open(STATE + ".sudo", "a") as file:
            file.write(" ".join(rest) + "\n")
        os.environ["FAKE_SUDO"] = "1"
        os.execvp(rest[0], rest)
    state = load()
    changing = name in CHANGING and "-s" not in words and "indextargets" not in words
    if changing:
        with open(STATE + ".log", "a") as file:
            file.write(" ".join([name, *words]).replace(os.path.dirname(STATE), "@") + "\n")
        state["count"] = state.get("count", 0) + 1
        save(state)
        if state.get("fail_at") == state["count"] and not state.get("fail_after"):
            print("fake failure of " + name, file=sys.stderr)
            return 100
    commands = {
        "apt-get": apt_get,
        "apt-cache": apt_cache,
        "dpkg-query": dpkg_query,
        "dpkg": lambda s, w: print(s.get("audit", ""), end="") or 0,
        "nvidia-smi": nvidia_smi,
        "modprobe": modprobe,
        "modinfo": modinfo,
        "uname": uname,
        "mokutil": mokutil,
        "curl": curl,
        "dkms": dkms,
        "update-initramfs": lambda s, w: 0,
    }
    try:
        code = commands[name](state, words)
    except Failed:
        return 100
    if changing:
        save(state)
        if state.get("fail_at") == state["count"]:
            return 100
    return code


if __name__ == "__main__":
    sys.exit(main())
