#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: replica
short_description: Clones a replica from its primary and attaches it
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Clones the primary through a physical replication slot and attaches the copy as an asynchronous replica.
  - The clone happens beside O(data_dir), which appears by one rename. A killed clone is begun again by the next run.
  - It refuses a O(data_dir) that holds another cluster's data, or that was last a primary.
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
      - V(attached) clones where nothing is and keeps the connection to the primary as declared. It starts nothing.
      - V(streaming) waits until the running replica streams from its primary.
      - V(prepared) runs on the primary and makes the account that replicates.
    type: str
    choices: [attached, prepared, streaming]
    default: attached
  primary_address:
    description: The primary's address. Required for V(attached) and V(streaming).
    type: str
  primary_port:
    description: The primary's port.
    type: int
    default: 5432
  replication_user:
    description: The account that replicates.
    type: str
    default: replicator
  replication_password:
    description: Its password. It is kept in a passfile that only the server's owner reads.
    type: str
  slot:
    description: The physical replication slot on the primary, which is also the replica's name there. Required as well.
    type: str
  tablespaces:
    description:
      - Where the primary's tablespaces lie, as V(prepared) returns it. Each directory has to be empty before a clone.
      - With it a killed clone's tablespaces are removed when it is begun again.
    type: list
    elements: path
    default: []
  timeout:
    description: How long to wait for streaming, in seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Clone the primary
  become: true
  become_user: postgres
  boringdb.ops.replica:
    data_dir: /var/lib/postgresql/15/main
    primary_address: pg1.example.com
    replication_password: "{{ replication_password }}"
    slot: pg2
"""

RETURN = r"""
slot:
  description: The replication slot.
  returned: when O(state) is not V(prepared)
  type: str
  sample: pg2
system_identifier:
  description: The cluster's identity, as the primary told it.
  returned: when O(state=attached)
  type: str
tablespaces:
  description: Where the primary's tablespaces lie.
  returned: when O(state=prepared)
  type: list
  elements: str
  sample: [/srv/fast/orders]
status:
  description: The receiver's state.
  returned: when O(state=streaming)
  type: str
  sample: streaming
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica import replica
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": replica}


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": ["attached", "prepared", "streaming"], "default": "attached"},
        "primary_address": {"type": "str"},
        "primary_port": {"type": "int", "default": 5432},
        "replication_user": {"type": "str", "default": "replicator"},
        "replication_password": {"type": "str", "no_log": True},
        "slot": {"type": "str"},
        "tablespaces": {"type": "list", "elements": "path", "default": []},
        "timeout": {"type": "int", "default": 60},
    }
    needs = [("state", state, ["primary_address", "slot"]) for state in ("attached", "streaming")]
    needs.append(("state", "prepared", ["replication_password"]))
    run("replica", CELLS, {**SERVER_OPTIONS, **own}, required_if=needs)


if __name__ == "__main__":
    main()
