#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restart
short_description: Restarts a database server for the settings that await it, in the right order within its cluster
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - With O(state=planned) it says in which order a cluster's members must take what awaits it, and restarts nothing.
  - With O(state=restarted) it restarts this server if anything awaits that, and waits until it replicates as before.
  - Replicas come first and the primary last. A lowered C(max_connections), C(max_worker_processes), C(max_wal_senders),
    C(max_prepared_transactions) or C(max_locks_per_transaction) goes to the primary first, because a standby with less
    than its primary does not start.
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
      - V(planned) asks for the order only.
      - V(restarted) is a fast shutdown and a start. Restarting a systemd O(service) needs root.
    type: str
    choices: [planned, restarted]
    default: restarted
  members:
    description: With O(state=planned), what M(boringdb.ops.instance_info) says of every member, by its name.
    type: dict
  timeout:
    description: How long stopping, starting, and each wait for replication may take, in seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Restart this server if anything awaits it
  become: true
  boringdb.ops.restart:
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    service: postgresql@15-main
"""

RETURN = r"""
order:
  description: The members that await a restart, in their order.
  returned: with O(state=planned)
  type: list
  elements: str
  sample: [db2, db1]
applied:
  description: The settings that awaited the restart.
  returned: with O(state=restarted)
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    current:
      description: The value before.
      type: str
    new:
      description: The value that the files hold.
      type: str
seconds:
  description: For how long the server let nobody in.
  returned: with O(state=restarted)
  type: float
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.restart import restart as patroni_restart
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restart import restart
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": restart, "patroni": patroni_restart}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["planned", "restarted"], "default": "restarted"},
        "members": {"type": "dict"},
        "timeout": {"type": "int", "default": 60},
    }
    run("restart", CELLS, {**SERVER_OPTIONS, **own}, manager_of, required_if=[("state", "planned", ["members"])])


if __name__ == "__main__":
    main()
