"""A file system on which every look-up waits for ever: whoever touches it sleeps in the kernel and survives SIGKILL.

FUSE, spoken to without a library (root on Linux): the kernel waits for an answer that was promised by reading the
request, uninterruptibly (state D), as it does for a driver that does not come back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

INIT = 26
MNT_FORCE, MNT_DETACH = 1, 2
HEADER = struct.Struct("=IIQQIII4x")  # length, opcode, unique, node, uid, gid, pid: linux/fuse.h
ANSWER = struct.Struct("=IiQ")  # length, error, unique
INIT_ANSWER = struct.Struct("=IIIIHHIIHHI28x")  # version 7.31, no flags, 64 bytes


def _serve(fd: int) -> None:
    """Say hello, then read every request and answer none."""
    with contextlib.suppress(OSError):  # unmounted
        while True:
            data = os.read(fd, 1 << 17)
            _, opcode, unique, *_ = HEADER.unpack_from(data)
            if opcode == INIT:
                body = INIT_ANSWER.pack(7, 31, 0, 0, 4, 4, 4096, 1, 1, 0, 0)
                os.write(fd, ANSWER.pack(ANSWER.size + len(body), 0, unique) + body)


@contextlib.contextmanager
def stuck_folder(folder: Path) -> Iterator[Path]:
    """``folder``, mounted so that looking for anything in it never ends; skips the test where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no process can be made to hang in the kernel here: {error}")
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
    if libc.mount(b"fuse", os.fsencode(folder), b"fuse", 0, options) != 0:
        os.close(fd)
        pytest.skip(f"no process can be made to hang in the kernel here: mount: {os.strerror(ctypes.get_errno())}")
    server = threading.Thread(target=_serve, args=(fd,), daemon=True)
    server.start()
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), MNT_FORCE)  # whoever waits gets an error, and then its signal
        server.join(5.0)
        libc.umount2(os.fsencode(folder), MNT_DETACH)  # some may hold it for a moment yet
        os.close(fd)


def state_of(pid: int) -> str:
    """The letter that ``ps`` shows: D for a sleep that nothing interrupts."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
