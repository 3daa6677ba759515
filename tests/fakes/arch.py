"""The fakes of Arch's tools: pacman, mkinitcpio. See ``command.py``."""

import os

import store

LOCK = "/var/lib/pacman/db.lck"


def changes(name, words):
    return name == "mkinitcpio" or (words[0] in ("-S", "-R") and "--print" not in words)


def pacman(state, words):
    if words[0][:2] not in ("-S", "-R", "-Q") or "y" in words[0] or ("u" in words[0] and words[0] != "-Qu"):
        raise SystemExit("fake pacman: " + " ".join(words))
    installed, names = state["installed"], [w for w in words[1:] if not w.startswith("-") and w != "%n"]
    if changes("pacman", words) and os.path.exists(store.under(LOCK)):
        print("error: failed to init transaction (unable to lock database)")
        return 1
    if words[0] == "-Qo":
        return 0 if names[0] in state.get("owned", []) else 1
    if words[0] == "-Qu":
        for name in state.get("behind", []):
            print(f"{name} 1-1 -> 2-1")
        for name in state.get("ignored", []):
            print(f"{name} 1-1 -> 2-1 [ignored]")
        return 0 if state.get("behind") or state.get("ignored") else 1
    if words[0] == "-Qqm":
        foreign = [n for n in installed if n in state.get("foreign", [])]
        print("\n".join(foreign))
        return 0 if foreign else 1
    if words[0] == "-Q":
        for name in names:
            if name in installed:
                print(f"{name} {installed[name]}")
        return 0 if all(name in installed for name in names) else 1
    if words[0] == "-Si":
        if not store.available(state, names[0]):
            print(f"error: package '{names[0]}' was not found")
            return 1
        version = state["archive"][names[0]]["version"]
        print(f"Repository      : extra\nName            : {names[0]}\nVersion         : {version}")
        return 0
    if "--print" not in words and "--noconfirm" not in words:
        raise SystemExit("fake pacman: it would ask")
    if words[0] == "-R":
        return remove(state, names, "--print" in words)
    return install(state, names, "--print" in words)


def remove(state, names, dry):
    if any(n not in state["installed"] for n in names):
        return 1
    for name in state["installed"]:
        needs = state["archive"].get(name, {}).get("depends", ())
        if name not in names and any(n in names for n in needs):
            print(f"error: failed to prepare transaction (could not satisfy dependencies)\n:: {name}")
            return 1
    for name in names:
        if dry:
            print(name)
        else:
            store.remove(state, name)
    return 0


def install(state, names, dry):
    new = store.closure(state, names, [])
    if store.conflicting(state, new):
        print(":: conflict. Remove it? [y/N]\nerror: unresolvable package conflicts detected")
        return 1
    for name in new:
        if dry:
            print(name)
        else:
            store.add(state, name)
    return 0


COMMANDS = {"pacman": pacman, "mkinitcpio": lambda state, words: 0}
