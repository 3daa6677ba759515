"""Nodes -> who differs from the others. Cards are compared with cards of their own name."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..record import dataclass
from .read import Card, Folder, Node

SLOW_SHARE = 0.95  # of the median of equal cards: issue and contract say 5 %
LEAST_FOR_MEDIAN = 3  # cards; the median of two is no measure


@dataclass(frozen=True, kw_only=True)
class Odd:
    """One node (or one card of it) that differs. ``expected`` is what most have, ``share`` says how many of them."""

    node: str
    gpu: int | None
    what: str
    value: str
    expected: str
    share: str


@dataclass(frozen=True, kw_only=True)
class Fleet:
    folder: Folder
    odd: tuple[Odd, ...]
    expected: int | None  # nodes that there should be
    common: tuple[tuple[str, str, int], ...]  # (what, value, how many have it), of the nodes

    @property
    def verdicts(self) -> dict[str, int]:
        return dict(sorted(Counter(node.verdict for node in self.folder.nodes).items()))

    @property
    def missing(self) -> int:
        return max(0, (self.expected or 0) - len(self.folder.nodes))

    @property
    def exit_code(self) -> int:
        """1 where a node is odd or broken; 3 where one is missing, damaged or undetermined; 1 beats 3."""
        verdicts = self.verdicts
        if self.odd or verdicts.get("broken"):
            return 1
        known = verdicts.get("healthy", 0) + verdicts.get("degraded", 0)
        return 3 if self.missing or self.folder.damaged or known < len(self.folder.nodes) else 0


def compare(folder: Folder, expected: int | None = None) -> Fleet:
    odd = [*_odd_nodes(folder.nodes), *_odd_cards(folder.nodes), *_slow_cards(folder.nodes)]
    order = sorted(odd, key=lambda o: (o.node, -1 if o.gpu is None else o.gpu, o.what))
    return Fleet(folder=folder, odd=tuple(order), expected=expected, common=tuple(_common(folder.nodes)))


def _common(nodes: Sequence[Node]) -> Iterable[tuple[str, str, int]]:
    for what in dict.fromkeys(key for node in nodes for key in node.values):
        value, count = _most(Counter(node.values[what] for node in nodes if what in node.values))
        yield what, value, count


def _most(counts: Counter[str]) -> tuple[str, int]:
    """The commonest; of several equally common ones the least in order, so that the answer never depends on files."""
    return min(counts.items(), key=lambda item: (-item[1], item[0]))


def _odd_nodes(nodes: Sequence[Node]) -> Iterable[Odd]:
    for what in dict.fromkeys(key for node in nodes for key in node.values):
        values = [(node.name, None, node.values.get(what, "not told")) for node in nodes]
        yield from _odd(what, values)


def _odd_cards(nodes: Sequence[Node]) -> Iterable[Odd]:
    for name, cards in _by_name(nodes).items():
        for what in dict.fromkeys(key for _, card in cards for key in card.values):
            told = [(node.name, card.index, card.values.get(what, "not told")) for node, card in cards]
            yield from _odd(f"{what} of {name}", told)
    # a card of another model is odd where all the others are alike
    yield from _odd("GPU model", [(n.name, None, _models(n)) for n in nodes])


def _models(node: Node) -> str:
    return ", ".join(sorted({card.name for card in node.cards})) or "none"


def _by_name(nodes: Sequence[Node]) -> dict[str, list[tuple[Node, Card]]]:
    groups: dict[str, list[tuple[Node, Card]]] = defaultdict(list)
    for node in nodes:
        for card in node.cards:
            groups[card.name].append((node, card))
    return groups


def _odd(what: str, values: Sequence[tuple[str, int | None, str]]) -> Iterable[Odd]:
    counts = Counter(value for _, _, value in values)
    if len(counts) < 2:
        return
    common, count = _most(counts)
    share = f"{count} of {len(values)}"
    if list(counts.values()).count(count) > 1:
        share += ", no majority"
    for node, gpu, value in values:
        if value != common:
            yield Odd(node=node, gpu=gpu, what=what, value=value, expected=common, share=share)


def _slow_cards(nodes: Sequence[Node]) -> Iterable[Odd]:
    for name, cards in _by_name(nodes).items():
        rates = [card.tflops for _, card in cards if card.tflops is not None]
        if len(rates) < LEAST_FOR_MEDIAN:
            continue
        median = statistics.median(rates)
        for node, card in cards:
            if card.tflops is not None and card.tflops < median * SLOW_SHARE:
                below = f"{(1 - card.tflops / median) * 100:.0f} % under the median"
                value = f"{card.tflops:.1f}"
                what = f"fp16 TFLOPS of {name}"
                yield Odd(node=node.name, gpu=card.index, what=what, value=value, expected=f"{median:.1f}", share=below)
