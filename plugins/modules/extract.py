#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: extract
short_description: Takes one database, schema or table out of a restored copy or a logical dump
version_added: 0.2.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Writes a database or a table of a running copy, as M(boringdb.ops.restore) makes one, into a file of C(pg_dump)'s
    custom format, reads the file back, and compares the number of rows of every table.
  - Loads such a file into a server under another name, and never over something that is there.
  - With O(dump_path) it loads a part of a logical dump, as M(boringdb.ops.dump) takes one, without a copy.
extends_documentation_fragment:
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
    description: The database engine.
    type: str
    default: postgresql
    choices: [postgresql]
  state:
    description:
      - V(dumped) runs where the copy is, and writes O(dest).
      - V(loaded) runs where the server is, and loads O(dest).
    type: str
    choices: [dumped, loaded]
    default: dumped
  data_dir:
    description: The data directory of the copy, or of the server.
    type: path
    required: true
  bin_dir:
    description: Where C(pg_dump) and C(pg_restore) lie. When it is left out, the packages' place for the version.
    type: path
  port:
    description: The port, which names the socket.
    type: int
    default: 5499
  socket_dir:
    description: The directory of the socket.
    type: path
    required: true
  login_user:
    description: The database account to connect with.
    type: str
    default: postgres
  login_db:
    description: The database the module connects to first.
    type: str
    default: postgres
  database:
    description: The database that is extracted, or that holds the table, or that the table is loaded into.
    type: str
    required: true
  table:
    description: One table, written as in SQL (V(public.customers)). The whole database when it is left out.
    type: str
  schema:
    description: One schema, by its bare name. Only with O(dump_path).
    type: str
  as_schema:
    description:
      - The schema that the table is loaded into. It is moved there in the copy, before it is written.
      - With O(schema), the name of the new schema.
    type: str
  as_database:
    description: With O(state=loaded), the name of the new database for a whole one.
    type: str
  dest:
    description: The file, with mode 0600. It must not be there yet. Required unless O(dump_path) is given.
    type: path
  dump_path:
    description: With O(state=loaded), the directory that holds the cluster's logical dumps.
    type: path
  dump_label:
    description: With O(dump_path), which dump, V(latest) or a label.
    type: str
    default: latest
  privileges:
    description: With O(dump_path), whether owners, privileges and row security come back, too.
    type: bool
    default: false
  roles:
    description: With O(privileges), whether roles that are missing are created, without a login.
    type: bool
    default: false
  jobs:
    description: With O(dump_path), how many tables are loaded at a time.
    type: int
    default: 2
  lock_timeout:
    description: How long to wait for another operation on O(data_dir) to end, in seconds. V(0) refuses at once.
    type: int
    default: 0
requirements:
  - psycopg >= 3.1 on the host
"""

EXAMPLES = r"""
- name: Take the table out of the copy
  become: true
  become_user: postgres
  boringdb.ops.extract:
    data_dir: /var/lib/boringdb/extract/orders/data
    socket_dir: /var/lib/boringdb/extract/orders/run
    database: shop
    table: public.customers
    dest: /var/lib/boringdb/customers.dump

- name: Load a schema of the newest logical dump beside the one that is there
  become: true
  become_user: postgres
  boringdb.ops.extract:
    state: loaded
    data_dir: /var/lib/postgresql/16/main
    socket_dir: /var/run/postgresql
    port: 5432
    dump_path: /mnt/dumps/orders
    database: shop
    schema: ledger
    as_schema: ledger_yesterday
    privileges: true
"""

RETURN = r"""
label:
  description: The dump that it came from.
  returned: when O(dump_path) is given
  type: str
roles:
  description: The roles that were created.
  returned: when O(dump_path) is given
  type: list
  elements: str
path:
  description: The file.
  returned: when O(state=dumped)
  type: str
bytes:
  description: Its size.
  returned: when O(state=dumped) and not in check mode
  type: int
sha256:
  description: Its digest.
  returned: when O(state=dumped) and not in check mode
  type: str
database:
  description: Where it was loaded.
  returned: when O(state=loaded)
  type: str
tables:
  description: The rows of every table, by its name.
  returned: when not in check mode
  type: dict
rows:
  description: The rows of all of them.
  returned: when not in check mode
  type: int
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.extract import extract

CELLS: Cells = {"postgresql": extract}


def main() -> None:
    """Run the module."""
    spec = {
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "state": {"type": "str", "choices": ["dumped", "loaded"], "default": "dumped"},
        "data_dir": {"type": "path", "required": True},
        "bin_dir": {"type": "path"},
        "port": {"type": "int", "default": 5499},
        "socket_dir": {"type": "path", "required": True},
        "login_user": {"type": "str", "default": "postgres"},
        "login_db": {"type": "str", "default": "postgres"},
        "database": {"type": "str", "required": True},
        "table": {"type": "str"},
        "schema": {"type": "str"},
        "as_schema": {"type": "str"},
        "as_database": {"type": "str"},
        "dest": {"type": "path"},
        "dump_path": {"type": "path"},
        "dump_label": {"type": "str", "default": "latest"},
        "privileges": {"type": "bool", "default": False},
        "roles": {"type": "bool", "default": False},
        "jobs": {"type": "int", "default": 2},
        "lock_timeout": {"type": "int", "default": 0},
    }
    run("extract", CELLS, spec)


if __name__ == "__main__":
    main()
