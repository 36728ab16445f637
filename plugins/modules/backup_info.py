#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: Lists the backups in a repository and the window they allow
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Lists what the repository holds, complete or not, from any host that reaches it.
  - With O(window) it reads the newest archived WAL, which tells how far a restore can go.
extends_documentation_fragment:
  - boringdb.ops.repository
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
options:
  engine:
    description: The database engine of the backups.
    type: str
    default: postgresql
    choices: [postgresql]
  bin_dir:
    description: Where the server programs lie. When it is left out, the packages' places are searched.
    type: path
  window:
    description: Whether to tell the window of targets that the newest sound backup allows.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: How far can we go back, and how far forward?
  become: true
  become_user: postgres
  boringdb.ops.backup_info:
    tool: pgbackrest
    stanza: orders
    window: true
"""

RETURN = r"""
backups:
  description:
    - The backups, the oldest first, shaped as M(boringdb.ops.backup) returns one; C(problem) tells why one is unusable.
  returned: success
  type: list
  elements: dict
repositories:
  description:
    - The health of every repository that pgBackRest knows here, or of O(repository) alone. Empty with O(tool=native).
    - Also returned when the module fails because none can be read.
  returned: success
  type: list
  elements: dict
  contains:
    repository:
      description: Its number.
      type: int
    reachable:
      description: Whether it could be read.
      type: bool
    problem:
      description: Why nothing can be restored from it, empty where something can.
      type: str
    encrypted:
      description: Whether it is encrypted.
      type: bool
    backups:
      description: How many backups it holds.
      type: int
    latest:
      description: Label of the newest one.
      type: str
    latest_finished:
      description: When that ended, UTC.
      type: str
    wal:
      description: The newest archived WAL segment. One repository that lags behind the others is not archived to.
      type: str
window:
  description: The window of the newest sound backup, with O(window=true).
  returned: success
  type: dict
  contains:
    label:
      description: The backup.
      type: str
    start:
      description: The earliest target time, UTC.
      type: str
    start_lsn:
      description: The earliest target position.
      type: str
    end:
      description: The last archived commit's time, null when there is none since the backup.
      type: str
    end_lsn:
      description: The last archived commit's position.
      type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.backup_info import backup_info
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import REPOSITORY_OPTIONS

CELLS: Cells = {"postgresql": backup_info}


def main() -> None:
    """Run the module."""
    own = {
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "bin_dir": {"type": "path"},
        "window": {"type": "bool", "default": False},
    }
    run("backup_info", CELLS, {**REPOSITORY_OPTIONS, **own})


if __name__ == "__main__":
    main()
