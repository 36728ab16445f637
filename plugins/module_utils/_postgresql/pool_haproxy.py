# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy before a cluster: its configuration, its sizes, and what it starts from.

Two ports: one leads to the member that takes writes, one to the fresh replicas. Which these are it asks of `pool_check`
on this host. A member is closed until the first answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import impossible
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_sizes import Ground
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sizing import Figure

#: The first line of a file that is ours, with the cluster that it is of.
MARK = "# managed by boringdb.ops pool for"
#: A limit of HAProxy itself, in milliseconds: what is never to end ends then.
_LONGEST = "24d"
_OWN_DESCRIPTORS = 256
_GLOBAL = ("hard-stop-after", "nbthread", "log", "tune.maxpollevents", "cpu-map")
#: Version 1 of what `show servers state` writes.
_STATE_WORDS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
BACKENDS = (("writes", "rw"), ("reads", "ro"))
_NAME = re.compile(r"[0-9A-Za-z_.-]{1,63}\Z")
_SETTING = re.compile(r"[a-z][a-z0-9.-]*( [a-z][a-z0-9-]*)*\Z")


@dataclass(frozen=True)
class Wanted:
    """All that is declared."""

    params: Params
    figures: tuple[Figure, ...]

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return Path(self.params["config_file"]).parent

    @property
    def members(self) -> Sequence[Mapping[str, Any]]:
        """The cluster's servers, in the inventory's order."""
        found: Sequence[Mapping[str, Any]] = self.params["members"]
        return found

    def figure(self, name: str) -> str:
        """One of the sizes."""
        return next(one.value for one in self.figures if one.name == name)

    def text(self) -> str:
        """The configuration. By its description it is told whether what runs is what is in the file."""
        body = self._body()
        token = hashlib.sha256(body.encode()).hexdigest()[:16]
        return f"{MARK} {self.params['cluster']}\n{body.replace('@TOKEN@', token)}"

    def _body(self) -> str:
        given = self.params
        check = f"addr 127.0.0.1 port {given['check_port']} inter {round(given['check_interval'] * 1000)}ms"
        lines = ["global", f"    maxconn {self.figure('maxconn')}"]
        if given["run_as"]:
            lines += [f"    user {given['run_as']}", f"    group {given['run_as']}", "    log /dev/log local0"]
        lines += [
            f"    stats socket {given['stats_socket']} mode 600 level admin expose-fd listeners",
            f"    server-state-file {given['state_file']}",
            "    description @TOKEN@",
            *self._declared(of_global=True),
            "", "defaults", "    mode tcp", *([] if not given["run_as"] else ["    log global", "    option tcplog"]),
            "    timeout connect 2s",
            f"    timeout client {_seconds(given['idle_timeout'])}",
            f"    timeout server {_seconds(given['idle_timeout'])}",
            f"    timeout queue {_seconds(given['queue_timeout'])}",
            # The program answers at once; one that hangs counts as a no.
            f"    timeout check {round(given['check_timeout'] * 1000) + 1000}ms",
            "    retries 1", "    option clitcpka", "    option srvtcpka", "    load-server-state-from-file global",
            *self._declared(of_global=False),
        ]  # fmt: skip
        for number, (backend, kind) in enumerate(BACKENDS):
            port = given["port"] if kind == "rw" else given["read_port"]
            lines += ["", f"frontend {backend}_port", f"    id {10 + number}"]
            lines += [f"    bind {_bound(address, port)}" for address in given["listen"]]
            if kind == "ro" and given["read_fallback"] == "primary":
                lines.append("    use_backend writes if { nbsrv(reads) eq 0 }")
            lines += [
                f"    default_backend {backend}", "", f"backend {backend}", f"    id {20 + number}",
                f"    balance {'first' if kind == 'rw' else 'leastconn'}", "    option httpchk",
                f"    http-check send meth GET uri-lf /{kind}/%[srv_name]", "    http-check expect status 200",
                f"    default-server check {check} fall 1 rise 1 on-marked-down shutdown-sessions "
                f"maxconn {self.figure('server maxconn')} init-addr last,libc,none",
            ]  # fmt: skip
            for place, one in enumerate(self.members, 1):
                lines.append(f"    server {one['name']} {_bound(one['host'], one['port'])} id {place}")
        return "".join(f"{line}\n" for line in lines)

    def _declared(self, of_global: bool) -> list[str]:
        given: Mapping[str, Any] = self.params["settings"] or {}
        return [f"    {name} {value}".rstrip() for name, value in given.items() if (name in _GLOBAL) is of_global]

    def closed(self) -> str:
        """What it starts from where nothing is known: each member is closed."""
        lines = ["1", f"# {_STATE_WORDS}"]
        for number, (backend, _kind) in enumerate(BACKENDS):
            for place, one in enumerate(self.members, 1):
                lines.append(
                    f"{20 + number} {backend} {place} {one['name']} {one['host']} 0 0 1 1 0 1 0 0 6 0 1 1 - "
                    f"{one['port']} - 0 {self.params['check_port']} 127.0.0.1 - 0"
                )
        return "".join(f"{line}\n" for line in lines)

    def check(self) -> dict[str, Any]:
        """What the program is told."""
        given = self.params
        return {
            "user": given["check_user"], "database": given["check_database"], "passfile": "boringdb-check.pass",
            "port": given["check_port"], "interval": given["check_interval"], "timeout": given["check_timeout"],
            "max_lag": given["max_lag"], "max_lag_bytes": given["max_lag_bytes"],
            "members": [{name: one[name] for name in ("name", "host", "port")} for one in self.members],
        }  # fmt: skip


