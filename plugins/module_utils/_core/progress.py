# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far long work is: a module notes it in a file that somebody asked for, and nobody else.

Who asks names the file in the module's environment (see plugins/plugin_utils/progress.py). A note is one JSON line:
`phase` (a word), `done` and `total` (bytes; a total of 0 is not known) and `seconds` since the phase began. It holds
nothing but these, because every account of the host may read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

VARIABLE = "BORINGDB_PROGRESS"
#: A measurement is repeated so often, but takes no more than a twentieth of the time.
_SECONDS = 1.0
_SHARE = 20


@contextlib.contextmanager
def noted(phase: str, total: int | Callable[[], int] = 0, done: Callable[[], int] | None = None) -> Iterator[None]:
    """Note how far the work is while the body runs; nothing is measured where nobody asked.

    `done` says how many of `total` bytes are there. Both are called beside the work: they must share nothing with it.
    """
    place = os.environ.get(VARIABLE, "")
    if not place:
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_note, args=(Path(place), over, phase, total, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        with contextlib.suppress(OSError):
            Path(place).unlink()


def _note(
    place: Path, over: threading.Event, phase: str, total: int | Callable[[], int], done: Callable[[], int] | None
) -> None:
    begun, pause = time.monotonic(), 0.0
    whole = 0
    with contextlib.suppress(Exception):
        whole = total() if callable(total) else total
    while not over.wait(pause):
        before = time.monotonic()
        # Work goes on where its progress can't be told.
        with contextlib.suppress(Exception):
            note = {"phase": phase, "done": done() if done else 0, "total": whole, "seconds": before - begun}
            _write(place, json.dumps(note))
        pause = max(_SECONDS, (time.monotonic() - before) * _SHARE)


def _write(place: Path, text: str) -> None:
    """Never through a link, which another account may have put there."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w") as stream:
        stream.write(text + "\n")


def tree_bytes(*folders: Path) -> int:
    """The bytes of all files below some folders; what vanishes meanwhile counts nothing."""
    total = 0
    for folder in folders:
        for place, _names, files in os.walk(folder):
            for name in files:
                with contextlib.suppress(OSError):
                    total += Path(place, name).lstat().st_size
    return total
