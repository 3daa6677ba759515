"""Peak memory of real training and inference steps on the GPU at hand, one JSON line each, for `envcheck estimate`.

    python benchmarks/memory_gpu.py first|second > rows.jsonl

The interpreter has torch, transformers, peft and torchvision.

Models are built from the sizes in envcheck/advise/models.json with random weights: nothing is downloaded. Run on an
otherwise idle GPU; a configuration that does not fit, or that a library refuses, says so in its line.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

MODELS = Path(__file__).resolve().parent.parent / "envcheck" / "advise" / "models.json"
STEPS = 3  # the first fills the allocator and the optimizer, the next show the peak
# Written down before any of them was run; the stack torch-2 of calibration.json was fitted on these.
FIRST: list[dict[str, Any]] = [
    {"model": "bert-base", "method": "full", "precision": "fp32", "batch": 32, "seq": 128},
    {"model": "bert-base", "method": "full", "precision": "fp16-amp", "batch": 32, "seq": 128},
    {"model": "bert-base", "method": "full", "precision": "fp16-amp", "batch": 16, "seq": 512, "attention": "eager"},
    {"model": "bert-base", "method": "full", "precision": "bf16-amp", "batch": 16, "seq": 512, "attention": "sdpa"},
    {"model": "bert-base", "method": "full", "precision": "fp32", "batch": 8, "seq": 512, "attention": "eager"},
    {"model": "bert-base", "method": "full", "precision": "fp16-amp", "batch": 64, "seq": 128, "optimizer": "sgd"},
    {"model": "bert-large", "method": "full", "precision": "fp16-amp", "batch": 16, "seq": 384, "attention": "eager"},
    {"model": "bert-large", "method": "full", "precision": "bf16-amp", "batch": 32, "seq": 512, "checkpointing": True},
    {"model": "bert-large", "method": "full", "precision": "fp32", "batch": 8, "seq": 256, "attention": "sdpa"},
    {"model": "gpt2", "method": "full", "precision": "fp16-amp", "batch": 8, "seq": 1024, "attention": "eager"},
    {"model": "gpt2", "method": "full", "precision": "bf16-amp", "batch": 8, "seq": 1024, "attention": "sdpa"},
    {"model": "qwen2.5-0.5b", "method": "full", "precision": "bf16", "batch": 4, "seq": 1024},
    {"model": "qwen2.5-0.5b", "method": "full", "precision": "bf16-amp", "batch": 4, "seq": 1024},
    {"model": "llama-3.2-1b", "method": "full", "precision": "bf16", "batch": 2, "seq": 2048, "checkpointing": True},
    {"model": "llama-3.2-1b", "method": "lora", "precision": "bf16", "batch": 4, "seq": 1024},
    {"model": "llama-3.2-1b", "method": "lora", "precision": "bf16", "batch": 4, "seq": 2048, "checkpointing": True},
    {"model": "llama-3.2-1b", "method": "lora", "precision": "bf16", "batch": 2, "seq": 2048, "lora_targets": "qv"},
    {"model": "mistral-7b", "method": "lora", "precision": "bf16", "batch": 1, "seq": 2048},
    {"model": "mistral-7b", "method": "lora", "precision": "bf16", "batch": 4, "seq": 2048, "checkpointing": True},
    {"model": "llama-3.1-8b", "method": "lora", "precision": "bf16", "batch": 2, "seq": 4096, "checkpointing": True},
    {"model": "llama-3.1-8b", "method": "inference", "precision": "bf16", "batch": 1, "seq": 2048},
    {"model": "llama-3.1-8b", "method": "inference", "precision": "bf16", "batch": 8, "seq": 4096},
    {"model": "qwen2.5-0.5b", "method": "inference", "precision": "bf16", "batch": 16, "seq": 1024},
    {"model": "resnet50", "method": "full", "precision": "fp32", "batch": 64, "optimizer": "sgd-momentum"},
    {"model": "resnet50", "method": "full", "precision": "fp16-amp", "batch": 128, "optimizer": "sgd-momentum"},
]
# Written down after that, and before any of them was run: what the fit had not seen.
SECOND: list[dict[str, Any]] = [
    {"model": "bert-base", "method": "full", "precision": "fp16-amp", "batch": 32, "seq": 384, "attention": "sdpa"},
    {"model": "bert-base", "method": "full", "precision": "fp32", "batch": 16, "seq": 256, "attention": "sdpa"},
    {"model": "bert-base", "method": "full", "precision": "bf16-amp", "batch": 48, "seq": 256, "attention": "eager"},
    {"model": "bert-base", "method": "full", "precision": "fp16-amp", "batch": 128, "seq": 128, "checkpointing": True},
    {"model": "bert-large", "method": "full", "precision": "fp16-amp", "batch": 32, "seq": 128, "attention": "sdpa"},
    {"model": "bert-large", "method": "full", "precision": "fp32", "batch": 16, "seq": 512, "attention": "eager"},
    {"model": "bert-large", "method": "full", "precision": "bf16-amp", "batch": 24, "seq": 384, "attention": "sdpa"},
    {"model": "bert-large", "method": "full", "precision": "fp32", "batch": 16, "seq": 512, "checkpointing": True},
    {"model": "roberta-base", "method": "full", "precision": "fp16-amp", "batch": 24, "seq": 512, "attention": "sdpa"},
    {"model": "gpt2-medium", "method": "full", "precision": "fp16-amp", "batch": 4, "seq": 1024, "attention": "sdpa"},
    {"model": "gpt2", "method": "full", "precision": "fp32", "batch": 4, "seq": 512, "attention": "eager"},
    {"model": "smollm2-360m", "method": "full", "precision": "bf16", "batch": 8, "seq": 1024},
    {"model": "qwen2-1.5b", "method": "full", "precision": "bf16", "batch": 2, "seq": 2048, "checkpointing": True},
    {"model": "tinyllama-1.1b", "method": "full", "precision": "bf16-amp", "batch": 4, "seq": 1024},
    {"model": "tinyllama-1.1b", "method": "lora", "precision": "bf16", "batch": 8, "seq": 1024, "lora_targets": "qv"},
    {"model": "qwen2-7b", "method": "lora", "precision": "bf16", "batch": 2, "seq": 2048, "checkpointing": True},
    {"model": "llama-3.2-3b", "method": "lora", "precision": "bf16", "batch": 2, "seq": 1024},
    {"model": "mistral-7b", "method": "inference", "precision": "bf16", "batch": 4, "seq": 2048},
    {"model": "llama-3.2-1b", "method": "inference", "precision": "bf16", "batch": 32, "seq": 2048},
    {"model": "resnet18", "method": "full", "precision": "fp16-amp", "batch": 256, "optimizer": "sgd-momentum"},
    {"model": "resnet101", "method": "full", "precision": "fp32", "batch": 32, "optimizer": "sgd-momentum"},
]
SETS = {"first": FIRST, "second": SECOND}
TARGETS = {
    "qv": ["q_proj", "v_proj"],
    "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def sizes(name: str) -> dict[str, Any]:
    rows = json.loads(MODELS.read_text(encoding="utf-8"))["models"]
    return next(row for row in rows if name in (row["id"], *row["aliases"]))


def config_of(row: dict[str, Any], attention: str) -> Any:
    import transformers as hf

    implementation = {"flash": "flash_attention_2"}.get(attention, attention)
    if row["kind"] == "encoder":
        return hf.BertConfig(
            hidden_size=row["hidden"],
            num_hidden_layers=row["layers"],
            num_attention_heads=row["heads"],
            intermediate_size=row["ffn"],
            vocab_size=row["vocab"],
            attn_implementation=implementation,
        )
    if row["kind"] == "gpt2":
        return hf.GPT2Config(
            n_embd=row["hidden"],
            n_layer=row["layers"],
            n_head=row["heads"],
            vocab_size=row["vocab"],
            attn_implementation=implementation,
        )
    config = hf.Qwen2Config if row["id"].startswith("qwen") else hf.LlamaConfig
    return config(
        hidden_size=row["hidden"],
        num_hidden_layers=row["layers"],
        num_attention_heads=row["heads"],
        num_key_value_heads=row["kv_heads"],
        head_dim=row["head_dim"],
        intermediate_size=row["ffn"],
        vocab_size=row["vocab"],
        max_position_embeddings=8192,
        tie_word_embeddings=row["tied"],
        attn_implementation=implementation,
    )


def build(case: dict[str, Any]) -> Any:
    if case["model"].startswith("resnet"):
        import torchvision

        return getattr(torchvision.models, case["model"])().cuda().train()
    import transformers as hf

    row = sizes(case["model"])
    config = config_of(row, case["attention"])
    kind = hf.AutoModelForSequenceClassification if row["kind"] == "encoder" else hf.AutoModelForCausalLM
    torch.set_default_dtype(DTYPES.get(case["precision"], torch.float32))
    try:
        with torch.device("cuda"):
            model = kind.from_config(config)
    finally:
        torch.set_default_dtype(torch.float32)
    if case.get("checkpointing"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.config.use_cache = False
    if case["method"] == "lora":
        import peft

        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=16, lora_dropout=0.0, target_modules=TARGETS[case["lora_targets"]], task_type="CAUSAL_LM"
            ),
        )
        if case.get("checkpointing"):
            model.enable_input_require_grads()
    return model.train(case["method"] != "inference")


def inputs(case: dict[str, Any]) -> dict[str, Any]:
    batch = case["batch"]
    if case["model"].startswith("resnet"):
        return {"x": torch.randn(batch, 3, 224, 224, device="cuda"), "y": torch.zeros(batch, dtype=torch.long).cuda()}
    row = sizes(case["model"])
    words = torch.randint(0, row["vocab"], (batch, case["seq"]), device="cuda")
    labels = torch.zeros(batch, dtype=torch.long, device="cuda") if row["kind"] == "encoder" else words
    return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": labels}


def loss_of(model: Any, data: dict[str, Any]) -> Any:
    if "x" in data:
        return torch.nn.functional.cross_entropy(model(data["x"]), data["y"])
    return model(**data).loss


def train(case: dict[str, Any], model: Any, data: dict[str, Any]) -> float:
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = {
        "adamw": lambda: torch.optim.AdamW(weights, lr=1e-5),
        "sgd": lambda: torch.optim.SGD(weights, lr=1e-5),
        "sgd-momentum": lambda: torch.optim.SGD(weights, lr=1e-5, momentum=0.9),
    }[case.get("optimizer", "adamw")]()
    amp = case["precision"].endswith("-amp")
    dtype = DTYPES[case["precision"].split("-")[0]]
    scaler = torch.amp.GradScaler("cuda", enabled=amp and dtype is torch.float16)
    seconds = 0.0
    for _ in range(STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", dtype=dtype if amp else torch.bfloat16, enabled=amp):
            loss = loss_of(model, data)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return seconds


def infer(model: Any, data: dict[str, Any], new: int = 32) -> float:
    data.pop("labels")
    words = {k: v[:, :-new] for k, v in data.items()}
    began = time.perf_counter()
    with torch.no_grad():
        model.generate(**words, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Peak bytes of the allocator, and what the process takes beside it; seconds of the last step."""
    gc.collect()
    torch.cuda.empty_cache()
    left = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    model, data = build(case), inputs(case)
    seconds = infer(model, data) if case["method"] == "inference" else train(case, model, data)
    free, total = torch.cuda.mem_get_info()
    return {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "outside": total - free - torch.cuda.memory_reserved(),
        "left_before": left,
        "seconds": round(seconds, 4),
    }


def main() -> None:
    import peft
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    print(json.dumps({"gpu": torch.cuda.get_device_name(), **versions}), flush=True)
    for case in SETS[sys.argv[1]]:
        case.setdefault("attention", "sdpa")
        if case["method"] == "lora":
            case.setdefault("lora_targets", "all")
        try:
            found = measure(case)
        except (RuntimeError, ValueError, ImportError, AttributeError, TypeError) as error:
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps({**case, **found}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