def _seconds(given: int) -> str:
    return f"{given}s" if given else _LONGEST


def _bound(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def token_of(text: str) -> str:
    """The description in a configuration."""
    found = re.search(r"^    description (\S+)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def owner_of(config_file: Path) -> str:
    """The cluster of a configuration that is ours."""
    first = read_text(config_file).partition("\n")[0]
    return first[len(MARK) :].strip() if first.startswith(MARK) else ""


def wanted(params: Params) -> Wanted:
    """What is declared, with its sizes. Raises Refused with all that can't be."""
    preflight = impossible(params)
    for name in ("cluster", "config_file", "program"):
        preflight.require(bool(params[name]), f"{name} is empty", f"say which {name} it is")
    names = [one["name"] for one in params["members"] or []]
    preflight.require(bool(names), "members is empty", "name the cluster's servers")
    preflight.require(len(set(names)) == len(names), "members has a name twice", "give each its own")
    for one in params["members"] or []:
        preflight.require(
            bool(_NAME.match(one["name"])), f"{one['name']!r} is no name", "use letters, digits, _, . and -"
        )
        sound = bool(one["host"]) and not re.search(r"[\s\x00-\x1f]", one["host"]) and 0 < one["port"] < 65536
        preflight.require(sound, f"member {one['name']} has no host and port", "give its address, and 1 to 65535")
    ports = [params[name] for name in ("port", "read_port", "check_port")]
    sound = all(0 < port < 65536 for port in ports) and len(set(ports)) == len(ports)
    preflight.require(
        sound, f"ports {', '.join(map(str, ports))}", "give three of 1 to 65535 for port, read_port, check_port"
    )
    for name, least in (("max_lag", 0.1), ("check_interval", 0.1), ("check_timeout", 0.5), ("max_clients", 1)):
        preflight.require(params[name] >= least, f"{name} is {params[name]}", f"give {least} or more")
    preflight.require(
        params["max_lag"] > params["check_interval"],
        f"max_lag {params['max_lag']:g} is not above check_interval {params['check_interval']:g}",
        "ask more often, or allow more",
    )
    password = params["check_password"] or ""
    sound = bool(password) and not re.search(r"[\x00-\x1f]", password)
    preflight.require(sound, "check_password is none", "give one line of text")
    for name, value in (params["settings"] or {}).items():
        preflight.require(
            bool(_SETTING.match(name)), f"{name!r} is no setting", "write it as HAProxy's configuration has it"
        )
        preflight.require(
            not re.search(r"[\x00-\x1f]", str(value)), f"{name}: a value is one line", "remove the line break"
        )
    figures = _sizes(params, preflight)
    # What lies on the host is read when the options are sound.
    preflight.done()
    config_file = Path(params["config_file"])
    owner = owner_of(config_file)
    preflight.require(
        not owner or owner == params["cluster"],
        f"{config_file} is of the cluster {owner}",
        "give this one's balancer a config_file and ports of its own",
    )
    preflight.done()
    return Wanted(params, tuple(figures))


def _sizes(params: Params, preflight: Preflight) -> list[Figure]:
    """A session is a server connection here: beyond what a member takes, clients wait in the queue."""
    server, clients = params["server"] or {}, params["max_clients"]
    figures = [Figure("maxconn", str(clients), "declared: clients of both ports together")]
    if server:
        ground = Ground(
            int(server["max_connections"]),
            int(server["superuser_reserved"]),
            params["kept_free"],
            1,
            params["hosts"],
            1,
        )
        share = ground.budget // max(1, ground.hosts)
        preflight.require(
            share >= 1,
            f"{ground.told()} server connections are fewer than {ground.hosts} hosts",
            "raise max_connections",
        )
        figures.append(Figure("server maxconn", str(share), f"({ground.told()}) / {ground.hosts} hosts"))
    else:
        figures.append(Figure("server maxconn", str(clients), "as many as clients: the server was not asked"))
    members = len(params["members"] or [])
    files = 2 * clients + 2 * 2 * members + _OWN_DESCRIPTORS
    formula = f"2 * maxconn {clients} + 2 checks * 2 * {members} members + {_OWN_DESCRIPTORS} of its own"
    return [*figures, Figure("LimitNOFILE", str(files), formula)]
