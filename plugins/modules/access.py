#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: access
short_description: Declares a database server's roles, databases, extensions and privileges
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Takes everything in one run, reads what is there, refuses whatever can't be before anything is changed, and
    then changes what
    differs. It uses one connection to each database.
  - A declared role is exactly what is declared, its memberships and settings included. Only its password is left
    alone when none is
    given. Roles, databases, schemas and extensions that are not declared are left alone.
  - Privileges are given and taken one by one. Those that nothing is declared of are left alone.
  - A password is hashed on the host, by libpq. The server receives a SCRAM-SHA-256 verifier and never the
    password. A stored verifier
    that is of the password stays.
  - No database, schema or extension is ever dropped.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
    details: Works before the server exists, too. Then everything is to be made.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  login_password:
    description: The password of O(login_user), where the local socket asks for one.
    type: str
  accounts:
    description:
      - Accounts for one job each, with the privileges that it needs and no more.
      - V(replication) may stream WAL. V(backup) may also run C(pg_basebackup) and pgBackRest's functions in
        O(login_db).
        V(monitoring) is a member of C(pg_monitor). V(drill) may read every table.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The role's name.
        type: str
        required: true
      job:
        description: What it is for.
        type: str
        choices: [replication, backup, monitoring, drill]
        required: true
      password:
        description: Its password. When it is left out, a stored one stays, and a new role has none.
        type: str
      connection_limit:
        description: How many sessions it may have, V(-1) for any number.
        type: int
        default: -1
      valid_until:
        description: When its password ends to be valid. Left out, it never does.
        type: str
  roles:
    description: Roles, with all of their attributes, memberships and settings.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The role's name.
        type: str
        required: true
      state:
        description:
          - V(absent) drops the role after its privileges were revoked.
          - It is refused while the role owns anything or has sessions.
        type: str
        choices: [present, absent]
        default: present
      password:
        description: Its password. When it is left out, a stored one stays, and a new role has none.
        type: str
      login:
        description: Whether it may log in.
        type: bool
        default: false
      superuser:
        description: Whether it may do anything.
        type: bool
        default: false
      createdb:
        description: Whether it may create databases.
        type: bool
        default: false
      createrole:
        description: Whether it may create roles.
        type: bool
        default: false
      inherit:
        description: Whether it has the privileges of the roles that it is a member of without C(SET ROLE).
        type: bool
        default: true
      replication:
        description: Whether it may replicate.
        type: bool
        default: false
      bypassrls:
        description: Whether row-level security does not hold for it.
        type: bool
        default: false
      connection_limit:
        description: How many sessions it may have, V(-1) for any number.
        type: int
        default: -1
      valid_until:
        description: When its password ends to be valid. Left out, it never does.
        type: str
      member_of:
        description: The roles that it is a member of. Other memberships are revoked.
        type: list
        elements: str
        default: []
      settings:
        description: Settings of its sessions. Others are reset. A value may be a list, for C(search_path).
        type: dict
        default: {}
  databases:
    description: Databases. One that is not listed is left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The database's name.
        type: str
        required: true
      owner:
        description: Its owner. Left out, the owner stays.
        type: str
      encoding:
        description: Its character encoding. It is refused where the database has another one.
        type: str
      locale:
        description: Its locale. It is refused where the database has another one.
        type: str
      template:
        description: What a new database is copied from. C(template0) where encoding or locale are given.
        type: str
  schemas:
    description: Schemas. One that is not listed is left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The schema's name.
        type: str
        required: true
      database:
        description: Where it is. O(login_db) when it is left out.
        type: str
      owner:
        description: Its owner. Left out, the owner stays.
        type: str
  extensions:
    description: Extensions. One that is not listed is left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The extension's name.
        type: str
        required: true
      database:
        description: Where it is. O(login_db) when it is left out.
        type: str
      schema:
        description: The schema of its objects. Left out, it stays where it is.
        type: str
      version:
        description: Its version. Left out, a new one gets the package's default, and one that is there stays.
        type: str
  grants:
    description: Privileges on what is there.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: Who gets them, V(PUBLIC) for everybody.
        type: str
        required: true
      state:
        description: V(absent) revokes them.
        type: str
        choices: [present, absent]
        default: present
      database:
        description: Where the objects are. O(login_db) when it is left out.
        type: str
      type:
        description: What kind of object. V(table) means views and foreign tables, too.
        type: str
        choices: [table, sequence, function, schema, database]
        required: true
      schema:
        description: The schema of tables, sequences and functions.
        type: str
      objects:
        description:
          - The objects' names. Functions with the types of their arguments, for example V(pg_switch_wal(\)).
          - Left out, all that are in the schema.
        type: list
        elements: str
        default: []
      privileges:
        description: The privileges, or V(ALL).
        type: list
        elements: str
        required: true
  default_privileges:
    description: Privileges on what a role will make.
    type: list
    elements: dict
    default: []
    suboptions:
      owner:
        description: The role that will make the objects.
        type: str
        required: true
      role:
        description: Who gets the privileges, V(PUBLIC) for everybody.
        type: str
        required: true
      state:
        description: V(absent) takes them away.
        type: str
        choices: [present, absent]
        default: present
      database:
        description: Where the objects will be. O(login_db) when it is left out.
        type: str
      type:
        description: What kind of object.
        type: str
        choices: [table, sequence, function, type, schema]
        required: true
      schema:
        description: In which schema. Left out, in all.
        type: str
      privileges:
        description: The privileges, or V(ALL).
        type: list
        elements: str
        required: true
