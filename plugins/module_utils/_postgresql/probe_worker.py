# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The worker of a write probe: clients that commit numbered rows and record what was acknowledged."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .probe_connect import Connector, Target, prepare, require_psycopg
from .probe_journal import ID_SKIP, Layout, Writer, next_id
from .probe_time import Clock, ProbeError, one_line

INSERT = (
    "INSERT INTO boringdb_probe.writes (run, id, client) VALUES (%s, %s, %s)"
    " RETURNING (extract(epoch FROM at) * 1000000)::bigint"
)
TICK = 0.05
STALL = 50_000  # µs: a tick this late is written down
BACKOFF_FIRST, BACKOFF_MOST = 0.005, 0.1  # s; the most is also the error that a reconnect adds to a measured gap
BEHIND_MOST = 0.1  # s: how far a client that was held up may catch up


@dataclass(frozen=True)
class Settings:
    """What a probe does: ``rate`` rows per second and client, 0 for as many as possible."""

    run: str
    clients: int
    rate: float
    target: Target


class Shared:
    """What the clients of a worker have in common."""

    def __init__(self, settings: Settings, writer: Writer, clock: Clock, first_id: int) -> None:
        self.settings = settings
        self.writer = writer
        self.clock = clock
        self.stop = threading.Event()
        self.acknowledged = threading.Event()
        self.last_error = ""
        self.failure = ""
        self._ids = itertools.count(first_id)
        self._lock = threading.Lock()

    def take_id(self) -> int:
        """A number that no attempt had before: each is sent at most once, so a row is never written twice."""
        with self._lock:
            return next(self._ids)


class Client(threading.Thread):
    """One connection that inserts, waits for the answer, records it, and reconnects when it must."""

    def __init__(self, number: int, shared: Shared) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.number = number
        self._shared = shared
        self._psycopg = require_psycopg()
        self._connector = Connector(shared.settings.target)
        self._connection: Any = None
        self._several = len(shared.settings.target.endpoints()) > 1
        self._guard = threading.Lock()  # held while the connection is swapped or cut
        self._busy_since: float | None = None
        self._cut = False
        self._warning = ""

    def run(self) -> None:
        try:
            self._loop()
        except Exception as exc:  # the journal cannot be written, or a defect: never go on unrecorded
            self._shared.failure = f"{type(exc).__name__}: {one_line(exc)}"
            self._shared.stop.set()
        finally:
            self._drop()

    def _loop(self) -> None:
        shared, settings = self._shared, self._shared.settings
        interval = 1 / settings.rate if settings.rate else 0.0
        due = time.monotonic() + interval * (self.number - 1) / settings.clients  # spread, so that gaps are seen finely
        backoff = BACKOFF_FIRST
        while not shared.stop.is_set():
            delay = due - time.monotonic()
            if delay > 0 and shared.stop.wait(delay):
                return
            if (self._connection is not None or self._connect()) and self._write():
                backoff = BACKOFF_FIRST
                due += interval
                if time.monotonic() - due > max(BEHIND_MOST, interval):
                    due = time.monotonic()  # after an outage: no burst
            else:
                due = time.monotonic() + backoff * random.uniform(0.75, 1.0)  # noqa: S311
                backoff = min(backoff * 1.5, BACKOFF_MOST)

    def _connect(self) -> bool:
        try:
            connection = self._connector.connect()
        except self._psycopg.Error as exc:
            kind = "read_only" if "session is read-only" in str(exc) else "connect"
            self._failed(0, kind, exc)
            return False
        connection.add_notice_handler(self._notice)
        with self._guard:
            self._connection = connection
        return True

    def _notice(self, diagnostic: Any) -> None:
        # A cancelled wait for a synchronous standby is answered with success and a warning: not an acknowledgement.
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warning = one_line(diagnostic.message_primary)

    def _write(self) -> bool:
        """One row. Returns whether it was acknowledged; otherwise it was recorded as an error."""
        shared = self._shared
        ident = shared.take_id()
        self._warning, self._cut = "", False
        self._busy_since = time.monotonic()
        sent = shared.clock.now()
        try:
            cursor = self._connection.execute(INSERT, (shared.settings.run, ident, self.number))
            (at,) = cursor.fetchone()
            acked = shared.clock.now()
        except self._psycopg.Error as exc:
            self._idle()
            if not (self._cut and shared.stop.is_set()):  # a stopping probe cuts what hangs: not the server's error
                self._failed(ident, self._kind(exc), exc)
            if self._connection.closed or self._cut or (self._several and exc.sqlstate == "25006"):
                self._drop()
            return False
        self._idle()
        if self._cut:  # the answer came in the very instant of the cut: it counts
            self._drop()
        if self._warning:
            self._failed(ident, "warning", None, self._warning)
            return False
        shared.writer.ack(ident, self.number, sent, acked, at)
        shared.acknowledged.set()
        return True

    def _idle(self) -> None:
        with self._guard:
            self._busy_since = None

    def _kind(self, exc: Any) -> str:
        if self._cut or exc.sqlstate == "57014":
            return "timeout"
        return "read_only" if exc.sqlstate == "25006" else "write"

    def _failed(self, ident: int, kind: str, exc: Any, message: str = "") -> None:
        shared = self._shared
        name = type(exc).__name__ if exc is not None else "Warning"
        text = message or one_line(exc)
        shared.last_error = f"{name}: {text}"
        sqlstate = (exc.sqlstate or "") if exc is not None else ""
        shared.writer.error(
            shared.clock.now(), self.number, ident, kind=kind, sqlstate=sqlstate, name=name, message=text
        )

    def _drop(self) -> None:
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def cut_if_hung(self, limit: float) -> None:
        """Called by the watchdog: breaks the connection when an answer is overdue, which wakes the client.

        Neither ``statement_timeout`` (a stopped server) nor ``tcp_user_timeout`` (a host that still answers TCP)
        covers every way to hang.
        """
        with self._guard:
            since = self._busy_since
            if since is None or self._connection is None or time.monotonic() - since < limit:
                return
            self._cut = True
            # It may have been closed by the server in the same instant: the client sees that itself.
            with contextlib.suppress(OSError, self._psycopg.Error):
                duplicate = socket.socket(fileno=os.dup(self._connection.fileno()))
                with duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)


