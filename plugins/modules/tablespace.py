#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tablespace
short_description: Creates the tablespaces that a database server is to have
version_added: 0.2.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Creates tablespaces that are missing, on the primary, all over one connection.
  - It drops, moves and renames none. One of the same name at another place is refused before anything is changed.
  - Every replica needs the directory, too, before a tablespace is created. A replica without it stops.
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
  tablespaces:
    description: The tablespaces. Others that the server has are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The tablespace's name.
        type: str
        required: true
      location:
        description: Its directory, which is empty and belongs to the server's owner.
        type: path
        required: true
"""

EXAMPLES = r"""
- name: Have a tablespace on the fast disk
  become: true
  become_user: postgres
  boringdb.ops.tablespace:
    data_dir: /var/lib/postgresql/15/main
    tablespaces:
      - name: fast
        location: /srv/fast/orders
"""

RETURN = r"""
created:
  description: The names of the tablespaces that were created.
  returned: success
  type: list
  elements: str
  sample: [fast]
tablespaces:
  description: Where every tablespace of the server lies, by its name.
  returned: success
  type: dict
  sample: {fast: /srv/fast/orders}
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.tablespace import tablespace

CELLS: Cells = {"postgresql": tablespace}


def main() -> None:
    """Run the module."""
    of_one = {"name": {"type": "str", "required": True}, "location": {"type": "path", "required": True}}
    own = {"tablespaces": {"type": "list", "elements": "dict", "required": True, "options": of_one}}
    run("tablespace", CELLS, {**SERVER_OPTIONS, **own})


if __name__ == "__main__":
    main()
