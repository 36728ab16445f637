#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Proves what a backup brought back
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Run it on a restored, started and promoted copy, as the account that owns the copy.
  - Reads every relation once, compares what was not changed since the backup with the manifest that
    M(boringdb.ops.backup_manifest) put into the backup, and asks the questions that the options add.
  - A failed check does not fail the module. Read RV(verdict).
  - A check that could not run is V(skipped), never V(passed). A required check that was skipped makes the verdict
    V(error).
  - Apart from a C(CHECKPOINT), the extension amcheck with O(structure), and the stop with O(page_checksums), the copy
    is left as it is.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is installed, stopped or checkpointed. What depends on that is skipped.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
options:
  manifest:
    description:
      - The manifest to compare with.
      - When it is left out, C(boringdb/manifest.json) in O(data_dir) is taken. Without that, what needs a manifest is
        skipped and not required unless O(required) names it.
    type: path
  backup_dir:
    description:
      - A native backup (made by pg_basebackup) in the repository, to run pg_verifybackup on.
      - Of an incremental one, every backup beside it that it builds on is read, too.
    type: path
  required:
    description:
      - Checks that must pass for V(verified), whatever their default is.
      - The names are V(backup_bytes), V(relations_readable), V(relations_exact), V(relations_bounded), V(sequences),
        V(databases), V(roles), V(schemas), V(extensions), V(functions), V(grants), V(settings), V(collations),
        V(expected_objects), V(heartbeat), V(structure), V(page_checksums), and V(invariant:NAME) and V(canary:NAME) for
        those of O(invariants) and O(canaries).
    type: list
    elements: str
    default: []
  optional:
    description: Checks that the verdict shall not depend on, whatever their default is.
    type: list
    elements: str
    default: []
  invariants:
    description: Queries whose answer is known. They run in a read-only session.
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
        description: A query with a defined order.
        type: str
        required: true
      expected:
        description:
          - The answer, compared as text.
          - One value, a list of values for rows of one column, or a list of lists.
        type: raw
        required: true
  canaries:
    description: Queries whose answer must have a known digest.
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
        description: The query. To be compared with the manifest, it must be the one that was recorded there.
        type: str
        required: true
      sha256:
        description: The SHA-256 of the answer as C(COPY (query) TO STDOUT) writes it. The manifest's when left out.
        type: str
  heartbeat:
    description: A query for the newest sign of life that the source wrote.
    type: dict
    suboptions:
      database:
        description: The database to ask.
        type: str
        required: true
      query:
        description: A query for one timestamp.
        type: str
        required: true
      max_age_seconds:
        description: How old it may be.
        type: float
        required: true
      reference_time:
        description: The moment to count from. O(reached_time) when left out, and now without that.
        type: str
  expected_objects:
    description: Objects that must always be there, with or without a manifest.
    type: dict
    suboptions:
      roles:
        description: Names of roles.
        type: list
        elements: str
      databases:
        description: Names of databases.
        type: list
        elements: str
      schemas:
        description: Schemas.
        type: list
        elements: dict
        suboptions: &named
          database:
            description: The database it is in.
            type: str
            required: true
          name:
            description: Its name, written as in SQL. A function's with its argument types.
            type: str
            required: true
      relations:
        description: Tables, views, sequences, indexes.
        type: list
        elements: dict
        suboptions: *named
      functions:
        description: Functions.
        type: list
        elements: dict
        suboptions: *named
      extensions:
        description: Extensions.
        type: list
        elements: dict
        suboptions: *named
      grants:
        description: Privileges.
        type: list
        elements: dict
        suboptions:
          database:
            description: The database to ask.
            type: str
            required: true
          role:
            description: Who has the privilege, directly or through a membership.
            type: str
            required: true
          privilege:
            description: The privilege.
            type: str
            required: true
          type:
            description: The kind of object.
            type: str
            choices: [table, sequence, function, schema, database]
            required: true
          name:
            description: The object's name, written as in SQL.
            type: str
            required: true
  wal_changes:
    description:
      - How many rows the log inserted and deleted, from the manifest's position to where recovery ended, or in more of
        the log than that. Keys are files as pg_waldump writes them (V(1663/5/16390)).
      - Values are dictionaries of V(inserts), V(deletes), V(updates) (numbers of rows) and V(truncated) (a boolean).
      - A changed relation that it does not name must have the manifest's number of rows.
    type: dict
  wal_changes_complete:
    description:
      - Whether O(wal_changes) names every relation with an inserted, updated or deleted row.
      - Then a relation that it does not name must equal the manifest, also where its pages were written to since.
    type: bool
    default: false
  reached_lsn:
    description: The log position that recovery reached. A manifest of a later position cannot be compared with.
    type: str
  reached_time:
    description: The time that recovery reached.
    type: str
  time_budget:
    description:
      - How many seconds reading may take. V(0) is without a limit.
      - Small relations are read first. What is not reached makes V(relations_readable) skipped; see O(min_coverage).
    type: int
    default: 0
  min_coverage:
    description: The part of the bytes (from 0 to 1) that must have been read for V(relations_readable) to pass.
    type: float
    default: 1.0
  jobs:
    description: How many connections read at the same time, and how many pg_amcheck uses.
    type: int
    default: 2
  structure:
    description:
      - Whether to run pg_amcheck.
      - It needs the server's contrib package on this host. The extension amcheck is installed in the copy's databases.
    type: bool
    default: true
  heapallindexed:
    description: Whether pg_amcheck also looks for every row in every index. That takes several times as long.
    type: bool
    default: false
  page_checksums:
    description: Whether to stop the server at the end and run pg_checksums. It stays stopped.
    type: bool
    default: false
  claim:
    description: The run whose copy this must be, as M(boringdb.ops.restore) was given it. Any copy when left out.
    type: str
  options_only:
    description: Whether to refuse options that cannot be right, before there is a copy, and to do nothing else.
    type: bool
    default: false
  timeout:
    description: How many seconds one program or one of the options' queries may take.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Prove what the backup brought back
  boringdb.ops.verify:
    data_dir: /var/lib/boringdb/drill/data
    port: 5499
    socket_dir: /var/lib/boringdb/drill
    backup_dir: /backup/orders/20261001T030000Z
    page_checksums: true
    invariants:
      - name: books_balance
        database: shop
        query: SELECT sum(debit) = sum(credit) FROM ledger
        expected: true
    heartbeat:
      database: shop
      query: SELECT max(at) FROM heartbeat
      max_age_seconds: 300
  register: verified