class Syncer(threading.Thread):
    """Writes the journal through to the disk once a second, away from the clients."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(name="syncer", daemon=True)
        self._shared = shared

    def run(self) -> None:
        while not self._shared.stop.wait(1.0):
            try:
                self._shared.writer.sync()
            except OSError as exc:
                self._shared.failure = f"cannot write the journal: {exc.strerror}"
                self._shared.stop.set()


def work(
    settings: Settings,
    layout: Layout,
    asked: Callable[[], bool],
    *,
    ready: Callable[[dict[str, Any]], None] | None = None,
    wait: float = 10.0,
    duration: float | None = None,
) -> None:
    """Probes until ``asked`` says to stop or ``duration`` seconds have passed. The caller holds the directory's lock.

    ``ready`` is called once, after the first acknowledged row. Raises ProbeError when none came within ``wait``
    seconds, when the table cannot be made, and when the journal cannot be written.
    """
    facts = prepare(settings.target, settings.run)
    first_id = max(next_id(layout, settings.run), facts["highest"] + ID_SKIP + 1 if facts["highest"] else 1)
    clock = Clock()
    writer = Writer(layout, settings.run)
    shared = Shared(settings, writer, clock, first_id)
    plan = {"clients": settings.clients, "rate": settings.rate, "target": settings.target.describe()}
    layout.remember({"run": settings.run, **plan})
    facts = {"first_id": first_id, "synchronous_commit": facts["synchronous_commit"]}
    writer.begin(clock.now(), {"pid": os.getpid(), **plan, **facts})
    clients = [Client(number + 1, shared) for number in range(settings.clients)]
    syncer = Syncer(shared)
    for thread in (*clients, syncer):
        thread.start()
    try:
        _watch(shared, clients, asked, ready=ready, wait=wait, duration=duration)
    finally:
        ended = clock.now()
        shared.stop.set()
        _join(clients, settings.target.timeout)
        syncer.join()
        writer.end(ended, shared.failure or "stopped")
        writer.close()
    if shared.failure:
        raise ProbeError(f"the probe stopped by itself: {shared.failure}")


def _watch(
    shared: Shared,
    clients: list[Client],
    asked: Callable[[], bool],
    *,
    ready: Callable[[dict[str, Any]], None] | None,
    wait: float,
    duration: float | None,
) -> None:
    """The worker's main loop: watches for hung clients, and for being held up itself."""
    last = began = time.monotonic()
    while not shared.stop.is_set() and not asked():
        time.sleep(TICK)  # not Event.wait: a signal handler must not meet a lock that this thread holds
        now = time.monotonic()
        late = int((now - last - TICK) * 1_000_000)
        last = now
        if late >= STALL:
            shared.writer.stall(shared.clock.now(), late)
        for client in clients:
            client.cut_if_hung(shared.settings.target.timeout)
        if ready is not None:
            if shared.acknowledged.is_set():
                ready({"run": shared.settings.run, "pid": os.getpid()})
                ready = None
            elif now - began > wait:
                raise ProbeError(f"no row was acknowledged within {wait:g} s: {shared.last_error or 'no answer'}")
        if duration is not None and now - began >= duration:
            return


def _join(clients: list[Client], timeout: float) -> None:
    """Lets the last statements finish, then cuts what hangs. The process ends in any case: clients are daemons."""
    patience = time.monotonic() + min(timeout, 2.0)
    for client in clients:
        client.join(max(0.0, patience - time.monotonic()))
    for client in clients:
        client.cut_if_hung(0.0)
    for client in clients:
        client.join(2.0)
        if client.is_alive():
            # Standard error is the log here; pylint takes it for a module's mistake.
            print(f"{client.name} did not end", file=sys.stderr)  # pylint: disable=ansible-bad-function
