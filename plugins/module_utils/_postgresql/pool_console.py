# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pgbouncer's admin console: what it shows, pause, resume, reload.

The console speaks the simple query protocol only, and PAUSE answers when the last server connection is given back,
which may be never. So a statement is sent and its answer awaited apart from each other. Whoever waits in vain hangs up
first and resumes through another connection: to one that still waits, pgbouncer would report the next pause's end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import one_line, require_psycopg

try:
    import psycopg
except ImportError:
    psycopg = None

#: The database that is the console; and the account that needs no password there, from its own system account.
CONSOLE = OWN = "pgbouncer"
#: What only says that there was nothing to do, or that a fallback entry is gone with its last connection.
_NOT_PAUSED = ("is not paused", "no such database")


class Unanswered(OpsError):
    """A statement was sent, and its answer did not come in time. It may still be carried out."""


class Lost(OpsError):
    """The connection is gone. Whether the statement was carried out is not known."""


@dataclass(frozen=True)
class Address:
    """Where a console answers: a TCP address, or the directory of a socket. `user` is one of its admin_users."""

    host: str
    port: int
    user: str = OWN
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"
    sslrootcert: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if not PurePosixPath(self.host).is_absolute() else f"{self.host} {self.port}"

    def parameters(self) -> dict[str, Any]:
        """libpq's parameters. What the environment names would be refused there: it takes no `options`."""
        given = {"sslrootcert": self.sslrootcert, "password": self.password}
        given = {name: value for name, value in given.items() if value}
        return {
            "host": self.host, "port": self.port, "user": self.user, "dbname": CONSOLE, "sslmode": self.sslmode,
            "application_name": "boringdb.ops", "options": "", **given,
        }  # fmt: skip


def quoted(name: str) -> str:
    """A database's name as the console takes it."""
    return '"' + name.replace('"', '""') + '"'


