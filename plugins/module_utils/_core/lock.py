# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One operation at a time on one thing of a host, held by the worker and by nothing that outlives it.

The kernel drops a flock when its holder dies, so a killed worker leaves no stale lock. A controller that dies
leaves its worker, and with it the lock: the next run waits for it or refuses with the holder's name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError


def lock_path(thing: str) -> Path:
    """Where the lock of `thing` (a directory, or a name of any kind) lies: one place for every account of the host."""
    shared = Path("/run/lock")
    # Where only root may write there, as on Red Hat, root must not lock another file than everybody else.
    open_to_all = shared.is_dir() and shared.stat().st_mode & stat.S_IWOTH
    folder = shared if open_to_all else Path("/tmp")  # noqa: S108 - one place, whatever TMPDIR says
    # A name that is no path is the same wherever a worker happens to stand.
    name = os.path.realpath(thing) if Path(thing).is_absolute() else thing
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return folder / f"boringdb-{digest}.lock"


#: A link that somebody planted in a directory open to all is not followed.
_COMMON = os.O_CLOEXEC | os.O_NOFOLLOW


def _open(path: Path) -> int:
    """Open for a flock. Another account's file in a sticky directory can only be read, which is enough."""
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _COMMON, 0o644)
        # A strict umask would shut other accounts out of the lock for good.
        with contextlib.suppress(PermissionError):
            os.fchmod(handle, 0o644)
        return handle
    return os.open(path, os.O_RDONLY | _COMMON)


def _holder(path: Path) -> str:
    """Who holds the lock. The note may be an earlier holder's: another account's file can't be written."""
    pids = _holding(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(path.read_text())
        if not pids or said["pid"] in pids:
            return f"{said['operation']} (pid {said['pid']}, since {said['since']})"
    return f"another operation (pid {pids[0]})" if pids else "another operation"


def _holding(path: Path) -> list[int]:
    """The processes that took the lock, as the kernel tells; empty where it does not."""
    found = []
    with contextlib.suppress(OSError):
        file = path.stat()
        place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and "->" not in words and place in words:
                found.append(int(words[words.index(place) - 1]))
    return found


def lock_within(handle: int, wait_seconds: float, refusal: Callable[[], str]) -> None:
    """Lock an open file. Raises OpsError with what `refusal` says when it is still held after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OpsError(refusal()) from None
            time.sleep(0.1)


@contextlib.contextmanager
def host_lock(thing: str, operation: str, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock of `thing` while `operation` runs.

    Raises OpsError naming the holder when it is still held after `wait_seconds`.
    """
    path = lock_path(thing)
    handle = _open(path)
    try:
        refusal = f"{thing} is in use by {{}}; wait for it to end or set lock_timeout".format
        lock_within(handle, wait_seconds, lambda: refusal(_holder(path)))
        note = {"operation": operation, "pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(note).encode(), 0)
        yield
    finally:
        os.close(handle)
