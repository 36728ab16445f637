# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`config` where Patroni rules: settings and authentication in the distributed configuration, once for all members.

The same comparison by meaning, the same validation by the server's own program, the same differences as on plain hosts.
Which settings are ours is noted beside them, by `file`, so that one that is no longer declared goes, and others' stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.secrets_guard import redact
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import parameters, pending
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.config import hba_lines, rule_fits
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import settings_fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import (
    Places,
    look,
    others,
    shadowed,
)

#: Where the note stands in the distributed configuration; Patroni leaves alone what it does not know.
NOTE = "boringdb"
#: What Patroni decides itself, or takes from the member's own file alone: it would be ignored, or fought over.
OWNED = {
    "listen_addresses": "postgresql.listen", "port": "postgresql.listen", "cluster_name": "scope",
    "hot_standby": "always on", "wal_log_hints": "always on", "hba_file": "the option hba",
    "ident_file": "postgresql.pg_ident", "primary_conninfo": "postgresql.authentication.replication",
    "primary_slot_name": "use_slots", "recovery_target_timeline": "always latest",
    "synchronous_standby_names": "synchronous_mode",
}  # fmt: skip


def config(params: Params, check_mode: bool) -> Outcome:
    """Declare settings and pg_hba rules for all members; tell what awaits a restart here."""
    server, node = Server.of(params), Node.of(params)
    _preflight(params)
    now = node.api.get("/config")
    known = _look(server)
    patch = patch_for(now, params, known)
    outcome = Outcome(bool(patch), {})
    outcome.diffs = differences(node, now, patch, known)
    if patch:
        _validate(server, params["settings"])
    before = _loaded(server) if known.rows else 0.0
    if patch and not check_mode:
        node.api.order("PATCH", "/config", patch)
        _await_read(server, node, before, now, patch)
    _report(server, node, params, outcome, patch, check_mode)
    return outcome


def _preflight(params: Params) -> None:
    preflight = Preflight()
    settings_fit(params["settings"], preflight)
    for index, rule in enumerate(params["hba"] or []):
        rule_fits(f"hba rule {index + 1}", rule, preflight)
    for name in params["settings"]:
        if name.lower() in OWNED:
            preflight.refuse(f"{name} is Patroni's own ({OWNED[name.lower()]})", "leave it out")
    preflight.require(not params["reset_auto"], "reset_auto is not for what Patroni runs", "ALTER SYSTEM RESET")
    preflight.done()


def _look(server: Server) -> Places:
    if not (server.exists() and server.running()):
        return Places({}, [], {})
    with server.connect() as connection:
        return look(connection, server)


def patch_for(now: Mapping[str, Any], params: Params, known: Places) -> dict[str, Any]:
    """What has to be patched; empty where all that is declared means what is there."""
    part: dict[str, Any] = {}
    there = {str(name).lower(): value for name, value in (_postgresql(now).get("parameters") or {}).items()}
    wanted = {name.lower(): conf.as_text(value) for name, value in params["settings"].items()}
    note = (now.get(NOTE) or {}).get(params["file"]) or []
    changed: dict[str, str | None] = {
        name: value
        for name, value in wanted.items()
        if there.get(name) is None or known.meaning(name, conf.as_text(there[name])) != known.meaning(name, value)
    }
    changed.update({name: None for name in note if name not in wanted and name in there})
    if changed:
        part["parameters"] = changed
    if params["hba"] is not None and list(_postgresql(now).get("pg_hba") or []) != hba_lines(params["hba"]):
        part["pg_hba"] = hba_lines(params["hba"])
    patch: dict[str, Any] = {"postgresql": part} if part else {}
    if sorted(note) != sorted(wanted):
        patch[NOTE] = {params["file"]: sorted(wanted) or None}
    return patch


def _postgresql(now: Mapping[str, Any]) -> Mapping[str, Any]:
    found = now.get("postgresql")
    return found if isinstance(found, Mapping) else {}


def differences(node: Node, now: Mapping[str, Any], patch: Mapping[str, Any], known: Places) -> list[dict[str, str]]:
    """What a reviewer reads: settings with what it takes to have an effect, then rules."""
    part = patch.get("postgresql") or {}
    there = {str(name).lower(): value for name, value in (_postgresql(now).get("parameters") or {}).items()}
    changed = part.get("parameters") or {}
    found = []
    if changed:
        old = [f"{name} = {conf.quoted(conf.as_text(there[name]))}" for name in sorted(changed) if name in there]
        new = [
            f"{name} = {conf.quoted(value)}" + ("  # awaits a restart" if _needs_restart(known, name) else "")
            for name, value in sorted(changed.items())
            if value is not None
        ]
        found.append((f"/config of {node.scope}: postgresql.parameters", old, new))
    if "pg_hba" in part:
        old = [str(line) for line in _postgresql(now).get("pg_hba") or []]
        found.append((f"/config of {node.scope}: postgresql.pg_hba", old, part["pg_hba"]))
    return [
        {"before_header": header, "after_header": header, "before": redact("\n".join([*old, ""])),
         "after": redact("\n".join([*new, ""]))}
        for header, old, new in found
    ]  # fmt: skip


