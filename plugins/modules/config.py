#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config
short_description: Declares a database server's settings and client authentication
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Writes the declared settings to one file below C(conf.d), and the authentication rules to C(pg_hba.conf).
  - The server's own program reads a copy first. What it refuses is never put in place.
  - A running server is reloaded. What only a restart applies is returned in RV(restart_required); nothing is restarted.
  - Values are compared by meaning, as a running server reads them. For C(shared_buffers), V(1GB), V(1024MB) and
    V(131072) are one. While the server is stopped they are compared by their spelling.
  - In check mode the server's program reads the candidate, too, and RV(pending) foresees what would await a restart.
extends_documentation_fragment:
  - boringdb.ops.server
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
  settings:
    description: All settings of O(file). One that is no longer listed returns to its default.
    type: dict
    default: {}
  file:
    description: The name of the file below C(conf.d), without its ending. Files are read in the order of their names.
    type: str
    default: boringdb
  reset_auto:
    description:
      - Whether declared settings that C(ALTER SYSTEM) has set are reset there, because C(postgresql.auto.conf)
        wins over O(file).
      - Without it they are named in RV(shadowed) and left alone.
    type: bool
    default: false
  hba:
    description: The whole of C(pg_hba.conf), first match first. When it is left out, the file is not touched.
    type: list
    elements: dict
    suboptions:
      type:
        description: The kind of connection.
        type: str
        choices: [local, host, hostssl, hostnossl]
        required: true
      database:
        description: A database, V(all) or V(replication); several are separated by commas.
        type: str
        required: true
      user:
        description: An account, or V(all); several are separated by commas.
        type: str
        required: true
      address:
        description: A network in CIDR notation or a host name. Left out for V(local).
        type: str
      method:
        description: How the client proves who it is.
        type: str
        choices: [scram-sha-256, peer, cert, reject, trust, ldap, gss, pam, radius, ident, md5]
        required: true
"""

EXAMPLES = r"""
- name: Declare what the server needs
  become: true
  become_user: postgres
  boringdb.ops.config:
    data_dir: /var/lib/postgresql/15/main
    config_dir: /etc/postgresql/15/main
    settings:
      shared_buffers: 2GB
      archive_mode: true
    hba:
      - {type: local, database: all, user: all, method: peer}
      - {type: host, database: all, user: all, address: 10.0.0.0/8, method: scram-sha-256}
"""

RETURN = r"""
restart_required:
  description: The names of RV(pending).
  returned: success
  type: list
  elements: str
  sample: [shared_buffers]
pending:
  description: The settings of the server whose new value awaits a restart.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    current:
      description: The value that it has until then.
      type: str
    new:
      description: The value that the files hold.
      type: str
  sample: [{name: shared_buffers, current: 128MB, new: 2GB}]
overridden:
  description: The names of RV(shadowed).
  returned: success
  type: list
  elements: str
shadowed:
  description: The declared settings that another place overrides.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The setting.
      type: str
    declared:
      description: The declared value, which has no effect.
      type: str
    value:
      description: The value that wins.
      type: str
    place:
      description: The file and line that win, or the command line.
      type: str
    same:
      description: Whether both values mean the same. If not, there is a warning.
      type: bool
elsewhere:
  description: What C(ALTER ROLE) and C(ALTER DATABASE) set for some sessions, of the declared settings.
  returned: success
  type: list
  elements: dict
  contains:
    role:
      description: The account, empty for all.
      type: str
    database:
      description: The database, empty for all.
      type: str
    name:
      description: The setting.
      type: str
    value:
      description: Its value in those sessions.
      type: str
reset:
  description: The settings that O(reset_auto) has reset.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.config import config as patroni_config
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import manager_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.config import config
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import HBA_RULE
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": config, "patroni": patroni_config}


def main() -> None:
    """Run the module."""
    own = {
        "settings": {"type": "dict", "default": {}},
        "file": {"type": "str", "default": "boringdb"},
        "reset_auto": {"type": "bool", "default": False},
        "hba": {"type": "list", "elements": "dict", "options": HBA_RULE},
    }
    run("config", CELLS, {**SERVER_OPTIONS, **own}, manager_of)


if __name__ == "__main__":
    main()
