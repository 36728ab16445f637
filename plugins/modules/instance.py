#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: Initialises, starts, stops, restarts or reloads one database server
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Brings one database server of the host into the wanted state, and waits until it is there.
  - Initialising is atomic. It happens beside O(data_dir), which appears by one rename.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(initialized) makes a new, empty server unless there is one; run it as the account that owns the server.
      - V(started) and V(stopped) start and stop it. V(restarted) always restarts, V(reloaded) always reloads.
      - Starting and stopping a systemd O(service) needs root.
    type: str
    choices: [initialized, started, stopped, restarted, reloaded]
    default: started
  version:
    description: The major version that a new server must have; programs of another version are refused.
    type: int
  data_checksums:
    description: Whether a new server checks every page it reads.
    type: bool
    default: true
  encoding:
    description: A new server's character encoding.
    type: str
    default: UTF8
  locale:
    description: A new server's locale.
    type: str
    default: C.UTF-8
  superuser_password:
    description: A new server's password for O(login_user). Without it only the local socket lets that account in.
    type: str
  stop_mode:
    description: V(fast) ends sessions and shuts down cleanly, V(smart) waits for them, V(immediate) crashes.
    type: str
    choices: [smart, fast, immediate]
    default: fast
  unguarded:
    description:
      - That the boot guard (M(boringdb.ops.boot_guard)) lets this start pass without asking the other members. For
        those who have made sure that none of them is the primary.
    type: bool
    default: false
  timeout:
    description: How long starting or stopping may take, in seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Initialise a server with data checksums
  become: true
  become_user: postgres
  boringdb.ops.instance:
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    state: initialized

- name: Start it
  become: true
  boringdb.ops.instance:
    data_dir: /var/lib/postgresql/15/main
    service: postgresql@15-main
    state: started
"""

RETURN = r"""
state:
  description: What the server is after the task, V(started), V(stopped) or V(absent).
  returned: success
  type: str
  sample: started
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance import instance
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": instance}


def main() -> None:
    """Run the module."""
    states = ["initialized", "started", "stopped", "restarted", "reloaded"]
    own = {
        "state": {"type": "str", "choices": states, "default": "started"},
        "version": {"type": "int"},
        "data_checksums": {"type": "bool", "default": True},
        "encoding": {"type": "str", "default": "UTF8"},
        "locale": {"type": "str", "default": "C.UTF-8"},
        "superuser_password": {"type": "str", "no_log": True},
        "stop_mode": {"type": "str", "choices": ["smart", "fast", "immediate"], "default": "fast"},
        "unguarded": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    }
    run("instance", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
