"""Asks the metadata of the environment that runs it; imports none of the packages. Python 3.8 syntax, stdlib only.

* python have.py have 'torch==2.0.1+cu118' 'numpy<2': exit 0 if every requirement is installed
* python have.py same torch 2.0.1 2.0.1+cu118: exit 0 if absent, or exactly one of these versions
"""

import os
import re
import sys

# A file torch.py in the current directory is not torch, and this file's own directory holds none.
sys.path[:] = [p for p in sys.path[1:] if p not in ("", ".", os.getcwd())]

try:
    from importlib import metadata
except ImportError:
    sys.exit("Python 3.8 or newer is needed")

# PEP 440 without the rarely used alternative spellings of separators
VERSION = re.compile(
    r"v?(?:(\d+)!)?(\d+(?:\.\d+)*)"
    r"(?:[._-]?(a|alpha|b|beta|c|rc|pre|preview)[._-]?(\d*))?"
    r"(?:(?:[._-]?(post|rev|r)[._-]?(\d*))|-(\d+))?"
    r"(?:[._-]?(dev)[._-]?(\d*))?(?:\+([a-z0-9._-]+))?",
    re.I,
)
PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
LAST = ("z",)


def parse(text):
    """(sortable key without the local part, local part)."""
    found = VERSION.fullmatch(text.strip())
    if not found:
        raise ValueError("not a version: " + text)
    epoch, release, pre, pre_n, post, post_n, bare_post, dev, dev_n, local = found.groups()
    numbers = [int(n) for n in release.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    if pre:
        pre_key = (PRE.get(pre.lower(), pre.lower()), int(pre_n or 0))
    else:
        pre_key = ("", 0) if dev and not post and bare_post is None else LAST
    post_key = int(post_n or bare_post or 0) if post or bare_post is not None else -1
    dev_key = int(dev_n or 0) if dev else float("inf")
    return (int(epoch or 0), tuple(numbers), pre_key, post_key, dev_key), (local or "").lower()


def release_of(text):
    return [int(n) for n in re.match(r"\d+(?:\.\d+)*", text).group().split(".")]


def starts(version, prefix):
    want = release_of(prefix)
    have = (release_of(version) + [0] * len(want))[: len(want)]
    return have == want


def holds(version, operator, wanted):
    if operator == "===":
        return version.lower() == wanted.lower()
    if operator in ("==", "!="):
        if wanted.endswith(".*"):
            equal = starts(version, wanted[:-2])
        else:
            have, have_local = parse(version)
            want, want_local = parse(wanted)
            equal = have == want and (not want_local or have_local == want_local)
        return equal is (operator == "==")
    have, want = parse(version)[0], parse(wanted)[0]
    if operator == "~=":
        return have >= want and starts(version, wanted.rsplit(".", 1)[0])
    return {"<": have < want, "<=": have <= want, ">": have > want, ">=": have >= want}[operator]


def installed(name):
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return build_of(found) if name == "torch" else found.version


def build_of(torch):
    """PyPI takes no local versions: there the wheel is 2.11.0, and its torch/version.py says 2.11.0+cu130."""
    try:
        with open(str(torch.locate_file("torch/version.py")), encoding="utf-8", errors="replace") as file:
            said = re.search(r"^__version__ = '([^']+)'", file.read(65536), re.M)
    except OSError:
        return torch.version
    own = said.group(1) if said else ""
    return own if own.startswith(torch.version + "+") and VERSION.fullmatch(own) else torch.version


def met(requirement):
    found = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*)", requirement.split(";")[0], re.S)
    if not found:
        raise ValueError("not a requirement: " + requirement)
    version = installed(found.group(1))
    if version is None:
        return False
    for clause in filter(None, (c.strip() for c in found.group(2).strip("() ").split(","))):
        parts = re.fullmatch(r"(===|~=|==|!=|<=|>=|<|>)\s*(\S+)", clause)
        if not parts:
            raise ValueError("not a requirement: " + requirement)
        if not holds(version, parts.group(1), parts.group(2)):
            return False
    return True


def main(argv):
    if argv[0] == "have":
        return 0 if all(met(r) for r in argv[1:]) else 1
    version = installed(argv[1])
    return 0 if version is None or version in argv[2:] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
