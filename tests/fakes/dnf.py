"""The fakes of Red Hat's family, Fedora and Amazon Linux: dnf 4 and 5, and with ``rpmdb.py`` rpm. See ``command.py``.

``archive`` holds variants of each name (version, release, arch, from; stream, depends, conflicts, files, dkms, akmod);
``installed`` is keyed name-version-release.arch. Archives are the entries of /etc/yum.repos.d, as they stand there.
"""

import fnmatch

import rpmdb
import store
from rpmdb import entries, have, matches, nvra, put, read, remove, switch, take

STREAM = "/etc/dnf/modules.d/nvidia-driver.module"
LOCKS4, LOCKS5 = "/etc/dnf/plugins/versionlock.list", "/etc/dnf/versionlock.toml"


def changes(name, words):
    if name == "dnf":
        return (
            "--assumeno" not in words
            and any(w in words for w in ("install", "remove", "makecache", "reset", "enable", "add", "delete"))
        ) or ("config-manager" in words)
    if name == "rpm":
        return "-e" in words and "--test" not in words
    if name == "rhel-drivers":
        return words[0] == "install"
    return name in ("subscription-manager", "akmods", "dracut")


def enabled():
    return [name for name, entry in entries().items() if entry.get("enabled", "1") == "1"]


def stream():
    text = read(STREAM)
    return text.partition("stream=")[2].split("\n")[0] if "state=enabled" in text else ""


def of_nvidia(url):
    """NVIDIA's repository, over the network or as its local package unpacked it."""
    return "developer.download.nvidia.com" in url or "/var/nvidia-driver-local-repo-" in url


def source_of(variant, package):
    """The entry that a package comes from: NVIDIA's has another identifier in each recipe."""
    wanted = variant.get("from", "baseos")
    for name in enabled():
        url = entries()[name].get("baseurl", "")
        if any(fnmatch.fnmatch(package, each) for each in entries()[name].get("excludepkgs", "").split()):
            continue
        if name == wanted or (wanted == "nvidia" and of_nvidia(url)):
            return name
        if wanted == "epel" and "epel" in name:
            return name
    return None


def visible(state, name, locked=True):
    """Variants of a name that could be installed now, best last."""
    found = []
    for variant in state["archive"].get(name, []):
        if variant.get("from") == "file":
            found.append(variant)
            continue
        source = source_of(variant, name)
        if source is None or source in state.get("unreachable", ()):
            continue
        if entries()[source].get("repo_gpgcheck") == "1" and source not in state.get("believed", ()):
            continue
        if "stream" in variant and variant["stream"] != stream():
            continue
        if locked and not lock_allows(state, name, variant):
            continue
        found.append(variant)
    return sorted(found, key=lambda v: [int(p) if p.isdigit() else 0 for p in v["version"].split(".")])


def lock_allows(state, name, variant):
    """As dnf does: a lock excludes every other version of the names that it fits."""
    version = variant["version"]
    if state.get("dnf5"):
        wanted = [(n, v.split(":")[1]) for n, v in blocks(read(LOCKS5)) if fnmatch.fnmatch(name, n)]
        return not wanted or any(version.startswith(v + ".") for _, v in wanted)
    full = f"{name}-3:{version}-{variant['release']}.*"
    mine = []
    for line in read(LOCKS4).splitlines():
        if line and not line.startswith("#"):
            pattern = line.rsplit("-", 2)[0] if "-3:" in line or "-0:" in line else line.rsplit("-", 1)[0]
            if fnmatch.fnmatch(name, pattern):
                mine.append(line)
    return not mine or any(line == full or fnmatch.fnmatch(f"{name}-{version}", line) for line in mine)


def blocks(text):
    """(name, least version) of each block of dnf 5's file."""
    name = ""
    for line in text.splitlines():
        key, _, value = line.partition(" = ")
        if key == "name":
            name = value.strip('"')
        elif key == "comparator":
            least = value == '">="'
        elif key == "value" and least:
            yield name, value.strip('"')


def find(state, word):
    """(name, variant) of a name or of a name with its version. Raises ``Failed``."""
    for name in state["archive"]:
        if word == name or word.startswith(name + "-"):
            fitting = [v for v in visible(state, name) if matches(word, name, v)]
            if fitting:
                return name, fitting[-1]
    raise store.Failed("No match for argument: " + word)


def resolve(state, words, chosen):
    for word in words:
        if have(state, word) or any(matches(word, n, v) for n, v in chosen):
            continue
        name, variant = find(state, word)
        chosen.append((name, variant))
        resolve(state, variant.get("depends", []), chosen)
    return chosen


def install(state, words):
    words = ["nvidia-driver-local-repo" if w.endswith("/driver-file.rpm") else w for w in words]
    new = resolve(state, [w for w in words if not w.startswith("-")], [])
    if "--assumeno" in words:
        print(" Package      Arch   Version      Repository   Size\nInstalling:")
        for name, variant in new:
            print(f" {name}\n              {variant['arch']} {variant['version']} x 1 k")
        return 1
    for name, variant in new:
        for key, old in state["installed"].items():
            if any(store.like(old["name"], c) for c in variant.get("conflicts", [])):
                raise store.Failed(f"package {name} conflicts with {key}")
    code = 0
    for name, variant in new:
        check_signature(state, name, variant)
        for key in [k for k, v in state["installed"].items() if v["name"] == name and not variant.get("installonly")]:
            take(state, key)
        put(state, name, variant)
        code = variant.get("scriptlet", code)
    return code


