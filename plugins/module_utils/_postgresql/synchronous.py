# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Synchronous replication by quorum: which standbys a commit waits for, set only when enough of them stream."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

try:
    from psycopg import sql
except ImportError:
    sql = None

_TEXT = re.compile(r"\s*(?:(?:(any|first)\s+)?(\d+)\s*\((.*)\)|(.*))\s*", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^\s,"]+))\s*(?:,|\Z)')
_STATES = "SELECT application_name, state, sync_state, flush_lsn::text FROM pg_stat_replication"


@dataclass(frozen=True)
class Quorum:
    """What synchronous_standby_names says: `number` of `names`, `any` of them or the `first` that are there."""

    method: str
    number: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join('"' + name.replace('"', '""') + '"' if name != "*" else name for name in self.names)
        return f"{self.method.upper()} {self.number} ({names})" if self.names and self.number else ""

    def facts(self) -> dict[str, Any]:
        """The shape that modules return."""
        return {**asdict(self), "names": list(self.names)}

    def same_as(self, other: Quorum | None) -> bool:
        """Whether both wait for the same: among any of several their order means nothing."""
        if other is None or self.method == other.method == "first":
            return self == other
        return (self.method, self.number, sorted(self.names)) == (other.method, other.number, sorted(other.names))

    def without(self, name: str) -> Quorum:
        """The same with one standby fewer."""
        return Quorum(self.method, self.number, tuple(one for one in self.names if one != name))


def parse(text: str) -> Quorum | None:
    """synchronous_standby_names as the engine reads it, None for an empty one."""
    found = _TEXT.fullmatch(text)
    if not text.strip() or not found:
        return None
    listed = found.group(3) if found.group(2) else found.group(4)
    names = tuple((quoted or plain).replace('""', '"') for quoted, plain in _NAME.findall(listed))
    return Quorum((found.group(1) or "first").lower(), int(found.group(2) or 1), names) if names else None


def synchronous(server: Server, params: Params, check_mode: bool) -> Outcome:
    """On the primary: have commits wait for a quorum of `names`, or for one standby fewer (`without`)."""
    if check_mode and not server.running():
        return Outcome(params["number"] > 0, {"synchronous": None})
    with server.connect() as connection:
        current, level = connection.execute(
            "SELECT current_setting('synchronous_standby_names'), reset_val FROM pg_settings"
            " WHERE name = 'synchronous_commit'"
        ).fetchone()
        if connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise OpsError(f"the server on port {server.port} is a replica; commits wait on the primary")
        wanted = _wanted(current, params)
        level_stale = params["commit"] not in (None, level) and bool(str(wanted))
        stale = not wanted.same_as(parse(current)) if str(wanted) else parse(current) is not None
        outcome = Outcome(
            stale or level_stale,
            {"synchronous": wanted.facts() if str(wanted) else None},
            f"synchronous_standby_names = {current}\nsynchronous_commit = {level}\n",
            f"synchronous_standby_names = {wanted}\nsynchronous_commit = {params['commit'] or level}\n",
        )
        if not outcome.changed:
            outcome.before = outcome.after = ""
        if not str(wanted):
            if stale and not check_mode:
                _set(connection, "synchronous_standby_names", "")
            return outcome
        if "*" in wanted.names:
            _all_but(connection, wanted, params["without"])
        if check_mode:
            return outcome
        # Before it is set: a commit that waits for nobody who is there would hang.
        _await_streaming(connection, wanted, params["timeout"])
        if level_stale:
            _set(connection, "synchronous_commit", params["commit"])
        if stale:
            _set(connection, "synchronous_standby_names", str(wanted))
        _await_counted(connection, wanted, params["timeout"])
    if outcome.changed:
        outcome.facts["commit_seconds"] = _prove(server, wanted, params["timeout"])
    return outcome


def _wanted(current: str, params: Params) -> Quorum:
    preflight = Preflight()
    if params["without"]:
        now = parse(current) or Quorum("any", 0, ())
        wanted = now.without(params["without"])
        preflight.require(
            "*" in wanted.names or len(wanted.names) >= wanted.number,
            f"commits wait for {now}: without {params['without']} that would be nobody, and they would hang",
            "add another synchronous replica first, or lower the number",
        )
    else:
        wanted = Quorum(params["method"], params["number"], tuple(params["names"]))
        twice = sorted({name for name in wanted.names if wanted.names.count(name) > 1})
        preflight.require(not twice, f"{', '.join(twice)} is named twice", "name every standby once")
        preflight.require(wanted.number >= 0, f"number is {wanted.number}", "give 0 or more")
        preflight.require(
            len(wanted.names) >= wanted.number,
            f"{wanted.number} synchronous standbys are asked for, and there are {len(wanted.names)} candidates"
            f"{': ' if wanted.names else ''}{', '.join(wanted.names)}",
            "add replicas, or lower the number",
        )
    preflight.done()
    return wanted


def _streaming(connection: Any, quorum: Quorum) -> dict[str, tuple[str, str]]:
    """Which of the named standbys stream, with their sync_state and flushed position."""
    rows = connection.execute(_STATES).fetchall()
    named = (row for row in rows if row[1] == "streaming" and (row[0] in quorum.names or "*" in quorum.names))
    return {row[0]: (row[2], row[3]) for row in named}


def _all_but(connection: Any, quorum: Quorum, leaving: str | None) -> None:
    """Refuse where everybody counts, and without the one that leaves too few are there."""
    others = sorted(set(_streaming(connection, quorum)) - {leaving})
    preflight = Preflight()
    preflight.require(
        len(others) >= quorum.number,
        f"commits wait for {quorum}: without {leaving} there stream {', '.join(others) or 'none'}, and they would hang",
        "have more replicas stream first, or lower the number",
    )
    preflight.done()


def _await_streaming(connection: Any, quorum: Quorum, seconds: float) -> None:
    if await_condition(lambda: len(_streaming(connection, quorum)) >= quorum.number, seconds, every=0.1):
        return
    there = _streaming(connection, quorum)
    raise OpsError(
        f"{len(there)} of the {quorum.number} synchronous standbys that {quorum} asks for stream after {seconds:g} s "
        f"({', '.join(there) or 'none'}); commits would wait, or wait already: have more of them stream"
    )


def _await_counted(connection: Any, quorum: Quorum, seconds: float) -> None:
    """The engine counts a standby as synchronous a moment after its configuration was read."""

    def counted() -> bool:
        return sum(state in ("sync", "quorum") for state, _at in _streaming(connection, quorum).values()) >= max(
            1, quorum.number
        )

    if not await_condition(counted, seconds, every=0.05):
        raise OpsError(
            f"synchronous_standby_names does not take effect within {seconds:g} s: {_streaming(connection, quorum)}; "
            "does conf.d or the command line set it, too?"
        )


def _set(connection: Any, name: str, value: str) -> None:
    statement = (
        sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
        if value
        else sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name))
    )
    # A commit of our own must not wait for a quorum that is about to change.
    connection.execute("SET synchronous_commit = local")
    connection.execute(statement)
    connection.execute("SELECT pg_reload_conf()")
    connection.execute("RESET synchronous_commit")


