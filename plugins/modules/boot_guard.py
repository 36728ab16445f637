#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_guard
short_description: Keeps a former primary from starting as one while another member has taken its place
version_added: 0.2.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Puts a small program on the host that systemd runs before the server. Unless the server starts as a replica, it asks
    the other members over the replication protocol for their timelines. Where one is on a newer timeline, or takes
    writes on the same one, the server is not started. One line in the journal says why.
  - It changes nothing of the data, and is not asked while the server runs.
  - The program needs Python and the server's own programs on the host, and nothing of the collection. The password lies
    in a passfile that nobody may read but the account that owns O(data_dir).
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
      - V(present) has the guard, and asks every member once whether it answers. One that does not is a warning.
      - V(absent) has it no more.
      - Both need root where O(service) is a unit. With V(process) there is no unit, and whoever starts the server runs
        the program before.
    type: str
    choices: [present, absent]
    default: present
  peers:
    description: C(host) and C(port) of every other member, by its name. Needed with O(state=present).
    type: dict
    default: {}
  rule:
    description:
      - What happens where no other member answers in time. With V(open) the server starts, with V(closed) it does not.
    type: str
    choices: [open, closed]
    default: open
  wait_seconds:
    description: How long the guard asks those again that do not answer, in seconds.
    type: float
    default: 20
  replication_user:
    description: The account by which it asks.
    type: str
    default: replicator
  replication_password:
    description: Its password.
    type: str
  program:
    description: Where the program is put. All units of a host share it.
    type: path
    default: /usr/local/lib/boringdb/boot_guard.py
  directory:
    description: Where lies what the program goes by, a C(.json) and a C(.pass) named after the unit.
    type: path
    default: /etc/boringdb/boot_guard
  unit_directory:
    description: Where additions to units lie.
    type: path
    default: /etc/systemd/system
seealso:
  - module: boringdb.ops.failover
  - module: boringdb.ops.rejoin
"""

EXAMPLES = r"""
- name: Ask db2 before this server starts as a primary
  become: true
  boringdb.ops.boot_guard:
    data_dir: /var/lib/postgresql/15/main
    service: postgresql@15-main
    peers:
      db2: {host: 192.0.2.12, port: 5432}
    replication_password: "{{ postgresql_replication_password }}"
"""

RETURN = r"""
answers:
  description:
    - What every other member answered, by its name. C(timeline) is its timeline, C(writes) whether it takes writes, and
      C(problem) why it said nothing, empty where it answered.
  returned: success, but not in check mode
  type: dict
  sample: {db2: {problem: "", timeline: 1, writes: false}}
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.boot_guard import boot_guard
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.boot_guard_places import DIRECTORY
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": boot_guard}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "peers": {"type": "dict", "default": {}},
        "rule": {"type": "str", "choices": ["open", "closed"], "default": "open"},
        "wait_seconds": {"type": "float", "default": 20},
        "replication_user": {"type": "str", "default": "replicator"},
        "replication_password": {"type": "str", "no_log": True},
        "program": {"type": "path", "default": "/usr/local/lib/boringdb/boot_guard.py"},
        "directory": {"type": "path", "default": DIRECTORY},
        "unit_directory": {"type": "path", "default": "/etc/systemd/system"},
    }
    run("boot_guard", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
