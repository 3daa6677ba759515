"""The fakes of Debian's tools: apt-get, apt-cache, apt-mark, dpkg, dpkg-query, update-initramfs. See ``command.py``.

Beyond what ``store.py`` knows, a package of the archive may have ``upgrades`` (names and versions of installed packages
that apt brings up to date beside it), ``older`` (its other versions), ``needed_by`` (what cannot live
with these) and ``config`` (its removal leaves it unpurged).
"""

import os
import sys

import store


def changes(name, words):
    if name == "apt-mark":
        return "auto" in words
    return name in ("apt-get", "update-initramfs") and "-s" not in words and "indextargets" not in words


def sources(state):
    found = ["main"]
    extra = store.under("/etc/apt/sources.list.d/envcheck-debian.sources")
    if os.path.exists(extra):
        with open(extra) as file:
            text = file.read()
        lines = [line.split() for line in text.splitlines() if line.startswith("Components:")]
        found += [name for name in ("contrib", "non-free") if any(name in words for words in lines)]
    if "cuda-keyring" in state["installed"]:
        found.append("nvidia")
    for name, part in (("container-toolkit", "container"), ("cuda-toolkit", "toolkit")):
        if os.path.exists(store.under(f"/etc/apt/sources.list.d/envcheck-{name}.sources")):
            found.append(part)
    # the archive that a local repository package unpacked is readable only with its key in its place
    ring = store.under("/usr/share/keyrings/nvidia-driver-local-580-keyring.gpg")
    if "nvidia-driver-local-repo" in state["installed"] and os.path.exists(ring):
        found.append("local")
    return found


def apt_get(state, words):
    plain = [w for w in words if w in ("update", "install", "indextargets")]
    action = plain[0] if plain else "?"
    if action == "indextargets":
        if "x" not in words:
            for suite in ("bookworm", "bookworm-updates"):
                for component in ("main", *state.get("components", ())):
                    print(f"http://mirror.example/debian/|{suite}|{component}")
        return 0
    if action == "update":
        state["listed"] = sources(state)
        return 0
    if action != "install":
        raise SystemExit("fake apt-get: " + " ".join(words))
    wanted, gone = wishes(state, words[words.index("install") + 1 :])
    try:
        new = store.closure(state, wanted, [])
    except store.Failed as missing:
        print(f"E: Unable to locate package {missing}", file=sys.stderr)
        return 100
    gone += store.conflicting(state, new)
    moved = versions(state, words, new)
    # nothing that needs a newer version stays where an older one is named
    gone += [n for m, v in moved.items() if f"{m}={v}" in words for n in state["archive"][m].get("needed_by", ())]
    if "-s" in words:
        verb = "Purg" if "--purge" in words else "Remv"
        for name in gone:
            print("{} {} [{}]".format(verb, name, state["installed"].get(name, "")))
        for name, version in moved.items():
            print("Inst {} [{}] ({} fake [amd64])".format(name, state["installed"][name], version))
        for name in new:
            print("Inst {} ({} fake [amd64])".format(name, state["archive"][name]["version"]))
        return 0
    half = state.setdefault("half", [])
    for name in gone:
        store.remove(state, name)
        if name in half:
            half.remove(name)
        left = "--purge" not in words and state["archive"].get(name, {}).get("config")
        unpurged(state, name, bool(left))
    state["installed"].update(moved)
    state["automatic"] = [name for name in state.get("automatic", ()) if f"{name}={moved.get(name)}" not in words]
    for name in new:
        unpurged(state, name, False)
        store.add(state, name)
        if state["archive"][name].get("unbuildable"):  # its DKMS postinst fails
            half.append(name)
    return 100 if half else 0


def unpurged(state, name, left):
    """Is this package removed and its configuration still there?"""
    state["unpurged"] = [n for n in state.get("unpurged", ()) if n != name] + ([name] if left else [])


def versions(state, words, new):
    """Versions to which packages go that are installed and stay."""
    found = {}
    for name in new:
        found.update(state["archive"][name].get("upgrades", {}))
    found.update(word.split("=") for word in words if "=" in word and not word.startswith(("-", "DPkg")))
    return {n: v for n, v in found.items() if n in state["installed"] and state["installed"][n] != v}


def wishes(state, words):
    wanted, gone = [], []
    for word in words:
        if word.startswith("-"):
            continue
        if word.endswith("-"):
            gone.append(word[:-1])
        elif word.startswith("/"):
            if not os.path.exists(word):
                raise store.Failed(word)
            wanted.append("nvidia-driver-local-repo" if "driver-file" in word else "cuda-keyring")
            state["listed"] = sorted({*state["listed"], "deb"})
        else:
            wanted.append(word.split("=")[0])
    return wanted, gone


def dpkg_query(state, words):
    if words[0] == "-S":
        return 0 if words[1] in state.get("owned", []) else 1
    left = state.get("unpurged", ())
    found = [n for n in (*state["installed"], *left) if store.like(n, words[-1])]
    for name in found:
        text = words[words.index("-f") + 1]
        text = text.replace("${Package}", name).replace("${Version}", state["installed"].get(name, ""))
        status = "half-configured" if name in state.get("half", ()) else "config-files" if name in left else "installed"
        print(text.replace("${db:Status-Status}", status).replace("\\n", "\n"), end="")
    return 0 if found else 1


def apt_cache(state, words):
    if words[0] == "policy":
        name = words[1]
        version = state["archive"][name]["version"] if store.available(state, name) else "(none)"
        print(f"{name}:\n  Installed: (none)\n  Candidate: {version}")
        return 0
    if words[0] == "madison":
        for version in (state["archive"][words[1]]["version"],) if store.available(state, words[1]) else ():
            print(f" {words[1]} | {version} | http://mirror.example/debian main/amd64 Packages")
        return 0
    name, _, version = words[1].partition("=")
    if not store.available(state, name):
        return 100
    package = state["archive"][name]
    return 0 if not version or version in (package["version"], *package.get("older", ())) else 100


def apt_mark(state, words):
    automatic = state.get("automatic", [])
    if words[0] == "showauto":
        print("".join(f"{name}\n" for name in words[1:] if name in automatic), end="")
    else:
        state["automatic"] = sorted({*automatic, *words[1:]})
    return 0


def dpkg_deb(state, words):
    """The one file that scripts take out of a package."""
    import io  # costly, and rarely needed
    import tarfile

    with open(words[-1]) as file:
        data = file.read().encode()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        member = tarfile.TarInfo("./usr/share/keyrings/cuda-archive-keyring.gpg")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return 0


def dpkg(state, words):
    print(state.get("audit", "") + "".join(f" {name}  half configured\n" for name in state.get("half", ())), end="")
    return 0


COMMANDS = {
    "apt-get": apt_get,
    "apt-cache": apt_cache,
    "apt-mark": apt_mark,
    "dpkg-query": dpkg_query,
    "dpkg": dpkg,
    "dpkg-deb": dpkg_deb,
    "update-initramfs": lambda state, words: 0,
}