def _prove(server: Server, quorum: Quorum, seconds: float) -> float:
    """One commit: when it returns, enough standbys must hold it. Returns how long it took, in seconds.

    A commit whose wait is cut off stays on the primary, as the engine's own answer says; nothing is left open.
    """
    notices: list[str] = []
    with server.connect() as connection:
        connection.add_notice_handler(lambda told: notices.append(told.message_primary or ""))
        # statement_timeout does not reach into a commit.
        limit = threading.Timer(seconds, connection.cancel)
        limit.start()
        try:
            begun = time.monotonic()
            # A message of a transaction needs no table, and no rights in any database.
            row = connection.execute(
                "SELECT pg_logical_emit_message(true, 'boringdb.ops', 'synchronous?')::text"
            ).fetchone()
            took = time.monotonic() - begun
        finally:
            limit.cancel()
        query = "SELECT application_name, sync_state FROM pg_stat_replication WHERE write_lsn >= %s::pg_lsn"
        told = connection.execute(query, (row[0],)).fetchall()
        holding = {name for name, state in told if state in ("sync", "quorum")}
    if notices or len(holding) < quorum.number:
        said = notices[0] if notices else f"only {', '.join(sorted(holding)) or 'nobody'} holds it"
        raise OpsError(f"a commit that had to wait for {quorum} was not confirmed within {seconds:g} s: {said}")
    return round(took, 4)
