"""Environment variables that a report shows, and containers that it starts.

::

    export CUDA_VISIBLE_DEVICES=2; python run.py ...
    $env:CUDA_VISIBLE_DEVICES = "0"                set CUDA_VISIBLE_DEVICES=1
    os.environ["CUDA_VISIBLE_DEVICES"] = "1"
    $ echo $LD_LIBRARY_PATH
    /usr/local/cuda/lib64:/usr/local/cuda/extras/CUPTI/lib64
    $ docker run --gpus all --rm -it --shm-size=8g nvcr.io/nvidia/pytorch:23.07-py3 nvidia-smi

A variable in the middle of a sentence ("it runs with NCCL_P2P_DISABLE=1") is no setting of this machine.
"""

from __future__ import annotations

import re
from typing import Any

from ..env import NAMES, without_credentials
from .lines import Lines
from .part import Part

_PROMPT = r"(?:[\w.@~/:\\()\[\] -]{0,80}?[$#>%] ?)?"
_KNOWN = "|".join(
    (
        *NAMES,
        r"NCCL_\w{2,40}",
        r"TORCH_\w{2,40}",
        r"PYTORCH_\w{2,40}",
        r"NVIDIA_\w{2,40}",
        r"VLLM_\w{2,40}",
        r"HSA_\w{2,40}",
    )
)
_SET = re.compile(
    rf"[ \t]{{0,8}}{_PROMPT}(?:export |set |setx |env |ENV |sudo |-e |declare -x )?({_KNOWN})(?:=| (?==))=?"
    rf"(\"[^\"]{{0,2000}}\"|'[^']{{0,2000}}'|[^\s;&]{{0,2000}})(?=[\s;&]|$)"
)
_POWERSHELL = re.compile(rf"\$[Ee]nv:({_KNOWN})\s?=\s?[\"']?([^\"'\s;]{{0,400}})")
_OS_ENVIRON = re.compile(rf"os\.environ\[[\"']({_KNOWN})[\"']\]\s?=\s?[\"']([^\"']{{0,400}})[\"']")
_ECHO = re.compile(rf"echo \"?[$%]\{{?(?:env:)?({_KNOWN})[%\}}]?\"?[ \t]*$")
_RUN = re.compile(
    r"(?<![\w/-])(docker|podman|nvidia-docker|nerdctl|singularity|apptainer|docker-compose|enroot)2? (run|exec"
    r"|create|compose (?:up|run))\b(.{0,1500})"
)
_GPUS = re.compile(
    r"--gpus[ =](\"[^\"]{1,80}\"|'[^']{1,80}'|\S{1,60})|(--nv)\b|(?:--device[ =])(nvidia\.com/gpu=\S{1,60})"
)
_RUNTIME = re.compile(r"--runtime[ =](\S{1,30})")
_SHM = re.compile(r"--shm-size[ =](\S{1,12})")
_VARIABLE = re.compile(r"(?:-e|--env)[ =][\"']?([A-Z_]{3,60})=([^\s\"']{0,200})")
_IMAGE = re.compile(
    r"(?<![\w=/.-])((?:[a-z0-9.-]{2,60}(?::\d{2,5})?/){0,4}[a-z0-9._-]{2,80}:[\w.-]{1,120}|"
    r"(?:[a-z0-9.-]{2,60}/){1,4}[a-z0-9._-]{2,80})(?=\s|$)"
)
_FROM = re.compile(r"[ \t]*(?:FROM|[Ii]mage:)[ \t]{1,8}['\"]?(\S{2,200})")
_CUDA_IMAGE = re.compile(
    r"(?:nvidia/cuda|cuda)[:-](\d{1,2}\.\d{1,2})(?:\.\d{1,2})?|cuda(\d{1,2}\.\d)-cudnn|base-cu(\d{3})"
)
_REQUIRES = re.compile(r"unsatisfied condition: ?(?:\S{0,30}\s)?cuda ?>= ?(\d{1,2}\.\d{1,2})")
_BANNER = re.compile(r"[ \t]*(?:NVIDIA Release (\d\d\.\d\d)|CUDA Version (\d{1,2}\.\d)[\d.]{0,6})\b")
_CONTAINER_PROMPT = re.compile(r"[ \t]*\(?\w{0,20}\)? ?root@[0-9a-f]{12}:")


