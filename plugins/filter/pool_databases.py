# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases of poolers go to whoever is primary, and which stay at an address of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable

DOCUMENTATION = r"""
name: pool_databases
short_description: The databases of poolers, by whether they move with the primary
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Reads C(pool_databases) of each host, the variable of P(boringdb.ops.pool#role).
  - A database that is declared with a C(host) stays there, another one goes to the primary, whoever that is.
options:
  _input:
    description: The poolers' variables, as C(hostvars) holds them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Say which databases a switchover moves
  ansible.builtin.debug:
    msg: "{{ (groups['pooler_hosts'] | map('extract', hostvars) | boringdb.ops.pool_databases).primary }}"
"""

RETURN = r"""
_value:
  description: The names, sorted, C(primary) for those that move and C(placed) for those that stay.
  type: dict
"""


def pool_databases(poolers: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The names of the databases that move with the primary, and of those that stay."""
    found: dict[str, set[str]] = {"primary": set(), "placed": set()}
    for pooler in poolers:
        for name, given in (pooler.get("pool_databases") or {}).items():
            found["placed" if "host" in (given or {}) else "primary"].add(str(name))
    return {kind: sorted(names) for kind, names in found.items()}


class FilterModule:
    """What Ansible asks for the filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Every filter by its name."""
        return {"pool_databases": pool_databases}
