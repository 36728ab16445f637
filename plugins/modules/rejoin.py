#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rejoin
short_description: Makes a former primary a replica of the one that took its place
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - The steps of a rejoin that no other module does. The role P(boringdb.ops.rejoin#role) orders them.
  - With O(state=rewound) the data lies beside the data directory while pg_rewind works on it, so that a server half
    rewound can't be started. Killed, the same step again goes on.
  - What only this member has, the WAL after the fork, is kept beside the data directory.
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
      - V(planned) tells what it takes, and what is lost. It refuses where a person has to decide.
      - V(admitted) runs on the primary. It makes the account by which pg_rewind reads there, and a checkpoint.
      - V(rewound) runs pg_rewind on the member, which has to be stopped.
      - V(aside) moves away what an interrupted pg_rewind has left, where the member is cloned anew.
      - V(dismissed) runs on the primary, and takes the account away.
      - V(followed) is for members that Patroni runs. It waits until Patroni has the member follow, and with O(reclone)
        has it cloned anew where that does not happen.
      - V(finished) takes away what a run has left on the member that was killed after it had given up.
    type: str
    choices: [planned, admitted, rewound, aside, dismissed, followed, finished]
    default: planned
  name:
    description: With O(state=planned), the name of this member.
    type: str
  primary_address:
    description: The primary's address, as this host reaches it.
    type: str
  primary_port:
    description: Its port.
    type: int
    default: 5432
  replication_user:
    description: With O(state=planned), the account that replicates.
    type: str
    default: replicator
  replication_password:
    description: Its password.
    type: str
  rewind_password:
    description: With O(state=admitted) and O(state=rewound), the password of the account C(boringdb_rewind).
    type: str
  takes_writes:
    description: With O(state=planned), whether this member runs as a primary.
    type: bool
    default: false
  streams:
    description: With O(state=planned), whether this member is a replica that streams.
    type: bool
    default: false
  stop:
    description: With O(state=planned), the name of this member, where a person has typed that it may be stopped.
    type: str
    default: ""
  reclone:
    description: With O(state=planned) and O(state=followed), whether it may be cloned anew where it can't be rewound.
    type: bool
    default: false
  timeout:
    description: With O(state=followed), how long Patroni may take, in seconds.
    type: int
    default: 60
  lost:
    description: With O(state=rewound), what V(planned) told in C(lost).
    type: dict
  tool:
    description: The tool whose archive gives pg_rewind the WAL that the member no longer has (PostgreSQL 15 and later).
    type: str
    choices: [native, pgbackrest]
  backup_path:
    description: The repository's directory with O(tool=native).
    type: path
  wal_path:
    description: The directory of archived WAL with O(tool=native).
    type: path
  stanza:
    description: The stanza with O(tool=pgbackrest).
    type: str
  pgbackrest_config:
    description: With O(tool=pgbackrest), its configuration file on this host.
    type: path
    default: /etc/pgbackrest.conf
  repository:
    description: With O(tool=pgbackrest), the number of the repository. Left out, the first one that answers is used.
    type: int
seealso:
  - module: boringdb.ops.failover
  - module: boringdb.ops.replica
"""

EXAMPLES = r"""
- name: What it takes to have pg1 follow pg2
  become: true
  become_user: postgres
  boringdb.ops.rejoin:
    state: planned
    name: pg1
    data_dir: /var/lib/postgresql/15/main
    primary_address: 192.0.2.12
    replication_password: "{{ postgresql_replication_password }}"
"""

RETURN = r"""
action:
  description: V(nothing), V(attach), V(rewind) or V(reclone); where Patroni rules V(nothing) or V(follow).
  returned: with O(state=planned)
  type: str
why:
  description: Why it has to be cloned anew.
  returned: with O(state=planned)
  type: str
lost:
  description: What this member alone has after the fork, as positions, bytes and transactions. Null for nothing.
  returned: with O(state=planned)
  type: dict
goes_on:
  description: Whether an earlier run was killed while it rewound.
  returned: with O(state=planned) and O(state=rewound)
  type: bool
kept:
  description: Where that WAL, or the data that was set aside, is kept.
  returned: with O(state=rewound) and O(state=aside)
  type: str
managed:
  description: Whether Patroni rules.
  returned: with O(state=planned)
  type: bool
took:
  description: V(patroni) where Patroni has brought it back by itself, V(reclone) where it was cloned anew.
  returned: with O(state=followed)
  type: str
must_reclone:
  description: That it can't be rewound.
  returned: with O(state=rewound), when that fails
  type: bool
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rejoin import rejoin as patroni_rejoin
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.rejoin import rejoin
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": rejoin, "patroni": patroni_rejoin}
STATES = ["planned", "admitted", "rewound", "aside", "dismissed", "followed", "finished"]


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": STATES, "default": "planned"},
        "name": {"type": "str"},
        "primary_address": {"type": "str"},
        "primary_port": {"type": "int", "default": 5432},
        "replication_user": {"type": "str", "default": "replicator"},
        "replication_password": {"type": "str", "no_log": True},
        "rewind_password": {"type": "str", "no_log": True},
        "takes_writes": {"type": "bool", "default": False},
        "streams": {"type": "bool", "default": False},
        "stop": {"type": "str", "default": ""},
        "reclone": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
        "lost": {"type": "dict"},
        "tool": {"type": "str", "choices": ["native", "pgbackrest"]},
    }
    needs = [("state", "planned", ["name", "primary_address", "replication_password"])]
    needs += [("state", state, ["rewind_password"]) for state in ("admitted", "rewound")]
    run("rejoin", CELLS, {**SERVER_OPTIONS, **REPOSITORY_OPTIONS, **own}, manager_of, required_if=needs)


if __name__ == "__main__":
    main()
