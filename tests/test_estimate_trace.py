"""``envcheck estimate --trace``: what a real module's backward pass keeps, counted on the meta device."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from envcheck.advise.activations import stored
from envcheck.advise.architectures import find_model
from envcheck.advise.workload import make
from envcheck.cli import main


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["estimate", *argv])
    done = capsys.readouterr()
    return code, done.out, done.err


needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
MODEL = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(256, 1024, bias=False)
        self.second = nn.Linear(1024, 256, bias=False)
        self.drop = nn.Dropout(0.1)
    def forward(self, x):
        print("a module that talks")
        return self.drop(self.second(torch.relu(self.first(x))))

def build(batch, seq):
    return Block(), (torch.zeros(batch, seq, 256),)

def attention(batch, seq):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(64, 64, bias=False)
        def forward(self, x):
            q = self.q(x)
            return nn.functional.scaled_dot_product_attention(q, q, q)
    return Attention(), torch.zeros(batch, 4, seq, 64)

def number(batch, seq):
    return 3

def decides(batch, seq):
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x
    return Decides(), torch.zeros(batch, seq)
"""


@needs_torch
def test_trace_counts_what_a_gpu_keeps(tmp_path: Path) -> None:
    from envcheck.cli.trace import count

    file = tmp_path / "model.py"
    file.write_text(MODEL)
    found = count(f"{file}:build", sys.executable, 2, 8, "fp32", 120)
    tokens = 2 * 8
    assert found["params"] == 2 * 256 * 1024
    # the input, ReLU's output (which the second layer needs too), and the dropout's mask of one byte an element
    assert found["saved_bytes"] == tokens * (256 * 4 + 1024 * 4 + 256)
    half = count(f"{file}:build", sys.executable, 2, 8, "bf16", 120)
    assert half["saved_bytes"] == tokens * (256 * 2 + 1024 * 2 + 256)


@needs_torch
def test_trace_takes_attention_as_fused(tmp_path: Path) -> None:
    from envcheck.cli.trace import count

    file = tmp_path / "model.py"
    file.write_text(MODEL)
    found = count(f"{file}:attention", sys.executable, 1, 128, "fp32", 120)
    rows = 4 * 128
    assert found["saved_bytes"] == rows * (64 * 4 * 3 + 4)  # input, q (= k = v), output, one number a row; no matrix


@needs_torch
def test_trace_of_a_transformers_model_that_looks_for_packed_texts(tmp_path: Path) -> None:
    """Its mask is built after reading the positions, which the meta device does not have."""
    from envcheck.cli.trace import count

    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "masking_utils.py").write_text(
        "def find_packed_sequence_indices(position_ids):\n"
        "    return None if (position_ids == 0).all() else position_ids\n"
        "def mask(position_ids):\n    return find_packed_sequence_indices(position_ids)\n"
    )
    (tmp_path / "model.py").write_text(
        "import torch\nfrom transformers import masking_utils\n"
        "class Model(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        masking_utils.mask(torch.arange(8, device=x.device))\n"
        "        return super().forward(x)\n"
        "def build(batch, seq):\n    return Model(64, 64, bias=False), torch.zeros(batch, seq, 64)\n"
    )
    found = count(f"{tmp_path / 'model.py'}:build", sys.executable, 2, 8, "fp32", 120)
    assert found["saved_bytes"] == 2 * 8 * 64 * 4


@needs_torch
def test_trace_of_bert_agrees_with_the_formula(tmp_path: Path) -> None:
    """An encoder written with torch's own layers; its feed-forward has a dropout that BERT's has not."""
    from envcheck.cli.trace import count

    file = tmp_path / "encoder.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "def build(batch, seq):\n"
        "    layer = nn.TransformerEncoderLayer(1024, 16, 4096, dropout=0.1, activation='gelu', batch_first=True)\n"
        "    return nn.TransformerEncoder(layer, 24, enable_nested_tensor=False), (torch.zeros(batch, seq, 1024),)\n"
    )
    found = count(f"{file}:build", sys.executable, 1, 512, "bf16", 120)
    extra = 24 * 512 * 4096 * 1  # that dropout's mask
    formula = stored(find_model("bert-large"), make(precision="bf16", seq=512, attention="sdpa"))
    assert found["saved_bytes"] - extra == pytest.approx(formula, rel=0.03)


@needs_torch
@pytest.mark.parametrize(
    ("target", "code", "said"),
    [("nope", 2, "no callable"), ("number", 2, "not a torch.nn.Module"), ("decides", 4, "the meta device has none")],
)
def test_trace_says_what_is_wrong_with_a_module(
    target: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.py"
    file.write_text(MODEL)
    argv = ("--trace", f"{file}:{target}", "--python", sys.executable, "--precision", "fp32")
    found, out, err = run(capsys, *argv)
    assert (found, out) == (code, "")
    assert said in err


@needs_torch
def test_trace_ends_in_an_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.py"
    file.write_text(MODEL)
    argv = ("--trace", f"{file}:build", "--python", sys.executable, "--precision", "fp32", "--memory", "8")
    code, text, _ = run(capsys, *argv, "--format", "json")
    body = json.loads(text)
    assert code == 0
    assert body["bytes"]["weights"] == 4 * body["model"]["params"]
    assert body["fit"]["verdict"] == "fits"


def test_trace_without_torch_is_undetermined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.py"
    file.write_text("import no_such_module_of_ours\n")
    argv = ("--trace", f"{file}:build", "--python", sys.executable, "--precision", "fp32")
    code, out, err = run(capsys, *argv)
    assert (code, out) == (3, "")
    assert "--python" in err


def test_trace_has_a_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    code, _, err = run(capsys, "--trace", "a.py:b", "--python", str(slow), "--precision", "fp32", "--timeout", "0.5")
    assert code == 3
    assert "0.5 s" in err
