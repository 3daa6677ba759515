"""A file system that answers nothing: whoever looks into it hangs in the kernel, and no signal ends him.

Linux waits for FUSE's answer to a request that user space has read without listening to any signal (fs/fuse/dev.c,
``request_wait_answer``: "Either request is already in userspace, or it was forced. Wait it out"): a process that is
killed there stays in state D, as one that is inside a hung driver. The end of the connection, which the end of this
process brings too, lets every one of them go: no test leaves one behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from pathlib import Path

INIT = 26  # the one request that is answered: without it nobody's look-up is even sent
PARALLEL_DIROPS = 1 << 18  # one look-up that hangs leaves the directory to others
HEADER = struct.Struct("<IIQ")  # length, opcode, the request's number; 24 more bytes follow
FORCED, DETACHED = 1, 2  # umount2: MNT_FORCE ends the connection, MNT_DETACH does not wait


class SilentMount:
    """Mounted while the ``with`` block runs. Raises ``OSError`` where this process may not mount."""

    def __init__(self, at: Path) -> None:
        self.at = at

    def __enter__(self) -> SilentMount:
        self.at.mkdir(parents=True, exist_ok=True)
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"silent", os.fsencode(self.at), b"fuse", 0, options.encode()) != 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        ctypes.CDLL(None).umount2(os.fsencode(self.at), FORCED | DETACHED)
        self._thread.join(5)
        os.close(self._fd)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # ENODEV: unmounted
            while data := os.read(self._fd, 1 << 17):
                _, opcode, number = HEADER.unpack_from(data)
                if opcode == INIT:
                    body = struct.pack("<IIIIHHIIHHIII20x", 7, 31, 0, PARALLEL_DIROPS, 12, 9, 4096, 1, 0, 0, 0, 0, 0)
                    os.write(self._fd, struct.pack("<IiQ", 16 + len(body), 0, number) + body)
