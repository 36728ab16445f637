"""What a drill must not leave behind on its host: files, processes, a lock that is held."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from tests.modules import REPO

sys.path.insert(0, str(REPO / ".collections"))
# Under its own name, so that the lab may import it from here.
# pylint: disable-next=useless-import-alias
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import lock_path as lock_path  # noqa: PLC0414


def left_behind(place: Path) -> list[str]:
    """What a drill has left on its host: files, processes, a lock that is held."""
    left = [str(path) for path in sorted(place.glob("*")) if path.name != "run"]
    left += [str(path) for path in sorted(place.glob("run/.s.PGSQL.*"))]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            cwd = ""
            with contextlib.suppress(PermissionError):
                cwd = str((process / "cwd").readlink())
            ours = process.name == str(os.getpid())
            if not ours and (f"{place}/" in words or f"{cwd}/".startswith(f"{place}/")):
                left.append(f"process {process.name}: {' '.join(words.split(chr(0)))[:80]}")
    lock = lock_path(str(place / "data"))
    if lock.exists():
        with lock.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                left.append(f"lock {lock} is held")
    return left
