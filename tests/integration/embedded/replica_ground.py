# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary and its replicas on real servers: the ground for what happens between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedded_servers import Server, await_, children
from verify_ground import module

SECRET = "for these tests only"
ANY = {"database": "all", "user": "all"}
HBA = [
    {"type": "local", **ANY, "method": "trust"},
    {"type": "local", "database": "replication", "user": "all", "method": "trust"},
    {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32", "method": "scram-sha-256"},
]
#: Small enough that a slot is lost within a second.
SMALL = {"fsync": False, "max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": 0}


def make_primary(make_server: Callable[..., Server], version: int = 16, **settings: Any) -> Server:
    """A running primary with a table, whose replication account is prepared."""
    server = make_server("primary", version=version, copied=True)
    module(server, "config", settings={**SMALL, **settings}, hba=HBA)
    module(server, "replica", state="prepared", replication_password=SECRET)
    server.psql("CREATE TABLE t (a int)")
    return server


def follow(standby: Server, upstream: Server, **options: Any) -> dict[str, Any]:
    """`replica` on the standby, whose slot is named as its directory."""
    given = {
        "primary_address": "127.0.0.1", "primary_port": upstream.port, "replication_password": SECRET,
        "slot": standby.socket_dir.name, "timeout": 15,
    }  # fmt: skip
    return module(standby, "replica", **{**given, **options})


def begin(standby: Server, upstream: Server, **options: Any) -> Server:
    """Clone, configure, start, and wait until it streams."""
    follow(standby, upstream, **options)
    start(standby)
    follow(standby, upstream, state="streaming")
    return standby


def start(standby: Server) -> None:
    """Give a fresh clone its own port, as the role does, and start it."""
    own = {"port": standby.port, "unix_socket_directories": str(standby.socket_dir), **SMALL}
    module(standby, "config", settings={**own, "hot_standby": True})
    module(standby, "instance", state="started")


def reserve(upstream: Server, slot: str, **options: Any) -> dict[str, Any]:
    """Have a slot on an upstream."""
    return module(upstream, "replica", state="reserved", slot=slot, **options)


def fill(server: Server, segments: int) -> None:
    """Write as many segments of WAL, and have the old ones removed."""
    for _number in range(segments):
        server.psql("INSERT INTO t VALUES (0)", "SELECT pg_switch_wal()")
    server.psql("CHECKPOINT")


def slots(server: Server) -> dict[str, str]:
    """The slots, with what has become of their WAL."""
    rows = server.psql("SELECT slot_name, wal_status FROM pg_replication_slots").split()
    return dict(row.split("|") for row in rows)


def receiver(standby: Server) -> int:
    """The process that takes what the upstream sends."""
    for pid in children(standby.pid or 0):
        if b"walreceiver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no walreceiver runs")


class Frozen:
    """A replica that is there and answers nothing, as behind a cut line."""

    def __init__(self, standby: Server) -> None:
        self.pid = receiver(standby)

    def __enter__(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_error: object) -> None:
        os.kill(self.pid, signal.SIGCONT)


def rows(server: Server) -> str:
    """What the table holds."""
    return server.psql("SELECT coalesce(string_agg(a::text, ' ' ORDER BY a), '') FROM t WHERE a > 0")


def await_rows(server: Server, expected: str) -> None:
    """Wait until the table holds these rows."""
    await_(lambda: rows(server) == expected, what=f"the rows {expected}")
