#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_manifest
short_description: Writes down what a backup must bring back
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Run it on the server that is about to be backed up, right before the backup, as the account that owns the server.
  - Writes C(boringdb/manifest.json) into the data directory, so that every physical backup carries it, and copies the
    configuration files from outside the data directory to C(boringdb/config) beside it.
  - The manifest holds rows and hashes of the relations as far as the time budget reaches, sequences, roles, privileges,
    functions, extensions, schemas, databases and library versions. It holds no row's content and no secret.
  - M(boringdb.ops.verify) compares a restored copy with it.
  - On a standby, rows and hashes are taken as well, but a difference found later cannot be told from a change.
extends_documentation_fragment:
  - boringdb.ops.server
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
  time_budget:
    description:
      - How many seconds counting may take.
      - Small relations are counted first. What is not reached is in the manifest without a count.
    type: int
    default: 60
  jobs:
    description: How many connections count at the same time.
    type: int
    default: 2
  exclude_databases:
    description: Databases to leave out.
    type: list
    elements: str
    default: []
  canaries:
    description:
      - Queries whose answer must be the same in every restored copy.
      - Only the digests of the query and of its answer are recorded.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      database:
        description: The database to ask.
        type: str
        required: true
      query:
        description: A query with a defined order. It runs in a read-only session.
        type: str
        required: true
  host_files:
    description:
      - Patterns of files of the host that the backup is to carry, such as cron entries and a pooler's configuration.
      - Only what the account can read is copied, with a warning for what it can't.
      - Links and files above 1 MB are left out.
      - With any pattern, the account's own crontab is copied as well.
      - Nothing in a repository's own configuration belongs here, because it may hold the key of the repository.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds one query of the catalogue or one canary may take, and to wait for another run to end.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Write down what the backup must bring back
  become: true
  become_user: postgres
  boringdb.ops.backup_manifest:
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    time_budget: 120
    canaries:
      - name: first_invoices
        database: shop
        query: SELECT id, total FROM invoices WHERE id <= 1000 ORDER BY id
"""

RETURN = r"""
manifest:
  description: Where the manifest lies.
  returned: success
  type: str
sha256:
  description: The SHA-256 of the manifest.
  returned: when not in check mode
  type: str
lsn:
  description: The log position from which on a change counts as one after the backup.
  returned: when not in check mode
  type: str
  sample: 0/3000060
timeline:
  description: The server's timeline.
  returned: when not in check mode
  type: int
taken_at:
  description: When the position was taken, by the server's clock.
  returned: when not in check mode
  type: str
relations_total:
  description: Tables, leaf partitions and materialised views that a backup carries.
  returned: when not in check mode
  type: int
relations_counted:
  description: How many of them were counted and hashed.
  returned: when not in check mode
  type: int
relations_busy:
  description: How many were being written by a transaction that outlasted the start. They are not compared.
  returned: when not in check mode
  type: int
rows:
  description: How many rows were counted.
  returned: when not in check mode
  type: int
budget_exhausted:
  description: Whether O(time_budget) ended the counting.
  returned: when not in check mode
  type: bool
config_files:
  description: How many configuration files were copied into the data directory.
  returned: when not in check mode
  type: int
host_files:
  description: Which files of the host are among them.
  returned: when not in check mode
  type: list
  elements: str
  sample: [/etc/cron.d/orders, /etc/pgbouncer/pgbouncer.ini]
seconds:
  description: How long it took.
  returned: when not in check mode
  type: float
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.backup_manifest import backup_manifest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": backup_manifest}


def main() -> None:
    """Run the module."""
    canary = {name: {"type": "str", "required": True} for name in ("name", "database", "query")}
    own = {
        "time_budget": {"type": "int", "default": 60},
        "jobs": {"type": "int", "default": 2},
        "exclude_databases": {"type": "list", "elements": "str", "default": []},
        "canaries": {"type": "list", "elements": "dict", "default": [], "options": canary},
        "host_files": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "int", "default": 300},
    }
    run("backup_manifest", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
