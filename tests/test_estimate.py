"""``envcheck estimate``: parts, combinations, the inverse, what to change, --trace; the command's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.advise.activations import stored
from envcheck.advise.architectures import builtin, find_model
from envcheck.advise.fitting import (
    changes,
    fits,
    gpus_needed,
    headroom,
    largest_batch,
    largest_seq,
    smallest_cards,
    together,
    usable_bytes,
)
from envcheck.advise.memory import GIB, MIB, estimate, lora_params
from envcheck.advise.peers import accelerate, deepspeed
from envcheck.advise.specs import cards
from envcheck.advise.workload import OPTIMIZERS, PRECISIONS, make
from envcheck.cli import main
from envcheck.errors import UsageError
from envcheck.matrix import load

BERT, LLAMA = find_model("bert-large"), find_model("llama-3.1-8b")


def test_states_are_the_known_bytes_per_parameter() -> None:
    """18 under autocast, 16 in fp32 and with fp32 master weights, 8 in pure bf16; 8-bit Adam takes 6 of them away."""

    def per_param(**words: Any) -> float:
        e = estimate(BERT, make(**words))
        return (e.weights + e.gradients + e.optimizer) / BERT.params

    assert per_param(precision="fp16-amp") == 18
    assert per_param(precision="fp32") == 16
    assert per_param(precision="fp16-o2") == 16
    assert per_param(precision="bf16") == 8
    assert per_param(precision="fp32", optimizer="adam8bit") == pytest.approx(10, abs=0.01)
    assert per_param(precision="fp32", optimizer="adafactor") == pytest.approx(8, abs=0.05)
    assert per_param(precision="fp32", optimizer="sgd") == 8


def test_weights_of_inference() -> None:
    # published: Llama-2-7B in bf16 13.52 GB, 13B 26.21 GB (torch's maximum, so a little more than the weights)
    for name, gb in (("llama-2-7b", 13.52), ("llama-2-13b", 26.21)):
        weights = estimate(find_model(name), make(method="inference", precision="bf16", seq=64)).weights
        assert 0.97 * gb <= weights / 1e9 <= gb
    assert estimate(find_model("gpt3"), make(method="inference", precision="fp16")).weights / 1e9 == pytest.approx(
        350, rel=0.01
    )


def test_autocast_does_not_halve_the_memory() -> None:
    amp, full = (estimate(BERT, make(precision=p, batch=4, attention="eager")).peak for p in ("fp16-amp", "fp32"))
    assert 0.8 < amp / full < 1
    small = [
        estimate(BERT, make(precision=p, batch=1, attention="eager", checkpointing=True)).peak
        for p in ("fp16-amp", "fp32")
    ]
    assert small[0] > small[1]  # measured: 7275 against 6775 MiB


def test_activations_of_an_encoder_layer_are_the_published_ones() -> None:
    """sbh(34 + 5as/h) bytes in 16 bit: Korthikanti et al., arXiv 2205.05198, equation 1."""
    s, h, a = 512, BERT.hidden, BERT.heads
    work = make(precision="bf16", seq=s, attention="eager")
    assert stored(BERT, work) == BERT.layers * s * h * (34 + 5 * a * s / h)


def test_a_frozen_decoder_layer_keeps_what_was_counted() -> None:
    """Per token, transformers 5.24.0 and peft 0.21.2 on the meta device, hidden 1024, feed-forward 2816, 16 heads,
    8 key-value heads: docs/evidence/memory.md. 4 bytes a head are the fused kernel's log-sum-exp."""
    arch = replace(LLAMA, hidden=1024, ffn=2816, heads=16, kv_heads=8, head_dim=64, layers=1)

    def kept(**words: Any) -> float:
        return stored(arch, make(**{"precision": "bf16", "seq": 1, **words})) - 4 * arch.heads

    h, f = 1024, 2816
    assert kept() == 24 * h + 8 * f
    assert kept(method="lora", lora_targets="qv") == 24 * h + 6 * f
    assert kept(method="lora", lora_targets="attention") == 32 * h + 6 * f
    assert kept(method="lora", lora_targets="all") == 40 * h + 10 * f
    assert kept(method="lora", lora_targets="all", lora_dropout=True) == 46 * h + 11 * f
    assert kept(precision="fp32") == 40 * h + 16 * f
    assert kept(method="qlora", lora_targets="qv", upcast=True) == 28 * h + 12 * f
    plain, normed = (stored(replace(arch, qk_norm=n), make(precision="bf16", seq=1)) for n in (False, True))
    assert normed - plain == 6 * (1024 + 512)


