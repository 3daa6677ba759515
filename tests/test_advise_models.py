"""Built-in models, config.json, numbers: shapes that give the published parameter counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.advise.architectures import TYPES, builtin, by_numbers, find_model, from_config
from envcheck.advise.convolution import resnet_macs, resnet_saved_elements
from envcheck.advise.memory import estimate
from envcheck.advise.workload import make
from envcheck.errors import InputError, UsageError


@pytest.mark.parametrize("arch", builtin(), ids=lambda a: a.id)
def test_the_shape_gives_the_published_count(arch: Any) -> None:
    assert arch.published
    # GPT-3's "175 B" is a rounded figure; every other count is exact
    assert abs(arch.params / arch.published - 1) <= (0.003 if arch.id == "gpt3-175b" else 0)
    assert arch.source


def test_names_are_found_however_they_are_written() -> None:
    assert find_model("bert-base-uncased").id == "bert-base"
    assert find_model("google-bert/bert-large-uncased").id == "bert-large"
    assert find_model("meta-llama/Llama-2-7b-hf").id == "llama-2-7b"
    assert find_model("Qwen/Qwen2.5-7B").id == "qwen2-7b"
    assert find_model("GPT-3").id == "gpt3-175b"


def test_no_two_models_share_a_name() -> None:
    names = [n.lower() for a in builtin() for n in (a.id, *a.aliases)]
    assert len(names) == len(set(names))


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="llama-3-8b"):
        find_model("lama-3-8b")


CONFIGS = {
    "bert-base": {
        "model_type": "bert",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "vocab_size": 50257,
        "n_positions": 1024,
    },
    "llama-3.1-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    },
    "qwen-7b": {
        "model_type": "qwen",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 22016,
        "vocab_size": 151936,
    },
    "gemma-2b": {
        "model_type": "gemma",
        "hidden_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 16384,
        "vocab_size": 256000,
    },
    "distilbert-base": {
        "model_type": "distilbert",
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "qwen3-8b": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "head_dim": 128,
        "num_key_value_heads": 8,
        "intermediate_size": 12288,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe",
        "hidden_size": 2048,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "head_dim": 128,
        "num_key_value_heads": 4,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text",
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 6912,
        "vocab_size": 262144,
    },
    "phi-3-mini": {
        "model_type": "phi3",
        "hidden_size": 3072,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 8192,
        "vocab_size": 32064,
        "tie_word_embeddings": False,
    },
    "roberta-base": {
        "model_type": "roberta",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "mixtral-8x7b": {
        "model_type": "mixtral",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 32000,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_config_of_hugging_face_gives_the_built_in_count(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIGS[name]))
    assert from_config(str(file)).params == find_model(name).params
    assert from_config(str(tmp_path)).params == find_model(name).params


DECODER = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5632,
    "vocab_size": 151936,
    "hidden_act": "silu",
}


def test_experts_that_all_tokens_share_are_counted(tmp_path: Path) -> None:
    """Qwen1.5-MoE-A2.7B: transformers builds 14,315,784,192 parameters of this config."""
    file = tmp_path / "config.json"
    moe = {"moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts": 60}
    config = {**DECODER, **moe, "model_type": "qwen2_moe", "num_experts_per_tok": 4, "tie_word_embeddings": False}
    file.write_text(json.dumps(config))
    assert from_config(str(file)).params == 14_315_784_192
    file.write_text(json.dumps({**config, "decoder_sparse_step": 2}))
    with pytest.raises(InputError, match="only some layers"):
        from_config(str(file))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512, "n_routed_experts": 256}, "latent attention"),
        ({"model_type": "llama4_text", "num_local_experts": 16}, "experts"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder and a decoder"),
        ({"model_type": "phi", "hidden_act": "gelu_new"}, "none that has formulas"),
        ({"model_type": "starcoder2", "hidden_act": "gelu_pytorch_tanh"}, "none that has formulas"),
        ({"model_type": "vit", "hidden_act": "gelu"}, "none that has formulas"),
        ({"model_type": "falcon", "parallel_attn": True}, "parallel residual"),
    ],
)
def test_an_architecture_without_formulas_is_refused_not_guessed(
    keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """DeepSeek-V3's config has every key of a LLaMA: as one it would be 40 B parameters instead of 671."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**DECODER, **keys}))
    with pytest.raises(InputError, match=said):
        from_config(str(file))


