# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`config_drift` for PostgreSQL: what a server's settings are against the declared ones, and against its cluster's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.secrets_guard import redact
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.config import hba_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import settings_fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import (
    Places,
    look,
    others,
    shadowed,
)

#: What is a host's own, or follows from its role.
_OWN = {
    "cluster_name", "config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "in_hot_standby",
    "listen_addresses", "log_directory", "log_filename", "port", "primary_conninfo", "primary_slot_name",
    "recovery_target_timeline", "restore_command", "transaction_read_only", "unix_socket_directories",
}  # fmt: skip
#: A session has these from its account, its database or its client: they say nothing about the server.
_SESSIONS = {"client", "session", "user", "database", "database user"}


def config_drift(params: Params, check_mode: bool) -> Outcome:
    """Examine one server, or compare what was found on all members; never changes anything."""
    del check_mode
    if params["state"] == "compared":
        return _compared(params["members"] or {}, {name.lower() for name in params["may_differ"]})
    server = Server.of(params)
    preflight = Preflight()
    settings_fit(params["settings"], preflight)
    preflight.done()
    if not (server.exists() and server.running()):
        found = [_one("", "", "", str(server.data_dir), "no server runs here, its settings are not known")]
        return Outcome(False, {"drift": found, "values": {}, "elsewhere": []})
    with server.connect() as connection:
        places = look(connection, server)
        elsewhere = others(connection)
    drift = _from_declared(server, params, places)
    # What ALTER ROLE and ALTER DATABASE hold travels to every replica: it is told, and is no drift.
    shown = [{**one, "value": redact(one["value"])} for one in elsewhere]
    return Outcome(False, {"drift": drift, "values": _values(places), "elsewhere": shown})


def _one(name: str, declared: str, found: str, place: str, what: str) -> dict[str, str]:
    return {"name": name, "declared": redact(declared), "found": redact(found), "place": place, "what": what}


def _from_declared(server: Server, params: Params, places: Places) -> list[dict[str, str]]:
    ours = server.config_dir / "conf.d" / f"{params['file']}.conf"
    declared = {name.lower(): conf.as_text(value) for name, value in params["settings"].items()}
    written = conf.parse(read_text(ours))
    drift = []
    for name in sorted({*declared, *written}):
        if name not in written:
            drift.append(_one(name, declared[name], "", str(ours), "declared, and not written"))
        elif name not in declared:
            drift.append(_one(name, "", written[name], str(ours), "written, and no longer declared"))
        elif places.meaning(name, written[name]) != places.meaning(name, declared[name]):
            drift.append(_one(name, declared[name], written[name], str(ours), "written differently"))
    for shadow in shadowed(places, params["settings"], ours, 0):
        if not shadow["same"]:
            drift.append(_one(shadow["name"], shadow["declared"], shadow["value"], shadow["place"], "overridden"))
    for one in places.pending():
        drift.append(_one(one["name"], one["new"], one["current"], "the running server", "awaits a restart"))
    if params["hba"] is not None:
        rules = server.config_dir / "pg_hba.conf"
        wanted, has = (_rules(text) for text in (hba_text(params["hba"]), read_text(rules)))
        name, place = "pg_hba.conf", str(rules)
        drift += [_one(name, rule, "", place, "rule is missing") for rule in wanted if rule not in has]
        drift += [_one(name, "", rule, place, "rule is not declared") for rule in has if rule not in wanted]
        if sorted(wanted) == sorted(has) and wanted != has:
            drift.append(_one(name, "", "", place, "the rules stand in another order"))
    return drift


def _rules(text: str) -> list[str]:
    lines = (" ".join(line.partition("#")[0].split()) for line in text.splitlines())
    return [line for line in lines if line]


def _values(places: Places) -> dict[str, str]:
    """What may be compared with other members, as the engine spells it."""
    return {
        row.kind.name: redact(row.shown)
        for name, row in sorted(places.rows.items())
        if name not in _OWN and row.kind.context != "internal" and row.source not in _SESSIONS
    }


def _compared(members: Mapping[str, Any], may_differ: set[str]) -> Outcome:
    names = sorted({name for facts in members.values() for name in facts.get("values") or {}}, key=str.lower)
    between = []
    for name in names:
        values = {host: facts["values"][name] for host, facts in members.items() if name in (facts.get("values") or {})}
        if name.lower() not in may_differ and len(set(values.values())) > 1:
            between.append({"name": name, "values": values})
    declared = [
        {"host": host, **one}
        for host, facts in members.items()
        for one in facts.get("drift") or []
        if one["name"].lower() not in may_differ
    ]
    elsewhere = [{"host": host, **one} for host, facts in members.items() for one in facts.get("elsewhere") or []]
    facts = {"drifted": bool(between or declared), "declared": declared, "between": between, "elsewhere": elsewhere}
    return Outcome(False, {**facts, "report": _report(list(members), declared, between, elsewhere)})


def _report(
    hosts: list[str], declared: list[dict[str, Any]], between: list[dict[str, Any]], elsewhere: list[dict[str, Any]]
) -> list[str]:
    """The lines that a person reads."""
    lines = []
    for one in declared:
        words = [f"{what} {one[what]}" for what in ("declared", "found") if one[what]]
        told = f": {', '.join(words)}" if words else ""
        lines.append(" ".join(f"{one['host']}: {one['name']} {one['what']}{told} ({one['place']})".split()))
    for one in between:
        told = ", ".join(f"{host} has {value or 'nothing'}" for host, value in one["values"].items())
        lines.append(f"{one['name']} differs: {told}")
    total = f"{len(declared)} from what is declared, {len(between)} between the members"
    lines.append(f"drift of {', '.join(hosts)}: {total if lines else 'none'}")
    seen = {(one["role"], one["database"], one["name"], one["value"]) for one in elsewhere}
    for role, database, name, value in sorted(seen):
        whose = (role or "every account") + (f" in database {database}" if database else "")
        lines.append(f"no drift, but set for {whose}: {name} is {value}")
    return lines