def test_logits_are_14_bytes_and_16_with_an_fp32_head() -> None:
    """Measured on a T4: 14.0 and 16.0 bytes per token and vocabulary entry (docs/evidence/memory.md)."""
    words: dict[str, Any] = {"method": "qlora", "precision": "fp16", "seq": 1024, "checkpointing": True}
    for upcast, per in ((False, 14), (True, 16)):
        assert estimate(LLAMA, make(**words, upcast=upcast)).logits == per * 1024 * LLAMA.vocab
    twice = 2 * 2 * (LLAMA.embedding + LLAMA.head)
    more = estimate(LLAMA, make(**words, upcast=True)).weights - estimate(LLAMA, make(**words)).weights
    assert more == pytest.approx(twice / 2, rel=0.01)  # the norms come on top


def test_only_code_that_returns_a_new_cache_keeps_the_old_one() -> None:
    words: dict[str, Any] = {"method": "inference", "precision": "bf16", "seq": 8192}
    modern, legacy = estimate(LLAMA, make(**words)), estimate(find_model("qwen-7b"), make(**words))
    assert modern.temporaries == modern.kv_cache / LLAMA.layers
    assert legacy.temporaries == legacy.kv_cache


def test_accumulated_gradients_are_there_all_the_time() -> None:
    one, many = (estimate(LLAMA, make(precision="bf16", accumulate=a)) for a in (False, True))
    assert one.overlap > 0
    assert many.peak == one.peak + one.overlap


def test_kv_cache_counts_key_and_value_of_the_grouped_heads() -> None:
    found = estimate(LLAMA, make(method="inference", precision="bf16", seq=8192, batch=4))
    assert found.kv_cache == 2 * 2 * 32 * 8 * 128 * 8192 * 4


def test_lora_counts_the_adapters() -> None:
    # PEFT prints 4,194,304 trainable parameters for r=8 on q and v of Llama-2-7B
    assert lora_params(find_model("llama-2-7b"), make(method="lora", lora_rank=8, lora_targets="qv")) == 4_194_304


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"precision": "int4"}, "no gradient"),
        ({"quant": "nf4"}, "qlora"),
        ({"method": "inference", "precision": "fp16-o2"}, "no master weights"),
        ({"precision": "fp17"}, "fp1"),
        ({"method": "loar"}, "lora"),
        ({"optimizer": "adamv"}, "adam"),
        ({"gpus": 0}, "at least 1"),
        ({"gpus": 2, "parallel": "none"}, "--parallel"),
        ({"attention": "flesh"}, "flash"),
        ({"upcast": True}, "prepare_model_for_kbit_training"),
        ({"method": "qlora", "precision": "int4", "upcast": True}, "nf4"),
    ],
)
def test_what_cannot_be_combined_is_a_usage_error(words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(**words)


@pytest.mark.parametrize(
    ("model", "words"),
    [("bert-base", {"seq": 1024}), ("resnet50", {"method": "lora"}), ("resnet50", {"checkpointing": True})],
)
def test_what_a_model_cannot_do_is_a_usage_error(model: str, words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=model):
        estimate(find_model(model), make(**words))


WORKS = st.builds(
    make,
    method=st.sampled_from(("full", "lora", "qlora", "inference")),
    precision=st.sampled_from(("fp32", "fp16-amp", "bf16-amp", "bf16")),
    optimizer=st.sampled_from(tuple(OPTIMIZERS)),
    batch=st.integers(1, 64),
    seq=st.integers(1, 512),
    checkpointing=st.booleans(),
    attention=st.sampled_from(("eager", "sdpa", "flash")),
    fused_loss=st.booleans(),
)
TEXT = [a for a in builtin() if a.kind != "resnet"]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TEXT), WORKS)
def test_more_to_do_never_needs_less(arch: Any, work: Any) -> None:
    found = estimate(arch, work)
    assert 0 < found.low < found.peak < found.high
    assert found.tensors + found.context <= found.peak * 1.0001
    assert all(v >= 0 for v in found.parts().values())
    assert found.peak <= estimate(arch, replace(work, batch=work.batch + 1)).peak
    if work.seq < 512:
        assert found.peak <= estimate(arch, replace(work, seq=work.seq + 1)).peak
    if work.training:
        assert estimate(arch, replace(work, fused_loss=True)).peak <= found.peak


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(TEXT), WORKS, st.sampled_from((8, 16, 24, 80)))
def test_the_largest_batch_is_the_largest(arch: Any, work: Any, gib: int) -> None:
    batch = largest_batch(arch, work, gib)
    assert batch == 0 or fits(arch, replace(work, batch=batch), gib)
    assert not fits(arch, replace(work, batch=batch + 1), gib)
    longest = largest_seq(arch, work, gib)
    assert longest == 0 or fits(arch, replace(work, seq=longest), gib)


