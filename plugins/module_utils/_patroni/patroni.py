# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`patroni`: what only Patroni has. Its own settings, the pause, the account for rewinding, waiting for a member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import told
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node, configuration_of
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rejoin import await_follower, reinitialized
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

try:
    from psycopg import sql
except ImportError:
    sql = None

#: What pg_rewind calls on the server that it copies from: the pages of PostgreSQL name these four.
_REWIND = (
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)  # fmt: skip


def patroni(params: Params, check_mode: bool) -> Outcome:
    """Do what `state` asks for."""
    act = {
        "seen": _seen,
        "awaited": _awaited,
        "configured": _configured,
        "prepared": _prepared,
        "paused": _paused,
        "resumed": _paused,
        "reinitialized": reinitialized,
    }[params["state"]]
    return act(params, check_mode)


def _seen(params: Params, check_mode: bool) -> Outcome:
    del check_mode
    return Outcome(False, {"patroni": told(Node.of(params))})


def _awaited(params: Params, check_mode: bool) -> Outcome:
    """Wait until this member leads or follows; a dry run on a host without Patroni has nothing to wait for."""
    if check_mode and configuration_of(Server.of(params).data_dir) is None:
        return Outcome(False, {"role": "none"})
    me = await_follower(Node.of(params), Server.of(params), params["timeout"])
    return Outcome(False, {"role": "leader" if me.leads else "replica", "timeline": me.timeline})


def _prepared(params: Params, check_mode: bool) -> Outcome:
    """Have the account by which a former leader is rewound: it may call four functions, and nothing else."""
    name, password = params["rewind_user"], params["rewind_password"]
    with Server.of(params).connect() as connection:
        query = "SELECT rolpassword, rolcanlogin FROM pg_authid WHERE rolname = %s"
        row = connection.execute(query, (name,)).fetchone()
        granted = row and all(
            connection.execute("SELECT has_function_privilege(%s, %s, 'execute')", (name, one)).fetchone()[0]
            for one in _REWIND
        )
        if row and row[1] and granted and scram.matches(row[0] or "", password):
            return Outcome(False)
        if not check_mode:
            verifier = sql.Literal(scram.verifier(connection, name, password))
            verb = sql.SQL("ALTER" if row else "CREATE")
            with connection.transaction():
                connection.execute(
                    sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(name), verifier)
                )
                for one in _REWIND:
                    grant = f"GRANT EXECUTE ON FUNCTION pg_catalog.{one} TO {{}}"
                    connection.execute(sql.SQL(grant).format(sql.Identifier(name)))
    return Outcome(True, {}, f"role {name}: differs\n" if row else "", f"role {name}: login, may rewind\n")


def difference(now: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be patched so that `now` has all that is wanted; None takes a setting away."""
    patch: dict[str, Any] = {}
    for name, value in wanted.items():
        there = now.get(name)
        if isinstance(value, Mapping):
            inner = difference(there if isinstance(there, Mapping) else {}, value)
            if inner:
                patch[name] = inner
        elif value is None:
            if name in now:
                patch[name] = None
        elif _plain(there) != _plain(value):
            patch[name] = value
    return patch


def _plain(value: Any) -> Any:
    """A value as it is compared: 30 and "30" are one, and so are true and on."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None:
        return None
    word = str(value).strip().lower()
    return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(word, word)


def lines(values: Mapping[str, Any], at: str = "") -> str:
    """Settings for a difference, one a line."""
    told_ = []
    for name in sorted(values):
        value = values[name]
        if isinstance(value, Mapping):
            told_.append(lines(value, f"{at}{name}."))
        elif value is not None:
            told_.append(f"{at}{name} = {value}\n")
    return "".join(told_)


def picked(now: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What stands now where a patch would change it."""
    found: dict[str, Any] = {}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            there = now.get(name)
            found[name] = picked(there if isinstance(there, Mapping) else {}, value)
        elif name in now:
            found[name] = now[name]
    return found


def _configured(params: Params, check_mode: bool) -> Outcome:
    """Have Patroni's own settings in the distributed configuration."""
    node = Node.of(params)
    now = node.api.get("/config")
    patch = difference(now, params["settings"])
    if patch and not check_mode:
        node.api.order("PATCH", "/config", patch)
    return Outcome(bool(patch), {}, lines(picked(now, patch)), lines(patch))


def _paused(params: Params, check_mode: bool) -> Outcome:
    """Have Patroni leave everything as it is, or take it up again; every member has to have heard of it."""
    node = Node.of(params)
    wanted = params["state"] == "paused"
    cluster = view.look(node.api)
    changed = cluster.paused is not wanted
    if changed and not check_mode:
        node.api.order("PATCH", "/config", {"pause": True if wanted else None})
    if not check_mode:
        _await_heard(node, wanted, params["timeout"])
    words = {True: "paused", False: "in charge"}
    before, after = f"Patroni: {words[cluster.paused]}\n", f"Patroni: {words[wanted]}\n"
    return Outcome(changed, {"paused": wanted}, before, after)


def _await_heard(node: Node, wanted: bool, seconds: float) -> None:
    deaf: list[str] = []

    def heard() -> bool:
        deaf.clear()
        for member in view.look(node.api).members:
            try:
                status = node.api.at(member.url).get("/patroni", 5)
            except OpsError as exc:
                deaf.append(str(exc))
                continue
            if bool(status.get("pause")) is not wanted:
                deaf.append(f"{member.name} has not heard of it")
        return not deaf

    if not await_condition(heard, seconds, every=0.2):
        raise OpsError(f"after {seconds} s: {'; '.join(deaf)} (it is declared, and holds for all who read it)")
