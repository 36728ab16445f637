#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pool_balancer
short_description: Has HAProxy lead to the member that takes writes, and to fresh replicas
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Writes HAProxy's configuration, judged by the program itself before it is in place, and puts a small program beside
    it that tells HAProxy which member takes writes and which replicas are fresh. What is not known is closed.
  - That program asks the members by one connection each, which stays, as an account that needs no rights. It answers on
    the loopback address only.
  - Sessions to a member whose role changed are closed.
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the password's file, only that it changes.
  platform:
    support: full
    platforms: posix
options:
  engine:
    description: The database engine behind it.
    type: str
    default: postgresql
    choices: [postgresql]
  state:
    description:
      - V(present) writes the files, and says what is to be reloaded or restarted.
      - V(started) and V(stopped) are for processes without a service manager. V(started) also reloads.
      - V(settled) waits until both run with what is on the disk, and says what is known of the members.
    type: str
    choices: [present, started, settled, stopped]
    default: present
  cluster:
    description: The cluster that it is of. A file of another cluster's is not overwritten.
    type: str
    required: true
  config_file:
    description: HAProxy's configuration. The other files lie beside it.
    type: path
    required: true
  program:
    description: The program haproxy, by its path or its name.
    type: str
    default: haproxy
  members:
    description: The cluster's servers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: By what it is called in logs and statistics.
        type: str
        required: true
      host:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
  listen:
    description: The addresses at which clients come in.
    type: list
    elements: str
    default: ["*"]
  port:
    description: The port that leads to the member that takes writes, and to nobody else.
    type: int
    default: 6432
  read_port:
    description: The port that leads to fresh replicas.
    type: int
    default: 6433
  read_fallback:
    description: Where O(read_port) leads while no replica is fresh enough.
    type: str
    choices: [nobody, primary]
    default: nobody
  max_lag:
    description:
      - A replica is fresh when it has replayed all that the primary had flushed so many seconds ago.
    type: float
    default: 10
  max_lag_bytes:
    description: How many bytes of WAL a fresh replica may be behind, 0 is any number.
    type: int
    default: 0
  check_user:
    description: The account that asks. It needs no rights but to log in.
    type: str
    default: pool_check
  check_password:
    description: Its password, kept in a file of mode 0600.
    type: str
    required: true
  check_database:
    description: The database it asks in.
    type: str
    default: postgres
  check_interval:
    description: Seconds from one question to the next.
    type: float
    default: 1
  check_timeout:
    description:
      - Seconds after which a member that does not answer is asked again on a new connection.
      - After twice of it, it is closed.
    type: float
    default: 2
  check_port:
    description: The port on the loopback address at which HAProxy asks.
    type: int
    default: 6434
  check_program:
    description: Where the program is put.
    type: path
    default: /usr/local/lib/boringdb/pool_check.py
  check_python:
    description: The interpreter of V(started). When it is left out, the module's.
    type: path
  stats_socket:
    description: HAProxy's socket.
    type: path
    default: /run/haproxy/boringdb.sock
  state_file:
    description: What HAProxy starts from.
    type: path
    default: /run/haproxy/boringdb.state
  run_as:
    description: The account and group of HAProxy, where root starts it. Then it also logs to C(/dev/log).
    type: str
    default: ""
  max_clients:
    description: How many clients it takes on both ports together.
    type: int
    default: 1000
  idle_timeout:
    description: Seconds until a session in which nothing moves is closed, 0 is 24 days.
    type: int
    default: 0
  queue_timeout:
    description: Seconds until a client that waits for a member's connection is turned away.
    type: int
    default: 120
  settings:
    description:
      - >-
        Lines beside the ones the module writes, by their first words, as V({hard-stop-after: 1h, timeout connect: 5s}).
      - C(hard-stop-after), C(nbthread), C(log), C(cpu-map) and C(tune.maxpollevents) go to C(global), others to
        C(defaults).
    type: dict
  server:
    description:
      - What is shared, as M(boringdb.ops.pool_server) returns it. A member's C(maxconn) is computed from it.
    type: dict
  hosts:
    description: How many hosts have a balancer of the same cluster.
    type: int
    default: 1
  kept_free:
    description: How many of the server's connections are left to those who come past the balancers.
    type: int
    default: 10
  timeout:
    description: How long starting, stopping and settling may take, in seconds.
    type: int
    default: 10
