"""GPUs as people write them: ``2x RTX 4090``, ``GTX 1650 SUPER``, ``A100 80GB``, ``AMD RX 580``."""

from __future__ import annotations

import re

_SUFFIX = (
    r"(?:[ -]?(?:Ti|SUPER|Super|D\b|Max-Q|Mobile|Laptop(?: GPU)?|with Max-Q Design|(?:Mobile )?Ada(?: Generation)?"
    r"|\d{1,3} ?GB|Founders Edition))"
)
_GEFORCE = rf"(?:NVIDIA )?(?:GeForce )?(?:RTX|GTX|GT|MX)[ -]?\d{{3,4}}(?:M[Q]?\b|[Tt]i\b|S\b)?(?:{_SUFFIX}){{0,4}}"
_PRO = rf"(?:NVIDIA )?(?:Quadro )?RTX (?:A|PRO )\d{{3,5}}(?: Blackwell)?(?:{_SUFFIX}){{0,3}}"
_QUADRO = rf"(?:NVIDIA )?Quadro (?:RTX |GV|GP|[KMPT])?\d{{3,4}}M?(?:{_SUFFIX}){{0,3}}"
_TITAN = r"(?:NVIDIA )?(?:GeForce )?(?:GTX )?(?:TITAN|Titan) (?:RTX|Xp|X|V|Z|Black)\b"
_TESLA = r"(?:NVIDIA )?Tesla [KMPVT]\d{1,3}[a-zA-Z]?(?:[- ](?:PCIE|PCIe|SXM\d?|SMX\d?|FHHL)(?:-\d{1,3}GB)?)?\b"
_CENTRE = (
    r"(?:NVIDIA )?(?<![\w.-])(?:GB?H?[23]00|B[123]00|H[128]00|H20|A[18]00|A40|A30|A10G?|A16|L40S?|V100S?|P100|P40"
    r"|M60|K80"
    r"|GB10|GH200|GB[23]00)(?![\w.])(?:[- ](?:PCIe|PCIE|SXM\d?|NVL|HBM3e?|\d{2,3} ?GB)){0,4}"
)
_SMALL = (
    r"(?:(?:NVIDIA|Nvidia|nvidia) (?:GeForce )?)(?:L4|T4|A2|P4|Graphics Device|Thor|Orin|GT \d{3}"
    r"|[1-9]\d{2,3}(?![:.\d])(?: Ti)?)\b|\bT4\b(?= GPU)|GeForce \d{3,4}\w?"
)
# names that laptops, paper sizes and buses share: a GPU only where the line speaks of GPUs, or counts them
_AMBIGUOUS = re.compile(r"(?:A10G?|A16|A30|A40|P40|M60|K80|L40S?|B[123]00|H20|\d{4}.*)$")
_CONTEXT = re.compile(r"(?i)\bgpus?\b|nvidia|cuda|tesla|graphics|\bcards?\b|\bmig\b|vram|driver")
_BARE = (
    r"(?<![\w.,:/-])(?:10[5678]0|16[56]0|20[678]0|30[56789]0|40[6789]0|50[6789]0)(?: ?Ti\b| ?SUPER\b| Super\b|S\b)?"
    r"(?: Laptop)?(?![\w.:%]|,\d)"
)
_GPU = re.compile(
    rf"(?:(?<![\w.])(\d{{1,2}}|one|two|three|four|eight)\s?[x×*]?\s)?(?<![\w/])({_PRO}|{_QUADRO}|{_GEFORCE}"
    rf"|{_TITAN}|{_TESLA}|{_CENTRE}|{_SMALL}|{_BARE})(?! series)"
    r"(?: ?[x×*] ?([2-9]|10)\b(?!\.| ?[GMT]i?B)| : ([2-8])\b(?= *$))?"
)
_TIMES = re.compile(r"(\d{1,2})[x×*]\s?(?=\S)")
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "eight": 8}
_AMD = re.compile(
    r"\b(?:AMD )?(?:Radeon(?: \w{1,4}){0,2} ?\w{0,8}|RX ?\d{3,4}(?: XTX| XT)?|Vega \d{2}|Instinct MI\d{2,3}\w?"
    r"|MI\d{3}X?)\b"
)
_INTEL = re.compile(
    r"\bIntel(?:\(R\)|®)?(?: (?:Arc|Iris|UHD|HD|Xe|Plus|integrated)(?:\(R\)|\(TM\)|®|™)?){0,3} [Gg]raphics(?: \d{3,4})?"
    r"|\bIntel(?:\(R\)|®)? Iris(?:\(R\)|®)?(?: Xe| Plus)?(?! [Gg]raphics)"
    r"|\bIntel Arc \w{1,6}\b"
)
# of a text in lower case: without regard to case they would take three times as long
_HINTS = re.compile(
    r"rtx|gtx|tesla|quadro|titan|geforce|nvidia|[abhlvpkm]\d{2,3}|gb\d\d|gh200|\bt4\b|\b[1-5]0[5-9]0|\b16[56]0"
)
_OTHER_HINTS = re.compile(r"radeon|\brx ?\d|vega|instinct|mi\d{2}|intel|amd")


def nvidia(text: str) -> list[tuple[int, str]]:
    """(count, name) of each NVIDIA GPU that ``text`` names, in order, each name once."""
    if not _HINTS.search(text.lower()):
        return []
    found: dict[str, int] = {}
    context = _CONTEXT.search(text)
    for match in _GPU.finditer(_TIMES.sub(r"\1 ", text[:1000])):
        name = match.group(2).strip()
        if _AMBIGUOUS.match(name) and not (context or match.group(1)):
            continue
        count = next(filter(None, match.group(1, 3, 4)), "1")
        number = _WORDS.get(count) or int(count) if count in _WORDS or count.isdigit() else 1
        found.setdefault(name, number if 0 < number <= 16 else 1)
    return [(count, name) for name, count in found.items()]


def others(text: str) -> list[str]:
    """GPUs of AMD and Intel that ``text`` names."""
    if not _OTHER_HINTS.search(text.lower()):
        return []
    return [m.group().strip() for pattern in (_AMD, _INTEL) for m in pattern.finditer(text[:1000])]
