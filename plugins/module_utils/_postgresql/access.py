# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`access` for PostgreSQL: roles, databases, schemas, extensions and privileges, declared as a whole.

Everything is read and planned before anything is changed. Roles change in one transaction, each database's inside in
another: a run that is killed leaves some of them done and none half done, and the next run does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    access_absent,
    access_content,
    access_grants,
    access_roles,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_accounts import grants_of, roles_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import Declared, Step, fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, require_psycopg

#: How long another run on the same server may take.
_LOCK_SECONDS = 60


def access(params: Params, check_mode: bool) -> Outcome:
    """Bring a server's roles, databases and privileges to what is declared."""
    server = Server.of(params)
    require_psycopg()
    if not server.running():
        declared = _declared(params, server.major or 18)
        _refuse_misfits(declared)
        if check_mode:
            planned = _outcome(_all_new(declared))
            if server.exists():
                planned.warnings.append("the server is stopped: what it holds already can't be told")
            return planned
        raise OpsError(f"no server runs on {server.data_dir}; start it first")
    lock: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if not check_mode:
        lock = host_lock(str(server.data_dir), "access", _LOCK_SECONDS)
    with lock, contextlib.ExitStack() as stack:
        run = _Run(_connections(server, params, stack), server.login_db, params)
        run.read()
        return _outcome(run.steps() if check_mode else run.apply())


def _declared(params: Params, major: int) -> Declared:
    roles = [dict(role) for role in params["roles"]]
    return Declared(
        roles=[*[role for role in roles if role["state"] == "present"], *roles_of(params["accounts"], major)],
        gone=[role for role in roles if role["state"] == "absent"],
        databases=params["databases"],
        schemas=params["schemas"],
        extensions=params["extensions"],
        defaults=params["default_privileges"],
        grants=[*params["grants"], *grants_of(params["accounts"], major)],
        main=params["login_db"],
    )


def _refuse_misfits(declared: Declared) -> None:
    preflight = Preflight()
    fit(declared, preflight)
    preflight.done()


def _connections(server: Server, params: Params, stack: contextlib.ExitStack) -> Callable[[str], Any]:
    """One connection to each database, kept for the whole run."""
    kept: dict[str, Any] = {}
    # A database in SQL_ASCII would answer in bytes.
    login: dict[str, Any] = {"client_encoding": "UTF8"}
    if params["login_password"]:
        login["password"] = params["login_password"]

    def connect(name: str) -> Any:
        if name not in kept:
            kept[name] = stack.enter_context(server.connect(name, **login))
        return kept[name]

    return connect


def _all_new(declared: Declared) -> list[Step]:
    """What would be done on a server that is yet to be made."""
    steps = [*access_roles.plan(access_roles.Roles(), declared.roles)]
    steps += access_content.plan_databases({}, declared.databases)
    for place in declared.places():
        steps += _inside_new(place, declared.inside(place))
    return steps


def _inside_new(place: str, declared: Declared) -> list[Step]:
    steps = [*access_content.plan_content(place, access_content.Content(), declared)]
    return steps + list(access_grants.plan(place, None, declared, Preflight(), patient=True))


def _outcome(steps: list[Step]) -> Outcome:
    def lines(texts: Iterator[str]) -> str:
        return "".join(f"{text}\n" for text in texts if text)

    facts = {"statements": [step.shown for step in steps]}
    return Outcome(bool(steps), facts, lines(step.before for step in steps), lines(step.after for step in steps))


class _Run:
    """One run on one server: what is there, and what has to be done about it."""

    def __init__(self, connect: Callable[[str], Any], main: str, params: Params) -> None:
        self.connect, self.main = connect, main
        self.state = access_roles.read(connect(main))
        self.declared = _declared(params, self.state.major)
        self.inside: dict[str, list[Step]] = {}

    def read(self) -> None:
        """Plan everything, and refuse everything that stands in the way at once."""
        preflight, main, declared = Preflight(), self.connect(self.main), self.declared
        fit(declared, preflight)
        standby = main.execute("SELECT pg_is_in_recovery()").fetchone()[0]
        if standby:
            preflight.refuse("this server is a replica", "run it on the primary, from which everything here comes")
        preflight.done()
        there = access_content.databases(main)
        access_roles.judge(self.state, declared, main, preflight)
        access_content.judge(there, access_content.available(main) if declared.extensions else {}, declared, preflight)
        self.roles = list(access_roles.plan(self.state, declared.roles))
        self.databases = list(access_content.plan_databases(there, declared.databases))
        creates = any(database["name"] not in there for database in declared.databases)
        if creates and not self.state.may("createdb"):
            preflight.refuse(f"{self.state.me} has no CREATEDB", "connect as one who may create databases")
        for place in declared.places():
            here = declared.inside(place)
            if place in there:
                self.inside[place] = self._planned_inside(place, preflight)
            elif place in {database["name"] for database in declared.databases}:
                access_content.judge_content(place, access_content.Content({"public": ""}), here, preflight)
                self.inside[place] = _inside_new(place, here)
        self.farewell = access_absent.plan(declared.gone, self.state, self.connect, self.main, preflight)
        preflight.done()

    def _planned_inside(self, place: str, preflight: Preflight) -> list[Step]:
        here, connection = self.declared.inside(place), self.connect(place)
        there = access_content.content(connection)
        access_content.judge_content(place, there, here, preflight)
        steps = list(access_content.plan_content(place, there, here))
        # An extension that is yet to be made brings objects of its own.
        return steps + list(access_grants.plan(place, connection, here, preflight, patient=bool(steps)))

    def steps(self) -> list[Step]:
        """Everything that has to be done, in its order."""
        inside = [step for steps in (*self.inside.values(), *self.farewell.revocations.values()) for step in steps]
        return [*self.roles, *self.databases, *inside, *self.farewell.drops]

    def apply(self) -> list[Step]:
        """Do it. Raises OpsError with what failed; the transaction that it was in is undone."""
        main = self.connect(self.main)
        done = _all(main, self.roles)
        for step in self.databases:
            step.run(main)
            done.append(step)
        for place, planned in self.inside.items():
            if planned:
                done += self._apply_inside(place)
        for place, steps in self.farewell.revocations.items():
            done += _all(self.connect(place), steps)
        return done + _all(main, self.farewell.drops)

    def _apply_inside(self, place: str) -> list[Step]:
        """Read again: a database that was made meanwhile holds what its template held, and an extension its objects."""
        here, connection, preflight = self.declared.inside(place), self.connect(place), Preflight()
        with connection.transaction():
            done = []
            for step in access_content.plan_content(place, access_content.content(connection), here):
                step.run(connection)
                done.append(step)
            for step in access_grants.plan(place, connection, here, preflight, patient=False):
                preflight.done()
                step.run(connection)
                done.append(step)
            preflight.done()
        return done


def _all(connection: Any, steps: list[Step]) -> list[Step]:
    with connection.transaction():
        for step in steps:
            step.run(connection)
    return list(steps)
