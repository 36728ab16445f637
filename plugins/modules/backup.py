#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Takes an online physical backup of a database server
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Takes one backup while the server works, and returns it as the repository then shows it.
  - It first has one WAL segment archived, and refuses when the archive is broken. A backup without WAL restores to
    nothing.
  - The backup appears under its label only when it is whole. What a killed run leaves is removed by the next.
  - With O(tool=native) it runs on the primary. With O(tool=pgbackrest) it runs where pgBackRest's repository is.
  - With O(tool=pgbackrest) it then has retention remove old backups, but never the one that was verified last, nor
    what that one builds on.
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
  type:
    description:
      - A V(full) backup, or V(incr), what changed since the last one.
      - With O(tool=native), V(incr) needs PostgreSQL 17 and the setting C(summarize_wal). It builds on the newest
        backup in the repository that this server has come from.
    type: str
    choices: [full, incr]
    default: full
  checkpoint:
    description: With O(tool=native), V(fast) starts at once, V(spread) waits for the next regular checkpoint.
    type: str
    choices: [fast, spread]
    default: fast
  archive_timeout:
    description: How long to wait for a WAL segment to be archived, in seconds.
    type: int
    default: 60
  lock_timeout:
    description: How long to wait for another operation on the repository to end, in seconds. V(0) refuses at once.
    type: int
    default: 0
  standby:
    description: With O(tool=pgbackrest), copy the data files from a replica. It fails when none streams.
    type: bool
    default: false
  expire:
    description: With O(tool=pgbackrest), whether retention removes old backups after the new one is complete.
    type: bool
    default: true
  verified:
    description:
      - Labels of backups that were proven by a restore, the newest proof first. Those of other repositories are
        ignored.
      - The first of them that the repository holds is never removed, nor what it builds on.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Take a backup with PostgreSQL's own tools
  become: true
  become_user: postgres
  boringdb.ops.backup:
    data_dir: /var/lib/postgresql/15/main
    tool: native
    backup_path: /srv/backup/orders/backup
    wal_path: /srv/backup/orders/wal

- name: Take what has changed since
  become: true
  become_user: postgres
  boringdb.ops.backup:
    data_dir: /var/lib/postgresql/17/main
    tool: native
    type: incr
    backup_path: /srv/backup/orders/backup
    wal_path: /srv/backup/orders/wal

- name: Take one into the second repository, and keep what was verified
  become: true
  become_user: postgres
  boringdb.ops.backup:
    data_dir: /var/lib/postgresql/15/main
    tool: pgbackrest
    stanza: orders
    repository: 2
    verified: [20260131-020003F]
"""

RETURN = r"""
backup:
  description: The backup, null in check mode.
  returned: success
  type: dict
  contains:
    label:
      description: Its name.
      type: str
    type:
      description: V(full) or V(incr).
      type: str
    started:
      description: When it began, UTC.
      type: str
    finished:
      description: When it was consistent, UTC.
      type: str
    timeline:
      description: The timeline it was taken on.
      type: int
    start_lsn:
      description: Where recovery begins.
      type: str
    stop_lsn:
      description: Where it became consistent, the earliest target.
      type: str
    bytes:
      description: Its size when restored.
      type: int
    system_identifier:
      description: The cluster it is of.
      type: str
    manifest_sha256:
      description: The SHA-256 of the backup's manifest, its digest in evidence.
      type: str
    repository:
      description: The number of the repository that holds it, V(0) with O(tool=native).
      type: int
    prior:
      description: Label of the backup that an incremental one builds on, empty for a full one.
      type: str
    seconds:
      description: How long the tool took.
      type: float
expiry:
  description: What retention did, null in check mode and with O(expire=false).
  returned: O(tool=pgbackrest)
  type: dict
  contains:
    repository:
      description: The number of the repository.
      type: int
    removed:
      description: Labels of the backups that were removed.
      type: list
      elements: str
    kept:
      description: Labels of those that would have gone by number, and were kept for the verified one.
      type: list
      elements: str
    verified:
      description: The backup that was verified last, empty where none of the repository's was.
      type: str
    reason:
      description: Why, in one line.
      type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.backup import backup
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": backup}


def main() -> None:
    """Run the module."""
    own = {
        "type": {"type": "str", "choices": ["full", "incr"], "default": "full"},
        "checkpoint": {"type": "str", "choices": ["fast", "spread"], "default": "fast"},
        "archive_timeout": {"type": "int", "default": 60},
        "lock_timeout": {"type": "int", "default": 0},
        "standby": {"type": "bool", "default": False},
        "expire": {"type": "bool", "default": True},
        "verified": {"type": "list", "elements": "str"},
    }
    run("backup", CELLS, {**SERVER_OPTIONS, **REPOSITORY_OPTIONS, **own})


if __name__ == "__main__":
    main()
