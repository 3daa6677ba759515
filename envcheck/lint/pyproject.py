"""pyproject.toml: requirements of the project, and the indexes that uv, poetry or pdm are told to take torch from."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from packaging.markers import InvalidMarker, Marker

from ..errors import InputError
from ..plan.line import Line, index_tag
from .pip import PYTORCH_INDEX, TORCH, cpu_fault, install_faults, wheel_tag
from .requirements import NAME
from .words import Fault, Target, warning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# the machines that the files are for; what a marker asks besides is this interpreter's
TARGET = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}


def lint(text: str, name: str, target: Target) -> list[Fault]:
    """Raises ``InputError`` for what is no TOML."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise InputError(f"{name} is not valid TOML: {problem}") from None
    wanted = dict(_requirements(data))
    if "torch" not in wanted:
        return []
    at = _line(text, r"""^\s*["']?torch\b|["']torch(?![\w-])""")
    found = [*_sources(data, text, wanted["torch"], at, target)]
    local = Line(manager="pip", packages=wanted)
    return [*found, *install_faults(local, at, target)]


def _table(data: Any, *path: str) -> dict[str, Any]:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _requirements(data: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """(name, specifier) of torch and its companions. Of extras only one that is alone: several are a choice."""
    tables = [("project", "optional-dependencies"), ("dependency-groups",), ("tool", "pdm", "dev-dependencies")]
    extras = [list(_named(group)) for place in tables for group in _table(data, *place).values()]
    extras = [found for found in extras if found]
    if len(extras) == 1:
        yield from extras[0]
    elif extras:
        yield "torch", ""
    yield from _named(_table(data, "tool", "uv").get("dev-dependencies"))
    yield from _named(_table(data, "project").get("dependencies"))
    for name, value in _poetry(data):
        version = value if isinstance(value, str) else value.get("version", "") if isinstance(value, dict) else ""
        yield name, version if re.match(r"[=<>!~]", str(version)) else ""  # ^2.1 and 2.1 are poetry's own


def _named(group: Any) -> Iterable[tuple[str, str]]:
    for item in (item for item in _list(group) if isinstance(item, str)):
        text, _, marker = item.partition(";")
        found = NAME.match(text.strip())
        if found and found[1].lower() in TORCH and (not marker or _applies(marker)):
            yield found[1].lower(), found[2].strip()


def _poetry(data: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    poetry = _table(data, "tool", "poetry")
    tables = [_table(poetry, "dependencies"), _table(poetry, "dev-dependencies")]
    tables += [_table(group, "dependencies") for group in _table(poetry, "group").values()]
    for table in tables:
        for name, value in table.items():
            if name.lower() in TORCH:
                for one in value if isinstance(value, list) else [value]:
                    yield name.lower(), one


def _sources(data: dict[str, Any], text: str, spec: str, at: int, target: Target) -> Iterable[Fault]:
    """What the project's manager is told of where torch comes from."""
    uv, poetry = _table(data, "tool", "uv"), _table(data, "tool", "poetry")
    sources = _table(uv, "sources").get("torch")
    uv_entries = [e for e in (sources if isinstance(sources, list) else [sources]) if isinstance(e, dict)]
    poetry_entries = [value for name, value in _poetry(data) if name == "torch" and isinstance(value, dict)]
    indexes = {str(i.get("name")): i for i in _list(uv.get("index")) if isinstance(i, dict)}
    repositories = {str(i.get("name")): i for i in _list(poetry.get("source")) if isinstance(i, dict)}
    pdm = [i for i in _list(_table(data, "tool", "pdm").get("source")) if isinstance(i, dict)]

    chosen = [e for e in uv_entries if not {"extra", "group"} & set(e)] or uv_entries
    tags = [*_tags(chosen, "index", indexes), *_tags(poetry_entries, "source", repositories)]
    tags += [index_tag(str(i.get("url"))) for i in pdm if "torch" in _list(i.get("include_packages"))]
    if not uv_entries:
        open_ = [i for i in indexes.values() if not i.get("explicit") and PYTORCH_INDEX.search(str(i.get("url")))]
        tags += [index_tag(str(i.get("url"))) for i in open_[:1]]  # uv: the first index that has it
        yield from _never_asked(indexes, "explicit = true", "[tool.uv.sources]", "torch = { index = {} }", text)
    if poetry and not any(e.get("source") or e.get("url") for e in poetry_entries):
        yield from _never_asked(repositories, "explicit", "the dependency", "torch = {{ source = {} }}", text)
    if len(set(tags)) != 1 or tags[0] is None:
        return  # several are a choice, of which a version need not fit all
    if tags[0] == "cpu":
        yield cpu_fault(at, "the index .../whl/cpu")
    else:
        yield from install_faults(Line(manager="uv", packages={"torch": spec}, torch_backend=tags[0]), at, target)


def _tags(entries: list[dict[str, Any]], key: str, indexes: Mapping[str, Any]) -> list[str | None]:
    """The variant of each entry that counts on Linux; None for one that says nothing of it."""
    out = []
    for entry in entries:
        marker = str(entry.get("marker") or entry.get("markers") or "")
        if marker and not _applies(marker):
            continue
        if "url" in entry:
            out.append(wheel_tag(str(entry["url"])))
        elif key in entry:
            url = _table(indexes, str(entry[key])).get("url")
            out.append(index_tag(str(url)) if url else None)
        elif key == "source":
            out.append(None)
    return out


def _applies(marker: str) -> bool:
    try:
        return Marker(marker).evaluate({**TARGET, "extra": ""})
    except (InvalidMarker, ValueError, KeyError):
        return True


def _never_asked(indexes: Mapping[str, Any], how: str, where: str, write: str, text: str) -> Iterable[Fault]:
    for name, index in indexes.items():
        url = str(index.get("url"))
        explicit = index.get("explicit") is True or index.get("priority") in ("explicit", "supplemental")
        if explicit and PYTORCH_INDEX.search(url):
            said = index.get("priority") or how
            yield warning(
                "wrong-wheel-index",
                _line(text, re.escape(url)),
                f"the index {name[:40]!r} is {said}, and {where} does not name it for torch: it is not asked for torch",
                "write " + write.replace("{{", "{").replace("}}", "}").replace("{}", f'"{name[:40]}"') + f" in {where}",
            )


def _line(text: str, pattern: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1
