# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool` for PostgreSQL: the pgbouncer of this host, or several that are reached over the network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import pool_ini, pool_timer
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import impossible
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_bouncer import Bouncer, answers
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import OWN, Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_consoles import (
    pause_all,
    reload_all,
    resume_all,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_present import present

#: Options of every module that asks poolers; the doc fragment `pooler` describes them.
POOLER_OPTIONS: dict[str, dict[str, Any]] = {
    "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
    "config_file": {"type": "path"},
    "consoles": {
        "type": "list",
        "elements": "dict",
        "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
    },
    "login_user": {"type": "str", "default": OWN},
    "login_password": {"type": "str", "no_log": True},
    "login_sslmode": {
        "type": "str",
        "default": "prefer",
        "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    },
    "login_ca": {"type": "path"},
}
_TIMER_SECONDS = 30
Does = Callable[[Bouncer, Sequence[Console], Params, bool], Outcome]


def addresses(params: Params) -> list[Address]:
    """Where the consoles are: as named, or as the configuration on this host has it."""
    common = {
        "user": params["login_user"],
        "password": params["login_password"] or "",
        "sslmode": params["login_sslmode"],
        "sslrootcert": params["login_ca"] or "",
    }
    if params["consoles"]:
        return [Address(one["host"], one["port"], **common) for one in params["consoles"]]
    settings: Mapping[str, str] = params.get("settings") or {}
    if not settings or params.get("state") != "present":
        settings = pool_ini.read(Path(params["config_file"])).settings
    host = settings.get("unix_socket_dir", "/tmp") or settings.get("listen_addr", "")  # noqa: S108 - pgbouncer's default
    host = host.split(",")[0].strip().replace("*", "127.0.0.1")
    return [Address(host, int(settings.get("listen_port") or 6432), **common)]


@contextlib.contextmanager
def opened(params: Params) -> Iterator[list[Console]]:
    """The consoles, hung up at the end."""
    found = [Console(address) for address in addresses(params)]
    try:
        yield found
    finally:
        for console in found:
            console.close()


def refused(params: Params) -> Preflight:
    """What is wrong with the options, whatever is asked."""
    preflight = impossible(params)
    for one in params["consoles"] or []:
        preflight.require(bool(one["host"]), "a console has no host", "give its address or its socket's directory")
        preflight.require(0 < one["port"] < 65536, f"console: port {one['port']} is none", "give one from 1 to 65535")
    return preflight


def pool(params: Params, check_mode: bool) -> Outcome:
    """Do what the state asks."""
    preflight = refused(params)
    state = params["state"]
    if state == "routed":
        port = params["server_port"]
        preflight.require(bool(params["server_host"]), "server_host is empty", "say where the databases go")
        preflight.require(0 < port < 65536, f"server_port {port} is none", "give one from 1 to 65535")
    if state == "armed":
        preflight.require(bool(params["candidates"]), "candidates is empty", "name the cluster's servers")
    preflight.done()
    bouncer = Bouncer(params["program"], Path(params["config_file"] or "/"))
    with opened(params) as consoles:
        if state in ("paused", "resumed", "reloaded") or not params["config_file"]:
            return _STATES[state](bouncer, consoles, params, check_mode)
        # A timer that is at it has done in a moment.
        patience = max(params["lock_timeout"], _TIMER_SECONDS if state == "disarmed" else 0)
        with host_lock(params["config_file"], f"pool, {state}", patience):
            return _STATES[state](bouncer, consoles, params, check_mode)


def _present(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    said = pool_timer.armed(bouncer.config_file)
    if said and said.get("running"):
        raise OpsError(f"{bouncer.config_file} is armed: its routes are being changed; wait for that, or disarm it")
    return present(bouncer, consoles, params, check_mode)


def _started(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    stopped = [console for console in consoles if not answers(console)]
    if stopped and not check_mode:
        bouncer.start(stopped[0], params["timeout"])
    return Outcome(bool(stopped))


def _stopped(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    running = [console for console in consoles if answers(console)]
    if running and not check_mode:
        bouncer.stop(running[0], params["timeout"])
    return Outcome(bool(running))


def _restarted(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    if not check_mode:
        _stopped(bouncer, consoles, params, check_mode)
        _started(bouncer, consoles, params, check_mode)
    return Outcome(True)


def _chosen(consoles: Sequence[Console], params: Params) -> list[str]:
    """The databases that are named, or all. Each has to be known to every pooler."""
    shown = [set(console.databases()) for console in consoles]
    wanted = params["database"] or sorted(set().union(*shown))
    preflight = Preflight()
    for console, known in zip(consoles, shown):
        for name in wanted:
            preflight.require(name in known, f"{console} has no database {name}", "name one of its own")
    preflight.done()
    return list(wanted)


def _paused(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    del bouncer
    databases = _chosen(consoles, params)
    patience = min(float(console.config()["query_wait_timeout"]["value"] or 0) for console in consoles)
    before = [console.paused(name) for console in consoles for name in databases]
    if not check_mode:
        # Also what is paused already: its last server connection may still be in use.
        pause_all(consoles, databases, params["timeout"])
    told = f"a client that waits longer than query_wait_timeout {patience:g} s is turned away"
    short = 0 < patience < params["timeout"]
    return Outcome(not all(before), {"databases": databases}, warnings=[told] if short else [])


def _resumed(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    del bouncer
    databases = _chosen(consoles, params)
    before = [name for console in consoles for name in databases if console.paused(name)]
    if not check_mode:
        resume_all(consoles, databases)
    return Outcome(bool(before), {"databases": sorted(set(before))})


def _reloaded(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    del bouncer, params
    if not check_mode:
        reload_all(consoles)
    return Outcome(True)


def _routed(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    """Write the route; reload; and see it in force."""
    config = pool_ini.read(bouncer.config_file)
    databases = params["database"] or sorted(name for name in config.databases if name != "*")
    preflight = Preflight()
    for name in databases:
        known = name in config.databases
        preflight.require(known, f"{bouncer.config_file} has no database {name}", "name one of its own")
    preflight.done()
    wanted = (params["server_host"], params["server_port"])
    stale = [name for name in databases if pool_ini.route_of(config.databases[name]) != wanted]
    # First the file, which a process that is gone just now reads when it is started.
    for name in () if check_mode else stale:
        pool_timer.route(bouncer.config_file, name, *wanted)
    old = [console for console in consoles if any(console.route(name) != wanted for name in databases)]
    outcome = Outcome(bool(stale or (old and params["reload"])), {"databases": stale})
    outcome.before = "".join("{} {}:{}\n".format(name, *pool_ini.route_of(config.databases[name])) for name in stale)
    outcome.after = "".join("{} {}:{}\n".format(name, *wanted) for name in stale)
    if check_mode:
        return outcome
    if params["reload"] and (stale or old):
        reload_all(consoles)
        for console in consoles:
            wrong = [name for name in databases if console.route(name) != wanted]
            if wrong:
                raise OpsError(f"{console} was reloaded, and {', '.join(wrong)} does not go there; look at its log")
    return outcome


def _armed(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    config = pool_ini.read(bouncer.config_file)
    account = config.settings.get("auth_user", "")
    known = pool_ini.users_of(Path(config.settings.get("auth_file", "")))
    if account not in known:
        raise OpsError(
            f"{bouncer.config_file} has no auth_user with a password in its auth_file, by which servers are asked; "
            "declare it with state present"
        )
    timer = pool_timer.Timer(
        bouncer.config_file,
        tuple(console.address for console in consoles),
        tuple(_chosen(consoles, params)),
        tuple((one["host"], one["port"]) for one in params["candidates"]),
        account,
        known[account],
        params["timeout"],
    )
    told = {place: pool_timer.writable(place, timer.databases[0], timer) for place in timer.candidates}
    silent = [f"{host}:{port} {word}" for (host, port), word in told.items() if word.startswith("does not")]
    if silent:
        raise OpsError(f"not armed: {'; '.join(silent)}; a timer that can't ask a server can't choose it")
    if check_mode:
        return Outcome(True)
    said = pool_timer.arm(timer)
    return Outcome(True, {"until": said.get("until", 0), "databases": list(timer.databases)})


def _disarmed(bouncer: Bouncer, consoles: Sequence[Console], params: Params, check_mode: bool) -> Outcome:
    del consoles, params
    said = pool_timer.armed(bouncer.config_file) if check_mode else pool_timer.disarm(bouncer.config_file)
    acted = str((said or {}).get("routed", ""))
    told = [f"the timer had acted: it routed to {acted} and resumed"] if acted else []
    return Outcome(said is not None, {"acted": bool(acted), "routed": acted}, warnings=told)


_STATES: Mapping[str, Does] = {
    "present": _present, "started": _started, "stopped": _stopped, "restarted": _restarted, "paused": _paused,
    "resumed": _resumed, "reloaded": _reloaded, "routed": _routed, "armed": _armed, "disarmed": _disarmed,
}  # fmt: skip


def pool_info(params: Params, check_mode: bool) -> Outcome:
    """What every pooler shows, and whether a timer is armed. A pooler that does not answer says why."""
    del check_mode
    refused(params).done()
    found = []
    with opened(params) as consoles:
        for console in consoles:
            shown: dict[str, Any] = {"host": console.address.host, "port": console.address.port}
            try:
                shown |= {
                    "version": console.version(),
                    "databases": console.databases(),
                    "pools": console.pools(),
                    "config": {name: row["value"] for name, row in console.config().items()},
                    "problem": "",
                }
            except OpsError as exc:
                shown["problem"] = str(exc)
            found.append(shown)
    timer = pool_timer.armed(Path(params["config_file"])) if params["config_file"] else None
    said = {name: timer[name] for name in timer if name not in ("token", "pid", "born")} if timer else None
    return Outcome(False, {"poolers": found, "timer": said})
