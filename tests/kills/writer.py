# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that goes on writing to the primary, and remembers what was acknowledged to it, and on which timeline."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg

_TABLE = "CREATE TABLE IF NOT EXISTS kept (id bigint PRIMARY KEY)"
_INSERT = "INSERT INTO kept VALUES (%s) RETURNING substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"


@dataclass(frozen=True)
class Acknowledged:
    """One row whose commit was acknowledged."""

    number: int
    timeline: int


class Writer:
    """Twenty rows a second while there is a primary, none while there is none."""

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self.acknowledged: list[Acknowledged] = []
        self._number = 0
        self._hand = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> Writer:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> list[Acknowledged]:
        """End; returns what must be there."""
        self._over.set()
        self._thread.join()
        return self.acknowledged

    @contextlib.contextmanager
    def paused(self) -> Any:
        """Nothing is written meanwhile."""
        with self._hand:
            yield

    def _work(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(**self.where, autocommit=True) as connection:
                connection.execute(_TABLE)
                newest = connection.execute("SELECT coalesce(max(id), 0) FROM kept").fetchone()
                self._number = max(self._number, newest[0] if newest else 0)
                while not self._over.is_set():
                    self._write(connection)
                    time.sleep(0.05)
            self._over.wait(0.2)

    def _write(self, connection: Any) -> None:
        with self._hand:
            # A number is never used again: of one that was not acknowledged nobody knows whether it is there.
            self._number += 1
            row = connection.execute(_INSERT, [self._number]).fetchone()
            self.acknowledged.append(Acknowledged(self._number, int(row[0], 16)))