@pytest.mark.parametrize("stage", ["zero1", "zero2", "zero3", "fsdp"])
def test_sharding_divides_what_its_stage_says(stage: str) -> None:
    alone = estimate(LLAMA, make(precision="bf16-master"))
    many = estimate(LLAMA, make(precision="bf16-master", gpus=8, parallel=stage))
    assert many.optimizer == alone.optimizer / 8
    assert many.gradients == alone.gradients / (8 if stage != "zero1" else 1)
    assert many.weights == alone.weights / (8 if stage in ("zero3", "fsdp") else 1)
    same = estimate(LLAMA, make(precision="bf16-master", gpus=8, parallel="ddp"))
    assert (same.weights, same.optimizer) == (alone.weights, alone.optimizer)


def test_ddp_keeps_buckets_beside_the_gradients() -> None:
    alone = estimate(LLAMA, make(precision="bf16-master", checkpointing=True))
    many = estimate(LLAMA, make(precision="bf16-master", checkpointing=True, gpus=2, parallel="ddp"))
    assert many.temporaries - alone.temporaries == alone.gradients
    assert many.context > alone.context


def test_gpus_needed_is_the_least_number() -> None:
    work = make(precision="bf16-master", checkpointing=True, seq=2048)
    many = gpus_needed(LLAMA, work, 24)
    assert many is not None
    assert many > 1
    assert fits(LLAMA, replace(work, gpus=many, parallel="fsdp"), 24)
    assert not fits(LLAMA, replace(work, gpus=many - 1, parallel="fsdp"), 24)
    assert gpus_needed(LLAMA, replace(work, batch=4096), 8) is None


def test_gpt_3_is_no_model_for_16_gb() -> None:
    """An article: "GPT-3 needs at least 16 GB"."""
    gpt3, work = find_model("gpt-3"), make(method="inference", precision="fp16")
    assert not fits(gpt3, work, 16)
    assert gpus_needed(gpt3, work, 80) == 5
    training = estimate(gpt3, make(precision="fp16-amp"))
    assert (training.weights + training.gradients + training.optimizer) / 1e12 == pytest.approx(3.15, rel=0.01)


def test_each_change_saves_what_it_says() -> None:
    work = make(precision="fp16-amp", batch=16, attention="eager")
    now = estimate(BERT, work).peak
    found = {c.option: c for c in changes(BERT, work, 10)}
    then = estimate(BERT, replace(work, checkpointing=True)).peak
    assert found["--checkpointing"].saves == now - then
    assert found["--checkpointing"].fits == (then <= usable_bytes(10))
    order = [(not c.fits, -c.saves) for c in changes(BERT, work, 10)]
    assert order == sorted(order)


def test_changes_together_lead_to_a_fit() -> None:
    steps, peak = together(LLAMA, make(method="qlora", batch=8, seq=2048), 12)
    assert steps
    assert peak <= usable_bytes(12)


def applied(work: Any, option: str) -> Any:
    """The workload after a suggested option was added to the command that described it."""
    words: dict[str, Any] = {k: v for k, v in vars(work).items() if k != "quant" or work.quant is not None}
    tokens = option.split()
    while tokens:
        name = tokens.pop(0).removeprefix("--").replace("-", "_")
        name = {"kv_cache": "kv_precision"}.get(name, name)
        value: Any = tokens.pop(0) if tokens and not tokens[0].startswith("--") else True
        words[name] = int(value) if isinstance(value, str) and value.isdigit() else value
    return make(**words)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TEXT), WORKS, st.sampled_from((6, 12, 24, 80)))
def test_every_suggestion_applied_as_it_is_printed_does_what_it_says(arch: Any, work: Any, gib: int) -> None:
    now = estimate(arch, work).peak
    for change in changes(arch, work, gib):
        then = estimate(arch, applied(work, change.option))
        assert now - then.peak == pytest.approx(change.saves, rel=1e-6), change.option
        assert fits(arch, applied(work, change.option), gib) == change.fits
    steps, peak = together(arch, work, gib)
    last = work
    for step in steps:
        last = applied(last, step.option)
    assert estimate(arch, last).peak == pytest.approx(peak, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TEXT), WORKS, st.integers(2, 64))
