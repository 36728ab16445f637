#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pool
short_description: Configures, sizes, pauses, resumes, routes and reloads pgbouncer
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Writes the configuration of a pgbouncer, judged by the program itself before it is in place, and has running
    processes take it over. What needs a restart is named, and waits.
  - Holds clients while a server is exchanged (O(state=paused), O(state=routed), O(state=resumed)), and arms a timer
    that lets them go on when whoever held them is gone.
  - It runs as the account that the pooler runs as.
extends_documentation_fragment:
  - boringdb.ops.pooler
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the file of users, names only.
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(present) writes O(config_file) and the file of users, and reloads.
      - V(started), V(stopped) and V(restarted) are for a process without a unit of the service manager. Clients of
        one that is stopped lose their connections.
      - V(paused) waits until no server connection is in use, and holds what clients send from then on. Where that
        does not come true within O(timeout), on any of O(consoles), all are resumed, and the module fails.
      - V(resumed) ends a pause.
      - V(routed) writes into O(config_file) where a database lies, reloads, and sees that it is in force. All else in
        the file stays as it is, also in one that was written by hand.
      - V(reloaded) has the files read again.
      - V(armed) starts the timer. When O(timeout) is over, it routes to the only one of O(candidates) that takes
        writes, and resumes. While there is none, or more than one, it leaves the pause alone and looks again. It
        outlives the controller.
      - V(disarmed) ends the timer, and says whether it has acted.
    type: str
    choices: [present, started, stopped, restarted, reloaded, paused, resumed, routed, armed, disarmed]
    default: present
  program:
    description: The program pgbouncer, by its path or its name.
    type: str
    default: pgbouncer
  cluster:
    description: The cluster that the pooler is of. A file of another cluster's is not overwritten.
    type: str
    default: ""
  auth_file:
    description:
      - With O(state=present), the file of users.
      - When it is left out, C(userlist.txt) beside O(config_file).
    type: path
  databases:
    description:
      - With O(state=present), the databases by the names that clients use. Each has C(host), and may have C(port),
        C(dbname), C(pool_mode), C(pool_size), C(min_pool_size), C(reserve_pool), C(max_db_connections),
        C(connect_query), C(client_encoding), C(datestyle), C(timezone), C(auth_user) and C(application_name).
    type: dict
  settings:
    description:
      - With O(state=present), settings of the section C(pgbouncer). They win over computed ones.
      - What is not declared has pgbouncer's own default.
    type: dict
  users:
    description: With O(state=present), the accounts of the file of users.
    type: list
    elements: dict
    suboptions:
      name:
        description: The account.
        type: str
        required: true
      password:
        description: Its password. The file holds a SCRAM verifier of it.
        type: str
        required: true
      logs_in:
        description:
          - Whether pgbouncer itself logs in to servers by it, as C(auth_user) does. Then the file holds the password
            as it is.
        type: bool
        default: false
  server:
    description:
      - With O(state=present), what poolers share, as M(boringdb.ops.pool_server) returns it. C(max_db_connections),
        C(default_pool_size) and C(reserve_pool_size) are computed from it, and a sum beyond it is refused.
      - When it is left out, nothing is computed, and no sum is refused.
    type: dict
  hosts:
    description: How many hosts have a pooler of the same server.
    type: int
    default: 1
  processes:
    description: How many pooler processes each of them has.
    type: int
    default: 1
  kept_free:
    description: How many of the server's connections are left to those who come past the poolers.
    type: int
    default: 10
  database:
    description: The databases to pause, resume, route, or arm for. When it is left out, all of them.
    type: list
    elements: str
  server_host:
    description: With O(state=routed), the server's address.
    type: str
  server_port:
    description: With O(state=routed), the server's port.
    type: int
    default: 5432
  reload:
    description: With O(state=routed), whether the route is in force at once. Without it, it waits in the file.
    type: bool
    default: true
  candidates:
    description: With O(state=armed), the servers of the cluster. Each must answer when the timer is armed.
    type: list
    elements: dict
    suboptions:
      host:
        description: A server's address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
  timeout:
    description: How long starting, stopping and pausing may take, and after which time an armed timer acts, in seconds.
    type: int
    default: 10
  lock_timeout:
    description: How long to wait for another one that works on O(config_file), in seconds.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: A pooler of two databases, sized by what the server takes
  become: true
  become_user: postgres
  boringdb.ops.pool:
    config_file: /etc/pgbouncer/pgbouncer.ini
    cluster: orders
    databases:
      shop: {host: 192.0.2.11}
      stock: {host: 192.0.2.11, pool_mode: session}
    settings: {listen_addr: "*", auth_type: scram-sha-256, pool_mode: transaction}
    server: {max_connections: 200, superuser_reserved: 3, cores: 8}
    hosts: 2

