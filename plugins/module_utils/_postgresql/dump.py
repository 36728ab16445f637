# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dump` for PostgreSQL: logical dumps of a cluster's databases and roles: taken, proven by loading, thinned out."""

from __future__ import annotations

import getpass
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import dump_prove, dump_store, options
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import major_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_take import compresses, compression, take
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_SOURCE = """
SELECT pg_is_in_recovery(), current_setting('server_version_num')::int / 10000,
       (SELECT encode(sha256(system_identifier::text::bytea), 'hex') FROM pg_control_system()),
       has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
       current_setting('max_standby_streaming_delay') <> '-1' AND current_setting('hot_standby_feedback') = 'off'
"""
_DATABASES = "SELECT datname, pg_database_size(oid)::int8 FROM pg_database WHERE datallowconn ORDER BY datname"
#: A dump of the same databases grows by less than this from one to the next, or so we hope.
_GROWTH = 1.25


def dump(params: Params, check_mode: bool) -> Outcome:
    """Take a dump, or prove one, as `state` asks."""
    preflight = options.impossible(params)
    preflight.require(bool(params["path"]), "path is empty", "name the directory of the dumps")
    path = Path(params["path"])
    for name in ("jobs", "keep"):
        preflight.require(params[name] >= 1, f"{name} is {params[name]}", "give 1 or more")
    preflight.done()
    if params["state"] == "proven":
        return dump_prove.prove(params, check_mode)
    server = Server.of({**params, "service": "process"})
    names, replica_may_cancel = _preflight(server, path, params)
    if check_mode:
        before, after = _diff(path, "(the time of the run)", names)
        return Outcome(True, {"dump": None, "databases": names}, before, after)
    return _take(server, path, names, replica_may_cancel, params)


def _take(server: Server, path: Path, names: list[str], may_cancel: bool, params: Params) -> Outcome:
    with dump_store.locked(path, params["lock_timeout"]):
        left = dump_store.remove_partial(path)
        begun = time.monotonic()
        taken, warnings = take(server, path, names, params)
        seconds = round(time.monotonic() - begun, 3)
        facts = {"dump": facts_of(taken, seconds), "databases": names}
        removed, spared = _expire(path, taken, params)
    if left:
        warnings.append(f"removed what a killed dump left: {', '.join(left)}")
    if may_cancel and taken.manifest["standby"]:
        warnings.append(
            "the replica may cancel a long dump: max_standby_streaming_delay is finite, hot_standby_feedback is off"
        )
    before, after = _diff(path, taken.label, names, removed)
    return Outcome(True, {**facts, "removed": removed, "spared": spared}, before, after, warnings=warnings)


def _expire(path: Path, taken: Dump, params: Params) -> tuple[list[str], str]:
    """Retention, among whole dumps alone. Nothing goes where nobody can tell what was proven."""
    if not params["expire"]:
        return [], ""
    gone, spared = dump_store.surplus(dump_store.dumps_in(path), params["keep"], params["verified"] or [])
    for dump_ in gone:
        try:
            dump_store.discard(dump_)
        except OSError as exc:
            facts = {"dump": facts_of(taken, 0.0)}
            raise OpsError(
                f"dump {taken.label} was taken, but {dump_.label} can't be removed: {exc.strerror}", **facts
            ) from exc
    return [dump_.label for dump_ in gone], spared


def facts_of(taken: Dump, seconds: float) -> dict[str, Any]:
    """What the module says of a dump."""
    manifest = taken.manifest
    tables = [table for database in manifest["databases"].values() for table in database["tables"].values()]
    return {
        "label": taken.label, "path": str(taken.path), "manifest_sha256": taken.digest,
        "bytes": sum(file["bytes"] for file in manifest["files"].values()),
        "database_bytes": sum(database["bytes"] for database in manifest["databases"].values()),
        "databases": sorted(manifest["databases"]), "tables": len([one for one in tables if one["rows"] is not None]),
        "rows": sum(one["rows"] or 0 for one in tables), "roles": len(manifest["roles"]),
        "system_digest": manifest["system_digest"], "server_version": manifest["server_version"],
        "tool_version": manifest["tool_version"],
        "compress": manifest["compress"], "standby": manifest["standby"], "passwords": manifest["passwords"],
        "started": manifest["started"], "finished": manifest["finished"], "seconds": seconds,
    }  # fmt: skip