def _needs_restart(known: Places, name: str) -> bool:
    kind = known.kinds.get(name)
    return kind is not None and kind.needs_restart


def _validate(server: Server, settings: Mapping[str, Any]) -> None:
    """Have the server's own program read the settings, before they are put where every member takes them from."""
    if not server.exists():
        return
    with tempfile.TemporaryDirectory(prefix="boringdb-candidate-") as place:
        candidate = Path(place) / "postgresql.conf"
        candidate.write_text(conf.render(settings, "a candidate"), encoding="utf-8")
        refusal = server.refusal_of(candidate, server.data_dir)
        refusal = refusal.replace(f"{candidate}", "the declared settings")
    if refusal:
        raise OpsError(f"the server refuses these settings, nothing was changed: {refusal}")


def _loaded(server: Server) -> float:
    with server.connect() as connection:
        return float(connection.execute("SELECT extract(epoch FROM pg_conf_load_time())").fetchone()[0])


def _await_read(
    server: Server, node: Node, before: float, now: Mapping[str, Any], patch: Mapping[str, Any]
) -> None:
    """Wait until Patroni has given it to this server. Rules that the server rejects are taken back."""
    part = patch.get("postgresql")
    if not part or not before:
        return
    wait = int(now.get("loop_wait") or 10) + 10
    # What only a restart changes may stand on the command line, and then nothing is reloaded.
    alone = not set(part) - {"parameters"} and all(_given(server, name) for name in part["parameters"])
    if not alone and not await_condition(lambda: _loaded(server) > before, wait, every=0.1):
        raise OpsError(f"it is declared, and {server.data_dir} has not read it after {wait} s: see Patroni's log")
    if "pg_hba" not in part:
        return
    with server.connect() as connection:
        query = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        rows = connection.execute(query).fetchall()
    if rows:
        old = _postgresql(now).get("pg_hba")
        node.api.order("PATCH", "/config", {"postgresql": {"pg_hba": old}})
        told = "; ".join(f"line {number}: {error}" for number, error in rows)
        raise OpsError(f"the server refuses these pg_hba rules, the old ones are back: {told}")


def _given(server: Server, name: str) -> bool:
    with server.connect() as connection:
        return name in look(connection, server).command_line


def _then(node: Node, patch: Mapping[str, Any]) -> dict[str, str]:
    """The server's settings as they are declared, once this is patched."""
    found: dict[str, str | None] = {**parameters(node), **_postgresql(patch).get("parameters", {})}
    return {name: value for name, value in found.items() if value is not None}


def _report(  # noqa: PLR0917 - one caller
    server: Server, node: Node, params: Params, outcome: Outcome, patch: Mapping[str, Any], check_mode: bool
) -> None:
    facts: dict[str, Any] = {"restart_required": [], "pending": [], "overridden": [], "shadowed": [], "elsewhere": []}
    outcome.facts.update(facts, reset=[])
    if not (server.exists() and server.running()):
        return
    names = {name.lower() for name in params["settings"]}
    with server.connect() as connection:
        places = look(connection, server)
        outcome.facts["elsewhere"] = [one for one in others(connection) if one["name"].lower() in names]
    declared = {name.lower(): conf.as_text(value) for name, value in params["settings"].items()}
    waiting = pending(places, _then(node, patch if check_mode else {}))
    if check_mode:
        told = {one["name"].lower() for one in waiting}
        for name, value in sorted(declared.items()):
            row = places.rows.get(name)
            fresh = row and row.kind.needs_restart and name not in told
            if row and fresh and places.meaning(name, value) != places.meaning(name, row.setting):
                waiting.append({"name": row.kind.name, "current": row.shown, "new": value})
    outcome.facts["pending"] = sorted(waiting, key=lambda one: one["name"].lower())
    outcome.facts["restart_required"] = [one["name"] for one in outcome.facts["pending"]]
    base = server.config_dir / "postgresql.conf"
    found = [
        one for one in shadowed(places, params["settings"], base, 0)
        if one["place"] != "the command line"
    ]  # fmt: skip
    outcome.facts["shadowed"] = found
    outcome.facts["overridden"] = [one["name"] for one in found]
    for one in found:
        if not one["same"]:
            outcome.warnings.append(
                f"{one['name']} is set elsewhere and that wins: {one['place']} says {one['value']}, {one['declared']} "
                "is declared (ALTER SYSTEM RESET)"
            )
