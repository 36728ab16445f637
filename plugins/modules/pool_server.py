#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pool_server
short_description: Prepares a server for poolers that pass its users' passwords through, and tells what they share
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Has an account for the poolers and, in every pooled database, a function by which that account reads the SCRAM
    verifier of one user. Clients then log in to the pooler by their own passwords, and the pooler as them, without
    any of these passwords in a file.
  - The function tells nothing of superusers and of accounts for replication, who cannot come in through a pooler.
  - It runs on the primary; replicas follow.
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
  databases:
    description:
      - The databases that are pooled, by their names on the server.
      - An empty list is for an account that only asks what a server is, as M(boringdb.ops.pool_balancer) has one. It
        gets no function and no right.
    type: list
    elements: str
    required: true
  auth_user:
    description: The poolers' account.
    type: str
    default: pool_auth
  auth_password:
    description: Its password. The server gets a SCRAM verifier of it only.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Let poolers know the users of two databases
  become: true
  become_user: postgres
  boringdb.ops.pool_server:
    data_dir: /var/lib/postgresql/15/main
    databases: [shop, stock]
    auth_password: "{{ pool_auth_password }}"
"""

RETURN = r"""
databases:
  description: The databases in which the function was made or put right.
  returned: success
  type: list
  elements: str
server:
  description: What the poolers share, as M(boringdb.ops.pool) takes it. Empty in a dry run without a server.
  returned: success
  type: dict
  contains:
    max_connections:
      description: The server's C(max_connections).
      type: int
    superuser_reserved:
      description: How many of them are kept for superusers and other roles.
      type: int
    cores:
      description: How many processors the host has.
      type: int
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_server import pool_server
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": pool_server}


def main() -> None:
    """Run the module."""
    own = {
        "databases": {"type": "list", "elements": "str", "required": True},
        "auth_user": {"type": "str", "default": "pool_auth"},
        "auth_password": {"type": "str", "required": True, "no_log": True},
    }
    run("pool_server", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
