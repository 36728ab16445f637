# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account by which pg_rewind reads the new primary's files: it may do that alone, and only for hours."""

from __future__ import annotations

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

ACCOUNT = "boringdb_rewind"
_HARMLESS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT LOGIN CONNECTION LIMIT 8"
#: What pg_rewind calls, by its manual.
_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)  # fmt: skip
_THERE = "SELECT FROM pg_roles WHERE rolname = %s"


def admitted(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Have the account on the new primary; and a checkpoint of the new timeline, which pg_rewind goes by."""
    if check_mode:
        return Outcome(True)
    name = sql.Identifier(ACCOUNT)
    with server.connect() as connection:
        if connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise OpsError(f"the server on port {server.port} is no primary; run it again")
        # Nothing here may wait for a standby that is about to follow.
        connection.execute("SET synchronous_commit = local")
        connection.execute("CHECKPOINT")
        there = connection.execute(_THERE, (ACCOUNT,)).fetchone() is not None
        until = connection.execute("SELECT (now() + make_interval(hours => 12))::text").fetchone()[0]
        with connection.transaction():
            connection.execute(
                sql.SQL("{} ROLE {} {} PASSWORD {} VALID UNTIL {}").format(
                    sql.SQL("ALTER" if there else "CREATE"),
                    name,
                    sql.SQL(_HARMLESS),
                    sql.Literal(scram.verifier(connection, ACCOUNT, params["rewind_password"] or "")),
                    sql.Literal(until),
                )
            )
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(server.login_db), name)
            )
            for function in _FUNCTIONS:
                grant = sql.SQL("GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}")
                connection.execute(grant.format(sql.SQL(function), name))
    return Outcome(True)


def dismissed(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Take the account away."""
    del params
    with server.connect() as connection:
        if connection.execute(_THERE, (ACCOUNT,)).fetchone() is None:
            return Outcome(False)
        if not check_mode:
            connection.execute("SET synchronous_commit = local")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(ACCOUNT)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ACCOUNT)))
    return Outcome(True, {}, f"role {ACCOUNT}: there\n", "")
