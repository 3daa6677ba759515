"""Read an install line as people paste it: pip, uv or conda, of an article, a README or a shell history. Pure."""

from __future__ import annotations

import re
import shlex

from ..errors import UsageError
from ..record import dataclass, field

PREFIXES = ("$", "!", "%", ">", "#", "sudo", "exec", "RUN", "time")
PIPS = re.compile(r"(pip|pip3|pip3\.\d+)(\.exe)?\Z")
PYTHONS = re.compile(r"(python|python3|python3\.\d+|py)(\.exe)?\Z")
CONDAS = ("conda", "mamba", "micromamba")
TAG = re.compile(r"/(cu\d{2,3}|cpu|rocm[\d.]+|xpu)/?\Z")
NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[^\]]*\])?\s*(?P<spec>(?:[=<>!~].*)?)\Z")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a line says. ``packages``: name -> version specifier ("" for none)."""

    manager: str  # pip, uv, conda
    packages: dict[str, str] = field(default_factory=dict)
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    torch_backend: str | None = None
    pre: bool = False


def index_tag(url: str | None) -> str | None:
    """The variant that the end of an index URL names: ``.../whl/cu118`` -> cu118."""
    found = TAG.search(url.strip()) if url else None
    return found[1] if found else None


def parse(text: str) -> Line:
    """Raises ``UsageError`` for what is no pip, uv or conda install line."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=False)
    except ValueError as error:
        raise UsageError(f"--check: the line cannot be read as shell words ({error})") from None
    manager, rest = _manager(_strip(words))
    return _conda(rest) if manager == "conda" else _pip(manager, rest)


def _strip(words: list[str]) -> list[str]:
    """Prompts, sudo, notebook marks and VAR=value in front say nothing about what is installed."""
    words = [w for w in words if w]
    while words:
        head = words[0]
        if head in PREFIXES or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", head) or head in ("env", "-H", "-E"):
            words = words[1:]
        elif head[0] in "!%$" and len(head) > 1:
            words = [head[1:], *words[1:]]
        else:
            break
    return words


def _manager(words: list[str]) -> tuple[str, list[str]]:
    name = re.split(r"[\\/]", words[0])[-1] if words else ""
    if PYTHONS.match(name):
        rest = words[1:]
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        if rest[:2] == ["-m", "pip"]:
            name, words = "pip", rest[1:]
        elif rest[:2] == ["-m", "uv"]:
            name, words = "uv", rest[1:]
    if PIPS.match(name) and words[1:2] == ["install"]:
        return "pip", words[2:]
    if name == "uv" and words[1:3] == ["pip", "install"]:
        return "uv", words[3:]
    if name == "uv" and words[1:2] == ["add"]:
        return "uv", words[2:]
    if name in CONDAS and words[1:2] and words[1] in ("install", "create"):
        return "conda", words[2:]
    raise UsageError(
        "--check wants an install line: `pip install ...`, `uv pip install ...`, `uv add ...` or `conda install ...`"
    )


def _options(words: list[str], valued: dict[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options that take a value (long, short, ``--x=y``) and the positional words."""
    found: dict[str, list[str]] = {}
    plain: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        key, eq, value = word.partition("=")
        if word in valued and queue:
            found.setdefault(valued[word], []).append(queue.pop(0))
        elif key in valued and eq and key.startswith("--"):
            found.setdefault(valued[key], []).append(value)
        elif word.startswith("-"):
            found.setdefault(word, []).append("")
        else:
            plain.append(word)
    return found, plain


PIP_VALUED = {
    "-i": "index",
    "--index-url": "index",
    "--default-index": "index",
    "--index": "extra",
    "--extra-index-url": "extra",
    "-f": "links",
    "--find-links": "links",
    "--torch-backend": "backend",
    "-r": "file",
    "--requirement": "file",
    "-c": "constraint",
    "--constraint": "constraint",
    "-t": "target",
    "--target": "target",
    "-p": "python",
    "--python": "python",
    "--platform": "platform",
    "--python-version": "python",
    "--trusted-host": "host",
    "--timeout": "timeout",
    "--cache-dir": "cache",
    "--proxy": "proxy",
}
CONDA_VALUED = {
    "-c": "channel",
    "--channel": "channel",
    "-n": "name",
    "--name": "name",
    "-p": "prefix",
    "--prefix": "prefix",
}


def _pip(manager: str, words: list[str]) -> Line:
    found, plain = _options(words, PIP_VALUED)
    packages = {}
    for word in plain:
        match = NAMED.match(word.strip())
        if match:
            packages[_canonical(match["name"])] = match["spec"].strip()
    if "torch" not in packages:
        raise UsageError("--check: this line does not install torch")
    return Line(
        manager=manager,
        packages=packages,
        index_url=_last(found, "index"),
        extra_index_urls=tuple(found.get("extra", ())),
        find_links=tuple(found.get("links", ())),
        torch_backend=_last(found, "backend"),
        pre="--pre" in found,
    )


def _last(found: dict[str, list[str]], key: str) -> str | None:
    values = found.get(key)
    return values[-1] if values else None


def _conda(words: list[str]) -> Line:
    found, plain = _options(words, CONDA_VALUED)
    channels = list(found.get("channel", ()))
    packages = {}
    for word in plain:
        channel, sep, rest = word.partition("::")
        if sep:
            channels.append(channel)
            word = rest
        match = NAMED.match(word.strip())
        if match:
            packages[_canonical(match["name"])] = match["spec"].strip()
    if not {"pytorch", "pytorch-gpu", "torch"} & set(packages):
        raise UsageError("--check: this line does not install pytorch")
    return Line(manager="conda", packages=packages, channels=tuple(channels))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