- name: Stop here unless it is proven
  ansible.builtin.assert:
    that: verified.verdict == 'verified'
"""

RETURN = r"""
checks:
  description: Every check with its result.
  returned: success and not O(options_only)
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    required: {description: Whether the verdict depends on it., type: bool}
    status: {description: "V(passed), V(failed) or V(skipped).", type: str}
    expected: {description: What should have been found., type: raw}
    actual: {description: What was found., type: raw}
    seconds: {description: How long it took., type: float}
    message: {description: One line that names the cause., type: str}
verdict:
  description: V(verified), V(failed) or V(error).
  returned: success and not O(options_only)
  type: str
rows_checked:
  description: How many rows were read.
  returned: success and not O(options_only)
  type: int
relations_checked:
  description: How many relations were read to their end.
  returned: success and not O(options_only)
  type: int
relations_exact:
  description: How many relations equal the manifest, by rows and hash.
  returned: success and not O(options_only)
  type: int
relations_total:
  description: How many relations there are.
  returned: success and not O(options_only)
  type: int
coverage:
  description: How much was read and how much could be compared.
  returned: success and not O(options_only)
  type: dict
  sample:
    relations_total: 40
    relations_read: 40
    bytes_total: 3221225472
    bytes_read: 3221225472
    fraction: 1.0
    exact: 31
    different: 0
    changed: 7
    bounded: 7
    busy: 1
    rewritten: 0
    new: 1
    not_counted: 0
    dropped: 0
    not_read: 0
manifest_taken_at:
  description: When the manifest was taken; empty without one.
  returned: success and not O(options_only)
  type: str
server_stopped:
  description: Whether O(page_checksums) has stopped the server.
  returned: success and not O(options_only)
  type: bool
seconds:
  description: How long it took.
  returned: success and not O(options_only)
  type: float
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify import verify

CELLS: Cells = {"postgresql": verify}
OBJECT_TYPES = ["table", "sequence", "function", "schema", "database"]


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    names = {"type": "list", "elements": "str"}
    query = {"name": text, "database": text, "query": text}
    named = {"type": "list", "elements": "dict", "options": {"database": text, "name": text}}
    grant = {
        "database": text,
        "role": text,
        "privilege": text,
        "type": {"type": "str", "choices": OBJECT_TYPES, "required": True},
        "name": text,
    }
    objects = {
        "roles": names,
        "databases": names,
        "schemas": named,
        "relations": named,
        "functions": named,
        "extensions": named,
        "grants": {"type": "list", "elements": "dict", "options": grant},
    }
    heartbeat = {
        "database": text,
        "query": text,
        "max_age_seconds": {"type": "float", "required": True},
        "reference_time": {"type": "str"},
    }
    rows = {"type": "list", "elements": "dict", "default": []}
    own = {
        "manifest": {"type": "path"},
        "backup_dir": {"type": "path"},
        "required": {**names, "default": []},
        "optional": {**names, "default": []},
        "invariants": {**rows, "options": {**query, "expected": {"type": "raw", "required": True}}},
        "canaries": {**rows, "options": {**query, "sha256": {"type": "str"}}},
        "heartbeat": {"type": "dict", "options": heartbeat},
        "expected_objects": {"type": "dict", "options": objects},
        "wal_changes": {"type": "dict"},
        "wal_changes_complete": {"type": "bool", "default": False},
        "reached_lsn": {"type": "str"},
        "reached_time": {"type": "str"},
        "time_budget": {"type": "int", "default": 0},
        "min_coverage": {"type": "float", "default": 1.0},
        "jobs": {"type": "int", "default": 2},
        "structure": {"type": "bool", "default": True},
        "heapallindexed": {"type": "bool", "default": False},
        "page_checksums": {"type": "bool", "default": False},
        "claim": {"type": "str"},
        "options_only": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 3600},
    }
    run("verify", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
