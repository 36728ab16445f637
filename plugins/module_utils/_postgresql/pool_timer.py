# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man's timer of a pooler's host: nobody who was killed half way leaves clients waiting at a paused pooler.

A detached process waits. Unless it is disarmed in time, it looks for the one server that takes writes, routes the
databases there and resumes them. While none does, or more than one, it leaves the pause alone and looks again: rows
that are written to two servers can't be put together again, clients that wait can go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import alive, born, detach
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_ini
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition, one_line

try:
    import psycopg
except ImportError:
    psycopg = None

_LOOK_EVERY_SECONDS = 0.5
_CONNECT_SECONDS = 2
_LOCK_SECONDS = 30


@dataclass(frozen=True)
class Timer:
    """What the process needs when nobody is there any more: nothing of it is asked again."""

    config_file: Path
    consoles: tuple[Address, ...]
    databases: tuple[str, ...]
    candidates: tuple[tuple[str, int], ...]
    account: str
    password: str
    seconds: float


def marker(config_file: Path) -> Path:
    """The file that says that the pooler of a configuration is armed."""
    return config_file.with_name(f"{config_file.name}.armed.json")


def armed(config_file: Path) -> dict[str, Any] | None:
    """What the marker says of a timer that runs, or that is over and has not been looked at."""
    try:
        said: dict[str, Any] | None = json.loads(read_text(marker(config_file)) or "null")
    except ValueError:
        return None
    if said and not said.get("ended"):
        said["running"] = alive(said["pid"]) and born(said["pid"]) == said["born"]
    return said


def arm(timer: Timer) -> dict[str, Any]:
    """Start the process, and return when it waits. One that was armed before ends: the newest counts."""
    disarm(timer.config_file)
    token = os.urandom(8).hex()
    detach(lambda: _wait(timer, token))

    def waits() -> bool:
        return (armed(timer.config_file) or {}).get("token") == token

    if not await_condition(waits, 5):
        raise OpsError(f"the timer of {timer.config_file} did not start; can its folder be written?")
    return armed(timer.config_file) or {}


def disarm(config_file: Path) -> dict[str, Any] | None:
    """End the process where one waits; returns what the marker said, with `ended` where it has already acted.

    The caller holds the lock of the configuration, without which the process does not act.
    """
    said = armed(config_file)
    if said is None:
        return None
    pid = said["pid"]
    if said.get("running"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await_condition(lambda: not alive(pid), 5)
    marker(config_file).unlink(missing_ok=True)
    return said


def _wait(timer: Timer, token: str) -> None:
    """What the process does."""
    said: dict[str, Any] = {"token": token, "pid": os.getpid(), "born": born(os.getpid())}
    said["until"] = time.time() + timer.seconds
    said["databases"] = list(timer.databases)
    said["candidates"] = [f"{host}:{port}" for host, port in timer.candidates]
    write_atomic(marker(timer.config_file), json.dumps(said))
    until = time.monotonic() + timer.seconds
    done: set[Address] = set()
    while _counts(timer, token):
        if time.monotonic() >= until:
            try:
                _act(timer, said, done)
                return
            except (OpsError, OSError) as exc:
                # What stands in the way now may be gone the next time.
                with contextlib.suppress(OSError):
                    if _counts(timer, token):
                        write_atomic(marker(timer.config_file), json.dumps({**said, "problem": one_line(exc)}))
        time.sleep(min(_LOOK_EVERY_SECONDS, max(0.02, until - time.monotonic())))


def _counts(timer: Timer, token: str) -> bool:
    return (armed(timer.config_file) or {}).get("token") == token


def _act(timer: Timer, said: dict[str, Any], done: set[Address]) -> None:
    """Route to the only server that takes writes and resume. Raises OpsError where there is not exactly one.

    A process that is gone keeps nobody else's clients: it is tried again. `done` are the others, which are left alone.
    """
    told = {place: writable(place, timer.databases[0], timer) for place in timer.candidates}
    found = [place for place, word in told.items() if word == "writable"]
    if len(found) != 1:
        words = ", ".join(f"{host}:{port} {word}" for (host, port), word in told.items())
        raise OpsError(f"{len(found)} servers take writes, not one ({words}); the pause is left alone")
    with host_lock(str(timer.config_file), "dead-man's timer", _LOCK_SECONDS):
        if not _counts(timer, said["token"]):
            return
        for database in timer.databases:
            route(timer.config_file, database, *found[0])
        failures = []
        for address in [one for one in timer.consoles if one not in done]:
            try:
                with Console(address) as console:
                    console.reload()
                    console.resume(timer.databases)
                done.add(address)
            except OpsError as exc:
                failures.append(str(exc))
        if failures:
            raise OpsError("; ".join(failures))
        ended = {"ended": time.time(), "routed": f"{found[0][0]}:{found[0][1]}"}
        write_atomic(marker(timer.config_file), json.dumps({**said, **ended}))


def writable(place: tuple[str, int], database: str, timer: Timer) -> str:
    """Whether a server takes writes: `writable`, or why it is not counted. A replica and a fenced server do not."""
    dbname = database
    with contextlib.suppress(OpsError, KeyError):
        dbname = pool_ini.words(pool_ini.read(timer.config_file).databases[database].value).get("dbname", database)
    try:
        with psycopg.connect(
            host=place[0], port=place[1], user=timer.account, password=timer.password, dbname=dbname,
            connect_timeout=_CONNECT_SECONDS, tcp_user_timeout=_CONNECT_SECONDS * 1000, autocommit=True,
            application_name="boringdb.ops",
        ) as connection:  # fmt: skip
            (closed,) = connection.execute(
                "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool"
            ).fetchone()
            return "read-only" if closed else "writable"
    except psycopg.Error as exc:
        return f"does not answer: {one_line(exc)}"


def route(config_file: Path, database: str, host: str, port: int) -> bool:
    """Write where a database lies into the file that says so now; returns whether that changed it."""
    line = pool_ini.read(config_file).databases.get(database)
    if line is None:
        raise OpsError(f"{config_file} has no database {database} (name one of its own)")
    if pool_ini.route_of(line) == (host, port):
        return False
    text = read_text(line.file)
    write_atomic(line.file, pool_ini.routed(text, line.number, host, port), line.file.stat().st_mode & 0o777)
    return True
