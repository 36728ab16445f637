# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts relations with several connections, within a time budget; one bad relation does not spoil the rest."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    SCAN_SETTINGS,
    Relation,
    batch_query,
    session_options,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition, one_line

try:
    import psycopg
except ImportError:
    psycopg = None

# A statement for each of a thousand tiny tables would cost more than reading them.
_BATCH_RELATIONS = 50
_BATCH_BYTES = 4 << 20
# A reader that waits behind an ALTER TABLE for longer gives up on that table.
_LOCK_SECONDS = 2

_NO_HASH = "42883"
_STATUS = {"57014": "late", "55P03": "locked", "42P01": "gone", "3F000": "gone", "42501": "denied"}


@dataclass
class Counted:
    """What became of one relation.

    `status`: `counted`, `error` (the engine could not read it; `error` says why), `late` (the time was up), `locked`
    (somebody held an exclusive lock), `denied` (this account may not) or `gone` (dropped meanwhile).
    `note` is what `before` returned.
    """

    relation: Relation
    status: str
    rows: int = 0
    hash: str = ""
    main_bytes: int = 0
    path: str = ""
    shape: str = ""
    method: str = ""
    seconds: float = 0.0
    error: str = ""
    note: Any = None


@dataclass
class Scan:
    """How to scan: `deadline` is a time.monotonic() value; `before` runs in the worker just ahead of each read."""

    server: Server
    jobs: int
    deadline: float
    parallel_workers: int = 0
    before: Callable[[str, Relation], Any] | None = None
    results: list[Counted] = field(default_factory=list)

    def database(self, name: str, relations: Sequence[Relation]) -> list[Counted]:
        """Count `relations` of the database `name`; returns one result for each, in no order."""
        queue = deque(_batches(relations))
        results: list[Counted] = []
        failures: list[BaseException] = []
        # More than one worker for a few kilobytes is only another connection.
        busy = [batch for batch in queue if sum(relation.bytes for relation in batch) > _BATCH_BYTES // 8]
        count = max(1, min(self.jobs, len(queue), len(busy)))
        workers = [_Worker(self, name, queue, results, failures) for _number in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]
        return results

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


def parallel_workers(jobs: int, limit: int) -> int:
    """Helpers for each scan so that `jobs` scans together keep this host's processors busy, and no busier."""
    return max(0, min(limit, (os.cpu_count() or 1) // max(1, jobs)))


def _batches(relations: Sequence[Relation]) -> Iterator[list[Relation]]:
    batch: list[Relation] = []
    size = 0
    for relation in relations:
        if batch and (len(batch) >= _BATCH_RELATIONS or size + relation.bytes > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(relation)
        size += relation.bytes
    if batch:
        yield batch


class _Worker(threading.Thread):
    """One connection that takes batches until none are left."""

    def __init__(
        self, scan: Scan, database: str, queue: deque[list[Relation]], results: list[Counted], failures: list[Any]
    ) -> None:
        super().__init__(daemon=True)
        self.scan, self.dbname, self.queue, self.results, self.failures = scan, database, queue, results, failures
        self.connection: Any = None
        self.notes: dict[int, Any] = {}
        self.stack = contextlib.ExitStack()

    def run(self) -> None:
        try:
            while True:
                try:
                    batch = self.queue.popleft()
                except IndexError:
                    return
                self._batch(batch)
        except (OpsError, OSError) as exc:
            self.failures.append(exc)
        except BaseException as exc:  # handed to the caller's thread, which raises it
            self.failures.append(exc)
        finally:
            self._close()

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self.stack.close()
        self.connection = None

    def _connect(self) -> Any:
        if self.connection is None or self.connection.closed:
            self._close()
            settings = {**SCAN_SETTINGS, "lock_timeout": f"{_LOCK_SECONDS}s"}
            settings["max_parallel_workers_per_gather"] = str(self.scan.parallel_workers)
            connect = self.scan.server.connect(self.dbname, options=session_options(settings))
            self.stack = contextlib.ExitStack()
            self.connection = self.stack.enter_context(connect)
            # These would hide exactly what is looked for. Only a superuser may set them, on or off.
            self.connection.execute(
                "SELECT set_config(name, 'off', false) FROM pg_catalog.pg_settings"
                " WHERE name IN ('zero_damaged_pages', 'ignore_checksum_failure') AND setting = 'on'"
            )
        return self.connection

    def _batch(self, batch: list[Relation]) -> None:
        if self.scan.left() <= 0:
            self.results.extend(Counted(relation, "late") for relation in batch)
            return
        self.notes = {}
        if self.scan.before:
            for relation in batch:
                self.notes[relation.oid] = self.scan.before(self.dbname, relation)
        if len(batch) == 1:
            self.results.append(self._single(batch[0], batch[0].method))
            return
        begun = time.monotonic()
        try:
            rows = self._fetch(batch, {})
        except psycopg.Error:
            # One of them is bad: ask for each alone.
            self.results.extend(self._single(relation, relation.method) for relation in batch)
            return
        each = (time.monotonic() - begun) / len(batch)
        known = {relation.oid: relation for relation in batch}
        self.results.extend(self._counted(known[row[0]], row, known[row[0]].method, each) for row in rows)

    def _fetch(self, batch: list[Relation], methods: dict[int, str]) -> list[Any]:
        connection = self._connect()
        connection.execute(f"SET statement_timeout = {max(1, int(self.scan.left() * 1000))}")
        rows: list[Any] = connection.execute(batch_query(batch, methods)).fetchall()
        return rows

    def _single(self, relation: Relation, method: str) -> Counted:
        if self.scan.left() <= 0:
            return Counted(relation, "late")
        begun = time.monotonic()
        try:
            row = self._fetch([relation], {relation.oid: method})[0]
        except psycopg.Error as exc:
            return self._failed(relation, method, exc)
        return self._counted(relation, row, method, time.monotonic() - begun)

    def _failed(self, relation: Relation, method: str, exc: Any) -> Counted:
        if self.connection is None or self.connection.closed:
            # The read took the server down. It recovers by itself; the others are still to be read.
            self._close()
            await_condition(self.scan.server.accepting, min(30.0, max(1.0, self.scan.left())), every=0.1)
        if exc.sqlstate == _NO_HASH and method != "text":
            return self._single(relation, "text")
        return Counted(relation, _STATUS.get(exc.sqlstate or "", "error"), error=one_line(exc))

    def _counted(self, relation: Relation, row: Any, method: str, seconds: float) -> Counted:
        _oid, rows, digest, size, path, shape = row
        if not path:  # the name now belongs to another relation
            return Counted(relation, "gone")
        note = self.notes.get(relation.oid)
        return Counted(relation, "counted", rows, digest, size, path, shape or "", method, seconds, "", note)
