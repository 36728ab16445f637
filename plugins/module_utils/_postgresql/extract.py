# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`extract` for PostgreSQL: a part of a copy, or of a logical dump, into a file, and from there beside what is there.

The file is proven before it gets its name: it is read to its end, and every table's rows are counted in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sha256_of, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import extract_file, options
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_programs import rows_in
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.extract_from_dump import load_from_dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server


def extract(params: Params, check_mode: bool) -> Outcome:
    """Write the file, or load it, as `state` asks."""
    preflight = options.impossible(params)
    from_dump = params["state"] == "loaded" and bool(params["dump_path"])
    for name in ("database",) if from_dump else ("database", "dest"):
        preflight.require(bool(params[name]), f"{name} is empty", f"say which {name} it is")
    preflight.require(from_dump or not params["schema"], "schema is for a logical dump", "set dump_path")
    preflight.require(params["jobs"] >= 1, f"jobs is {params['jobs']}", "give 1 or more")
    preflight.require(not (params["schema"] and params["table"]), "schema and table are both given", "give one")
    preflight.done()
    server = Server.of({**params, "service": "process", "config_dir": None})
    if params["state"] == "dumped":
        return _dump(server, params, check_mode)
    return load_from_dump(server, params, check_mode) if from_dump else _load(server, params, check_mode)


def _dump(server: Server, params: Params, check_mode: bool) -> Outcome:
    dest, database = Path(params["dest"]), params["database"]
    preflight = Preflight()
    preflight.require(not dest.exists(), f"{dest} is there already", "move it away, or choose another name")
    preflight.require(dest.parent.is_dir(), f"{dest.parent} is no directory", "make it")
    if dest.parent.is_dir():
        preflight.require(os.access(dest.parent, os.W_OK), f"{dest.parent} is not writable", "change its owner")
    preflight.done()
    if check_mode:
        return Outcome(True, {"path": str(dest)}, "", f"file: {dest}\n")
    with host_lock(str(server.data_dir), "extract", params["lock_timeout"]):
        table = extract_file.move(server, database, params["table"], params["as_schema"])
        found = extract_file.tables(server, database, table)
        if table and not found:
            raise OpsError(f"{table} of database {database} is no table")
        rows = extract_file.counted(server, database, [name for name, holds in found.items() if holds])
        part = [word for name in sorted(found) for word in ("-t", name)] if table else []
        extract_file.write_proven(server, database, part, rows, dest)
        sync_directory(dest.parent)
    facts = {
        "path": str(dest), "bytes": dest.stat().st_size, "sha256": sha256_of(dest), "tables": rows,
        "rows": sum(rows.values()),
    }  # fmt: skip
    return Outcome(True, facts, "", f"file: {dest}\n")


def _load(server: Server, params: Params, check_mode: bool) -> Outcome:
    file, table = Path(params["dest"]), params["table"]
    preflight = Preflight()
    if not preflight.require(file.is_file(), f"{file} is not there", "extract it first"):
        preflight.done()
    wanted = rows_in(server, file)
    target = params["database"] if table else params["as_database"]
    there = extract_file.there_is(server, target)
    if table:
        preflight.require(there, f"there is no database {target}", "correct its name")
        if there:
            taken = extract_file.taken(server, target, list(wanted))
            preflight.require(not taken, f"{', '.join(taken)} is there already", "choose another as_schema")
    else:
        preflight.require(not there, f"database {target} is there already", "choose another as_database")
    preflight.done()
    facts = {"database": target, "tables": wanted, "rows": sum(wanted.values())}
    if check_mode:
        return Outcome(True, facts, "", f"loaded: {target}\n")
    with host_lock(str(server.data_dir), "extract", params["lock_timeout"]):
        if table:
            extract_file.load_part(server, params, file, target)
        else:
            extract_file.load_database(server, file, target)
    wrong = extract_file.differing(wanted, extract_file.counted(server, target, list(wanted)))
    if wrong:
        raise OpsError(f"what was loaded is not what the file holds: {'; '.join(wrong[:5])}")
    return Outcome(True, facts, "", f"loaded: {target}\n")
