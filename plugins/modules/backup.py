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
    description: A V(full) backup, or with O(tool=pgbackrest) also V(incr), what changed since the last one.
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
    seconds:
      description: How long the tool took.
      type: float
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
    }
    run("backup", CELLS, {**SERVER_OPTIONS, **REPOSITORY_OPTIONS, **own})


if __name__ == "__main__":
    main()