def test_a_higher_stage_and_more_gpus_never_need_more_states(arch: Any, work: Any, gpus: int) -> None:
    def states(stage: str, n: int) -> float:
        e = estimate(arch, replace(work, gpus=n, parallel=stage))
        return e.weights + e.gradients + e.optimizer

    order = [states(stage, gpus) for stage in ("ddp", "zero1", "zero2", "zero3")]
    assert order == sorted(order, reverse=True)
    if work.training and not work.frozen:
        peaks = [round(estimate(arch, replace(work, gpus=gpus, parallel=s)).peak) for s in ("ddp", "zero1", "zero2")]
        assert peaks == sorted(peaks, reverse=True)
    assert states("fsdp", gpus) == states("zero3", gpus) >= states("zero3", gpus + 1)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TEXT), WORKS)
def test_a_deeper_or_wider_model_never_needs_less(arch: Any, work: Any) -> None:
    peak = estimate(arch, work).peak
    assert estimate(replace(arch, layers=arch.layers + 1), work).peak >= peak
    assert estimate(replace(arch, ffn=arch.ffn + 128), work).peak >= peak
    assert estimate(replace(arch, vocab=arch.vocab + 128), work).peak >= peak
    body = estimate(arch, work)
    assert sum(body.parts().values()) - body.overlap == pytest.approx(body.peak)


def test_headroom_speaks_of_the_interval() -> None:
    found = estimate(BERT, make(batch=8))
    assert headroom(found, found.high / GIB * 1.1) == "fits"
    assert headroom(found, found.peak / GIB * 1.04) == "tight"
    assert headroom(found, found.peak / GIB * 0.9) == "no"


def test_the_smallest_card() -> None:
    small = smallest_cards(BERT, make(precision="fp32", batch=4, attention="eager"), cards(load()))
    assert {c.memory_gib for c in small} == {16}


def test_the_peers_say_what_their_pages_say() -> None:
    # accelerate's documentation: bert-base-cased 413.18 MB in fp32, 1.61 GB for training; ours: uncased, 109.5 M
    work = make(precision="fp32")
    bert = find_model("bert-base")
    assert accelerate(bert, make(method="inference", precision="fp32")) == pytest.approx(417.6 * MIB, rel=0.01)
    assert accelerate(bert, work) == pytest.approx(1.63 * GIB, rel=0.01)
    assert accelerate(bert, make(method="inference", precision="int8")) == bert.params
    assert accelerate(bert, make(method="qlora")) is None
    assert deepspeed(BERT, work) == 20 * BERT.params
    assert deepspeed(BERT, make(method="lora")) is None


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["estimate", *argv])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_json_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "--model", "bert-base", "--batch", "8", "--format", "json")
    body = json.loads(text)
    assert code == 0
    assert body["schema"] == "envcheck.estimate/1"
    assert sum(body["bytes"].values()) == pytest.approx(body["peak"], abs=10)
    assert body["interval"][0] < body["peak"] < body["interval"][1]
    assert body["cards"]["smallest"]


def test_fit_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "--model", "bert-base", "--gpu", "RTX 4090", "--batch", "8")
    assert code == 0
    assert "fits on GeForce RTX 4090" in text
    code, text, _ = run(capsys, "--model", "llama-3.1-8b", "--precision", "bf16", "--gpu", "RTX 3080 10GB")
    assert code == 1
    assert "does not fit" in text
    assert "--method qlora" in text


def test_the_answer_on_no_card_counts_them(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "--model", "gpt3", "--method", "inference", "--precision", "fp16")[1]
    assert "no single card holds it" in text
    assert "5 of 80 GiB" in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "nothing says which model"),
        (("--model", "bert-base", "--params", "7e9"), "both say which model"),
        (("--model", "bert-base", "--layers", "3"), "go with --params"),
        (("--model", "bart"), "bert"),
        (("--model", "bert-base", "--gpu", "RTX 4090", "--memory", "24"), "give one of them"),
        (("--model", "bert-base", "--memory", "-1"), "no size"),
        (("--model", "bert-base", "--stack", "torch-9"), "no calibration"),
        (("--model", "bert-base", "--trace", "a.py:b"), "leave --model"),
        (("--trace", "a.py:b", "--method", "lora"), "--trace counts full training"),
    ],
)
def test_usage_errors(argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert said in err


def test_every_precision_is_estimated() -> None:
    for name in PRECISIONS:
        assert estimate(BERT, make(precision=name)).peak > 4 * GIB * 0.3