def parse(lines: Lines) -> Part | None:
    part = Part("environment")
    container: dict[str, Any] = {"commands": []}
    echoed: str | None = None
    for _, line in lines:
        text = line.full[:4000]
        if not text:
            continue
        if echoed and not text.lstrip().startswith(("$", ">>>", "(")):
            part.env.setdefault(echoed, without_credentials(text.strip()))
            echoed = None
            continue
        echo = _ECHO.search(text) if "echo" in text else None
        echoed = echo.group(1) if echo else None
        if "=" in text:
            _variables(part, text)
        if " " in text:
            _container(part, container, text, line.number)
    found = {k: v for k, v in container.items() if v}
    if found:
        part.facts["container"] = found
    return part if part.env or part.facts else None


def _variables(part: Part, text: str) -> None:
    for pattern in (_POWERSHELL, _OS_ENVIRON):
        for name, value in pattern.findall(text) if ("nv" in text) else ():
            part.env.setdefault(name, without_credentials(value))
    rest = text
    for _ in range(12):  # VAR=1 OTHER=2 program ...
        found = _SET.match(rest)
        if not found:
            return
        part.env.setdefault(found.group(1), without_credentials(found.group(2).strip("\"'")))
        rest = rest[found.end() :].lstrip(" ;&")
        if not re.match(r"[A-Za-z$]", rest):
            return


def _container(part: Part, container: dict[str, Any], text: str, number: int) -> None:
    run = _RUN.search(text) if ("run" in text or "exec" in text or " up" in text or "create" in text) else None
    if run and not text.lstrip().startswith(("Use ", "use ")) and len(container["commands"]) < 50:
        container["commands"].append(_command(run, number))
    if "unsatisfied condition" in text and (requires := _REQUIRES.search(text)):
        container["requires_cuda"] = requires.group(1)
    if (
        ("FROM" in text or "mage:" in text)
        and (source := _FROM.match(text))
        and ("/" in source.group(1) or ":" in source.group(1))
    ):
        container.setdefault("image", source.group(1).rstrip("'\","))
    if ("NVIDIA Release" in text or "CUDA Version" in text) and (banner := _BANNER.match(text)):
        key, value = ("release", banner.group(1)) if banner.group(1) else ("image_cuda", banner.group(2))
        container.setdefault(key, value)
    if "root@" in text and _CONTAINER_PROMPT.match(text):
        part.os.setdefault("container", "docker")
    if "image" in container and "image_cuda" not in container and (cuda := _CUDA_IMAGE.search(container["image"])):
        container["image_cuda"] = cuda.group(1) or cuda.group(2) or f"{cuda.group(3)[:-1]}.{cuda.group(3)[-1]}"


def _command(run: re.Match[str], number: int) -> dict[str, Any]:
    engine, verb, rest = run.groups()
    gpus, runtime, shm = _GPUS.search(rest), _RUNTIME.search(rest), _SHM.search(rest)
    image = _IMAGE.search(re.sub(r"(?:-v|--volume|-p|--publish|-w|--mount|--name|--env|-e)[ =]\S{1,300}", "", rest))
    asked = next((g.strip("\"'") for g in gpus.groups() if g), None) if gpus else None
    found: dict[str, Any] = {
        "engine": engine,
        "verb": verb,
        "gpus": asked or ("all" if engine == "nvidia-docker" else None),
        "runtime": runtime.group(1) if runtime else None,
        "shm_size": shm.group(1) if shm else None,
        "ipc_host": "--ipc=host" in rest or "--ipc host" in rest,
        "privileged": "--privileged" in rest,
        "image": image.group(1) if image else None,
        "env": dict(_VARIABLE.findall(rest)),
        "line": number,
    }
    return found
