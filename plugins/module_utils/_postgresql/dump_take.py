# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a logical dump: every database under one snapshot of its own, written and counted at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    remove_tree,
    sha256_of,
    sync_directory,
    sync_tree,
    write_atomic,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import dump_objects, dump_rows
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import (
    cancelled,
    conninfo,
    dump,
    words,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import (
    GLOBALS,
    MANIFEST,
    PARTIAL,
    SCHEMA_VERSION,
    Dump,
    free_label,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    import psycopg
except ImportError:
    psycopg = None

#: From this version on pg_dump compresses with more than gzip.
_COMPRESSIONS = 16
_FACTS = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
       (SELECT encode(sha256(system_identifier::text::bytea), 'hex') FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       CASE WHEN pg_is_in_recovery()
            THEN to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END,
       pg_get_userbyid(10)::text
"""
_METHODS = "SELECT enumvals FROM pg_catalog.pg_settings WHERE name = 'wal_compression' AND vartype = 'enum'"
_FOREIGN_KEYS = "SELECT oid::int8, conrelid::int8, confrelid::int8 FROM pg_catalog.pg_constraint WHERE contype = 'f'"
_POLICIES = """
SELECT p.polrelid::int8, CASE r WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(r)::text END
  FROM pg_catalog.pg_policy p, pg_catalog.unnest(p.polroles) r
"""


def now() -> str:
    """This moment, as records have it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def compression(connection: Any, wanted: str, major: int) -> str:
    """What pg_dump compresses with: its build has what the server's has, as both come from one package."""
    if wanted != "auto":
        return wanted
    row = connection.execute(_METHODS).fetchone() if major >= _COMPRESSIONS else None
    return next((method for method in ("zstd", "lz4") if row and method in row[0]), "gzip")


def compresses(method: str, major: int) -> bool:
    """Whether pg_dump of this version knows a method at all."""
    return method in ("none", "gzip") or major >= _COMPRESSIONS


def _compress_words(method: str) -> list[str]:
    if method == "none":
        return ["-Z", "0"]
    if method == "gzip":
        # The fastest level: the others cost several times as much for a few percent.
        return ["-Z", "1"]
    return ["-Z", method]


def take(server: Server, path: Path, names: list[str], params: Params) -> tuple[Dump, list[str]]:
    """Write everything beside, sync it, and give it its name. Returns it with pg_dump's warnings."""
    label = free_label(path)
    beside = path / f"{label}{PARTIAL}"
    before = os.umask(0o077)
    try:
        beside.mkdir()
        manifest, warnings = _write(server, beside, label, names, params)
        write_atomic(beside / MANIFEST, json.dumps(manifest, separators=(",", ":"), sort_keys=True) + "\n")
        sync_tree(beside)
        beside.rename(path / label)
    except BaseException:
        remove_tree(beside)
        raise
    finally:
        os.umask(before)
    sync_directory(path)
    return Dump(path / label, manifest), warnings


def _write(
    server: Server, beside: Path, label: str, names: list[str], params: Params
) -> tuple[dict[str, Any], list[str]]:
    with server.connect(options=dump_rows.scan_options()) as connection:
        version, major, standby, system, lsn, replayed, superuser = connection.execute(_FACTS).fetchone()
        method = compression(connection, params["compress"], major)
        manifest: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION, "label": label, "started": now(), "server_version": version.split()[0],
            "major": major, "standby": standby, "lsn": lsn, "replayed": replayed, "system_digest": system,
            "tool_version": run([server.program("pg_dump"), "--version"]).stdout.split()[2],
            "superuser": superuser, "compress": method, "passwords": params["passwords"],
            "databases": {}, "members": dump_objects.members(connection), "roles": dump_objects.roles(connection),
            "tablespaces": dump_objects.tablespaces(connection),
        }  # fmt: skip
        properties = dump_objects.databases(connection)
    argv = [*words(server, "pg_dumpall"), "--globals-only", "-l", server.login_db, "-f", str(beside / GLOBALS)]
    warnings = dump(server, argv if params["passwords"] else [*argv, "--no-role-passwords"])
    (beside / "databases").mkdir()
    for number, name in enumerate(names, 1):
        # A database's name may hold what a path can't.
        folder = f"databases/{number:03d}-{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:40]}"
        entry, said = _Database(server, name, beside / folder, major, standby).take(method, params)
        manifest["databases"][name] = {"directory": folder, **properties[name], **entry}
        warnings += [f"{name}: {line}" for line in said]
    manifest["files"] = {
        str(file.relative_to(beside)): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(beside.rglob("*"))
        if file.is_file()
    }
    manifest["finished"] = now()
    return manifest, warnings


class _Database:
    """One database: its snapshot is held by a session of ours until pg_dump has read everything under it."""

    def __init__(self, server: Server, name: str, folder: Path, major: int, standby: bool) -> None:
        self.server, self.name, self.folder, self.major, self.standby = server, name, folder, major, standby

    def take(self, method: str, params: Params) -> tuple[dict[str, Any], list[str]]:
        """Write it into its folder; returns its entry of the manifest, and pg_dump's warnings."""
        begun = time.monotonic()
        try:
            with self.server.connect(self.name, options=dump_rows.scan_options()) as connection:
                snapshot, tables = dump_rows.lock_and_snapshot(
                    connection, self.name, self.major, params["lock_seconds"]
                )
                # Before pg_dump reads them: a sequence is under no snapshot, and what is loaded may only be further on.
                entry: dict[str, Any] = {"sequences": dump_rows.sequences(connection)}
                with self._counted(connection, tables, params["hash"]) as counted:
                    argv = [*words(self.server, "pg_dump"), "-Fd", "-f", str(self.folder), f"--snapshot={snapshot}"]
                    argv += ["-j", str(params["jobs"]), f"--lock-wait-timeout={int(params['lock_seconds'] * 1000)}"]
                    argv += [*_compress_words(method), *conninfo(self.name)]
                    warnings = dump(self.server, argv)
                entry.update(counted)
                connection.execute("ROLLBACK")
        except OpsError as exc:
            raise self._told(exc) from exc
        entry["seconds"] = round(time.monotonic() - begun, 3)
        return entry, warnings

    def _told(self, exc: OpsError) -> OpsError:
        said = as_line(exc)
        # At times the session is known to be gone before the server's last words are read.
        gone = self.standby and "connection is closed" in said and self.server.running()
        if gone or "conflict with recovery" in said:
            said = cancelled(self.server)
        return exc if f"database {self.name}" in said else OpsError(f"database {self.name}: {said}")

    @contextlib.contextmanager
    def _counted(self, connection: Any, tables: list[dump_rows.Table], hashed: bool) -> Iterator[dict[str, Any]]:
        """Count in our own session, while pg_dump reads: it has its locks already, so it never waits behind another."""
        found: dict[str, Any] = {}
        went_wrong: list[BaseException] = []

        def count() -> None:
            try:
                found["objects"] = dump_objects.local_objects(connection)
                found["foreign_keys"] = [list(row) for row in connection.execute(_FOREIGN_KEYS)]
                found["policies"] = [list(row) for row in connection.execute(_POLICIES)]
                found["tables"] = dump_rows.count(connection, tables, self.major, hashed, self.standby)
                found["large_objects"] = dump_rows.large_objects(connection, hashed)
                size = connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]
                found["bytes"] = size
            except BaseException as exc:
                went_wrong.append(exc)

        counting = threading.Thread(target=count)
        counting.start()
        try:
            yield found
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.cancel()
            counting.join()
            _raise_conflict(connection, went_wrong)
            raise
        counting.join()
        if went_wrong:
            raise went_wrong[0]


def _raise_conflict(connection: Any, went_wrong: list[BaseException]) -> None:
    """Where replay has ended our own session, that is the cause, whatever pg_dump says of a snapshot that is gone."""
    for exc in went_wrong:
        if "conflict with recovery" in str(exc):
            raise exc
    with contextlib.suppress(psycopg.errors.InFailedSqlTransaction):
        connection.execute("SELECT 1")
