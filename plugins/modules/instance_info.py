#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_info
short_description: Tells what one database server is
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Reads from the engine what the server is, running or stopped. Its role, position, lag, replicas and slots, archiver,
    and the settings that await a restart.
  - Nothing is declared in an inventory. Playbooks ask this module who is primary.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Discover the members' roles
  become: true
  become_user: postgres
  boringdb.ops.instance_info:
    data_dir: /var/lib/postgresql/15/main
  register: discovered

- name: Group the members by role
  ansible.builtin.group_by:
    key: "orders_{{ discovered.instance.role }}"
"""

RETURN = r"""
instance:
  description: What the server is.
  returned: success
  type: dict
  contains:
    state:
      description: V(running), V(stopped), V(absent) (nothing there) or V(foreign) (files, but no server).
      type: str
    role:
      description: V(primary), V(replica), V(none) or V(unknown).
      type: str
    manager:
      description: What owns the server's lifecycle, V(patroni), null where nothing does.
      type: str
    patroni:
      description: What Patroni says of this member and of the cluster, where it runs the server.
      type: dict
    version:
      description: The server's version, when it runs.
      type: str
    major:
      description: The major version.
      type: int
    system_identifier:
      description: The cluster's identity, the same on all its members.
      type: str
    system_digest:
      description: The SHA-256 of the system identifier, which names the cluster in evidence.
      type: str
    timeline:
      description: The timeline the server is on.
      type: int
    lsn:
      description: The current (primary) or replayed (replica) position.
      type: str
    wal_file:
      description: On a primary that runs, the WAL segment that it writes to.
      type: str
    replicas:
      description: The replicas that follow this server, with their state and lag in bytes and seconds.
      type: list
      elements: dict
    needed_lsn:
      description: On a replica that runs, the position from which on it still has to be given WAL.
      type: str
    apply_delay_seconds:
      description: How long a replica holds back what it was sent.
      type: float
    synchronous:
      description: On a primary, the standbys that commits wait for (C(method), C(number), C(names)), null for none.
      type: dict
    slots:
      description: The replication slots.
      type: list
      elements: dict
    archiver:
      description:
        - Whether archiving works, the last archived and the last failed segment, and C(archive_timeout) in seconds.
      type: dict
    pending_restart:
      description: The settings that await a restart.
      type: list
      elements: str
    awaiting_restart:
      description: What awaits a restart.
      type: list
      elements: dict
      contains:
        name:
          description: The setting.
          type: str
        current:
          description: The value that it has until then.
          type: str
        new:
          description: The value that the files hold.
          type: str
    standby_minimum:
      description: The settings that a standby must have no less of than its primary, with their values.
      type: dict
    standby_minimum_new:
      description: The same after a restart.
      type: dict
    owner:
      description: The account that owns the data directory, null where there is none.
      type: str
    programs_major:
      description: The major version of the programs in O(bin_dir), null where that is left out or holds none.
      type: int
    data_checksums:
      description: Whether pages carry checksums.
      type: bool
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import (
    instance_info as patroni_instance_info,
)
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import instance_info
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": instance_info, "patroni": patroni_instance_info}


def main() -> None:
    """Run the module."""
    run("instance_info", CELLS, SERVER_OPTIONS, manager_of)


if __name__ == "__main__":
    main()
