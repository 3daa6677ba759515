"""The policy of a gate: TOML, held to ``policy.schema.json`` key by key. An unknown key is an error, never ignored."""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..errors import InputError
from ..record import dataclass, field
from ..verify.table import BY_CODE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA_FILE = Path(__file__).with_name("policy.schema.json")
SIZE_LIMIT = 1 << 20  # bytes; a policy has a dozen lines
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a machine must have. ``require`` None: no policy spoke of it, and the defaults of the contract hold."""

    fail_on: str = "fail"
    on_undetermined: str | None = None
    require: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    only: tuple[str, ...] = ()  # checks of doctor that count; none named: all
    gpu_count: int | None = None
    min_memory_gib: float | None = None
    min_compute_capability: str | None = None
    driver_min: str | None = None
    torch_spec: str | None = None
    path: str | None = None
    lines: Mapping[str, int] = field(default_factory=dict)  # "driver.min" -> its line in the file, from 1


@functools.cache
def schema() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return data


def find_policy(directory: Path) -> Path | None:
    """``envcheck.toml``, else a ``pyproject.toml`` that has ``[tool.envcheck]``, of this one directory."""
    own = directory / "envcheck.toml"
    if own.is_file():
        return own
    project = directory / "pyproject.toml"
    if project.is_file() and "envcheck" in (_parsed(project).get("tool") or {}):
        return project
    return None


def load_policy(path: Path, codes: Collection[str]) -> Policy:
    """Read and check a policy. ``codes`` are the checks that there are. Raises ``InputError`` with place and remedy."""
    try:
        return _loaded(path, codes)
    except InputError as error:
        # a runner reads the old form of a workflow command anywhere in a line, and a pull request writes the policy
        raise InputError(str(error).replace("##[", "## [")) from None


def _loaded(path: Path, codes: Collection[str]) -> Policy:
    data = _parsed(path)
    where = ""
    if path.name == "pyproject.toml":
        tool = data.get("tool")
        data, where = (tool.get("envcheck") if isinstance(tool, dict) else None) or {}, "tool.envcheck."
        if not isinstance(data, dict):
            raise InputError(f"{path}: tool.envcheck: expected a table, found {type(data).__name__}")
    _check(data, schema(), where, path)
    gate = data.get("gate", {})
    for key in ("require", "skip", "only"):
        _known_codes(gate.get(key, ()), codes, f"{where}gate.{key}", path)
    _sensible(gate, path, where)
    return _policy(gate, path)


def _sensible(gate: Mapping[str, Any], path: Path, where: str) -> None:
    """What no machine could meet, or what would change nothing, is a mistake."""
    only, skip = gate.get("only", ()), gate.get("skip", ())
    for key in ("skip", "only"):
        if proof := next((c for c in gate.get(key, ()) if c in BY_CODE), None):
            raise InputError(
                f"{path}: {where}gate.{key}: {proof!r} is a check of verify: it stands under require, or nowhere"
            )
    for code in (c for c in gate.get("require", ()) if c not in BY_CODE):
        if code in skip or (only and code not in only):
            how = "left out by skip" if code in skip else "not among only"
            raise InputError(f"{path}: {where}gate.require: {code!r} is required and {how}")


def _policy(gate: Mapping[str, Any], path: Path) -> Policy:
    gpu, driver, torch = gate.get("gpu", {}), gate.get("driver", {}), gate.get("torch", {})
    spec = torch.get("spec")
    try:
        SpecifierSet(spec or "")
    except InvalidSpecifier:
        raise InputError(f"{path}: gate.torch.spec: {spec!r} is no PEP 440 specifier: write it as '>=2.0'") from None
    memory = gpu.get("min-memory-gib")
    return Policy(
        fail_on=gate.get("fail-on", "fail"),
        on_undetermined=gate.get("on-undetermined"),
        require=tuple(dict.fromkeys(gate["require"])) if "require" in gate else None,
        skip=tuple(gate.get("skip", ())),
        only=tuple(gate.get("only", ())),
        gpu_count=gpu.get("count"),
        min_memory_gib=None if memory is None else float(memory),
        min_compute_capability=gpu.get("min-compute-capability"),
        driver_min=driver.get("min"),
        torch_spec=spec,
        path=str(path),
        lines=_lines(path),
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the policy {path}: {reason}") from None
    if len(raw) > SIZE_LIMIT:
        raise InputError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB: that is no policy")
    try:
        data: dict[str, Any] = tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the policy {path} is not valid TOML: {error}") from None
    return data


def _check(value: Any, rule: Mapping[str, Any], where: str, path: Path) -> None:
    """One value against its part of the schema: the words that the schema uses, and no others."""
    name = where.rstrip(".") or "the file"
    if "enum" in rule and value not in rule["enum"]:
        raise InputError(f"{path}: {name}: {_shown(value)} is none of {', '.join(rule['enum'])}")
    kind = rule.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or isinstance(value, bool)):
        raise InputError(f"{path}: {name}: expected {_article(kind)}, found {_shown(value)}")
    if kind == "object":
        properties = rule["properties"]
        for key, item in value.items():
            if key not in properties:
                raise InputError(f"{path}: {name}: there is no key {key!r}. {_nearest(key, properties)}")
            _check(item, properties[key], f"{where}{key}.", path)
    for index, item in enumerate(value if kind == "array" else ()):
        _check(item, rule["items"], f"{where.rstrip('.')}[{index}].", path)
    if kind in ("integer", "number") and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        raise InputError(f"{path}: {name}: {value} is not between {rule['minimum']} and {rule['maximum']}")
    if "pattern" in rule and not re.search(rule["pattern"].replace("$", r"\Z"), value):
        raise InputError(f"{path}: {name}: {_shown(value)} is not of the form {rule['pattern']}")
    if len(value) > rule.get("maxLength", sys.maxsize) if isinstance(value, str) else False:
        raise InputError(f"{path}: {name}: longer than {rule['maxLength']} characters")


def _article(kind: str) -> str:
    return {"object": "a table", "array": "a list", "string": "text", "integer": "a whole number"}.get(kind, "a number")


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word.lower().replace("_", "-"), list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def _known_codes(words: Collection[str], codes: Collection[str], where: str, path: Path) -> None:
    for word in words:
        if word not in codes:
            near = difflib.get_close_matches(word, list(codes), n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else "`envcheck explain` and `envcheck verify --help` list them."
            )
            raise InputError(f"{path}: {where}: there is no check {word!r}. {hint}")


def _lines(path: Path) -> dict[str, int]:
    """Where each key stands, for reports that point into the file. A key that is written another way is left out."""
    found: dict[str, int] = {}
    table = ""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\s*(?:tool\.envcheck\.)?gate(?:\.([\w-]+))?\s*\]", line):
            table = f"{head[1]}." if head[1] else "gate."
        elif line.lstrip().startswith("["):
            table = ""
        elif table and (key := re.match(r"\s*([\w-]+)\s*=", line)):
            found.setdefault(f"{table}{key[1]}".removeprefix("gate."), number)
    return found


def as_plain(policy: Policy) -> dict[str, Any]:
    """The policy as the report shows it: what was said, under the names of the file."""
    gpu = {
        "count": policy.gpu_count,
        "min-memory-gib": policy.min_memory_gib,
        "min-compute-capability": policy.min_compute_capability,
    }
    return {
        "path": policy.path,
        "fail-on": policy.fail_on,
        "on-undetermined": policy.on_undetermined or "fail",
        "require": None if policy.require is None else list(policy.require),
        "skip": list(policy.skip),
        "only": list(policy.only),
        "gpu": {k: v for k, v in gpu.items() if v is not None},
        "driver": {"min": policy.driver_min} if policy.driver_min else {},
        "torch": {"spec": policy.torch_spec} if policy.torch_spec else {},
    }
