#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Restores a backup to a point in time as an isolated copy
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Brings a backup and its WAL back to a target in an empty place, starts the copy, and tells what was reached.
  - It works from access to the repository alone. No source host is asked.
  - It refuses before anything is touched, with every reason, a target outside the window with the window.
  - The copy is isolated. It archives nothing, subscribes to nothing, loads no libraries and listens on its socket only.
  - The host removes the copy by itself when O(ttl_seconds) are over.
extends_documentation_fragment:
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
  engine:
    description: The database engine of the backup.
    type: str
    default: postgresql
    choices: [postgresql]
  state:
    description:
      - V(present) restores; a copy that a killed run left in O(data_dir) is removed first.
      - V(absent) stops and removes a copy. It never removes a data directory that a restore did not put there.
    type: str
    choices: [present, absent]
    default: present
  data_dir:
    description: Where the copy goes. It must be empty or missing.
    type: path
    required: true
  bin_dir:
    description:
      - Where the server programs lie. When it is left out, the packages' place for the backup's version is taken.
    type: path
  port:
    description: The copy's port, which names its socket.
    type: int
    default: 5499
  socket_dir:
    description: The directory of the copy's socket. Only the copy's account may enter it.
    type: path
    required: true
  login_user:
    description: The database account that the copy is examined with.
    type: str
    default: postgres
  login_db:
    description: The database the module connects to.
    type: str
    default: postgres
  backup:
    description: Which backup to restore, V(latest), V(random) among the sound ones, or a label.
    type: str
    default: latest
  target_type:
    description:
      - V(latest) replays all WAL there is. V(immediate) stops where the backup is consistent.
      - V(time), V(lsn) and V(name) stop at O(target). V(random) chooses a commit in the window, V(latest) where there
        is none.
    type: str
    choices: [latest, immediate, time, lsn, name, random]
    default: latest
  target:
    description: A time with its zone, an LSN, or the name of a restore point.
    type: str
  target_timeline:
    description: V(latest), V(current) (the backup's) or a number.
    type: str
    default: latest
  seed:
    description: Makes the random choices repeatable. The one that was used is returned.
    type: int
  expected_system_digest:
    description: The SHA-256 of the system identifier that the backup must be of.
    type: str
  source_snapshot:
    description:
      - What C(pg_current_snapshot(\)) says at the source, where it could be asked. It tells a source that is idle, or
        whose transactions are still open, from a stuck archive.
    type: str
  source_wal_file:
    description:
      - The WAL segment that the source writes to, where it could be asked. When the archive holds all before it, what
        it lacks is at most O(source_archive_timeout) old, whatever the age of its newest commit.
    type: str
  source_archive_timeout:
    description: The source's C(archive_timeout) in seconds, V(0) where it has none.
    type: int
    default: 0
  rto_seconds:
    description: The longest time the restore may take, as an objective that the copy is judged by.
    type: float
  rpo_seconds:
    description: The highest age of the newest archived commit, as an objective that the copy is judged by.
    type: float
  settings:
    description: Settings of the copy, for example V(shared_buffers). Those that isolate it can't be changed.
    type: dict
    default: {}
  wal_changes_segments:
    description: Up to how many WAL segments are read to count the changes per relation. V(0) turns it off.
    type: int
    default: 64
  verify_repository:
    description:
      - With O(tool=pgbackrest), whether pgBackRest reads the whole stored stanza and compares it with its checksums.
        The time grows with the repository.
      - A native backup's bytes are checked by M(boringdb.ops.verify).
    type: bool
    default: false
  ttl_seconds:
    description: After how many seconds the host removes the copy by itself.
    type: int
    default: 14400
  claim:
    description:
      - Names the run that a copy belongs to.
      - With O(state=absent), only a copy of the same O(claim) is kept or removed. Without it, whichever is there.
    type: str
  hand_over_seconds:
    description:
      - For how many seconds after it is up the copy is kept for the next step of the run that O(claim) names.
      - A restore of another run waits as long for M(boringdb.ops.verify) to begin, and then removes the copy.
    type: int
    default: 0
  keep:
    description: With O(state=absent), leaves the copy for its time to live, for a person to look at.
    type: bool
    default: false
  masking:
    description:
      - With O(keep=true), what is run on the copy before it is left, in one transaction a step. Tables of which rows
        were changed or deleted are rewritten, so that nothing of these rows stays in them.
      - A copy that was stopped is started for that. One that can't be masked is removed instead of kept.
      - What the copy's own WAL still holds of these rows, only the account that owns its files can read.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: The database.
        type: str
        required: true
      statements:
        description: SQL statements, in their order.
        type: list
        elements: str
        required: true
  require_encrypted:
    description:
      - Refuses a place that is neither on an encrypted device (dm-crypt, also below LVM or RAID) nor in memory.
      - What the kernel does not tell, such as ZFS's own encryption, counts as not encrypted.
    type: bool
    default: false
  wipe:
    description:
      - Whoever removes the copy overwrites its files first, the host at the end of O(ttl_seconds), too. It takes as
        long as writing the copy once.
      - On solid-state disks and file systems that copy on write old blocks may stay. There, only encryption helps.
    type: bool
    default: false
  replicas_dir:
    description:
      - A directory beside O(data_dir) in which other servers are going to be made from the copy. It must be empty or
        missing. Whoever removes the copy first ends what works in it, and removes all of it, and what has come to lie
        beside O(data_dir) under its name.
    type: path
  timeout:
    description: How long recovery may take, in seconds; and, with O(masking), the start of a copy that was stopped.
    type: int
    default: 7200
  lock_timeout:
    description: How long to wait for another operation on O(data_dir) to end, in seconds. V(0) refuses at once.
    type: int
    default: 0
requirements:
  - psycopg >= 3.1 on the host
"""

EXAMPLES = r"""
- name: Restore to the moment before the accident
  become: true
  become_user: postgres
  boringdb.ops.restore:
    tool: pgbackrest
    stanza: orders
    data_dir: /var/lib/boringdb/orders/data
    socket_dir: /var/lib/boringdb/orders/run
    target_type: time
    target: "2026-11-21 08:59:59+00"

- name: Remove the copy
  become: true
  become_user: postgres
  boringdb.ops.restore:
    tool: pgbackrest
    stanza: orders
    data_dir: /var/lib/boringdb/orders/data
    socket_dir: /var/lib/boringdb/orders/run
    state: absent
"""

RETURN = r"""
backup:
  description: The backup that was restored, shaped as M(boringdb.ops.backup) returns one.
  returned: when O(state=present)
  type: dict
backup_directory:
  description: Where that backup lies as a plain directory, empty where it does not.
  returned: when O(state=present)
  type: str
tool_version:
  description: The backup tool's version on this host.
  returned: when O(state=present)
  type: str
window:
  description: The window of targets, shaped as M(boringdb.ops.backup_info) returns it.
  returned: when O(state=present)
  type: dict
target:
  description: The target, with C(type), C(value) and C(timeline).
  returned: when O(state=present)
  type: dict
reached:
  description: Where recovery ended, with C(lsn), C(time) of the last replayed commit, C(timeline) and C(next_xid).
  returned: when O(state=present) and not in check mode
  type: dict
started:
  description: When the restore began, UTC.
  returned: when O(state=present)
  type: str
restore_seconds:
  description: How long laying down the files took.
  returned: when O(state=present) and not in check mode
  type: float
recovery_seconds:
  description: How long recovery took, until the copy accepted a query.
  returned: when O(state=present) and not in check mode
  type: float
rto_seconds:
  description: From the start to the first query that the promoted copy answered.
  returned: when O(state=present) and not in check mode
  type: float
rpo_seconds:
  description: The age of the newest archived commit when the restore began.
  returned: when O(state=present) and not in check mode
  type: float
wal_changes:
  description:
    - Rows inserted and deleted per relation file since the backup's manifest, null where they were not counted.
  returned: when O(state=present) and not in check mode
  type: dict
system_digest:
  description: The SHA-256 of the backup's system identifier.
  returned: when O(state=present)
  type: str
seconds:
  description: How long the removal took.
  returned: when O(state=absent)
  type: float
kept_until:
  description: When the host removes the copy that was left, UTC.
  returned: when O(state=absent) and O(keep=true)
  type: str
masked:
  description: The tables that were rewritten after they were masked, as database.schema.table.
  returned: when O(state=absent), O(keep=true) and O(masking) is given
  type: list
  elements: str
not_kept:
  description: Why the copy was removed instead of kept.
  returned: when it could not be masked
  type: str
seed:
  description: The seed of the random choices.
  returned: when O(state=present)
  type: int
checks:
  description: Every proof that was tried, by name. It is also returned when the module fails.
  returned: when O(state=present)
  type: list
  elements: dict
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore import restore

CELLS: Cells = {"postgresql": restore}
TARGETS = ["latest", "immediate", "time", "lsn", "name", "random"]
MASKING = {
    "database": {"type": "str", "required": True},
    "statements": {"type": "list", "elements": "str", "required": True},
}


def main() -> None:
    """Run the module."""
    own = {
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "data_dir": {"type": "path", "required": True},
        "bin_dir": {"type": "path"},
        "port": {"type": "int", "default": 5499},
        "socket_dir": {"type": "path", "required": True},
        "login_user": {"type": "str", "default": "postgres"},
        "login_db": {"type": "str", "default": "postgres"},
        "backup": {"type": "str", "default": "latest"},
        "target_type": {"type": "str", "choices": TARGETS, "default": "latest"},
        "target": {"type": "str"},
        "target_timeline": {"type": "str", "default": "latest"},
        "seed": {"type": "int"},
        "expected_system_digest": {"type": "str"},
        "source_snapshot": {"type": "str"},
        "source_wal_file": {"type": "str"},
        "source_archive_timeout": {"type": "int", "default": 0},
        "rto_seconds": {"type": "float"},
        "rpo_seconds": {"type": "float"},
        "settings": {"type": "dict", "default": {}},
        "wal_changes_segments": {"type": "int", "default": 64},
        "verify_repository": {"type": "bool", "default": False},
        "ttl_seconds": {"type": "int", "default": 14400},
        "claim": {"type": "str"},
        "hand_over_seconds": {"type": "int", "default": 0},
        "keep": {"type": "bool", "default": False},
        "masking": {"type": "list", "elements": "dict", "default": [], "options": MASKING},
        "require_encrypted": {"type": "bool", "default": False},
        "wipe": {"type": "bool", "default": False},
        "replicas_dir": {"type": "path"},
        "timeout": {"type": "int", "default": 7200},
        "lock_timeout": {"type": "int", "default": 0},
    }
    needs_target = [("target_type", kind, ["target"]) for kind in ("time", "lsn", "name")]
    run("restore", CELLS, {**REPOSITORY_OPTIONS, **own}, required_if=needs_target)


if __name__ == "__main__":
    main()
