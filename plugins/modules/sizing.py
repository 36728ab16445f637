#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sizing
short_description: Suggests memory, WAL and kernel settings from what the host has, with the arithmetic of each number
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Computes settings of the server and of the kernel. Nothing is changed.
  - How many huge pages the server needs is asked of its own program (PostgreSQL 15 and later), also while it runs.
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
options:
  memory_mb:
    description: How much memory this server may count on, in MB. When it is left out, all that the host has.
    type: int
  connections:
    description: How many connections it will have.
    type: int
    default: 100
"""

EXAMPLES = r"""
- name: What should this server have?
  become: true
  become_user: postgres
  boringdb.ops.sizing:
    data_dir: /var/lib/postgresql/17/main
    connections: 200
  register: sized

- name: With the arithmetic
  ansible.builtin.debug:
    msg: "{{ sized.figures }}"
"""

RETURN = r"""
settings:
  description: Settings of the server, as M(boringdb.ops.config) takes them.
  returned: success
  type: dict
  sample: {shared_buffers: 4096MB}
sysctl:
  description: Settings of the kernel.
  returned: success
  type: dict
  sample: {vm.swappiness: "1"}
figures:
  description: All of them with their arithmetic.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    value:
      description: The suggested value.
      type: str
    formula:
      description: How it was computed, with the numbers of this host.
      type: str
now:
  description: What the kernel has now.
  returned: success
  type: dict
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sizing import sizing

CELLS: Cells = {"postgresql": sizing}


def main() -> None:
    """Run the module."""
    own = {"memory_mb": {"type": "int"}, "connections": {"type": "int", "default": 100}}
    run("sizing", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
