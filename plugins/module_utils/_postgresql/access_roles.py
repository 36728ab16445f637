# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles as they are and as they are declared: attributes, passwords, memberships, settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import scram
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import (
    Declared,
    Entry,
    Step,
    shown,
    step,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning

try:
    import psycopg
    from psycopg import sql
except ImportError:
    psycopg = sql = None

_FLAGS = {
    "superuser": "rolsuper", "createdb": "rolcreatedb", "createrole": "rolcreaterole", "inherit": "rolinherit",
    "login": "rolcanlogin", "replication": "rolreplication", "bypassrls": "rolbypassrls",
}  # fmt: skip
#: Settings whose value is a list of names, which must not be quoted as one; pg_dump keeps the same list.
_LISTS = {"search_path", "local_preload_libraries", "session_preload_libraries", "temp_tablespaces"}
_ROLES = f"""SELECT rolname, oid = 10, {", ".join(_FLAGS.values())}, rolconnlimit,
       nullif(rolvaliduntil, 'infinity')::text FROM pg_roles"""  # noqa: S608 - names of this file


@dataclass
class Role:
    """One role of the server."""

    bootstrap: bool
    flags: dict[str, bool]
    connection_limit: int
    valid_until: str | None
    groups: dict[str, list[str]] = field(default_factory=dict)
    """The roles that it is a member of, each with who granted that."""
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Roles:
    """The roles of a server, and whom we are among them. Without a server there are none, and we may do everything."""

    roles: dict[str, Role] = field(default_factory=dict)
    verifiers: dict[str, str] | None = field(default=None, repr=False)
    """The stored verifiers, None where we may not read them."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """What each setting is, by its name in lower case."""
    me: str = ""
    major: int = 0

    def may(self, flag: str) -> bool:
        """Whether we have an attribute, or are above all of them."""
        own = self.roles.get(self.me)
        return own is None or own.flags["superuser"] or own.flags[flag]


def read(connection: Any) -> Roles:
    """Ask the server."""
    found = Roles()
    found.me, found.major, readable = connection.execute(
        "SELECT current_user, current_setting('server_version_num')::int / 10000,"
        " has_column_privilege('pg_catalog.pg_authid', 'rolname', 'SELECT')"
        " AND has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')"
    ).fetchone()
    for name, bootstrap, *flags, limit, until in connection.execute(_ROLES).fetchall():
        found.roles[name] = Role(bootstrap, dict(zip(_FLAGS, flags)), limit, until)
    members = """SELECT pg_get_userbyid(member), pg_get_userbyid(roleid), pg_get_userbyid(grantor) FROM pg_auth_members
                 ORDER BY 1, 2, 3"""
    for member, group, grantor in connection.execute(members).fetchall():
        found.roles[member].groups.setdefault(group, []).append(grantor)
    own = "SELECT pg_get_userbyid(setrole), setconfig FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole <> 0"
    for name, config in connection.execute(own).fetchall():
        found.roles[name].settings = {key.lower(): value for key, value in (line.split("=", 1) for line in config)}
    kinds = "SELECT name, vartype, unit, coalesce(enumvals, '{}') FROM pg_settings"
    for name, vartype, unit, values in connection.execute(kinds).fetchall():
        found.kinds[name.lower()] = Kind(name, vartype, unit, tuple(values))
    if readable:
        stored = connection.execute("SELECT rolname, coalesce(rolpassword, '') FROM pg_authid").fetchall()
        found.verifiers = dict(stored)
    return found


def judge(state: Roles, declared: Declared, connection: Any, preflight: Preflight) -> None:
    """Note what this server, or this account on it, can't do."""
    for name, place in declared.mentioned().items():
        preflight.require(name in state.roles, f"{place} {name}: there is no such role", "declare it in roles")
    for role in declared.roles:
        which, there = f"role {role['name']}", state.roles.get(role["name"])
        ours = there is not None and (there.bootstrap or role["name"] == state.me)
        preflight.require(
            not ours, f"{which} is the account this connects as, or the engine's first superuser", "manage it by hand"
        )
        role["valid_until"] = _until_fits(which, role, connection, preflight)
        if there and there.flags["login"] and not role["login"]:
            no_sessions(connection, role["name"], preflight)
        if there and role["password"] is not None:
            preflight.require(
                state.verifiers is not None,
                f"{which}: {state.me} may not read pg_authid, so that nobody can tell whether the password differs",
                "leave the password out, connect as a superuser, or GRANT SELECT (rolname, rolpassword) ON pg_authid"
                f" TO {state.me}",
            )
    if state.may("superuser"):
        return
    planned = list(plan(state, declared.roles))
    if planned or declared.gone:
        _may_manage(state, [step.thing for step in planned], preflight)
    for role in declared.roles:
        for flag in ("superuser", "replication", "bypassrls", "createdb"):
            there = state.roles.get(role["name"])
            new = role[flag] != (there.flags[flag] if there else False)
            preflight.require(
                not new or state.may(flag),
                f"role {role['name']}: {state.me} may not give or take {flag} without having it",
                "connect as a superuser",
            )


def no_sessions(connection: Any, name: str, preflight: Preflight) -> None:
    """Note the sessions of a role that is to lose its login: whoever has them could not come back."""
    query = """SELECT count(*), string_agg(DISTINCT coalesce(nullif(application_name, ''), 'unnamed') || ' at '
                                          || coalesce(host(client_addr), 'the local socket'), ', ')
               FROM pg_stat_activity WHERE usename = %s"""
    sessions, told = connection.execute(query, (name,)).fetchone()
    preflight.require(
        sessions == 0,
        f"role {name} has {sessions} session{'s' * (sessions != 1)} ({told})",
        "let them move to another role, or end them",
    )


def _may_manage(state: Roles, things: list[str], preflight: Preflight) -> None:
    what = ", ".join(dict.fromkeys(things)) or "roles"
    preflight.require(
        state.major >= 16,
        f"{what}: {state.me} is no superuser, and before PostgreSQL 16 CREATEROLE reached every other role",
        "connect as a superuser",
    )
    preflight.require(state.may("createrole"), f"{what}: {state.me} has no CREATEROLE", "connect as one who has")


def _until_fits(which: str, role: Entry, connection: Any, preflight: Preflight) -> str | None:
    """An end of validity as the server tells it, so that it can be compared."""
    until: str | None = role["valid_until"]
    if until is None:
        return None
    try:
        row = connection.execute("SELECT nullif(%s::timestamptz, 'infinity')::text", (until,)).fetchone()
    except psycopg.Error:
        preflight.refuse(f"{which}: valid_until {until!r} is no time", "write 2027-01-31 or 2027-01-31 12:00+00")
        return None
    return str(row[0]) if row[0] is not None else None


def plan(state: Roles, declared: list[Entry]) -> Iterator[Step]:
    """What has to be done, all roles first: they may be members of each other."""
    for role in declared:
        yield from _attributes(state.roles.get(role["name"]), role)
    for role in declared:
        yield from _password(state, role)
    for role in declared:
        there = state.roles.get(role["name"])
        yield from _memberships(there.groups if there else {}, role, state)
        yield from _settings(there.settings if there else {}, role, state.kinds)


def _attributes(there: Role | None, role: Entry) -> Iterator[Step]:
    wanted = Role(False, {flag: role[flag] for flag in _FLAGS}, role["connection_limit"], role["valid_until"])
    before, after = _told(there), _told(wanted)
    if before == after:
        return
    words = [("" if wanted.flags[flag] else "NO") + flag.upper() for flag in _FLAGS]
    if there:
        words = [word for word, flag in zip(words, _FLAGS) if wanted.flags[flag] != there.flags[flag]]
    thing = f"role {role['name']}"
    limit = sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(wanted.connection_limit))
    until = sql.SQL("VALID UNTIL {}").format(sql.Literal(wanted.valid_until or "infinity"))
    parts = [sql.SQL(word) for word in words]
    if wanted.connection_limit != (there.connection_limit if there else -1):
        parts.append(limit)
    if wanted.valid_until != (there.valid_until if there else None):
        parts.append(until)
    verb = sql.SQL("ALTER" if there else "CREATE")
    prefix = f"{thing}: "
    yield step(
        thing, prefix + before if there else "", prefix + after,
        "{} ROLE {} {}", verb, sql.Identifier(role["name"]), sql.SQL(" ").join(parts),
    )  # fmt: skip


