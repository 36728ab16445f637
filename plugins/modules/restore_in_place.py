#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_in_place
short_description: Brings a server in production back to a point in time, step by step
version_added: 0.2.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - The steps of the playbook P(boringdb.ops.restore#role) on one host. Each can be repeated after it was killed.
  - The new data directory grows beside the old one, is recovered to the target and proven there, and takes the old
    one's place by renames. The old one, and its tablespaces, get an ending and are never deleted.
  - WAL that only the old data directory holds is put into the archive, or read from where it lies.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.repository
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
      - V(noted) tells whether a restore was begun here.
      - V(planned) looks at everything and returns RV(reasons) against it, without failing for one.
      - V(recovered) recovers the backup beside the stopped server's data, and leaves the new server running, isolated.
      - V(replaced) stops that, gives it the configuration, and exchanges the directories. The server stays stopped.
      - V(opened) proves that the started server is the restored one and archives its new timeline.
      - V(finished) looks for every replica, brings the synchronous names back, and closes the restore.
      - V(aside) moves a stopped replica's data aside; V(configured) gives its new clone the old configuration.
      - V(undone) puts the old data back in its place, and what was restored aside.
    type: str
    choices: [noted, planned, recovered, replaced, opened, finished, aside, configured, undone]
    required: true
  member:
    description: Whether this host is to be the primary, or one of its replicas.
    type: str
    choices: [primary, replica]
    default: primary
  backup:
    description: V(latest), the newest that ended before the target, or a label.
    type: str
    default: latest
  target_type:
    description:
      - V(latest) replays all WAL there is. V(immediate) stops where the backup is consistent.
      - V(time), V(lsn) and V(name) stop at O(target).
    type: str
    choices: [latest, immediate, time, lsn, name]
    default: latest
  target:
    description: A time with its zone, an LSN, or the name of a restore point.
    type: str
  target_timeline:
    description: V(latest), V(current) (the backup's) or a number.
    type: str
    default: latest
  again:
    description: Whether to restore once more to a target that was reached before.
    type: bool
    default: false
  stamp:
    description:
      - With O(member=replica), which restore this is a part of, as O(state=recovered) returned it.
      - With O(state=undone), the only one that is undone; whichever is there when it is empty.
    type: str
    default: ""
  delta:
    description:
      - Whether to fetch only what differs from the old data, with O(tool=pgbackrest).
      - A copy of the old data is corrected, not the data itself.
    type: bool
    default: false
  configuration:
    description:
      - Whose configuration inside the data directory the server starts with.
      - V(current) is that of the old data directory, where it can be read. V(backup) is the backup's.
    type: str
    choices: [current, backup]
    default: current
  settings:
    description: Settings of the new server until it takes the old one's place, for example V(shared_buffers).
    type: dict
    default: {}
  positions:
    description: How far each member had written when it was stopped, with C(timeline), C(lsn) and C(clean).
    type: list
    elements: dict
    default: []
  replicas:
    description: With O(state=finished), the names in pg_stat_replication of those that must stream.
    type: list
    elements: str
    default: []
  checks:
    description: With O(state=replaced), the checks of M(boringdb.ops.verify) on the recovered server, for the record.
    type: list
    elements: dict
    default: []
  began:
    description: When the operation began, UTC. It counts from the first run on.
    type: str
    default: ""
  needed_bytes:
    description: With O(member=replica), the room that a clone needs.
    type: int
    default: 0
  rto_seconds:
    description: The longest time the restore may take, as an objective that is reported.
    type: float
  expected_system_digest:
    description: The SHA-256 of the system identifier that the backup must be of.
    type: str
  wal_changes_segments:
    description: Up to how many WAL segments are read to count the changes per relation. V(0) turns it off.
    type: int
    default: 64
  seed:
    description: Has no meaning for a restore that chooses nothing at random.
    type: int
  timeout:
    description: How long starting, recovering or stopping a server may take, in seconds.
    type: int
    default: 7200
  archive_timeout:
    description: How long the new timeline may take into the archive, in seconds.
    type: int
    default: 120
  stream_timeout:
    description: How long the replicas may take to stream, in seconds.
    type: int
    default: 60
  lock_timeout:
    description: How long to wait for another operation on O(data_dir) to end, in seconds. V(0) refuses at once.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Look at what stands in the way of going back to a moment
  become: true
  become_user: postgres
  boringdb.ops.restore_in_place:
    state: planned
    tool: pgbackrest
    stanza: orders
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    target_type: time
    target: "2026-11-21 08:59:59+00"
  register: plan
"""

RETURN = r"""
phase:
  description: How far the restore is, V(none), V(begun), V(recovered), V(replacing), V(replaced) or V(finished).
  returned: when O(state) is planned, recovered, opened or finished
  type: str
reasons:
  description: What stands in the way, each with C(what) and C(remedy).
  returned: when O(state=planned)
  type: list
  elements: dict
noted:
  description:
    - The C(member), C(phase) and C(stamp) of the restore that was begun here, where one was.
    - C(went_back) is the stamp of the last one that was undone here, empty where none was.
  returned: when O(state=noted)
  type: dict
stamp:
  description: What names this restore, and what is moved aside by it.
  returned: when O(member=primary)
  type: str
aside:
  description: Where the old data directory is.
  returned: when O(state) is replaced, opened, finished, aside or configured
  type: str
had_old_data:
  description: Whether there was one.
  returned: when O(state) is opened or finished
  type: bool
undone:
  description: Whether there was anything to undo.
  returned: when O(state=undone)
  type: bool
backup:
  description: The backup, shaped as M(boringdb.ops.backup) returns one.
  returned: when it was planned
  type: dict
window:
  description: The window of targets, with the WAL of the old data directory.
  returned: when it was planned
  type: dict
target:
  description: The target, with C(type), C(value) and C(timeline).
  returned: when it was planned
  type: dict
reached:
  description: Where recovery ended, with C(lsn), C(time) of the last replayed commit, C(timeline) and C(next_xid).
  returned: when it was recovered
  type: dict
resumed_bytes:
  description: Bytes that an earlier run, which was killed or failed, had fetched already; V(0) with O(delta).
  returned: when the backup was laid down
  type: int
wal_archived:
  description: WAL that only the old data directory held and that was put into the archive.
  returned: when it was recovered
  type: list
  elements: str
wal_beside:
  description: WAL that was not whole yet, and was replayed from the old data directory.
  returned: when it was recovered
  type: list
  elements: str
slots_made:
  description: Physical slots of the old server that were made again.
  returned: when O(state=opened)
  type: list
  elements: str
slots_lost:
  description: Logical slots of the old server, whose consumers have to begin anew.
  returned: when O(state) is opened or finished
  type: list
  elements: str
came_back:
  description: Configuration files outside the data directory that came back from the backup.
  returned: when O(state) is opened or finished
  type: list
  elements: str
rto_seconds:
  description: From the operation's begin to the moment the restored server accepted connections.
  returned: when O(state) is opened or finished
  type: float
checks:
  description: Every proof so far, by name.
  returned: when O(member=primary)
  type: list
  elements: dict
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_in_place import restore_in_place
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": restore_in_place}
STATES = ["noted", "planned", "recovered", "replaced", "opened", "finished", "aside", "configured", "undone"]


def main() -> None:
    """Run the module."""
    own = {
        "state": {"type": "str", "choices": STATES, "required": True},
        "member": {"type": "str", "choices": ["primary", "replica"], "default": "primary"},
        "backup": {"type": "str", "default": "latest"},
        "target_type": {"type": "str", "choices": ["latest", "immediate", "time", "lsn", "name"], "default": "latest"},
        "target": {"type": "str"},
        "target_timeline": {"type": "str", "default": "latest"},
        "again": {"type": "bool", "default": False},
        "stamp": {"type": "str", "default": ""},
        "delta": {"type": "bool", "default": False},
        "configuration": {"type": "str", "choices": ["current", "backup"], "default": "current"},
        "settings": {"type": "dict", "default": {}},
        "positions": {"type": "list", "elements": "dict", "default": []},
        "replicas": {"type": "list", "elements": "str", "default": []},
        "checks": {"type": "list", "elements": "dict", "default": []},
        "began": {"type": "str", "default": ""},
        "needed_bytes": {"type": "int", "default": 0},
        "rto_seconds": {"type": "float"},
        "expected_system_digest": {"type": "str"},
        "wal_changes_segments": {"type": "int", "default": 64},
        "seed": {"type": "int"},
        "timeout": {"type": "int", "default": 7200},
        "archive_timeout": {"type": "int", "default": 120},
        "stream_timeout": {"type": "int", "default": 60},
        "lock_timeout": {"type": "int", "default": 0},
    }
    needs_target = [("target_type", kind, ["target"]) for kind in ("time", "lsn", "name")]
    run("restore_in_place", CELLS, {**SERVER_OPTIONS, **REPOSITORY_OPTIONS, **own}, required_if=needs_target)


if __name__ == "__main__":
    main()