def check_signature(state, package, variant):
    """As dnf does: the key that the entry names is imported when its first package comes."""
    if variant.get("from") == "file":
        return  # dnf's localpkg_gpgcheck is off: the script has compared its sum
    name = source_of(variant, package)
    entry = entries()[name]
    if entry.get("repo_gpgcheck") == "1":
        return  # its lists are signed, and name the sum of every package
    if entry.get("gpgcheck") != "1":
        raise store.Failed(f"{name} is not checked")
    key = entry.get("gpgkey", "")
    if not key:
        return
    text = read(key.replace("file://", ""))
    if not text:
        raise store.Failed(f"no key {key}")
    short = text.split()[-1][-8:].lower()
    mark = {"name": "gpg-pubkey", "version": short, "release": "5f5e1000", "arch": "(none)"}
    state["installed"][nvra("gpg-pubkey", mark)] = mark


def dnf(state, words):
    flags = [
        w for w in words if w.startswith(("--disableplugin=", "--setopt=*.", "--setopt=timeout", "--setopt=retries"))
    ]
    words = [w for w in words if w != "-q" and w not in flags]
    verb = words[0]
    if verb in ("install", "repoquery", "makecache", "module") and "--disablerepo=*" not in words:
        reach(state, flags)
    if verb == "--version":
        print("dnf5 version 5.2.17" if state.get("dnf5") else "4.14.0")
        return 0
    if verb == "makecache":
        return makecache(state, words)
    if verb == "install":
        return install(state, words[1:])
    if verb == "remove":
        return remove(state, words[1:])
    if verb == "repoquery":
        return repoquery(state, words[-1], locked="--disableplugin=versionlock" not in flags)
    if verb == "repolist":
        known = enabled() if "--enabled" in words else list(entries())
        print("\n".join(["repo id                 repo name", *(f"{name:<44} {name}" for name in known)]))
        return 0
    if verb == "module":
        return module(state, words[1:])
    if verb == "versionlock":
        return versionlock(state, words[1:])
    if verb == "config-manager":
        return config_manager(state, words[1:])
    raise SystemExit("fake dnf: " + " ".join(words))


def reach(state, flags):
    """As dnf does: it gives up at the first enabled archive that cannot be reached, whoever has what was asked for."""
    far = [name for name in enabled() if name in state.get("unreachable", ())]
    if far and "--setopt=*.skip_if_unavailable=1" not in flags:
        raise store.Failed(f"Failed to download metadata for repo '{far[0]}': All mirrors were tried")


def makecache(state, words):
    """The key of signed lists is asked about, unless -y says yes; it must be where the entry names it."""
    for name, entry in entries().items():
        if entry.get("repo_gpgcheck") != "1":
            continue
        if "-y" not in words or not read(entry.get("gpgkey", "").replace("file://", "")):
            raise store.Failed(f"repomd.xml GPG signature verification error: {name}")
        state["believed"] = [*state.get("believed", []), name]
    return 0


def repoquery(state, word, locked):
    for name in state["archive"]:
        for variant in visible(state, name, locked=locked and not state.get("dnf5")):
            if matches(word, name, variant):
                print(variant["version"])
    return 0


def config_manager(state, words):
    if state.get("dnf5"):
        name, _, value = words[1].partition(".enabled=")
        return switch(name, value) if words[0] == "setopt" else 2
    if not have(state, "dnf-plugins-core"):
        raise store.Failed("No such command: config-manager")
    return switch(words[1], {"--set-enabled": "1", "--set-disabled": "0"}[words[0]])


def module(state, words):
    if words[0] == "list":
        print("Name           Stream       Profiles   Summary")
        if of_nvidia("".join(e.get("baseurl", "") for e in entries().values())):
            for name in state.get("streams", []):
                print(f"nvidia-driver  {name}    default    NVIDIA driver")
        return 0
    if words[0] == "reset":
        store.write(STREAM, "[nvidia-driver]\nname=nvidia-driver\nstream=\nprofiles=\nstate=\n")
        return 0
    wanted = words[-1].partition(":")[2]
    if stream() not in ("", wanted):
        raise store.Failed("It is not possible to switch enabled streams of a module")
    store.write(STREAM, f"[nvidia-driver]\nname=nvidia-driver\nstream={wanted}\nprofiles=\nstate=enabled\n")
    return 0


def versionlock(state, words):
    if state.get("dnf5") or not have(state, "python3-dnf-plugin-versionlock"):
        raise store.Failed("No such command: versionlock")
    lines = [line for line in read(LOCKS4).splitlines() if line]
    if words[:2] == ["add", "--raw"]:
        lines += [word for word in words[2:] if word not in lines]
    elif words[0] == "delete":
        lines = [line for line in lines if line not in words[1:]]
    store.write(LOCKS4, "".join(line + "\n" for line in lines))
    return 0


def rhel_drivers(state, words):
    if not have(state, "rhel-drivers"):
        return 127
    if words[0] == "list":
        print("Available drivers:")
        for variant in reversed(visible(state, "nvidia-driver-cuda")):
            print("   nvidia:" + variant["version"])
        return 0
    version = words[-1].partition(":")[2]
    return install(state, [f"nvidia-driver-cuda-{version}", f"kmod-nvidia-open-{version}"])


COMMANDS = {
    "dnf": dnf,
    "rpm": rpmdb.rpm,
    "subscription-manager": rpmdb.subscription_manager,
    "rhel-drivers": rhel_drivers,
    "akmods": rpmdb.akmods,
    "dracut": lambda state, words: 0,
    "grubby": rpmdb.grubby,
    "gpg": rpmdb.gpg,
    "sleep": rpmdb.sleep,
}
