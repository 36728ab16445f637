# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions of the user's own: queries whose answer is compared as text, in a read-only session."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    TEXT_SETTINGS,
    session_options,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None


@contextlib.contextmanager
def asking(server: Server, database: str, seconds: float) -> Iterator[Any]:
    """A read-only session with fixed text formats; a query that takes longer than `seconds` is cancelled."""
    settings = {**TEXT_SETTINGS, "statement_timeout": str(max(1, int(seconds * 1000)))}
    with server.connect(database, options=session_options(settings)) as connection:
        yield connection


def answer(connection: Any, query: str) -> bytes:
    """A query's result as COPY writes it: one line a row, columns separated by tabs, `\\N` for NULL.

    Raises psycopg.Error.
    """
    copy = sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query.strip().rstrip(";")))
    with connection.cursor() as cursor, cursor.copy(copy) as stream:
        return b"".join(bytes(block) for block in stream)


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def query_digest(query: str) -> str:
    """Names a query without holding its text, which may name a person; white space at the ends does not matter."""
    return digest(query.strip().rstrip(";").strip().encode())