def test_an_unknown_llama_says_that_it_was_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**DECODER, "model_type": "olmo2"}))
    assert "taken for a LLaMA" in from_config(str(file)).note
    file.write_text(json.dumps({"model_type": "gemma3", "text_config": {**DECODER, "model_type": "gemma3_text"}}))
    assert "language model alone" in from_config(str(file)).note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "no object"),
        ('{"model_type": "mamba"}', "none that has formulas"),
        ('{"model_type": "llama", "hidden_size": 4096}', "num_attention_heads"),
        ('{"model_type": "bert", "hidden_size": "x"}', "no count"),
        ('{"model_type": "bert", "hidden_size": -1}', "no count"),
    ],
)
def test_a_config_that_says_too_little_is_an_input_error(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        from_config(str(file))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)
KEYS = st.sampled_from(
    (*DECODER, "n_embd", "head_dim", "num_experts", "moe_intermediate_size", "text_config", "embedding_size")
)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from((*TYPES, "deepseek_v3", "odd", 7, None)), st.dictionaries(KEYS, VALUES, max_size=12), st.booleans()
)
def test_any_config_is_a_model_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, kind: Any, keys: dict[str, Any], whole: bool
) -> None:
    file = tmp_path_factory.mktemp("config") / "config.json"
    file.write_text(json.dumps({**(DECODER if whole else {}), **keys, "model_type": kind}))
    try:
        arch = from_config(str(file))
    except InputError as error:
        assert str(file) in str(error)
        return
    found = estimate(arch, make(method="inference", precision="bf16", seq=8))
    assert arch.params > 0
    assert 0 < found.low <= found.peak <= found.high < float("inf")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00{", b"", b"[" * 100_000, b'{"a": 1e999999}', b"null", b"\x00" * 64])
def test_any_file_is_an_input_error(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(data)
    with pytest.raises(InputError):
        from_config(str(file))


def test_a_config_that_is_not_there() -> None:
    with pytest.raises(InputError, match="cannot read"):
        from_config("/nonexistent/config.json")


def test_numbers_scale_the_nearest_shape() -> None:
    arch = by_numbers(7e9)
    assert arch.params == 7_000_000_000
    assert arch.hidden % arch.heads == 0
    assert "scaled from" in arch.note
    assert not by_numbers(7.7e9).legacy  # the nearest count is Qwen-7B's, whose own code is nobody else's
    whole = by_numbers(1e9, layers=16, hidden=2048, heads=16, kv_heads=16, ffn=8192, vocab=32000)
    assert whole.note == ""


@pytest.mark.parametrize(
    ("params", "shape"), [(0, {}), (-7e9, {}), (7e9, {"layers": 0}), (7e9, {"hidden": 100, "heads": 3})]
)
def test_numbers_that_no_model_has(params: float, shape: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        by_numbers(params, **shape)


def test_resnet_50_has_the_published_arithmetic() -> None:
    # torchvision's documentation: 4.09 GFLOPS (multiply-adds) for ResNet-50, 1.81 for ResNet-18
    assert resnet_macs((3, 4, 6, 3), True, 224) == pytest.approx(4.09e9, rel=0.01)
    assert resnet_macs((2, 2, 2, 2), False, 224) == pytest.approx(1.81e9, rel=0.01)
    assert resnet_saved_elements((3, 4, 6, 3), True, 448) == pytest.approx(
        4 * resnet_saved_elements((3, 4, 6, 3), True, 224), rel=0.02
    )
