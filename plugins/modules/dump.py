#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dump
short_description: Takes logical dumps of a PostgreSQL cluster, and proves them by loading
version_added: 0.2.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Writes every database with C(pg_dump), each under one snapshot, and roles, memberships and tablespaces with
    C(pg_dumpall). Under the same snapshot the rows of each table are counted and hashed, and owners and privileges of
    all objects are written down.
  - Proves a dump on another host. All of it is loaded into a scratch server that is removed in any case, and compared
    with what was written down.
  - Taking a dump always takes a new one.
extends_documentation_fragment:
  - boringdb.ops.attributes
  - boringdb.ops.server
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
      - V(taken) runs where the server is. O(data_dir) is the server's, which may be a streaming replica.
      - V(proven) runs where the scratch server may be. O(data_dir) is where it is made, and O(socket_dir) must be a
        directory of its own.
    type: str
    choices: [taken, proven]
    default: taken
  path:
    description:
      - The directory that holds one directory per dump, of one cluster. It must be there.
    type: path
    required: true
  label:
    description: With O(state=proven), which dump, V(latest) or a label.
    type: str
    default: latest
  databases:
    description: The databases to dump. When it is left out, all that take connections.
    type: list
    elements: str
  jobs:
    description: How many tables are written, or loaded, at a time.
    type: int
    default: 2
  compress:
    description:
      - How the dump is compressed. V(auto) takes V(zstd), else V(lz4), where PostgreSQL was built with it and its
        version, 16 at least, writes it; else V(gzip) at its fastest.
    type: str
    choices: [auto, none, gzip, lz4, zstd]
    default: auto
  passwords:
    description: Whether the roles' password hashes are in the dump.
    type: bool
    default: true
  hash:
    description: Whether the values of the rows are hashed, and not only counted.
    type: bool
    default: true
  lock_seconds:
    description: How long to wait for a table that another session has locked, in seconds.
    type: int
    default: 30
  keep:
    description: How many of the newest whole dumps are kept.
    type: int
    default: 7
  verified:
    description: Labels of dumps that were proven. The newest of them is kept beyond O(keep).
    type: list
    elements: str
  expire:
    description: Whether old dumps are removed at all.
    type: bool
    default: true
  settings:
    description: With O(state=proven), settings of the scratch server.
    type: dict
  ttl_seconds:
    description: With O(state=proven), after how many seconds the host removes the scratch server by itself.
    type: int
    default: 14400
  lock_timeout:
    description: How long to wait for another dump into O(path), or proof in O(data_dir), in seconds.
    type: int
    default: 0
requirements:
  - C(pg_dump) and C(pg_dumpall) as new as the server
"""

EXAMPLES = r"""
- name: Take a dump
  become: true
  become_user: postgres
  boringdb.ops.dump:
    data_dir: /var/lib/postgresql/16/main
    path: /mnt/dumps/orders

- name: Prove it elsewhere
  become: true
  become_user: postgres
  boringdb.ops.dump:
    state: proven
    path: /mnt/dumps/orders
    data_dir: /var/lib/boringdb/dump/orders/data
    socket_dir: /var/lib/boringdb/dump/orders/run
    port: 5497
"""

RETURN = r"""
dump:
  description: What was taken. Null in check mode.
  returned: when O(state=taken)
  type: dict
  contains:
    label:
      description: Its name.
      type: str
    path:
      description: Its directory.
      type: str
    manifest_sha256:
      description: The digest of its manifest, which holds the digests of all its files.
      type: str
    bytes:
      description: Its size.
      type: int
    database_bytes:
      description: The size of the databases.
      type: int
    databases:
      description: What it holds.
      type: list
      elements: str
    tables:
      description: How many tables were counted.
      type: int
    rows:
      description: Their rows.
      type: int
    roles:
      description: How many roles it holds.
      type: int
    system_digest:
      description: The SHA-256 of the cluster's system identifier.
      type: str
    server_version:
      description: The server's version.
      type: str
    tool_version:
      description: The version of C(pg_dump).
      type: str
    compress:
      description: How it is compressed.
      type: str
    standby:
      description: Whether it was taken on a replica.
      type: bool
    passwords:
      description: Whether it holds the roles' password hashes.
      type: bool
    started:
      description: When it was begun, UTC.
      type: str
    finished:
      description: When it was whole, UTC.
      type: str
    seconds:
      description: How long it took.
      type: float
databases:
  description: The databases of the dump.
  returned: success
  type: list
  elements: str
removed:
  description: The dumps that retention removed.
  returned: when O(state=taken) and not in check mode
  type: list
  elements: str
spared:
  description: The proven dump that was kept beyond O(keep), empty for none.
  returned: when O(state=taken) and not in check mode
  type: str
label:
  description: The dump that was proven.
  returned: when O(state=proven)
  type: str
manifest_sha256:
  description: The digest of its manifest.
  returned: when O(state=proven)
  type: str
checks:
  description: What was asked of it, also returned when the module fails. Empty in check mode.
  returned: when O(state=proven)
  type: list
  elements: dict
rows_checked:
  description: The rows that were counted after loading.
  returned: when O(state=proven), and anything was loaded
  type: int
load_seconds:
  description: How long loading took.
  returned: when O(state=proven), and anything was loaded
  type: float
seconds:
  description: How long the proof took.
  returned: when O(state=proven), and not in check mode
  type: float
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump import dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": dump}


def main() -> None:
    """Run the module."""
    spec = {
        **SERVER_OPTIONS,
        "state": {"type": "str", "choices": ["taken", "proven"], "default": "taken"},
        "path": {"type": "path", "required": True},
        "label": {"type": "str", "default": "latest"},
        "databases": {"type": "list", "elements": "str"},
        "jobs": {"type": "int", "default": 2},
        "compress": {"type": "str", "choices": ["auto", "none", "gzip", "lz4", "zstd"], "default": "auto"},
        "passwords": {"type": "bool", "default": True, "no_log": False},
        "hash": {"type": "bool", "default": True},
        "lock_seconds": {"type": "int", "default": 30},
        "keep": {"type": "int", "default": 7},
        "verified": {"type": "list", "elements": "str"},
        "expire": {"type": "bool", "default": True},
        "settings": {"type": "dict"},
        "ttl_seconds": {"type": "int", "default": 14400},
        "lock_timeout": {"type": "int", "default": 0},
    }
    run("dump", CELLS, spec)


if __name__ == "__main__":
    main()
