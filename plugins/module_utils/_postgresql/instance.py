# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance` for PostgreSQL on plain hosts: initialise, start, stop, restart, reload."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    is_empty,
    remove_tree,
    sync_directory,
    write_atomic,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_OLDEST = 13
#: From this version on initdb turns checksums on by itself.
_CHECKSUMS_UNLESS = 18


def instance(params: Params, check_mode: bool) -> Outcome:
    """Bring one server into the state asked for."""
    server = Server.of(params)
    act = {
        "initialized": _initialise,
        "started": _start,
        "stopped": _stop,
        "restarted": _restart,
        "reloaded": _reload,
    }[params["state"]]
    return act(server, params, check_mode)


def _state(server: Server) -> str:
    if not server.exists():
        return "absent"
    return "started" if server.running() else "stopped"


def _outcome(changed: bool, before: str, after: str) -> Outcome:
    return Outcome(changed, {"state": after}, f"state: {before}\n", f"state: {after}\n")


def _initialise(server: Server, params: Params, check_mode: bool) -> Outcome:
    if server.exists():
        _right_version(server, params)
        conf = _split_configuration(server, check_mode)
        return Outcome(conf, {"state": _state(server)})
    preflight = Preflight()
    preflight.require(
        is_empty(server.data_dir),
        f"{server.data_dir} is not empty and holds no PostgreSQL data",
        "empty it or choose another data_dir; nothing here is deleted for you",
    )
    preflight.require(
        not os.path.ismount(server.data_dir), f"{server.data_dir} is a mount point", "use a directory below it"
    )
    preflight.require(os.geteuid() != 0, "PostgreSQL refuses to be initialised by root", "set become_user to the owner")
    if not check_mode:
        preflight.require(
            bool(server.bin_dir) and Path(server.program("initdb")).exists(),
            f"no initdb in {server.bin_dir or 'any known place'}",
            "install the server package or set bin_dir",
        )
    preflight.done()
    if check_mode:
        return _outcome(True, "absent", "stopped")
    major, wanted = server.program_major(), params["version"]
    preflight.require(major >= _OLDEST, f"PostgreSQL {major} is not supported", f"{_OLDEST} and later are")
    preflight.require(
        wanted in (None, major), f"the programs in {server.bin_dir} are of version {major}, not {wanted}", "set bin_dir"
    )
    preflight.done()
    with host_lock(str(server.data_dir), "instance"):
        _initdb(server, params)
        _split_configuration(server, check_mode)
    return _outcome(True, "absent", "stopped")


def _right_version(server: Server, params: Params) -> None:
    preflight = Preflight()
    wanted = params["version"]
    preflight.require(
        wanted in (None, server.major),
        f"{server.data_dir} is of version {server.major}, not {wanted}",
        "correct the version; a new major version is an upgrade",
    )
    preflight.done()


def _programs_fit(server: Server) -> None:
    """Refuse to touch data with the programs of another version."""
    major = server.program_major()
    preflight = Preflight()
    preflight.require(
        major == server.major,
        f"the programs in {server.bin_dir} are of version {major}, {server.data_dir} is of {server.major}",
        "set bin_dir",
    )
    preflight.require(
        server.data_dir.stat().st_uid == os.geteuid() or os.geteuid() == 0,
        f"{server.data_dir} belongs to another account",
        "set become_user to its owner",
    )
    preflight.done()


