# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgbouncer's configuration as it is declared: sized, judged by the program, written, and taken over by what runs.

What RELOAD changes is reloaded. What needs a restart is named, and waits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_ini, pool_sizes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_bouncer import (
    ELSEWHERE,
    Bouncer,
    Judged,
    answers,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_consoles import reload_all
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.scram import made, matches
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import await_condition

#: What a database's line may say. Passwords belong to the users themselves.
_WORDS = (
    "host", "port", "dbname", "pool_mode", "pool_size", "min_pool_size", "reserve_pool", "max_db_connections",
    "connect_query", "client_encoding", "datestyle", "timezone", "auth_user", "application_name",
)  # fmt: skip
#: What it shows of a database and can be compared.
_ROUTE = ("host", "port", "database", "pool_size", "reserve_pool", "pool_mode", "max_connections")
#: What differs from one process of a host to the next, or is not settled by the file.
_OWN = {"conffile", "job_name", "service_name", "unix_socket_dir", "pidfile", "logfile", "syslog"}
_RELOAD_SECONDS = 5


@dataclass
class Wanted:
    """All that is declared."""

    cluster: str
    databases: dict[str, dict[str, str]]
    settings: dict[str, str]
    users: dict[str, str]
    figures: list[dict[str, str]]

    def text(self) -> str:
        """The configuration."""
        return pool_ini.rendered(self.cluster, self.databases, self.settings)


def present(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    """Have it as declared. Everything that can be wrong is told before anything is written."""
    wanted = _wanted(params)
    auth_file = Path(wanted.settings["auth_file"])
    outcome = Outcome(False, {"figures": wanted.figures, "restart_required": [], "reloaded": False, "running": 0})
    judged = None
    if bouncer.found():
        judged = bouncer.judged(wanted.cluster, wanted.databases, wanted.settings, wanted.users)
    elif not check_mode:
        raise OpsError(f"{bouncer.program}: no such program; install the package pgbouncer, or name it in program")
    stale = _stale(bouncer.config_file, wanted.text(), auth_file, pool_ini.users_text(wanted.users), outcome)
    if not check_mode:
        for path, text in stale.items():
            _keep_foreign(path, bouncer.config_file)
            write_atomic(path, text, 0o600)
    if judged:
        running = [console for console in consoles if answers(console)]
        waits = sorted({name for console in running for name in _differing(judged, wanted, console, "no")})
        behind = [console for console in running if stale or _lagging(judged, wanted, console)]
        outcome.facts.update(restart_required=waits, reloaded=bool(behind), running=len(running))
        if not check_mode:
            _take_over(judged, wanted, behind)
    outcome.changed = bool(stale) or bool(outcome.facts["reloaded"])
    return outcome


# --- what is declared -------------------------------------------------------------------------------------------


def _wanted(params: Params) -> Wanted:
    config_file = Path(params["config_file"])
    preflight = Preflight()
    settings = {name: _text(value) for name, value in (params["settings"] or {}).items()}
    databases = {}
    for name, given in (params["databases"] or {}).items():
        whole = isinstance(given or {}, Mapping)
        preflight.require(whole, f"database {name}: not a mapping", "write it as {host: …, port: …}")
        databases[name] = {word: _text(value) for word, value in (given or {}).items()} if whole else {}
    _refuse(databases, settings, params["users"] or [], preflight)
    owner = pool_ini.owner_of(config_file)
    preflight.require(
        not owner or owner == params["cluster"],
        f"{config_file} is of the cluster {owner}",
        "give this one's pooler a config_file and a listen_port of its own",
    )
    settings.setdefault("auth_file", str(params["auth_file"] or config_file.with_name("userlist.txt")))
    settings.setdefault("listen_port", "6432")
    figures = []
    if params["server"] and not preflight.reasons:
        ground = _ground(params, preflight)
        figures = pool_sizes.sizes(ground, databases, settings, preflight) if ground else []
        clients = settings.setdefault("max_client_conn", "1000")
        preflight.require(clients.isdigit(), f"max_client_conn is {clients}", "give a number")
        if figures and clients.isdigit():
            settings.update({figure.name: figure.value for figure in figures})
            figures.append(pool_sizes.descriptors(figures, int(clients), len(databases)))
    preflight.done()
    users = _users(params["users"] or [], pool_ini.users_of(Path(settings["auth_file"])))
    return Wanted(params["cluster"], databases, settings, users, [figure.facts() for figure in figures])


def _text(value: Any) -> str:
    """A value as the file has it."""
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def _refuse(
    databases: Mapping[str, Mapping[str, str]], settings: Mapping[str, str], users: Sequence[Mapping[str, Any]],
    preflight: Preflight,
) -> None:  # fmt: skip
    for name, given in databases.items():
        preflight.require(
            bool(pool_ini.BARE.match(name)) and name != "pgbouncer",
            f"database {name!r} can't be pooled by that name",
            "use letters, digits, _, . and - for what clients call it, and dbname; pgbouncer is its console",
        )
        for word in sorted(set(given) - set(_WORDS)):
            preflight.refuse(f"database {name}: {word} is not known here", f"use one of {', '.join(_WORDS)}")
        preflight.require(bool(given.get("host")), f"database {name} has no host", "say where it lies")
        for word in [word for word, value in given.items() if not value and word != "host"]:
            preflight.refuse(f"database {name}: {word} is empty", "leave it out")
        port = given.get("port", "5432")
        preflight.require(
            port.isdigit() and 0 < int(port) < 65536, f"database {name}: port {port} is none", "give 1 to 65535"
        )
    for name in settings:
        preflight.require(bool(re.match(r"[a-z_]+\Z", name)), f"{name!r} is no setting's name", "see pgbouncer(5)")
    for where, value in [*settings.items(), *(pair for given in databases.values() for pair in given.items())]:
        preflight.require(
            not re.search(r"[\x00-\x1f]", value), f"{where}: a value is one line", "remove the line break"
        )
    for user in users:
        name, password = user["name"] or "", user["password"] or ""
        preflight.require(
            bool(name and password) and not re.search(r"[\x00-\x1f]", name + password),
            f"user {name!r} has no name or no password of one line",
            "give both",
        )


def _ground(params: Params, preflight: Preflight) -> pool_sizes.Ground | None:
    try:
        given = {name: int(params["server"][name]) for name in ("max_connections", "superuser_reserved", "cores")}
    except (KeyError, TypeError, ValueError):
        preflight.refuse("server does not say max_connections, superuser_reserved and cores", "take it of pool_server")
        return None
    return pool_sizes.Ground(
        **given, kept_free=params["kept_free"], hosts=params["hosts"], processes=params["processes"]
    )


def _users(declared: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, str]:
    """Those of the file. Only whom pgbouncer itself logs in needs the password; of the others it keeps a verifier."""
    found = {}
    for user in declared:
        name, password, stored = user["name"], user["password"], known.get(user["name"], "")
        verifier = stored if matches(stored, password) else made(password)
        found[name] = password if user["logs_in"] else verifier
    return found


# --- files ------------------------------------------------------------------------------------------------------


def _stale(config: Path, text: str, auth_file: Path, users: str, outcome: Outcome) -> dict[Path, str]:
    """The files that are not as they should be. Of the users' the diff has the names only."""
    stale = {}
    if read_text(auth_file) != users or _loose(auth_file):
        stale[auth_file] = users
        before, after = pool_ini.users_of(auth_file), re.findall(r'^"((?:[^"]|"")*)"', users, re.MULTILINE)
        outcome.diffs.append(_diff(auth_file, *("".join(f"{name} …\n" for name in names) for names in (before, after))))
    if read_text(config) != text or _loose(config):
        stale[config] = text
        outcome.diffs.append(_diff(config, _redacted(read_text(config)), text))
    return stale


def _loose(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o077)


def _diff(path: Path, before: str, after: str) -> dict[str, str]:
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": after}


def _redacted(text: str) -> str:
    """Somebody else's file may hold passwords."""
    return re.sub(r"(password\s*=\s*)('(?:[^']|'')*'|\S+)", r"\1[redacted]", text)


def _keep_foreign(path: Path, config: Path) -> None:
    """What somebody wrote by hand is kept beside, once."""
    kept = path.with_name(f"{path.name}.before-boringdb")
    if path.exists() and not pool_ini.owner_of(config) and not kept.exists():
        write_atomic(kept, read_text(path), 0o600)


# --- what runs --------------------------------------------------------------------------------------------------


def _take_over(judged: Judged, wanted: Wanted, behind: Sequence[Console]) -> None:
    """Reload those that are behind, and see that they have it."""
    reload_all(behind)
    for console in behind:

        def there(it: Console = console) -> bool:
            return not _lagging(judged, wanted, it)

        if not await_condition(there, _RELOAD_SECONDS, every=0.05):
            raise OpsError(
                f"{console} was reloaded, and does not have {', '.join(_lagging(judged, wanted, console))} as "
                "declared; look at its log"
            )


def _lagging(judged: Judged, wanted: Wanted, console: Console) -> list[str]:
    """What a reload would change of one that runs."""
    found = _differing(judged, wanted, console, "yes")
    shown = console.databases()
    for name, row in judged.databases.items():
        now = shown.get(name)
        if now is None or any(now.get(word) != row.get(word) for word in _ROUTE):
            found.append(f"database {name}")
    # A database that is no longer declared goes with its last connection.
    gone = set(shown) - set(judged.databases)
    found += [f"database {name}" for name in sorted(gone) if shown[name]["disabled"] == "0"]
    return found


def _differing(judged: Judged, wanted: Wanted, console: Console, changeable: str) -> list[str]:
    now = console.config()
    found = []
    for name, row in judged.config.items():
        if name in _OWN or name not in now or now[name].get("changeable", "yes") != changeable:
            continue
        value = wanted.settings.get(name, now[name]["value"]) if name in ELSEWHERE else row["value"]
        if now[name]["value"] != value:
            found.append(name)
    return found
