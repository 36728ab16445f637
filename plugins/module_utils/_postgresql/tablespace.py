# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`tablespace` for PostgreSQL: the declared ones exist on the primary, each at its place. None is ever dropped."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

try:
    from psycopg import sql
except ImportError:
    sql = None

#: Where every tablespace of the server's own making lies; those of initdb have no place.
PLACES = """SELECT spcname, pg_tablespace_location(oid) FROM pg_tablespace
            WHERE pg_tablespace_location(oid) <> '' ORDER BY spcname"""
_UNFIT = re.compile(r"[\x00-\x1f'\\]")
#: PostgreSQL cuts longer names.
_NAME_BYTES = 63


def tablespace(params: Params, check_mode: bool) -> Outcome:
    """Create the declared tablespaces that are missing."""
    server = Server.of(params)
    wanted = {one["name"]: os.path.normpath(one["location"]) for one in params["tablespaces"]}
    preflight = Preflight()
    _declared_well(server, params["tablespaces"], preflight)
    preflight.done()
    if check_mode and not server.running():
        return _outcome({}, wanted)
    with server.connect() as connection:
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        there: dict[str, str] = dict(connection.execute(PLACES).fetchall())
        missing = {name: place for name, place in wanted.items() if name not in there}
        _fits_what_is_there(wanted, there, preflight)
        preflight.require(
            not (standby and missing), f"the server on port {server.port} is a replica", "create them on the primary"
        )
        if not check_mode:
            for place in missing.values():
                _ready(place, preflight)
        preflight.done()
        if not check_mode:
            for name, place in missing.items():
                statement = sql.SQL("CREATE TABLESPACE {} LOCATION {}")
                connection.execute(statement.format(sql.Identifier(name), sql.Literal(place)))
    return _outcome(there, missing)


def _outcome(there: Mapping[str, str], missing: Mapping[str, str]) -> Outcome:
    facts = {"created": sorted(missing), "tablespaces": {**there, **missing}}
    after = "".join(f"tablespace {name}: {place}\n" for name, place in sorted(missing.items()))
    outcome = Outcome(bool(missing), facts, "", after)
    if missing:
        # Recovery makes it at its very place on whatever host the copy is: only what a backup holds can be moved.
        outcome.warnings.append(
            f"take a backup now: an older one can't be restored to a moment after {', '.join(sorted(missing))} "
            "was created"
        )
    return outcome


def _declared_well(server: Server, tablespaces: list[dict[str, Any]], preflight: Preflight) -> None:
    """Note what can't be right whatever the server holds."""
    for one in tablespaces:
        name, place = one["name"], one["location"]
        preflight.require(
            bool(name) and len(name.encode()) <= _NAME_BYTES and not name.startswith("pg_") and "\x00" not in name,
            f"tablespace {name!r}: no name for one",
            f"give 1 to {_NAME_BYTES} bytes that don't begin with pg_",
        )
        path = Path(place)
        preflight.require(
            path.is_absolute() and ".." not in path.parts and len(path.parts) > 1 and not _UNFIT.search(place),
            f"tablespace {name}: {place!r} is no place for it",
            "give a whole path without quotes and ..",
        )
        inside = any(root == path or root in path.parents for root in (server.data_dir, server.config_dir))
        preflight.require(
            not inside, f"tablespace {name}: {place} lies in the server's own directory", "choose a place outside of it"
        )
    for what in ("name", "location"):
        values = Counter(one[what] if what == "name" else os.path.normpath(one[what]) for one in tablespaces)
        for value, count in values.items():
            preflight.require(count == 1, f"{count} tablespaces have the {what} {value}", "give each its own")


def _fits_what_is_there(wanted: Mapping[str, str], there: Mapping[str, str], preflight: Preflight) -> None:
    for name, place in wanted.items():
        found = there.get(name)
        preflight.require(
            found in (None, place),
            f"tablespace {name} lies in {found}, not in {place}",
            "correct its location; moving one is done by hand, with the server stopped",
        )
        others = [other for other, at in there.items() if at == place and other != name]
        preflight.require(not others, f"{place} is the place of tablespace {', '.join(others)}", "choose another")


def _ready(place: str, preflight: Preflight) -> None:
    """Note why PostgreSQL could not use a directory."""
    directory = Path(place)
    if not directory.is_dir():
        preflight.refuse(f"there is no directory {place}", "create it for the account that owns the server")
    elif os.geteuid() != 0:
        mine = directory.stat().st_uid == os.geteuid()
        preflight.require(mine, f"{place} belongs to another account", "give it to the account that owns the server")
