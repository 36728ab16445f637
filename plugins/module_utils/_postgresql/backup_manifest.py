# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup_manifest` for PostgreSQL: writes down what a backup must bring back, into the data directory itself.

Lying there, it travels with every physical backup, whichever tool takes it, and needs no store of its own.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sha256_of, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.catalogue import (
    DATABASES,
    LOCAL,
    catalogue_paths,
    cluster_objects,
    objects_of,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.host_files import collected
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_capture import Capture, capture
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import (
    FOLDER,
    MANIFEST,
    copies_of,
    copy_in,
    outside,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.query_answer import (
    answer,
    asking,
    digest,
    query_digest,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    FIRST_USER_OID,
    TEXT_SETTINGS,
    Relation,
    relations_of,
    session_options,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_scan import (
    Counted,
    Scan,
    parallel_workers,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sequence_state import (
    collations_of,
    sequences_of,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

SCHEMA_VERSION = 1

_FACTS = """
SELECT pg_is_in_recovery(), current_setting('server_version_num')::int / 10000, current_setting('server_version'),
       (SELECT system_identifier::text FROM pg_control_system()), current_setting('block_size')::int,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END
"""
_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings
 WHERE source NOT IN ('default', 'override', 'client', 'session', 'user', 'database', 'database user')
"""
_NAMES = {
    "publications": "SELECT pubname FROM pg_catalog.pg_publication ORDER BY pubname",
    "subscriptions": "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid = "
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY subname",
}
_CATALOGUE_SETTINGS = {**TEXT_SETTINGS, "search_path": "", "lock_timeout": "2s"}


def backup_manifest(params: Params, check_mode: bool) -> Outcome:
    """Take the manifest; changes nothing in the databases."""
    server = Server.of(params)
    target = server.data_dir / MANIFEST
    if check_mode:
        return Outcome(True, {"manifest": str(target)})
    preflight = Preflight()
    if preflight.require(server.exists(), f"{server.data_dir} holds no PostgreSQL data", "check data_dir"):
        preflight.require(
            server.data_dir.stat().st_uid == os.geteuid(),
            f"{server.data_dir} belongs to another account",
            "set become_user to its owner; a file that the server cannot read would make every backup fail",
        )
    preflight.done()
    with host_lock(str(server.data_dir / FOLDER), "backup_manifest", params["timeout"]):
        return _take(server, params)


def _take(server: Server, params: Params) -> Outcome:
    begun = time.monotonic()
    folder = server.data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    options = session_options({**_CATALOGUE_SETTINGS, "statement_timeout": f"{params['timeout']}s"})
    with server.connect(options=options) as connection:
        standby, major, version, system, page, timeline = connection.execute(_FACTS).fetchone()
        start = capture(connection, standby)
        deadline = time.monotonic() + params["time_budget"]
        files, warnings = outside(server, connection, major)
        # What the role cannot see is better missing than the whole manifest.
        settings = {name: digest(value.encode()) for name, value in connection.execute(_SETTINGS).fetchall()}
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cluster = cluster_objects(connection)
            cluster_paths = catalogue_paths(connection)
        names = dict(connection.execute(DATABASES).fetchall())
        version = version.split()[0]
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "taken_at": start.taken_at, "system_identifier": system,
        "timeline": timeline, "lsn": start.lsn, "snapshot": start.snapshot, "server_version": version, "major": major,
        "page_bytes": page, "exact": start.exact, "quiet": start.quiet, "cluster": cluster,
        "cluster_paths": cluster_paths, "settings": settings, "databases": {}, "canaries": [],
    }  # fmt: skip
    workers = parallel_workers(params["jobs"], 1)
    scan = Scan(server, params["jobs"], deadline, workers)
    taken = {name: oid for oid, name in names.items() if name not in params["exclude_databases"]}
    described = {name: _describe(server, name, oid, major, options) for name, oid in taken.items()}
    for name in sorted(taken, key=lambda name: sum(relation.bytes for relation in described[name][1])):
        entry, relations = described[name]
        counted = scan.database(name, [relation for relation in relations if relation.scannable])
        entry["relations"] = _relations(relations, counted, start, taken[name])
        manifest["databases"][name] = entry
    manifest["canaries"] = [_canary(server, canary, params["timeout"]) for canary in params["canaries"] or []]
    manifest["coverage"] = _coverage(manifest)
    of_host, unread = collected(params["host_files"], getpass.getuser())
    # One that is the server's configuration, too, is there already.
    copies = list({copy.stored: copy for copy in [*of_host, *copies_of(server, files)]}.values())
    manifest["config"] = {
        "config_dir": str(server.config_dir), "data_dir": str(server.data_dir), "files": copy_in(server, copies),
    }  # fmt: skip
    manifest["seconds"] = round(time.monotonic() - begun, 3)
    target = server.data_dir / MANIFEST
    write_atomic(target, json.dumps(manifest, separators=(",", ":"), sort_keys=True) + "\n")
    coverage = manifest["coverage"]
    facts = {
        "manifest": str(target), "sha256": sha256_of(target), "lsn": start.lsn, "timeline": timeline,
        "taken_at": start.taken_at, **coverage, "config_files": len(copies),
        "host_files": [copy.source for copy in of_host], "seconds": manifest["seconds"],
    }  # fmt: skip
    return Outcome(True, facts, warnings=[*warnings, *unread])


def _describe(
    server: Server, name: str, oid: int, major: int, options: str
) -> tuple[dict[str, Any], list[Relation]]:
    """Everything of one database but its relations' counts."""
    with server.connect(name, options=options) as connection:
        # One snapshot, later than the capture, held for moments only: rows it sees keep their pages.
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            entry: dict[str, Any] = {
                "oid": oid,
                "objects": objects_of(connection, LOCAL),
                "paths": catalogue_paths(connection),
                "collations": collations_of(connection, major),
            }
            for kind, query in _NAMES.items():
                entry[kind] = [row[0] for row in connection.execute(query).fetchall()]
        relations = relations_of(connection, major, server.data_dir)
        entry["sequences"] = {str(item.oid): item.to_dict() for item in sequences_of(connection)}
    return entry, relations


def _relations(
    relations: list[Relation], counted: list[Counted], start: Capture, database: int
) -> dict[str, dict[str, Any]]:
    results = {item.relation.oid: item for item in counted}
    found: dict[str, dict[str, Any]] = {}
    for relation in relations:
        result = results.get(relation.oid)
        if result is not None and result.status == "gone":
            continue
        # A catalogue's locks are released early, so large objects are judged as catalogues are.
        early = relation.oid < FIRST_USER_OID and not start.quiet
        entry: dict[str, Any] = {
            "schema": relation.schema, "name": relation.name, "kind": relation.kind, "path": relation.path,
            "bytes": relation.bytes, "block": relation.block, "persistence": relation.persistence,
            "busy": early or start.is_busy(database, relation.oid), "rows": None, "hash": None,
        }  # fmt: skip
        if result is None:
            entry["why"] = "unlogged" if relation.persistence == "u" else "unpopulated"
        elif result.status == "counted":
            entry.update(
                rows=result.rows, hash=result.hash, method=result.method, shape=result.shape, path=result.path,
                main_bytes=result.main_bytes, seconds=round(result.seconds, 4),
            )  # fmt: skip
        else:
            entry["why"] = result.status
        found[str(relation.oid)] = entry
    return found


def _coverage(manifest: dict[str, Any]) -> dict[str, Any]:
    entries = [entry for database in manifest["databases"].values() for entry in database["relations"].values()]
    countable = [entry for entry in entries if entry.get("why") not in ("unlogged", "unpopulated")]
    counted = [entry for entry in countable if entry["rows"] is not None]
    return {
        "relations_total": len(countable),
        "relations_counted": len(counted),
        "relations_busy": sum(entry["busy"] for entry in countable),
        "rows": sum(entry["rows"] for entry in counted),
        "budget_exhausted": any(entry.get("why") == "late" for entry in countable),
    }


def _canary(server: Server, canary: dict[str, Any], seconds: int) -> dict[str, str | None]:
    """The digest of one query's answer. Neither the answer nor the query is kept."""
    try:
        with asking(server, canary["database"], seconds) as connection:
            content = answer(connection, canary["query"])
    except OpsError as exc:
        raise OpsError(f"canary {canary['name']}: {exc}") from exc
    return {
        "name": canary["name"], "database": canary["database"], "query_sha256": query_digest(canary["query"]),
        "sha256": digest(content),
    }  # fmt: skip
