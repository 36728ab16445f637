# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account by which a switchover reaches its candidate: it may promote, and nothing else, and only for minutes.

It is made on the primary and comes to the candidate as every other change does. Its password is made for one run and
never leaves the process that made it. Its comment says whose switchover is under way: while the account is there, the
switchover is not finished.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

ACCOUNT = "boringdb_switchover"
_COMMENT = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s"
_HARMLESS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT LOGIN CONNECTION LIMIT 4"


@dataclass(frozen=True)
class Place(Address):
    """A server's address, with the database that is asked."""

    dbname: str = "postgres"

    def parameters(self) -> dict[str, Any]:
        """libpq's parameters."""
        return {**super().parameters(), "dbname": self.dbname}


class Candidate(Console):
    """The candidate, asked with a deadline for each answer: one that hangs must not hold up the way back."""

    def __str__(self) -> str:
        return f"the candidate {self.address}"

    def row(self, statement: str, seconds: float | None = None) -> dict[str, str]:
        """The only row of an answer."""
        [row] = self.ask(statement, seconds)
        return row


def make(server: Server, seconds: float, note: dict[str, Any]) -> str:
    """Have the account on the primary, valid for so many seconds; returns its password."""
    password = secrets.token_urlsafe(32)
    name = sql.Identifier(ACCOUNT)
    with server.connect() as connection:
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (ACCOUNT,)).fetchone() is not None
        until = connection.execute("SELECT (now() + make_interval(secs => %s))::text", (seconds,)).fetchone()[0]
        with connection.transaction():
            connection.execute(
                sql.SQL("{} ROLE {} {} PASSWORD {} VALID UNTIL {}").format(
                    sql.SQL("ALTER" if there else "CREATE"),
                    name,
                    sql.SQL(_HARMLESS),
                    sql.Literal(scram.verifier(connection, ACCOUNT, password)),
                    sql.Literal(until),
                )
            )
            database = sql.Identifier(server.login_db)
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
            promote = sql.SQL("GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {}")
            connection.execute(promote.format(name))
            connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(json.dumps(note))))
    return password


def said_by_account(connection: Any) -> dict[str, Any] | None:
    """What the account's comment says of the switchover that is under way; None where there is no such account."""
    row = connection.execute(_COMMENT, (ACCOUNT,)).fetchone()
    if row is None:
        return None
    try:
        said = json.loads(row[0] or "{}")
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}


def drop(server: Server) -> bool:
    """Take the account away, on a server that takes writes; returns whether there was one."""
    with server.connect() as connection:
        if said_by_account(connection) is None:
            return False
        # Nothing here may wait for a standby that is about to follow.
        connection.execute("SET synchronous_commit = local")
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(ACCOUNT)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ACCOUNT)))
    return True


def reach(server: Server, host: str, port: int, password: str) -> Candidate:
    """The candidate, not connected yet."""
    place = Place(host, port, ACCOUNT, password, dbname=server.login_db)
    return Candidate(place, 3)


def admitted(candidate: Candidate) -> None:
    """Raise OpsError unless the account may log in there and promote."""
    try:
        row = candidate.row(
            "SELECT has_function_privilege('pg_catalog.pg_promote(boolean, integer)', 'EXECUTE') AS may"
        )
    except OpsError as exc:
        raise OpsError(
            f"{exc}; its pg_hba.conf must admit {ACCOUNT} to the database {candidate.address.parameters()['dbname']} "
            "from this host by scram-sha-256"
        ) from exc
    if row["may"] != "t":
        raise OpsError(f"{candidate}: {ACCOUNT} may not call pg_promote there")
