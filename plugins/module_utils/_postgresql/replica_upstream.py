# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that a replica follows, spoken to over the replication protocol with the replication account alone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    await_condition,
    one_line,
    require_psycopg,
)

try:
    import psycopg
except ImportError:
    psycopg = None

SLOT = re.compile(r"^[a-z0-9_]{1,63}\Z")


@contextlib.contextmanager
def _walsender(params: Params) -> Iterator[Any]:
    require_psycopg()
    where = f"{params['primary_address']}:{params['primary_port']}"
    try:
        with psycopg.connect(
            host=params["primary_address"],
            port=params["primary_port"],
            user=params["replication_user"],
            password=params["replication_password"],
            connect_timeout=10,
            replication="true",
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.Error as exc:
        raise OpsError(f"cannot reach the primary at {where} as {params['replication_user']}: {one_line(exc)}") from exc


def identity(params: Params) -> str:
    """The cluster's system identifier."""
    with _walsender(params) as connection:
        return str(connection.pgconn.exec_(b"IDENTIFY_SYSTEM").get_value(0, 0).decode())


def lineage(params: Params) -> tuple[str, int, list[tuple[int, str]]]:
    """The cluster's system identifier, the server's timeline, and where it left each older one."""
    with _walsender(params) as connection:
        answer = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
        cluster, timeline = answer.get_value(0, 0).decode(), int(answer.get_value(0, 1))
        if timeline == 1:
            return cluster, timeline, []
        told = connection.pgconn.exec_(f"TIMELINE_HISTORY {timeline}".encode())
        if told.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise OpsError(f"the history of timeline {timeline} can't be read: {_said(told)}")
        return cluster, timeline, lsn.forks(told.get_value(0, 1).decode(errors="replace"))


def fresh_slot(params: Params) -> None:
    """Make the slot anew for a replica that holds nothing yet. One that is there may be invalidated, or hold WAL back.

    Raises OpsError where another replica uses it.
    """
    slot = params["slot"]
    if not SLOT.match(slot):
        raise OpsError(f"slot {slot!r}: only a-z, 0-9 and _ are allowed")
    with _walsender(params) as connection:
        said: list[str] = []

        def dropped() -> bool:
            said[:] = [_command(connection, f'DROP_REPLICATION_SLOT "{slot}"')]
            return "is active" not in said[0]

        # The sender of a replica that was just stopped may not have noticed yet.
        await_condition(dropped, 5, every=0.1)
        if said[0] and "does not exist" not in said[0]:
            raise OpsError(f"slot {slot} can't be made anew: {said[0]} (another replica uses it? choose another slot)")
        made = _command(connection, f'CREATE_REPLICATION_SLOT "{slot}" PHYSICAL RESERVE_WAL')
        if made:
            raise OpsError(f"slot {slot} can't be made: {made}")


def drop_slot(params: Params) -> None:
    """Drop the slot of a clone that failed: without a replica it would hold WAL back."""
    with _walsender(params) as connection:
        _command(connection, f'DROP_REPLICATION_SLOT "{params["slot"]}"')


def _command(connection: Any, text: str) -> str:
    """Run one command of the replication protocol; returns what the server has against it, empty for nothing."""
    answer = connection.pgconn.exec_(text.encode())
    good = (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK)
    return "" if answer.status in good else _said(answer)


def _said(answer: Any) -> str:
    return " ".join(answer.error_message.decode(errors="replace").split())


def upstream_place(conninfo: str) -> tuple[str, int]:
    """The address and port of a primary_conninfo; an empty address where there is none."""
    require_psycopg()
    try:
        words = psycopg.conninfo.conninfo_to_dict(conninfo)
        return str(words.get("hostaddr") or words.get("host") or ""), int(words.get("port") or 5432)
    except (psycopg.Error, ValueError):
        return "", 0
