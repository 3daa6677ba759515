"""``/etc/os-release``, ``lsb_release -a``, ``hostnamectl``, ``uname -a`` and ``/proc/version``.

::

    PRETTY_NAME="Ubuntu 22.04.5 LTS"
    VERSION_ID="22.04"
    ID=ubuntu
    ID_LIKE=debian

    Distributor ID: Ubuntu
    Description:    Ubuntu 22.04.3 LTS
    Release:        22.04

    Linux host 5.15.0-91-generic #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 x86_64 x86_64 x86_64 GNU/Linux
    Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f) (gcc (GCC) 11.2.0, ...) #1 SMP ...
    # R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, ...
"""

from __future__ import annotations

import re

from ..os import OWNER_IDS, os_family, parse_l4t, parse_os_release
from .lines import Lines
from .part import Part
from .platforms import from_kernel, from_pretty

_KEYS = frozenset({
    "NAME", "ID", "ID_LIKE", "VERSION", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME", "ANSI_COLOR", "CPE_NAME",
    "LOGO", "UBUNTU_CODENAME", "BUILD_ID", "PLATFORM_ID", "VARIANT", "VARIANT_ID", "IMAGE_ID", "IMAGE_VERSION",
    "SUPPORT_END", "DEBIAN_VERSION_FULL", "DEFAULT_HOSTNAME", "RELEASE_TYPE", "KERNEL_COMMIT_ID", "PROJECT_CODENAME",
    "DISTRIB_ID", "DISTRIB_RELEASE", "DISTRIB_CODENAME", "DISTRIB_DESCRIPTION", "VENDOR_NAME", "KYLIN_RELEASE_ID",
    "OSTREE_VERSION", "GOOGLE_METRICS_PRODUCT_ID", "GOOGLE_CRASH_ID",
})  # fmt: skip
_SUFFIXES = ("_URL", "_PRODUCT", "_PRODUCT_VERSION", "_PROJECT", "_PROJECT_VERSION")
_ASSIGNMENT = re.compile(
    r"[ \t]{0,12}([A-Z][A-Z_0-9]{1,50})=(\"[^\"]{0,300}\"?|'[^']{0,300}'?|[^\"'\s]\S{0,300}|)[ \t]*$"
)
_LSB = re.compile(r"[ \t]*(Distributor ID|Description|Release|Codename|Operating System)[ \t]*:[ \t]{1,12}(\S.{0,80})$")
_UNAME = re.compile(
    r"[ \t]*Linux \S{1,80} (\d{1,2}\.\d{1,3}\S{0,80}) #\S{1,40} .{0,160}?\b(x86_64|aarch64|ppc64le|i686)\b"
)
_PROC = re.compile(r"[ \t]*Linux version (\d{1,2}\.\d{1,3}\S{0,80})")
_BARE_KERNEL = re.compile(r"[ \t]*(\d{1,2}\.\d{1,3}\.\d{1,3}(?:\.\d{1,3})?-[\w.+-]{3,80})$")
_RELEASE_LINE = re.compile(
    r"[ \t]*(?:(?:CentOS|Red Hat|Rocky|AlmaLinux|Fedora|Oracle|Scientific)\b.{0,40} release \d.{0,60})$"
)


def parse(lines: Lines) -> Part | None:
    part = Part("os-release")
    _assignments(lines, part)
    _tools(lines, part)
    _kernels(lines, part)
    return part if part.os or part.taken else None


def _assignments(lines: Lines, part: Part) -> None:
    if "=" not in lines.text:
        return
    positions, texts = list[int](), list[str]()
    found = set[str]()
    for position, line in lines:
        match = _ASSIGNMENT.match(line.text)
        if match and (match.group(1) in _KEYS or (found and match.group(1).endswith(_SUFFIXES))):
            if match.group(1) == "PRETTY_NAME" and "PRETTY_NAME" in found and "ID" in found:
                break  # a second system (the container's, the host's) begins: the first one counts
            positions.append(position)
            texts.append(line.text.strip())
            found.add(match.group(1))
    named = found & {"PRETTY_NAME", "ID", "VERSION_ID", "ID_LIKE", "DISTRIB_ID", "DISTRIB_RELEASE", "VERSION"}
    if not named or len(found) < 2:
        return
    part.taken.update(positions)
    fields = parse_os_release("\n".join(texts))
    id = (fields.get("ID") or fields.get("DISTRIB_ID", "")).lower() or None
    part.os.update({
        "id": id,
        "version": fields.get("VERSION_ID") or fields.get("DISTRIB_RELEASE") or None,
        "family": os_family(fields if fields.get("ID") or not id else {**fields, "ID": id}),
        "platform": "linux",
        "driver_owner": OWNER_IDS.get(id or fields.get("NAME", "").lower()),
    })  # fmt: skip
    names = {"pretty_name": "PRETTY_NAME", "variant_id": "VARIANT_ID", "codename": "VERSION_CODENAME"}
    part.facts["os"] = {k: fields[v] for k, v in names.items() if fields.get(v)}


def _tools(lines: Lines, part: Part) -> None:
    if lines.has("distributor id", "operating system", "description:"):
        said: dict[str, str] = {}
        for position, line in lines:
            if ":" in line.text and (found := _LSB.match(line.text)):
                said.setdefault(found.group(1), found.group(2).strip())
                if found.group(1) != "Release":
                    part.take(position, "")
        pretty = said.get("Description") or said.get("Operating System") or said.get("Distributor ID", "")
        named = from_pretty(pretty)
        if named and not part.os.get("id"):
            part.os.update(named)
            if "Distributor ID" in said and said.get("Release", "")[:1].isdigit():
                part.os["version"] = said["Release"]
    if "release " in lines.text and not part.os.get("id"):
        for position, line in lines:
            if _RELEASE_LINE.match(line.text) and (named := from_pretty(line.text)):
                part.os.update(named)
                part.take(position, "")
                break


def _kernels(lines: Lines, part: Part) -> None:
    asked = False
    for position, line in lines:
        text = line.text
        if "Linux" in text:
            if uname := _UNAME.match(text):
                part.os.update(from_kernel(uname.group(1), uname.group(2)))
                part.take(position, "")
            elif proc := _PROC.match(text):
                part.os.update(from_kernel(proc.group(1)))
                part.take(position, "")
        elif "(release), REVISION" in text and (release := parse_l4t(text)):
            part.os["jetson"] = release
            part.os.setdefault("platform", "linux")
            part.os.setdefault("arch", "aarch64")
            part.take(position, "")
        elif asked and (bare := _BARE_KERNEL.match(text)):
            part.os.update(from_kernel(bare.group(1)))
            part.take(position, "")
        asked = "uname -r" in text or (asked and not text)
    if "Ubuntu" in lines.text and part.os.get("kernel") and not part.os.get("id"):
        for _, line in lines:
            if _UNAME.match(line.text) and "-Ubuntu SMP" in line.text:
                part.os.update(id="ubuntu", family="debian")
                break
