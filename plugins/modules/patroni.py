#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni
short_description: Pauses and resumes Patroni, gives it its settings, has a member cloned anew
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - What only Patroni has. What it does as plain hosts do (M(boringdb.ops.switchover), M(boringdb.ops.config),
    M(boringdb.ops.restart)) is done by those modules.
  - Its configuration is found by the server's data directory, and its REST API by that configuration.
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
      - V(seen) tells what Patroni says of this member and of the cluster.
      - V(awaited) waits until this member leads, or follows the leader on its timeline and streams.
      - V(configured) has O(settings) in the distributed configuration.
      - V(prepared) has, on the leader, the account by which a former leader is rewound.
      - V(paused) has Patroni leave all servers as they are, and V(resumed) take them up again. Both wait until every
        member has heard of it.
      - V(reinitialized) has a replica that can't follow cloned anew. All that it holds is removed. One that follows is
        left alone, and the leader is refused.
    type: str
    choices: [seen, awaited, configured, prepared, paused, resumed, reinitialized]
    default: seen
  settings:
    description:
      - With O(state=configured), settings of Patroni itself, such as C(ttl), as its distributed configuration has them.
      - Null takes one away. The server's own are for M(boringdb.ops.config).
    type: dict
    default: {}
  rewind_user:
    description: With O(state=prepared), the account that rewinds.
    type: str
    default: rewinder
  rewind_password:
    description: Its password.
    type: str
  force:
    description: With O(state=reinitialized), whether also one that follows is cloned anew.
    type: bool
    default: false
  timeout:
    description: How long waiting may take, in seconds.
    type: int
    default: 60
requirements:
  - PyYAML on the host, which Patroni needs itself
seealso:
  - module: boringdb.ops.switchover
  - module: boringdb.ops.config
  - module: boringdb.ops.restart
"""

EXAMPLES = r"""
- name: Have Patroni leave everything as it is during maintenance
  become: true
  become_user: postgres
  boringdb.ops.patroni:
    data_dir: /var/lib/postgresql/15/main
    state: paused
"""

RETURN = r"""
patroni:
  description: What Patroni says of this member and of the cluster.
  returned: with O(state=seen)
  type: dict
role:
  description: V(leader) or V(replica).
  returned: with O(state=awaited)
  type: str
paused:
  description: Whether it is paused now.
  returned: with O(state=paused) and O(state=resumed)
  type: bool
reinitialized:
  description: Whether it was cloned anew.
  returned: with O(state=reinitialized)
  type: bool
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.patroni import patroni
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": patroni}
STATES = ["seen", "awaited", "configured", "prepared", "paused", "resumed", "reinitialized"]


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": STATES, "default": "seen"},
        "settings": {"type": "dict", "default": {}},
        "rewind_user": {"type": "str", "default": "rewinder"},
        "rewind_password": {"type": "str", "no_log": True},
        "force": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    }
    run("patroni", CELLS, {**SERVER_OPTIONS, **own}, required_if=[("state", "prepared", ["rewind_password"])])


if __name__ == "__main__":
    main()
