# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Masking a copy that is left for people: statements of the user's run on it, and what they replaced is gone.

An updated row stays in its file until that is rewritten, so every table that the statements have touched is. The
planner's statistics hold values of rows, too: those of these tables are dropped, and made anew. What the copy's own WAL
still holds, only the account that owns its files can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

_TOUCHED = """
SELECT relid, schemaname, relname FROM pg_stat_xact_user_tables WHERE n_tup_upd + n_tup_del > 0
ORDER BY schemaname, relname
"""
_STATISTICS = (
    "DELETE FROM pg_statistic WHERE starelid = ANY(%(tables)s)"
    " OR starelid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tables)s))",
    "DELETE FROM pg_statistic_ext_data WHERE stxoid IN"
    " (SELECT oid FROM pg_statistic_ext WHERE stxrelid = ANY(%(tables)s))",
)


def mask(server: Server, steps: Sequence[Mapping[str, Any]], seconds: float) -> list[str]:
    """Run each step in one transaction of its database, and rewrite what it has touched; returns those tables.

    A copy that was stopped after its proof is started, within `seconds`. Raises OpsError with the engine's answer; the
    steps before that are done.
    """
    if not server.running():
        server.start(seconds)
    rewritten = []
    for step in steps:
        with server.connect(step["database"]) as connection:
            with connection.transaction():
                for statement in step["statements"]:
                    connection.execute(statement)
                touched = connection.execute(_TOUCHED).fetchall()
            for statement in _STATISTICS:
                connection.execute(statement, {"tables": [row[0] for row in touched]})
            for _oid, schema, table in touched:
                connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(schema, table)))
                rewritten.append(f"{step['database']}.{schema}.{table}")
            connection.execute("VACUUM (FULL) pg_catalog.pg_statistic, pg_catalog.pg_statistic_ext_data")
            connection.execute("CHECKPOINT")
    return rewritten
