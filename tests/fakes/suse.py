"""The fakes of SUSE's tools: zypper, rpm, gpg, dracut, transactional-update. See ``command.py``.

A package may be installed in several editions (kernels, their headers): ``installed`` has them in one string.
``snapshot`` is what transactional-update made and the next boot starts.
"""

import os

import store

LOCKS = "/etc/zypp/locks"
REPOS = "/etc/zypp/repos.d"
ARCHIVES = {
    "developer.download.nvidia.com/compute/cuda/repos/": "nvidia",
    "nvidia.github.io/libnvidia-container/": "container",
}


def changes(name, words):
    if name == "zypper":
        return "--dry-run" not in words and command(words) not in ("search", "locks")
    if name == "rpm":
        return "--import" in words or "-e" in words
    return name in ("dracut", "transactional-update")


def command(words):
    return next((w for w in words if not w.startswith("-")), "")


def editions(state, name):
    package = state["archive"].get(name)
    if package is None or package.get("from", "main") not in state["listed"]:
        return []
    return package.get("versions", [package["version"]])


def locked():
    if not os.path.exists(store.under(LOCKS)):
        return []
    with open(store.under(LOCKS)) as file:
        return [line[15:].strip() for line in file if line.startswith("solvable_name: ")]


def lock(names):
    text = "".join(f"\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {n}\n" for n in names)
    if text:
        store.write(LOCKS, text)
    elif os.path.exists(store.under(LOCKS)):
        os.remove(store.under(LOCKS))


def zypper(state, words):
    action = command(words)
    rest = words[words.index(action) + 1 :]
    if changes("zypper", words) and not state.get("in_snapshot") and os.environ.get("ZYPP_LOCK_TIMEOUT") != "300":
        raise SystemExit("fake zypper: it would not wait for its lock")
    if state.get("zypp_lock"):
        return 7
    if action == "search":
        for edition in editions(state, rest[-1]):
            print(
                f'<solvable status="not-installed" name="{rest[-1]}" kind="package" edition="{edition}" '
                f'arch="x86_64" repository="{state["archive"][rest[-1]].get("from", "main")}"/>'
            )
        return 0
    if action == "addrepo":
        url, alias = rest[-2:]
        if "--gpgcheck" not in rest or os.path.exists(store.under(f"{REPOS}/{alias}.repo")):
            return 4
        store.write(f"{REPOS}/{alias}.repo", f"[{alias}]\nname={alias}\nenabled=1\nautorefresh=0\nbaseurl={url}\n")
        return 0
    if action == "removerepo":
        name = archive(rest[-1])
        os.remove(store.under(f"{REPOS}/{rest[-1]}.repo"))
        state["listed"] = [each for each in state["listed"] if each != name]
        return 0
    if action == "refresh":
        name = archive(rest[-1])
        if not state["keys"]:
            print("Do you want to reject the key, trust temporarily, or trust always? [r/t/a/?] (r): r")
            return 4
        if name and name not in state["listed"]:
            state["listed"] = [*state["listed"], name]
        return 0
    if action in ("addlock", "removelock"):
        lock([n for n in locked() if n not in rest] + (rest if action == "addlock" else []))
        return 0
    if action == "install":
        return install(state, rest, dry="--dry-run" in rest)
    raise SystemExit("fake zypper: " + " ".join(words))


def archive(alias):
    """What stands behind a repository of this alias, by its address."""
    with open(store.under(f"{REPOS}/{alias}.repo")) as file:
        text = file.read()
    return next((name for address, name in ARCHIVES.items() if address in text), None)


def install(state, words, dry=False):
    wanted = [w for w in words if not w.startswith(("-", "!"))]
    gone = [w[1:] for w in words if w.startswith("!")]
    chosen = {}
    for word in wanted:
        name, _, edition = word.partition("=")
        there = editions(state, name)
        fitting = [e for e in there if not edition or e == edition or e.split("-")[0] == edition]
        if not fitting:
            print(f"<message type=\"error\">No provider of '{word}' found.</message>")
            return 104
        several = name.startswith("kernel-") and name in chosen
        chosen[name] = chosen[name] + " " + fitting[-1] if several else fitting[-1]
    try:
        every = store.closure({**state, "installed": {}}, list(chosen), [])
    except store.Failed as missing:
        print(f'<message type="error">nothing provides {missing}</message>')
        return 4
    new = {n: chosen.get(n, editions(state, n)[-1]) for n in every}
    there = {n: state["installed"].get(n, "").split() for n in new}
    new = {n: " ".join(x for x in e.split() if x not in there[n]) for n, e in new.items()}
    new = {n: e for n, e in new.items() if e}
    names = [g.partition("=")[0] for g in gone]
    stay = [c for c in store.conflicting(state, list(new)) if c not in names]
    held = [n for n in (*new, *names) if n in locked()]
    if stay or held:
        print(f'<message type="error">Problem: conflict of {stay or held}</message>')
        return 4
    if dry:
        fresh = {n: e for n, e in new.items() if n not in state["installed"] or n.startswith("kernel-")}
        listing("to-install", fresh)
        listing("to-upgrade", {n: e for n, e in new.items() if n not in fresh})
        listing("to-remove", {n: state["installed"].get(n, "0") for n in names})
        return 0
    for word in gone:
        take(state, *word.partition("=")[::2])
    for name, edition in new.items():
        several = name.startswith("kernel-") and name in state["installed"]
        before = state["installed"].get(name, "") + " " if several else ""
        store.add(state, name)
        state["installed"][name] = before + edition
        if name == "kernel-default-devel":
            for each in edition.split():
                store.write(makefile(each), "")
    return state.get("notice", 0)