def _told(role: Role | None) -> str:
    """A role's attributes for a person."""
    if role is None:
        return ""
    words = [flag if role.flags[flag] else f"no{flag}" for flag in _FLAGS]
    words += [f"connection limit {role.connection_limit}"] if role.connection_limit != -1 else []
    words += [f"valid until {role.valid_until}"] if role.valid_until else []
    return ", ".join(words)


def _password(state: Roles, role: Entry) -> Iterator[Step]:
    password, name = role["password"], role["name"]
    stored = (state.verifiers or {}).get(name, "")
    if password is None or scram.matches(stored, password):
        return
    yield set_password(name, password, bool(stored))


def set_password(name: str, password: str, had_one: bool) -> Step:
    """The step that gives a role a password. Neither the password nor its verifier is ever shown."""
    statement = sql.SQL("ALTER ROLE {} PASSWORD").format(sql.Identifier(name))
    before = f"role {name}: password: another" if had_one else ""
    told = f"{shown(statement)} '…'"
    return Step(f"role {name}", before, f"role {name}: password: as declared", statement, told, password)


def _memberships(there: dict[str, list[str]], role: Entry, state: Roles) -> Iterator[Step]:
    thing, member = f"role {role['name']}", sql.Identifier(role["name"])
    for group in role["member_of"]:
        if group not in there:
            yield step(thing, "", f"{thing}: member of {group}", "GRANT {} TO {}", sql.Identifier(group), member)
    for group in sorted(set(there) - set(role["member_of"])):
        for grantor in there[group]:
            by = sql.SQL(" GRANTED BY {}").format(sql.Identifier(grantor)) if state.major >= 16 else sql.SQL("")
            yield step(
                thing, f"{thing}: member of {group}", "", "REVOKE {} FROM {}{}", sql.Identifier(group), member, by
            )


