#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: failover
short_description: Makes a replica the primary of a cluster whose primary is gone
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - The steps of a failover that no other module does. The role P(boringdb.ops.failover#role) orders them.
  - It refuses while anybody reaches the primary, while nothing keeps that from coming back, and while more may be lost
    than the objective allows and nobody has accepted that.
  - What is to be done is read from the servers each time. Killed anywhere, the same steps again go on.
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
  data_dir:
    description: The server's data directory. Not needed with V(reached) and V(planned).
    type: path
    required: false
  state:
    description:
      - V(seen) tells what this member is, also one that hangs, and which members' ports answer here.
      - V(reached) tells which members' ports answer here, on a host that is no member. It needs no library.
      - V(left) runs on the host of a primary that is dead or hangs, and reads from its files what it has from
        O(position) on.
      - V(planned) tells from what everybody said what is to be done. It refuses with every reason at once.
      - V(fenced) runs on the old primary's host. It has the server stopped, and started as a replica only from now on.
      - V(promoted) runs on the candidate, and is the point of no return. O(note) is kept beside its data directory.
      - V(finished) runs on the new primary and those that follow it, and takes away what was made for the failover.
    type: str
    choices: [seen, reached, left, planned, fenced, promoted, finished]
    default: seen
  places:
    description: C(host) and C(port) of every member, by its name.
    type: dict
    default: {}
  reach_seconds:
    description: How long a port may take to answer, in seconds.
    type: float
    default: 3
  silence_seconds:
    description: From which time on a replica that hears nothing does not stream any more, in seconds.
    type: float
    default: 10
  position:
    description: With O(state=left), the position that the furthest replica has, as a number of bytes.
    type: int
    default: 0
  members:
    description: With O(state=planned), what V(seen) told of every member, by its name.
    type: dict
    default: {}
  vantages:
    description: With O(state=planned), what V(reached) told, by the name of who looked.
    type: dict
    default: {}
  left:
    description: With O(state=planned), what V(left) told.
    type: dict
    default: {}
  candidate:
    description: With O(state=planned), the member that is to be primary. Empty for the one that has most.
    type: str
    default: ""
  slots:
    description: With O(state=planned), the name of each member's slot, by the member's name.
    type: dict
    default: {}
  declared:
    description: With O(state=planned), for how many replicas commits were declared to wait.
    type: dict
    default: {}
  poolers:
    description: With O(state=planned), what M(boringdb.ops.pool_info) told of every pooler.
    type: list
    elements: dict
    default: []
  poolers_unseen:
    description: With O(state=planned), the poolers that could not be asked.
    type: list
    elements: str
    default: []
  primary_databases:
    description:
      - With O(state=planned), the databases of the poolers that are declared to lie on the primary. They go to the new
        one also from a member to which an earlier run has sent them.
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
  fence_command:
    description: With O(state=planned), whether there is a command that cuts the old primary off.
    type: bool
    default: false
  unfenced_ok:
    description: With O(state=planned), the name of the old primary, where a person has typed it.
    type: str
    default: ""
  accept_loss:
    description: With O(state=planned), the seconds of lost writes that a person accepts, or V(unknown).
    type: str
    default: ""
  rpo_seconds:
    description: With O(state=planned), the objective. Without one, a loss is told and not judged.
    type: float
  began:
    description: With O(state=planned), when the run began.
    type: str
    default: ""
  note:
    description: With O(state=promoted), what the plan says is to be noted.
    type: dict
    default: {}
  fenced:
    description: With O(state=promoted), whether the old primary was stopped or cut off.
    type: bool
    default: false
  timeout:
    description: How long stopping and promoting may take, each, in seconds.
    type: int
    default: 60
seealso:
  - module: boringdb.ops.switchover
  - module: boringdb.ops.replica
"""

EXAMPLES = r"""
- name: What this member is, and whom of the others it reaches
  become: true
  become_user: postgres
  boringdb.ops.failover:
    state: seen
    data_dir: /var/lib/postgresql/15/main
    places:
      pg1: {host: 192.0.2.11, port: 5432}
      pg2: {host: 192.0.2.12, port: 5432}

- name: Keep the old primary from taking writes again
  become: true
  boringdb.ops.failover:
    state: fenced
    data_dir: /var/lib/postgresql/15/main
    service: postgresql@15-main
"""

RETURN = r"""
member:
  description: What the member is, and what it reaches.
  returned: with O(state=seen)
  type: dict
reached:
  description: What each member's port answers, by the member's name.
  returned: with O(state=reached)
  type: dict
  sample: {pg1: {answer: silent, why: Connection refused}}
left:
  description: Where the WAL of the old primary ends, and the transactions in it from O(position) on.
  returned: with O(state=left)
  type: dict
situation:
  description: V(nothing), V(begin) or V(finish).
  returned: with O(state=planned)
  type: str
old:
  description: The member that was the primary; empty where nothing is to be done.
  returned: with O(state=planned)
  type: str
candidate:
  description: The member that is to be primary, or is.
  returned: with O(state=planned)
  type: str
checks:
  description: The named checks. A refusal has them, too.
  returned: with O(state=planned)
  type: list
  elements: dict
fences:
  description: What there is to fence the old primary with, the strongest first.
  returned: with O(state=planned)
  type: list
  elements: str
loss:
  description: What may be lost, as bounds, and what these stand on.
  returned: with O(state=planned), when a failover begins
  type: dict
told:
  description: The same in words.
  returned: with O(state=planned), when a failover begins
  type: str
returned:
  description: Whether the old primary is back, or not fenced yet, while a failover is finished.
  returned: with O(state=planned)
  type: bool
databases:
  description: The databases of the poolers that are to go to the new primary.
  returned: with O(state=planned)
  type: list
  elements: str
quorum:
  description: For which standbys the new primary's commits are to wait, null for none.
  returned: with O(state=planned)
  type: dict
managed:
  description: Whether Patroni rules.
  returned: with O(state=planned)
  type: bool
unfinished:
  description: Whether a failover is to be made or finished.
  returned: with O(state=planned)
  type: bool
note:
  description: What is noted with the candidate until the failover is recorded.
  returned: with O(state=planned) and O(state=promoted)
  type: dict
fenced:
  description: In which state the old primary is.
  returned: with O(state=fenced)
  type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.failover import failover as patroni_failover
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of_plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover import failover
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": failover, "patroni": patroni_failover}
STATES = ["seen", "reached", "left", "planned", "fenced", "promoted", "finished"]


def main() -> None:
    """Run the module."""
    own = {
        "data_dir": {"type": "path"},
        "state": {"type": "str", "choices": STATES, "default": "seen"},
        "places": {"type": "dict", "default": {}},
        "reach_seconds": {"type": "float", "default": 3},
        "silence_seconds": {"type": "float", "default": 10},
        "position": {"type": "int", "default": 0},
        "members": {"type": "dict", "default": {}},
        "vantages": {"type": "dict", "default": {}},
        "left": {"type": "dict", "default": {}},
        "candidate": {"type": "str", "default": ""},
        "slots": {"type": "dict", "default": {}},
        "declared": {"type": "dict", "default": {}},
        "poolers": {"type": "list", "elements": "dict", "default": []},
        "poolers_unseen": {"type": "list", "elements": "str", "default": []},
        "primary_databases": {"type": "list", "elements": "str", "default": []},
        "placed_databases": {"type": "list", "elements": "str", "default": []},
        "fence_command": {"type": "bool", "default": False},
        "unfenced_ok": {"type": "str", "default": ""},
        "accept_loss": {"type": "str", "default": ""},
        "rpo_seconds": {"type": "float"},
        "began": {"type": "str", "default": ""},
        "note": {"type": "dict", "default": {}},
        "fenced": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    }
    run("failover", CELLS, {**SERVER_OPTIONS, **own}, manager_of_plan)


if __name__ == "__main__":
    main()
