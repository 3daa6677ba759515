"""rpm's database and the commands around it, for the fakes of dnf. See ``dnf.py``."""

import os
import sys

import store

REPOS = "/etc/yum.repos.d"


def read(path):
    try:
        with open(store.under(path)) as file:
            return file.read()
    except OSError:
        return ""


def entries():
    """{identifier: {key: value, "path": file}} of every entry."""
    found = {}
    folder = store.under(REPOS)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        current = {}
        for line in read(f"{REPOS}/{name}").splitlines():
            if line.startswith("["):
                current = found[line.strip("[]")] = {"path": f"{REPOS}/{name}"}
            elif "=" in line:
                key, _, value = line.partition("=")
                current[key] = value
    return found


def switch(name, value):
    entry = entries().get(name)
    if entry is None:
        raise store.Failed("no such repository " + name)
    text, inside = [], False
    for line in read(entry["path"]).splitlines():
        if line.startswith("["):
            inside = line == f"[{name}]"
        text.append(f"enabled={value}" if inside and line.startswith("enabled=") else line)
    store.write(entry["path"], "\n".join(text) + "\n")
    return 0


def nvra(name, v):
    return f"{name}-{v['version']}-{v['release']}.{v['arch']}"


def names_of(name, v):
    short = f"{name}-{v['version']}"
    return (name, short, f"{short}-{v['release']}", nvra(name, v))


def matches(word, name, variant):
    return word in names_of(name, variant)


def have(state, word):
    return [key for key, v in state["installed"].items() if matches(word, v["name"], v)]


def put(state, name, variant):
    state["installed"][nvra(name, variant)] = {"name": name, **variant}
    for path, text in variant.get("files", {}).items():
        store.write(path, text)
    for unit in variant.get("services", ()):
        state.setdefault("services", {}).setdefault(unit, [False, False])
    if variant.get("dkms"):
        state["dkms"] = variant["dkms"]
        store.build(state, state["kernel"])
    if variant.get("akmod"):
        state["akmod"] = variant["akmod"]


def take(state, key):
    variant = state["installed"].pop(key)
    for path in variant.get("files", {}):
        if os.path.exists(store.under(path)):
            os.remove(store.under(path))
    for unit in variant.get("services", ()):
        state["services"].pop(unit, None)
    if variant.get("dkms"):
        state["dkms"] = None
        for top, _, files in os.walk(store.under("/lib/modules")):
            for file in files:
                if top.endswith("/extra") and file.startswith("nvidia"):
                    os.remove(os.path.join(top, file))


def remove(state, words):
    for word in words:
        if word.startswith("-"):
            continue
        for key in have(state, word):
            take(state, key)
    return 0


def rpm(state, words):
    layout = words[words.index("--qf") + 1] if "--qf" in words else "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n"
    if "-e" in words:
        gone = [key for word in words if not word.startswith("-") for key in have(state, word)]
        return needed(state, gone) if "--test" in words else remove(state, gone)
    if "-qf" in words:
        kernel = words[-1].replace("/boot/vmlinuz-", "").replace("/lib/modules/", "").replace("/vmlinuz", "")
        owner = state.get("owners", {}).get(kernel) or state.get("owned", {}).get(words[-1])
        if owner:
            show({"name": owner, "version": "1", "release": "1", "arch": "x86_64"}, layout)
        return 0 if owner else 1
    found = list(state["installed"]) if "-qa" in words else have(state, words[-1])
    for key in found:
        show(state["installed"][key], layout)
    if not found:
        print(f"package {words[-1]} is not installed")
    return 0 if found else 1


def show(variant, layout):
    for key in ("name", "version", "release", "arch"):
        layout = layout.replace("%{" + key.upper() + "}", variant[key])
    print(layout.replace("\\n", "\n"), end="")


def needed(state, gone):
    names = {state["installed"][key]["name"] for key in gone}
    for key, variant in state["installed"].items():
        for other in variant.get("depends", []):
            if key not in gone and other in names:
                print(f"{other} is needed by (installed) {key}", file=sys.stderr)
                return 1
    return 0


def subscription_manager(state, words):
    for word in words:
        if word.startswith("--enable="):
            switch(word[9:], "1")
        elif word.startswith("--disable="):
            switch(word[10:], "0")
    return 0


def akmods(state, words):
    kernel = words[words.index("--kernels") + 1]
    if not state.get("akmod") or not os.path.exists(store.under(f"/lib/modules/{kernel}/build/Makefile")):
        return 1
    path = f"/lib/modules/{kernel}/extra/nvidia/nvidia.ko.xz"
    version, _, _ = state["akmod"].partition(" ")
    flavour = "Dual MIT/GPL" if "_with_kmod_nvidia_open 1" in read("/etc/rpm/macros.envcheck-nvidia-kmod") else "NVIDIA"
    built = {"version": version, "release": "1.fc43", "arch": "x86_64", "files": {path: f"{version} {flavour}"}}
    put(state, f"kmod-nvidia{state.get('akmod_suffix', '')}-{kernel}", built)
    return 0


def grubby(state, words):
    print("/boot/vmlinuz-" + state.get("default", state["kernel"]))
    return 0


def gpg(state, words):
    """A key is a line ``key FINGERPRINT`` here."""
    with open(words[-1]) as file:
        found = [line.split()[1] for line in file if line.startswith("key ")]
    for fingerprint in found:
        print(
            f"pub:-:4096:1:{fingerprint[-16:]}:1631033579:::-:\nfpr:::::::::{fingerprint}:\nuid:-::::::::x::::::::::0:"
        )
    return 0 if found else 2


def sleep(state, words):
    """Time passes: whoever held the package database, or built in the background, is done after three of these."""
    state["slept"] = state.get("slept", 0) + 1
    if state["slept"] >= state.get("busy_for", 3):
        for path in ("/proc/4711/comm", "/proc/4712/comm"):
            if os.path.exists(store.under(path)):
                os.remove(store.under(path))
    store.save(state)
    return 0