class Console:
    """One console. It connects when it is first asked, and again when the connection was lost."""

    def __init__(self, address: Address, seconds: float = 5) -> None:
        self.address = address
        self.seconds = seconds
        self._connection: Any = None

    def __str__(self) -> str:
        return f"pooler {self.address}"

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. A PAUSE that was sent stays in force."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- statements -----------------------------------------------------------------------------------------

    def ask(self, statement: str, seconds: float | None = None) -> list[dict[str, str]]:
        """Send a statement and return the rows of its answer, every value as text.

        A connection that was held may have gone with a pooler that was restarted since: then it is asked once more. All
        that is asked so can be done twice.
        """
        held = self._connection is not None
        limit = self.seconds if seconds is None else seconds
        try:
            self.send(statement)
            return self.answer(statement, limit)
        except Lost:
            if not held:
                raise
        self.send(statement)
        return self.answer(statement, limit)

    def send(self, statement: str) -> None:
        """Send a statement, and wait for nothing."""
        raw = self._connected().pgconn
        try:
            raw.send_query(statement.encode())
            until = time.monotonic() + self.seconds
            while raw.flush():
                self._await(raw, select.POLLOUT, until, statement)
        except psycopg.Error as exc:
            raise self._lost(statement, exc) from exc

    def answer(self, statement: str, seconds: float) -> list[dict[str, str]]:
        """The rows of the statement that was sent. Raises Unanswered where they do not come in time."""
        if self._connection is None:
            raise Lost(f"{self}: {statement}: the connection is gone")
        raw = self._connection.pgconn
        until = time.monotonic() + seconds
        rows: list[dict[str, str]] = []
        refusal = ""
        try:
            while True:
                while raw.is_busy():
                    self._await(raw, select.POLLIN, until, statement)
                    raw.consume_input()
                result = raw.get_result()
                if result is None:
                    break
                if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                    refusal = one_line(Exception(result.error_message.decode(errors="replace")))
                rows += _rows(result)
        except psycopg.Error as exc:
            raise self._lost(statement, exc) from exc
        if refusal:
            raise OpsError(f"{self}: {statement}: {refusal.removeprefix('ERROR: ').strip()}")
        return rows

    def _connected(self) -> Any:
        if self._connection is None:
            require_psycopg()
            try:
                timeout = max(1, int(self.seconds))
                # What never prepares and never begins needs no more than the simple protocol.
                self._connection = psycopg.connect(
                    **self.address.parameters(), connect_timeout=timeout, tcp_user_timeout=timeout * 1000,
                    autocommit=True, prepare_threshold=None,
                )  # fmt: skip
            except psycopg.Error as exc:
                raise OpsError(f"{self} does not let {self.address.user} in: {one_line(exc)}") from exc
        return self._connection

    def _await(self, raw: Any, event: int, until: float, statement: str) -> None:
        """Wait until the connection can be read or written."""
        poll = select.poll()
        poll.register(raw.socket, event)
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            # What comes later would be taken for the next statement's answer.
            self.close()
            raise Unanswered(f"{self}: {statement}: no answer in time")

    def _lost(self, statement: str, error: Exception) -> Lost:
        self.close()
        return Lost(f"{self}: {statement}: {one_line(error)}")

    # --- what it shows --------------------------------------------------------------------------------------

    def version(self) -> str:
        """For example `1.18.0`."""
        [row] = self.ask("SHOW VERSION")
        return next(iter(row.values())).split()[-1]

    def databases(self) -> dict[str, dict[str, str]]:
        """Every database but the console, as SHOW DATABASES has them: host, port, database, paused, …"""
        return {row["name"]: row for row in self.ask("SHOW DATABASES") if row["name"] != CONSOLE}

    def pools(self) -> list[dict[str, str]]:
        """Every pool but the console's."""
        return [row for row in self.ask("SHOW POOLS") if row["database"] != CONSOLE]

    def config(self) -> dict[str, dict[str, str]]:
        """Every setting: its value, and whether RELOAD changes it (`changeable`)."""
        return {row["key"]: row for row in self.ask("SHOW CONFIG")}

    def route(self, database: str) -> tuple[str, int]:
        """To which host and port a database's connections go. Raises OpsError where there is no such database."""
        row = self.databases().get(database)
        if row is None:
            raise OpsError(f"{self} has no database {database} (name one of its own)")
        return row["host"], int(row["port"])

    def paused(self, database: str) -> bool:
        """Whether a PAUSE of it is in force, whether or not the last connection was given back."""
        row = self.databases().get(database)
        return row is not None and row["paused"] != "0"

    def holders(self, database: str) -> str:
        """Who keeps a PAUSE of it from its end, as words for a message."""
        modes = {row.get("pool_mode", "") for row in self.pools() if row["database"] == database}
        active = [row for row in self.ask("SHOW SERVERS") if row["database"] == database and row["state"] == "active"]
        told = f"{len(active)} of its server connections are in use, in pool mode {', '.join(sorted(modes)) or '?'}"
        users = sorted({row["user"] for row in active})
        return told + (f", by {', '.join(users)}" if users else "")

    # --- what it does ---------------------------------------------------------------------------------------

    def resume(self, databases: Iterable[str]) -> list[str]:
        """End the pause of each that is paused; returns which were."""
        shown = self.databases()
        waiting = [name for name in databases if name in shown and shown[name]["paused"] != "0"]
        for name in waiting:
            try:
                self.ask(f"RESUME {quoted(name)}")
            except OpsError as exc:
                if not any(words in str(exc) for words in _NOT_PAUSED):
                    raise
        return waiting

    def reload(self) -> None:
        """Have it read its files again. What it finds wrong in there, only its log tells."""
        self.ask("RELOAD")


def _rows(result: Any) -> list[dict[str, str]]:
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    return [
        {name: (result.get_value(row, column) or b"").decode() for column, name in enumerate(names)}
        for row in range(result.ntuples)
    ]
