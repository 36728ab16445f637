# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool_server` for PostgreSQL: what a server needs so that poolers can let its users in, and what they have to share.

The poolers' account reads a user's SCRAM verifier through a function that runs with its owner's rights. It never tells
that of a superuser or of a replication account, so these cannot come in through a pooler.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import refuse_impossible
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.scram import matches, verifier
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

#: Everything of the pooler's lies in a schema of its own.
SCHEMA = "boringdb_pool"
#: What pgbouncer asks.
AUTH_QUERY = f"SELECT name, secret FROM {SCHEMA}.secret_of($1)"  # noqa: S608 - a constant
_BODY = (
    " SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid"
    " WHERE rolname = who AND rolcanlogin AND NOT rolsuper AND NOT rolreplication "
)
_SETTING = "search_path=pg_catalog"
_FOUND = """
SELECT p.prosrc, p.prosecdef, p.proconfig, o.rolsuper,
       has_function_privilege('public', p.oid, 'EXECUTE'), has_schema_privilege('public', n.oid, 'USAGE'),
       coalesce(has_function_privilege(a.oid, p.oid, 'EXECUTE'), false),
       coalesce(has_schema_privilege(a.oid, n.oid, 'USAGE'), false)
FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'secret_of'
JOIN pg_roles o ON o.oid = p.proowner
LEFT JOIN pg_roles a ON a.rolname = %s
WHERE n.nspname = %s
"""
_NAME = re.compile(r"[^\x00-\x1f]{1,63}\Z")


def pool_server(params: Params, check_mode: bool) -> Outcome:
    """Have the account and, in every database, the function; say how many connections there are."""
    server = Server.of(params)
    _refuse(params)
    outcome = Outcome(False, {"databases": [], "server": {}})
    if not (server.exists() and server.running()):
        if check_mode:
            # A dry run of what would make this server first.
            return Outcome(True, outcome.facts, "", f"account {params['auth_user']}\n")
        raise OpsError(f"no server runs on {server.data_dir}; start it first")
    after: list[str] = []
    with server.connect() as connection:
        outcome.facts["server"] = _ground(connection)
        if connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise OpsError(f"the server on port {server.port} is a replica; ask the primary, which passes it on")
        known = {row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()}
        missing = sorted(set(params["databases"]) - known)
        if missing and not check_mode:
            raise OpsError(f"there is no database {', '.join(missing)} on port {server.port}; make it first")
        change = _account(connection, params, check_mode)
        if change:
            after.append(change)
    for database in params["databases"]:
        if database in known:
            with server.connect(database) as connection:
                fits = _function(connection, params["auth_user"], check_mode)
        else:
            fits = False
        if not fits:
            outcome.facts["databases"].append(database)
            after.append(f"database {database}: function {SCHEMA}.secret_of for {params['auth_user']}")
    outcome.changed = bool(after)
    outcome.after = "".join(f"{line}\n" for line in after)
    return outcome


def _refuse(params: Params) -> None:
    refuse_impossible(params)
    preflight = Preflight()
    for name in [params["auth_user"], *params["databases"]]:
        preflight.require(bool(_NAME.match(name)), f"{name!r} is no name", "give 1 to 63 characters on one line")
    password = params["auth_password"]
    preflight.require(
        bool(password) and not re.search(r"[\x00-\x1f]", password), "auth_password is none", "give one line of text"
    )
    preflight.done()


def _ground(connection: Any) -> dict[str, int]:
    """What the poolers share. Since PostgreSQL 16 some connections can be kept for a group of roles, too."""
    names = ("max_connections", "superuser_reserved_connections", "reserved_connections")
    found: Mapping[str, Any] = dict(
        connection.execute("SELECT name, setting::int FROM pg_settings WHERE name = ANY(%s)", (list(names),)).fetchall()
    )
    kept = sum(found.get(name, 0) for name in names[1:])
    return {"max_connections": found["max_connections"], "superuser_reserved": kept, "cores": os.cpu_count() or 1}


def _account(connection: Any, params: Params, check_mode: bool) -> str:
    """Have the account; returns what had to be changed about it."""
    name, password = params["auth_user"], params["auth_password"]
    row = connection.execute(
        "SELECT rolcanlogin, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolpassword"
        " FROM pg_authid WHERE rolname = %s",
        (name,),
    ).fetchone()
    if row and row[1]:
        raise OpsError(
            f"{name} has rights that a pooler must not have (superuser or the like); choose another auth_user"
        )
    if row and row[0] and matches(row[2] or "", password):
        return ""
    if not check_mode:
        verb = "ALTER" if row else "CREATE"
        secret = sql.Literal(verifier(connection, name, password))
        connection.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), secret))
    return f"account {name}, {'its password' if row else 'with a password'}"


def _function(connection: Any, account: str, check_mode: bool) -> bool:
    """Have the function in this database; returns whether all of it was right."""
    row = connection.execute(_FOUND, (account, SCHEMA)).fetchone()
    right = (_BODY, True, [_SETTING], True, False, False, True, True)
    if row == right:
        return True
    if not check_mode:
        own = {"schema": sql.Identifier(SCHEMA), "account": sql.Identifier(account), "body": sql.Literal(_BODY)}
        with connection.transaction():
            for statement in (
                "CREATE SCHEMA IF NOT EXISTS {schema}",
                "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
                "CREATE OR REPLACE FUNCTION {schema}.secret_of(who text, OUT name text, OUT secret text)"
                " RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS {body}",
                "REVOKE ALL ON FUNCTION {schema}.secret_of(text) FROM PUBLIC",
                "GRANT USAGE ON SCHEMA {schema} TO {account}",
                "GRANT EXECUTE ON FUNCTION {schema}.secret_of(text) TO {account}",
            ):
                connection.execute(sql.SQL(statement).format(**own))
    return False
