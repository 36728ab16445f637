# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup` for PostgreSQL: an online physical backup, taken by the tool and proven to be complete and archived."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import noted, tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.backup_incremental import prior_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup, open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native import (
    TABLESPACES,
    NativeRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native_chain import (
    PARTIAL,
    tablespace_mapping,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_LABEL = re.compile(r"\d{8}-\d{6}[FI]")


def backup(params: Params, check_mode: bool) -> Outcome:
    """Take one backup and return it as the repository then shows it."""
    server = Server.of(params)
    repository = open_repository(params, server.program)
    if isinstance(repository, NativeRepository):
        return _native(server, repository, params, check_mode)
    return _pgbackrest(repository, params, check_mode)  # type: ignore[arg-type]


# --- native: pg_basebackup into a directory, WAL by the archiver ------------------------------------------------


def _native(server: Server, repository: NativeRepository, params: Params, check_mode: bool) -> Outcome:
    if check_mode and not server.running():
        return Outcome(True, {"backup": None})
    prior = _preflight(server, repository, params)
    if check_mode:
        return Outcome(True, {"backup": None})
    with host_lock(str(repository.backup_path), "backup", params["lock_timeout"]):
        for leftover in repository.backup_path.glob(f"*{PARTIAL}"):
            # Others may keep what is not finished there, too.
            if _LABEL.fullmatch(leftover.name[: -len(PARTIAL)]):
                _discard(leftover)
        sent = _send_to_archive(server)
        begun = time.monotonic()
        label = _free_label(repository, "I" if prior else "F")
        taken = _take(server, repository, label, params["checkpoint"], prior)
        seconds = time.monotonic() - begun
        stop_segment = _await_archived(server, repository, taken, sent, params["archive_timeout"])
    facts = {**taken.facts(), "seconds": round(seconds, 3), "stop_segment": stop_segment}
    return Outcome(True, {"backup": facts}, "", f"backup: {label}\n")


def _preflight(server: Server, repository: NativeRepository, params: Params) -> Backup | None:
    """Refuse with every reason; returns what an incremental backup builds on."""
    preflight = Preflight()
    for place in (repository.backup_path, repository.wal_path):
        preflight.require(
            place.is_dir(), f"the repository can't be reached: no directory {place}", "mount or create it"
        )
    if not preflight.require(server.running(), f"no server runs on {server.data_dir}", "start it first"):
        preflight.done()
    with server.connect() as connection:
        mode, standby, size = connection.execute(
            "SELECT current_setting('archive_mode'), pg_is_in_recovery(), sum(pg_database_size(oid))::bigint"
            " FROM pg_database"
        ).fetchone()
        incremental = params["type"] == "incr" and not standby
        prior = prior_of(server, repository, connection, preflight) if incremental else None
    preflight.require(mode != "off", "archive_mode is off", "a backup without its WAL can't reach any point in time")
    preflight.require(not standby, "this server is a replica", "run the backup on the primary")
    if repository.backup_path.is_dir():
        preflight.require(
            os.access(repository.backup_path, os.W_OK | os.X_OK),
            f"{repository.backup_path} is not writable for {getpass.getuser()}",
            "let this account write there",
        )
        free = shutil.disk_usage(repository.backup_path).free
        preflight.require(
            free > size,
            f"{repository.backup_path} has {free >> 20} MB free, the data takes {size >> 20} MB",
            "make room",
        )
    preflight.done()
    return prior


def _failing(connection: Any) -> str:
    """Why archiving fails right now, as the server tells; empty where it does not."""
    row = connection.execute(
        """SELECT last_failed_wal, to_char(last_failed_time, 'HH24:MI:SS') FROM pg_stat_archiver
           WHERE last_failed_time > coalesce(last_archived_time, '-infinity')"""
    ).fetchone()
    return f"archive_command fails on {row[0]} since {row[1]}" if row else ""


def _send_to_archive(server: Server) -> str:
    """Refuse where the archiver is failing; else send it one segment, whose arrival is waited for at the end."""
    with server.connect() as connection:
        why = _failing(connection)
        if why:
            raise OpsError(
                f"refused: the archive is broken: {why}; read the server's log and mend archive_command first"
            )
        # A record of our own, so that the switch has something to switch away from on an idle cluster.
        connection.execute("SELECT pg_create_restore_point('boringdb_archive_check')")
        return str(connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()[0])


def _free_label(repository: NativeRepository, kind: str) -> str:
    """The time now, unless that second has a backup already, and F for full or I for incremental."""
    while True:
        label = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + kind
        if not (repository.backup_path / label).exists():
            return label
        time.sleep(0.1)


def _discard(place: Path) -> None:
    """Remove what there is of a backup that never was one, its tablespaces first: the name tells which they are."""
    label = place.name[: -len(PARTIAL)] if place.name.endswith(PARTIAL) else place.name
    remove_tree(place.parent / TABLESPACES / label)
    remove_tree(place)


def _take(server: Server, repository: NativeRepository, label: str, checkpoint: str, prior: Backup | None) -> Backup:
    final = repository.backup_path / label
    beside = final.with_name(label + PARTIAL)
    argv = [server.program("pg_basebackup"), "-D", str(beside), "-X", "stream", f"--checkpoint={checkpoint}"]
    argv += ["-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user, "-l", label, "--no-password"]
    argv += _tablespace_mapping(server, repository, label)
    if prior:
        argv.append(f"--incremental={repository.backup_directory(prior)}/backup_manifest")
    tablespaces = repository.backup_path / TABLESPACES / label
    try:
        # An incremental backup's size is not known before.
        with noted("data", 0 if prior else lambda: _size(server), lambda: tree_bytes(beside, tablespaces)):
            run(argv, guarded=True)
        beside.rename(final)
    except BaseException:
        _discard(beside)
        raise
    sync_directory(repository.backup_path)
    taken = next(one for one in repository.backups() if one.label == label)
    if taken.problem:
        raise OpsError(f"the new backup {label} can't be used: {taken.problem}")
    return taken


def _size(server: Server) -> int:
    """The bytes of all databases."""
    with server.connect() as connection:
        return int(connection.execute("SELECT sum(pg_database_size(oid)) FROM pg_database").fetchone()[0])


def _tablespace_mapping(server: Server, repository: NativeRepository, label: str) -> list[str]:
    """Tablespaces go beside the backups under their number; without a mapping they would be written in place."""
    query = "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"
    with server.connect() as connection:
        rows = connection.execute(query).fetchall()
    beside = repository.backup_path / TABLESPACES / label
    return [tablespace_mapping(place, str(beside / str(oid))) for oid, place in rows]


def _await_archived(server: Server, repository: NativeRepository, taken: Backup, sent: str, seconds: float) -> str:
    """Wait until the archive holds the segment sent before and the last one the backup needs; else it is no backup."""
    with server.connect() as connection:
        size = connection.execute("SELECT pg_size_bytes(current_setting('wal_segment_size'))").fetchone()[0]
        last = lsn.segment_name(taken.timeline, lsn.parse(taken.stop_lsn) - 1, int(size))
        for name in (sent, last):
            if await_condition((repository.wal_path / name).exists, seconds):
                continue
            why = _failing(connection) or "archive_command did not bring it"
            _discard(repository.backup_path / taken.label)
            raise OpsError(
                f"the archive is broken, {name} is not in {repository.wal_path} after {seconds:g} s: {why}; "
                f"backup {taken.label} could not reach any point in time and was removed"
            )
    return last


# --- pgBackRest -------------------------------------------------------------------------------------------------


def _pgbackrest(repository: PgbackrestRepository, params: Params, check_mode: bool) -> Outcome:
    if check_mode:
        repository.backups_or_none()
        return Outcome(True, {"backup": None, "expiry": None})
    with host_lock(f"pgbackrest/{repository.stanza}", "backup", params["lock_timeout"]):
        begun = time.monotonic()
        with noted("data"):
            taken = repository.take(params["type"], params["standby"])
        seconds = time.monotonic() - begun
        facts: dict[str, Any] = {"backup": {**taken.facts(), "seconds": round(seconds, 3)}}
        try:
            facts["expiry"] = repository.expire(params["verified"] or []).facts() if params["expire"] else None
        except OpsError as exc:
            raise OpsError(f"backup {taken.label} was taken, but old ones can't be expired: {exc}", **facts) from exc
    return Outcome(True, facts, "", f"backup: {taken.label}\n")
