"""What a model is made of: the built-in table, a Hugging Face ``config.json``, or plain numbers.

``Architecture.params`` is computed from the shape; ``tests/test_advise_models.py`` holds it against the published
count of every built-in model.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError
from .convolution import resnet_params

TABLE = Path(__file__).with_name("models.json")
KINDS = ("encoder", "gpt2", "llama", "resnet")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model's shape. ``kind`` picks the formulas: post-norm encoder, GPT-2 block, LLaMA block, ResNet."""

    id: str
    kind: str
    hidden: int = 0
    layers: int = 0
    heads: int = 1
    kv_heads: int = 1
    head_dim: int = 0
    ffn: int = 0
    vocab: int = 0
    positions: int = 0
    tied: bool = True  # the output layer is the embedding
    types: int = 0  # token types of an encoder
    pooler: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    norms: int = 2  # norms per layer
    experts: int = 1
    active_experts: int = 1
    shared_ffn: int = 0  # width of an expert that every token passes
    blocks: tuple[int, ...] = ()
    bottleneck: bool = False
    published: int | None = None
    source: str = ""
    aliases: tuple[str, ...] = ()
    note: str = ""
    legacy: bool = False  # its authors' own modeling code (trust_remote_code): cache and loss as in 2023
    given_params: int | None = None  # by numbers: what the user said

    @property
    def embedding(self) -> int:
        """Parameters of the input embedding (kept in 16 bit by every quantised format)."""
        return self.vocab * self.hidden

    @property
    def head(self) -> int:
        """Parameters of a separate output layer; 0 where it is the embedding or there is none."""
        return 0 if self.tied or self.kind == "encoder" else self.vocab * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one transformer layer."""
        h, d = self.hidden, self.head_dim
        if self.kind in ("encoder", "gpt2"):
            return 4 * h * h + 4 * h + 2 * h * self.ffn + self.ffn + h + 4 * h
        q, kv = self.heads * d, self.kv_heads * d
        attention = h * q + 2 * h * kv + q * h + (q + 2 * kv if self.qkv_bias else 0) + (2 * d if self.qk_norm else 0)
        router = h * self.experts if self.experts > 1 else 0
        shared = 3 * h * self.shared_ffn + (h if self.shared_ffn else 0)  # with its gate
        return attention + self.experts * 3 * h * self.ffn + router + shared + self.norms * h

    @property
    def params(self) -> int:
        """Parameters of the whole model."""
        if self.given_params is not None:
            return self.given_params
        if self.kind == "resnet":
            return resnet_params(self.blocks, self.bottleneck)
        h = self.hidden
        if self.kind == "encoder":
            extra = (self.positions + self.types) * h + 2 * h + (h * h + h if self.pooler else 0)
        elif self.kind == "gpt2":
            extra = self.positions * h + 2 * h
        else:
            extra = h
        return self.embedding + self.head + extra + self.layers * self.layer

    @property
    def linear(self) -> int:
        """Parameters of the linear layers inside the blocks: what 8-bit and 4-bit formats shrink."""
        return max(0, self.params - self.embedding - self.head)


def _from_row(row: Mapping[str, Any]) -> Architecture:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Architecture(**values)


@functools.cache
def builtin() -> tuple[Architecture, ...]:
    """The table in ``models.json``, in its order."""
    return tuple(_from_row(row) for row in json.loads(TABLE.read_text(encoding="utf-8"))["models"])


def _plain(name: str) -> str:
    tail = name.strip().lower().rsplit("/", 1)[-1]
    return "".join(c for c in tail if c.isalnum()).removesuffix("hf")


def find_model(name: str) -> Architecture:
    """The built-in model of that name (``bert-base``, ``meta-llama/Llama-2-7b-hf``). Else ``UsageError``."""
    spelled = {_plain(n): a for a in builtin() for n in (a.id, *a.aliases, a.source.split(" of ")[-1])}
    found = spelled.get(_plain(name))
    if found is not None:
        return found
    ids = [a.id for a in builtin()]
    near = difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], ids, n=4, cutoff=0.5) or ids[:6]
    raise UsageError(
        f"no model called {name[:80]!r} is built in. Did you mean {', '.join(near)}? "
        "Else give its shape: --config config.json (Hugging Face format) or --params 7e9"
    )


# model_type of a config.json -> kind
TYPES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "distilbert"), "encoder"),
    "gpt2": "gpt2",
    **dict.fromkeys(("llama", "mistral", "qwen", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"), "llama"),
    **dict.fromkeys(("internlm2", "yi", "granite", "smollm3", "mixtral", "qwen2_moe", "qwen3_moe"), "llama"),
}
# what a decoder must have to be taken for a LLaMA although its model_type is none of the above, and what it must not
LLAMA_KEYS = {"num_key_value_heads", "intermediate_size", "hidden_size", "num_hidden_layers", "num_attention_heads"}
FOREIGN = {
    "kv_lora_rank": "multi-head latent attention",
    "n_routed_experts": "experts in some layers only",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "is_encoder_decoder": "an encoder and a decoder",
    "use_parallel_residual": "a parallel residual",
    "parallel_attn": "a parallel residual",
}


def from_config(path: str) -> Architecture:
    """A model from a Hugging Face ``config.json``. ``InputError`` for an unreadable, foreign or incomplete one."""
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    try:
        data = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise InputError(f"{file} holds no object: a Hugging Face config.json is one")
    if isinstance(data.get("text_config"), dict):
        arch = _language_model(data["text_config"], file)
        return replace(
            arch, note=f"{arch.note} the language model alone: the rest of {file.name} is not counted".strip()
        )
    return _language_model(data, file)


def _language_model(data: Mapping[str, Any], file: Path) -> Architecture:
    kind = TYPES.get(str(data.get("model_type")))
    foreign = next((why for key, why in FOREIGN.items() if data.get(key)), None)
    if kind is None and foreign is None and data.keys() >= LLAMA_KEYS and data.get("hidden_act") in ("silu", "swish"):
        return replace(
            _from_hugging_face(data, "llama", file),
            note=f"model_type {str(data.get('model_type'))[:40]!r} is not known here: its shape is taken for a LLaMA's",
        )
    if kind is None:
        has = f" (it has {foreign})" if foreign else ""
        raise InputError(
            f"{file}: model_type {str(data.get('model_type'))[:40]!r} is none that has formulas here{has}. Known: "
            f"{', '.join(sorted(TYPES))}. Give its numbers: --params, --layers, --hidden, or count it with --trace"
        )
    return _from_hugging_face(data, kind, file)


def _from_hugging_face(data: Mapping[str, Any], kind: str, file: Path) -> Architecture:
    def number(*names: str, default: int | None = None) -> int:
        for name in names:
            value = data.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9:
                return value
            if value is not None:
                raise InputError(f"{file}: {name} is {value!r}, which is no count")
        if default is None:
            raise InputError(f"{file} lacks {names[0]!r}: it is needed for the memory of {data.get('model_type')}")
        return default

    kind_of = str(data.get("model_type", kind))
    hidden = number("hidden_size", "n_embd", "dim")
    heads = number("num_attention_heads", "n_head", "n_heads")
    layers = number("num_hidden_layers", "n_layer", "n_layers")
    moe = kind_of in ("qwen2_moe", "qwen3_moe")
    dense = number("intermediate_size", "n_inner", "hidden_dim", default=4 * hidden)
    ffn = number("moe_intermediate_size") if moe else dense
    distil = kind_of == "distilbert"
    if moe and (data.get("mlp_only_layers") or data.get("decoder_sparse_step", 1) != 1):
        raise InputError(f"{file}: only some layers have experts: that is not estimated here. Give --params")
    if kind_of == "electra" and data.get("embedding_size", hidden) != hidden:
        raise InputError(f"{file}: its embedding is narrower than its layers: that is not estimated here")
    return Architecture(
        id=str(data.get("_name_or_path") or kind_of)[:80],
        kind=kind,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=number("num_key_value_heads", default=heads) if kind == "llama" else heads,
        head_dim=number("head_dim", default=max(1, hidden // heads)),
        ffn=ffn // 2 if kind_of == "qwen" else ffn,  # Qwen-1 counts gate and up together
        vocab=number("vocab_size"),
        positions=number("max_position_embeddings", "n_positions", "seq_length", default=2048),
        tied=bool(data.get("tie_word_embeddings", kind != "llama" or kind_of.startswith("gemma"))),
        types=0 if distil else number("type_vocab_size", default=0) if kind == "encoder" else 0,
        pooler=kind == "encoder" and kind_of not in ("distilbert", "electra"),
        qkv_bias=kind_of in ("qwen", "qwen2", "qwen2_moe") or bool(data.get("attention_bias")),
        qk_norm=kind_of in ("qwen3", "qwen3_moe", "gemma3_text"),
        norms=4 if kind_of in ("gemma2", "gemma3_text") else 2,
        experts=number("num_local_experts", "num_experts", default=1),
        active_experts=number("num_experts_per_tok", default=1),
        shared_ffn=number("shared_expert_intermediate_size", default=0),
        source=str(file),
        legacy=kind_of == "qwen",
    )


def by_numbers(params: float, **shape: int | None) -> Architecture:
    """A LLaMA-like model of ``params`` parameters; what is not given of its shape is scaled from the nearest one.

    Raises ``UsageError`` for numbers that no model has.
    """
    if not 1e5 <= params <= 1e14:
        raise UsageError(f"--params {params:g} is no parameter count: write 7e9 or 110e6")
    given = {k: v for k, v in shape.items() if v is not None}
    bad = [k for k, v in given.items() if v < 1]
    if bad:
        raise UsageError(f"--{bad[0].replace('_', '-')} {given[bad[0]]} makes no model: it must be at least 1")
    plain = [a for a in builtin() if a.kind == "llama" and a.experts == 1 and not a.legacy]
    near = min(plain, key=lambda a: abs(a.params - params) / a.params)
    factor = (params / near.params) ** (1 / 3)
    hidden = given.get("hidden") or max(near.head_dim, round(near.hidden * factor / near.head_dim) * near.head_dim)
    heads = given.get("heads") or max(1, hidden // near.head_dim)
    kv = given.get("kv_heads") or max(1, heads * near.kv_heads // near.heads)
    if hidden % heads or heads % kv:
        raise UsageError(
            f"--hidden {hidden}, --heads {heads} and --kv-heads {kv} do not divide: no model has that shape"
        )
    guessed = sorted({"hidden", "layers", "heads", "ffn", "vocab"} - given.keys())
    note = f"{', '.join(guessed)} scaled from {near.id}: give them for a better estimate" if guessed else ""
    return replace(
        near,
        id=f"{params:.3g} parameters",
        hidden=hidden,
        layers=given.get("layers") or max(1, round(near.layers * factor)),
        heads=heads,
        kv_heads=kv,
        head_dim=hidden // heads,
        ffn=given.get("ffn") or round(hidden * near.ffn / near.hidden),
        vocab=given.get("vocab") or near.vocab,
        published=None,
        aliases=(),
        source="numbers given",
        note=note,
        given_params=int(params),
    )
