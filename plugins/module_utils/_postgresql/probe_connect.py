# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections of a write probe, and the table that it writes to.

Several hosts are tried one after the other here and not by libpq: psycopg before 3.1.13 gives up at the first host
that does not answer.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from .probe_time import ProbeError, one_line

CREATE = (
    "CREATE SCHEMA IF NOT EXISTS boringdb_probe",
    "CREATE TABLE IF NOT EXISTS boringdb_probe.writes (run text NOT NULL, id bigint NOT NULL, client integer NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (run, id))",
)
EXISTS = "SELECT to_regclass('boringdb_probe.writes') IS NOT NULL"


def require_psycopg() -> Any:
    """The module ``psycopg`` (version 3), or one clear line with the interpreter that lacks it."""
    try:
        import psycopg  # noqa: PLC0415  (a missing library must be one clear line)
    except ImportError as exc:
        raise ProbeError(
            f"the Python library psycopg (version 3) cannot be used by {sys.executable}: {one_line(exc)}"
            " (install the package python3-psycopg, or psycopg[binary] with pip)"
        ) from exc
    return psycopg


def _spread(value: str, count: int, name: str) -> list[str]:
    parts = value.split(",")
    if len(parts) == 1:
        return parts * count
    if len(parts) != count:
        raise ProbeError(f"{count} hosts but {len(parts)} values in {name}: give one for all or one for each")
    return parts


@dataclass(frozen=True)
class Target:
    """Where to connect: libpq's parameters (``PG*`` variables fill what is missing) and two limits in seconds."""

    params: dict[str, str] = field(default_factory=dict)
    connect_timeout: int = 2
    timeout: float = 3.0
    pooled: bool = False  # behind a pooler that takes no start-up options

    def endpoints(self) -> list[dict[str, str]]:
        """The parameters that change from host to host, one dictionary for each host."""
        given = {
            name: self.params.get(name) or os.environ.get(f"PG{name.upper()}", "")
            for name in ("host", "hostaddr", "port")
        }
        count = max(len(given["host"].split(",")), len(given["hostaddr"].split(",")))
        columns = {name: _spread(value, count, name) for name, value in given.items() if value}
        return [{name: values[index] for name, values in columns.items()} for index in range(count)]

    def describe(self) -> str:
        """Who is connected to, for messages and results; never a secret."""
        places = []
        for endpoint in self.endpoints():
            host = endpoint.get("host") or endpoint.get("hostaddr") or "local socket"
            places.append(f"{host}:{endpoint.get('port') or '5432'}")
        return f"{','.join(places)}/{self.params.get('dbname') or os.environ.get('PGDATABASE') or 'default database'}"

    def arguments(self, endpoint: dict[str, str], writing: bool) -> dict[str, str]:
        """libpq's parameters for one host.

        The server's own ``statement_timeout`` is wanted too, so that a backend whose client gave up does not live on.
        It travels as a start-up option: a ``SET`` would stay behind in a pooler's server connection.
        """
        result = {
            "connect_timeout": str(self.connect_timeout),
            "tcp_user_timeout": str(int(self.timeout * 1000)),
            "application_name": "boringdb_probe",
        }
        result.update({name: value for name, value in self.params.items() if name not in ("host", "hostaddr", "port")})
        result.update(endpoint)
        if writing:
            if len(self.endpoints()) > 1:
                result.setdefault("target_session_attrs", "read-write")
            if not self.pooled:
                options = result.get("options", os.environ.get("PGOPTIONS", ""))
                result["options"] = f"{options} -c statement_timeout={int(self.timeout * 1000)}".strip()
        return result


class Connector:
    """Opens connections for one client. Starts with the host that answered last and goes on to the next one."""

    def __init__(self, target: Target, writing: bool = True) -> None:
        self._psycopg = require_psycopg()
        self._endpoints = target.endpoints()
        self._target = target
        self._writing = writing
        self._index = 0
        self.place = target.describe()

    def connect(self) -> Any:
        """A connection in autocommit that never prepares (transaction pooling).

        Raises psycopg.OperationalError with every host's answer when none took it.
        """
        failures: list[str] = []
        error: Exception | None = None
        for _attempt in self._endpoints:
            endpoint = self._endpoints[self._index]
            try:
                connection = self._open(endpoint)
                self.place = replace(self._target, params={**self._target.params, **endpoint}).describe()
                return connection
            except self._psycopg.Error as exc:
                error = exc
                failures.append(one_line(exc))
                self._index = (self._index + 1) % len(self._endpoints)
        raise self._psycopg.OperationalError("; ".join(failures)) from error

    def _open(self, endpoint: dict[str, str]) -> Any:
        try:
            return self._psycopg.connect(
                autocommit=True, prepare_threshold=None, **self._target.arguments(endpoint, self._writing)
            )
        except self._psycopg.OperationalError as exc:
            if "unsupported startup parameter" not in str(exc) or self._target.pooled:
                raise
            self._target = replace(self._target, pooled=True)
            return self._open(endpoint)

    def first(self) -> Any:
        """Like :meth:`connect`, with a failure as a ProbeError that names the target."""
        try:
            return self.connect()
        except self._psycopg.Error as exc:
            raise ProbeError(f"cannot connect to {self._target.describe()}: {one_line(exc)}") from exc


def prepare(target: Target, run: str) -> dict[str, Any]:
    """Makes the schema and the table if they are missing.

    A role that may only INSERT and SELECT is enough where they exist. Returns ``synchronous_commit`` (an answer is
    no promise where it is off) and ``highest``, the run's highest id in the table (0 when there is none).
    """
    psycopg = require_psycopg()
    with Connector(target).first() as connection:
        try:
            if not connection.execute(EXISTS).fetchone()[0]:
                try:
                    with connection.transaction():
                        for statement in CREATE:
                            connection.execute(statement)
                except psycopg.errors.UniqueViolation:  # another probe made it at the same instant
                    pass
            highest = connection.execute(
                "SELECT coalesce(max(id), 0) FROM boringdb_probe.writes WHERE run = %s", (run,)
            ).fetchone()[0]
            (commit,) = connection.execute("SELECT current_setting('synchronous_commit')").fetchone()
        except psycopg.Error as exc:
            raise ProbeError(
                f"cannot use the table boringdb_probe.writes on {target.describe()}: {one_line(exc)}"
            ) from exc
    return {"synchronous_commit": commit, "highest": highest}


def schema_exists(target: Target) -> bool:
    """Whether the probe's schema is there. Raises ProbeError when the server cannot be asked."""
    psycopg = require_psycopg()
    with Connector(target, writing=False).first() as connection:
        try:
            return bool(connection.execute("SELECT to_regnamespace('boringdb_probe') IS NOT NULL").fetchone()[0])
        except psycopg.Error as exc:
            raise ProbeError(
                f"cannot look for the schema boringdb_probe on {target.describe()}: {one_line(exc)}"
            ) from exc


def drop(target: Target) -> bool:
    """Drops the table and its schema, returns whether they were there. Whatever else lies in the schema is not dropped:
    the server refuses then."""
    psycopg = require_psycopg()
    with Connector(target).first() as connection:
        try:
            if not connection.execute("SELECT to_regnamespace('boringdb_probe') IS NOT NULL").fetchone()[0]:
                return False
            with connection.transaction():
                connection.execute("DROP TABLE IF EXISTS boringdb_probe.writes")
                connection.execute("DROP SCHEMA boringdb_probe")
        except psycopg.Error as exc:
            raise ProbeError(f"cannot drop the schema boringdb_probe on {target.describe()}: {one_line(exc)}") from exc
    return True
