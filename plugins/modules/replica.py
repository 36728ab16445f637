#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: replica
short_description: Clones a replica, attaches it to the server it follows, and takes it out of use
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Clones the primary, or another replica, through a physical replication slot and attaches the copy.
  - Or restores the newest backup of a repository and attaches that, which spares the primary.
  - The clone happens beside O(data_dir), which appears by one rename. A killed clone is begun again by the next run.
  - It refuses a O(data_dir) that holds another cluster's data, or that was last a primary.
  - On the server that is followed it keeps the slot, and on the primary it says which standbys a commit waits for.
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
      - V(attached) clones where nothing is and keeps the connection to the upstream as declared. It starts nothing.
      - V(streaming) waits until the running replica streams from whom its settings name. One that O(apply_delay) holds
        back is well, too. One that streams for moments, because it holds WAL that its upstream has not, is not.
      - V(prepared) runs on the primary and makes the account that replicates.
      - V(reserved) runs on the upstream and has the slot there, made anew where it was invalidated.
      - V(released) runs on a former upstream and drops the slot. One that is in use is waited for.
      - V(synchronous) runs on the primary and has commits wait for O(number) of O(names), once that many stream.
      - V(removed) takes a stopped replica's data out of use.
    type: str
    choices: [attached, prepared, released, removed, reserved, streaming, synchronous]
    default: attached
  primary_address:
    description:
      - The address of the server to follow, which is the primary or, in a cascade, another replica.
      - Required for V(attached) and V(streaming).
    type: str
  primary_port:
    description: That server's port.
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
    description:
      - The physical replication slot on the upstream, which is also the replica's name there.
      - Required for all states but V(prepared), V(removed) and V(synchronous).
    type: str
  tablespaces:
    description:
      - Where the primary's tablespaces lie, as V(prepared) returns it. Each directory has to be empty before a clone.
      - With it a killed clone's tablespaces are removed when it is begun again.
    type: list
    elements: path
    default: []
  apply_delay:
    description: How long a replica holds back what it was sent, for example V(4h). V(0) applies it at once.
    type: str
    default: "0"
  source:
    description:
      - What a new replica is copied from. V(upstream) is the server it follows.
      - V(repository) is the newest backup, from which it then catches up through the archive and its slot.
    type: str
    choices: [upstream, repository]
    default: upstream
  tool:
    description:
      - The repository's tool. With it, V(attached) has the replica take from the archive what its upstream lacks.
      - And V(reserved) counts the archive as a place that WAL may come from.
      - Required with O(source=repository).
    type: str
    choices: [native, pgbackrest]
  backup_path:
    description: With O(tool=native), the directory of the backups.
    type: path
  wal_path:
    description: With O(tool=native), the directory of archived WAL.
    type: path
  stanza:
    description: With O(tool=pgbackrest), the stanza.
    type: str
  pgbackrest_config:
    description: With O(tool=pgbackrest), its configuration file on this host.
    type: path
    default: /etc/pgbackrest.conf
  repository:
    description:
      - With O(tool=pgbackrest), the number of the repository. Left out, the first one that answers is used.
    type: int
  needed_lsn:
    description:
      - With O(state=reserved), the position that the replica goes on from, as M(boringdb.ops.instance_info) tells it.
      - When neither the upstream nor the archive has the WAL from there on, the replica must be cloned anew.
    type: str
  reclone:
    description:
      - With O(state=reserved), whether a replica that can't be served may be cloned anew; else that is refused.
      - With O(state=attached), clone anew now. The replica must be stopped.
    type: bool
    default: false
  keep_data:
    description: Whether data that is taken out of use is moved aside, beside O(data_dir), instead of removed.
    type: bool
    default: true
  method:
    description:
      - With O(state=synchronous), whether any O(number) of the O(names) will do, or the first ones that are there.
    type: str
    choices: [any, first]
    default: any
  number:
    description: How many standbys a commit waits for. V(0) ends synchronous replication.
    type: int
    default: 1
  names:
    description: The standbys' names, which are their slots', the preferred ones first.
    type: list
    elements: str
    default: []
  without:
    description:
      - With O(state=synchronous), take this one standby out of what the server says now, and leave the rest.
      - Refused when fewer than the number would remain.
    type: str
  commit:
    description:
      - With O(state=synchronous), what a standby must have done before a commit returns.
      - Written to the system (V(remote_write)), flushed to disk (V(on), the engine's default), or applied, so that its
        readers see it (V(remote_apply)).
      - When it is left out, the server's setting stays.
    type: str
    choices: [remote_write, "on", remote_apply]
  timeout:
    description: How long to wait for streaming, for a slot to be free, or for a commit that is tried, in seconds.
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

- name: Have every commit wait for one of two standbys
  become: true
  become_user: postgres
  boringdb.ops.replica:
    state: synchronous
    data_dir: /var/lib/postgresql/15/main
    number: 1
    names: [pg2, pg3]
"""

RETURN = r"""
slot:
  description: The replication slot.
  returned: when O(state) is not V(prepared), V(removed) or V(synchronous)
  type: str
  sample: pg2
system_identifier:
  description: The cluster's identity, as the upstream told it.
  returned: when O(state=attached)
  type: str
tablespaces:
  description: Where the primary's tablespaces lie.
  returned: when O(state=prepared)
  type: list
  elements: str
  sample: [/srv/fast/orders]
status:
  description: V(streaming), or V(delayed) for a replica that still applies, in its time, what it holds.
  returned: when O(state=streaming)
  type: str
  sample: streaming
must_reclone:
  description: Whether the replica can't be served any more and must be cloned anew.
  returned: when O(state=reserved)
  type: bool
kept:
  description: Where data that was taken out of use is now, null where none is kept.
  returned: when O(state) is V(attached) or V(removed)
  type: str
synchronous:
  description: The standbys that commits wait for, null when they wait for none.
  returned: when O(state=synchronous)
  type: dict
  sample: {method: any, number: 1, names: [pg2, pg3]}
commit_seconds:
  description: How long a commit took that was tried after the change, and was confirmed.
  returned: when O(state=synchronous) and it changed
  type: float
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica import replica
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": replica}
STATES = ["attached", "prepared", "released", "removed", "reserved", "streaming", "synchronous"]


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": STATES, "default": "attached"},
        "primary_address": {"type": "str"},
        "primary_port": {"type": "int", "default": 5432},
        "replication_user": {"type": "str", "default": "replicator"},
        "replication_password": {"type": "str", "no_log": True},
        "slot": {"type": "str"},
        "tablespaces": {"type": "list", "elements": "path", "default": []},
        "apply_delay": {"type": "str", "default": "0"},
        "source": {"type": "str", "choices": ["upstream", "repository"], "default": "upstream"},
        "tool": {"type": "str", "choices": ["native", "pgbackrest"]},
        "needed_lsn": {"type": "str"},
        "reclone": {"type": "bool", "default": False},
        "keep_data": {"type": "bool", "default": True},
        "method": {"type": "str", "choices": ["any", "first"], "default": "any"},
        "number": {"type": "int", "default": 1},
        "names": {"type": "list", "elements": "str", "default": []},
        "without": {"type": "str"},
        "commit": {"type": "str", "choices": ["remote_write", "on", "remote_apply"]},
        "timeout": {"type": "int", "default": 60},
    }
    needs = [("state", state, ["primary_address", "slot"]) for state in ("attached", "streaming")]
    needs += [("state", state, ["slot"]) for state in ("reserved", "released")]
    needs += [("state", "prepared", ["replication_password"]), ("source", "repository", ["tool"])]
    run("replica", CELLS, {**SERVER_OPTIONS, **REPOSITORY_OPTIONS, **own}, required_if=needs)


if __name__ == "__main__":
    main()
