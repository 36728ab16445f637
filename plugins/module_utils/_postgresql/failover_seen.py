# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a member says of itself before a failover: alive, hung, or only its files; and whom of the others it reaches."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import failover_reach, lsn, switchover_seen
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import from_control
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica_upstream import upstream_place
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

#: pg_controldata's words for what was a primary when it last wrote them.
PRIMARY_STATES = ("in production", "shut down", "shutting down", "in crash recovery")
_FOREVER = 1e9
_HEARD = """
SELECT r.status, r.latest_end_lsn::text AS latest_end_lsn,
       extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time)::float AS silent_seconds,
       extract(epoch FROM pg_last_xact_replay_timestamp())::float AS last_commit,
       extract(epoch FROM clock_timestamp())::float AS clock,
       current_setting('primary_conninfo', true) AS conninfo
FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true
"""


def note_file(server: Server) -> Path:
    """What a failover knew before it promoted this server, until it is recorded. No backup and no rewind carries it."""
    return server.data_dir.with_name(f"{server.data_dir.name}.failover.json")


def noted(server: Server) -> dict[str, Any] | None:
    """What a failover that is not finished has noted here."""
    try:
        said = json.loads(read_text(note_file(server)) or "null")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def note(server: Server, told: dict[str, Any]) -> None:
    """Keep what is known, owned as the data is."""
    write_atomic(note_file(server), json.dumps(told))


def seen(server: Server, params: Params) -> dict[str, Any]:
    """What the member is, and what it reaches."""
    reached = failover_reach.ask_all(params["places"], params["reach_seconds"])
    facts = _facts(server)
    facts["signal"] = (server.data_dir / "standby.signal").exists()
    facts["was_primary"] = facts["state"] in {"stopped", "hung"} and facts.get("cluster_state") in PRIMARY_STATES
    facts["noted"] = noted(server)
    facts["reached"] = reached
    if (facts["state"], facts["role"]) == ("running", "replica"):
        facts["heard"] = _heard(server, params)
        facts["position"] = max(lsn.parse(facts[key]) for key in ("lsn", "receive_lsn") if facts.get(key))
    return facts


def _facts(server: Server) -> dict[str, Any]:
    try:
        return switchover_seen.seen(server, _FOREVER)
    except OpsError as exc:
        if not server.running():
            raise
        facts = from_control(server)
        names = switchover_seen.configured(server)
        return {**facts, "state": "hung", "problem": str(exc), "manager": None, "synchronous_names": names}


def _heard(server: Server, params: Params) -> dict[str, Any]:
    """What the replica heard last of its upstream. One whose upstream is silent gets the time to notice that.

    A receiver may call itself streaming for a minute after its primary's host has vanished. That it hears nothing any
    more is told by the time of the last message, unless the primary has nothing to say.
    """
    told: dict[str, Any] = {"works": False}

    def settled() -> bool:
        with server.connect() as connection:
            # Imported here, because a server that is stopped is looked at without the library.
            from psycopg.rows import dict_row  # noqa: PLC0415

            told.update(connection.cursor(row_factory=dict_row).execute(_HEARD).fetchone())
        told["upstream"] = host, port = upstream_place(told.pop("conninfo") or "")
        if told["status"] != "streaming":
            return True
        told["works"] = bool(host) and failover_reach.ask(host, port, params["reach_seconds"])["answer"] == "works"
        return bool(told["works"] or (told["silent_seconds"] or 0) >= params["silence_seconds"])

    quiet = await_condition(settled, params["silence_seconds"] + 1, every=0.25)
    told["streams"] = told["status"] == "streaming" and (told.pop("works") or not quiet)
    told["heard_at"] = None if told["silent_seconds"] is None else time.time() - told["silent_seconds"]
    return told
