# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that can't be right whatever the host holds. They are refused before anything is looked at, all at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf

_PATHS = ("data_dir", "config_dir", "bin_dir", "socket_dir", "backup_path", "wal_path", "pgbackrest_config",
          "backup_dir", "manifest", "dest", "dump_path", "path", "ca_file", "certificate_file", "key_file",
          "config_file", "auth_file", "login_ca", "check_program", "check_python", "stats_socket",
          "state_file", "directory", "unit_directory")  # fmt: skip
_PORTS = ("port", "primary_port")
#: The least that an option may be, in seconds or pieces.
_LEAST = {
    "timeout": 1, "archive_timeout": 1, "ttl_seconds": 1, "lock_timeout": 0, "wal_changes_segments": 0,
    "rto_seconds": 0, "rpo_seconds": 0, "repository": 1, "hand_over_seconds": 0, "lock_seconds": 1,
    "kept_free": 0, "hosts": 1, "processes": 1,
}  # fmt: skip
#: They end up in configuration files, and in pg_ctl's options, which a shell reads.
_UNFIT = re.compile(r"[\x00-\x1f'\"`$\\]")
#: A rule of pg_hba.conf, as modules take it.
HBA_RULE: dict[str, dict[str, Any]] = {
    "type": {"type": "str", "choices": ["local", "host", "hostssl", "hostnossl"], "required": True},
    "database": {"type": "str", "required": True},
    "user": {"type": "str", "required": True},
    "address": {"type": "str"},
    "method": {
        "type": "str",
        "choices": [
            "scram-sha-256", "peer", "cert", "reject", "trust", "ldap", "gss", "pam", "radius", "ident", "md5",
        ],
        "required": True,
    },
}  # fmt: skip
#: In a configuration file these words read other files; and where the data and the files lie is known already.
_DIRECTIVES = ("include", "include_dir", "include_if_exists", "config_file", "data_directory")
_NEVER_EMPTY = ("data_dir", "socket_dir", "certificate_file", "primary_address", "replication_user")
#: As systemd names units; it becomes a word of systemctl's command line.
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9@:._\\-]*\Z")
#: What the system's sockaddr_un holds, less its final zero.
_SOCKET_BYTES = 107


def refuse_impossible(params: Mapping[str, Any]) -> None:
    """Raise Refused with everything that is wrong with a module's options."""
    impossible(params).done()


def impossible(params: Mapping[str, Any]) -> Preflight:
    """Everything that is wrong with a module's options, whichever of the known ones it has."""
    preflight = Preflight()
    _places(params, preflight)
    for name, least in _LEAST.items():
        value = params.get(name)
        preflight.require(value is None or value >= least, f"{name} is {value}", f"give {least} or more")
    if params.get("tool"):
        _repository(params, preflight)
    return preflight


def _places(params: Mapping[str, Any], preflight: Preflight) -> None:
    for name in _NEVER_EMPTY:
        preflight.require(params.get(name) != "", f"{name} is empty", f"say which {name} it is")
    for name in (*_NEVER_EMPTY, "login_user", "login_db"):
        preflight.require(
            not re.search(r"[\x00-\x1f]", str(params.get(name) or "")),
            f"{name} {params.get(name)!r} holds a control character",
            "remove it",
        )
    service = params.get("service") or "process"
    preflight.require(bool(_UNIT.match(service)), f"service {service!r} is no unit's name", "systemctl lists them")
    for name in _PATHS:
        path_fits(name, params.get(name), preflight)
    for name in _PORTS:
        port = params.get(name)
        preflight.require(port is None or 0 < port < 65536, f"{name} {port} is none", "give one from 1 to 65535")
    socket = f"{params.get('socket_dir') or ''}/.s.PGSQL.{params.get('port') or 5432}"
    preflight.require(
        len(socket.encode()) <= _SOCKET_BYTES,
        f"the socket's path {socket} has more than {_SOCKET_BYTES} bytes",
        "choose a shorter socket_dir",
    )


def path_fits(name: str, path: str | None, preflight: Preflight) -> None:
    """Whether a path, where it is given, is a whole one that may stand in a configuration file."""
    if path:
        preflight.require(PurePosixPath(path).is_absolute(), f"{name} {path!r} is relative", "give the whole path")
        preflight.require(not _UNFIT.search(path), f"{name} {path!r} holds a quote or a control character", "rename it")


def _repository(params: Mapping[str, Any], preflight: Preflight) -> None:
    if params.get("state") == "absent":
        return
    needed = {"native": ("backup_path", "wal_path"), "pgbackrest": ("stanza",)}[params["tool"]]
    for name in needed:
        preflight.require(bool(params.get(name)), f"tool {params['tool']} needs {name}", f"set {name}")
    if params["tool"] == "native":
        preflight.require(
            not params.get("standby"), "tool native copies from the primary only", "leave standby out or use pgbackrest"
        )


def settings_fit(settings: Mapping[str, Any], preflight: Preflight) -> None:
    """Note what can't stand in a configuration file."""
    for name, value in settings.items():
        preflight.require(bool(conf.NAME.match(name)), f"{name!r} is no setting's name", "see pg_settings")
        preflight.require(
            name not in _DIRECTIVES, f"{name}: it says which files are read, and is no setting", "leave it out"
        )
        preflight.require(value is not None, f"{name} has no value", "leave it out to return to the default")
        preflight.require(
            not isinstance(value, (list, dict)),
            f"{name}: a list is no value",
            "write it as one text, separated by commas",
        )
        preflight.require(
            not re.search(r"[\x00-\x1f]", conf.as_text(value)), f"{name}: a value is one line", "remove the line break"
        )
