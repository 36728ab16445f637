# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who takes writes, looked at every 10 ms: two members that do at once are a split brain."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any

import psycopg

EVERY = 0.01
_ASK = "SELECT NOT pg_is_in_recovery()"


class Watch:
    """A thread with one connection to each member, from the moment it is entered to its end."""

    def __init__(self, members: dict[str, dict[str, Any]]) -> None:
        self.members = members
        self.rounds = 0
        self.split: list[str] = []
        self.primaries: set[str] = set()
        self._connections: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)
        for connection in self._connections.values():
            connection.close()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            writable = [name for name in self.members if self.writes(name)]
            self.rounds += 1
            self.primaries.update(writable)
            # The first may have ended while the others were asked.
            if len(writable) > 1 and self.writes(writable[0]) and all(self.writes(name) for name in writable[1:]):
                self.split.append(f"{' and '.join(writable)} take writes at {time.time():.3f}")

    def writes(self, name: str) -> bool:
        """Whether a member takes writes now. One that is away does not."""
        try:
            if name not in self._connections:
                self._connections[name] = psycopg.connect(
                    **self.members[name], autocommit=True, connect_timeout=2, prepare_threshold=None
                )
            row = self._connections[name].execute(_ASK).fetchone()
            return bool(row and row[0])
        except psycopg.Error:
            with contextlib.suppress(KeyError, psycopg.Error):
                self._connections.pop(name).close()
            return False
