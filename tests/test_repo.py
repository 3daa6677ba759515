"""The repository checks itself: layers, sizes, words that do not belong, canonical data."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "envcheck"

WORDS = {"model", "errors", "record"}
FACTS = {"matrix", "recipes"}
# what a top-level module or package may import of ours; `docs/architecture.md` shows the same table
MAY_IMPORT = {
    "model": {"record"},
    "errors": set(),
    "record": set(),
    "matrix": WORDS,
    "matrix_check": WORDS | {"matrix"},
    "matrix_update": WORDS | {"matrix"},
    "recipes": WORDS | {"matrix"},
    "identify": WORDS | {"matrix"},
    "nvml": WORDS | {"host"},
    "host": WORDS,
    "detect": WORDS | {"host", "nvml"},
    "probe": set(),
    "checks": WORDS | FACTS | {"plan", "managers", "identify"},
    "managers": WORDS | FACTS,
    "plan": WORDS | FACTS | {"managers"},
    "render": WORDS | FACTS,
    "report": WORDS | {"checks", "render"},
    "verify": WORDS | FACTS | {"host", "checks", "report"},
    "advise": WORDS | {"matrix", "identify"},
    "gate": WORDS | FACTS | {"host", "detect", "identify", "checks", "report", "verify"},
    "fleet": WORDS,
    "lint": WORDS | {"matrix", "plan"},
}
# third parties that one module (or package) alone imports
ONLY_BY = {
    "requests": {"matrix_update"},
    "pynvml": {"nvml"},
    "distro": {"detect"},
    "torch": {"probe"},
    "click": {"cli"},
    "rich": {"render", "report"},
    "jsonschema": {"matrix_check"},
    "yaml": {"lint"},
    "tomli": {"gate", "lint"},
}
STDLIB_OUTSIDE = {"subprocess": {"host", "nvml", "matrix_update", "verify", "probe"}}
MAX_LINES = 360


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[tuple[str, str]]:
    """("ours", top module) and ("other", top package) of every import statement, lazy ones included."""
    found = set()
    package = ["envcheck", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                found.add(("ours", parts[1]) if parts[0] == "envcheck" and len(parts) > 1 else ("other", parts[0]))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            if full and full[0] == "envcheck":
                names = [full[1]] if len(full) > 1 else [a.name for a in node.names]
                found |= {("ours", n) for n in names}
            elif full:
                found.add(("other", full[0]))
    return found


def is_ours(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    top = top_of(path)
    for kind, name in imports(path):
        if kind == "ours" and top in MAY_IMPORT and name != top and is_ours(name):
            assert name in MAY_IMPORT[top], f"{path.name}: {top} must not import {name}"
        if kind == "other" and name in ONLY_BY:
            assert top in ONLY_BY[name], f"{path.name}: only {ONLY_BY[name]} may import {name}"
        if kind == "other" and name in STDLIB_OUTSIDE:
            assert top in STDLIB_OUTSIDE[name], f"{path.name}: only {STDLIB_OUTSIDE[name]} may import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MAX_LINES


@pytest.mark.parametrize("path", sorted((PACKAGE / "probe").glob("*.py")) + sorted((ROOT / "installers").glob("*.py")))
def test_code_for_other_interpreters_keeps_to_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_no_registry_host_and_no_path_of_a_builder_in_the_repository() -> None:
    hosts = ("pypi" + ".org", "python" + "hosted", "deb." + "debian.org", "registry." + "npmjs")
    bad = []
    for path in tracked():
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        bad += [f"{path.relative_to(ROOT)}: {host}" for host in hosts if host in text]
    assert bad == []


def test_the_matrix_is_written_canonically() -> None:
    from envcheck.matrix import dumps

    text = (ROOT / "compat_matrix.json").read_text(encoding="utf-8")
    assert dumps(json.loads(text)) == text


VERSION_IN_CODE = re.compile(r"""["'](?:cu1[0-9]{2}|[3-6][0-9]{2}\.\d+(?:\.\d+)?)["']""")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_version_facts_are_rows_and_not_code(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documented
        and VERSION_IN_CODE.fullmatch(repr(node.value))
    ]
    assert found == []


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['envcheck', '--help']\n"
        "from envcheck.cli import main\n"
        "import io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['plan', '--help'])\n"
        "print(sorted({'torch', 'pynvml', 'requests', 'rich', 'distro', 'jsonschema'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stderr