def _settings(there: dict[str, str], role: Entry, kinds: dict[str, Kind]) -> Iterator[Step]:
    thing, name = f"role {role['name']}", sql.Identifier(role["name"])
    declared = {setting.lower(): value for setting, value in role["settings"].items()}
    for setting, value in declared.items():
        words = _words(setting, value)
        current = there.get(setting)
        if current is not None and _same(setting, current, words, kinds):
            continue
        before = f"{thing}: {setting} = {current}" if current is not None else ""
        listed = sql.SQL(", ").join(sql.Literal(word) for word in words)
        yield step(
            thing, before, f"{thing}: {setting} = {', '.join(words)}",
            "ALTER ROLE {} SET {} = {}", name, sql.Identifier(*setting.split(".")), listed,
        )  # fmt: skip
    for setting in sorted(set(there) - set(declared)):
        was = f"{thing}: {setting} = {there[setting]}"
        yield step(thing, was, "", "ALTER ROLE {} RESET {}", name, sql.Identifier(*setting.split(".")))


def _words(setting: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [conf.as_text(word) for word in value]
    text = conf.as_text(value)
    return [word.strip().strip('"') for word in text.split(",")] if setting in _LISTS else [text]


def _same(setting: str, current: str, words: list[str], kinds: dict[str, Kind]) -> bool:
    if setting in _LISTS or len(words) > 1:
        return _words("search_path", current) == words
    kind = kinds.get(setting)
    return meaning(current, kind) == meaning(words[0], kind)