def take(state, name, edition):
    left = [e for e in state["installed"].get(name, "").split() if edition and e != edition]
    store.remove(state, name)
    if left:
        state["installed"][name] = " ".join(left)
    if name == "kernel-default-devel" and edition:
        os.remove(store.under(makefile(edition)))


def makefile(edition):
    return "/lib/modules/{}-default/build/Makefile".format(edition.rpartition(".")[0])


def listing(tag, entries):
    if entries:
        print(f"<{tag}>")
        for name, text in entries.items():
            for edition in text.split():
                print(f'<solvable type="package" name="{name}" edition="{edition}" arch="x86_64" summary="x"/>')
        print(f"</{tag}>")


def rpm(state, words):
    installed = state["installed"]
    if "--import" in words:
        with open(words[-1] if os.path.exists(words[-1]) else store.under(words[-1])) as file:
            state["keys"] = [*state["keys"], file.read().split()[1]]
        return 0
    if "-e" in words:
        state["keys"] = [k for k in state["keys"] if key_name(k) != words[-1]]
        return 0
    if words[0] == "-qf":
        return 0 if words[1] in state.get("owned", []) else 1
    named = next((word for word in words if word in ("--qf", "--queryformat")), None)
    form = words[words.index(named) + 1] if named else "%{NAME}\\n"
    if words[0] == "-qa":
        if words[-1] == "gpg-pubkey*":
            for key in state["keys"]:
                print(key_name(key))
            return 0
        for name, text in installed.items():
            for edition in text.split():
                show(form, name, edition)
        return 0
    name = words[-1]
    found = [(name, e) for e in installed.get(name, "").split()]
    found = found or [(n, e) for n, text in installed.items() for e in text.split() if f"{n}-{e}" == name]
    if not found:
        print(f"package {name} is not installed")
        return 1
    for each in found:
        show(form, *each)
    return 0


def key_name(key):
    return f"gpg-pubkey-{key[-8:].lower()}-5f4d3c2b"


def show(form, name, edition):
    version, _, release = edition.partition("-")
    for word, value in (("%{NAME}", name), ("%{VERSION}", version), ("%{RELEASE}", release), ("\\n", "\n")):
        form = form.replace(word, value)
    print(form, end="")


def gpg(state, words):
    with open(words[-1]) as file:
        text = file.read().split()
    if len(text) != 2 or text[0] != "key":
        print("gpg: no valid OpenPGP data found.")
        return 2
    print(
        f"pub:-:4096:1:{text[1][-16:]}:1:::-:::scSC::::::23::0:\nfpr:::::::::{text[1]}:\nuid:-::::1::X::cudatools::::::::::0:"
    )
    return 0


def transactional_update(state, words):
    """Works on a copy of the installed packages and keys, the next boot's."""
    plain = [w for w in words if w not in ("--non-interactive", "--continue")]
    if "--continue" not in words or "--non-interactive" not in words:
        raise SystemExit("fake transactional-update: a snapshot of its own")
    now = state.get("snapshot") or {"installed": dict(state["installed"]), "keys": list(state["keys"]), "files": {}}
    inside = {**state, "installed": now["installed"], "keys": now["keys"], "in_snapshot": True}
    code = 0
    if plain[:3] == ["run", "sh", "-c"] and "rpm -e" in plain[3]:
        now["keys"] = [k for k in now["keys"] if plain[-1].lower() not in k.lower()]
        inside["keys"] = now["keys"]
    elif plain[0] == "run":
        code = {"rpm": rpm, "zypper": zypper}[plain[1]](inside, plain[2:])
    elif plain[:2] == ["pkg", "install"]:
        names = [w for w in plain[2:] if not w.startswith("-")]
        code = install(inside, names, dry=False) if not missing(inside, names) else 104
        for name in names:
            files = state["archive"].get(name.partition("=")[0], {}).get("files", {})
            now["files"].update(files)
            for path in files:
                if os.path.exists(store.under(path)):
                    os.remove(store.under(path))  # not before the boot
    elif plain[:2] == ["pkg", "remove"]:
        names = [w for w in plain[2:] if not w.startswith("-")]
        if any(n not in now["installed"] for n in names):
            return 104
        if "--clean-deps" in plain:
            names += [d for n in names for d in state["archive"].get(n, {}).get("depends", ())]
        for name in names:
            now["installed"].pop(name, None)
            for path in state["archive"].get(name, {}).get("files", {}):
                now["files"].pop(path, None)
    if not code:
        now["installed"], now["keys"] = inside["installed"], inside["keys"]
        state["listed"] = inside["listed"]
        state["snapshot"] = now
        store.write("/run/reboot-needed", "")
    return code


def missing(state, names):
    return [n for n in names if not editions(state, n.partition("=")[0])]


COMMANDS = {
    "zypper": zypper,
    "rpm": rpm,
    "gpg": gpg,
    "dracut": lambda state, words: 0,
    "transactional-update": transactional_update,
}
