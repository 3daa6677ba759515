"""Files of a driver that a user brings, NVIDIA's .run file as far as a script sees it among them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

RUN_FILE = """#!/bin/sh
root=$(dirname "$FAKE_STATE")/root
case "$*" in "--silent --dkms -M open") ;; *) exit 3 ;; esac
for kernel in "$root"/lib/modules/*; do
  mkdir -p "$kernel/updates"
  printf '595.100.01 Dual MIT/GPL' >"$kernel/updates/nvidia.ko"
done
mkdir -p "$root/usr/bin"
: >"$root/usr/bin/nvidia-smi"
printf '#!/bin/sh\\nrm -f "$0" %s/usr/bin/nvidia-smi %s/lib/modules/*/updates/nvidia.ko\\n' "$root" "$root" \\
  >"$root/usr/bin/nvidia-uninstall"
chmod 0755 "$root/usr/bin/nvidia-uninstall"
"""


def bring(folder: Path, version: str) -> dict[str, Any]:
    """The .run file of ``version`` (580.100.01), as ``brought`` has it."""
    return brought(folder / f"NVIDIA-Linux-x86_64-{version}.run", RUN_FILE.replace("595.100.01", version))


def brought(file: Path, text: str) -> dict[str, Any]:
    """Write a driver's file; what a job says of it."""
    file.write_text(text)
    return {"file": str(file), "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
