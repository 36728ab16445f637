#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: switchover
short_description: Makes another member of a cluster its primary, planned and without an error for clients of a pooler
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - The steps of a planned switchover that no other module does. The role P(boringdb.ops.switchover#role) orders them.
  - With O(state=moved) it is one process on the old primary's host. It holds the poolers' clients, shuts the server
    down, waits until the candidate has replayed all of it, promotes it, and lets the clients go on there.
  - Until the promotion is sent, whatever goes wrong is taken back, and clients go on with the old primary. From then on
    the old primary is never opened again.
  - What is to be done is read from the servers each time. Killed anywhere, the same steps again go on, or back.
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
      - V(seen) tells what this member is, with all that could stand in the way.
      - V(planned) tells from what every member said what is to be done. It refuses with every reason at once.
      - V(reachable) runs on a member that is to follow the candidate, and sees that it is let in there to replicate.
      - V(staged) writes what is dirty. On the candidate it also empties C(synchronous_standby_names), so that its first
        commits don't wait for who is not there yet, and shortens C(wal_retrieve_retry_interval), for which a promotion
        may have to wait.
      - V(moved) runs on the old primary and does the switchover itself. Stopping a systemd O(service) needs root.
      - V(promoted) runs on the candidate, where an earlier run has closed the old primary and was killed.
      - V(reopened) runs on the old primary, where an earlier run has closed it and nobody was told to promote.
      - V(ended) runs on the old primary and waits until the process is gone that may still archive.
      - V(finished) runs on the candidate, promoted or not, and takes away what was made for the switchover.
    type: str
    choices: [seen, planned, reachable, staged, moved, promoted, reopened, ended, finished]
    default: seen
  name:
    description: With O(state=moved), the name of this member.
    type: str
  candidate:
    description: The name of the member that is to be primary.
    type: str
  candidate_host:
    description: Its address, as this host reaches it.
    type: str
  candidate_port:
    description: Its port.
    type: int
    default: 5432
  members:
    description: With O(state=planned), what V(seen) told of every member, by its name.
    type: dict
  slots:
    description: With O(state=planned), the name of each member's slot, by the member's name.
    type: dict
    default: {}
  upstreams:
    description: With O(state=planned), whom each member is to follow afterwards, by the member's name.
    type: dict
    default: {}
  not_admitted:
    description: With O(state=planned), why a member is not let in by the candidate, by the member's name.
    type: dict
    default: {}
  addresses:
    description: With O(state=planned), C(host) and C(port) of each member as poolers know it, by the member's name.
    type: dict
    default: {}
  primary_databases:
    description:
      - With O(state=planned), the databases of the poolers that are declared to lie on the primary, whoever that is.
        They have a part in it also where a pooler sends them to another member, as one does that was started anew in
        the middle of an earlier run.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  placed_databases:
    description:
      - With O(state=planned), the databases of the poolers that are declared to lie at an address of their own.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  poolers:
    description: With O(state=planned), what M(boringdb.ops.pool_info) told of every pooler.
    type: list
    elements: dict
    default: []
  consoles:
    description: With O(state=moved), where the poolers' consoles are, as this host reaches them.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The address.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
  pool_user:
    description: The account of the poolers' consoles.
    type: str
    default: pool_admin
  pool_password:
    description: Its password.
    type: str
  pool_databases:
    description: With O(state=moved), the databases whose clients are held and sent to the new primary.
    type: list
    elements: str
    default: []
  timeline:
    description: With O(state=moved), the timeline of this server. The new primary's must be newer.
    type: int
    default: 0
  synchronous_names:
    description:
      - With O(state=moved), this server's C(synchronous_standby_names). It is noted with the account, so that a later
        run can give the new primary its own.
    type: str
    default: ""
  began:
    description: With O(state=moved), when the run began. It is noted, too.
    type: str
    default: ""
  pause_timeout:
    description: How long poolers wait for open transactions, in seconds.
    type: int
    default: 5
  replay_timeout:
    description: How long the candidate may take to replay the shutdown, in seconds.
    type: int
    default: 10
  timeout:
    description: How long stopping, promoting, and a start on the way back may take, each, in seconds.
    type: int
    default: 60
  max_lag_bytes:
    description: By how much the candidate may be behind, in bytes.
    type: int
    default: 16777216
  max_archive_backlog:
    description: How many WAL segments may wait to be archived.
    type: int
    default: 8
  transaction_seconds:
    description: With O(state=seen), from which age on a transaction is told. Any of them is refused by V(planned).
    type: float
    default: 5
  leave_logical_slots:
    description: The logical slots whose consumers may stop.
    type: list
    elements: str
    default: []
  replication_user:
    description: With O(state=reachable), the account that replicates.
    type: str
    default: replicator
  replication_password:
    description: Its password.
    type: str
notes:
  - The candidate is reached over the network by an account that V(moved) makes on the primary and that comes to the
    candidate by replication. It may call C(pg_promote) and nothing else, and is valid for minutes. Its password never
    leaves the process.
seealso:
  - module: boringdb.ops.pool
  - module: boringdb.ops.replica
"""

EXAMPLES = r"""
- name: What stands in the way of a switchover
  become: true
  become_user: postgres
  boringdb.ops.switchover:
    state: seen
    data_dir: /var/lib/postgresql/15/main

- name: Make pg2 primary in the place of this server
  become: true
  boringdb.ops.switchover:
    state: moved
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    service: postgresql@15-main
    name: pg1
    candidate: pg2
    candidate_host: 192.0.2.12
    timeline: 1
    consoles:
      - {host: 192.0.2.21, port: 6432}
    pool_password: "{{ pool_admin_password }}"
    pool_databases: [shop]
"""

RETURN = r"""
member:
  description: What the member is, as M(boringdb.ops.instance_info) tells it, and what could stand in the way.
  returned: with O(state=seen)
  type: dict
situation:
  description: V(begin), V(finish), and V(forward) or V(back) where an earlier run was killed behind the fence.
  returned: with O(state=planned)
  type: str
old:
  description: The member that is, or was, the primary; empty where nothing tells.
  returned: with O(state=planned)
  type: str
checks:
  description: The named checks. A refusal has them, too.
  returned: with O(state=planned)
  type: list
  elements: dict
databases:
  description: The databases of the poolers that go to a member.
  returned: with O(state=planned)
  type: list
  elements: str
quorum:
  description: For which standbys the new primary's commits are to wait, null for none, or where that is not known.
  returned: with O(state=planned)
  type: dict
unfinished:
  description: Whether a switchover is to be made or finished.
  returned: with O(state=planned)
  type: bool
stall_ms:
  description: From the poolers' pause to their release, or from the shutdown to the first write, in milliseconds.
  returned: with O(state=moved)
  type: float
  sample: 97.4
phases:
  description: How long each phase took, in milliseconds.
  returned: with O(state=moved)
  type: dict
  sample: {pause: 0.6, stop: 41.2, replay: 1.1, promote: 29.7, write: 1.2, route: 1.0, resume: 0.3}
timeline:
  description: The new primary's timeline.
  returned: with O(state=moved)
  type: int
rolled_back:
  description: Whether it failed and was taken back, so that the old primary takes writes.
  returned: with O(state=moved), also when it fails
  type: bool
sent:
  description: Whether the promotion was sent, after which there is no way back.
  returned: with O(state=moved), also when it fails
  type: bool
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of_plan
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.switchover import switchover as patroni_switchover
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover import switchover

CELLS: Cells = {"postgresql": switchover, "patroni": patroni_switchover}
STATES = ["seen", "planned", "reachable", "staged", "moved", "promoted", "reopened", "ended", "finished"]


def main() -> None:
    """Run the module."""
    console = {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
    own = {
        "state": {"type": "str", "choices": STATES, "default": "seen"},
        "name": {"type": "str"},
        "candidate": {"type": "str"},
        "candidate_host": {"type": "str"},
        "candidate_port": {"type": "int", "default": 5432},
        "members": {"type": "dict"},
        "slots": {"type": "dict", "default": {}},
        "upstreams": {"type": "dict", "default": {}},
        "not_admitted": {"type": "dict", "default": {}},
        "addresses": {"type": "dict", "default": {}},
        "primary_databases": {"type": "list", "elements": "str", "default": []},
        "placed_databases": {"type": "list", "elements": "str", "default": []},
        "poolers": {"type": "list", "elements": "dict", "default": []},
        "consoles": {"type": "list", "elements": "dict", "options": console, "default": []},
        "pool_user": {"type": "str", "default": "pool_admin"},
        "pool_password": {"type": "str", "no_log": True},
        "pool_databases": {"type": "list", "elements": "str", "default": []},
        "timeline": {"type": "int", "default": 0},
        "synchronous_names": {"type": "str", "default": ""},
        "began": {"type": "str", "default": ""},
        "pause_timeout": {"type": "int", "default": 5},
        "replay_timeout": {"type": "int", "default": 10},
        "timeout": {"type": "int", "default": 60},
        "max_lag_bytes": {"type": "int", "default": 16777216},
        "max_archive_backlog": {"type": "int", "default": 8},
        "transaction_seconds": {"type": "float", "default": 5},
        "leave_logical_slots": {"type": "list", "elements": "str", "default": []},
        "replication_user": {"type": "str", "default": "replicator"},
        "replication_password": {"type": "str", "no_log": True},
    }
    needs = [
        ("state", "planned", ["members", "candidate"]),
        ("state", "moved", ["name", "candidate", "candidate_host"]),
        ("state", "reachable", ["candidate_host", "replication_password"]),
    ]
    run("switchover", CELLS, {**SERVER_OPTIONS, **own}, manager_of_plan, required_if=needs)


if __name__ == "__main__":
    main()