notes:
  - As a superuser it can do everything. A O(login_user) with CREATEROLE can manage roles from PostgreSQL 16 on,
    with CREATEDB it can
    make databases. What it may not do is refused, or undone with the server's own words.
  - It refuses on a replica.
"""

EXAMPLES = r"""
- name: What the shop needs
  become: true
  become_user: postgres
  boringdb.ops.access:
    data_dir: /var/lib/postgresql/15/main
    roles:
      - {name: shop}
      - {name: shop_a, login: true, password: "{{ shop_password }}", member_of: [shop], settings: {role: shop}}
      - {name: report, login: true, password: "{{ report_password }}", connection_limit: 5}
    databases:
      - {name: shop, owner: shop}
    schemas:
      - {name: app, database: shop, owner: shop}
    extensions:
      - {name: pg_stat_statements, database: shop}
    grants:
      - {role: PUBLIC, state: absent, database: shop, type: database, privileges: [CONNECT, TEMPORARY]}
      - {role: report, database: shop, type: database, privileges: [CONNECT]}
      - {role: report, database: shop, type: schema, objects: [app], privileges: [USAGE]}
      - {role: report, database: shop, type: table, schema: app, privileges: [SELECT]}
    default_privileges:
      - {owner: shop, role: report, database: shop, type: table, schema: app, privileges: [SELECT]}

- name: An account that may look and not touch
  become: true
  become_user: postgres
  boringdb.ops.access:
    data_dir: /var/lib/postgresql/15/main
    accounts:
      - {name: monitor, job: monitoring, password: "{{ monitor_password }}", connection_limit: 5}
"""

RETURN = r"""
statements:
  description: What was sent, or would be, in its order. In the place of a password's verifier stands an ellipsis.
  returned: success
  type: list
  elements: str
  sample: ['CREATE DATABASE "shop" OWNER "shop"']
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access import access
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_accounts import JOBS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": access}
NAME = {"type": "str", "required": True}
TEXT = {"type": "str"}
NO = {"type": "bool", "default": False}
WORDS = {"type": "list", "elements": "str"}
STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}


def main() -> None:
    """Run the module."""
    login = {
        "name": NAME,
        "password": {"type": "str", "no_log": True},
        "connection_limit": {"type": "int", "default": -1},
        "valid_until": TEXT,
    }
    account = {**login, "job": {"type": "str", "choices": list(JOBS), "required": True}}
    role = {
        **login,
        "state": STATE,
        **dict.fromkeys(["login", "superuser", "createdb", "createrole", "replication", "bypassrls"], NO),
        "inherit": {"type": "bool", "default": True},
        "member_of": {**WORDS, "default": []},
        "settings": {"type": "dict", "default": {}},
    }
    database = {"name": NAME, **dict.fromkeys(["owner", "encoding", "locale", "template"], TEXT)}
    words = {**WORDS, "required": True}
    privileges = {"role": NAME, "state": STATE, "database": TEXT, "schema": TEXT, "privileges": words}
    kinds = ["table", "sequence", "function", "schema", "database"]
    grant = {
        **privileges,
        "type": {"type": "str", "choices": kinds, "required": True},
        "objects": {**WORDS, "default": []},
    }
    kinds = ["table", "sequence", "function", "type", "schema"]
    default = {**privileges, "owner": NAME, "type": {"type": "str", "choices": kinds, "required": True}}
    lists = {
        "accounts": account,
        "roles": role,
        "databases": database,
        "schemas": {"name": NAME, "database": TEXT, "owner": TEXT},
        "extensions": {"name": NAME, **dict.fromkeys(["database", "schema", "version"], TEXT)},
        "grants": grant,
        "default_privileges": default,
    }
    own = {
        "login_password": {"type": "str", "no_log": True},
        **{name: {"type": "list", "elements": "dict", "default": [], "options": spec} for name, spec in lists.items()},
    }
    run("access", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