def _diff(path: Path, label: str, names: list[str], removed: list[str] | None = None) -> tuple[str, str]:
    before = "".join(f"{path}/{gone}: present\n" for gone in removed or [])
    return before, f"{path}/{label}: {', '.join(names)}\n"


# --- before anything is written ---------------------------------------------------------------------------------


def _preflight(server: Server, path: Path, params: Params) -> tuple[list[str], bool]:
    """Refuse with every reason; returns the databases to dump, and whether a replica may cancel that."""
    preflight = Preflight()
    _place(server, path, preflight)
    if not preflight.require(server.running(), f"no server runs on {server.data_dir}", "start it first"):
        preflight.done()
    with server.connect() as connection:
        standby, major, system, sees_passwords, may_cancel = connection.execute(_SOURCE).fetchone()
        sizes: dict[str, int] = dict(connection.execute(_DATABASES).fetchall())
        method = compression(connection, params["compress"], major)
    wanted = params["databases"] or list(sizes)
    for name in wanted:
        preflight.require(
            name in sizes, f"there is no database {name} that takes connections", "correct dump_databases"
        )
    preflight.require(
        sees_passwords or not params["passwords"],
        f"{server.login_user} may not read the roles' passwords",
        "connect as a superuser, or leave them out with dump_passwords=false",
    )
    preflight.require(
        compresses(method, major), f"pg_dump {major} knows no {method}", "set dump_compress to auto, gzip or none"
    )
    _programs(server, major, preflight)
    shut = dump_store.unreadable(path, writing=True) if path.is_dir() else []
    if shut:
        preflight.refuse(dump_store.shut_out(path, shut), dump_store.SHUT_OUT_REMEDY)
    elif path.is_dir():
        there = dump_store.dumps_in(path)
        strange = [one.label for one in there if one.manifest["system_digest"] != system]
        preflight.require(
            not strange, f"{path} holds dumps of another cluster ({strange[:1]})", "give each cluster a path of its own"
        )
        _room(path, there, [name for name in wanted if name in sizes], sizes, method, preflight)
    preflight.done()
    return sorted(set(wanted)), bool(standby and may_cancel)


def _place(server: Server, path: Path, preflight: Preflight) -> None:
    if not preflight.require(path.is_dir(), f"there is no directory {path}", "mount it, or create it for this account"):
        return
    preflight.require(
        os.access(path, os.W_OK | os.X_OK),
        f"{path} is not writable for {getpass.getuser()}",
        "let this account write there",
    )
    inside = server.data_dir.resolve() in [path.resolve(), *path.resolve().parents]
    preflight.require(not inside, f"{path} lies in the server's own data directory", "choose a place outside of it")


def _programs(server: Server, major: int, preflight: Preflight) -> None:
    for name in ("pg_dump", "pg_dumpall"):
        try:
            has = major_of(server, name)
        except OpsError as exc:
            preflight.refuse(str(exc), "install the client programs of the server's version, or set bin_dir")
            continue
        preflight.require(
            has >= major, f"{name} is of version {has}, the server of {major}", "set bin_dir to programs as new as it"
        )


def _room(  # noqa: PLR0917 - one caller
    path: Path, there: list[Dump], wanted: list[str], sizes: dict[str, int], method: str, preflight: Preflight
) -> None:
    """Estimate from the newest dump of the same databases; without one, from the databases."""
    alike = [one for one in there if sorted(one.manifest["databases"]) == sorted(set(wanted))]
    if alike:
        needed = int(sum(file["bytes"] for file in alike[-1].manifest["files"].values()) * _GROWTH)
    else:
        # Indexes and dead rows are not dumped, and what is dumped shrinks.
        needed = sum(sizes[name] for name in set(wanted)) // (1 if method == "none" else 2)
    free = shutil.disk_usage(path).free + dump_store.partial_bytes(path)
    preflight.require(
        free > needed, f"{path} has {free >> 20} MB free, the dump takes about {needed >> 20} MB", "make room"
    )