def _initdb(server: Server, params: Params) -> None:
    """Initialise beside the final place and rename, so that a killed run leaves nothing that looks like data."""
    beside = server.data_dir.with_name(f"{server.data_dir.name}.initializing")
    remove_tree(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    argv = [server.program("initdb"), "-D", str(beside), "-U", server.login_user, "--auth-local=peer"]
    argv += ["--auth-host=scram-sha-256", "-E", params["encoding"], f"--locale={params['locale']}"]
    if params["data_checksums"]:
        argv.append("--data-checksums")
    elif server.program_major() >= _CHECKSUMS_UNLESS:
        argv.append("--no-data-checksums")
    if params["superuser_password"]:
        # Not by a file, which a killed run would leave behind.
        run([*argv, "--pwfile=/dev/stdin"], stdin=params["superuser_password"] + "\n", guarded=True)
    else:
        run(argv, guarded=True)
    if server.data_dir.exists():
        server.data_dir.rmdir()
    beside.rename(server.data_dir)
    sync_directory(server.data_dir.parent)


def _split_configuration(server: Server, check_mode: bool) -> bool:
    """Give a server whose configuration lies outside its data directory (Debian) the files it starts from."""
    conf = server.config_dir / "postgresql.conf"
    if server.config_dir == server.data_dir or conf.exists():
        return False
    if check_mode:
        return True
    if not server.config_dir.is_dir():
        raise OpsError(f"{server.config_dir} is missing; create it for the account that owns the server")
    hba = server.data_dir / "pg_hba.conf"
    rules = hba.read_text() if hba.exists() else "local all all peer\n"
    write_atomic(server.config_dir / "pg_hba.conf", rules, 0o640)
    write_atomic(server.config_dir / "pg_ident.conf", "# MAPNAME SYSTEM-USERNAME PG-USERNAME\n", 0o640)
    (server.config_dir / "conf.d").mkdir(exist_ok=True)
    paths = {"data_directory": server.data_dir, "hba_file": server.config_dir / "pg_hba.conf"}
    paths["ident_file"] = server.config_dir / "pg_ident.conf"
    paths["external_pid_file"] = Path(server.socket_dir) / f"{server.major}-{server.config_dir.name}.pid"
    lines = [f"{name} = '{value}'" for name, value in paths.items()]
    lines += [f"port = {server.port}", f"unix_socket_directories = '{server.socket_dir}'"]
    write_atomic(conf, "\n".join([*lines, "include_dir = 'conf.d'", ""]), 0o644)
    return True


def _require_data(server: Server) -> None:
    if not server.exists():
        raise OpsError(f"{server.data_dir} holds no PostgreSQL data; initialise or restore it first")


def _start(server: Server, params: Params, check_mode: bool) -> Outcome:
    if server.running():
        if not check_mode:
            server.await_ready(params["timeout"])
        return Outcome(False, {"state": "started"})
    if check_mode:
        return _outcome(True, _state(server), "started")
    _require_data(server)
    _programs_fit(server)
    with host_lock(str(server.data_dir), "instance"):
        Path(server.socket_dir).mkdir(parents=True, exist_ok=True)
        if params["unguarded"]:
            boot_guard_places.pass_once(server.service, server.data_dir)
        server.start(params["timeout"])
    return _outcome(True, "stopped", "started")


def _stop(server: Server, params: Params, check_mode: bool) -> Outcome:
    before = _state(server)
    if before != "started":
        return Outcome(False, {"state": before})
    if not check_mode:
        with host_lock(str(server.data_dir), "instance"):
            server.stop(params["timeout"], params["stop_mode"])
    return _outcome(True, "started", "stopped")


def _restart(server: Server, params: Params, check_mode: bool) -> Outcome:
    before = _state(server)
    if not check_mode:
        _require_data(server)
        _programs_fit(server)
        with host_lock(str(server.data_dir), "instance"):
            if server.running():
                server.stop(params["timeout"], params["stop_mode"])
            Path(server.socket_dir).mkdir(parents=True, exist_ok=True)
            if params["unguarded"]:
                boot_guard_places.pass_once(server.service, server.data_dir)
            server.start(params["timeout"])
    return Outcome(True, {"state": "started"}, f"state: {before}\n", "state: restarted\n")


def _reload(server: Server, params: Params, check_mode: bool) -> Outcome:
    if not server.running():
        raise OpsError(f"the server on {shlex.quote(str(server.data_dir))} is not running; there is nothing to reload")
    if not check_mode:
        with server.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
    return Outcome(True, {"state": "started"})