requirements:
  - psycopg >= 3.1 on the host
"""

EXAMPLES = r"""
- name: Configure HAProxy before two servers
  become: true
  boringdb.ops.pool_balancer:
    cluster: orders
    config_file: /etc/haproxy/haproxy.cfg
    members:
      - {name: pg1, host: 192.0.2.11}
      - {name: pg2, host: 192.0.2.12}
    check_password: "{{ pool_check_password }}"
    max_lag: 5
    run_as: haproxy
"""

RETURN = r"""
figures:
  description: The computed sizes with their arithmetic.
  returned: with O(state=present)
  type: list
  elements: dict
  contains:
    name:
      description: The size.
      type: str
    value:
      description: The value.
      type: str
    formula:
      description: How it was computed.
      type: str
reload_required:
  description: Whether HAProxy runs with another configuration than the file's.
  returned: with O(state=present)
  type: bool
check_restart_required:
  description: Whether the program that it asks runs with other files than those on the disk.
  returned: with O(state=present)
  type: bool
members:
  description: What is known of each member.
  returned: with O(state=started) and O(state=settled)
  type: list
  elements: dict
  contains:
    name:
      description: The member.
      type: str
    address:
      description: Where it is asked.
      type: str
    writes:
      description: V(yes), or why it gets no writes.
      type: str
    reads:
      description: V(yes), or why it gets no reads.
      type: str
    problem:
      description: Why nothing is known of it.
      type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_balancer import pool_balancer

CELLS: Cells = {"postgresql": pool_balancer}


def main() -> None:
    """Run the module."""
    member = {
        "name": {"type": "str", "required": True},
        "host": {"type": "str", "required": True},
        "port": {"type": "int", "default": 5432},
    }
    own = {
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "state": {"type": "str", "default": "present", "choices": ["present", "started", "settled", "stopped"]},
        "cluster": {"type": "str", "required": True},
        "config_file": {"type": "path", "required": True},
        "program": {"type": "str", "default": "haproxy"},
        "members": {"type": "list", "elements": "dict", "required": True, "options": member},
        "listen": {"type": "list", "elements": "str", "default": ["*"]},
        "port": {"type": "int", "default": 6432},
        "read_port": {"type": "int", "default": 6433},
        "read_fallback": {"type": "str", "default": "nobody", "choices": ["nobody", "primary"]},
        "max_lag": {"type": "float", "default": 10},
        "max_lag_bytes": {"type": "int", "default": 0},
        "check_user": {"type": "str", "default": "pool_check"},
        "check_password": {"type": "str", "required": True, "no_log": True},
        "check_database": {"type": "str", "default": "postgres"},
        "check_interval": {"type": "float", "default": 1},
        "check_timeout": {"type": "float", "default": 2},
        "check_port": {"type": "int", "default": 6434},
        "check_program": {"type": "path", "default": "/usr/local/lib/boringdb/pool_check.py"},
        "check_python": {"type": "path"},
        "stats_socket": {"type": "path", "default": "/run/haproxy/boringdb.sock"},
        "state_file": {"type": "path", "default": "/run/haproxy/boringdb.state"},
        "run_as": {"type": "str", "default": ""},
        "max_clients": {"type": "int", "default": 1000},
        "idle_timeout": {"type": "int", "default": 0},
        "queue_timeout": {"type": "int", "default": 120},
        "settings": {"type": "dict"},
        "server": {"type": "dict"},
        "hosts": {"type": "int", "default": 1},
        "kept_free": {"type": "int", "default": 10},
        "timeout": {"type": "int", "default": 10},
    }
    run("pool_balancer", CELLS, own)


if __name__ == "__main__":
    main()
