"""The policy file: what it may say, and that everything else is refused with the nearest word."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envcheck.checks import CODES
from envcheck.errors import InputError
from envcheck.gate import find_policy, load_policy
from envcheck.gate.policy import SCHEMA_FILE, as_plain, schema
from envcheck.verify.table import BY_CODE

KNOWN = {*CODES, *BY_CODE}
FULL = """\
[gate]
fail-on = "warn"
require = ["cuda-context", "cudnn", "tensor-core-fp16", "amp"]
[gate.gpu]
count = 1
min-memory-gib = 16
min-compute-capability = "7.5"
[gate.driver]
min = "525.60.13"
[gate.torch]
spec = ">=2.0"
"""


def written(tmp_path: Path, text: str, name: str = "envcheck.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_policy_of_the_contract_is_read_with_its_lines(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, FULL), KNOWN)
    assert policy.require == ("cuda-context", "cudnn", "tensor-core-fp16", "amp")
    assert (policy.fail_on, policy.gpu_count, policy.min_memory_gib) == ("warn", 1, 16.0)
    assert (policy.min_compute_capability, policy.driver_min, policy.torch_spec) == ("7.5", "525.60.13", ">=2.0")
    assert policy.lines == {
        "fail-on": 2,
        "require": 3,
        "gpu.count": 5,
        "gpu.min-memory-gib": 6,
        "gpu.min-compute-capability": 7,
        "driver.min": 9,
        "torch.spec": 11,
    }
    assert json.loads(json.dumps(as_plain(policy)))["driver"] == {"min": "525.60.13"}


def test_pyproject_holds_the_same_table_under_tool_envcheck(tmp_path: Path) -> None:
    text = "[tool.ruff]\nline-length = 100\n" + FULL.replace("[gate", "[tool.envcheck.gate")
    assert load_policy(written(tmp_path, text, "pyproject.toml"), KNOWN).driver_min == "525.60.13"
    assert find_policy(tmp_path) == tmp_path / "pyproject.toml"
    written(tmp_path, "[gate]\n")
    assert find_policy(tmp_path) == tmp_path / "envcheck.toml"


def test_a_pyproject_without_the_table_is_no_policy(tmp_path: Path) -> None:
    written(tmp_path, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gate]\nrequires = []\n", "no key 'requires'. Did you mean 'require'?"),
        ("[gate]\nfail_on = 'fail'\n", "no key 'fail_on'. Did you mean 'fail-on'?"),
        ("[gates]\n", "no key 'gates'. Did you mean 'gate'?"),
        ("[gate.gpu]\nzzz = 3\n", "Known: count, min-memory-gib"),
        ("[gate]\nrequire = ['cudn']\n", "no check 'cudn'. Did you mean 'cudnn'?"),
        ("[gate]\nonly = ['drivr']\n", "no check 'drivr'. Did you mean 'driver'?"),
        ("[gate]\nonly = ['cudnn']\n", "'cudnn' is a check of verify: it stands under require"),
        ("[gate]\nskip = ['cudnn']\n", "'cudnn' is a check of verify: it stands under require"),
        ("[gate]\nonly = ['gpu']\nrequire = ['driver']\n", "'driver' is required and not among only"),
        ("[gate]\nskip = ['driver']\nrequire = ['driver']\n", "'driver' is required and left out by skip"),
        ("[gate]\nfail-on = 'never'\n", "none of fail, warn"),
        ("[gate]\nrequire = 'cudnn'\n", "expected a list"),
        ("[gate]\nrequire = [1]\n", "expected text"),
        ("[gate.gpu]\ncount = true\n", "expected a whole number"),
        ("[gate.gpu]\ncount = -1\n", "not between 0 and 1024"),
        ("[gate.gpu]\nmin-compute-capability = '8'\n", "not of the form"),
        ("[gate.driver]\nmin = '12.4'\n", "not of the form"),
        ("[gate.driver]\nmin = 525\n", "expected text"),
        ("[gate.torch]\nspec = 'two'\n", "no PEP 440 specifier"),
        ("gate = 3\n", "expected a table"),
        ("[gate\n", "not valid TOML"),
        ("[gate]\n'##[add-path]x' = 1\n", "## [add-path]"),
    ],
)
def test_a_bad_policy_is_refused_with_the_place_and_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_policy(written(tmp_path, text), KNOWN)
    assert said in str(error.value)
    assert "##[" not in str(error.value)


def test_only_names_the_checks_of_doctor_that_count(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, '[gate]\nonly = ["driver", "gpu"]\n'), KNOWN)
    assert policy.only == ("driver", "gpu") and as_plain(policy)["only"] == ["driver", "gpu"]
    assert load_policy(written(tmp_path, "[gate]\n"), KNOWN).only == ()


def test_an_unreadable_policy_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the policy"):
        load_policy(tmp_path / "none.toml", KNOWN)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid TOML"):
        load_policy(tmp_path / "binary.toml", KNOWN)


def test_the_schema_accepts_and_refuses_what_the_reader_does() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(schema())
    good = {"gate": {"require": [], "gpu": {"count": 1, "min-memory-gib": 0.5}, "driver": {"min": "525"}}}
    jsonschema.validate(good, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"gate": {"requires": []}}, schema())


def test_check_jsonschema_reads_the_policy_by_its_schema(tmp_path: Path) -> None:
    tool = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("check-jsonschema is not installed")
    path = written(tmp_path, FULL)
    argv = [tool, "--schemafile", str(SCHEMA_FILE), str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    path.write_text("[gate]\nrequires = []\n", encoding="utf-8")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
