"""Words of GPU names, as nvidia-smi, a shop and a person write them, brought to one spelling."""

from __future__ import annotations

import functools
import re

# words that every card carries or none needs
DROPPED = re.compile(
    "nvidia|geforce|tesla|gpus?|graphics|cards?|generation|with|design|corporation|accelerator|edition|series|video|"
    "adapter|the|module|superchip"
)
SERIES = frozenset(("rtx", "gtx", "gts", "gt"))
# words that make another product of the card before them; a shop's other words ("ventus", "oc") do not
VARIANT = re.compile(
    "ti|super|laptop|maxq|ada|pro|quadro|d|v2|le|se|sff|max|titan|xp|boost|nvl|sxm[2-5]?|pcie|blackwell|embedded|"
    "server|mx|jetson|orin|grid"
)
SPELLED = {"mobile": "laptop", "notebook": "laptop", "lovelace": "ada"}
BRAND = re.compile(r"(nvidia|geforce|quadro|tesla|titan|jetson)(?=.)|(rtx|gtx|gts|gt)(?=[at]?\d|pro|titan)|(pro)(?=\d)")
SUFFIX = re.compile(r"([a-z]{0,2}\d{2,4})(ti|super|laptop|mobile|maxq|ada|oc)(.*)")
UNIT = re.compile(r"\d+(gb|mb|x|bit|mhz|hz|w|mm|fan|nm)")
AMPERE = re.compile(r"a\d{3,4}")
# what may be a model number: 4090, a100, 980m, v100s, 5880
MODEL = re.compile(r"\d{3,4}[a-z]{0,2}|[a-z]{1,2}\d{1,4}[a-z]{0,2}")


@functools.lru_cache(maxsize=8192)
def tokens(text: str) -> frozenset[str]:
    """The words of a name without the dropped ones: ``NVIDIA GeForce RTX3080Ti 12 GB`` -> {rtx, 3080, ti, 12gb}."""
    text = re.sub(r"\((?:r|tm|c)\)|[®™©]", " ", text.lower())
    text = re.sub(r"max[\s-]*q", "maxq", text).replace("pci-e", "pcie")
    text = re.sub(r"(?<![a-z0-9])(\d+)\s*g(?:i?b)?(?![a-z0-9])", r"\1gb", text)
    out: list[str] = []
    for chunk in re.findall(r"[a-z0-9]+", text):
        out += _split(chunk)
    words = frozenset(SPELLED.get(w, w) for w in out if not DROPPED.fullmatch(w))
    if "laptop" in words:  # pci.ids writes "Mobile / Max-Q" where it cannot tell the two apart
        words -= {"maxq"}
    if "quadro" in words and "rtx" in words and any(AMPERE.fullmatch(w) for w in words):
        words -= {"quadro"}  # "Quadro RTX A6000": the word went with Turing, shops kept it
    return words


def _split(chunk: str) -> list[str]:
    """``rtx4090`` -> rtx, 4090;  ``3080ti`` -> 3080, ti;  ``a6000`` stays."""
    brand = BRAND.match(chunk)
    if brand is not None and brand.end() < len(chunk):
        return [brand[0], *_split(chunk[brand.end() :])]
    suffix = SUFFIX.fullmatch(chunk)
    if suffix is not None:
        return [suffix[1], suffix[2], *(_split(suffix[3]) if suffix[3] else ())]
    return [chunk]


def numbers(words: frozenset[str]) -> frozenset[str]:
    """Words with a digit that are no unit: what a model is known by."""
    return frozenset(w for w in words if any(c.isdigit() for c in w) and not UNIT.fullmatch(w))
