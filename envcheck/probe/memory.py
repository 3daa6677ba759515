"""memory and transfer: patterns through the card's memory and over the link."""

from __future__ import annotations

import time
from typing import Any, Dict

from . import driver, nvml
from .trial import Trial

SHARE = 0.8  # of the free memory
CHUNK = 64 << 20  # bytes; small, so that the comparison needs little room beside it
PATTERNS = (0x00, 0xFF, 0xAA, 0x55)


def _card(trial: Trial) -> Any:
    return nvml.Card.open(driver.device_ids(trial.ordinal)["bus_id"]) if trial.cuda else None


def memory(trial: Trial) -> None:
    """Write, then read back: four constant patterns, and each word's own address (finds aliased lines)."""
    torch = trial.torch
    trial.start_cuda()
    card = _card(trial)
    trial.facts(before=card.errors() if card else None)
    chunk = CHUNK if trial.cuda else 1 << 20
    wanted = int(trial.free_memory() * SHARE) // chunk if trial.cuda else 4
    trial.stage("allocating")
    chunks = []
    for _ in range(wanted):
        try:
            chunks.append(torch.empty(chunk, dtype=torch.uint8, device=trial.device))
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            break
    trial.facts(bytes=len(chunks) * chunk, free=trial.free_memory())
    wrong = 0
    for pattern in PATTERNS:
        trial.stage("pattern 0x{:02x}".format(pattern))
        for block in chunks:
            block.fill_(pattern)
        _spoil(trial, chunks, pattern)
        wrong += sum(int((block != pattern).sum()) for block in chunks)
    trial.stage("address pattern")
    wrong += _addresses(trial, chunks)
    trial.sync()
    trial.facts(wrong=wrong, after=card.errors() if card else None)


def _spoil(trial: Trial, chunks: Any, pattern: int) -> None:
    """The planted flipped bit, in the last pattern."""
    if trial.plant == "flipped-bit" and pattern == PATTERNS[-1]:
        chunks[0][trial.pick(6, chunks[0].numel())] ^= 1 << trial.pick(7, 8)


def _addresses(trial: Trial, chunks: Any) -> int:
    torch = trial.torch
    words = chunks[0].numel() // 8
    places = torch.arange(words, device=trial.device, dtype=torch.int64)
    for number, block in enumerate(chunks):
        torch.add(places, number * words, out=block.view(torch.int64))
    wrong = 0
    for number, block in enumerate(chunks):
        wrong += int((block.view(torch.int64) != places + number * words).sum())
    return wrong


def transfer(trial: Trial) -> None:
    """Pinned and pageable copies both ways: contents, and GB/s (10**9 bytes) against the link under load."""
    torch = trial.torch
    trial.start_cuda()
    size = min(256 << 20, trial.free_memory() // 32 * 8) if trial.cuda else 1 << 20
    words = torch.randint(-(2**62), 2**62, (size // 8,), generator=trial.rng, dtype=torch.int64)
    source = words.view(torch.uint8)
    target = torch.empty(size, dtype=torch.uint8, device=trial.device)
    card, rates, equal = _card(trial), {}, {}
    for word, host in (("pageable", source), ("pinned", source.pin_memory() if trial.cuda else source)):
        trial.stage(word + " copy to the device")
        rates[word + " to device"] = _rate(trial, target, host)
        trial.stage(word + " copy from the device")
        back = torch.zeros_like(host)
        back = back.pin_memory() if trial.cuda and word == "pinned" else back
        rates[word + " from device"] = _rate(trial, back, target)
        if trial.plant == "flipped-bit":
            back[trial.pick(8, size)] ^= 1
        equal[word] = bool(torch.equal(back, source))
    trial.facts(rates=rates, equal=equal, bytes=size, link=_link_under_load(trial, card, target, source))


def _rate(trial: Trial, target: Any, source: Any) -> float:
    """GB/s, best of three after one to warm up."""
    best = float("inf")
    for turn in range(4):
        trial.sync()
        began = time.perf_counter()
        target.copy_(source, non_blocking=trial.cuda)
        trial.sync()
        if turn:
            best = min(best, time.perf_counter() - began)
    return float(target.numel()) / max(best, 1e-9) / 1e9


def _link_under_load(trial: Trial, card: Any, target: Any, source: Any) -> Any:
    if card is None:
        return None
    host = source.pin_memory()
    for _ in range(8):
        target.copy_(host, non_blocking=True)
    found: Dict[str, Any] = card.link()
    trial.sync()
    return found
