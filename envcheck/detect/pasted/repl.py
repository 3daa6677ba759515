"""Answers of a Python prompt (or of a script that prints them) about torch.

::

    >>> torch.__version__                          torch.__version__: '2.0.1+cu118'
    '1.13.1'                                       torch.backends.cudnn.version(): 8600
    >>> print(torch.version.cuda)                  print(torch.__version__, torch.cuda.is_available())
    None                                           2.0.1+cu117 True
    >>> torch.cuda.get_device_capability()         In [1]: torch.__version__
    (8, 6)                                         Out[1]: '1.0.0'

A prompt that prints nothing after ``torch.version.cuda`` says None: that is how Python shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .lines import Lines
from .part import GpuRow, Part
from .torch_version import describe, torch_version
from .values import cudnn_version

_EXPRESSION = re.compile(
    r"torch\.(__version__|version\.__version__|version\.cuda|version\.hip|cuda\.is_available\(\)|cuda\.device_count\(\)"
    r"|cuda\.get_arch_list\(\)|cuda\.get_device_name\([^)]{0,60}\)?\)|cuda\.get_device_capability\([^)]{0,40}\)"
    r"|backends\.cudnn\.version\(\)|backends\.cudnn\.is_available\(\))"
    r"|\b((?:numpy|np|torchvision|torchaudio|triton|xformers|flash_attn|transformers|tensorflow|tf)\.__version__)"
)
_INLINE = re.compile(r"[ \t]*['\")}\]]{0,3}[ \t]*(?:=>|->|==|[:=→]|#)[ \t]*(\S.{0,300})$")
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.|In ?\[\d{0,6}\]:?|\$|#|PS |C:\\|\(\w{1,30}\) ?\S{0,40}[$#>])")
_OUT = re.compile(r"[ \t]*Out ?\[\d{0,6}\]:?[ \t]*")
_PROBE = re.compile(r"[ \t]*(cuda_build|cudnn|arch_list|is_available|RuntimeError)[ \t]+(\S.{0,300})$")
_PROBE_HEAD = re.compile(r"[ \t]*torch (\d+\.\d+\S{0,60})$")
_LABEL = re.compile(r"[ \t]*(?:CUDA (AVAILABLE|VERSION|DEVICE|available|version)):[ \t]*$")
_ARCHS = re.compile(r"\b(sm|compute)_(\d{2,3}[af]?)\b")
_PAIR = re.compile(r"\(?(\d{1,2})\s?,\s?(\d)\)?")


def parse(lines: Lines) -> Part | None:
    if not lines.has("torch.", "__version__", "cuda_build", "cuda available"):
        return None
    part = Part("repl")
    ours = "cuda_build" in lines.lower
    waiting: list[str] = []
    at_prompt = False
    for _, line in lines:
        text = line.text
        if not text.strip():
            continue
        matches = list(_EXPRESSION.finditer(text)) if "torch." in text or "__version__" in text else []
        found = [m.group(1) or m.group(2) for m in matches]
        label = _LABEL.match(text) if "CUDA" in text else None
        if found and not text.lstrip().startswith(("import ", "from ", "File ", "if ", "raise ", "assert ")):
            if waiting and at_prompt:
                _nothing(part, waiting)
            inline = _INLINE.match(text[matches[-1].end() :])
            at_prompt = bool(_PROMPT.match(text))
            waiting = found
            if inline and len(found) == 1 and "print" not in text[: matches[-1].start()]:
                _set(part, found[0], inline.group(1).strip())
                waiting = []
        elif label:
            waiting = ["cuda.is_available()" if label.group(1).lower() == "available" else "version.cuda"]
            waiting = waiting if label.group(1).lower() != "device" else []
            at_prompt = False
        elif waiting:
            _answer(part, waiting, _OUT.sub("", text), at_prompt)
            waiting = []
        elif ours:
            _probe(part, text)
    if waiting and at_prompt:
        _nothing(part, waiting)
    return part if part.torch or part.packages or part.gpus or part.facts else None


def _answer(part: Part, waiting: list[str], text: str, at_prompt: bool) -> None:
    if _PROMPT.match(text):
        if at_prompt:
            _nothing(part, waiting)
        return
    if text.startswith(("Traceback", "  File")) or "Error" in text[:40]:
        return
    if len(waiting) == 1:
        _set(part, waiting[0], text.strip())
        return
    words = text.strip().strip("()").replace(", ", " ").split()
    if len(words) == len(waiting):
        for expression, word in zip(waiting, words, strict=True):
            _set(part, expression, word)


def _nothing(part: Part, waiting: list[str]) -> None:
    """Nothing was printed: None, where one expression was asked for."""
    if waiting == ["version.cuda"]:
        _cuda(part, "None")


def _set(part: Part, expression: str, text: str) -> None:
    text = text.strip().strip("'\"`,")
    if expression in ("__version__", "version.__version__"):
        if found := torch_version(text):
            part.torch["version"] = found
            for key, value in describe(found).items():
                part.torch.setdefault(key, value)
        return
    handlers: dict[str, Callable[[Part, str], None]] = {
        "version.cuda": _cuda,
        "version.hip": _hip,
        "cuda.is_available()": _available,
        "cuda.device_count()": _count,
        "cuda.get_arch_list()": _archs,
        "backends.cudnn.version()": _cudnn,
    }
    if expression in handlers:
        handlers[expression](part, text)
    elif expression.startswith("cuda.get_device_name") and re.match(r"[A-Za-z]", text) and len(text) < 80:
        part.gpus.append(GpuRow(len(part.gpus), {"name": text}))
    elif expression.startswith("cuda.get_device_capability") and (pair := _PAIR.match(text)):
        row = part.gpus[-1] if part.gpus else GpuRow(0)
        row.fields["compute_capability"] = f"{pair.group(1)}.{pair.group(2)}"
        if not part.gpus:
            part.gpus.append(row)
    elif expression.endswith(".__version__") and re.match(r"\d+\.\d", text):
        name = {"np": "numpy", "tf": "tensorflow", "flash_attn": "flash-attn"}.get(
            expression.split(".")[0], expression.split(".")[0]
        )
        part.packages.setdefault(name, text.split()[0])


def _cuda(part: Part, text: str) -> None:
    found = re.match(r"\d{1,2}\.\d", text)
    if found:
        part.torch["cuda"] = found.group()
    elif text.startswith("None"):
        part.facts["torch_cuda_none"] = True


def _hip(part: Part, text: str) -> None:
    if re.match(r"\d", text):
        part.facts.setdefault("collect_env", {})["hip"] = text


def _available(part: Part, text: str) -> None:
    """The first answer counts where one script prints it twice; a later False outweighs an earlier True."""
    if text.startswith(("True", "False")):
        part.torch["cuda_available"] = text.startswith("True") and part.torch.get("cuda_available") is not False


def _count(part: Part, text: str) -> None:
    if text[:4].isdigit() and int(text[:4]) < 1000:
        part.facts["device_count"] = int(text[:4])


def _archs(part: Part, text: str) -> None:
    found = [f"{kind}_{number}" for kind, number in _ARCHS.findall(text)]
    if found:
        part.torch["archs"] = tuple(found)
    elif text.startswith("[]"):
        part.torch["archs"] = ()


def _cudnn(part: Part, text: str) -> None:
    if text[:7].isdigit() and (found := cudnn_version(int(text[:7]))):
        part.torch["cudnn"] = found


def _probe(part: Part, text: str) -> None:
    """Our own probe's lines: ``torch 2.7.1+cu126``, ``cuda_build 12.6``, ``arch_list sm_50 sm_60``."""
    if head := _PROBE_HEAD.match(text):
        _set(part, "__version__", head.group(1))
    elif pair := _PROBE.match(text):
        key, value = pair.groups()
        names = {"cuda_build": "version.cuda", "cudnn": "backends.cudnn.version()", "arch_list": "cuda.get_arch_list()",
                 "is_available": "cuda.is_available()"}  # fmt: skip
        if key in names:
            _set(part, names[key], value)