- name: Hold the clients of two poolers at the same time
  boringdb.ops.pool:
    state: paused
    consoles:
      - {host: 192.0.2.21, port: 6432}
      - {host: 192.0.2.22, port: 6432}
    login_user: pool_admin
    login_password: "{{ pool_admin_password }}"
    database: [shop]
    timeout: 5

- name: Send a database to another server
  become: true
  become_user: postgres
  boringdb.ops.pool:
    state: routed
    config_file: /etc/pgbouncer/pgbouncer.ini
    database: [shop]
    server_host: 192.0.2.12
"""

RETURN = r"""
figures:
  description: The computed settings with their arithmetic.
  returned: with O(state=present)
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    value:
      description: The value.
      type: str
    formula:
      description: How it was computed.
      type: str
restart_required:
  description: Settings that only a restart brings into force.
  returned: with O(state=present)
  type: list
  elements: str
  sample: [listen_port]
reloaded:
  description: Whether running processes were reloaded.
  returned: with O(state=present)
  type: bool
running:
  description: How many of the consoles answered.
  returned: with O(state=present)
  type: int
databases:
  description: The databases that were paused, resumed, routed or armed for.
  returned: with O(state=paused), O(state=resumed), O(state=routed) and O(state=armed)
  type: list
  elements: str
until:
  description: When the timer acts, in seconds since 1970.
  returned: with O(state=armed)
  type: float
acted:
  description: Whether the timer had acted before it was disarmed.
  returned: with O(state=disarmed)
  type: bool
routed:
  description: The server that it had routed to, or nothing.
  returned: with O(state=disarmed)
  type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool import POOLER_OPTIONS, pool

CELLS: Cells = {"postgresql": pool}
_LOCAL = ("present", "started", "stopped", "restarted", "routed", "armed", "disarmed")


def main() -> None:
    """Run the module."""
    user = {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "logs_in": {"type": "bool", "default": False},
    }
    candidate = {"host": {"type": "str", "required": True}, "port": {"type": "int", "default": 5432}}
    own = {
        "state": {
            "type": "str",
            "default": "present",
            "choices": [
                "present", "started", "stopped", "restarted", "reloaded", "paused", "resumed", "routed", "armed",
                "disarmed",
            ],
        },
        "program": {"type": "str", "default": "pgbouncer"},
        "cluster": {"type": "str", "default": ""},
        "auth_file": {"type": "path"},
        "databases": {"type": "dict"},
        "settings": {"type": "dict"},
        "users": {"type": "list", "elements": "dict", "options": user},
        "server": {"type": "dict"},
        "hosts": {"type": "int", "default": 1},
        "processes": {"type": "int", "default": 1},
        "kept_free": {"type": "int", "default": 10},
        "database": {"type": "list", "elements": "str"},
        "server_host": {"type": "str"},
        "server_port": {"type": "int", "default": 5432},
        "reload": {"type": "bool", "default": True},
        "candidates": {"type": "list", "elements": "dict", "options": candidate},
        "timeout": {"type": "int", "default": 10},
        "lock_timeout": {"type": "int", "default": 0},
    }  # fmt: skip
    run(
        "pool", CELLS, {**POOLER_OPTIONS, **own},
        required_one_of=[("config_file", "consoles")],
        required_if=[
            *(("state", state, ["config_file"]) for state in _LOCAL),
            ("state", "routed", ["server_host"]),
            ("state", "armed", ["candidates"]),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
