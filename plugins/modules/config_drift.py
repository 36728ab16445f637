#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_drift
short_description: Tells where a server's settings differ from what is declared, and from the rest of its cluster
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - With O(state=examined) it reads one server, with O(state=compared) it puts together what was found on all members.
  - Values are compared as the server reads them. Nothing is changed, ever.
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
  state:
    description: Whether to read one server, or to compare the results of all.
    type: str
    choices: [examined, compared]
    default: examined
  settings:
    description: The declared settings of O(file), as M(boringdb.ops.config) takes them.
    type: dict
    default: {}
  file:
    description: The name of the file below C(conf.d), without its ending.
    type: str
    default: boringdb
  hba:
    description:
      - The declared rules of C(pg_hba.conf), as M(boringdb.ops.config) takes them.
      - When it is left out, the file is not looked at.
    type: list
    elements: dict
    suboptions:
      type:
        description: The kind of connection.
        type: str
        choices: [local, host, hostssl, hostnossl]
        required: true
      database:
        description: A database, V(all) or V(replication); several are separated by commas.
        type: str
        required: true
      user:
        description: An account, or V(all); several are separated by commas.
        type: str
        required: true
      address:
        description: A network in CIDR notation or a host name. Left out for V(local).
        type: str
      method:
        description: How the client proves who it is.
        type: str
        choices: [scram-sha-256, peer, cert, reject, trust, ldap, gss, pam, radius, ident, md5]
        required: true
  members:
    description: With O(state=compared), the results of the members, by their names.
    type: dict
  may_differ:
    description: With O(state=compared), settings that are no drift.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Examine one server
  become: true
  become_user: postgres
  boringdb.ops.config_drift:
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    settings:
      work_mem: 32MB
"""

RETURN = r"""
drift:
  description: What differs from the declared state, or awaits a restart.
  returned: with O(state=examined)
  type: list
  elements: dict
values:
  description: The settings that can be compared with other members.
  returned: with O(state=examined)
  type: dict
elsewhere:
  description: What C(ALTER ROLE) and C(ALTER DATABASE) set for some sessions.
  returned: success
  type: list
  elements: dict
drifted:
  description: Whether anything differs.
  returned: with O(state=compared)
  type: bool
declared:
  description: What differs from the declared state, of all members.
  returned: with O(state=compared)
  type: list
  elements: dict
between:
  description: The settings that differ between members, with their values.
  returned: with O(state=compared)
  type: list
  elements: dict
report:
  description: The same as lines for people.
  returned: with O(state=compared)
  type: list
  elements: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.config_drift import config_drift
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import HBA_RULE
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": config_drift}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["examined", "compared"], "default": "examined"},
        "settings": {"type": "dict", "default": {}},
        "file": {"type": "str", "default": "boringdb"},
        "hba": {"type": "list", "elements": "dict", "options": HBA_RULE},
        "members": {"type": "dict"},
        "may_differ": {"type": "list", "elements": "str", "default": []},
    }
    run("config_drift", CELLS, {**SERVER_OPTIONS, **own}, required_if=[("state", "compared", ["members"])])


if __name__ == "__main__":
    main()
