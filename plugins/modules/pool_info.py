#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pool_info
short_description: Shows a pgbouncer's databases, pools and settings, and where its clients are sent
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Shows what each admin console tells. One that does not answer has a C(problem), and is no error.
  - With O(config_file), it also tells whether a timer is armed.
extends_documentation_fragment:
  - boringdb.ops.pooler
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Where are clients sent?
  become: true
  become_user: postgres
  boringdb.ops.pool_info:
    config_file: /etc/pgbouncer/pgbouncer.ini
  register: found

- name: To this server
  ansible.builtin.debug:
    msg: "{{ found.poolers[0].databases.shop.host }}"
"""

RETURN = r"""
poolers:
  description: What each console tells, in the order of O(consoles).
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: Where the console is.
      type: str
    port:
      description: Its port.
      type: int
    problem:
      description: Why it could not be asked, empty where it could. Nothing else is returned of it then.
      type: str
    version:
      description: pgbouncer's version.
      type: str
      sample: 1.18.0
    databases:
      description: The rows of SHOW DATABASES by the database's name, every value as text.
      type: dict
    pools:
      description: The rows of SHOW POOLS.
      type: list
      elements: dict
    config:
      description: The settings in force.
      type: dict
timer:
  description: The timer that is armed, or that has acted and was not disarmed since. Null where there is none.
  returned: success
  type: dict
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool import POOLER_OPTIONS, pool_info

CELLS: Cells = {"postgresql": pool_info}


def main() -> None:
    """Run the module."""
    run("pool_info", CELLS, POOLER_OPTIONS, required_one_of=[("config_file", "consoles")])


if __name__ == "__main__":
    main()
